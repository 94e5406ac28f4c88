//! Two replicas over one database, changes of the same names through both.

use super::report::Report;
use super::storm::{Plan, storm};
use super::world::{World, delete, expect, post, put, start};
use crate::support::process::Fairlead;

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
}
