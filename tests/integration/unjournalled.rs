//! The journal hangs, a change passes all the same and is answered, and then its process is killed: the next one on its disk knows of it.

use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;

use crate::support::databases::{Server, TestDatabase, eventually};
use crate::support::http::{self, Request};
use crate::support::process::{Fairlead, Setup};
use crate::support::relay::{Mode, Relay};
use crate::support::rest::rest;

const SOON: Duration = Duration::from_secs(60);

struct World {
    db: TestDatabase,
    relay: Relay,
    fairlead: Fairlead,
    state: tempfile::TempDir,
    _clouddriver: StandIn,
}

impl World {
    async fn new(server: Server, name: &str, lease: Duration) -> Self {
        let mut db = TestDatabase::create(server, "unjournalled").await;
        db.make_accounts_table().await;
        let user = db.fairlead_user().await;
        let table = Some(Db::open(&db.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let (host, port) = server.address();
        let relay = Relay::start(&host, port).await;
        let state = tempfile::tempdir().expect("a folder");
        let mut setup = Setup::new(&format!("unjournalled-{}-{name}", server.word()), clouddriver.address().port())
            .database(&db.jdbc_at("127.0.0.1", relay.port), &user)
            .with(&format!("kubesvc.dynamicAccounts.interceptor.stateDir: {}", state.path().display()));
        (setup.window, setup.lease) = (Duration::from_secs(3), lease);
        let fairlead = Fairlead::start(setup).await;
        Self { db, relay, fairlead, state, _clouddriver: clouddriver }
    }

    async fn change(&self, method: &str, name: &str) {
        let request = match method {
            "DELETE" => Request::new("DELETE", &format!("/credentials/{name}")),
            _ => Request::new(method, "/credentials")
                .json(format!(r#"{{"type": "kubernetes", "name": "{name}", "namespaces": ["{method}"]}}"#)),
        };
        let answer = http::call(self.fairlead.setup.port, &request).await.expect("an answer");
        assert_eq!(answer.status, 200, "{method} {name}: {}\n{}", answer.text(), self.fairlead.log_tail());
    }

    /// Nothing reaches the database any more, and then nobody lives who could have sent it.
    async fn hang_and_kill_after(&mut self, changes: &[(&str, &str)]) {
        self.relay.set(Mode::Stall);
        for (method, name) in changes {
            self.change(method, name).await;
        }
        self.fairlead.kill();
        self.relay.cut();
        self.relay.set(Mode::Pass);
    }

    async fn go_on(&mut self) {
        self.fairlead.launch_again();
        self.fairlead.ready().await;
    }

    async fn rest(&self) {
        rest(&self.db.admin, &[&self.fairlead]).await;
    }

    async fn mirror(&self) -> Vec<String> {
        let rows = self.db.admin.rows("select name from kubesvc_accounts order by name").await;
        rows.into_iter().map(|mut row| row[0].take().unwrap_or_default()).collect()
    }

    /// Another replica died with a PUT of this name under way, which found no row.
    async fn has_an_open_put(&self, name: &str) {
        let now = match self.db.server {
            Server::MariaDb => "cast(unix_timestamp(now(3)) * 1000 as signed)",
            Server::Postgres => "(extract(epoch from clock_timestamp()) * 1000)::bigint",
        };
        let insert = format!(
            "insert into fairlead_intents (id, name_key, method, epoch, created_ms, pre_state) \
             values ('01ARZ3NDEKTSV4RRFFQ69G5FAV', '{name}', 'PUT', 'long gone', {now}, 'none')"
        );
        self.db.admin.exec(&insert).await;
    }
}

async fn knows_what_was_not_journalled(server: Server) {
    // By no lease of its own does the killed process become a gap meanwhile.
    let mut w = World::new(server, "known", Duration::from_secs(30)).await;
    for name in ["goes", "stays"] {
        w.change("POST", name).await;
    }
    w.rest().await;
    w.hang_and_kill_after(&[("POST", "posted"), ("PUT", "put"), ("DELETE", "goes"), ("PUT", "stays")]).await;
    w.has_an_open_put("posted").await;
    w.go_on().await;
    w.rest().await;
    // A PUT alone brings nothing in, although nobody read what was there before it.
    assert_eq!(w.mirror().await, ["posted", "stays"], "{server:?}:\n{}", w.fairlead.log_tail());
    let stays = w.db.admin.rows("select definition from kubesvc_accounts where name = 'stays'").await;
    assert!(stays[0][0].as_deref().is_some_and(|text| text.contains("PUT")), "{server:?}: {stays:?}");
    assert_eq!(w.fairlead.metric("fairlead_mirror_gaps_total").await.unwrap_or_default(), 0.0, "{server:?}: nothing is missing");
    assert!(w.fairlead.drain().await.success());
    assert_eq!(std::fs::read_dir(w.state.path()).expect("the folder").count(), 0, "{server:?}: a clean end leaves nothing to know");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_process_had_forwarded_and_not_journalled_is_journalled_by_the_next_one_and_explains_everything() {
    tokio::join!(knows_what_was_not_journalled(Server::MariaDb), knows_what_was_not_journalled(Server::Postgres));
}

async fn does_not_believe_a_database_that_went_back(server: Server) {
    let mut w = World::new(server, "back", Duration::from_secs(3)).await;
    w.change("POST", "before").await;
    w.rest().await;
    eventually("some beats", SOON, async || (w.db.admin.number("select beat from fairlead_epochs").await > 2).then_some(())).await;
    w.hang_and_kill_after(&[("POST", "posted")]).await;
    // As a backup has it: one account, its intent and two beats are not in it.
    w.db.admin.exec("delete from kubesvc_accounts").await;
    w.db.admin.exec("delete from fairlead_names").await;
    w.db.admin.exec("update fairlead_epochs set beat = beat - 2").await;
    w.go_on().await;
    // The other one's lease ends first.
    eventually("all that passed is found", SOON, async || (w.mirror().await == ["before", "posted"]).then_some(())).await;
    assert!(w.fairlead.metric("fairlead_mirror_gaps_total").await.is_some_and(|n| n > 0.0), "{server:?}: a gap");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_database_remembers_less_than_it_acknowledged_a_killed_process_leaves_a_gap() {
    tokio::join!(does_not_believe_a_database_that_went_back(Server::MariaDb), does_not_believe_a_database_that_went_back(Server::Postgres));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_note_that_the_database_does_not_take_holds_up_nothing() {
    let mut w = World::new(Server::Postgres, "odd", Duration::from_secs(3)).await;
    w.hang_and_kill_after(&[("POST", "posted")]).await;
    let files: Vec<_> = std::fs::read_dir(w.state.path()).expect("the folder").flatten().map(|file| file.path()).collect();
    let [file] = files.as_slice() else { panic!("one file for one life: {files:?}") };
    // Before the other one. No text of PostgreSQL's holds a NUL.
    let odd = r#"{"change":{"id":"01ARZ3NDEKTSV4RRFFQ69G5FAV","method":"POST","name":"a\u0000b","at":0}}"#;
    let text = std::fs::read_to_string(file).expect("text");
    let (first, rest) = text.split_once('\n').expect("lines");
    std::fs::write(file, format!("{first}\n{odd}\n{rest}")).expect("written");
    w.go_on().await;
    eventually("the other one is journalled", SOON, async || (w.mirror().await == ["posted"]).then_some(())).await;
    w.change("POST", "later").await;
    eventually("what is lost is a gap", SOON, async || w.fairlead.metric("fairlead_mirror_gaps_total").await.filter(|n| *n > 0.0)).await;
    w.rest().await;
    assert_eq!(w.mirror().await, ["later", "posted"]);
}
