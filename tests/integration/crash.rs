//! The process dies at every step of the mirror, for every kind of change; the next one brings mirror and Clouddriver together.
//!
//! Needs the feature `failpoints`, which `make test` switches on. Clouddriver is the stand-in with its rows in a real database.

use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::mirror::CRASH_POINTS;
use fairlead::store::Db;

use crate::support::databases::{Server, TestDatabase, eventually};
use crate::support::http::{self, Request};
use crate::support::process::{Fairlead, Setup};

const SOON: Duration = Duration::from_secs(60);

fn definition(name: &str, note: &str) -> String {
    format!(r#"{{"type": "kubernetes", "name": "{name}", "namespaces": ["{note}"], "kubeconfigContents": "apiVersion: v1"}}"#)
}

fn request(method: &str, name: &str) -> Request {
    match method {
        "POST" => Request::new("POST", "/credentials").json(definition(name, "posted")),
        "PUT" => Request::new("PUT", "/credentials").json(definition(name, "updated")),
        _ => Request::new("DELETE", &format!("/credentials/{name}")),
    }
}

struct World {
    db: TestDatabase,
    fairlead: Fairlead,
    _clouddriver: StandIn,
}

impl World {
    async fn new(server: Server) -> Self {
        let mut db = TestDatabase::create(server, "crash").await;
        db.make_accounts_table().await;
        let user = db.fairlead_user().await;
        let table = Some(Db::open(&db.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let times = "kubesvc.dynamicAccounts.interceptor.unknownOutcomeWindow: 2s\nfairlead.replica: { lease: 1s, heartbeat: 200ms }\n";
        let mut setup = Setup::new(&format!("crash-{}", server.word()), clouddriver.address().port()).database(&db.jdbc(), &user);
        setup.more = format!("{times}kubesvc.dynamicAccounts.interceptor.maxWait: 2s\n");
        Self { db, fairlead: Fairlead::start(setup).await, _clouddriver: clouddriver }
    }

    async fn change(&self, method: &str, name: &str) -> Option<u16> {
        http::call(self.fairlead.setup.port, &request(method, name)).await.ok().map(|a| a.status)
    }

    /// Runs without fail points until nothing is open.
    async fn come_to_rest(&mut self) {
        self.fairlead.kill();
        self.fairlead.setup.failpoints = None;
        self.fairlead.launch_again();
        self.fairlead.ready().await;
        eventually("no open intent, no gap", SOON, async || {
            let open = "select (select count(*) from fairlead_intents) + (select count(*) from fairlead_epochs where state = 'gap')";
            (self.db.admin.number(open).await == 0).then_some(())
        })
        .await;
        assert!(self.fairlead.drain().await.success());
    }

    /// One process that dies at `point` while it handles this change.
    async fn crash(&mut self, point: &str, method: &str, name: &str) {
        self.fairlead.setup.failpoints = Some(format!("{point}=return"));
        self.fairlead.launch_again();
        self.fairlead.ready().await;
        self.change(method, name).await;
        let fairlead = &mut self.fairlead;
        let start = std::time::Instant::now();
        while !fairlead.has_ended() {
            assert!(start.elapsed() < SOON, "{point} was not met by a {method}:\n{}", fairlead.log_tail());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn rows(&self, table: &str, name: &str, column: &str) -> Vec<(String, serde_json::Value)> {
        let rows = self.db.admin.rows(&format!("select {name}, {column} from {table} order by {name}")).await;
        rows.iter()
            .map(|r| (r[0].clone().unwrap_or_default(), serde_json::from_str(r[1].as_deref().unwrap_or("null")).expect("a definition")))
            .collect()
    }
}

async fn converges_after_a_crash_at_every_step(server: Server) {
    let mut w = World::new(server).await;
    let (early, late) = CRASH_POINTS.split_at(3);
    // What is updated and deleted later is mirrored first.
    for point in CRASH_POINTS {
        for method in ["PUT", "DELETE"] {
            assert_eq!(w.change("POST", &format!("{point}-{method}").to_lowercase()).await, Some(200));
        }
    }
    w.come_to_rest().await;
    assert_eq!(w.rows("kubesvc_accounts", "name", "definition").await.len(), 2 * CRASH_POINTS.len());

    for point in early {
        for method in ["POST", "PUT", "DELETE"] {
            w.crash(point, method, &format!("{point}-{method}").to_lowercase()).await;
        }
    }
    w.come_to_rest().await;
    for point in late {
        for method in ["POST", "PUT", "DELETE"] {
            w.crash(point, method, &format!("{point}-{method}").to_lowercase()).await;
            // A later process must not meet this one's leavings with its own fail point switched on.
            w.come_to_rest().await;
        }
    }
    let (theirs, ours) = (w.rows("accounts", "id", "body").await, w.rows("kubesvc_accounts", "name", "definition").await);
    let names = |rows: &[(String, serde_json::Value)]| rows.iter().map(|r| r.0.clone()).collect::<Vec<_>>();
    assert_eq!(names(&ours), names(&theirs), "{server:?}");
    assert_eq!(ours, theirs, "{server:?}");
    // Nothing was forwarded where the process died before it.
    assert!(!names(&ours).contains(&"before-forward-post".to_owned()));
    assert!(names(&ours).contains(&"outcome-known-post".to_owned()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_converges_after_a_crash_at_every_step_of_the_mirror() {
    converges_after_a_crash_at_every_step(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_converges_after_a_crash_at_every_step_of_the_mirror() {
    converges_after_a_crash_at_every_step(Server::Postgres).await;
}
