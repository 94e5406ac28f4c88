//! Sessions: registration, liveness, reconnection, the end.

use fairlead::wire::operate_request::Message as Ask;

use super::rig::{Rig, yaml};
use super::scripted::Scripted;

#[tokio::test]
async fn an_agent_connects_and_says_who_it_is() {
    let mut fairlead = Scripted::start().await;
    let rig = Rig::start(&yaml(fairlead.address, "")).await;
    let (mut session, register) = fairlead.registered(1).await;
    assert_eq!((register.agent_id.as_str(), register.zone_id.as_str()), ("agent-1-5b6d8c7f9-x2x4z", "agent-1_spinnaker"));
    assert_eq!((register.accounts.len(), register.version.as_str()), (0, env!("CARGO_PKG_VERSION")));
    assert_eq!(session.headers.get("authorization"), None);
    let (reports, epoch) = fairlead.reports().await;
    assert_eq!(epoch, 1);
    assert_eq!(rig.get("/health").await.0, 200);
    rig.agent.drain().await;
    assert!(matches!(session.next().await, Some(Ask::Leaving(_))));
    assert_eq!(session.next().await, None);
    drop(reports);
}
