//! The agent's own deployment gives its zone.

use fairlead::config::agent::Surroundings;
use serde_json::{Value, json};

use super::api_server::{ApiServer, Asked, Authority};
use super::rig::{Rig, pod, yaml};
use super::scripted::Scripted;
use super::ways::Proxy;

/// The cluster that the agent runs in: who owns whom.
fn owners(asked: &Asked) -> (u16, Value) {
    let owned = |kind: &str, name: &str| json!({ "metadata": { "ownerReferences": [{ "kind": kind, "name": name }] } });
    assert_eq!(asked.authorization.as_deref(), Some("Bearer pod-token"));
    match asked.path.as_str() {
        "/api/v1/namespaces/namespace1/pods/odd-name" => (200, owned("ReplicaSet", "agent-1-abc")),
        "/apis/apps/v1/namespaces/namespace1/replicasets/agent-1-abc" => (200, owned("Deployment", "agent-1")),
        "/apis/apps/v1/namespaces/namespace1/deployments/agent-1" => {
            (200, json!({ "spec": { "replicas": 3 }, "status": { "replicas": 2 } }))
        }
        _ => (404, json!({})),
    }
}

async fn in_cluster(
    fairlead: &Scripted,
    host_name: &str,
    answers: impl Fn(&Asked) -> (u16, Value) + Send + 'static,
) -> (Rig, ApiServer, tempfile::TempDir) {
    let authority = Authority::new("cluster");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    server.answers(answers);
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("token", "pod-token\n".to_owned()), ("ca.crt", authority.pem()), ("namespace", "namespace1".to_owned())] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let surroundings =
        Surroundings { api_server: Some(("127.0.0.1".to_owned(), server.address.port())), namespace: None, ..pod(host_name) };
    let config = yaml(fairlead.address, &format!("kubernetes.serviceAccountPath: {}", folder.path().display()));
    (Rig::surrounded(&config, surroundings).await, server, folder)
}

#[tokio::test]
async fn the_zone_is_the_deployment_that_owns_the_pod_and_its_replicas_are_told() {
    let mut fairlead = Scripted::start().await;
    let _around = in_cluster(&fairlead, "odd-name", owners).await;
    let (_session, register) = fairlead.registered(1).await;
    assert_eq!((register.zone_id.as_str(), register.replicas), ("agent-1_namespace1", 2));
}

#[tokio::test]
async fn without_the_right_to_read_it_the_zone_is_taken_from_the_pods_name() {
    let mut fairlead = Scripted::start().await;
    let _around = in_cluster(&fairlead, "agent-1-5b6d8c7f9-x2x4z", |_| (403, json!({}))).await;
    let (_session, register) = fairlead.registered(1).await;
    assert_eq!((register.zone_id.as_str(), register.replicas), ("agent-1_namespace1", 0));
}

#[tokio::test]
async fn the_pods_service_account_is_an_account() {
    let mut fairlead = Scripted::start().await;
    let _around = in_cluster(&fairlead, "agent-1", |asked| {
        assert_eq!(asked.authorization.as_deref(), Some("Bearer pod-token"));
        super::api_server::healthy(asked)
    })
    .await;
    let (mut session, _) = fairlead.registered(1).await;
    let outcome = session.add("op-1", vec![super::rig::with("here", 7, json!({ "serviceAccount": true }))]).await;
    assert!(matches!(outcome.accounts[0].result, Some(fairlead::wire::account_outcome::Result::Done(_))), "{outcome:?}");
}

#[tokio::test]
async fn the_pods_service_account_is_reached_without_the_proxy_where_the_account_says_so() {
    let mut fairlead = Scripted::start().await;
    let authority = Authority::new("cluster");
    let server = ApiServer::start(&authority.server(&["api.invalid"]), None).await;
    let proxy = Proxy::start(server.address).await;
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("token", "pod-token\n".to_owned()), ("ca.crt", authority.pem()), ("namespace", "namespace1".to_owned())] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let surroundings = Surroundings { api_server: Some(("api.invalid".to_owned(), 6443)), ..proxy.around("user:hunter2@") };
    let here = format!("clouddriver.noProxy: true\nkubernetes.serviceAccountPath: {}", folder.path().display());
    let _rig = Rig::surrounded(&yaml(fairlead.address, &here), surroundings).await;
    let (mut session, _) = fairlead.registered(1).await;
    let by_proxy = session.add("op-1", vec![super::rig::with("here", 7, json!({ "serviceAccount": true }))]).await;
    assert!(matches!(by_proxy.accounts[0].result, Some(fairlead::wire::account_outcome::Result::Done(_))), "{by_proxy:?}");
    let direct = session.add("op-2", vec![super::rig::with("there", 7, json!({ "serviceAccount": true, "noProxy": true }))]).await;
    let Some(fairlead::wire::account_outcome::Result::Failure(failure)) = &direct.accounts[0].result else { panic!("{direct:?}") };
    assert_eq!(failure.reason(), fairlead::wire::FailureReason::Dns, "{}", failure.message);
}
