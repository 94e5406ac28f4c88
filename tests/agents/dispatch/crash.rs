//! A replica that dies in the middle of something: the next one takes over, and nothing is lost or stuck.

use std::time::Duration;

use fairlead::account::Status;
use fairlead::dispatch::Limits;
use fairlead::lifecycle::Event;

use super::places;
use super::rig::{Rig, limits};
use super::scripted::{Reply, cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_replica_had_asked_for_is_asked_again_and_is_no_attempt() {
    for place in places::all("crash").await {
        let mut rig = Rig::on(place, limits()).await;
        rig.agents.script("a1", |_, order| if order == "add" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
        rig.agents.connect("a1", "z1", &[]);
        rig.enter("x", Some("z1"), Status::ToMigrate).await;
        rig.asked("a1 add x", 1).await;
        rig.crash();
        // Long before the deadline that the dead one has written.
        rig.asked("a1 add x", 2).await;
        rig.agents.release();
        let row = rig.becomes("x", Status::Active).await;
        assert_eq!(row.failed_count, 0, "{}", rig.place.word());
        rig.having("x", &["a1*"]).await;
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_replica_was_taking_back_goes_all_the_same() {
    let mut rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    for name in ["x", "y"] {
        rig.enter(name, Some("z1"), Status::ToMigrate).await;
        rig.becomes(name, Status::Active).await;
    }
    rig.agents.script("a1", |_, _| Reply::Hang(cluster("c")));
    rig.wish("x", Event::Deactivate).await;
    rig.wish("y", Event::Delete).await;
    rig.asked("a1 delete x", 1).await;
    rig.asked("a1 delete y", 1).await;
    rig.crash();
    rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
    rig.becomes("x", Status::Inactive).await;
    rig.goes("y").await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_ours_orphans_nothing_whose_agent_comes_back_within_the_grace_period_and_what_does_not_is_orphaned() {
    let mut rig = Rig::with(Limits { grace: Duration::from_secs(3), ..limits() }).await;
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("b1", "z2", &[]);
    rig.enter("back", Some("z1"), Status::ToMigrate).await;
    rig.enter("away", Some("z2"), Status::ToMigrate).await;
    rig.becomes("back", Status::Active).await;
    rig.becomes("away", Status::Active).await;
    rig.dispatch.abandon();
    rig.agents.disconnect("a1");
    rig.agents.disconnect("b1");
    rig.crash();
    rig.agents.connect("a1", "z1", &[]);
    rig.having("back", &["a1*"]).await;
    rig.becomes("away", Status::Orphaned).await;
    rig.rest().await;
    assert_eq!(rig.seen("back").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
    rig.done().await;
}
