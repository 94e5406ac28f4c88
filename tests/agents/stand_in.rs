//! The stand-in for an API server, as a client of the real one sees it.

use fairlead::demo::{CLUSTER_VERSION, Cluster};
use k8s_openapi::api::core::v1::Namespace;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};

async fn client(cluster: &Cluster, token: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(&cluster.kubeconfig(token)).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a usable kubeconfig");
    Client::try_from(config).expect("a client")
}

#[tokio::test]
async fn it_says_what_it_is_and_has_an_identity_of_its_own() {
    let (one, other) = (Cluster::start("t").await.expect("started"), Cluster::start("t").await.expect("started"));
    let (one, other) = (client(&one, "t").await, client(&other, "t").await);
    let version = one.apiserver_version().await.expect("a version");
    assert_eq!(version.git_version, CLUSTER_VERSION);
    assert!(version.git_version.contains("stand-in"));
    let uid = async |client: &Client| {
        let namespace = Api::<Namespace>::all(client.clone()).get("kube-system").await.expect("kube-system");
        namespace.metadata.uid.expect("a UID")
    };
    assert_eq!(uid(&one).await, uid(&one).await);
    assert_ne!(uid(&one).await, uid(&other).await);
    let names: Vec<_> = Api::<Namespace>::all(one.clone()).list(&Default::default()).await.expect("a list").items;
    assert!(names.iter().any(|n| n.metadata.name.as_deref() == Some("shop")));
    let groups = one.list_api_groups().await.expect("groups");
    for group in &groups.groups {
        one.list_api_group_resources(&group.versions[0].group_version).await.expect("resources");
    }
    assert!(one.list_core_api_resources("v1").await.expect("resources").resources.iter().any(|r| r.kind == "Pod"));
}

#[tokio::test]
async fn only_the_token_of_the_moment_is_let_in() {
    let cluster = Cluster::start("first").await.expect("started");
    let code = async |token: &str| match client(&cluster, token).await.apiserver_version().await {
        Ok(_) => 200,
        Err(kube::Error::Api(status)) => status.code,
        Err(e) => panic!("{e}"),
    };
    assert_eq!((code("first").await, code("second").await), (200, 401));
    cluster.let_in("second");
    assert_eq!((code("first").await, code("second").await), (401, 200));
}
