//! From TO_MIGRATE to ACTIVE, and to FAILED with what is to be told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use fairlead::account::Status;
use fairlead::lifecycle::Event;
use serde_json::json;

use super::places;
use super::rig::{Rig, limits};
use super::scripted::{Reply, cluster};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_of_a_zone_goes_to_its_agent_by_the_states_of_the_table_and_the_row_is_written_first() {
    let rig = Rig::new().await;
    rig.agents.script("a1", |_, order| if order == "add" { Reply::Hang(cluster("c1")) } else { Reply::Reach(cluster("c1")) });
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("b1", "z2", &[]);
    rig.enter("x", Some("z1"), Status::Inactive).await;
    rig.wish("x", Event::Activate).await;
    rig.asked("a1 add x watch", 1).await;
    let row = rig.row("x").await.expect("there");
    assert_eq!((row.state.status, row.state.sent), (Status::Activating, true), "the row is written before the order is sent");
    assert!(
        row.operation.is_some() && row.owner.is_some() && row.due.is_some_and(|due| due > row.now),
        "with operation, owner and deadline"
    );
    rig.agents.release();
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!((row.learned.host.as_str(), row.learned.version.as_str()), ("https://c1.example:6443", "v1.34.4"));
    assert_eq!((row.learned.identity.as_str(), row.learned.fingerprint.as_str()), ("uid:c1", "00112233445566778899aabbccddeeff"));
    assert_eq!((row.connections, row.failed_count, row.error_message, row.operation), (1, 0, None, None));
    rig.rest().await;
    assert_eq!(rig.seen("x").await, ["INACTIVE", "TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
    assert_eq!(rig.agents.asked(), ["a1 add x watch"], "no other zone has heard of it");
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_an_agent_says_for_which_and_is_no_attempt_and_the_first_that_comes_starts_it() {
    let rig = Rig::new().await;
    rig.agents.connect("b1", "z2", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.until("it says what it waits for", "x", |r| r.error_message.is_some()).await;
    assert_eq!((row.state.status, row.failed_count), (Status::ToMigrate, 0));
    assert!(row.error_message.as_deref().is_some_and(|m| m.contains("zone z1")), "{row:?}");
    rig.rest().await;
    rig.agents.connect("a1", "z1", &[]);
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!(row.error_message, None);
    assert_eq!(rig.agents.asked(), ["a1 add x watch"]);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_too_much_under_way_is_no_attempt_and_the_row_says_what_it_waits_for() {
    let rig = Rig::new().await;
    let full = Arc::new(AtomicBool::new(true));
    let is_full = full.clone();
    rig.agents.script("a1", move |_, _| if is_full.load(Ordering::Relaxed) { Reply::Busy } else { Reply::Reach(cluster("c")) });
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.until("it says why it waits", "x", |r| r.error_message.is_some()).await;
    assert!(row.error_message.as_deref().is_some_and(|m| m.contains("agent a1 (zone z1)") && m.contains("too many operations")), "{row:?}");
    assert_eq!((row.state.status, row.failed_count), (Status::ToMigrate, 0));
    full.store(false, Ordering::Relaxed);
    assert_eq!(rig.becomes("x", Status::Active).await.error_message, None);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_attempt_and_three_retries_fail_and_then_it_is_quiet_until_a_user_asks_again() {
    for place in places::all("retries").await {
        let rig = Rig::on(place, limits()).await;
        rig.agents.script("a1", |_, _| Reply::Fail("connection refused".into()));
        rig.agents.connect("a1", "z1", &[]);
        rig.enter("x", Some("z1"), Status::ToMigrate).await;
        let row = rig.until("four have failed", "x", |r| r.failed_count == 4 && r.state.status == Status::Failed).await;
        let told = row.error_message.unwrap_or_default();
        for part in ["agent a1", "zone z1", "https://there:6443", "connection refused"] {
            assert!(told.contains(part), "{}: {told}", rig.place.word());
        }
        rig.rest().await;
        assert_eq!(rig.agents.count("a1 add x"), 4, "{}", rig.place.word());
        let rows = rig.place.sql.rows("select status, error_message, cast(failed_count as char(8)) from kubesvc_accounts").await;
        assert_eq!((rows[0][0].as_deref(), rows[0][2].as_deref().map(str::trim)), (Some("FAILED"), Some("4")));
        // Repaired at the cluster; nothing happens by itself.
        rig.agents.script("a1", |_, _| Reply::Reach(cluster("c1")));
        rig.rest().await;
        assert_eq!(rig.row("x").await.expect("there").state.status, Status::Failed, "{}", rig.place.word());
        rig.wish("x", Event::Activate).await;
        let row = rig.becomes("x", Status::Active).await;
        assert_eq!((row.failed_count, row.error_message), (0, None), "{}", rig.place.word());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_comes_back_while_there_are_retries_left_needs_nobody() {
    let rig = Rig::new().await;
    let tries = std::sync::atomic::AtomicU32::new(0);
    rig.agents.script("a1", move |_, _| match tries.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0..2 => Reply::Fail("no route".into()),
        _ => Reply::Reach(cluster("c")),
    });
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!((row.failed_count, row.error_message), (0, None));
    assert_eq!(rig.agents.count("add x"), 3);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_sent_fails_with_the_reason_and_no_agent_hears_of_it() {
    let rig = Rig::new().await;
    rig.agents.connect("a1", "z1", &[]);
    rig.enter_as("x", Some("z1"), Status::ToMigrate, &json!({"name": "x", "kubeconfigFile": "/home/spinnaker/kubeconfig"})).await;
    let row = rig.until("failed", "x", |r| r.failed_count == 4).await;
    let told = row.error_message.unwrap_or_default();
    assert!(told.contains("nothing was sent") && told.contains("Clouddriver's disk"), "{told}");
    assert_eq!(rig.agents.asked(), Vec::<String>::new());
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_is_lost_before_it_answers_is_no_attempt_and_the_next_of_its_zone_is_asked() {
    let rig = Rig::new().await;
    rig.agents.script("a1", |_, _| Reply::Hang(cluster("c1")));
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    rig.asked("a1 add x", 1).await;
    rig.agents.connect("a2", "z1", &[]);
    rig.agents.disconnect("a1");
    let row = rig.becomes("x", Status::Active).await;
    assert_eq!(row.failed_count, 0);
    assert_eq!(rig.seen("x").await, ["TO_MIGRATE", "ACTIVATING", "TO_MIGRATE", "ACTIVATING", "ACTIVE"]);
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_says_nothing_is_an_attempt_that_failed_in_bounded_time() {
    let rig = Rig::with(fairlead::dispatch::Limits { wait: std::time::Duration::from_millis(150), max_retries: 0, ..limits() }).await;
    rig.agents.script("a1", |_, _| Reply::Hang(cluster("c1")));
    rig.agents.connect("a1", "z1", &[]);
    rig.enter("x", Some("z1"), Status::ToMigrate).await;
    let row = rig.becomes("x", Status::Failed).await;
    assert!(row.error_message.as_deref().is_some_and(|m| m.contains("did not answer within")), "{row:?}");
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_a_zone_finds_the_one_that_reaches_its_cluster_and_the_others_let_go() {
    for place in places::all("fanout").await {
        let rig = Rig::on(place, limits()).await;
        rig.agents.script("a1", |_, _| Reply::Fail("no route to host".into()));
        rig.agents.script("b1", |_, _| Reply::Reach(cluster("c1")));
        rig.agents.script("b2", |_, _| Reply::Reach(cluster("c1")));
        // It would come later: it is told to let go, and does.
        rig.agents.script("c1", |_, order| if order == "add" { Reply::Hang(cluster("c1")) } else { Reply::Reach(cluster("c1")) });
        rig.agents.connect("a1", "z1", &[]);
        rig.agents.connect("b1", "z2", &[]);
        rig.agents.connect("b2", "z2", &[]);
        rig.agents.connect("c1", "z3", &[]);
        rig.enter("x", None, Status::ToMigrate).await;
        let row = rig.becomes("x", Status::Active).await;
        assert_eq!((row.zone.as_deref(), row.zone_found), (Some("z2"), true), "{}", rig.place.word());
        rig.asked("c1 delete x", 1).await;
        rig.agents.release();
        rig.having("x", &["b1*", "b2"]).await;
        rig.rest().await;
        assert_eq!(rig.agents.having("x"), ["b1*", "b2"], "{}: {:?}", rig.place.word(), rig.agents.asked());
        rig.done().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn accounts_without_a_zone_that_are_offered_together_have_operations_of_their_own() {
    let rig = Rig::new().await;
    rig.agents.script("a1", |_, _| Reply::Fail("no route to host".into()));
    rig.agents.script("b1", |_, _| Reply::Reach(cluster("c1")));
    rig.agents.connect("a1", "z1", &[]);
    rig.agents.connect("b1", "z2", &[]);
    let names = ["x1", "x2", "x3", "x4", "x5"];
    for name in names {
        rig.enter(name, None, Status::Inactive).await;
    }
    rig.rest().await;
    // All at once, so that one look finds them all.
    rig.place.sql.exec("update kubesvc_accounts set status = 'TO_MIGRATE', fl_wanted = 'ACTIVE', fl_due = 1, fl_rev = fl_rev + 1").await;
    for name in names {
        rig.becomes(name, Status::Active).await;
    }
    rig.done().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_round_that_no_zone_wins_is_one_attempt_whose_message_names_each_zones_reason() {
    let rig = Rig::with(fairlead::dispatch::Limits { max_retries: 1, fan_out: 2, ..limits() }).await;
    for (agent, zone) in [("a1", "z1"), ("b1", "z2"), ("c1", "z3")] {
        rig.agents.script(agent, move |_, _| Reply::Fail(format!("cannot from {zone}")));
        rig.agents.connect(agent, zone, &[]);
    }
    rig.enter("x", None, Status::ToMigrate).await;
    let row = rig.until("two rounds", "x", |r| r.failed_count == 2).await;
    let told = row.error_message.unwrap_or_default();
    for zone in ["z1", "z2", "z3"] {
        assert!(told.contains(&format!("zone {zone}")) && told.contains(&format!("cannot from {zone}")), "{told}");
    }
    rig.rest().await;
    assert_eq!((rig.agents.count("add x"), row.zone), (6, None));
    rig.done().await;
}
