//! Several agents: who has what, and what happens when one is gone.

use http::Method;
use serde_json::{Value, json};

use super::Clusters;
use super::scene::{PATIENCE, QUICK, Scene};
use super::story::lets_go;
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::connect::ConnectProxy;
use crate::support::databases::eventually;
use crate::support::http::Request;
use crate::support::kube::Cluster;
use crate::world::{World, expect};

/// Who watches an account, by the API; `None`: its two views were asked while that changed.
async fn watchers(scene: &Scene<'_>, account: &str) -> Option<Vec<String>> {
    let agents = expect(scene.fairlead.setup.port, &Request::new("GET", "/armory/agents"), 200).await.json();
    let shown = scene.shown(account).await;
    let of = |list: &Value, key: &str| -> Vec<String> {
        let entries = list.as_array().cloned().unwrap_or_default();
        entries.iter().filter(|e| e[key] == true).filter_map(|e| e["agentId"].as_str().map(str::to_owned)).collect()
    };
    let watching = of(&shown["agents"], "caching");
    let known: Vec<String> = of(&agents, "caching");
    watching.iter().all(|w| known.contains(w)).then_some(watching)
}

/// Waits until exactly one watches, and it is not this one.
async fn one_watches(scene: &Scene<'_>, account: &str, but: &str) -> String {
    eventually("exactly one agent watches, by the account and by the agents", PATIENCE, || async {
        let mut watching = watchers(scene, account).await?;
        (watching.len() == 1 && watching[0] != but).then(|| watching.remove(0))
    })
    .await
}

async fn holds(agent: &Agent, account: &str) {
    eventually(&format!("{} has {account}", agent.id), PATIENCE, || async { agent.has(account).await.then_some(()) }).await;
}

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    report
        .case(
            &world.title("agents: the last agent gone is ORPHANED after the grace and ACTIVE when it is back; a short absence is nothing"),
            async {
                let clusters = clusters.get().await;
                let cluster = &clusters[0];
                let scene = Scene::new(world, "agents-orphan", QUICK).await;
                let mut agent = Agent::start("orphan-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
                scene.activate("orphan", &cluster.kubeconfig(&cluster.admin), None).await;
                scene.becomes("orphan", "ACTIVE").await;
                scene.forget_trail().await;
                agent.kill();
                scene.becomes("orphan", "ORPHANED").await;
                agent.start_again().await;
                let row = scene.becomes("orphan", "ACTIVE").await;
                assert_eq!((row.failed, row.host), (0, cluster.host()));
                holds(&agent, "orphan").await;
                let trail: Vec<_> = scene.trail("orphan").await.into_iter().skip_while(|s| s != "ORPHANED").collect();
                assert_eq!(trail, ["ORPHANED", "ACTIVE"]);
                // Not mine to have any more: told when it comes back.
                agent.kill();
                scene.becomes("orphan", "ORPHANED").await;
                scene.patch("orphan", "INACTIVE", None).await;
                scene.becomes("orphan", "INACTIVE").await;
                agent.start_again().await;
                scene.agents(1).await;
                lets_go(&agent, "orphan").await;
            },
        )
        .await;
    report
        .case(&world.title("agents: with the grace as shipped, an agent that is restarted orphans nothing"), async {
            let clusters = clusters.get().await;
            let cluster = &clusters[0];
            let scene = Scene::new(world, "agents-restart", "").await;
            let mut agent = Agent::start("restart-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            scene.activate("stays", &cluster.kubeconfig(&cluster.admin), None).await;
            scene.becomes("stays", "ACTIVE").await;
            scene.forget_trail().await;
            agent.kill();
            scene.agents(0).await;
            agent.start_again().await;
            holds(&agent, "stays").await;
            assert!(agent.drain().await.success());
            scene.agents(0).await;
            agent.start_again().await;
            holds(&agent, "stays").await;
            assert!(scene.trail("stays").await.iter().all(|s| s == "ACTIVE"), "{:?}", scene.trail("stays").await);
        })
        .await;
    report
        .case(
            &world.title("agents: all of a zone have the account and one watches; the next takes over, and a new one gets it too"),
            async {
                let clusters = clusters.get().await;
                let cluster = &clusters[0];
                let scene = Scene::new(world, "agents-zone", QUICK).await;
                let grpc = scene.fairlead.setup.grpc_port;
                let mut first = Agent::start("first", "zone-one", grpc, "").await;
                let second = Agent::start("second", "zone-one", grpc, "").await;
                let stranger = Agent::start("stranger", "zone-two", grpc, "").await;
                scene.agents(3).await;
                scene.activate("shared", &cluster.kubeconfig(&cluster.admin), Some("zone-one")).await;
                scene.becomes("shared", "ACTIVE").await;
                holds(&first, "shared").await;
                holds(&second, "shared").await;
                scene.forget_trail().await;
                let watcher = one_watches(&scene, "shared", "").await;
                let mut second = Some(second);
                if watcher == "first" {
                    first.kill()
                } else {
                    second.take().expect("it runs").kill()
                }
                let next = one_watches(&scene, "shared", &watcher).await;
                assert!(["first", "second"].contains(&next.as_str()), "{next}");
                let third = Agent::start("third", "zone-one", grpc, "").await;
                holds(&third, "shared").await;
                one_watches(&scene, "shared", "").await;
                assert!(scene.trail("shared").await.iter().all(|s| s == "ACTIVE"), "{:?}", scene.trail("shared").await);
                assert!(!stranger.has("shared").await, "another zone has it");
                for agent in [&third, &stranger] {
                    assert_eq!(agent.connections_to(grpc), 1, "{}", agent.id);
                    assert_eq!(agent.listens_on().into_iter().collect::<Vec<_>>(), [agent.port], "{}", agent.id);
                }
            },
        )
        .await;
    report
        .case(&world.title("agents: an account without a zone finds the one agent of three that reaches its cluster"), async {
            let clusters = clusters.get().await;
            let cluster = &clusters[0];
            let scene = Scene::new(world, "agents-fan-out", QUICK).await;
            let grpc = scene.fairlead.setup.grpc_port;
            let way = ConnectProxy::start(crate::support::kube::HOST_BY_PROXY).await;
            let url = format!("http://127.0.0.1:{}", way.port);
            let short = "kubernetes: { connectTimeoutMs: 3000 }";
            let north = Agent::start("north", "zone-north", grpc, short).await;
            let east = Agent::start_with("east", "zone-east", grpc, short, &[("HTTPS_PROXY", url)]).await;
            let south = Agent::start("south", "zone-south", grpc, short).await;
            scene.agents(3).await;
            scene.activate("found", &cluster.kubeconfig_by_proxy(&cluster.admin), None).await;
            let row = scene.becomes("found", "ACTIVE").await;
            assert_eq!((row.zone.as_str(), row.failed), ("zone-east", 0));
            assert!(way.taken() > 0);
            assert!(east.has("found").await);
            for agent in [&north, &south] {
                lets_go(agent, "found").await;
            }
            // With the only one gone that reaches it, each zone's reason is told.
            scene
                .activate("lost", &cluster.kubeconfig_by_proxy(&cluster.restricted).replace("cluster.invalid", "nowhere.invalid"), None)
                .await;
            let row = scene.becomes("lost", "FAILED").await;
            for zone in ["zone-north", "zone-east", "zone-south"] {
                assert!(row.error.contains(zone), "{zone} is not in: {}", row.error);
            }
        })
        .await;
    report
        .case(&world.title("agents: several clusters at once, each account at its own"), async {
            let clusters = clusters.get().await;
            let scene = Scene::new(world, "agents-several", QUICK).await;
            let agent = Agent::start("several-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            let names: Vec<String> = (0..12).map(|i| format!("s{i}")).collect();
            for (i, name) in names.iter().enumerate() {
                let cluster = &clusters[i % clusters.len()];
                let user = if i % 2 == 0 { &cluster.admin } else { &cluster.certificate };
                scene.activate(name, &cluster.kubeconfig(user), None).await;
            }
            for (i, name) in names.iter().enumerate() {
                let row = scene.becomes(name, "ACTIVE").await;
                let cluster = &clusters[i % clusters.len()];
                assert_eq!((row.host, row.fingerprint), (cluster.host(), cluster.fingerprint()), "{name}");
                assert!(agent.has(name).await);
            }
            assert_eq!(agent.connections_to(scene.fairlead.setup.grpc_port), 1);
        })
        .await;
    report
        .case(
            &world.title(
                "agents: in a cluster the zone is that of the agent's deployment, which is read, or else guessed from the pod's name",
            ),
            async {
                let clusters = clusters.get().await;
                let cluster = &clusters[0];
                let scene = Scene::new(world, "agents-derived", QUICK).await;
                let namespace = "namespace1";
                let reads = json!([
                    {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
                    {"apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get"]}
                ]);
                let allowed = cluster.service_account(namespace, "agent", Some(reads)).await;
                let nothing = cluster.service_account(namespace, "default", None).await;
                // The hash is none that a name could be cut at.
                pod_of_a_deployment(cluster, namespace, "agent-1", "named-by-hand").await;
                for (pod, user, zone) in
                    [("named-by-hand", &allowed, "agent-1_namespace1"), ("agent-2-5b6d8c7f9-x2x4z", &nothing, "agent-2_namespace1")]
                {
                    let (variables, folder) = cluster.inside(namespace, user);
                    let more = format!("kubernetes.serviceAccountPath: {}", folder.path().display());
                    let _agent = Agent::start_with(pod, "", scene.fairlead.setup.grpc_port, &more, &variables).await;
                    scene.activate(zone, &cluster.kubeconfig(&cluster.admin), None).await;
                    assert_eq!(scene.becomes(zone, "ACTIVE").await.zone, zone);
                }
            },
        )
        .await;
}

/// A pod, its ReplicaSet and its Deployment, which nobody runs.
async fn pod_of_a_deployment(cluster: &Cluster, namespace: &str, deployment: &str, pod: &str) {
    let labels = json!({"app": deployment});
    let container = json!({"containers": [{"name": "agent", "image": "none"}]});
    let template = json!({"metadata": {"labels": labels}, "spec": container});
    let set = json!({"replicas": 1, "selector": {"matchLabels": labels}, "template": template});
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let made = post(cluster, &format!("{apps}/deployments"), json!({"metadata": {"name": deployment}, "spec": set})).await;
    let owner = owned_by("Deployment", &made);
    let name = format!("{deployment}-1");
    let made =
        post(cluster, &format!("{apps}/replicasets"), json!({"metadata": {"name": name, "ownerReferences": [owner]}, "spec": set})).await;
    let owner = owned_by("ReplicaSet", &made);
    let metadata = json!({"name": pod, "labels": labels, "ownerReferences": [owner]});
    post(cluster, &format!("/api/v1/namespaces/{namespace}/pods"), json!({"metadata": metadata, "spec": container})).await;
}

async fn post(cluster: &Cluster, path: &str, body: Value) -> Value {
    cluster.call(Method::POST, path, Some(body)).await.unwrap_or_else(|e| panic!("{path}: {e}"))
}

fn owned_by(kind: &str, owner: &Value) -> Value {
    let metadata = &owner["metadata"];
    json!({"apiVersion": "apps/v1", "kind": kind, "name": metadata["name"], "uid": metadata["uid"], "controller": true})
}
