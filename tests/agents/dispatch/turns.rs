//! A zone with an agent that cannot have an account, and one that can.

use std::time::Duration;

use fairlead::account::Status;
use fairlead::dispatch::Limits;
use fairlead::lifecycle::Event;

use super::places;
use super::rig::{Rig, SOON, limits};
use super::scripted::{Reply, cluster};
use crate::support::databases::eventually;

/// The network lets this one through to no cluster, and tells at once.
fn is_cut_off(rig: &Rig, agent: &str) {
    rig.agents.script(agent, |_, order| if order == "add" { Reply::Fail("no way there".into()) } else { Reply::Reach(cluster("c")) });
}

async fn once() -> Rig {
    Rig::on(places::sqlite().await, Limits { max_retries: 0, ..limits() }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_cannot_have_an_account_does_not_keep_it_from_another_of_its_zone() {
    for zone in [Some("z1"), None] {
        let rig = once().await;
        is_cut_off(&rig, "a1");
        is_cut_off(&rig, "a2");
        for agent in ["a1", "a2", "a3"] {
            rig.agents.connect(agent, "z1", &[]);
        }
        rig.enter("x", zone, Status::ToMigrate).await;
        let row = rig.becomes("x", Status::Active).await;
        assert_eq!((row.zone.as_deref(), row.failed_count, row.error_message), (Some("z1"), 0, None), "no retry is needed");
        rig.having("x", &["a3*"]).await;
        assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE"], "{zone:?}");
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_agent_of_a_zone_can_have_is_one_attempt_whose_message_names_each() {
    let rig = once().await;
    for agent in ["a1", "a2"] {
        is_cut_off(&rig, agent);
        rig.agents.connect(agent, "z1", &[]);
    }
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Failed).await;
    let told = row.error_message.unwrap_or_default();
    assert!(told.contains("agent a1 (zone z1)") && told.contains("agent a2 (zone z1)") && told.contains("no way there"), "{told}");
    assert_eq!((row.failed_count, rig.agents.count("add x")), (1, 2));
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_takes_all_of_an_attempts_time_is_passed_by_the_next_and_then_stands_by() {
    let rig = Rig::on(places::sqlite().await, Limits { max_retries: 1, wait: Duration::from_secs(3), ..limits() }).await;
    rig.agents.script("a1", |_, order| if order == "add" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("a2", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!(row.failed_count, 0);
    assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "FAILED", "TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
    rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
    rig.agents.release();
    // Which of them, the order of the late answers says.
    let one_watches = || async { [["a1", "a2*"], ["a1*", "a2"]].iter().any(|who| rig.agents.having("x") == who).then_some(()) };
    eventually("both have it and one watches", SOON, one_watches).await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_again_where_there_are_no_retries_asks_the_next_agent() {
    let rig = Rig::on(places::sqlite().await, Limits { max_retries: 0, wait: Duration::from_secs(3), ..limits() }).await;
    rig.agents.script("a1", |_, order| if order == "add" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("a2", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.becomes("x", Status::Failed).await;
    rig.wish("x", Event::Activate).await;
    rig.becomes("x", Status::Active).await;
    rig.agents.release();
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_round_over_the_zones_asks_another_agent_of_each() {
    let rig = Rig::on(places::sqlite().await, Limits { max_retries: 2, ..limits() }).await;
    for agent in ["a1", "a2", "b1", "b2"] {
        is_cut_off(&rig, agent);
        rig.agents.connect(agent, if agent.starts_with('a') { "z1" } else { "z2" }, &[]);
    }
    rig.agents.connect("b3", "z2", &[]);
    rig.enter("x", None, Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!((row.zone.as_deref(), row.failed_count), (Some("z2"), 0));
    rig.having("x", &["b3*"]).await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_to_go_while_the_next_agent_is_asked_is_not_left_there() {
    let rig = once().await;
    is_cut_off(&rig, "a1");
    rig.agents.script("a2", |_, order| if order == "add" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("a2", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.asked("a2 add x watch", 1).await;
    rig.wish("x", Event::Delete).await;
    rig.asked("a2 delete x", 1).await;
    rig.agents.release();
    rig.goes("x").await;
    rig.having("x", &[]).await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_one_agent_that_can_have_an_account_may_be_away_for_the_grace_period() {
    for grace in [Duration::from_secs(60), Duration::from_millis(600)] {
        let rig = Rig::on(places::sqlite().await, Limits { grace, max_retries: 0, ..limits() }).await;
        is_cut_off(&rig, "a1");
        rig.agents.connect("a1", "z1", &[]);
        rig.agents.connect("a2", "z1", &[]);
        rig.enter("x", Some("z1"), Status::ToMigrate).await;
        rig.becomes("x", Status::Active).await;
        // The other one cannot have it, as each of the zone is to.
        rig.asked("a1 add x", 2).await;
        rig.agents.disconnect("a2");
        if grace < SOON {
            let row = rig.becomes("x", Status::Failed).await;
            assert!(row.error_message.is_some_and(|m| m.contains("agent a1 (zone z1)") && m.contains("no way there")));
        } else {
            rig.until("nobody has it", "x", |r| r.connections == 0).await;
            rig.agents.connect("a2", "z1", &[]);
            rig.until("it is back", "x", |r| r.connections == 1).await;
            assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
        }
        rig.done().await;
    }
}
