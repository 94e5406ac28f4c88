//! The main job: stored through the proxy, wanted, active, changed, let go, deleted.

use serde_json::json;

use super::Clusters;
use super::scene::{PATIENCE, QUICK, Scene, definition};
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::databases::eventually;
use crate::support::http::{self, Request};
use crate::support::kube::User;
use crate::world::{World, delete, expect};

const BECOMES_ACTIVE: [&str; 4] = ["INACTIVE", "TO_MIGRATE", "ACTIVATING", "ACTIVE"];
const IS_LET_GO: [&str; 3] = ["TO_DEACTIVATE", "DEACTIVATING", "INACTIVE"];

/// Waits until the agent has let go of an account.
pub async fn lets_go(agent: &Agent, name: &str) {
    eventually(&format!("{} lets go of {name}", agent.id), PATIENCE, || async { (!agent.has(name).await).then_some(()) }).await;
}

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    report
        .case(&world.title("agents: stored through the proxy, one PATCH, active by token and by certificate; let go; deleted"), async {
            let clusters = clusters.get().await;
            let scene = Scene::new(world, "agents", QUICK).await;
            let port = scene.fairlead.setup.port;
            let agent = Agent::start("one-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            scene.agents(1).await;
            scene.store("by-token", &clusters[0].kubeconfig(&clusters[0].admin)).await;
            scene.store("by-certificate", &clusters[1].kubeconfig(&clusters[1].certificate)).await;
            let before = world.cd.accounts().await;
            let both =
                json!([{"name": "by-token", "state": "ACTIVE"}, {"name": "by-certificate", "state": "ACTIVE", "zoneId": "zone-one"}]);
            let answer = expect(port, &Request::new("PATCH", "/armory/accounts").json(both.to_string()), 202).await;
            assert_eq!(answer.text(), "", "an empty body");
            for (name, cluster) in [("by-token", &clusters[0]), ("by-certificate", &clusters[1])] {
                let row = scene.becomes(name, "ACTIVE").await;
                assert_eq!(
                    (row.host.as_str(), row.fingerprint.as_str()),
                    (cluster.host().as_str(), cluster.fingerprint().as_str()),
                    "{name}"
                );
                assert!(row.version.contains("v1.3"), "{name}: {}", row.version);
                assert_eq!((row.zone.as_str(), row.failed, row.error.as_str()), ("zone-one", 0, ""), "{name}");
                assert_eq!(scene.trail(name).await, BECOMES_ACTIVE, "{name}");
                assert!(agent.has(name).await, "{name}: {}", agent.accounts().await);
                let shown = scene.shown(name).await;
                assert_eq!(shown["status"], "ACTIVE", "{shown}");
                assert_eq!(shown["agents"][0]["agentId"], "one-a", "{shown}");
                assert_eq!(shown["certFingerprint"], cluster.fingerprint(), "{shown}");
            }
            assert_eq!(world.cd.accounts().await, before, "Clouddriver's own table is nobody's business");
            // Who may read logs and pages may not read credentials.
            let User::Token(token) = &clusters[0].admin else { unreachable!("a token") };
            let told = scene.fairlead.told().await
                + &agent.log()
                + &agent.accounts().await.to_string()
                + &scene.shown("by-token").await.to_string();
            assert!(!told.contains(token.as_str()), "the token is told");

            scene.patch("by-token", "INACTIVE", None).await;
            scene.becomes("by-token", "INACTIVE").await;
            assert_eq!(scene.trail("by-token").await, [&BECOMES_ACTIVE[..], &IS_LET_GO].concat());
            lets_go(&agent, "by-token").await;
            assert!(agent.has("by-certificate").await);

            expect(port, &delete("by-certificate"), 200).await;
            scene.goes("by-certificate").await;
            assert_eq!(scene.trail("by-certificate").await, [&BECOMES_ACTIVE[..], &["DELETING", "gone"]].concat());
            lets_go(&agent, "by-certificate").await;
        })
        .await;
    report
        .case(
            &world.title(
                "agents: an account that Clouddriver had before Fairlead came is migrated by hand, and Clouddriver's row stays as it is",
            ),
            async {
                let clusters = clusters.get().await;
                let scene = Scene::new(world, "agents-by-hand", QUICK).await;
                let port = scene.fairlead.setup.port;
                let _agent = Agent::start("hand-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
                let kubeconfig = clusters[0].kubeconfig(&clusters[0].admin);
                expect(world.cd.port, &Request::new("POST", "/credentials").json(definition("old", &kubeconfig)), 200).await;
                let before = world.cd.accounts().await;
                expect(port, &Request::new("POST", "/armory/accounts").json(json!([{"name": "old"}]).to_string()), 202).await;
                assert_eq!(scene.becomes("old", "INACTIVE").await.zone, "");
                scene.patch("old", "ACTIVE", None).await;
                let row = scene.becomes("old", "ACTIVE").await;
                assert_eq!((row.zone.as_str(), row.host), ("zone-one", clusters[0].host()));
                assert_eq!(scene.trail("old").await, BECOMES_ACTIVE);
                scene.patch("old", "INACTIVE", None).await;
                scene.becomes("old", "INACTIVE").await;
                assert_eq!(scene.trail("old").await, [&BECOMES_ACTIVE[..], &IS_LET_GO].concat());
                assert_eq!(world.cd.accounts().await, before);
            },
        )
        .await;
    report
        .case(&world.title("agents: changed by PUT, the agent has the new definition, another cluster's too"), async {
            let clusters = clusters.get().await;
            let scene = Scene::new(world, "agents-put", QUICK).await;
            let agent = Agent::start("put-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            scene.activate("moves", &clusters[0].kubeconfig(&clusters[0].admin), Some("zone-one")).await;
            assert_eq!(scene.becomes("moves", "ACTIVE").await.host, clusters[0].host());
            // The same cluster by other credentials, then another cluster, then none.
            scene.forget_trail().await;
            scene.change("moves", &clusters[1].kubeconfig(&clusters[1].certificate)).await;
            let row = scene.until("moves", "is at the other cluster", |r| r.status == "ACTIVE" && r.host == clusters[1].host()).await;
            assert_eq!((row.fingerprint, row.failed), (clusters[1].fingerprint(), 0));
            assert!(!scene.trail("moves").await.contains(&"FAILED".to_owned()), "{:?}", scene.trail("moves").await);
            assert!(agent.has("moves").await);
            scene.change("moves", &clusters[0].kubeconfig(&clusters[1].admin)).await;
            let row = scene.until("moves", "fails with what is wrong now", |r| r.status == "FAILED").await;
            assert!(row.error.contains("401") && row.error.contains(&clusters[0].host()), "{}", row.error);
            scene.change("moves", &clusters[0].kubeconfig(&clusters[0].admin)).await;
            scene.until("moves", "is back at the first", |r| r.status == "ACTIVE" && r.host == clusters[0].host()).await;
        })
        .await;
    report
        .case(&world.title("agents: the row is there before the agent is told, and until it has answered"), async {
            let clusters = clusters.get().await;
            let scene = Scene::new(world, "agents-order", QUICK).await;
            let agent = Agent::start("order-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            scene.agents(1).await;
            scene.store("held", &clusters[0].kubeconfig(&clusters[0].admin)).await;
            agent.pause().await;
            scene.patch("held", "ACTIVE", Some("zone-one")).await;
            scene.becomes("held", "ACTIVATING").await;
            agent.resume();
            scene.becomes("held", "ACTIVE").await;
            agent.pause().await;
            expect(scene.fairlead.setup.port, &delete("held"), 200).await;
            scene.becomes("held", "DELETING").await;
            agent.resume();
            scene.goes("held").await;
            assert_eq!(scene.trail("held").await, ["INACTIVE", "TO_MIGRATE", "ACTIVATING", "ACTIVE", "DELETING", "gone"]);
            lets_go(&agent, "held").await;
        })
        .await;
    one_request(report, world, clusters, 200).await;
}

/// So many accounts, each enabled with one request as soon as it is stored.
pub async fn one_request(report: &Report, world: &World, clusters: &Clusters, rounds: usize) {
    report
        .case(
            &world.title("agents: POST through the proxy and one PATCH on the same connection, again and again: never an unknown name"),
            async {
                let clusters = clusters.get().await;
                let scene = Scene::new(world, "agents-one-request", QUICK).await;
                let _agent = Agent::start("request-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
                let kubeconfig = clusters[0].kubeconfig(&clusters[0].admin);
                let mut connection = http::Connection::open(scene.fairlead.setup.port).await.expect("a connection");
                for i in 0..rounds {
                    let name = format!("r{i}");
                    let stored = connection.call(&Request::new("POST", "/credentials").json(definition(&name, &kubeconfig))).await;
                    assert_eq!(stored.expect("an answer").status, 200, "{name}");
                    let patch = Request::new("PATCH", "/armory/accounts").json(json!([{"name": name, "state": "ACTIVE"}]).to_string());
                    assert_eq!(connection.call(&patch).await.expect("an answer").status, 202, "{name}");
                }
                for i in 0..rounds {
                    scene.becomes(&format!("r{i}"), "ACTIVE").await;
                }
            },
        )
        .await;
}
