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
}
