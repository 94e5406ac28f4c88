//! The mirror's protocol against real databases: what a change of every kind and outcome leaves in `kubesvc_accounts`.
//!
//! Clouddriver is played by statements on its table, so that each order of events can be had; `tests/e2e` has the real one. Where a
//! settling has to stand still in the middle, the test holds the lock that it needs.

use std::sync::Arc;
use std::time::Duration;

use fairlead::account::{Origin, Status};
use fairlead::config::{Database, FailurePolicy, Interceptor, Replica, SourceConfig};
use fairlead::lifecycle::Event;
use fairlead::mirror::{Change, Engine, Handle, Journal, Method, Metrics, Outcome, Refusal, Take, Taken, Ticket, Verdict};
use fairlead::source::Source;
use fairlead::store::Store;
use fairlead::store::states::{self, Changed, Extra};
use ulid::Ulid;

use crate::support::databases::{SERVERS, Server, TestDatabase, eventually};
use crate::support::settings::interceptor;

const SOON: Duration = Duration::from_secs(20);

/// One replica of Fairlead's mirror, without a proxy.
struct Replicated {
    engine: Arc<Engine>,
    journal: Handle,
}

struct World {
    db: TestDatabase,
}

impl World {
    async fn new(server: Server) -> Self {
        let db = TestDatabase::create(server, "mirror").await;
        db.make_accounts_table().await;
        Self { db }
    }

    async fn replica(&self, id: &str) -> Replicated {
        self.replica_with(id, interceptor()).await
    }

    async fn replica_with(&self, id: &str, settings: Interceptor) -> Replicated {
        let config = Database { main: self.db.pool_config(), intents: self.db.pool_config(), source: SourceConfig::SameDatabase };
        let store = Store::open(&config, None).expect("no key, nothing to refuse");
        store.migrate().await.expect("tables");
        let source = Source::Sql(fairlead::source::Sql::new(store.main().clone()));
        let mut registry = prometheus_client::registry::Registry::default();
        let engine = Engine::new(
            store,
            source,
            true,
            settings,
            50,
            Replica { id: id.to_owned(), heartbeat: Duration::from_millis(100), lease: Duration::from_secs(2) },
            Metrics::register(&mut registry),
            tokio::runtime::Handle::current(),
            tokio_util::sync::CancellationToken::new(),
        );
        engine.register_now().await.expect("registered");
        engine.start();
        Replicated { journal: Handle::new(engine.clone()), engine }
    }

    async fn put_row(&self, id: &str, kind: &str, note: &str, created: i64, modified: i64) {
        let body = format!(r#"{{"type": "{kind}", "name": "{id}", "note": "{note}", "kubeconfigContents": "c"}}"#);
        let (id, kind, body) = (self.db.admin.quoted(id), self.db.admin.quoted(kind), self.db.admin.quoted(&body));
        self.db.admin.exec(&format!("delete from accounts where id = {id}")).await;
        self.db.admin.exec(&format!("insert into accounts values ({id}, {kind}, {body}, {created}, {modified}, 'someone')")).await;
    }

    async fn drop_row(&self, id: &str) {
        self.db.admin.exec(&format!("delete from accounts where id = {}", self.db.admin.quoted(id))).await;
    }

    /// `name status note` of each mirrored row.
    async fn mirror(&self) -> Vec<String> {
        let rows = self.db.admin.rows("select name, status, definition from kubesvc_accounts order by name").await;
        rows.iter()
            .map(|r| {
                let definition: serde_json::Value = serde_json::from_str(r[2].as_deref().unwrap_or("null")).expect("JSON");
                format!(
                    "{} {} {}",
                    r[0].as_deref().unwrap_or(""),
                    r[1].as_deref().unwrap_or(""),
                    definition["note"].as_str().unwrap_or("-")
                )
            })
            .collect()
    }

    async fn at_rest(&self, replicas: &[&Replicated]) {
        eventually("every replica at rest", SOON, async || {
            for r in replicas {
                let s = r.engine.status().await.expect("status");
                if s.open_intents > 0 || s.open_changes > 0 || s.settling > 0 || s.sweep_due || s.gaps_open > 0 {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    async fn now(&self) -> i64 {
        fairlead::store::journal::now(&fairlead::store::Db::open(&self.db.pool_config())).await.expect("clock")
    }
}

impl Replicated {
    async fn announce(&self, method: Method, name: Option<&str>) -> <Handle as Journal>::Ticket {
        let change = Change { id: Ulid::generate(), method, name: name.map(str::to_owned), request_id: None };
        let ticket = self.journal.announce(change).await.expect("journalled");
        assert!(ticket.may_forward());
        ticket
    }
}

fn ok(name: Option<&str>) -> Verdict {
    Verdict { outcome: Outcome::Ok, name: name.map(str::to_owned) }
}

fn outcome(outcome: Outcome) -> Verdict {
    Verdict { outcome, name: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_enters_a_put_updates_a_delete_removes_and_other_changes_leave_no_trace() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;

        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        t.finish(ok(Some("a")));
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["a INACTIVE v1"], "{server:?}");

        let t = r.announce(Method::Put, Some("a")).await;
        w.put_row("a", "kubernetes", "v2", 1_000, 1_001).await;
        t.finish(ok(Some("a")));
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["a INACTIVE v2"], "{server:?}");

        // A PUT that creates brings nothing in.
        let t = r.announce(Method::Put, Some("b")).await;
        w.put_row("b", "kubernetes", "v1", 2_000, 2_000).await;
        t.finish(ok(Some("b")));
        // Another type, a refused POST.
        let t = r.announce(Method::Post, Some("aws")).await;
        w.put_row("aws", "aws", "v1", 2_000, 2_000).await;
        t.finish(ok(Some("aws")));
        let t = r.announce(Method::Post, Some("b")).await;
        t.finish(outcome(Outcome::Refused));
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["a INACTIVE v2"], "{server:?}");

        let t = r.announce(Method::Delete, Some("a")).await;
        w.drop_row("a").await;
        t.finish(ok(None));
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}");
        r.engine.shutdown(SOON).await;
        assert_eq!(w.db.admin.number("select count(*) from fairlead_epochs").await, 0, "a clean drain leaves no gap");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_outcome_is_settled_from_the_row_and_never_from_the_request() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        // 400 after a commit: the row is there.
        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", w.now().await, 1).await;
        t.finish(outcome(Outcome::Unknown));
        // A 500 for a name that was there before: nothing enters.
        w.put_row("b", "kubernetes", "old", 500, 500).await;
        let t = r.announce(Method::Post, Some("b")).await;
        t.finish(outcome(Outcome::Unknown));
        // No answer, and the row comes later.
        let t = r.announce(Method::Post, Some("c")).await;
        drop(t);
        eventually("a is mirrored", SOON, async || (w.mirror().await == ["a INACTIVE v1"]).then_some(())).await;
        w.put_row("c", "kubernetes", "late", 700, 700).await;
        eventually("the late row is mirrored", SOON, async || (w.mirror().await == ["a INACTIVE v1", "c INACTIVE late"]).then_some(()))
            .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_name_no_hint_tells_is_found_by_a_sweep() {
    for server in SERVERS {
        let w = World::new(server).await;
        w.put_row("before", "kubernetes", "old", 500, 500).await;
        let r = w.replica("r1").await;
        let t = r.announce(Method::Post, None).await;
        w.put_row("täst", "kubernetes", "v1", w.now().await, 1).await;
        t.finish(ok(None));
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["täst INACTIVE v1"], "{server:?}");
        // A PUT without a name updates what is mirrored and brings nothing in.
        let created = w.db.admin.number("select created_at from accounts where type = 'kubernetes' and created_at > 500").await;
        let t = r.announce(Method::Put, None).await;
        w.put_row("täst", "kubernetes", "v2", created, 2).await;
        t.finish(ok(None));
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["täst INACTIVE v2"], "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collation_twins_are_one_account_where_the_database_says_so() {
    let w = World::new(Server::MariaDb).await;
    let r = w.replica("r1").await;
    let t = r.announce(Method::Post, Some("acc")).await;
    w.put_row("acc", "kubernetes", "v1", 1_000, 1_000).await;
    t.finish(ok(Some("acc")));
    w.at_rest(&[&r]).await;
    let t = r.announce(Method::Delete, Some("ÁCC ")).await;
    w.drop_row("ÁCC ").await;
    t.finish(ok(None));
    w.at_rest(&[&r]).await;
    assert_eq!(w.mirror().await, Vec::<String>::new());

    let w = World::new(Server::Postgres).await;
    let r = w.replica("r1").await;
    for (name, created) in [("acc", 1_000), ("ACC", 1_001)] {
        let t = r.announce(Method::Post, Some(name)).await;
        w.put_row(name, "kubernetes", name, created, created).await;
        t.finish(ok(Some(name)));
    }
    w.at_rest(&[&r]).await;
    let t = r.announce(Method::Delete, Some("ACC")).await;
    w.drop_row("ACC").await;
    t.finish(ok(None));
    w.at_rest(&[&r]).await;
    assert_eq!(w.mirror().await, ["acc INACTIVE acc"]);
}

/// Trace 1 and 2: a settling that read before another one's whole settling must not be applied after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reading_that_was_overtaken_is_never_applied() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        t.finish(ok(Some("a")));
        w.at_rest(&[&r]).await;
        // The name's row is held: the next settling reads v2 and stands still before it is applied.
        let mut held = holder(&w.db).await;
        held.exec("update fairlead_names set touched_ms = touched_ms where name_key = 'a'").await;
        let t = r.announce(Method::Put, Some("a")).await;
        w.put_row("a", "kubernetes", "v2", 1_000, 1_001).await;
        t.finish(ok(Some("a")));
        waits_for_a_lock(&w.db).await;
        // Meanwhile another replica settles a later deletion: row gone, mirror gone, a new generation.
        w.drop_row("a").await;
        held.exec("update fairlead_names set gen = 7 where name_key = 'a'").await;
        held.exec("delete from kubesvc_accounts where name = 'a'").await;
        held.exec("commit").await;
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}: v2 came back from the dead");
    }
}

/// Trace 11: what was read before a deletion settled is not brought in after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_deleted_while_it_is_taken_over_does_not_enter() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        let take = Take::new(Origin::Migrated, Status::Inactive);
        assert_eq!(r.engine.take("a", &take).await.expect("read"), Taken::Absent, "{server:?}");
        let mut held = holder(&w.db).await;
        held.exec("update fairlead_names set touched_ms = touched_ms where name_key = 'a'").await;
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        let engine = r.engine.clone();
        let taking = tokio::spawn(async move { engine.take("a", &take).await });
        waits_for_a_lock(&w.db).await;
        w.drop_row("a").await;
        held.exec("update fairlead_names set gen = 7 where name_key = 'a'").await;
        held.exec("commit").await;
        assert_eq!(taking.await.expect("no panic").expect("read"), Taken::Absent, "{server:?}");
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}");
    }
}

/// Trace 5: the owner dies after forwarding, Clouddriver commits after others have read "absent".
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_comes_after_its_announcer_died_is_mirrored_by_the_next_replica() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r1 = w.replica("r1").await;
        let t = r1.announce(Method::Post, Some("a")).await;
        std::mem::forget(t);
        r1.die();
        let r2 = w.replica("r2").await;
        eventually("the dead replica's gap is noted", SOON, async || {
            (w.db.admin.number("select count(*) from fairlead_epochs where state = 'gap' and passes > 0").await == 1).then_some(())
        })
        .await;
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}");
        w.put_row("a", "kubernetes", "late", 1_000, 1_000).await;
        eventually("the late row is mirrored", SOON, async || (w.mirror().await == ["a INACTIVE late"]).then_some(())).await;
        drop(r2);
    }
}

/// Trace 8: the POST was refused because the account was there before, and who heard that has died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_was_there_before_does_not_enter_by_a_post_whose_announcer_died() {
    for server in SERVERS {
        let w = World::new(server).await;
        let settings = || Interceptor { unknown_outcome_window: Duration::from_secs(2), ..interceptor() };
        let r1 = w.replica_with("r1", settings()).await;
        // By a PUT, so it is not mirrored; and young, so that no time tells it from one that the POST made.
        let put = r1.announce(Method::Put, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", w.now().await, 1).await;
        put.finish(ok(Some("a")));
        w.at_rest(&[&r1]).await;
        let post = r1.announce(Method::Post, Some("a")).await;
        std::mem::forget(post);
        r1.die();
        let r2 = w.replica_with("r2", settings()).await;
        eventually("the intent and the gap are looked after", SOON, async || {
            let open = "select (select count(*) from fairlead_intents) + (select count(*) from fairlead_epochs where replica = 'r1')";
            (w.db.admin.number(open).await == 0).then_some(())
        })
        .await;
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}");
        drop(r2);
    }
}

/// Trace 9: two lives of a name before either change settles; the second cluster must not get the first one's state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_active_row_is_not_carried_over_to_the_next_life_of_its_name() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        t.finish(ok(Some("a")));
        w.at_rest(&[&r]).await;
        w.db.admin.exec("update kubesvc_accounts set status = 'ACTIVE', fl_sent = 1").await;
        let delete = r.announce(Method::Delete, Some("a")).await;
        w.drop_row("a").await;
        let post = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v2", 2_000, 2_000).await;
        post.finish(ok(Some("a")));
        delete.finish(ok(None));
        // The first life is taken from its agents before the second comes in: until then the POST is held.
        eventually("on its way out", SOON, async || (w.mirror().await == ["a DELETING v1"]).then_some(())).await;
        let gone = states::change(r.engine.store(), "a", |_| Some((Some(Event::NoAgentLeft), Extra::default()))).await;
        assert!(matches!(gone, Ok(Changed::Done { .. })), "{server:?}: {gone:?}");
        r.engine.row_gone("a");
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["a INACTIVE v2"], "{server:?}");
        assert_eq!(
            w.db.admin.number("select count(*) from fairlead_tombstones where name_key = 'a'").await,
            1,
            "{server:?}: agents are told to let go"
        );
    }
}

/// Trace 12: the user takes the account out by the API; a redo of the settled POST must not bring it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_took_out_is_not_brought_in_again_by_the_same_post() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        t.finish(outcome(Outcome::Unknown));
        eventually("mirrored", SOON, async || (w.mirror().await == ["a INACTIVE v1"]).then_some(())).await;
        w.db.admin.exec("delete from kubesvc_accounts where name = 'a'").await;
        // The intent of unknown outcome is still open, and is read again now.
        r.engine.settle_open("a", SOON).await;
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}");
    }
}

/// Trace 4 and 6: only an outcome that was known before the reading ends an intent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_change_of_a_living_replica_is_not_ended_by_another_ones_settling() {
    for server in SERVERS {
        let w = World::new(server).await;
        let (r1, r2) = (w.replica("r1").await, w.replica("r2").await);
        let post = r1.announce(Method::Post, Some("a")).await;
        let put = r2.announce(Method::Put, Some("a")).await;
        put.finish(ok(Some("a")));
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        r2.engine.settle_open("a", SOON).await;
        assert_eq!(w.db.admin.number("select count(*) from fairlead_intents where method = 'POST'").await, 1, "{server:?}");
        assert_eq!(w.mirror().await, Vec::<String>::new(), "{server:?}: nobody knows yet that the POST made it");
        post.finish(ok(Some("a")));
        w.at_rest(&[&r1, &r2]).await;
        assert_eq!(w.mirror().await, ["a INACTIVE v1"], "{server:?}");
    }
}

/// Row 33, trace 15: the journal is away, the change passes, and nothing is lost when it is back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_could_not_be_journalled_in_time_is_mirrored_all_the_same() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica_with("r1", Interceptor { max_wait: Duration::from_millis(50), ..interceptor() }).await;
        let mut held = holder(&w.db).await;
        held.lock_intents().await;
        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", w.now().await, 1).await;
        assert!(r.engine.levels().unjournalled > 0, "{server:?}: the gap is known");
        t.finish(ok(Some("a")));
        held.let_go().await;
        w.at_rest(&[&r]).await;
        assert_eq!(w.mirror().await, ["a INACTIVE v1"], "{server:?}");
        assert_eq!(r.engine.levels().unjournalled, 0, "{server:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_fail_a_change_that_cannot_be_journalled_is_refused_and_leaves_nothing() {
    let w = World::new(Server::Postgres).await;
    let settings = Interceptor { failure_policy: FailurePolicy::Fail, max_wait_fail: Duration::from_millis(50), ..interceptor() };
    let r = w.replica_with("r1", settings).await;
    let mut held = holder(&w.db).await;
    held.exec("lock table fairlead_intents in exclusive mode").await;
    let change = Change { id: Ulid::generate(), method: Method::Post, name: Some("a".into()), request_id: None };
    assert_eq!(r.journal.announce(change).await.err(), Some(Refusal::JournalUnavailable));
    held.exec("commit").await;
    w.at_rest(&[&r]).await;
    assert_eq!(w.mirror().await, Vec::<String>::new());
}

/// Row 32: times order nothing. Two updates in one millisecond, and one whose time lies before the last one's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn updates_with_equal_or_inverted_times_are_mirrored_by_their_values() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        let t = r.announce(Method::Post, Some("a")).await;
        w.put_row("a", "kubernetes", "v1", 1_000, 1_000).await;
        t.finish(ok(Some("a")));
        w.at_rest(&[&r]).await;
        for (note, modified) in [("v2", 1_000), ("v3", 900)] {
            let t = r.announce(Method::Put, Some("a")).await;
            w.put_row("a", "kubernetes", note, 1_000, modified).await;
            t.finish(ok(Some("a")));
            w.at_rest(&[&r]).await;
            assert_eq!(w.mirror().await, [format!("a INACTIVE {note}")], "{server:?}");
        }
    }
}

/// Rows 55 and 59: the server takes no writes for a while.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passes_while_the_database_takes_no_writes_is_mirrored_when_it_does_again() {
    let w = World::new(Server::Postgres).await;
    let r = w.replica_with("r1", Interceptor { max_wait: Duration::from_millis(50), ..interceptor() }).await;
    let name = w.db.admin.rows("select current_database()::text").await[0][0].clone().expect("a name");
    let others = "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()";
    w.db.admin.exec(&format!("alter database {name} set default_transaction_read_only = on")).await;
    w.db.admin.rows(&others.replace("select pg_terminate_backend(pid)", "select pg_terminate_backend(pid)::text")).await;
    let t = r.announce(Method::Post, Some("a")).await;
    let created = w.now().await;
    let body = r#"{"type": "kubernetes", "name": "a", "note": "v1"}"#;
    w.db.admin
        .exec(&format!("begin read write; insert into accounts values ('a', 'kubernetes', '{body}', {created}, 1, 'x'); commit"))
        .await;
    assert!(r.engine.levels().unjournalled > 0, "the gap is known");
    t.finish(ok(Some("a")));
    w.db.admin.exec(&format!("begin read write; alter database {name} set default_transaction_read_only = off; commit")).await;
    w.db.admin.rows(&others.replace("select pg_terminate_backend(pid)", "select pg_terminate_backend(pid)::text")).await;
    w.at_rest(&[&r]).await;
    assert_eq!(w.mirror().await, ["a INACTIVE v1"]);
    assert_eq!(r.engine.levels().unjournalled, 0);
}

/// After a gap: what came in unseen enters INACTIVE and marked, what went goes, up to a bound; without one it is drift.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_passed_while_nobody_remembered_is_found_by_the_pass_after_the_gap() {
    for server in SERVERS {
        let w = World::new(server).await;
        w.put_row("long-before", "kubernetes", "v1", 1_000, 1_000).await;
        let r1 = w.replica("r1").await;
        let t = r1.announce(Method::Post, Some("gone")).await;
        w.put_row("gone", "kubernetes", "v1", 2_000, 2_000).await;
        t.finish(ok(Some("gone")));
        w.at_rest(&[&r1]).await;
        // No gap: a row that vanished by other hands is drift.
        w.drop_row("gone").await;
        r1.journal.sweep_soon("a test");
        eventually("drift is shown", SOON, async || (r1.engine.levels().drift == 1).then_some(())).await;
        assert_eq!(w.mirror().await, ["gone INACTIVE v1"], "{server:?}");
        r1.die();
        w.put_row("unseen", "kubernetes", "v1", w.now().await, 1).await;
        let r2 = w.replica("r2").await;
        eventually("the gap is looked after", SOON, async || (w.mirror().await == ["unseen INACTIVE v1"]).then_some(())).await;
        assert_eq!(w.db.admin.number("select fl_after_gap from kubesvc_accounts where name = 'unseen'").await, 1, "{server:?}");
        drop(r2);
    }
}

/// The journal is slow, a POST is answered, and its process is killed before it was journalled; then the name is updated while the journal is
/// still slow. That update was not there before the row as far as anybody knows, so it must not count as what made it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_post_that_a_crash_kept_from_the_journal_is_not_hidden_by_an_update_that_was_journalled_late() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r1 = w.replica("r1").await;
        let r2 = w.replica_with("r2", Interceptor { max_wait: Duration::from_millis(50), ..interceptor() }).await;
        r1.die();
        let created = w.now().await;
        w.put_row("a", "kubernetes", "posted", created, 1).await;
        let mut held = holder(&w.db).await;
        held.lock_intents().await;
        let t = r2.announce(Method::Put, Some("a")).await;
        w.put_row("a", "kubernetes", "updated", created, 2).await;
        t.finish(ok(Some("a")));
        held.let_go().await;
        eventually("the posted account is mirrored", SOON, async || (w.mirror().await == ["a INACTIVE updated"]).then_some(())).await;
        drop(r2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_for_intents_lie_ready_before_the_first_change() {
    for server in SERVERS {
        let w = World::new(server).await;
        let r = w.replica("r1").await;
        eventually("some lie ready", SOON, async || (r.engine.store().intents().idle() > 0).then_some(())).await;
    }
}

impl Replicated {
    /// As kill -9 would: no drain, no more heartbeat.
    fn die(self) {
        self.engine.abandon();
    }
}

/// A connection of its own, so that it can hold locks.
async fn holder(db: &TestDatabase) -> Holder {
    match db.server {
        Server::MariaDb => {
            use sqlx::Connection as _;
            Holder::MySql(sqlx::MySqlConnection::connect(&db.url()).await.expect("connect"), false)
        }
        Server::Postgres => {
            use sqlx::Connection as _;
            Holder::Pg(sqlx::PgConnection::connect(&db.url()).await.expect("connect"), false)
        }
    }
}

enum Holder {
    MySql(sqlx::MySqlConnection, bool),
    Pg(sqlx::PgConnection, bool),
}

impl Holder {
    /// No intent is journalled until it lets go.
    async fn lock_intents(&mut self) {
        self.exec(match self {
            Self::MySql(..) => "lock tables fairlead_intents write",
            Self::Pg(..) => "lock table fairlead_intents in exclusive mode",
        })
        .await;
    }

    async fn let_go(&mut self) {
        self.exec(match self {
            Self::MySql(..) => "unlock tables",
            Self::Pg(..) => "commit",
        })
        .await;
    }

    async fn exec(&mut self, sql: &'static str) {
        use sqlx::Executor as _;
        match self {
            Self::MySql(c, begun) => {
                if !std::mem::replace(begun, true) && !sql.starts_with("lock") {
                    c.execute("begin").await.expect("begin");
                }
                c.execute(sql).await.expect(sql);
            }
            Self::Pg(c, begun) => {
                if !std::mem::replace(begun, true) {
                    c.execute("begin").await.expect("begin");
                }
                c.execute(sql).await.expect(sql);
            }
        }
    }
}

/// Waits until some statement of this database stands before a lock.
async fn waits_for_a_lock(db: &TestDatabase) {
    let sql = match db.server {
        // InnoDB's own table of transactions does not show a waiter on this server; a statement that is seen running for a while does.
        Server::MariaDb => {
            "select count(*) from information_schema.processlist where db = database() and info like 'update fairlead_names%' and time_ms > 100"
        }
        Server::Postgres => "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
    };
    eventually("a settling stands before the lock", SOON, async || (db.admin.number(sql).await > 0).then_some(())).await;
}
