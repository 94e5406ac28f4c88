//! The server below Fairlead's own tables is swapped for another one that has a copy of them: an orderly switch of primaries, and one to
//! a replica that had not caught up. Clouddriver's table is elsewhere, so that Clouddriver goes on.

use std::time::Duration;

use fairlead::demo::{Options, StandIn};
use fairlead::store::Db;

use crate::support::databases::{Server, Sql, TestDatabase, eventually};
use crate::support::http::{self, Answer, Request};
use crate::support::process::{Fairlead, Setup};
use crate::support::relay::Relay;
use crate::support::rest::rest;
use crate::support::server::{self, OwnServer};

const SOON: Duration = Duration::from_secs(60);

struct World {
    old: OwnServer,
    new: OwnServer,
    relay: Relay,
    fairlead: Fairlead,
    theirs: TestDatabase,
    _clouddriver: StandIn,
}

impl World {
    async fn start(server: Server, name: &str, policy: &str) -> Self {
        let mut theirs = TestDatabase::create(server, "swap").await;
        theirs.make_accounts_table().await;
        let user = theirs.fairlead_user().await;
        let table = Some(Db::open(&theirs.pool_config()));
        let clouddriver = StandIn::start(Options { table, ..Options::default() }).await.expect("stand-in");
        let name = format!("swap-{}-{name}", server.word());
        let (old, new) = tokio::join!(OwnServer::start(server, &name, None), OwnServer::start(server, &name, None));
        let relay = Relay::start("127.0.0.1", old.port).await;
        let setup = Setup::new(&name, clouddriver.address().port()).calm().database(&old.jdbc_at(relay.port), server::NAME);
        let (jdbc, accounts) = (theirs.jdbc(), "sql.connectionPools.accounts");
        let setup = setup
            .with(&format!("{accounts}: {{ jdbcUrl: \"{jdbc}\", user: {user}, password: {user} }}"))
            .with(&format!("kubesvc.dynamicAccounts.interceptor: {{ failurePolicy: {policy}, maxWait: 1s }}"));
        Self { old, new, relay, fairlead: Fairlead::start(setup).await, theirs, _clouddriver: clouddriver }
    }

    async fn send(&self, method: &str, name: &str) -> Answer {
        let request = match method {
            "DELETE" => Request::new("DELETE", &format!("/credentials/{name}")),
            _ => Request::new(method, "/credentials")
                .json(format!(r#"{{"type": "kubernetes", "name": "{name}", "kubeconfigContents": "v1"}}"#)),
        };
        http::call(self.fairlead.setup.port, &request).await.expect("an answer")
    }

    async fn change(&self, method: &str, name: &str) {
        let answer = self.send(method, name).await;
        assert_eq!(answer.status, 200, "{method} {name}: {}\n{}", answer.text(), self.fairlead.log_tail());
    }

    /// As a name that leads to the other server from now on; the old one is gone.
    async fn swap(&mut self) {
        self.relay.lead_to(self.new.port);
        self.relay.cut();
        self.old.kill();
    }

    async fn rest(&self, on: &OwnServer) {
        rest(&on.admin, &[&self.fairlead]).await;
    }

    /// The names that Clouddriver has and the mirror on the new server has.
    async fn agrees(&self, names: &[&str]) {
        let read =
            async |sql: &Sql, text: &str| sql.rows(text).await.into_iter().map(|mut r| r[0].take().unwrap_or_default()).collect::<Vec<_>>();
        assert_eq!(read(&self.theirs.admin, "select id from accounts order by id").await, names);
        let mirrored = read(&self.new.admin, "select name from kubesvc_accounts order by name").await;
        assert_eq!(mirrored, names, "{}", self.fairlead.log_tail());
    }
}

/// Under `Fail`, so that it shows when the journal is one again.
async fn waits_for_the_new_primary(server: Server) {
    let mut w = World::start(server, "orderly", "Fail").await;
    w.change("POST", "before").await;
    w.rest(&w.old).await;
    w.old.refuse_writes().await;
    let refused = w.send("POST", "between").await;
    assert!(refused.status == 503 && refused.text().contains("cannot be recorded now"), "{} {}", refused.status, refused.text());
    w.old.copy_to(&w.new);
    w.swap().await;
    eventually("a change is taken again", SOON, async || (w.send("POST", "between").await.status == 200).then_some(())).await;
    w.change("POST", "after").await;
    w.rest(&w.new).await;
    w.agrees(&["after", "before", "between"]).await;
    let epochs = w.new.admin.rows("select state from fairlead_epochs").await;
    assert_eq!(epochs, [[Some("open".to_owned())]], "{server:?}: one life, and no gap in it");
}

/// What the new server never heard of: an account that came, one that went, and beats of the replica's life.
async fn finds_what_a_replica_that_lagged_has_lost(server: Server) {
    let mut w = World::start(server, "lossy", "Ignore").await;
    for name in ["goes", "stays"] {
        w.change("POST", name).await;
    }
    w.rest(&w.old).await;
    w.old.copy_to(&w.new);
    let beat = w.old.admin.number("select beat from fairlead_epochs").await;
    w.change("POST", "comes").await;
    w.change("DELETE", "goes").await;
    w.rest(&w.old).await;
    let beats = async || (w.old.admin.number("select beat from fairlead_epochs").await > beat).then_some(());
    eventually("the old server hears of a life that the new one does not know", SOON, beats).await;
    w.swap().await;
    eventually("the loss is seen", SOON, async || w.fairlead.metric("fairlead_mirror_gaps_total").await.filter(|n| *n > 0.0)).await;
    w.rest(&w.new).await;
    w.agrees(&["comes", "stays"]).await;
    w.change("POST", "later").await;
    w.rest(&w.new).await;
    w.agrees(&["comes", "later", "stays"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_of_servers_refuses_changes_until_the_new_one_takes_writes_and_loses_none() {
    tokio::join!(waits_for_the_new_primary(Server::MariaDb), waits_for_the_new_primary(Server::Postgres));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_to_a_server_that_lagged_is_seen_and_what_it_lost_is_found() {
    tokio::join!(finds_what_a_replica_that_lagged_has_lost(Server::MariaDb), finds_what_a_replica_that_lagged_has_lost(Server::Postgres));
}
