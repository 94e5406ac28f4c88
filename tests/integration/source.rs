//! Reading Clouddriver's accounts: by SQL on real servers, by the API from a stand-in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::account::Incarnation;
use fairlead::demo::{Names, Options, StandIn};
use fairlead::source::{Api, ApiConfig, Bare, Error, Page, PreImage, Reading, Source, SourceRow, Sql};
use fairlead::store::db::Db;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::databases::{SERVERS, Server, TestDatabase, eventually, pool_config};

async fn database(server: Server, purpose: &str) -> TestDatabase {
    let db = TestDatabase::create(server, purpose).await;
    db.make_accounts_table().await;
    db
}

fn reader(db: &TestDatabase) -> Source {
    Source::Sql(Sql::new(Db::open(&db.pool_config())))
}

async fn put(db: &TestDatabase, id: &str, kind: &str, body: &str, created: i64) {
    let (id, kind, body) = (db.admin.quoted(id), db.admin.quoted(kind), db.admin.quoted(body));
    db.admin.exec(&format!("insert into accounts values ({id}, {kind}, {body}, {created}, {}, 'someone')", created + 5)).await;
}

async fn present(source: &Source, name: &str) -> Option<SourceRow> {
    match source.read(name).await.expect("readable") {
        Reading::Present(row) => Some(row),
        Reading::Absent => None,
        Reading::Unknown(reason) => panic!("unknown: {reason}"),
    }
}

async fn whole_pass(source: &Source, limit: u32) -> (Vec<SourceRow>, Vec<String>) {
    let (mut rows, mut poison, mut after) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let page = source.page(after.as_deref(), limit).await.expect("readable");
        assert!(page.raw_count <= limit as usize);
        rows.extend(page.rows);
        poison.extend(page.poison.into_iter().map(|p| format!("{}: {}", p.id, p.reason)));
        match page.next {
            Some(next) => after = Some(next),
            None => return (rows, poison),
        }
    }
}

/// As [`whole_pass`], without definitions.
async fn whole_skim(source: &Source, limit: u32) -> (Vec<Bare>, Vec<String>) {
    let (mut rows, mut poison, mut after) = (Vec::new(), Vec::new(), None::<String>);
    loop {
        let page = source.skim(after.as_deref(), limit).await.expect("readable");
        assert!(page.raw_count <= limit as usize && page.rows.is_empty());
        rows.extend(page.bare);
        poison.extend(page.poison.into_iter().map(|p| format!("{}: {}", p.id, p.reason)));
        match page.next {
            Some(next) => after = Some(next),
            None => return (rows, poison),
        }
    }
}

#[tokio::test]
async fn a_row_is_read_with_its_type_its_text_and_its_life() {
    for server in SERVERS {
        let db = database(server, "source").await;
        let body = r#"{"type": "kubernetes", "name": "prod", "note": "ünï 😀"}"#;
        put(&db, "prod", "kubernetes", body, 1_700_000_000_123).await;
        put(&db, "aws-1", "aws", r#"{"type":"aws"}"#, 7).await;
        let source = reader(&db);
        let row = present(&source, "prod").await.expect("there");
        assert_eq!((row.id.as_str(), row.kind.as_str(), row.body.as_str()), ("prod", "kubernetes", body), "{server:?}");
        assert_eq!((row.incarnation, row.modified), (Incarnation(1_700_000_000_123), Some(1_700_000_000_128)), "{server:?}");
        assert!(row.is_kubernetes());
        assert!(!present(&source, "aws-1").await.expect("there").is_kubernetes(), "{server:?}");
        assert!(matches!(source.read("nobody").await, Ok(Reading::Absent)), "{server:?}");
        assert_eq!(source.pre_image("prod").await, PreImage::Row { created: 1_700_000_000_123, modified: 1_700_000_000_128 });
        assert_eq!(source.pre_image("nobody").await, PreImage::None);
        let shown = format!("{row:?}");
        assert!(!shown.contains("note"), "a definition is never in Debug: {shown}");
        db.drop_now().await;
    }
}

/// The spellings that MariaDB's collation takes for one, and some that it keeps apart.
const TWINS: [&str; 6] = ["acc", "ACC", "acc ", "áćc", "ÁCC ", "ａｃｃ"];

#[tokio::test]
async fn names_are_one_or_two_as_the_database_says() {
    for server in SERVERS {
        let db = database(server, "twins").await;
        put(&db, "acc", "kubernetes", "{}", 1).await;
        put(&db, "strasse", "kubernetes", "{}", 2).await;
        let source = reader(&db);
        for name in TWINS {
            let found = present(&source, name).await.map(|r| r.id);
            let same = server == Server::MariaDb || name == "acc";
            assert_eq!(found.as_deref(), same.then_some("acc"), "{server:?}: {name:?}");
        }
        assert_eq!(present(&source, "straße").await.is_some(), server == Server::MariaDb);
        assert!(present(&source, " acc").await.is_none(), "a blank in front counts everywhere");
        // What Clouddriver runs for `DELETE /credentials/%C3%81CC%20`; the reading has to come to the same row.
        db.admin.exec("delete from accounts where id = 'ÁCC '").await;
        assert_eq!(present(&source, "ÁCC ").await.is_none(), present(&source, "acc").await.is_none() || server == Server::Postgres);
        assert_eq!(present(&source, "acc").await.is_some(), server == Server::Postgres);
        db.drop_now().await;
    }
}

#[tokio::test]
async fn any_text_may_be_asked_for() {
    for server in SERVERS {
        let db = database(server, "anytext").await;
        put(&db, "it's \\ 100%_", "kubernetes", "{}", 1).await;
        let source = reader(&db);
        assert!(present(&source, "it's \\ 100%_").await.is_some(), "{server:?}");
        for name in ["", "'", "\\", "%", "_", "a\nb", "😀", "\u{fffd}", "' or 1=1 -- ", "x\0y", &"é".repeat(5000)] {
            assert!(present(&source, name).await.is_none(), "{server:?}: {name:?}");
        }
        db.drop_now().await;
    }
}

#[tokio::test]
async fn a_user_who_may_only_select_accounts_is_enough() {
    for server in SERVERS {
        let mut db = database(server, "grants").await;
        put(&db, "prod", "kubernetes", "{}", 1).await;
        let user = db.new_user("ro").await;
        let source = Source::Sql(Sql::new(Db::open(&db.pool_config_as(&user))));
        if server == Server::Postgres {
            db.admin.exec(&format!("grant connect on database {} to {user}; grant usage on schema public to {user}", db.name)).await;
            let e = source.check().await.expect_err("no right yet");
            assert!(matches!(e, Error::NoRight(_)), "{e}");
            assert!(e.to_string().contains("SELECT on accounts"), "{e}");
            assert!(matches!(source.read("prod").await, Err(Error::NoRight(_))));
            db.admin.exec(&format!("grant select on accounts to {user}")).await;
        } else {
            // Without any right in a schema MariaDB refuses the connection itself, so one on another table comes first.
            db.admin.exec("create table other (a int)").await;
            db.admin.exec(&format!("grant select on {}.other to '{user}'@'%'", db.name)).await;
            let e = source.check().await.expect_err("no right yet");
            assert!(matches!(e, Error::NoRight(_)), "{e}");
            assert!(e.to_string().contains("SELECT on accounts"), "{e}");
            assert!(matches!(source.page(None, 10).await, Err(Error::NoRight(_))));
            db.admin.exec(&format!("grant select on {}.accounts to '{user}'@'%'", db.name)).await;
        }
        source.check().await.expect("SELECT is enough");
        assert!(present(&source, "prod").await.is_some());
        assert_eq!(whole_pass(&source, 10).await.0.len(), 1);
        assert_eq!(source.pre_image("prod").await, PreImage::Row { created: 1, modified: 6 });
        db.drop_now().await;
    }
}

#[tokio::test]
async fn a_missing_table_is_told_from_a_missing_right() {
    for server in SERVERS {
        let db = TestDatabase::create(server, "notable").await;
        let source = reader(&db);
        let e = source.check().await.expect_err("no table");
        assert!(matches!(e, Error::NoTable(_)) && e.is_transient(), "{server:?}: {e}");
        assert!(e.to_string().contains("account.storage"), "{e}");
        assert!(matches!(source.read("a").await, Err(Error::NoTable(_))));
        assert_eq!(source.pre_image("a").await, PreImage::Unknown);
        db.make_accounts_table().await;
        let info = source.check().await.expect("made now");
        assert_eq!(info.mode, "sql");
        assert!(!info.server.is_empty());
        db.drop_now().await;
    }
}

#[tokio::test]
async fn a_read_only_postgresql_is_refused_for_present_and_for_absent() {
    let db = database(Server::Postgres, "readonly").await;
    put(&db, "prod", "kubernetes", "{}", 1).await;
    db.admin.exec(&format!("alter database {} set default_transaction_read_only = on", db.name)).await;
    refuses_everything(&reader(&db)).await;
    db.drop_now().await;
}

async fn refuses_everything(source: &Source) {
    for name in ["prod", "nobody"] {
        let e = source.read(name).await.expect_err("read-only");
        assert!(matches!(e, Error::NotPrimary(_)) && e.is_transient(), "{e}");
        assert_eq!(source.pre_image(name).await, PreImage::Unknown);
    }
    assert!(matches!(source.check().await, Err(Error::NotPrimary(_))));
    assert!(matches!(source.page(None, 10).await, Err(Error::NotPrimary(_))));
    assert!(matches!(source.skim(None, 10).await, Err(Error::NotPrimary(_))));
}

/// A server of its own: `read_only` is global, and the other tests need theirs to be the primary.
struct OwnMariaDb {
    folder: tempfile::TempDir,
    port: u16,
}

impl OwnMariaDb {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = |l: &std::net::TcpListener| l.local_addr().expect("bound").port();
        let (a, b) =
            (std::net::TcpListener::bind("127.0.0.1:0").expect("a port"), std::net::TcpListener::bind("127.0.0.1:0").expect("a port"));
        let this = Self { folder, port: port(&a) };
        let other = port(&b);
        drop((a, b));
        this.databases("up", other);
        this
    }

    fn databases(&self, what: &str, other: u16) {
        let out = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/databases.sh"))
            .arg(what)
            .env("FAIRLEAD_RUN_DIR", self.folder.path().join("run"))
            .env("FAIRLEAD_MARIADB_PORT", self.port.to_string())
            .env("FAIRLEAD_POSTGRES_PORT", other.to_string())
            .output()
            .expect("tests/databases.sh runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
}

impl Drop for OwnMariaDb {
    fn drop(&mut self) {
        self.databases("down", 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_mariadb_is_refused_for_present_and_for_absent() {
    let own = tokio::task::spawn_blocking(OwnMariaDb::start).await.expect("started");
    let url = format!("mysql://root@127.0.0.1:{}", own.port);
    let admin = crate::support::databases::Sql::open(&format!("{url}/mysql"));
    admin
        .exec(
            "create database cd character set utf8mb4 collate utf8mb4_unicode_ci; create table cd.accounts (id varchar(255) primary key, \
             type varchar(50), body longtext, created_at bigint, last_modified_at bigint, last_modified_by varchar(255)); \
             insert into cd.accounts values ('prod', 'kubernetes', '{}', 1, 1, 'x')",
        )
        .await;
    let source = Source::Sql(Sql::new(Db::open(&pool_config(&format!("{url}/cd")))));
    assert!(present(&source, "prod").await.is_some());
    admin.exec("set global read_only = 1").await;
    // The connection is older than the switch, and its user is an administrator whom `read_only` would not stop.
    refuses_everything(&source).await;
    admin.exec("set global read_only = 0").await;
    assert!(present(&source, "prod").await.is_some());
    admin.close().await;
    tokio::task::spawn_blocking(move || drop(own)).await.expect("stopped");
}

#[tokio::test]
async fn a_pass_sees_each_row_that_was_there_throughout_exactly_once() {
    for server in SERVERS {
        let db = database(server, "paging").await;
        let lasting: BTreeSet<String> = (0..200).map(|i| format!("n{i:03}")).collect();
        for chunk in lasting.iter().collect::<Vec<_>>().chunks(50) {
            let values: Vec<String> = chunk.iter().map(|id| format!("('{id}', 'kubernetes', '{{}}', 1, 1, 'x')")).collect();
            db.admin.exec(&format!("insert into accounts values {}", values.join(","))).await;
        }
        let source = reader(&db);
        for round in 0..3 {
            let admin = db.admin.clone();
            let (stop, stopped) = tokio::sync::watch::channel(false);
            let storm = tokio::spawn(async move {
                let mut n = 0_u32;
                while !*stopped.borrow() {
                    let id = format!("n{:03}-{}", fastrand::u32(..200), n % 7);
                    admin.exec(&format!("delete from accounts where id = '{id}'")).await;
                    admin.exec(&format!("insert into accounts values ('{id}', 'aws', '{{}}', 1, 1, 'x')")).await;
                    n += 1;
                }
                n
            });
            let (rows, poison) = whole_pass(&source, 7).await;
            let (bare, nameless) = whole_skim(&source, 7).await;
            stop.send(true).expect("the storm listens");
            assert!(storm.await.expect("the storm ends") > 0);
            assert!(poison.is_empty() && nameless.is_empty());
            let passes: [Vec<String>; 2] = [rows.into_iter().map(|r| r.id).collect(), bare.into_iter().map(|r| r.id).collect()];
            for pass in passes {
                let mut seen = BTreeMap::<String, usize>::new();
                for id in pass {
                    *seen.entry(id).or_default() += 1;
                }
                assert!(seen.values().all(|n| *n == 1), "{server:?} round {round}: twice");
                assert!(lasting.iter().all(|id| seen.contains_key(id)), "{server:?} round {round}: missed");
            }
        }
        db.drop_now().await;
    }
}

#[tokio::test]
async fn a_pass_follows_the_databases_own_order_of_names() {
    for server in SERVERS {
        let db = database(server, "order").await;
        let names = ["Zeta", "alpha", "Beta", "ácc", "ｚ", "10", "9", "😀", "_x", "-x", " x", "ß", "ST", "e\u{301}b"];
        for name in names {
            put(&db, name, "kubernetes", "{}", 1).await;
        }
        let (rows, _) = whole_pass(&reader(&db), 1).await;
        let seen: BTreeSet<_> = rows.iter().map(|r| r.id.as_str()).collect();
        assert_eq!((rows.len(), seen), (names.len(), names.into_iter().collect()), "{server:?}");
        let (bare, _) = whole_skim(&reader(&db), 1).await;
        let same = bare.iter().map(|r| r.id.as_str()).eq(rows.iter().map(|r| r.id.as_str()));
        assert!(same, "{server:?}: {bare:?}");
        db.drop_now().await;
    }
}

#[tokio::test]
async fn a_poison_row_is_reported_and_the_others_go_on() {
    for server in SERVERS {
        let db = database(server, "poison").await;
        let loosen = match server {
            Server::MariaDb => {
                "alter table accounts modify created_at bigint null, modify body longtext null, modify type varchar(50) null"
            }
            Server::Postgres => "alter table accounts alter created_at drop not null, alter body drop not null, alter type drop not null",
        };
        db.admin.exec(loosen).await;
        put(&db, "a", "kubernetes", r#"{"n":1}"#, 1).await;
        put(&db, "z", "kubernetes", r#"{"n":2}"#, 2).await;
        db.admin.exec("insert into accounts values ('b', 'kubernetes', '{}', null, 1, 'x')").await;
        db.admin.exec("insert into accounts values ('c', 'kubernetes', null, 3, 1, 'x')").await;
        db.admin.exec("insert into accounts values ('d', null, '{}', 3, 1, 'x')").await;
        let source = reader(&db);
        let (rows, poison) = whole_pass(&source, 2).await;
        assert_eq!(rows.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a", "z"], "{server:?}");
        assert_eq!(poison, ["b: created_at is NULL", "c: the body is NULL", "d: the row has no type"], "{server:?}");
        // Without definitions nothing is found out about them, and each of them may be an account.
        put(&db, "e", "aws", "{}", 3).await;
        let (bare, nameless) = whole_skim(&source, 2).await;
        let shown: Vec<_> = bare.iter().map(|r| (r.id.as_str(), r.may_be_kubernetes, r.modified)).collect();
        let wanted = [
            ("a", true, Some(6)),
            ("b", true, Some(1)),
            ("c", true, Some(1)),
            ("d", true, Some(1)),
            ("e", false, Some(8)),
            ("z", true, Some(7)),
        ];
        assert_eq!((shown.as_slice(), nameless.len()), (wanted.as_slice(), 0), "{server:?}");
        // Neither there nor absent: nothing may be concluded.
        for name in ["b", "c", "d"] {
            assert!(matches!(source.read(name).await, Ok(Reading::Unknown(_))), "{server:?}: {name}");
        }
        db.drop_now().await;
    }
}

#[tokio::test]
async fn large_definitions_are_read_whole_and_cut_a_page_short() {
    for server in SERVERS {
        let db = database(server, "large").await;
        let body = format!(r#"{{"kubeconfigContents":"{}"}}"#, "k".repeat(1_000_000));
        for i in 0..20 {
            put(&db, &format!("big-{i:02}"), "kubernetes", &body, i).await;
            put(&db, &format!("big-{i:02}-small"), "kubernetes", "{}", i).await;
        }
        put(&db, "other", "aws", &body, 1).await;
        let source = reader(&db);
        assert_eq!(present(&source, "big-00").await.expect("there").body, body, "{server:?}");
        assert_eq!(present(&source, "other").await.expect("there").body.len(), body.len(), "{server:?}");
        let Page { rows, next, .. } = source.page(None, 100).await.expect("readable");
        assert!(rows.len() < 41 && next.is_some(), "{server:?}: a page of {} rows holds too much", rows.len());
        let (rows, poison) = whole_pass(&source, 100).await;
        assert_eq!((rows.len(), poison.len()), (41, 0), "{server:?}");
        assert!(rows.iter().filter(|r| r.is_kubernetes() && !r.id.ends_with("small")).all(|r| r.body == body), "{server:?}");
        assert!(rows.iter().all(|r| r.is_kubernetes() || r.body.is_empty()), "another type's body is not carried about");
        db.drop_now().await;
    }
}

#[tokio::test]
async fn a_reading_waits_for_no_writer_and_sees_only_what_is_committed() {
    for server in SERVERS {
        let db = database(server, "locks").await;
        put(&db, "prod", "kubernetes", r#"{"v":1}"#, 1).await;
        let source = reader(&db);
        assert!(present(&source, "prod").await.is_some());
        let writer = reader_pool(&db);
        let mut tx = writer.begin().await.expect("a transaction");
        tx.exec("update accounts set body = '{\"v\":2}', last_modified_at = 99 where id = 'prod'", &[]).await.expect("updated");
        assert_eq!(present(&source, "prod").await.expect("there").body, r#"{"v":1}"#, "{server:?}");
        tx.commit().await.expect("committed");
        // The same pooled connection has read before: no snapshot of it may be left.
        assert_eq!(present(&source, "prod").await.expect("there").body, r#"{"v":2}"#, "{server:?}");
        // A reading leaves no lock behind for Clouddriver to wait for.
        let pause = Duration::from_secs(5);
        eventually("a writer is let through", pause, || async { db.admin.try_exec("delete from accounts").await.ok() }).await;
        db.drop_now().await;
    }
}

fn reader_pool(db: &TestDatabase) -> Db {
    Db::open(&db.pool_config())
}

/// A stand-in and a reader of its API.
async fn api_of(options: Options) -> (StandIn, Source) {
    let cd = StandIn::start(options).await.expect("started");
    let api = api_at(cd.address(), "", None);
    (cd, api)
}

fn api_at(address: SocketAddr, context_path: &str, user: Option<&str>) -> Source {
    Source::Api(Api::new(ApiConfig {
        host: address.ip().to_string().into(),
        tls: None,
        port: address.port(),
        context_path: context_path.into(),
        user: user.map(str::to_owned),
    }))
}

async fn store(cd: &StandIn, name: &str, note: &str) -> i64 {
    cd.upsert(&json!({"type": "kubernetes", "name": name, "context": note})).await.expect("stored");
    let rows = cd.rows().await.expect("rows");
    rows.iter().find(|r| r.body.contains(&format!(r#""name":"{name}""#))).expect("stored").created
}

async fn said(source: &Source, name: &str) -> String {
    match source.read(name).await.expect("readable") {
        Reading::Present(row) => format!("{} {}", row.id, row.incarnation.0),
        Reading::Absent => "absent".to_owned(),
        Reading::Unknown(_) => "unknown".to_owned(),
    }
}

#[tokio::test]
async fn by_the_api_a_life_has_the_same_name_as_in_the_table() {
    let (cd, api) = api_of(Options::default()).await;
    let first = store(&cd, "b", "1").await;
    assert_eq!(store(&cd, "b", "2").await, first, "a change is no new life");
    assert_eq!(said(&api, "b").await, format!("b {first}"));
    cd.remove("b").await.expect("removed");
    assert_eq!(said(&api, "b").await, "absent", "at the end of the list");
    store(&cd, "c", "").await;
    assert_eq!(said(&api, "b").await, "absent", "with another after it");
    let second = store(&cd, "b", "3").await;
    assert_ne!(first, second);
    let Ok(Reading::Present(row)) = api.read("b").await else { panic!("present") };
    assert_eq!((row.incarnation, row.kind.as_str(), row.body.contains(r#""context":"3""#)), (Incarnation(second), "kubernetes", true));
    assert_eq!(said(&api, "nobody").await, "absent");
    assert_eq!(api.pre_image("b").await, PreImage::Unknown);
}

#[tokio::test]
async fn by_the_api_a_secret_that_does_not_resolve_is_never_taken_for_a_deletion() {
    for last in [true, false] {
        let (cd, api) = api_of(Options::default()).await;
        let born = store(&cd, "m", "").await;
        if !last {
            store(&cd, "z", "").await;
        }
        cd.set_unresolvable("m", true);
        assert_eq!(said(&api, "m").await, "unknown", "last in the list: {last}");
        // Its old secret keeps the history unreadable, also when the account is gone: then only a name after it proves that.
        cd.remove("m").await.expect("removed");
        assert_eq!(said(&api, "m").await, if last { "unknown" } else { "absent" });
        cd.set_unresolvable("m", false);
        assert_eq!(said(&api, "m").await, "absent");
        assert_ne!(store(&cd, "m", "").await, born);
    }
}

#[tokio::test]
async fn by_the_api_spellings_are_one_where_clouddrivers_database_says_so() {
    let (cd, api) = api_of(Options { names: Names::LikeMariaDb, ..Options::default() }).await;
    let born = store(&cd, "acc", "").await;
    for name in ["acc", "ACC", "Acc "] {
        assert_eq!(said(&api, name).await, format!("acc {born}"), "{name:?}");
    }
    // The id stays, the definition has the last spelling, and the definition is what the API shows.
    cd.upsert(&json!({"type": "kubernetes", "name": "ACC "})).await.expect("stored");
    for name in ["acc", "ACC "] {
        assert_eq!(said(&api, name).await, format!("ACC  {born}"), "{name:?}");
    }
    cd.remove("aCC").await.expect("removed");
    for name in ["acc", "ACC "] {
        assert_eq!(said(&api, name).await, "absent", "{name:?}");
    }
    let (cd, api) = api_of(Options::default()).await;
    store(&cd, "acc", "").await;
    assert_eq!(said(&api, "ACC").await, "absent", "acc comes after it, has a life of its own and ACC has none");
}

#[tokio::test]
async fn by_the_api_an_account_of_another_type_is_there_and_not_kubernetes() {
    let (cd, api) = api_of(Options::default()).await;
    cd.upsert(&json!({"type": "aws", "name": "a"})).await.expect("stored");
    let Ok(Reading::Present(row)) = api.read("a").await else { panic!("present") };
    assert!(!row.is_kubernetes());
}

#[tokio::test]
async fn by_the_api_names_that_no_path_can_hold_are_unknown() {
    let (_cd, api) = api_of(Options::default()).await;
    for name in ["", ".", "..", "a/b", "a;b", "a%2fb", "a\\b", "a\u{0}"] {
        assert_eq!(said(&api, name).await, "unknown", "{name:?}");
    }
    for name in ["a b", "ünï", "a+b", "a?b#c&limit=5", "😀"] {
        assert_eq!(said(&api, name).await, "absent", "{name:?}");
    }
}

#[tokio::test]
async fn by_the_api_a_pass_steps_over_what_clouddriver_leaves_out() {
    let (cd, api) = api_of(Options::default()).await;
    for i in 0..60 {
        store(&cd, &format!("n{i:02}"), "").await;
    }
    // A hole at the start, one larger than a page in the middle, one of one row, one at the end.
    let hidden: BTreeSet<String> = [0..3, 20..41, 50..51, 58..60].into_iter().flatten().map(|i| format!("n{i:02}")).collect();
    for name in &hidden {
        cd.set_unresolvable(name, true);
    }
    for limit in [1, 2, 5, 100] {
        let (mut seen, mut after) = (Vec::new(), None::<String>);
        loop {
            let page = api.page(after.as_deref(), limit).await.expect("readable");
            assert!(page.poison.is_empty());
            seen.extend(page.rows.into_iter().map(|r| r.id));
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        let expected: Vec<String> = (0..60).map(|i| format!("n{i:02}")).filter(|n| !hidden.contains(n)).collect();
        assert_eq!(seen, expected, "limit {limit}");
    }
}

#[tokio::test]
async fn by_the_api_a_change_between_two_questions_never_mixes_two_lives() {
    let (cd, api) = api_of(Options::default()).await;
    let writer = cd.clone();
    let storm = tokio::spawn(async move {
        let mut lives = BTreeMap::new();
        for n in 0..300 {
            writer.remove("a").await.expect("removed or not there");
            lives.insert(n.to_string(), store(&writer, "a", &n.to_string()).await);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        lives
    });
    let mut seen = Vec::new();
    while !storm.is_finished() || seen.is_empty() {
        if let Reading::Present(row) = api.read("a").await.expect("readable") {
            seen.push(row);
        }
    }
    let lives = storm.await.expect("the storm ends");
    for row in seen {
        let body: Value = serde_json::from_str(&row.body).expect("JSON");
        let note = body["context"].as_str().expect("a note");
        assert_eq!(lives.get(note).copied(), Some(row.incarnation.0), "the definition of one life with the time of another");
    }
}

/// Answers every request on one port with the same bytes and keeps what it was asked.
async fn canned(answer: &'static str, then_close: bool) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let asked = Arc::new(Mutex::new(Vec::new()));
    let kept = asked.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let kept = kept.clone();
            tokio::spawn(async move {
                let mut head = Vec::new();
                let mut buffer = [0; 4096];
                while let Ok(n) = stream.read(&mut buffer).await {
                    if n == 0 {
                        return;
                    }
                    head.extend_from_slice(&buffer[..n]);
                    if head.ends_with(b"\r\n\r\n") {
                        kept.lock().expect("not poisoned").push(String::from_utf8_lossy(&head).into_owned());
                        head.clear();
                        if stream.write_all(answer.as_bytes()).await.is_err() || then_close {
                            return;
                        }
                    }
                }
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn by_the_api_the_configured_user_and_prefix_are_sent() {
    let (at, asked) = canned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", false).await;
    let api = api_at(at, "/cd", Some("fairlead@example.com"));
    api.check().await.expect("answered");
    assert_eq!(said(&api, "a b").await, "absent");
    let asked = asked.lock().expect("not poisoned").clone();
    assert!(asked[0].starts_with("GET /cd/credentials/type/kubernetes?limit=1 HTTP/1.1\r\n"), "{}", asked[0]);
    assert!(asked.iter().all(|a| a.to_ascii_lowercase().contains("x-spinnaker-user: fairlead@example.com\r\n")), "{asked:?}");
    assert!(asked[1].starts_with("GET /cd/credentials/type/kubernetes?limit=1&startingAccountName=a%20b HTTP/1.1\r\n"), "{}", asked[1]);
    assert!(asked[2].starts_with("GET /cd/credentials/a%20b/history HTTP/1.1\r\n"), "{}", asked[2]);
}

#[tokio::test]
async fn by_the_api_a_refusal_says_what_to_change_and_never_what_was_answered() {
    for (answer, words) in [
        ("HTTP/1.1 400 \r\ncontent-length: 6\r\n\r\nSECRET", "account.storage.enabled"),
        ("HTTP/1.1 403 \r\ncontent-length: 6\r\n\r\nSECRET", "account manager"),
        ("HTTP/1.1 404 \r\ncontent-length: 6\r\n\r\nSECRET", "contextPath"),
        ("HTTP/1.1 503 \r\ncontent-length: 6\r\n\r\nSECRET", "503"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n[{SECRET}]", "no JSON array"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n[{\"SECRET\": 1}]", "no JSON array"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n[{\"SECRET\": 1}]", "no name"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n[{SECRET", "broke off"),
        ("SECRET\r\n\r\n", "no answer"),
    ] {
        let (at, _) = canned(answer, true).await;
        let api = api_at(at, "", None);
        for e in [api.check().await.expect_err("refused"), api.read("a").await.expect_err("refused")] {
            let text = e.to_string();
            assert!(text.contains(words) && text.contains(&at.to_string()), "{text}");
            assert!(!text.contains("SECRET") && e.is_transient(), "{text}");
        }
    }
}

#[tokio::test]
async fn by_the_api_a_kept_connection_that_was_closed_is_replaced() {
    let (at, asked) = canned("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", true).await;
    let api = api_at(at, "", None);
    for _ in 0..20 {
        api.check().await.expect("answered");
    }
    assert_eq!(asked.lock().expect("not poisoned").len(), 20);
}

#[tokio::test]
async fn by_the_api_nobody_there_is_told_with_the_hop() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound");
    let text = api_at(unused, "", None).check().await.expect_err("nobody").to_string();
    assert!(text.contains(&unused.to_string()) && text.contains("no connection"), "{text}");
}
