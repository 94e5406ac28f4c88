//! The disk below Fairlead's own tables is full, and has room again: a small disk that only the server sees, or the process itself with SQLite.
//!
//! Clouddriver's table is elsewhere, so that Clouddriver goes on.

use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;
use serde_json::Value;

use crate::support::databases::{Server, Sql, TestDatabase, eventually};
use crate::support::http::{self, Request};
use crate::support::process::{Fairlead, Setup, folder};
use crate::support::server::{self, Disk, OwnServer};

const SOON: Duration = Duration::from_secs(90);
/// Changes after which the database must have refused to take more.
const MANY: u32 = 1500;

/// Where Fairlead's tables are.
enum Tables {
    Server(Box<OwnServer>),
    Sqlite,
}

struct World {
    fairlead: Fairlead,
    disk: Disk,
    theirs: TestDatabase,
    _clouddriver: StandIn,
    tables: Tables,
}

impl World {
    async fn new(kind: Option<Server>, name: &str) -> Self {
        let mut theirs = TestDatabase::create(kind.unwrap_or(Server::Postgres), "full").await;
        theirs.make_accounts_table().await;
        let user = theirs.fairlead_user().await;
        let table = Some(Db::open(&theirs.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let mut setup = Setup::new(&format!("full-{name}"), clouddriver.address().port()).calm();
        let (jdbc, accounts) = (theirs.jdbc(), "sql.connectionPools.accounts");
        setup = setup.with(&format!("sql.enabled: true\n{accounts}: {{ jdbcUrl: \"{jdbc}\", user: {user}, password: {user} }}"));
        let tables = match kind {
            Some(kind) => {
                let own = OwnServer::start(kind, &setup.name, Some(64)).await;
                setup = setup.database(&own.jdbc_at(own.port), server::NAME);
                Tables::Server(Box::new(own))
            }
            None => {
                let small = folder(&setup.name).join("small");
                std::fs::create_dir_all(&small).expect("a folder");
                setup = setup.with(&format!("fairlead.sqlite.path: {}", small.join("fairlead.db").display()));
                setup.disk = Some((small, 2));
                Tables::Sqlite
            }
        };
        let fairlead = Fairlead::start(setup).await;
        let disk = match &tables {
            Tables::Server(own) => own.disk(),
            Tables::Sqlite => Disk::of(fairlead.id(), &fairlead.setup.disk.as_ref().expect("it has one").0),
        };
        Self { fairlead, disk, theirs, _clouddriver: clouddriver, tables }
    }

    async fn change(&self, method: &str, name: &str) {
        // Nothing that a database could make small.
        let kubeconfig: String = (0..8_000).map(|_| fastrand::alphanumeric()).collect();
        let request = match method {
            "DELETE" => Request::new("DELETE", &format!("/credentials/{name}")),
            _ => Request::new(method, "/credentials")
                .json(format!(r#"{{"type": "kubernetes", "name": "{name}", "kubeconfigContents": "{kubeconfig}"}}"#)),
        };
        let answer = http::call(self.fairlead.setup.port, &request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{method} {name}: {}\n{}", answer.text(), self.fairlead.log_tail());
    }

    async fn count(&self, metric: &str) -> f64 {
        self.fairlead.metric(metric).await.unwrap_or_default()
    }

    async fn rest(&self) {
        let seen = self.fairlead.level("observations").await.unwrap_or_default();
        eventually("nothing is open", SOON, async || {
            // What the page tells of the database is newer than this wait after two looks.
            self.fairlead.level("observations").await.filter(|n| *n > seen + 1)?;
            for level in ["openIntents", "gapsOpen", "gapsSecondPass", "openChanges", "unjournalled", "settling", "sweepDue"] {
                self.fairlead.level(level).await.filter(|n| *n == 0)?;
            }
            Some(())
        })
        .await;
    }

    async fn agrees(&self) {
        let read = async |sql: &Sql, from: &str| -> Vec<(Option<String>, Value)> {
            let mut rows = sql.rows(from).await;
            rows.sort();
            rows.into_iter().map(|mut r| (r[0].take(), serde_json::from_str(r[1].as_deref().unwrap_or("null")).expect("JSON"))).collect()
        };
        let theirs = read(&self.theirs.admin, "select id, body from accounts").await;
        let copy = tempfile::tempdir().expect("a folder");
        let ours = match &self.tables {
            Tables::Server(own) => own.admin.clone(),
            Tables::Sqlite => {
                // SQLite follows links to a name that is another file here, so a copy is read.
                for file in ["fairlead.db", "fairlead.db-wal"] {
                    let _ = std::fs::copy(self.disk.path(file), copy.path().join(file));
                }
                Sql::open(&format!("sqlite:{}", copy.path().join("fairlead.db").display()))
            }
        };
        let ours = read(&ours, "select name, definition from kubesvc_accounts").await;
        let names = |rows: &[(Option<String>, Value)]| rows.iter().map(|r| r.0.clone().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(names(&ours), names(&theirs), "{}", self.fairlead.log_tail());
        assert!(ours == theirs, "a definition differs");
    }
}

async fn changes_pass_and_are_mirrored_when_there_is_room(kind: Option<Server>, name: &str) {
    if !server::can_mount() {
        println!("left out: no disk can be mounted here (it takes root)");
        return;
    }
    for _ in 0..3 {
        if one_full_disk(kind, name).await {
            return;
        }
        println!("{name}: the server itself has given up on the full disk; once more");
    }
    panic!("{name}: the server gives up each time");
}

/// `false`: the server has ended by itself, as InnoDB does where not even a rollback finds room.
async fn one_full_disk(kind: Option<Server>, name: &str) -> bool {
    let mut w = World::new(kind, name).await;
    for name in ["kept", "updated", "deleted"] {
        w.change("POST", name).await;
    }
    w.rest().await;
    w.agrees().await;

    w.disk.fill();
    w.change("PUT", "updated").await;
    w.change("DELETE", "deleted").await;
    let mut sent = 0;
    // A server may still have room in pages that it has.
    while w.count("fairlead_mirror_journal_errors_total").await == 0.0 || w.count("fairlead_mirror_settle_errors_total").await == 0.0 {
        assert!(sent < MANY, "the disk is full, and the database takes everything:\n{}", w.fairlead.log_tail());
        w.change("POST", &format!("new-{sent}")).await;
        sent += 1;
    }
    assert!(w.fairlead.told().await.contains("no room left"), "{}", w.fairlead.log_tail());
    assert_eq!(http::get(w.fairlead.setup.port, "/credentials/kept").await.expect("an answer").status, 200);
    assert_eq!(http::get(w.fairlead.setup.admin_port, "/health/live").await.expect("an answer").status, 200);

    if let Tables::Server(own) = &mut w.tables
        && own.has_ended()
    {
        return false;
    }
    w.disk.make_room();
    w.rest().await;
    w.agrees().await;
    w.change("POST", "afterwards").await;
    w.rest().await;
    w.agrees().await;
    println!("{name}: {sent} more changes until the journal was refused");
    true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_changes_pass_a_full_disk_and_are_mirrored_when_there_is_room() {
    changes_pass_and_are_mirrored_when_there_is_room(Some(Server::MariaDb), "mariadb").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_changes_pass_a_full_disk_and_are_mirrored_when_there_is_room() {
    changes_pass_and_are_mirrored_when_there_is_room(Some(Server::Postgres), "postgres").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_changes_pass_a_full_disk_and_are_mirrored_when_there_is_room() {
    changes_pass_and_are_mirrored_when_there_is_room(None, "sqlite").await;
}
