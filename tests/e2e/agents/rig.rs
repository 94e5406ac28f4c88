//! The API servers themselves: what the other cases take for granted.

use http::Method;
use serde_json::json;

use crate::report::Report;
use crate::support::kube::{self, User};
use crate::world::World;

async fn code(cluster: &kube::Cluster, user: &User, path: &str) -> u16 {
    match kube::client(&cluster.kubeconfig(user)).await.request_text(http::Request::get(path).body(Vec::new()).expect("a request")).await {
        Ok(_) => 200,
        Err(::kube::Error::Api(status)) => status.code,
        Err(e) => panic!("{path}: {e}"),
    }
}

pub async fn run(report: &Report, world: &World) {
    report
        .case(&world.title("agents, rig: clusters know their own users only, by token and by certificate, also after a restart"), async {
            let mut clusters = kube::clusters(2).await;
            let (uid, fingerprint) = (clusters[0].identity().await, clusters[0].fingerprint());
            let (one, other) = (&clusters[0], &clusters[1]);
            assert_ne!(uid, other.identity().await);
            assert_ne!(fingerprint, other.fingerprint());
            for user in [&one.admin, &one.certificate] {
                assert_eq!(code(one, user, "/api/v1/namespaces").await, 200);
            }
            assert_eq!(code(one, &one.restricted, "/api/v1/namespaces").await, 403);
            assert_eq!(code(one, &other.admin, "/version").await, 401);
            let version = one.call(Method::GET, "/version", None).await.expect("a version");
            assert!(version["gitVersion"].as_str().is_some_and(|v| v.starts_with("v1.3")), "{version}");
            let reads = json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"]}]);
            let user = one.service_account("only", "reader", Some(reads)).await;
            assert_eq!(code(one, &user, "/api/v1/namespaces/only/pods").await, 200);
            assert_eq!(code(one, &user, "/api/v1/namespaces/default/pods").await, 403);
            one.revoke("only", "reader", &user).await;
            clusters[0].kill();
            clusters[0].start_again().await;
            assert_eq!((uid, fingerprint), (clusters[0].identity().await, clusters[0].fingerprint()));
            assert_eq!(code(&clusters[0], &clusters[0].certificate, "/api/v1/namespaces").await, 200);
        })
        .await;
    report
        .case(&world.title("agents, rig: the manifests of deploy/ are taken as they stand by a real API server"), async {
            let cluster = kube::clusters(1).await.remove(0);
            let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/kubernetes");
            let mut taken = Vec::new();
            for folder in [root.clone(), root.join("agent")] {
                for file in std::fs::read_dir(folder).expect("a folder").flatten().map(|f| f.path()) {
                    if file.extension().is_none_or(|e| e != "yaml") {
                        continue;
                    }
                    let text = std::fs::read_to_string(&file).expect("a manifest");
                    for document in text.split("\n---\n") {
                        let kind = document.lines().find_map(|l| l.strip_prefix("kind: ")).expect("a kind");
                        let group = match kind {
                            // Not for the API server.
                            "Kustomization" => continue,
                            "Deployment" => "apis/apps/v1",
                            "NetworkPolicy" => "apis/networking.k8s.io/v1",
                            "PodDisruptionBudget" => "apis/policy/v1",
                            "Role" | "RoleBinding" => "apis/rbac.authorization.k8s.io/v1",
                            _ => "api/v1",
                        };
                        let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
                        let path = format!("/{group}/namespaces/default/{}", plural.to_lowercase());
                        let answer = cluster.try_manifest(&path, document).await;
                        assert!(answer.is_ok(), "{}: {kind}: {answer:?}", file.display());
                        taken.push(kind.to_owned());
                    }
                }
            }
            for kind in ["Deployment", "Service", "NetworkPolicy", "Role", "ConfigMap", "Secret"] {
                assert!(taken.iter().any(|k| k == kind), "no {kind} among {taken:?}");
            }
            let wrong = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: x}\ndatum: {}\n";
            assert!(cluster.try_manifest("/api/v1/namespaces/default/configmaps", wrong).await.is_err(), "unknown fields are seen");
        })
        .await;
}
