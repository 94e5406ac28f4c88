//! `kill -9` in the middle of transitions: nothing is stuck, no intention lost.

use std::time::Duration;

use serde_json::json;

use super::Clusters;
use super::scene::{QUICK, Scene};
use super::story::lets_go;
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::http::{self, Request};
use crate::world::{World, delete, expect, takes_changes};

/// As [`QUICK`], but an agent that comes back after a kill has all the time that a slow machine takes.
const PATIENT: &str = "kubesvc.dynamicAccounts: { retryFrequencySeconds: 1, maxRetries: 40, orphanGraceSeconds: 30 }";

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    report
        .case(
            &world.title("agents: killed with an account in each transient state, Fairlead brings all where they were meant to go"),
            async {
                let clusters = clusters.get().await;
                let cluster = &clusters[0];
                let mut scene = Scene::new(world, "agents-killed", PATIENT).await;
                let agent = Agent::start("killed-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
                scene.agents(1).await;
                let kubeconfig = cluster.kubeconfig(&cluster.admin);
                for name in ["lets-go", "goes", "stays"] {
                    scene.activate(name, &kubeconfig, Some("zone-one")).await;
                    scene.becomes(name, "ACTIVE").await;
                }
                scene.store("comes", &kubeconfig).await;
                scene.store("waits", &kubeconfig).await;
                agent.pause().await;
                scene.patch("waits", "ACTIVE", Some("zone-two")).await;
                scene.patch("comes", "ACTIVE", Some("zone-one")).await;
                scene.patch("lets-go", "INACTIVE", None).await;
                expect(scene.fairlead.setup.port, &delete("goes"), 200).await;
                for (name, status) in [("waits", "TO_MIGRATE"), ("comes", "ACTIVATING"), ("lets-go", "DEACTIVATING"), ("goes", "DELETING")]
                {
                    scene.becomes(name, status).await;
                }
                scene.fairlead.kill();
                scene.fairlead.launch_again();
                scene.fairlead.ready().await;
                agent.resume();
                scene.becomes("comes", "ACTIVE").await;
                scene.becomes("lets-go", "INACTIVE").await;
                scene.goes("goes").await;
                assert_eq!(scene.row("stays").await.expect("there").status, "ACTIVE");
                assert_eq!(scene.row("waits").await.expect("there").status, "TO_MIGRATE");
                lets_go(&agent, "goes").await;
                lets_go(&agent, "lets-go").await;
                let _second = Agent::start("killed-b", "zone-two", scene.fairlead.setup.grpc_port, "").await;
                assert_eq!(scene.becomes("waits", "ACTIVE").await.zone, "zone-two");
                assert!(!scene.trail("stays").await.contains(&"ORPHANED".to_owned()), "a restart of Fairlead orphans nothing");
            },
        )
        .await;
    for _ in 0..repeats() {
        report
            .case(
                &world.title(
                    "agents: killed again and again under changes of all kinds, and at rest each account is what was last asked for",
                ),
                storm(world, clusters),
            )
            .await;
    }
}

/// How often the storm is run: once, or `FAIRLEAD_E2E_REPEAT` times.
fn repeats() -> u32 {
    std::env::var("FAIRLEAD_E2E_REPEAT").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

async fn storm(world: &World, clusters: &Clusters) {
    let clusters = clusters.get().await;
    let cluster = &clusters[0];
    let mut scene = Scene::new(world, "agents-storm", QUICK).await;
    let port = scene.fairlead.setup.port;
    let agent = Agent::start("storm-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
    let kubeconfig = cluster.kubeconfig(&cluster.admin);
    let names: Vec<String> = (0..12).map(|i| format!("k{i}")).collect();
    for name in &names {
        scene.store(name, &kubeconfig).await;
    }
    let seed = std::env::var("FAIRLEAD_E2E_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("        seed {seed}");
    let mut chance = fastrand::Rng::with_seed(seed);
    // A change that was not answered by 202 may have been done or not: then both may come of it.
    let mut wanted = vec![vec!["INACTIVE"]; names.len()];
    for round in 0..6 {
        for _ in 0..8 {
            let i = chance.usize(..names.len());
            let state = *chance.choice(["ACTIVE", "INACTIVE", "ACTIVE"].iter()).expect("one of three");
            let body = json!([{"name": names[i], "state": state}]).to_string();
            match http::call(port, &Request::new("PATCH", "/armory/accounts").json(body)).await {
                Ok(answer) if answer.status == 202 => wanted[i] = vec![state],
                other => {
                    println!("        {} {state}: {other:?}", names[i]);
                    wanted[i].push(state);
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(chance.u64(0..150))).await;
        scene.fairlead.kill();
        scene.fairlead.launch_again();
        scene.fairlead.ready().await;
        takes_changes(&scene.fairlead).await;
        if round == 3 {
            agent.pause().await;
        }
        if round == 4 {
            agent.resume();
        }
    }
    for (name, wanted) in names.iter().zip(&wanted) {
        let what = format!("is {} as it was asked to be", wanted.join(" or "));
        let row = scene.until(name, &what, |r| wanted.contains(&r.status.as_str()) && r.wanted == r.status).await;
        if row.status == "INACTIVE" {
            lets_go(&agent, name).await;
        }
    }
    for name in &names {
        expect(port, &delete(name), 200).await;
    }
    for name in &names {
        scene.goes(name).await;
        lets_go(&agent, name).await;
    }
}
