//! ACTIVE and after: one watches, the others stand by; agents that come and go; definitions that change; ORPHANED and back.

use std::time::Duration;

use fairlead::account::Status;
use fairlead::channel::{Failure, Held, HeldState, Reason};
use fairlead::dispatch::Limits;
use fairlead::lifecycle::Event;
use fairlead::store::states::StateRow;

use super::places;
use super::rig::{Rig, SOON, limits};
use super::scripted::{Reply, cluster, configured, held};
use crate::support::databases::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_agent_of_the_zone_has_it_exactly_one_watches_and_on_its_death_the_next_takes_over() {
    for place in places::all("zone").await {
        let rig = Rig::on(place, limits()).await;
        rig.agents.connect("a1", "z1", &[]);
        rig.enter("x", Some("z1"), Status::ToMigrate).await;
        rig.becomes("x", Status::Active).await;
        // One more replica of the zone, and one of another zone.
        rig.agents.connect("a2", "z1", &[]);
        rig.agents.connect("b1", "z2", &[]);
        rig.having("x", &["a1*", "a2"]).await;
        rig.until("both are counted", "x", |r| r.connections == 2).await;
        rig.rest().await;
        assert_eq!(rig.agents.asked(), ["a1 add x watch", "a2 add x"], "{}", rig.place.word());
        rig.agents.disconnect("a1");
        rig.having("x", &["a2*"]).await;
        rig.until("one is counted", "x", |r| r.connections == 1).await;
        // The first one comes back, empty as a new pod is.
        rig.agents.connect("a1", "z1", &[]);
        rig.having("x", &["a1", "a2*"]).await;
        rig.rest().await;
        assert_eq!(rig.row("x").await.expect("there").state.status, Status::Active, "{}", rig.place.word());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_that_watch_are_made_one() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Active).await;
    rig.agents.connect("a2", "z1", &[("x", held(row.generation, HeldState::Watching, cluster("c")))]);
    rig.having("x", &["a1*", "a2"]).await;
    rig.rest().await;
    assert_eq!(rig.agents.having("x"), ["a1*", "a2"]);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_definition_is_sent_again_with_a_generation_of_its_own_and_whoever_watches_goes_on_watching() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("a2", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.having("x", &["a1*", "a2"]).await;
    let before = rig.becomes("x", Status::Active).await;
    // Another cluster, by the user's own wish: it is no conflict.
    for agent in ["a1", "a2"] {
        rig.agents.script(agent, |_, _| Reply::Reach(cluster("other")));
    }
    rig.wish("x", Event::Changed).await;
    let row = rig.until("the new cluster is known", "x", |r| r.learned.identity == "uid:other").await;
    assert_ne!(row.generation, before.generation);
    rig.having("x", &["a1*", "a2"]).await;
    rig.rest().await;
    for agent in ["a1", "a2"] {
        assert_eq!(rig.agents.generation(agent, "x"), Some(row.generation));
    }
    assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE"], "it was ACTIVE all the time");
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_definition_that_no_agent_can_use_is_failed_and_one_that_is_repaired_comes_back() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.becomes("x", Status::Active).await;
    rig.agents.script("a1", |_, order| if order == "add" { Reply::Fail("401".into()) } else { Reply::Reach(cluster("c")) });
    rig.wish("x", Event::Changed).await;
    let row = rig.until("all attempts have failed", "x", |r| r.state.status == Status::Failed && r.failed_count == 4).await;
    assert!(row.error_message.is_some_and(|m| m.contains("401")));
    rig.having("x", &[]).await;
    rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
    rig.wish("x", Event::Changed).await;
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!((row.failed_count, row.error_message), (0, None));
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_agent_gone_makes_it_orphaned_after_the_grace_period_and_its_return_active() {
    for place in places::all("orphan").await {
        let rig = Rig::on(place, limits()).await;
        rig.agents.connect("a1", "z1", &[]);
        rig.enter("x", Some("z1"), Status::ToMigrate).await;
        let active = rig.becomes("x", Status::Active).await;
        rig.agents.disconnect("a1");
        let row = rig.becomes("x", Status::Orphaned).await;
        assert!(row.error_message.as_deref().is_some_and(|m| m.contains("zone z1")), "{row:?}");
        assert_eq!(row.connections, 0, "{}", rig.place.word());
        // With what it had.
        rig.agents.connect("a1", "z1", &[("x", held(active.generation, HeldState::Standby, cluster("c")))]);
        let row = rig.becomes("x", Status::Active).await;
        assert_eq!((row.error_message, row.failed_count), (None, 0));
        rig.having("x", &["a1*"]).await;
        rig.rest().await;
        assert_eq!(rig.agents.count("add x"), 1, "{}: what it has is not sent again", rig.place.word());
        // Gone again, and another comes in its place, with nothing.
        rig.agents.disconnect("a1");
        rig.becomes("x", Status::Orphaned).await;
        rig.agents.connect("a9", "z1", &[]);
        rig.becomes("x", Status::Active).await;
        rig.having("x", &["a9*"]).await;
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_roll_orphan_nothing() {
    let rig = Rig::with(Limits { grace: SOON, ..limits() }).await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.becomes("x", Status::Active).await;
    for _ in 0..5 {
        rig.agents.disconnect("a1");
        rig.until("nobody has it", "x", |r| r.connections == 0).await;
        rig.agents.connect("a1", "z1", &[]);
        rig.having("x", &["a1*"]).await;
        rig.until("it is counted again", "x", |r| r.connections == 1).await;
    }
    rig.rest().await;
    assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_zone_that_was_found_and_is_gone_is_looked_for_anew_and_one_that_was_given_is_not() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("found", None, Status::ToMigrate).await;
    rig.enter("given", Some("z1"), Status::ToMigrate).await;
    rig.becomes("found", Status::Active).await;
    rig.becomes("given", Status::Active).await;
    rig.agents.disconnect("a1");
    rig.agents.connect("b1", "z2", &[]);
    let row = rig.until("found in the other zone", "found", |r| r.state.status == Status::Active && r.zone.as_deref() == Some("z2")).await;
    assert!(row.zone_found);
    let row = rig.becomes("given", Status::Orphaned).await;
    assert_eq!(row.zone.as_deref(), Some("z1"));
    assert_eq!(rig.agents.count("b1 add given"), 0);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_zone_that_was_only_found_goes_to_another_when_the_grace_period_is_over() {
    for place in places::all("found").await {
        let rig = Rig::on(place, limits()).await;
        rig.agents.connect("a1", "z1", &[]);
        rig.enter("early", None, Status::ToMigrate).await;
        rig.enter("late", None, Status::ToMigrate).await;
        for name in ["early", "late"] {
            rig.becomes(name, Status::Active).await;
            rig.wish(name, Event::Deactivate).await;
            rig.becomes(name, Status::Inactive).await;
        }
        rig.agents.disconnect("a1");
        let waits = |r: &StateRow| r.error_message.as_deref().is_some_and(|m| m.contains("zone z1"));
        // Waits for so long that the grace period is over when the other zone comes, and the other way round.
        rig.wish("early", Event::Activate).await;
        rig.until("it waits for its zone", "early", waits).await;
        rig.rest().await;
        tokio::time::sleep(rig.limits.grace).await;
        rig.agents.connect("b1", "z2", &[]);
        rig.wish("late", Event::Activate).await;
        for name in ["early", "late"] {
            let row = rig.becomes(name, Status::Active).await;
            assert_eq!((row.zone.as_deref(), row.zone_found), (Some("z2"), true), "{}: {name}", rig.place.word());
        }
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_no_longer_lets_any_agent_in_is_told_and_retried() {
    // Long enough that what was told first is not told over by the first retry.
    let rig = Rig::with(Limits { retry: Duration::from_secs(3), ..limits() }).await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.becomes("x", Status::Active).await;
    rig.agents.script("a1", |_, order| if order == "add" { Reply::Fail("still 401".into()) } else { Reply::Reach(cluster("c")) });
    let revoked = Failure { reason: Reason::Unauthenticated, message: "401 Unauthorized".into(), host: None };
    rig.agents.report("a1", "x", |h| h.state = HeldState::Failed(revoked));
    let row = rig.becomes("x", Status::Failed).await;
    assert!(row.error_message.as_deref().is_some_and(|m| m.contains("401 Unauthorized") && m.contains("agent a1")), "{row:?}");
    rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
    rig.becomes("x", Status::Active).await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_name_for_another_cluster_is_refused_visibly_and_a_renewed_certificate_is_not_another_cluster() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.script("a2", |_, _| Reply::Reach(cluster("somewhere-else")));
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.becomes("x", Status::Active).await;
    rig.agents.connect("a2", "z1", &[]);
    let row = rig.until("it is told", "x", |r| r.error_message.is_some()).await;
    assert_eq!(row.state.status, Status::Active);
    assert!(row.error_message.as_deref().is_some_and(|m| m.contains("agent a2") && m.contains("another cluster")), "{row:?}");
    rig.having("x", &["a1*"]).await;
    assert_eq!(rig.dispatch.refused("x").iter().map(|r| &*r.agent).collect::<Vec<_>>(), ["a2"]);
    rig.rest().await;
    assert_eq!(rig.agents.count("a2 add x"), 1, "it is not asked again and again");
    let renewed = fairlead::channel::Facts { cert_fingerprint: "ff".repeat(16), host: "https://moved:6443".into(), ..cluster("c") };
    rig.agents.report("a1", "x", |h| h.facts = Some(std::sync::Arc::new(renewed)));
    let row = rig.until("taken over", "x", |r| r.learned.host == "https://moved:6443").await;
    assert_eq!((row.state.status, row.learned.fingerprint), (Status::Active, "ff".repeat(16)));
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn static_accounts_come_with_a_registration_and_go_after_the_cleanup_time() {
    for place in places::all("static").await {
        let rig = Rig::on(place, limits()).await;
        rig.agents.connect("a1", "z1", &[("s", configured(HeldState::Standby, cluster("c")))]);
        let row = rig.becomes("s", Status::Active).await;
        assert_eq!((row.state.dynamic, row.origin, row.learned.identity.as_str()), (false, fairlead::account::Origin::Agent, "uid:c"));
        rig.having("s", &["a1*"]).await;
        rig.agents.connect("a2", "z1", &[("s", configured(HeldState::Standby, cluster("c")))]);
        rig.until("both are counted", "s", |r| r.connections == 2).await;
        rig.agents.disconnect("a1");
        rig.having("s", &["a2*"]).await;
        rig.agents.disconnect("a2");
        rig.becomes("s", Status::Orphaned).await;
        rig.agents.connect("a1", "z1", &[("s", configured(HeldState::Standby, cluster("c")))]);
        rig.becomes("s", Status::Active).await;
        rig.agents.disconnect("a1");
        rig.goes("s").await;
        assert_eq!(
            (rig.agents.count("add"), rig.agents.count("delete")),
            (0, 0),
            "{}: nobody is asked to add or delete one",
            rig.place.word()
        );
        assert!(fairlead::store::tombstones::of(&rig.store, &["s"]).await.expect("read").is_empty());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_agents_configuration_says_anew_of_its_account_is_what_its_row_says() {
    for place in places::all("anew").await {
        let rig = Rig::on(place, limits()).await;
        let says = |role: &str, state| Held {
            properties: Some(format!("{{\"permissions\":{{\"READ\":[\"{role}\"]}}}}").into()),
            ..configured(state, cluster("c"))
        };
        let row_says = |role: &'static str, zone: &'static str| {
            move |r: &StateRow| r.props.as_deref().is_some_and(|p| p.contains(role)) && r.zone.as_deref() == Some(zone)
        };
        rig.agents.connect("a1", "z1", &[("s", says("dev", HeldState::Standby))]);
        rig.until("it enters", "s", row_says("dev", "z1")).await;
        // Read again: other roles in the same zone, then another zone too.
        rig.agents.connect("a1", "z1", &[("s", says("ops", HeldState::Standby))]);
        rig.until("its roles are new", "s", row_says("ops", "z1")).await;
        rig.agents.connect("a1", "z2", &[("s", says("all", HeldState::Standby))]);
        rig.until("and its zone", "s", row_says("all", "z2")).await;
        // One that is refused says nothing of it.
        let foreign = Held { properties: Some("{\"permissions\":{}}".into()), ..configured(HeldState::Standby, cluster("other")) };
        rig.agents.connect("b1", "z3", &[("s", foreign)]);
        rig.until("it is refused", "s", |r| r.error_message.is_some()).await;
        rig.rest().await;
        let row = rig.row("s").await.expect("there");
        assert!(row_says("all", "z2")(&row) && row.state.status == Status::Active, "{}: {row:?}", rig.place.word());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_account_of_another_accounts_name_is_refused_and_nothing_happens_to_that_one() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.becomes("x", Status::Active).await;
    rig.agents.connect("s1", "z9", &[("x", configured(HeldState::Standby, cluster("their")))]);
    let row = rig.until("it is told", "x", |r| r.error_message.is_some()).await;
    assert_eq!((row.state.status, row.state.dynamic, row.zone.as_deref()), (Status::Active, true, Some("z1")));
    assert_eq!(rig.dispatch.refused("x").len(), 1);
    // One static name, two clusters: the first one's it stays.
    rig.agents.connect("s2", "z9", &[("y", configured(HeldState::Standby, cluster("one")))]);
    rig.becomes("y", Status::Active).await;
    rig.agents.connect("s3", "z8", &[("y", configured(HeldState::Standby, cluster("two")))]);
    let row = rig.until("it is told", "y", |r| r.error_message.is_some()).await;
    assert_eq!((row.learned.identity.as_str(), row.connections), ("uid:one", 1));
    rig.agents.disconnect("s3");
    rig.until("and no more when it is gone", "y", |r| r.error_message.is_none()).await;
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_account_that_was_refused_is_taken_once_nothing_of_its_name_is_in_its_way() {
    let rig = Rig::new().await;
    // INACTIVE, so no agent is told of its end; a user, the mirror or another replica may take it out.
    rig.enter("x", None, Status::Inactive).await;
    rig.agents.connect("s1", "z9", &[("x", configured(HeldState::Standby, cluster("one")))]);
    let refused = |r: &StateRow| r.error_message.as_deref().is_some_and(|m| m.contains("agent s1") && m.contains("own configuration"));
    rig.until("that is told", "x", refused).await;
    assert_eq!(rig.dispatch.refused("x").len(), 1);
    rig.agents.disconnect("s1");
    rig.until("and no more when it is gone", "x", |r| r.error_message.is_none()).await;
    rig.agents.connect("s1", "z9", &[("x", configured(HeldState::Standby, cluster("one")))]);
    rig.until("and again", "x", refused).await;
    rig.wish("x", Event::Delete).await;
    let row = rig.until("it is the agent's", "x", |r| !r.state.dynamic).await;
    assert_eq!((row.state.status, row.zone.as_deref()), (Status::Active, Some("z9")));
    eventually("it is refused no more", SOON, || async { rig.dispatch.refused("x").is_empty().then_some(()) }).await;
    // Of two agents with one static name for two clusters the second has it when the first is gone for good.
    rig.agents.connect("s2", "z8", &[("x", configured(HeldState::Standby, cluster("two")))]);
    eventually("the second is refused", SOON, || async { (rig.dispatch.refused("x").len() == 1).then_some(()) }).await;
    rig.agents.disconnect("s1");
    let row = rig.until("it is the second's", "x", |r| r.learned.identity == "uid:two").await;
    assert_eq!((row.state.status, row.zone.as_deref()), (Status::Active, Some("z8")));
    rig.done().await;
}
