//! The scanner with a real Clouddriver, a real agent and a real API server: no POST to Fairlead and no PATCH makes these accounts ACTIVE.

use super::Clusters;
use super::scene::{PATIENCE, QUICK, Scene, definition};
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::databases::eventually;
use crate::support::http::Request;
use crate::world::{World, expect};

/// As the documents print it.
const YAML: &str = "kubesvc:
  dynamicAccounts:
    enabled: true
    scan: true
    scanBatchSize: 5
    scanFrequencySeconds: 60
    namePatterns: ['^account1.*','^.*account2.*']
";

const MATCH: [&str; 12] = [
    "account1",
    "account1-a",
    "account10",
    "account11",
    "account12",
    "account13",
    "account2",
    "account20",
    "account2-b",
    "my-account2",
    "x-account2-y",
    "2-account2",
];
const OTHER: [&str; 3] = ["my-account1", "account3", "another"];

/// Straight to Clouddriver.
async fn store(world: &World, name: &str, kubeconfig: &str) {
    expect(world.cd.port, &Request::new("POST", "/credentials").json(definition(name, kubeconfig)), 200).await;
}

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    let title = "agents: twelve accounts that Clouddriver had before Fairlead ran become ACTIVE by the documents' patterns, three are untouched; \
                 so does what came past Fairlead while it was down, and what a user took out stays out";
    report
        .case(&world.title(title), async {
            let cluster = &clusters.get().await[0];
            let kubeconfig = cluster.kubeconfig(&cluster.admin);
            world.fresh().await;
            for name in MATCH.iter().chain(&OTHER) {
                store(world, name, &kubeconfig).await;
            }
            let before = world.cd.accounts().await;
            let mut scene = Scene::on(world, world.setup("agents-scanned").with(&format!("{QUICK}\n{YAML}"))).await;
            let agent = Agent::start("one-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            for name in MATCH {
                let row = scene.becomes(name, "ACTIVE").await;
                assert_eq!((row.host.as_str(), row.zone.as_str(), row.failed), (cluster.host().as_str(), "zone-one", 0), "{name}");
                let trail = scene.trail(name).await;
                assert_eq!(trail[trail.len().saturating_sub(2)..], ["ACTIVATING", "ACTIVE"], "{name}: {trail:?}");
                assert!(trail.iter().all(|s| ["TO_MIGRATE", "ACTIVATING", "ACTIVE"].contains(&s.as_str())), "{name}: {trail:?}");
            }
            for name in OTHER {
                assert_eq!(scene.row(name).await, None, "{name}");
            }
            assert_eq!(world.cd.accounts().await, before, "Clouddriver's own table is nobody's business");
            assert_eq!(scene.shown("account1").await["origin"], "scanner");

            // Through the proxy: mirrored, and left to the next scan. By hand: left alone.
            scene.store("account1-posted", &kubeconfig).await;
            scene.store("posted", &kubeconfig).await;
            scene.patch("account20", "INACTIVE", None).await;
            scene.becomes("account20", "INACTIVE").await;
            expect(scene.fairlead.setup.port, &Request::new("DELETE", "/armory/accounts/account10"), 202).await;
            scene.goes("account10").await;
            scene.fairlead.kill();
            store(world, "past-account2", &kubeconfig).await;
            scene.fairlead.launch_again();
            scene.fairlead.ready().await;
            for name in ["account1-posted", "past-account2"] {
                scene.becomes(name, "ACTIVE").await;
                let has = || async { agent.has(name).await.then_some(()) };
                eventually(&format!("the agent has {name}"), PATIENCE, has).await;
            }
            assert_eq!(scene.row("posted").await.map(|r| r.status).as_deref(), Some("INACTIVE"));
            assert_eq!(scene.row("account20").await.map(|r| r.status).as_deref(), Some("INACTIVE"));
            assert_eq!(scene.row("account10").await, None);
        })
        .await;
}
