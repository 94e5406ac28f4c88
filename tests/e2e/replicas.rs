//! Two replicas over one database, changes of the same names through both.

use std::time::Duration;

use super::report::Report;
use super::storm::{Plan, storm};
use super::world::{World, delete, expect, post, put, start};
use crate::support::databases::eventually;
use crate::support::process::Fairlead;
use crate::support::rest::REST;

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("replicas: two that start at once migrate once, and each sees what the other's changes did"), async {
            world.fresh().await;
            let mut one = Fairlead::spawn(world.setup("start-1"));
            let mut two = Fairlead::spawn(world.setup("start-2"));
            one.ready().await;
            two.ready().await;
            expect(one.setup.port, &post("shared", "1"), 200).await;
            expect(two.setup.port, &put("shared", "2"), 200).await;
            world.rest(&[&one, &two]).await;
            assert!(world.mirrored("shared").await.is_some_and(|r| r.definition.contains("\"2\"")));
            expect(two.setup.port, &delete("shared"), 200).await;
            world.rest(&[&one, &two]).await;
            assert!(world.mirror().await.is_empty());
        })
        .await;
    report
        .case(&world.title("replicas: random pairs of changes on the same names through two replicas"), async {
            world.fresh().await;
            let fairleads = vec![start(world.setup("pair-1").stormy()).await, start(world.setup("pair-2").stormy()).await];
            storm(world, fairleads, Plan { names: 3, clients: 4, changes: 240, rounds: 0, ..Plan::default() }).await;
        })
        .await;
    report
        .case(&world.title("replicas: one of two is killed or paused beyond its lease, the other takes over"), async {
            world.fresh().await;
            let fairleads = vec![start(world.setup("lease-1").stormy()).await, start(world.setup("lease-2").stormy()).await];
            storm(world, fairleads, Plan { names: 6, clients: 4, changes: 120, rounds: 5, ..Plan::default() }).await;
        })
        .await;
    report
        .case(
            &world.title("replicas: one that is stopped between journal and forward forwards nothing that the other has given up"),
            async {
                world.fresh().await;
                let setup = |name| world.setup(name).lease(Duration::from_secs(2));
                let other = start(setup("stopped-other")).await;
                let stopped = start(setup("stopped").holding("before-forward")).await;
                let port = other.setup.port;
                let entries =
                    async |name: &str| world.admin().number(&format!("select count(*) from accounts_history where id = '{name}'")).await;
                for (name, stale, newer, changes) in [
                    ("posted", post("posted", "stale"), post("posted", "newer"), 1),
                    ("put", put("put", "stale"), put("put", "newer"), 2),
                    ("deleted", delete("deleted"), put("deleted", "newer"), 2),
                ] {
                    if changes > 1 {
                        expect(port, &post(name, "before"), 200).await;
                        world.rest(&[&other, &stopped]).await;
                    }
                    let call = stopped.stopped_at_a_change(stale).await;
                    eventually("the other one ends the intent", REST, async || {
                        (world.admin().number("select count(*) from fairlead_intents").await == 0).then_some(())
                    })
                    .await;
                    expect(port, &newer, 200).await;
                    stopped.resume();
                    let answer = call.await.expect("no panic").expect("an answer");
                    assert_eq!(answer.status, 503, "{name}: {}", answer.text());
                    world.rest(&[&other, &stopped]).await;
                    assert_eq!(entries(name).await, changes, "{name}: Clouddriver did what was held back");
                    let row = world.mirrored(name).await.unwrap_or_else(|| panic!("{name} is not mirrored\n{}", other.log_tail()));
                    assert!(row.definition.contains("newer"), "{name}: {}", row.definition);
                }
            },
        )
        .await;
}
