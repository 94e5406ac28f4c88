//! The program as it runs: what it listens on, what it connects to, what it logs, how it ends.

use std::collections::BTreeSet;

use fairlead::demo::Cluster;
use fairlead::wire::account_outcome::Result as Done;

use super::rig::{account, with};
use super::scripted::Scripted;
use crate::support::agent::Agent;

#[tokio::test]
async fn it_has_one_connection_to_fairlead_listens_for_health_only_logs_no_secret_and_ends_in_order() {
    let mut fairlead = Scripted::start().await;
    let port = fairlead.address.port();
    let mut agent = Agent::start("agent-1", "zone-1", port, "").await;
    let (mut session, register) = fairlead.registered(1).await;
    assert_eq!((register.agent_id.as_str(), register.zone_id.as_str()), ("agent-1", "zone-1"));
    let (_reports, _) = fairlead.reports().await;
    let cluster = Cluster::start("hunter2-token").await.unwrap();
    let done = session.add("op-1", vec![account("prod", 7, &cluster.kubeconfig("hunter2-token"))]).await;
    assert!(matches!(done.accounts[0].result, Some(Done::Done(_))), "{done:?}");
    for (i, text) in [cluster.kubeconfig("hunter2-other"), "users: [{ token: hunter2 ".to_owned()].into_iter().enumerate() {
        let contents = serde_json::json!({ "kubeconfigContents": text });
        let failed = session.add(&format!("bad-{i}"), vec![with("bad", i as i64 + 1, contents)]).await;
        assert!(matches!(failed.accounts[0].result, Some(Done::Failure(_))), "{failed:?}");
    }
    assert_eq!(agent.connections_to(port), 1);
    assert_eq!(agent.listens_on(), BTreeSet::from([agent.port]));
    assert!(agent.has("prod").await && !agent.accounts().await.to_string().contains("hunter2"));
    assert!(agent.drain().await.success());
    let log = agent.log();
    assert!(log.contains("cluster reached") && log.contains("cluster not reached") && !log.contains("hunter2"), "{log}");
}
