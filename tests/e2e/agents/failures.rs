//! What goes wrong is said so that an operator can act on it, and is over when it is put right.

use http::Method;
use serde_json::json;

use super::Clusters;
use super::scene::{PATIENCE, QUICK, Scene};
use crate::report::Report;
use crate::support::agent::Agent;
use crate::support::databases::eventually;
use crate::support::kube::{self, Cluster, User};
use crate::support::process::free_port;
use crate::world::World;

/// Checks often, gives up soon.
const IMPATIENT: &str = "kubernetes: { connectTimeoutMs: 2000, checkFrequencySeconds: 1, retries: { maxRetries: 1, backOffMs: 100 } }";

pub async fn run(report: &Report, world: &World, clusters: &Clusters) {
    report
        .case(
            &world.title("agents: each failure names host and cause in the table and in the API, and a PUT that mends it is enough"),
            async {
                let [one, two, ..] = clusters.get().await else { unreachable!("three") };
                let scene = Scene::new(world, "agents-failures", QUICK).await;
                let agent = Agent::start("failures-a", "zone-one", scene.fairlead.setup.grpc_port, IMPATIENT).await;
                scene.agents(1).await;
                let closed = format!("127.0.0.1:{}", free_port());
                let token = User::Token("0123456789abcdef-nobody".into());
                let good = one.kubeconfig(&one.admin);
                let cases: Vec<(&str, String, Vec<&str>)> = vec![
                    ("no-yaml", "clusters: [".into(), vec!["kubeconfig"]),
                    ("no-context", "apiVersion: v1\nkind: Config\n".into(), vec!["kubeconfig", "context"]),
                    ("bad-token", one.kubeconfig(&token), vec!["401", "127.0.0.1"]),
                    ("other-users", one.kubeconfig(&two.certificate), vec!["401", "127.0.0.1"]),
                    ("unreachable", kube::kubeconfig(&format!("https://{closed}"), &one.ca, &one.admin), vec!["refused", &closed]),
                    ("no-such-host", one.kubeconfig_by_proxy(&one.admin), vec![kube::HOST_BY_PROXY]),
                    ("wrong-ca", kube::kubeconfig(&one.host(), &kube::other_ca(), &one.admin), vec!["certificate", "127.0.0.1"]),
                    ("runs-a-program", exec(one), vec!["exec", "refused"]),
                ];
                for (name, kubeconfig, _) in &cases {
                    scene.activate(name, kubeconfig, Some("zone-one")).await;
                }
                for (name, _, words) in &cases {
                    let row = scene.until(name, "fails", |r| r.status == "FAILED" && !r.error.is_empty()).await;
                    for word in words {
                        assert!(row.error.to_lowercase().contains(&word.to_lowercase()), "{name}: {word} is not in: {}", row.error);
                    }
                    assert!(row.failed >= 1, "{name}");
                    // Between two attempts: while one is under way there is nothing to say.
                    eventually(&format!("the API says why {name} fails"), PATIENCE, || async {
                        scene.shown(name).await["errorMessage"].as_str().is_some_and(|m| !m.is_empty()).then_some(())
                    })
                    .await;
                    assert!(!row.error.contains("0123456789abcdef"), "{name}: a credential is in: {}", row.error);
                }
                for (name, ..) in &cases {
                    scene.change(name, &good).await;
                }
                for (name, ..) in &cases {
                    let row = scene.becomes(name, "ACTIVE").await;
                    assert_eq!((row.failed, row.error.as_str(), row.host), (0, "", one.host()), "{name}");
                    assert!(agent.has(name).await);
                }
                assert!(!agent.log().contains("0123456789abcdef"), "the agent's log holds a credential");
            },
        )
        .await;
    report
        .case(&world.title("agents: as shipped, one attempt and three retries, then quiet; PATCH begins anew"), async {
            let [one, ..] = clusters.get().await else { unreachable!("three") };
            let scene = Scene::new(world, "agents-retries", "").await;
            let _agent = Agent::start("retries-a", "zone-one", scene.fairlead.setup.grpc_port, IMPATIENT).await;
            let user = User::Token("nobody".into());
            scene.activate("tries", &one.kubeconfig(&user), Some("zone-one")).await;
            scene.until("tries", "has failed four times", |r| r.status == "FAILED" && r.failed == 4).await;
            let attempts = scene.trail("tries").await.iter().filter(|s| *s == "FAILED").count();
            assert_eq!(attempts, 4);
            // Longer than the pause between two retries.
            tokio::time::sleep(std::time::Duration::from_secs(8)).await;
            assert_eq!(scene.row("tries").await.expect("there").failed, 4);
            scene.patch("tries", "ACTIVE", None).await;
            scene.until("tries", "is tried anew", |r| r.status == "FAILED" && r.failed == 1).await;
        })
        .await;
    report
        .case(
            &world.title("agents: a server that hangs fails within the connect time-out, and is reached by retry when it goes on"),
            async {
                let [one, two, ..] = clusters.get().await else { unreachable!("three") };
                let scene = Scene::new(world, "agents-hangs", QUICK).await;
                let _agent = Agent::start("hangs-a", "zone-one", scene.fairlead.setup.grpc_port, IMPATIENT).await;
                scene.agents(1).await;
                two.pause().await;
                scene.activate("hangs", &two.kubeconfig(&two.admin), Some("zone-one")).await;
                scene.activate("beside", &one.kubeconfig(&one.admin), Some("zone-one")).await;
                scene.becomes("beside", "ACTIVE").await;
                let row = scene.becomes("hangs", "FAILED").await;
                two.resume();
                assert!(row.error.contains("127.0.0.1") && row.error.contains("2000 ms"), "{}", row.error);
                let row = scene.becomes("hangs", "ACTIVE").await;
                assert_eq!((row.error.as_str(), row.host), ("", two.host()));
            },
        )
        .await;
    report
        .case(&world.title("agents: a token that is revoked while the account is active is noticed and said; a new one is enough"), async {
            let [one, ..] = clusters.get().await else { unreachable!("three") };
            let scene = Scene::new(world, "agents-revoked", QUICK).await;
            let _agent = Agent::start("revoked-a", "zone-one", scene.fairlead.setup.grpc_port, IMPATIENT).await;
            let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
            let user = one.service_account("revoked", "agent", Some(pods)).await;
            scene.activate("revoked", &one.kubeconfig(&user), Some("zone-one")).await;
            scene.becomes("revoked", "ACTIVE").await;
            one.revoke("revoked", "agent", &user).await;
            let row = scene.becomes("revoked", "FAILED").await;
            assert!(row.error.contains("401") && row.error.contains(&one.host()), "{}", row.error);
            let user = one.service_account("revoked", "agent-2", None).await;
            scene.change("revoked", &one.kubeconfig(&user)).await;
            scene.becomes("revoked", "ACTIVE").await;
        })
        .await;
    report
        .case(&world.title("agents: rights in one namespace only are enough to be active"), async {
            let [one, ..] = clusters.get().await else { unreachable!("three") };
            let scene = Scene::new(world, "agents-one-namespace", QUICK).await;
            let _agent = Agent::start("rights-a", "zone-one", scene.fairlead.setup.grpc_port, "").await;
            let pods = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}]);
            let user = one.service_account("mine", "agent", Some(pods)).await;
            scene.activate("modest", &one.kubeconfig(&user), Some("zone-one")).await;
            scene.activate("nothing", &one.kubeconfig(&one.restricted), Some("zone-one")).await;
            for name in ["modest", "nothing"] {
                let row = scene.becomes(name, "ACTIVE").await;
                assert_eq!((row.host, row.fingerprint, row.error.as_str()), (one.host(), one.fingerprint(), ""), "{name}");
                assert!(!scene.trail(name).await.contains(&"FAILED".to_owned()), "{name}");
            }
            assert!(one.call(Method::GET, "/api/v1/namespaces/mine", None).await.is_ok());
        })
        .await;
    report
        .case(
            &world.title("agents: a cluster that goes away is noticed and said, and is back by itself with a renewed certificate"),
            async {
                let scene = Scene::new(world, "agents-gone", QUICK).await;
                let _agent = Agent::start("gone-a", "zone-one", scene.fairlead.setup.grpc_port, IMPATIENT).await;
                let mut last = kube::clusters(1).await.remove(0);
                scene.activate("gone", &last.kubeconfig(&last.admin), Some("zone-one")).await;
                let before = scene.becomes("gone", "ACTIVE").await;
                last.kill();
                let row = scene.becomes("gone", "FAILED").await;
                assert!(row.error.contains("refused") && row.error.contains("127.0.0.1"), "{}", row.error);
                last.renew_certificate();
                last.start_again().await;
                let row = scene.becomes("gone", "ACTIVE").await;
                assert_eq!(row.fingerprint, last.fingerprint());
                assert_ne!(row.fingerprint, before.fingerprint);
            },
        )
        .await;
}

/// A kubeconfig that would have a program run.
fn exec(cluster: &Cluster) -> String {
    let exec = "exec: {apiVersion: client.authentication.k8s.io/v1, command: touch, args: [/tmp/never], interactiveMode: Never}";
    let nobody = User::Token("nobody".into());
    cluster.kubeconfig(&nobody).replace("token: nobody", exec)
}
