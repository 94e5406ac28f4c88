//! How long many accounts take. Not run by itself: `cargo test --release --test agents dispatch::crowd -- --ignored --nocapture`.

use std::time::{Duration, Instant};

use fairlead::dispatch::Limits;

use super::places;
use super::rig::{Rig, limits};
use crate::support::databases::eventually;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn ten_thousand_accounts_become_active() {
    const ACCOUNTS: usize = 10_000;
    for place in places::all("crowd").await {
        let rig = Rig::on(place, Limits { grace: Duration::from_secs(30), ..limits() }).await;
        let definition =
            rig.store.seal_definition("x", &serde_json::json!({"kubeconfigContents": "k".repeat(4_000)})).expect("sealed").text;
        for block in 0..ACCOUNTS / 500 {
            let rows: Vec<String> = (0..500)
                .map(|i| {
                    let dynamic = if rig.place.word() == "postgres" { "true" } else { "1" };
                    format!(
                        "('x{:05}', {dynamic}, 'TO_MIGRATE', 'z1', '{definition}', 0, 'created', {})",
                        block * 500 + i,
                        block * 500 + i + 1
                    )
                })
                .collect();
            let into = "name, dynamic, status, zone_id, definition, fl_due, fl_origin, fl_generation";
            rig.place.sql.exec(&format!("insert into kubesvc_accounts ({into}) values {}", rows.join(", "))).await;
        }
        for agent in ["a1", "a2"] {
            rig.agents.connect(agent, "z1", &[]);
        }
        let start = Instant::now();
        rig.dispatch.bell().ring();
        let active = "select sum(case when status = 'ACTIVE' then 1 else 0 end) from kubesvc_accounts";
        let active = if rig.place.word() == "sqlite" {
            active.replace("select sum(", "select cast(sum(").replace(") from", ") as text) from")
        } else {
            active.to_owned()
        };
        eventually("all are ACTIVE", Duration::from_secs(120), || async { (rig.place.sql.number(&active).await == 10_000).then_some(()) })
            .await;
        println!("{}: {ACCOUNTS} accounts from TO_MIGRATE to ACTIVE in {:.1} s", rig.place.word(), start.elapsed().as_secs_f64());
        eventually("both have all", Duration::from_secs(120), || async { (rig.agents.count("a2 add") >= ACCOUNTS).then_some(()) }).await;
        println!("{}: and at the second agent after {:.1} s", rig.place.word(), start.elapsed().as_secs_f64());
        rig.done().await;
    }
}
