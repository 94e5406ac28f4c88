//! The scanner's accounts do not flood agents: at most `scanBatchSize` are ACTIVATING at once, and nobody else waits for them.

use std::time::Duration;

use fairlead::account::{Origin, Status};
use fairlead::dispatch::Limits;
use fairlead::lifecycle::Wanted;
use fairlead::store::states::{self, NewState};
use serde_json::json;

use super::places;
use super::rig::{Rig, SOON, limits};
use super::scripted::{Reply, cluster};
use crate::support::databases::eventually;

const ALL: usize = 12;

/// As a scan leaves them.
async fn scanned(rig: &Rig, zone: &str) {
    for n in 0..ALL {
        let name = format!("s{n:02}");
        let definition = json!({"name": name, "kubeconfigContents": "encrypted:noop!v:kubeconfig"});
        let definition = rig.store.seal_definition(&name, &definition).expect("sealed");
        let mut tx = rig.store.main().begin().await.expect("begun");
        let new = NewState {
            name: &name,
            origin: Origin::Scanner,
            status: Status::ToMigrate,
            wanted: Wanted::Active,
            zone: Some(zone.to_owned()),
            definition: Some(definition),
            overlay: None,
            props: None,
            learned: None,
        };
        assert!(states::insert(&rig.store, &mut tx, &new).await.expect("inserted"));
        tx.commit().await.expect("committed");
    }
    rig.dispatch.bell().ring();
}

async fn count(rig: &Rig, status: &str) -> i64 {
    let sql = format!("select concat(count(*), '') from kubesvc_accounts where status = '{status}' and fl_origin = 'scanner'");
    rig.place.sql.number(&sql).await
}

async fn until(rig: &Rig, what: &str, status: &str, wanted: i64) {
    let is = || async { (count(rig, status).await == wanted).then_some(()) };
    eventually(&format!("{}: {what}", rig.place.word()), SOON, is).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_of_the_scanners_accounts_are_activating_than_the_batch_and_what_a_user_wants_does_not_wait() {
    for place in places::all("scanned").await {
        let rig = Rig::on(place, Limits { scan_batch: 5, wait: Duration::from_secs(300), ..limits() }).await;
        rig.agents.script("a1", |name, order| match (order, name.starts_with('s')) {
            ("add", true) => Reply::Hang(cluster("c")),
            _ => Reply::Reach(cluster("c")),
        });
        // They wait for an agent, and hold no place meanwhile; then all could go at once.
        scanned(&rig, "z1").await;
        let awaited = "select concat(count(*), '') from kubesvc_accounts where error_message like 'waiting for an agent%'";
        let told = || async { (rig.place.sql.number(awaited).await == i64::try_from(ALL).unwrap()).then_some(()) };
        eventually("all wait for an agent", SOON, told).await;
        rig.agents.connect("a1", "z1", &[]);
        until(&rig, "five are under way", "ACTIVATING", 5).await;
        rig.enter("user", Some("z1"), Status::ToMigrate).await;
        rig.becomes("user", Status::Active).await;
        // Each of those that wait asks for a place again, and gets none.
        for _ in 0..2 {
            let before = rig.place.sql.number("select concat(max(fl_due), '') from kubesvc_accounts where status = 'TO_MIGRATE'").await;
            let asked = || async {
                let first = "select concat(min(fl_due), '') from kubesvc_accounts where status = 'TO_MIGRATE'";
                (rig.place.sql.number(first).await > before).then_some(())
            };
            eventually("all that wait have asked again", SOON, asked).await;
            assert_eq!((count(&rig, "ACTIVATING").await, count(&rig, "TO_MIGRATE").await), (5, 7), "{}", rig.place.word());
        }
        rig.agents.script("a1", |_, _| Reply::Reach(cluster("c")));
        rig.agents.release();
        until(&rig, "all are active", "ACTIVE", i64::try_from(ALL).unwrap()).await;
        rig.done().await;
    }
}
