//! The process is stopped (SIGSTOP) exactly between journalling a change and forwarding it, and wakes when nobody counts on that
//! change any more: it is answered 503 and never forwarded.
//!
//! Needs the feature `failpoints`, which `make test` switches on: a crash point holds the process in the right place until it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;
use serde_json::Value;

use crate::support::databases::{Server, TestDatabase, eventually};
use crate::support::http::{self, Request};
use crate::support::process::{Fairlead, Setup};
use crate::support::rest::rest;

const SOON: Duration = Duration::from_secs(60);
/// `unknownOutcomeWindow`; a change may take half of it from its announcement to its first byte.
const WINDOW: Duration = Duration::from_millis(1500);
/// The point that a change meets when it may begin to act on Clouddriver: one with a body before that body's first byte, one without
/// before its head.
const POINT: &str = "before-forward";

fn definition(name: &str, note: &str) -> String {
    format!(r#"{{"type": "kubernetes", "name": "{name}", "namespaces": ["{note}"], "kubeconfigContents": "apiVersion: v1"}}"#)
}

fn request(method: &str, name: &str, note: &str) -> Request {
    match method {
        "DELETE" => Request::new("DELETE", &format!("/credentials/{name}")),
        _ => Request::new(method, "/credentials").json(definition(name, note)),
    }
}

/// One process that can be held, and perhaps another replica beside it, before one Clouddriver.
struct World {
    db: TestDatabase,
    stopped: Fairlead,
    other: Option<Fairlead>,
    clouddriver: StandIn,
    /// Account changes that Clouddriver has received.
    arrived: Arc<AtomicU32>,
}

impl World {
    /// `skip`: how many meetings pass before a change is held.
    async fn new(server: Server, name: &str, alone: bool, skip: u32) -> Self {
        let mut db = TestDatabase::create(server, "stopped").await;
        db.make_accounts_table().await;
        let user = db.fairlead_user().await;
        let table = Some(Db::open(&db.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let arrived = Arc::new(AtomicU32::new(0));
        let counter = arrived.clone();
        clouddriver.faults().rule(move |_| {
            counter.fetch_add(1, Ordering::SeqCst);
            None
        });
        let setup = |which: &str| {
            let name = format!("stopped-{}-{name}-{which}", server.word());
            let mut setup = Setup::new(&name, clouddriver.address().port()).database(&db.jdbc(), &user).lease(Duration::from_secs(1));
            setup.window = WINDOW;
            setup.with("kubesvc.dynamicAccounts.interceptor.maxWait: 5s")
        };
        let other = if alone { None } else { Some(Fairlead::start(setup("other")).await) };
        let stopped = Fairlead::start(setup("stopped").holding_after(skip, POINT)).await;
        Self { db, stopped, other, clouddriver, arrived }
    }

    async fn change(&self, fairlead: &Fairlead, request: Request) {
        let answer = http::call(fairlead.setup.port, &request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), fairlead.log_tail());
    }

    /// Sends a change that is held, stops the process there, does something, and lets the process go on: what the client heard, and how
    /// many changes arrived at Clouddriver after that.
    async fn stopped_while(&self, request: Request, meanwhile: impl AsyncFnOnce()) -> (http::Answer, u32) {
        let call = self.stopped.stopped_at_a_change(request).await;
        assert_eq!(self.db.admin.number("select count(*) from fairlead_intents").await, 1, "it is journalled");
        meanwhile().await;
        let before = self.arrived.load(Ordering::SeqCst);
        self.stopped.resume();
        let answer = call.await.expect("no panic").unwrap_or_else(|e| panic!("no answer: {e}\n{}", self.stopped.log_tail()));
        self.rest().await;
        (answer, self.arrived.load(Ordering::SeqCst) - before)
    }

    async fn rest(&self) {
        let all: Vec<&Fairlead> = self.other.iter().chain([&self.stopped]).collect();
        rest(&self.db.admin, &all).await;
    }

    /// Name and note of every row.
    async fn rows(&self, table: &str, name: &str, column: &str) -> Vec<(String, String)> {
        let rows = self.db.admin.rows(&format!("select {name}, {column} from {table} order by {name}")).await;
        let note = |text: &str| serde_json::from_str::<Value>(text).expect("a definition")["namespaces"][0].as_str().map(str::to_owned);
        rows.iter().map(|r| (r[0].clone().unwrap_or_default(), r[1].as_deref().and_then(note).unwrap_or_default())).collect()
    }

    async fn agree(&self, expected: &[(&str, &str)]) {
        let expected: Vec<_> = expected.iter().map(|(name, note)| ((*name).to_owned(), (*note).to_owned())).collect();
        assert_eq!(self.rows("accounts", "id", "body").await, expected);
        assert_eq!(self.rows("kubesvc_accounts", "name", "definition").await, expected, "{}", self.stopped.log_tail());
    }
}

fn told_to_try_again(answer: &http::Answer) {
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some_and(|v| v.parse::<u32>().is_ok_and(|s| s > 0)), "{:?}", answer.headers);
    assert!(answer.text().contains("nothing was changed"), "{}", answer.text());
}

/// Another replica takes the stopped one for dead, ends its intent, and settles a change of the same name that came later.
async fn forwards_nothing_that_others_have_given_up(server: Server) {
    let w = World::new(server, "others", false, 0).await;
    let other = w.other.as_ref().expect("there is one");
    let mut expected = Vec::new();
    for method in ["POST", "PUT", "DELETE"] {
        let name = method.to_lowercase();
        if method != "POST" {
            w.change(other, request("POST", &name, "before")).await;
            w.rest().await;
        }
        let (answer, forwarded) = w
            .stopped_while(request(method, &name, "stale"), async || {
                eventually("the other replica ends the intent", SOON, async || {
                    (w.db.admin.number("select count(*) from fairlead_intents").await == 0).then_some(())
                })
                .await;
                w.change(other, request(if method == "POST" { "POST" } else { "PUT" }, &name, "newer")).await;
                eventually("the newer change is mirrored", SOON, async || {
                    w.rows("kubesvc_accounts", "name", "definition").await.contains(&(name.clone(), "newer".to_owned())).then_some(())
                })
                .await;
            })
            .await;
        told_to_try_again(&answer);
        assert_eq!(forwarded, 0, "{server:?} {method}");
        expected.push((name, "newer"));
        expected.sort();
        w.agree(&expected.iter().map(|(name, note)| (name.as_str(), *note)).collect::<Vec<_>>()).await;
    }
    // And the process that was stopped works on.
    w.change(&w.stopped, request("POST", "after", "1")).await;
    w.rest().await;
    assert!(w.rows("kubesvc_accounts", "name", "definition").await.contains(&("after".to_owned(), "1".to_owned())));
    w.clouddriver.stop();
}

/// Nobody else is there: the process itself finds out, and its own intent ends.
async fn ends_its_own_intent(server: Server) {
    let w = World::new(server, "alone", true, 0).await;
    w.change(&w.stopped, request("POST", "a", "before")).await;
    w.rest().await;
    let (answer, forwarded) = w.stopped_while(request("PUT", "a", "stale"), async || tokio::time::sleep(WINDOW).await).await;
    told_to_try_again(&answer);
    assert_eq!(forwarded, 0, "{server:?}");
    w.agree(&[("a", "before")]).await;
    w.clouddriver.stop();
}

/// One without a body is asked again when its head is about to leave: connecting may have taken a while.
async fn withholds_a_deletion_at_its_head(server: Server) {
    // The first change has a body and meets the point once; the deletion's own first meeting is before it connects.
    let w = World::new(server, "deletion", true, 2).await;
    w.change(&w.stopped, request("POST", "a", "before")).await;
    w.rest().await;
    let (answer, forwarded) = w.stopped_while(request("DELETE", "a", ""), async || tokio::time::sleep(WINDOW).await).await;
    told_to_try_again(&answer);
    assert_eq!(forwarded, 0, "{server:?}");
    w.agree(&[("a", "before")]).await;
    w.clouddriver.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_that_was_held_up_while_it_connected_is_not_forwarded() {
    tokio::join!(withholds_a_deletion_at_its_head(Server::MariaDb), withholds_a_deletion_at_its_head(Server::Postgres));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_a_process_that_was_stopped_before_it_forwarded_forwards_nothing_that_others_have_given_up() {
    forwards_nothing_that_others_have_given_up(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_a_process_that_was_stopped_before_it_forwarded_forwards_nothing_that_others_have_given_up() {
    forwards_nothing_that_others_have_given_up(Server::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_stopped_alone_forwards_nothing_and_its_intent_ends() {
    tokio::join!(ends_its_own_intent(Server::MariaDb), ends_its_own_intent(Server::Postgres));
}
