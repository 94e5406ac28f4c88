//! Letting go: INACTIVE, gone, and what an agent has that it may not have.

use fairlead::account::Status;
use fairlead::channel::HeldState;
use fairlead::lifecycle::{Event, Wanted};
use fairlead::store::tombstones;

use super::places;
use super::rig::{Rig, limits};
use super::scripted::{Reply, cluster, held};

async fn active(rig: &Rig, name: &str) -> i64 {
    rig.agents.connect("a1", "z1", &[]);
    rig.enter(name, Some("z1"), Status::ToMigrate).await;
    rig.becomes(name, Status::Active).await.generation
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deactivated_it_goes_by_the_states_of_the_table_and_the_agents_let_go_first() {
    let rig = Rig::new().await;
    active(&rig, "x").await;
    rig.agents.connect("a2", "z1", &[]);
    rig.having("x", &["a1*", "a2"]).await;
    rig.agents.script("a2", |_, order| if order == "delete" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.wish("x", Event::Deactivate).await;
    rig.asked("a2 delete x", 1).await;
    assert_eq!(rig.row("x").await.map(|r| r.state.status), Some(Status::Deactivating), "one has not answered");
    rig.agents.release();
    let row = rig.becomes("x", Status::Inactive).await;
    assert_eq!((row.connections, row.state.sent), (0, false));
    rig.having("x", &[]).await;
    rig.rest().await;
    assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE", "TO_DEACTIVATE", "DEACTIVATING", "INACTIVE"]);
    assert_eq!((rig.agents.count("a1 delete x"), rig.agents.count("a2 delete x")), (1, 1));
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deactivated_while_it_is_activated_it_ends_inactive_and_nobody_has_it() {
    let rig = Rig::new().await;
    rig.agents.script("a1", |_, order| if order == "add" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.asked("a1 add x", 1).await;
    rig.wish("x", Event::Deactivate).await;
    rig.becomes("x", Status::Inactive).await;
    // The late success of what nobody wants any more.
    rig.agents.release();
    rig.asked("a1 delete x", 2).await;
    rig.having("x", &[]).await;
    rig.rest().await;
    let row = rig.row("x").await.expect("there");
    assert_eq!((row.state.status, row.state.wanted), (Status::Inactive, Wanted::Inactive));
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_to_have_it_again_that_comes_on_the_way_out_is_followed_when_it_is_out() {
    let rig = Rig::new().await;
    active(&rig, "x").await;
    rig.agents.script("a1", |_, order| if order == "delete" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
    rig.wish("x", Event::Deactivate).await;
    rig.becomes("x", Status::Deactivating).await;
    rig.wish("x", Event::Activate).await;
    rig.agents.release();
    rig.until("it is back", "x", |r| r.state.status == Status::Active && r.state.wanted == Wanted::Active).await;
    let seen = rig.seen("x").await;
    assert!(seen.ends_with(&["DEACTIVATING", "INACTIVE", "TO_MIGRATE", "ACTIVATING", "ACTIVE"].map(String::from)), "{seen:?}");
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_it_is_taken_from_its_agent_first_and_from_the_table_then() {
    for place in places::all("delete").await {
        let rig = Rig::on(place, limits()).await;
        active(&rig, "x").await;
        rig.agents.script("a1", |_, _| Reply::Hang(cluster("c")));
        rig.wish("x", Event::Delete).await;
        rig.asked("a1 delete x", 1).await;
        assert_eq!(rig.row("x").await.map(|r| r.state.status), Some(Status::Deleting), "{}: the row outlives the order", rig.place.word());
        assert!(rig.gone.lock().expect("no panic").is_empty());
        rig.agents.release();
        rig.goes("x").await;
        rig.having("x", &[]).await;
        rig.heard(&["x"]).await;
        assert!(tombstones::of(&rig.store, &["x"]).await.expect("read").is_empty());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_with_no_agent_connected_the_row_goes_and_the_agent_is_told_when_it_returns() {
    for place in places::all("stone").await {
        let rig = Rig::on(place, limits()).await;
        let generation = active(&rig, "x").await;
        rig.agents.disconnect("a1");
        rig.wish("x", Event::Delete).await;
        rig.goes("x").await;
        let stones = tombstones::of(&rig.store, &["x"]).await.expect("read");
        assert_eq!(stones.iter().map(|s| s.generation).collect::<Vec<_>>(), [generation], "{}", rig.place.word());
        rig.agents.connect("a1", "z1", &[("x", held(generation, HeldState::Watching, cluster("c")))]);
        rig.asked("a1 delete x", 1).await;
        rig.having("x", &[]).await;
        // The same name again, by another life of it: it is not the one that was told to go.
        rig.enter("x", Some("z1"), Status::ToMigrate).await;
        let row = rig.becomes("x", Status::Active).await;
        assert_ne!(row.generation, generation);
        rig.rest().await;
        assert_eq!(rig.agents.having("x"), ["a1*"], "{}", rig.place.word());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delete_that_fails_is_told_and_retried_as_a_delete_and_never_as_an_activation() {
    let rig = Rig::new().await;
    active(&rig, "x").await;
    rig.agents.script("a1", |_, order| if order == "delete" { Reply::Fail("its disk is full".into()) } else { Reply::Reach(cluster("c")) });
    rig.wish("x", Event::Delete).await;
    let row = rig.until("all attempts have failed", "x", |r| r.failed_count == 4).await;
    assert_eq!(row.state.status, Status::DeleteFailed);
    assert!(row.error_message.as_deref().is_some_and(|m| m.contains("its disk is full") && m.contains("agent a1")), "{row:?}");
    rig.rest().await;
    assert_eq!((rig.agents.count("delete x"), rig.agents.count("add x")), (4, 1));
    let refused = rig.wish("x", Event::Activate).await;
    assert!(matches!(refused, fairlead::store::states::Changed::Refused(..)), "{refused:?}");
    rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
    rig.wish("x", Event::Delete).await;
    rig.goes("x").await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_is_told_to_let_go_of_what_it_may_not_have() {
    let rig = Rig::new().await;
    rig.enter("inactive", Some("z1"), Status::Inactive).await;
    rig.enter("active", Some("z1"), Status::ToMigrate).await;
    rig.agents.connect("a1", "z1", &[]);
    let row = rig.becomes("active", Status::Active).await;
    let has = |generation| held(generation, HeldState::Watching, cluster("c"));
    // Of another zone, with the right generation; one that is INACTIVE; one that nobody knows.
    rig.agents.connect("b1", "z2", &[("active", has(row.generation)), ("inactive", has(7)), ("unknown", has(8))]);
    for name in ["active", "inactive", "unknown"] {
        rig.asked(&format!("b1 delete {name}"), 1).await;
    }
    rig.having("active", &["a1*"]).await;
    rig.having("inactive", &[]).await;
    rig.having("unknown", &[]).await;
    rig.rest().await;
    assert_eq!(rig.agents.count("a1 delete"), 0);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wanted_again_while_it_was_let_go_of_it_comes_back_also_where_no_agent_was_left_to_be_asked() {
    for place in places::all("again").await {
        let mut rig = Rig::on(place, limits()).await;
        active(&rig, "x").await;
        rig.agents.script("a1", |_, order| if order == "delete" { Reply::Hang(cluster("c")) } else { Reply::Reach(cluster("c")) });
        rig.wish("x", Event::Deactivate).await;
        rig.asked("a1 delete x", 1).await;
        rig.wish("x", Event::Activate).await;
        // Our process dies with the agent's answer, and the agent comes back later than the row is looked at.
        rig.dispatch.abandon();
        rig.agents.disconnect("a1");
        rig.crash();
        rig.until("let go without being asked", "x", |r| r.state.status == Status::ToMigrate).await;
        rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
        rig.agents.connect("a1", "z1", &[]);
        rig.becomes("x", Status::Active).await;
        rig.having("x", &["a1*"]).await;
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wish_that_a_row_does_not_follow_yet_is_followed_after_a_start() {
    let rig = Rig::new().await;
    active(&rig, "x").await;
    rig.enter("y", Some("z1"), Status::Inactive).await;
    rig.rest().await;
    rig.dispatch.abandon();
    rig.place.sql.exec("update kubesvc_accounts set fl_wanted = 'INACTIVE', fl_due = NULL where name = 'x'").await;
    rig.place.sql.exec("update kubesvc_accounts set fl_wanted = 'ACTIVE', fl_due = NULL where name = 'y'").await;
    let mut rig = rig;
    rig.crash();
    rig.becomes("x", Status::Inactive).await;
    rig.becomes("y", Status::Active).await;
    rig.done().await;
}
