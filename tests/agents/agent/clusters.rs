//! An account's cluster, reached and not reached.

use fairlead::demo;
use fairlead::wire::account_outcome::Result as Outcome;
use fairlead::wire::{ClusterFacts, Failure, FailureReason, NewAccount};
use md5::{Digest as _, Md5};

use super::api_server::{ApiServer, Authority, healthy, kubeconfig};
use super::rig::{Rig, account, yaml};
use super::scripted::{Scripted, Session};

/// An agent that is connected.
async fn connected(more: &str) -> (Rig, Scripted, Session) {
    let mut fairlead = Scripted::start().await;
    let rig = Rig::start(&yaml(fairlead.address, more)).await;
    let (session, _) = fairlead.registered(1).await;
    (rig, fairlead, session)
}

async fn added(session: &mut Session, account: NewAccount) -> Result<ClusterFacts, Failure> {
    let id = format!("op-{}", fastrand::u64(..));
    let outcome = session.add(&id, vec![account]).await;
    assert_eq!((outcome.failure, outcome.epoch), (None, 1));
    match outcome.accounts.into_iter().next().and_then(|a| a.result) {
        Some(Outcome::Done(done)) => Ok(done.facts.expect("facts")),
        Some(Outcome::Failure(failure)) => Err(failure),
        None => panic!("an outcome of nothing"),
    }
}

/// The failure of one account whose class is this.
async fn refused(session: &mut Session, account: NewAccount, reason: FailureReason) -> String {
    let failure = added(session, account).await.expect_err("it cannot be had");
    assert_eq!(failure.reason(), reason, "{}", failure.message);
    failure.message
}

#[tokio::test]
async fn an_account_by_a_token_is_reached_and_its_facts_are_told() {
    let (_rig, _fairlead, mut session) = connected("").await;
    let cluster = demo::Cluster::start("secret-1").await.unwrap();
    let facts = added(&mut session, account("prod", 7, &cluster.kubeconfig("secret-1"))).await.unwrap();
    assert_eq!((facts.host, facts.version), (format!("http://{}", cluster.address()), demo::CLUSTER_VERSION.to_owned()));
    assert_eq!(facts.namespaces, ["billing", "default", "kube-system", "shop"]);
    assert!(facts.kinds.contains(&"Pod".to_owned()) && facts.kinds.contains(&"Deployment.apps".to_owned()), "{:?}", facts.kinds);
    assert!(!facts.identity.is_empty() && facts.certificate_fingerprint.is_empty());
}

#[tokio::test]
async fn facts_have_the_certificate_the_ca_and_all_pages_of_namespaces() {
    let (_rig, _fairlead, mut session) = connected("").await;
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let pair = authority.server(&["127.0.0.1"]);
    let server = ApiServer::start(&pair, None).await;
    // Two CAs in the bundle: the one that the certificate leads to is told.
    let bundle = format!("{}{}", other.pem(), authority.pem());
    let facts = added(&mut session, account("prod", 7, &server.kubeconfig(&bundle, "t"))).await.unwrap();
    assert_eq!(facts.certificate_fingerprint, Md5::digest(&pair.der).to_vec());
    assert_eq!(facts.ca_fingerprint, aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &authority.der()).as_ref());
    assert_eq!(facts.namespaces, ["default", "kube-system", "shop"]);
    assert_eq!(facts.kinds, ["Deployment.apps", "Namespace", "Pod"]);
    assert_eq!((facts.identity.as_str(), facts.version.as_str()), ("uid-of-kube-system", "v1.34.4"));
    assert_eq!(facts.remarks, Vec::<String>::new());
    assert_eq!(server.connections(), 1, "one connection serves all requests");
}

#[tokio::test]
async fn a_client_certificate_is_shown() {
    let (_rig, _fairlead, mut session) = connected("").await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), Some(&authority)).await;
    let user = |pair: &super::api_server::Pair| {
        use base64::Engine as _;
        let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        format!("client-certificate-data: {}, client-key-data: {}", encode(&pair.certificate), encode(&pair.key))
    };
    let url = format!("https://{}", server.address);
    let own = authority.certificate(&["agent"], |_| {});
    added(&mut session, account("prod", 7, &kubeconfig(&url, &authority.pem(), &user(&own)))).await.unwrap();
    // Of another CA: the server ends TLS after the handshake is over for us.
    let other = Authority::new("other").certificate(&["agent"], |_| {});
    let text = refused(&mut session, account("prod", 8, &kubeconfig(&url, &authority.pem(), &user(&other))), FailureReason::Tls).await;
    assert!(text.contains("client certificate") && text.contains("UnknownCA"), "{text}");
}

#[tokio::test]
async fn what_an_account_may_not_see_is_a_remark() {
    let (_rig, _fairlead, mut session) = connected("").await;
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["127.0.0.1"]), None).await;
    server.answers(|asked| if asked.path.starts_with("/api/v1/namespaces") { (403, serde_json::json!({})) } else { healthy(asked) });
    let facts = added(&mut session, account("prod", 7, &server.kubeconfig(&authority.pem(), "t"))).await.unwrap();
    assert!(facts.namespaces_unknown && facts.namespaces.is_empty() && facts.identity.is_empty());
    let said = facts.remarks.join("\n");
    assert!(said.contains("kube-system may not be read (403)") && said.contains("namespaces may not be listed (403)"), "{said}");
}
