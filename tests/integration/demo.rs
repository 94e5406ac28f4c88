//! The stand-in for Clouddriver behaves as real ones were measured to, faults on command included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fairlead::demo::{Answer, CLUSTER_VERSION, Fault, Live, NOTICE, Names, Options, StandIn, create_accounts_table};
use fairlead::mirror::Method;
use fairlead::store::db::Db;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::support::databases::{SERVERS, TestDatabase, eventually};

const PATIENCE: Duration = Duration::from_secs(20);

/// One request on a connection of its own; `None` when the connection was closed with no answer.
async fn call(to: SocketAddr, method: &str, path: &str, body: &str) -> Option<(StatusCode, String)> {
    let stream = tokio::net::TcpStream::connect(to).await.expect("the stand-in listens");
    let (mut send, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", to.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body.to_owned())))
        .expect("a request");
    let answer = tokio::time::timeout(PATIENCE, send.send_request(request)).await.expect("an answer in time").ok()?;
    let status = answer.status();
    let body = answer.into_body().collect().await.expect("a body").to_bytes();
    Some((status, String::from_utf8(body.to_vec()).expect("text")))
}

fn definition(name: &str) -> String {
    json!({"type": "kubernetes", "name": name, "kubeconfigContents": "apiVersion: v1\nkind: Config\n"}).to_string()
}

async fn status(to: SocketAddr, method: &str, path: &str, body: &str) -> u16 {
    call(to, method, path, body).await.expect("an answer").0.as_u16()
}

async fn listed(to: SocketAddr, query: &str) -> Vec<String> {
    let (status, body) = call(to, "GET", &format!("/credentials/type/kubernetes?{query}"), "").await.expect("an answer");
    assert_eq!(status, 200);
    let list: Vec<Value> = serde_json::from_str(&body).expect("JSON");
    list.iter().map(|a| a["name"].as_str().expect("a name").to_owned()).collect()
}

#[tokio::test]
async fn it_says_what_it_is() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let (status, body) = call(cd.address(), "GET", "/", "").await.expect("an answer");
    assert_eq!(status, 200);
    assert!(body.contains(NOTICE) && NOTICE.contains("not Clouddriver"), "{body}");
}

#[tokio::test]
async fn creating_answers_the_definition_with_defaults_and_type_first() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let (status, body) = call(cd.address(), "POST", "/credentials", &definition("k1")).await.expect("an answer");
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"type":"kubernetes","cacheAllApplicationRelationships":false"#), "{body}");
    assert_eq!(cd.rows().await.expect("rows")[0].body, body);
}

#[tokio::test]
async fn statuses_are_the_measured_ones() {
    let cd = StandIn::start(Options { live: Live::ByHand, ..Options::default() }).await.expect("started");
    let at = cd.address();
    assert_eq!(status(at, "PUT", "/credentials/k4", &definition("k4")).await, 400, "not live");
    assert_eq!(status(at, "POST", "/credentials", &definition("live")).await, 200);
    assert_eq!(status(at, "POST", "/credentials", &definition("live")).await, 500, "stored, not live");
    assert_eq!(status(at, "PUT", "/credentials", &definition("live")).await, 200);
    assert_eq!(status(at, "PUT", "/credentials/live", &definition("live")).await, 400, "stored, not live");
    cd.poll().await.expect("polled");
    let (code, body) = call(at, "POST", "/credentials", &definition("live")).await.expect("an answer");
    assert_eq!(code, 400);
    assert!(body.contains("already exists (name: live)"), "{body}");
    assert_eq!(status(at, "PUT", "/credentials/live", &definition("live")).await, 200);
    let (code, body) = call(at, "PUT", "/credentials/live", &definition("other")).await.expect("an answer");
    assert_eq!(code, 400);
    assert!(body.contains("URI value: live. Request body value: other."), "{body}");
    assert_eq!(call(at, "DELETE", "/credentials/live", "").await.expect("an answer"), (StatusCode::OK, String::new()));
    assert_eq!(status(at, "PUT", "/credentials/live", &definition("live")).await, 404, "deleted, still live");
    assert_eq!(status(at, "DELETE", "/credentials/live", "").await, 404);
    for bad in ["{", r#"{"type":"nope","name":"a"}"#, r#"{"type":"kubernetes","name":"a","namespaces":1}"#] {
        assert_eq!(call(at, "POST", "/credentials", bad).await.expect("an answer"), (StatusCode::BAD_REQUEST, String::new()), "{bad}");
    }
    assert_eq!(status(at, "POST", "/credentials", r#"{"type":"kubernetes"}"#).await, 500);
    assert_eq!(status(at, "PATCH", "/credentials", "").await, 405);
    assert!(cd.rows().await.expect("rows").is_empty());
}

#[tokio::test]
async fn a_life_keeps_its_creation_time_and_the_history_runs_on_across_lives() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    assert_eq!(status(at, "POST", "/credentials", &definition("a")).await, 200);
    let first = cd.rows().await.expect("rows")[0].clone();
    assert_eq!(status(at, "PUT", "/credentials", &definition("a")).await, 200);
    let second = cd.rows().await.expect("rows")[0].clone();
    assert_eq!(second.created, first.created);
    assert_ne!(second.modified, first.modified, "a PUT that changes nothing moves it all the same");
    assert_eq!(status(at, "DELETE", "/credentials/a", "").await, 200);
    assert_eq!(status(at, "POST", "/credentials", &definition("a")).await, 200);
    let third = cd.rows().await.expect("rows")[0].clone();
    assert_ne!(third.created, first.created);
    let (_, body) = call(at, "GET", "/credentials/a/history", "").await.expect("an answer");
    let history: Vec<Value> = serde_json::from_str(&body).expect("JSON");
    let shape: Vec<(u64, i64, bool)> = history
        .iter()
        .map(|e| (e["version"].as_u64().expect("a version"), e["timestamp"].as_i64().expect("a time"), e.get("account").is_some()))
        .collect();
    assert_eq!(shape.iter().map(|e| (e.0, e.2)).collect::<Vec<_>>(), [(4, true), (3, false), (2, true), (1, true)]);
    assert_eq!((shape[0].1, shape[3].1), (third.created, first.created));
    assert_eq!(call(at, "GET", "/credentials/nobody/history", "").await.expect("an answer").1, "[]");
}

#[tokio::test]
async fn lists_start_with_the_name_itself_and_lose_rows_after_the_limit() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    for name in ["a", "b", "c", "d"] {
        cd.upsert(&json!({"type": "kubernetes", "name": name})).await.expect("stored");
    }
    cd.upsert(&json!({"type": "aws", "name": "bb"})).await.expect("stored");
    assert_eq!(listed(at, "startingAccountName=b&limit=2").await, ["b", "c"]);
    cd.set_unresolvable("c", true);
    assert_eq!(listed(at, "startingAccountName=b&limit=2").await, ["b"]);
    assert_eq!(listed(at, "startingAccountName=c&limit=1").await, [""; 0]);
    assert_eq!(status(at, "GET", "/credentials/c/history", "").await, 500);
    cd.set_unresolvable("c", false);
    assert_eq!(listed(at, "limit=10").await, ["a", "b", "c", "d"]);
}

#[tokio::test]
async fn names_that_mariadb_takes_for_one_are_one_when_asked_to() {
    let cd = StandIn::start(Options { names: Names::LikeMariaDb, live: Live::ByHand, ..Options::default() }).await.expect("started");
    let at = cd.address();
    assert_eq!(status(at, "POST", "/credentials", &definition("acc")).await, 200);
    assert_eq!(status(at, "POST", "/credentials", &definition("ACC ")).await, 500);
    assert_eq!(status(at, "PUT", "/credentials", &definition("ACC ")).await, 200);
    let rows = cd.rows().await.expect("rows");
    assert_eq!((rows.len(), rows[0].id.as_str(), rows[0].body.contains(r#""name":"ACC ""#)), (1, "acc", true));
    assert_eq!(status(at, "DELETE", "/credentials/Acc%20", "").await, 200);
    assert!(cd.rows().await.expect("rows").is_empty());
}

#[tokio::test]
async fn faults_happen_once_in_order_and_only_to_their_method() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    let faults = cd.faults();
    faults.next_of(Method::Delete, Fault::NotDone(Answer::Ok));
    faults.next(Fault::DoneThen(Answer::SqlAccountDefinitionException));
    faults.next(Fault::DoneThen(Answer::Close));
    faults.next(Fault::DoneThen(Answer::Status(StatusCode::INTERNAL_SERVER_ERROR)));
    faults.next(Fault::NotDone(Answer::Close));
    let (code, body) = call(at, "POST", "/credentials", &definition("a")).await.expect("an answer");
    assert_eq!(code, 400);
    assert!(body.contains("SqlAccountDefinitionException"), "{body}");
    assert_eq!(call(at, "POST", "/credentials", &definition("b")).await, None);
    assert_eq!(status(at, "POST", "/credentials", &definition("c")).await, 500);
    assert_eq!(call(at, "POST", "/credentials", &definition("d")).await, None);
    assert_eq!(status(at, "DELETE", "/credentials/a", "").await, 200, "acknowledged and not done");
    let stored: Vec<String> = cd.rows().await.expect("rows").into_iter().map(|r| r.id).collect();
    assert_eq!(stored, ["a", "b", "c"]);
    assert_eq!(status(at, "POST", "/credentials", &definition("d")).await, 200, "all faults are used up");
}

#[tokio::test]
async fn a_late_row_has_the_time_of_its_arrival() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    cd.faults().next(Fault::DoneLate(Duration::from_millis(200), Answer::Close));
    assert_eq!(call(at, "POST", "/credentials", &definition("late")).await, None);
    cd.upsert(&json!({"type": "kubernetes", "name": "after"})).await.expect("stored");
    let after = cd.rows().await.expect("rows").iter().find(|r| r.id == "after").expect("stored").created;
    let late =
        eventually("the row comes", PATIENCE, || async { cd.rows().await.expect("rows").into_iter().find(|r| r.id == "late") }).await;
    assert!(late.created < after);
}

#[tokio::test]
async fn a_client_that_leaves_does_not_undo_its_change() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    let gate = Arc::new(Semaphore::new(0));
    cd.faults().next(Fault::HoldBefore(gate.clone()));
    let client = tokio::spawn(async move { call(at, "POST", "/credentials", &definition("left")).await });
    eventually("the change arrives", PATIENCE, || async { (gate.available_permits() == 0 && cd.faults().pending() == 0).then_some(()) })
        .await;
    client.abort();
    let _ = client.await;
    gate.add_permits(1);
    eventually("the row comes", PATIENCE, || async { cd.rows().await.expect("rows").pop() }).await;
}

#[tokio::test]
async fn silence_holds_every_request_until_it_ends() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    cd.faults().silence(true);
    let waiting = tokio::spawn(async move { status(at, "GET", "/credentials", "").await });
    assert!(!waiting.is_finished());
    cd.faults().silence(false);
    assert_eq!(waiting.await.expect("joined"), 200);
}

#[tokio::test]
async fn a_stand_in_that_is_dropped_stops_listening() {
    let cd = StandIn::start(Options::default()).await.expect("started");
    let at = cd.address();
    drop(cd);
    eventually("the port is closed", PATIENCE, || async { tokio::net::TcpStream::connect(at).await.is_err().then_some(()) }).await;
}

#[tokio::test]
async fn with_a_table_it_stores_where_clouddriver_would() {
    for server in SERVERS {
        let db = TestDatabase::create(server, "standin").await;
        let pool = Db::open(&db.pool_config());
        create_accounts_table(&pool).await.expect("made");
        let cd = StandIn::start(Options { table: Some(pool), live: Live::ByHand, ..Options::default() }).await.expect("started");
        let at = cd.address();
        assert_eq!(status(at, "POST", "/credentials", &definition("k1")).await, 200, "{server:?}");
        assert_eq!(status(at, "POST", "/credentials", &definition("k1")).await, 500, "{server:?}");
        let twin = status(at, "POST", "/credentials", &definition("K1")).await;
        assert_eq!(twin, if server == crate::support::databases::Server::MariaDb { 500 } else { 200 });
        assert_eq!(status(at, "PUT", "/credentials", &definition("k2")).await, 200, "{server:?}");
        assert_eq!(status(at, "PUT", "/credentials", &definition("k2")).await, 200, "{server:?}");
        assert_eq!(status(at, "DELETE", "/credentials/k1", "").await, 200, "{server:?}");
        assert_eq!(db.admin.number("select count(*) from accounts where id = 'k2' and created_at < last_modified_at").await, 1);
        assert_eq!(db.admin.number("select count(*) from accounts where id = 'k1'").await, 0);
        drop(cd);
        db.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_ends_well_prints_no_kubeconfig_and_says_what_to_try_next() {
    let out = tokio::task::spawn_blocking(|| {
        std::process::Command::new(env!("CARGO_BIN_EXE_fairlead")).arg("demo").output().expect("the program runs")
    })
    .await
    .expect("joined");
    let told = String::from_utf8(out.stdout).expect("text");
    assert!(out.status.success(), "{told}\n{}", String::from_utf8_lossy(&out.stderr));
    let (story, invitation) = told.split_once("Every step showed what it should.").expect("told to the end");
    for title in ["CREATE", "UPDATE", "REFUSED", "DELETE", NOTICE, "INACTIVE  billing, shop", "(the mirror is empty)"] {
        assert!(story.contains(title), "{title} is missing in:\n{story}");
    }
    // The second half, in this order.
    let (_, managed) = story.split_once("AN AGENT COMES").expect("the second half");
    let mut rest = managed;
    for word in ["ACTIVE", CLUSTER_VERSION, "FAILED", "401", "ACTIVE", "ORPHANED", "ACTIVE", "(the mirror is empty)"] {
        let (_, after) = rest.split_once(word).unwrap_or_else(|| panic!("{word} is missing, or too early, in:\n{managed}"));
        rest = after;
    }
    assert!(!story.contains("apiVersion"), "a kubeconfig is printed");
    assert!(invitation.contains("serve --demo"), "{invitation}");
}

#[tokio::test]
async fn the_story_fails_where_the_mirror_does_not_follow() {
    // The stand-in alone has no mirror.
    let cd = StandIn::start(Options::default()).await.expect("started");
    let mut told = Vec::new();
    let e = fairlead::demo::story::run(cd.address(), &mut told).await.expect_err("no mirror");
    assert!(e.to_string().contains("404") && e.to_string().contains("/armory/accounts"), "{e}");
}
