//! Many accounts of one agent, some of whose clusters hang: what becomes of each depends on its own cluster only.

use std::time::Duration;

use fairlead::account::Status;
use fairlead::dispatch::Limits;

use super::places;
use super::rig::{Rig, SOON, limits};
use super::scripted::{Reply, cluster};
use crate::support::databases::eventually;

impl Rig {
    /// So many accounts of the zone `z1` from `x000` on.
    async fn enter_many(&self, n: usize) {
        for i in 0..n {
            self.enter(&format!("x{i:03}"), Some("z1"), Status::ToMigrate).await;
        }
    }

    async fn active(&self, n: i64) {
        let what = format!("{}: {n} are ACTIVE", self.place.word());
        let active = "select cast(count(*) as char) from kubesvc_accounts where status = 'ACTIVE'";
        let active = if self.place.word() == "postgres" { active.replace("as char", "as text") } else { active.to_owned() };
        eventually(&what, SOON, || async { (self.place.sql.number(&active).await == n).then_some(()) }).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_accounts_is_sent_once_by_an_order_of_its_own() {
    let rig = Rig::new().await;
    rig.enter_many(300).await;
    rig.agents.connect("a1", "z1", &[]);
    rig.active(300).await;
    assert_eq!(rig.agents.orders(), vec![1; 300]);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_hangs_keeps_no_other_account_from_being_active_or_from_failing() {
    for place in places::all("hang").await {
        let rig = Rig::on(place, Limits { max_retries: 0, ..limits() }).await;
        rig.agents.script("a1", |name, _| match name {
            "x017" => Reply::Hang(cluster("c1")),
            "x042" => Reply::Fail("connection refused".into()),
            _ => Reply::Reach(cluster("c1")),
        });
        rig.agents.connect("a1", "z1", &[]);
        rig.enter_many(100).await;
        rig.active(98).await;
        rig.becomes("x042", Status::Failed).await;
        let row = rig.row("x017").await.expect("there");
        assert_eq!((row.state.status, row.failed_count), (Status::Activating, 0), "{}: its own still hangs", rig.place.word());
        rig.agents.release();
        rig.becomes("x017", Status::Active).await;
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_hangs_for_a_further_agent_keeps_it_from_no_other_account() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter_many(70).await;
    rig.active(70).await;
    rig.agents.script("a2", |name, _| if name == "x017" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.agents.connect("a2", "z1", &[]);
    for i in (0..70).filter(|i| *i != 17) {
        rig.until("both have it", &format!("x{i:03}"), |r| r.connections == 2).await;
    }
    assert_eq!(rig.row("x017").await.expect("there").connections, 1);
    rig.agents.release();
    rig.until("both have it", "x017", |r| r.connections == 2).await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_more_that_hang_than_an_agent_is_asked_for_at_a_time_nothing_fails_that_was_not_asked_for() {
    let rig = Rig::with(Limits { wait: Duration::from_secs(1), max_retries: 0, ..limits() }).await;
    rig.agents.script("a1", |name, _| if name == "well" { Reply::Reach(cluster("c")) } else { Reply::Hang(cluster("c")) });
    // Twice as many as are asked for at a time, so that it waits for longer than an operation may take.
    rig.enter_many(600).await;
    rig.enter("well", Some("z1"), Status::ToMigrate).await;
    rig.agents.connect("a1", "z1", &[]);
    let row = rig.becomes("well", Status::Active).await;
    assert_eq!(row.failed_count, 0);
    assert_eq!(rig.seen("well").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE"], "its time began with its turn");
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agent_had_no_turn_for_is_no_attempt_and_comes_again() {
    let rig = Rig::with(Limits { max_retries: 0, ..limits() }).await;
    let tries = std::sync::atomic::AtomicU32::new(0);
    rig.agents.script("a1", move |_, _| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => Reply::NoTurn,
        _ => Reply::Reach(cluster("c")),
    });
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!((row.failed_count, row.error_message), (0, None));
    assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
    rig.done().await;
}
