//! The lifecycle with a real Gate as the client that stores, changes and deletes (acceptance A13). Gate has no path for the wish itself.

use tokio::sync::Mutex;

use super::Clusters;
use super::scene::{QUICK, Scene, definition};
use super::story::lets_go;
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::gate::Gate;
use crate::support::http::Request;
use crate::world::{World, delete, expect};

pub async fn run(report: &Report, world: &World, clusters: &Clusters, gate: &Mutex<Option<Gate>>) {
    let mut gate = gate.lock().await;
    let Some(gate) = gate.as_mut() else { return };
    report
        .case(&world.title("agents, gate: stored, changed and deleted through Gate, and at the agent meanwhile"), async {
            let [one, two, ..] = clusters.get().await else { unreachable!("three") };
            let mut setup = world.setup("agents-gate").with(QUICK);
            setup.port = gate.clouddriver_port;
            let scene = Scene::with(world, setup).await;
            gate.answering().await;
            let agent = Agent::start("gate-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            let send = |method: &str, kubeconfig: String| Request::new(method, "/credentials").json(definition("gated", &kubeconfig));
            expect(gate.port, &send("POST", one.kubeconfig(&one.admin)), 200).await;
            scene.becomes("gated", "INACTIVE").await;
            scene.patch("gated", "ACTIVE", None).await;
            assert_eq!(scene.becomes("gated", "ACTIVE").await.host, one.host());
            expect(gate.port, &send("PUT", two.kubeconfig(&two.certificate)), 200).await;
            scene.until("gated", "is at the other cluster", |r| r.status == "ACTIVE" && r.host == two.host()).await;
            assert!(agent.has("gated").await);
            expect(gate.port, &delete("gated"), 200).await;
            scene.goes("gated").await;
            lets_go(&agent, "gated").await;
            assert_eq!(scene.trail("gated").await, ["INACTIVE", "TO_MIGRATE", "ACTIVATING", "ACTIVE", "DELETING", "gone"]);
        })
        .await;
}
