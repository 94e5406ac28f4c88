//! Reading Clouddriver's accounts: by SQL on real servers, by the API from a stand-in.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use fairlead::account::Incarnation;
use fairlead::source::{Error, Page, PreImage, Reading, Source, SourceRow, Sql};
use fairlead::store::db::Db;

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
            stop.send(true).expect("the storm listens");
            assert!(storm.await.expect("the storm ends") > 0);
            assert!(poison.is_empty());
            let mut seen = BTreeMap::<String, usize>::new();
            for row in &rows {
                *seen.entry(row.id.clone()).or_default() += 1;
            }
            assert!(seen.values().all(|n| *n == 1), "{server:?} round {round}: twice");
            assert!(lasting.iter().all(|id| seen.contains_key(id)), "{server:?} round {round}: missed");
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
