//! The scanner in the program: its keys, a crash after each page, a drain.

use std::time::{Duration, Instant};

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;

use super::rig::SOON;
use crate::support::databases::{SERVERS, Server, TestDatabase, eventually};
use crate::support::http::{self, Request};
use crate::support::process::{Fairlead, Setup, folder};

const ROWS: usize = 9;

struct World {
    db: TestDatabase,
    fairlead: Fairlead,
    _clouddriver: StandIn,
}

impl World {
    /// Rows are stored before Fairlead ever runs.
    async fn new(server: Server, name: &str, keys: &str) -> Self {
        Self::with(server, name, keys, |setup| setup).await
    }

    /// As [`World::new`]; `more` is done to the setup before the start.
    async fn with(server: Server, name: &str, keys: &str, more: impl FnOnce(Setup) -> Setup) -> Self {
        let mut db = TestDatabase::create(server, "scan_process").await;
        db.make_accounts_table().await;
        for n in 0..ROWS {
            store(&db, &format!("account1-{n}")).await;
        }
        store(&db, "other").await;
        let user = db.fairlead_user().await;
        let clouddriver =
            StandIn::start(Options { table: Some(Db::open(&db.pool_config())), ..Options::default() }).await.expect("stand-in");
        let setup = Setup::new(&format!("scan-{name}-{}", server.word()), clouddriver.address().port()).database(&db.jdbc(), &user);
        let setup = more(setup.lease(Duration::from_secs(1)).with(keys));
        Self { db, fairlead: Fairlead::spawn(setup), _clouddriver: clouddriver }
    }

    /// One more replica on the same tables.
    async fn another(&self) -> Fairlead {
        let (jdbc, user) = self.fairlead.setup.database.clone().expect("a database");
        let setup = Setup::new(&format!("{}-b", self.fairlead.setup.name), self.fairlead.setup.clouddriver_port).database(&jdbc, &user);
        Fairlead::start(setup.lease(Duration::from_secs(1)).with(&self.fairlead.setup.more)).await
    }

    async fn mirrored(&self) -> i64 {
        self.db.admin.number("select count(*) from kubesvc_accounts where status = 'TO_MIGRATE' and fl_origin = 'scanner'").await
    }
}

async fn store(db: &TestDatabase, name: &str) {
    let body = format!(r#"{{"type": "kubernetes", "name": "{name}", "kubeconfigContents": "c"}}"#);
    db.admin.exec(&format!("insert into accounts values ('{name}', 'kubernetes', '{body}', 1000, 1000, 'someone')")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_scan_that_is_killed_after_any_page_is_made_good_by_the_next_and_migrates_nothing_twice() {
    for server in SERVERS {
        let keys = "kubesvc.dynamicAccounts: { namePatterns: ['^account1.*'], scanPageSize: 2 }";
        let mut w = World::new(server, "killed", keys).await;
        w.fairlead.kill();
        for page in 0..4_usize {
            let skip = if page > 0 { format!("{page}*off->") } else { String::new() };
            w.fairlead.setup.failpoints = Some(format!("scan-page={skip}return"));
            w.fairlead.launch_again();
            let start = Instant::now();
            while !w.fairlead.has_ended() {
                assert!(start.elapsed() < SOON, "no page was read:\n{}", w.fairlead.log_tail());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            let there = w.mirrored().await;
            assert_eq!(there, 2 * (i64::try_from(page).unwrap() + 1), "{server:?}: page by page");
        }
        let before = w.db.admin.rows("select name, fl_rev, fl_generation from kubesvc_accounts order by name").await;
        w.fairlead.setup.failpoints = None;
        w.fairlead.launch_again();
        w.fairlead.ready().await;
        let all = || async { (w.mirrored().await == i64::try_from(ROWS).unwrap()).then_some(()) };
        eventually("all are migrated", SOON, all).await;
        let after = w.db.admin.rows("select name, fl_generation from kubesvc_accounts order by name").await;
        for row in &before {
            assert!(after.iter().any(|r| r[0] == row[0] && r[1] == row[2]), "{server:?}: {row:?} entered twice");
        }
        assert_eq!(w.db.admin.number("select count(*) from kubesvc_accounts where name = 'other'").await, 0);
        assert!(w.fairlead.drain().await.success());
        w.db.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_beyond_its_lease_while_it_took_an_account_in_brings_nothing_twice_and_nothing_back() {
    for server in SERVERS {
        let keys = "kubesvc.dynamicAccounts: { namePatterns: ['^account1.*'], scanPageSize: 2 }";
        let stops = |setup: Setup| {
            let setup = setup.holding("settle-read");
            std::fs::write(folder(&setup.name).join("hold"), "").expect("a file");
            setup
        };
        let mut w = World::with(server, "stopped", keys, stops).await;
        // It has read the first account as Clouddriver has it, and has written nothing.
        let held = w.fairlead.folder.join("hold.held");
        let start = Instant::now();
        while !held.exists() {
            assert!(start.elapsed() < SOON, "nothing is held:\n{}", w.fairlead.log_tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        w.fairlead.pause().await;
        std::fs::remove_file(&held).expect("it was there");
        assert_eq!(w.mirrored().await, 0, "{server:?}");
        let mut other = w.another().await;
        let all = || async { (w.mirrored().await == i64::try_from(ROWS).unwrap()).then_some(()) };
        eventually("the other one migrates all", SOON, all).await;
        let gone = Request::new("DELETE", "/armory/accounts/account1-0");
        assert_eq!(http::call(other.setup.port, &gone).await.expect("an answer").status, 202, "{server:?}");
        let rows = "select name, fl_generation, status from kubesvc_accounts order by name";
        let before = w.db.admin.rows(rows).await;
        assert_eq!(before.len(), ROWS - 1, "{server:?}: {before:?}");
        w.fairlead.resume();
        let overtaken = || async { w.fairlead.metric("fairlead_scan_errors_total").await.filter(|n| *n > 0.0) };
        eventually("it hears that it was overtaken", SOON, overtaken).await;
        let scans = || async { w.fairlead.metric("fairlead_scan_last_success_timestamp_seconds").await.filter(|t| *t > 0.0) };
        eventually("its own next scan comes to an end", SOON, scans).await;
        assert_eq!(w.db.admin.rows(rows).await, before, "{server:?}");
        assert!(w.fairlead.told().await.contains("another replica scans now"), "{server:?}:\n{}", w.fairlead.log_tail());
        for fairlead in [&mut w.fairlead, &mut other] {
            assert!(fairlead.drain().await.success(), "{server:?}");
        }
        w.db.drop_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_stored_later_is_found_by_the_next_scan_and_a_drain_gives_the_turn_back() {
    let keys = "kubesvc.dynamicAccounts: { scan: true, scanBatchSize: 5, scanFrequencySeconds: 1, fullScanFrequencySeconds: 3, \
         namePatterns: ['^account1.*','^.*account2.*'] }";
    let mut w = World::new(Server::MariaDb, "later", keys).await;
    w.fairlead.ready().await;
    let so = |n: i64| {
        let w = &w;
        async move { eventually("they are migrated", SOON, || async { (w.mirrored().await == n).then_some(()) }).await }
    };
    so(9).await;
    store(&w.db, "my-account2").await;
    so(10).await;
    // Posted through the proxy: mirrored at once, and activated by its name with no PATCH; another one stays INACTIVE.
    for name in ["account1-posted", "posted"] {
        let body = format!(r#"{{"type": "kubernetes", "name": "{name}", "kubeconfigContents": "c"}}"#);
        let answer = http::call(w.fairlead.setup.port, &Request::new("POST", "/credentials").json(body)).await.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let status = |name: &'static str| {
        let w = &w;
        async move { w.db.admin.rows(&format!("select status from kubesvc_accounts where name = '{name}'")).await }
    };
    let to = |name: &'static str, wanted: &'static str| {
        let status = &status;
        async move {
            let is = || async { (status(name).await == [[Some(wanted.to_owned())]]).then_some(()) };
            eventually(&format!("{name} is {wanted}"), SOON, is).await;
        }
    };
    to("account1-posted", "TO_MIGRATE").await;
    to("posted", "INACTIVE").await;
    let counted = || async {
        let page = http::get(w.fairlead.setup.admin_port, "/metrics").await.ok()?.text();
        let mut lines = page.lines().filter(|l| l.starts_with("fairlead_dispatch_accounts{") && l.ends_with(" 1"));
        lines.any(|l| l.contains(r#"status="INACTIVE""#) && l.contains(r#"origin="interceptor""#)).then_some(())
    };
    eventually("accounts are counted by state and origin", SOON, counted).await;
    let told = || async { (w.fairlead.metric("fairlead_scan_matched_accounts").await == Some(11.0)).then_some(()) };
    eventually("the last full scan is told", SOON, told).await;
    let small = || async {
        let page = http::get(w.fairlead.setup.admin_port, "/metrics").await.ok()?.text();
        (page.contains(r#"fairlead_scans_total{kind="full"}"#) && page.contains(r#"fairlead_scans_total{kind="changed"}"#)).then_some(())
    };
    eventually("there are smaller ones between full ones", SOON, small).await;
    assert!(w.fairlead.metric("fairlead_scan_last_success_timestamp_seconds").await.is_some_and(|t| t > 0.0));
    let page = http::get(w.fairlead.setup.admin_port, "/metrics").await.expect("a page").text();
    assert!(page.contains("fairlead_scan_seconds_count"), "{page}");
    assert!(w.fairlead.drain().await.success());
    let turn = w.db.admin.rows("select v from fairlead_meta where k = 'scan'").await;
    assert!(turn[0][0].as_deref().is_some_and(|v| v.starts_with("0 - ")), "{turn:?}");
    w.db.drop_now().await;
}
