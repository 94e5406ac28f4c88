//! Fairlead's connection to its database is cut exactly between a statement that was done and its answer: each one that a change, or a
//! replica's life, depends on. Nothing is lost and nothing is done twice.

use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;
use serde_json::Value;

use crate::support::databases::{Server, TestDatabase, eventually};
use crate::support::http::{self, Request};
use crate::support::process::{Fairlead, Setup};
use crate::support::relay::{Mode, Relay};
use crate::support::rest::rest;

const SOON: Duration = Duration::from_secs(20);

/// How the statements begin whose answers are lost.
const JOURNAL: &str = "insert into fairlead_intents";
const FIRST_SIGHT: &str = "insert into fairlead_names";
const SETTLE: &str = "COMMIT";
const END: &str = "delete from fairlead_intents";
const BEAT: &str = "update fairlead_epochs set alive_ms";
const REGISTER: &str = "insert into fairlead_epochs";
const CLOSE: &str = "delete from fairlead_epochs";

struct World {
    db: TestDatabase,
    fairlead: Fairlead,
    relay: Relay,
    _clouddriver: StandIn,
}

impl World {
    /// A first start, at which `lost` is lost.
    async fn new(server: Server, name: &str, lost: &'static str) -> Self {
        let mut db = TestDatabase::create(server, "lost").await;
        db.make_accounts_table().await;
        let user = db.fairlead_user().await;
        let table = Some(Db::open(&db.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let (host, port) = server.address();
        let relay = Relay::start(&host, port).await;
        relay.lose_next(lost, Mode::Pass);
        let setup = Setup::new(&format!("lost-{}-{name}", server.word()), clouddriver.address().port());
        let setup = setup.database(&db.jdbc_at("127.0.0.1", relay.port), &user).calm();
        let fairlead = Fairlead::start(setup.with("kubesvc.dynamicAccounts.interceptor.maxWait: 5s")).await;
        let w = Self { db, fairlead, relay, _clouddriver: clouddriver };
        w.was_lost(1).await;
        eventually("account changes are taken", SOON, async || {
            let answer = http::call(w.fairlead.setup.port, &Request::new("POST", "/credentials")).await.ok()?;
            (answer.status != 503).then_some(())
        })
        .await;
        w.audit().await;
        w
    }

    /// Notes each write to the mirror, whoever makes it.
    async fn audit(&self) {
        let create = "create table audit (what varchar(8) not null, name varchar(255) not null)";
        self.db.admin.exec(create).await;
        match self.db.server {
            Server::MariaDb => {
                for (what, row) in [("insert", "new"), ("update", "new"), ("delete", "old")] {
                    let note = format!("insert into audit values ('{what}', {row}.name)");
                    self.db.admin.exec(&format!("create trigger audit_{what} after {what} on kubesvc_accounts for each row {note}")).await;
                }
            }
            Server::Postgres => {
                let note = "create function note() returns trigger security definer language plpgsql as \
                            $$ begin insert into audit values (lower(tg_op), coalesce(new.name, old.name)); return null; end $$";
                self.db.admin.exec(note).await;
                let after =
                    "create trigger audit after insert or update or delete on kubesvc_accounts for each row execute function note()";
                self.db.admin.exec(after).await;
            }
        }
    }

    async fn was_lost(&self, times: u32) {
        eventually("an answer is lost", SOON, async || (self.relay.lost() == times).then_some(())).await;
    }

    /// One change; the answer to the next such statement is lost. Waits for rest.
    async fn change(&self, lost: &'static str, method: &str, name: &str, note: &str, status: u16) {
        let before = self.relay.lost();
        self.relay.lose_next(lost, Mode::Pass);
        self.send(method, name, note, status).await;
        self.was_lost(before + 1).await;
        self.rest().await;
    }

    async fn send(&self, method: &str, name: &str, note: &str, status: u16) {
        let request = match method {
            "DELETE" => Request::new("DELETE", &format!("/credentials/{name}")),
            _ => Request::new(method, "/credentials")
                .json(format!(r#"{{"type": "kubernetes", "name": "{name}", "namespaces": ["{note}"], "kubeconfigContents": "v1"}}"#)),
        };
        let answer = http::call(self.fairlead.setup.port, &request).await.expect("an answer");
        assert_eq!(answer.status, status, "{method} {name}: {}\n{}", answer.text(), self.fairlead.log_tail());
    }

    async fn rest(&self) {
        rest(&self.db.admin, &[&self.fairlead]).await;
    }

    /// What was done to the mirror since the last look, in order of names.
    async fn done(&self) -> Vec<String> {
        let rows = self.db.admin.rows("select what, name from audit order by name, what").await;
        self.db.admin.exec("delete from audit").await;
        rows.iter().map(|r| r.iter().map(|c| c.as_deref().unwrap_or("")).collect::<Vec<_>>().join(" ")).collect()
    }

    async fn agrees(&self) {
        let read = async |sql: &str| -> Vec<(Option<String>, Value)> {
            let rows = self.db.admin.rows(sql).await;
            rows.into_iter().map(|mut r| (r[0].take(), serde_json::from_str(r[1].as_deref().unwrap_or("null")).expect("JSON"))).collect()
        };
        let theirs = read("select id, body from accounts order by id").await;
        assert_eq!(read("select name, definition from kubesvc_accounts order by name").await, theirs, "{}", self.fairlead.log_tail());
    }

    /// The only life of the only replica, and that it has left no gap.
    async fn life(&self) -> String {
        let rows = self.db.admin.rows("select id, state from fairlead_epochs").await;
        assert_eq!(rows.iter().map(|r| r[1].as_deref()).collect::<Vec<_>>(), [Some("open")], "{}", self.fairlead.log_tail());
        rows[0][0].clone().expect("an id")
    }
}

async fn does_each_change_once_though_the_answer_is_lost(server: Server) {
    let mut w = World::new(server, "each", REGISTER).await;
    let life = w.life().await;

    w.change(JOURNAL, "POST", "journal", "1", 200).await;
    w.change(FIRST_SIGHT, "POST", "first", "1", 200).await;
    w.change(SETTLE, "POST", "settle", "1", 200).await;
    assert_eq!(w.done().await, ["insert first", "insert journal", "insert settle"], "{server:?}");
    w.agrees().await;

    w.change(JOURNAL, "PUT", "journal", "2", 200).await;
    w.change(SETTLE, "PUT", "settle", "2", 200).await;
    assert_eq!(w.done().await, ["update journal", "update settle"], "{server:?}");
    w.agrees().await;

    // Refused: the intent ends by a statement of its own.
    w.change(END, "POST", "first", "2", 400).await;
    assert_eq!(w.done().await, Vec::<String>::new(), "{server:?}");

    // As if agents had them: each deletion leaves one tombstone.
    w.db.admin.exec("update kubesvc_accounts set fl_sent = 1").await;
    w.done().await;
    w.change(JOURNAL, "DELETE", "journal", "", 200).await;
    w.change(SETTLE, "DELETE", "settle", "", 200).await;
    // By way of DELETING: no agent is connected, so the rows go and tombstones stay.
    eventually("both rows are gone", SOON, async || {
        (w.db.admin.number("select count(*) from kubesvc_accounts where name in ('journal', 'settle')").await == 0).then_some(())
    })
    .await;
    let done = w.done().await;
    assert_eq!(done.iter().filter(|d| d.starts_with("delete")).collect::<Vec<_>>(), ["delete journal", "delete settle"], "{server:?}");
    assert_eq!(w.db.admin.number("select count(*) from fairlead_tombstones").await, 2, "{server:?}");
    w.agrees().await;

    // The life of the replica: a beat, and its end.
    let before = w.relay.lost();
    w.relay.lose_next(BEAT, Mode::Pass);
    w.was_lost(before + 1).await;
    let beat = w.db.admin.number("select beat from fairlead_epochs").await;
    eventually("it beats on", SOON, async || (w.db.admin.number("select beat from fairlead_epochs").await > beat + 1).then_some(())).await;
    assert_eq!(w.life().await, life, "{server:?}");
    w.relay.lose_next(CLOSE, Mode::Pass);
    assert!(w.fairlead.drain().await.success());
    w.was_lost(before + 2).await;
    assert_eq!(w.db.admin.number("select count(*) from fairlead_epochs").await, 0, "{server:?}: a clean drain leaves no gap");
}

/// Trace 12: the settling's commit was done and not heard of; then a user takes the account out; then the settling is done again.
async fn does_not_bring_back_what_a_user_took_out(server: Server) {
    let w = World::new(server, "taken", REGISTER).await;
    w.relay.lose_next(SETTLE, Mode::Refuse);
    w.send("POST", "taken", "1", 200).await;
    w.was_lost(2).await;
    // The relay loses the answer of what it passes on; the commit may be on its way still.
    eventually("it is committed", SOON, async || {
        (w.db.admin.exec("delete from kubesvc_accounts where name = 'taken'").await == 1).then_some(())
    })
    .await;
    w.relay.set(Mode::Pass);
    w.rest().await;
    assert_eq!(w.done().await, ["delete taken", "insert taken"], "{server:?}");
    assert_eq!(w.db.admin.number("select count(*) from kubesvc_accounts").await, 0, "{server:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_does_each_change_once_though_a_commits_answer_is_lost() {
    does_each_change_once_though_the_answer_is_lost(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_does_each_change_once_though_a_commits_answer_is_lost() {
    does_each_change_once_though_the_answer_is_lost(Server::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_settling_that_is_done_again_does_not_bring_back_what_a_user_took_out_meanwhile() {
    tokio::join!(does_not_bring_back_what_a_user_took_out(Server::MariaDb), does_not_bring_back_what_a_user_took_out(Server::Postgres));
}
