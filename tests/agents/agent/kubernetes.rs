//! The agent and a real API server. Without one (`FAIRLEAD_E2E_KUBE`, see `scripts/kube.sh`) nothing is tested, which is said.

use fairlead::config::agent::Surroundings;
use fairlead::wire::account_outcome::Result as Done;
use fairlead::wire::{AccountState, ClusterFacts, Failure, FailureReason as Reason, NewAccount};
use http::Method;
use serde_json::json;

use super::rig::{Rig, account, pod, with, yaml};
use super::scripted::{Scripted, Session};
use crate::support::kube;

async fn added(session: &mut Session, account: NewAccount) -> Result<ClusterFacts, Failure> {
    let outcome = session.add(&format!("op-{}", fastrand::u64(..)), vec![account]).await;
    match outcome.accounts.into_iter().next().and_then(|a| a.result) {
        Some(Done::Done(done)) => Ok(done.facts.expect("facts")),
        Some(Done::Failure(failure)) => Err(failure),
        None => panic!("an outcome of nothing"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[tokio::test]
async fn a_real_cluster_is_reached_by_each_kind_of_user_and_each_failure_is_told() {
    if kube::programs().is_none() {
        return println!("left out: FAIRLEAD_E2E_KUBE names no folder of programs (scripts/kube.sh)");
    }
    let cluster = kube::clusters(1).await.remove(0);
    let mut fairlead = Scripted::start().await;
    let quick = "kubernetes: { connectTimeoutMs: 3000, checkFrequencySeconds: 1, retries: { maxRetries: 1, backOffMs: 10 } }";
    let _rig = Rig::start(&yaml(fairlead.address, quick)).await;
    let (mut session, _) = fairlead.registered(1).await;
    let (mut reports, _) = fairlead.reports().await;
    reports.grant(1 << 20).await;

    for (generation, user) in [(1, &cluster.admin), (2, &cluster.certificate)] {
        let facts = added(&mut session, account("all", generation, &cluster.kubeconfig(user))).await.unwrap();
        assert_eq!((facts.host, hex(&facts.certificate_fingerprint)), (cluster.host(), cluster.fingerprint()));
        assert_eq!(facts.identity, cluster.identity().await);
        assert!(facts.version.starts_with("v1."), "{}", facts.version);
        for kind in ["Pod", "Deployment.apps", "CustomResourceDefinition.apiextensions.k8s.io"] {
            assert!(facts.kinds.iter().any(|k| k == kind), "{kind} is not in {:?}", facts.kinds);
        }
        assert!(facts.namespaces.contains(&"kube-system".to_owned()));
        assert_eq!((facts.ca_fingerprint.len(), facts.remarks), (32, Vec::<String>::new()));
    }

    // Rights in one namespace only are enough; what may not be seen is a remark.
    let pods = json!([{ "apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list"] }]);
    let one = cluster.service_account("shop", "one", Some(pods)).await;
    let facts = added(&mut session, account("one", 3, &cluster.kubeconfig(&one))).await.unwrap();
    assert!(facts.namespaces_unknown && facts.identity.is_empty(), "{facts:?}");
    assert_eq!(facts.remarks.iter().filter(|r| r.contains("403")).count(), 2, "{:?}", facts.remarks);
    let named = |name: &str, generation, user: &kube::User| {
        with(name, generation, json!({ "kubeconfigContents": cluster.kubeconfig(user), "namespaces": ["shop"] }))
    };
    assert_eq!(added(&mut session, named("one", 4, &one)).await.unwrap().namespaces, ["shop"]);
    let none = cluster.service_account("shop", "none", None).await;
    let failure = added(&mut session, named("none", 5, &none)).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Forbidden, "{}", failure.message);

    let failure =
        added(&mut session, account("bad", 6, &kube::kubeconfig(&cluster.host(), &kube::other_ca(), &cluster.admin))).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Tls, "{}", failure.message);
    assert!(failure.message.contains("issued by"), "{}", failure.message);
    let wrong = kube::User::Token("never-heard-of".into());
    let failure = added(&mut session, account("bad", 7, &cluster.kubeconfig(&wrong))).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Unauthenticated, "{}", failure.message);

    cluster.revoke("shop", "one", &one).await;
    let gone = reports.account(|a| a.name == "one" && a.state() == AccountState::Failed).await;
    assert_eq!(gone.failure.unwrap().reason(), Reason::Unauthenticated);
    cluster.pause().await;
    let failure = added(&mut session, account("new", 8, &cluster.kubeconfig(&cluster.admin))).await.unwrap_err();
    assert_eq!(failure.reason(), Reason::Timeout, "{}", failure.message);
    let gone = reports.account(|a| a.name == "all" && a.state() == AccountState::Failed).await;
    assert_eq!(gone.failure.unwrap().reason(), Reason::Timeout);
    cluster.resume();
    reports.account(|a| a.name == "all" && a.state() == AccountState::Standby).await;
}

/// The agent's own pod, its ReplicaSet and its Deployment, and a ServiceAccount that may or may not read them.
#[tokio::test]
async fn the_zone_comes_from_the_deployment_in_a_real_cluster() {
    if kube::programs().is_none() {
        return println!("left out: FAIRLEAD_E2E_KUBE names no folder of programs (scripts/kube.sh)");
    }
    let cluster = kube::clusters(1).await.remove(0);
    let read = json!([
        { "apiGroups": [""], "resources": ["pods"], "verbs": ["get"] },
        { "apiGroups": ["apps"], "resources": ["deployments", "replicasets"], "verbs": ["get"] },
    ]);
    let may = cluster.service_account("namespace1", "may", Some(read)).await;
    let may_not = cluster.service_account("namespace1", "may-not", None).await;
    let labels = json!({ "app": "agent" });
    let template = json!({ "metadata": { "labels": labels }, "spec": { "containers": [{ "name": "agent", "image": "agent" }] } });
    let mut owner = None;
    for (kind, path, name, spec) in [
        ("Deployment", "/apis/apps/v1", "agent-1", json!({ "replicas": 2, "selector": { "matchLabels": labels }, "template": template })),
        ("ReplicaSet", "/apis/apps/v1", "odd-set", json!({ "replicas": 2, "selector": { "matchLabels": labels }, "template": template })),
        ("Pod", "/api/v1", "odd-pod", {
            let mut spec = template["spec"].clone();
            spec["serviceAccountName"] = "may".into();
            spec["automountServiceAccountToken"] = false.into();
            spec
        }),
    ] {
        let mut object = json!({ "metadata": { "name": name, "labels": labels }, "spec": spec });
        if let Some((kind, name, uid)) = owner.take() {
            object["metadata"]["ownerReferences"] = json!([{ "apiVersion": "apps/v1", "kind": kind, "name": name, "uid": uid }]);
        }
        let path = format!("{path}/namespaces/namespace1/{}s", kind.to_lowercase());
        let made: serde_json::Value = cluster.call(Method::POST, &path, Some(object)).await.unwrap();
        owner = Some((kind, name, made["metadata"]["uid"].clone()));
    }
    for (user, host_name, zone, replicas) in
        [(may, "odd-pod", "agent-1_namespace1", 2), (may_not, "agent-9-5b6d8c7f9-x2x4z", "agent-9_namespace1", 0)]
    {
        let kube::User::Token(token) = user else { panic!("a token") };
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("token", token.as_str()), ("ca.crt", &cluster.ca), ("namespace", "namespace1")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut fairlead = Scripted::start().await;
        let around = Surroundings { api_server: Some(("127.0.0.1".into(), cluster.port)), namespace: None, ..pod(host_name) };
        let config = yaml(fairlead.address, &format!("kubernetes.serviceAccountPath: {}", folder.path().display()));
        let _rig = Rig::surrounded(&config, around).await;
        let (_session, register) = fairlead.registered(1).await;
        assert_eq!((register.zone_id.as_str(), register.replicas), (zone, replicas));
    }
}
