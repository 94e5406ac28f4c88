//! The port of a whole Fairlead.

use fairlead::wire::FarewellReason;

use crate::scripted_agent::{ScriptedAgent, register};
use crate::support::http;
use crate::support::process::{Fairlead, Setup, free_port};

#[tokio::test]
async fn a_process_says_where_agents_connect_serves_them_and_tells_them_farewell() {
    let name = format!("channel-{}", free_port());
    let mut fairlead = Fairlead::start(Setup::new(&name, free_port()).embedded()).await;
    let address = format!("127.0.0.1:{}", fairlead.setup.grpc_port);
    let info = http::get(fairlead.setup.admin_port, "/info").await.unwrap().json();
    assert_eq!(info["channel"], address.as_str(), "{info}");
    let mut agent = ScriptedAgent::start(address.parse().unwrap(), register("a", "z", &["x"])).await;
    assert_eq!(agent.registered.replica_id, name);
    assert_eq!(fairlead.metric("fairlead_channel_agents").await, Some(1.0));
    let ended = tokio::join!(fairlead.drain(), async {
        let farewell = agent.farewell().await;
        drop(agent);
        farewell
    });
    assert_eq!((ended.0.code(), ended.1.reason()), (Some(0), FarewellReason::Shutdown));
    let log = fairlead.log_tail();
    assert_eq!(log.matches("agents are served without TLS").count(), 1, "{log}");
    assert!(log.contains("agentId=a") && log.contains("zoneId=z"), "{log}");
}

#[tokio::test]
async fn a_channel_that_is_off_has_no_port() {
    let name = format!("no-channel-{}", free_port());
    let fairlead = Fairlead::start(Setup::new(&name, free_port()).embedded().with("fairlead.channel.enabled: false")).await;
    assert!(tokio::net::TcpStream::connect(("127.0.0.1", fairlead.setup.grpc_port)).await.is_err());
    assert!(http::get(fairlead.setup.admin_port, "/info").await.unwrap().json().get("channel").is_none());
}
