//! Who comes to the port with other words than an agent's.

use std::time::Duration;

use fairlead::config::ChannelConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

use super::rig::{Rig, config, until};
use crate::scripted_agent::{ScriptedAgent, register};

const SERVICE: &str = "fairlead.agent.v1.AgentService";
const HEALTH: &str = "grpc.health.v1.Health";

/// Says something and reads until the other side closes.
pub async fn say(rig: &Rig, words: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(rig.address).await.unwrap();
    stream.write_all(words).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection is closed");
    answer
}

/// Waits until so many connections were refused for this reason.
async fn refused(rig: &Rig, reason: &str, times: f64) {
    rig.measures(&format!("fairlead_channel_connections_refused_total{{reason=\"{reason}\"}}"), times).await;
}

#[tokio::test]
async fn a_client_of_http1_reads_that_this_port_speaks_http2() {
    let rig = Rig::start().await;
    for request in [
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /fairlead.agent.v1.AgentService/Operate HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n",
    ] {
        let answer = String::from_utf8(say(&rig, request.as_bytes()).await).unwrap();
        assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains("gRPC over HTTP/2") && answer.contains("proxy"), "{answer}");
    }
    refused(&rig, "http1", 2.0).await;
}

#[tokio::test]
async fn a_handshake_where_there_is_no_tls_is_refused_at_once_and_counted() {
    let rig = Rig::start().await;
    assert_eq!(say(&rig, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await, b"");
    assert_eq!(say(&rig, b"\x00\xff\x00\xff").await, b"");
    refused(&rig, "tls", 1.0).await;
    refused(&rig, "other", 1.0).await;
}

#[tokio::test]
async fn who_says_nothing_does_not_stay() {
    let rig = Rig::with(ChannelConfig { handshake_timeout: Duration::from_millis(200), ..config() }, None).await;
    assert_eq!(say(&rig, b"").await, b"");
    assert_eq!(say(&rig, b"PRI * HT").await, b"");
    refused(&rig, "slow", 2.0).await;
}

#[tokio::test]
async fn more_connections_than_there_may_be_are_closed_and_room_is_given_back() {
    let rig = Rig::with(ChannelConfig { max_connections: 1, ..config() }, None).await;
    let agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    assert_eq!(say(&rig, b"").await, b"");
    refused(&rig, "full", 1.0).await;
    drop(agent);
    rig.measures("fairlead_channel_connections", 0.0).await;
    ScriptedAgent::start(rig.address, register("b", "z", &[])).await;
}

#[tokio::test]
async fn health_is_served_and_says_when_the_port_is_about_to_close() {
    let rig = Rig::start().await;
    let channel = Endpoint::from_shared(format!("http://{}", rig.address)).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel.clone());
    for service in ["", SERVICE] {
        let said = health.check(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner();
        assert_eq!(said.status(), ServingStatus::Serving, "{service}");
    }
    let mut watched = health.watch(HealthCheckRequest { service: SERVICE.to_owned() }).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let drained = tokio::spawn({
        let channel = rig.channel.clone();
        async move { channel.drain(Duration::from_secs(2)).await }
    });
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    drained.await.unwrap();
}

#[tokio::test]
async fn reflection_knows_the_protocol_and_health_where_that_is_served() {
    for served in [false, true] {
        let rig = Rig::with(ChannelConfig { health: served, ..config() }, None).await;
        let channel = Endpoint::from_shared(format!("http://{}", rig.address)).unwrap().connect().await.unwrap();
        let ask = |request| ServerReflectionRequest { host: String::new(), message_request: Some(request) };
        // What grpcurl asks for before it calls health.
        let both = [MessageRequest::ListServices(String::new()), MessageRequest::FileContainingSymbol(HEALTH.to_owned())].map(ask);
        let answers = ServerReflectionClient::new(channel.clone()).server_reflection_info(futures_util::stream::iter(both)).await;
        let mut answers = answers.unwrap().into_inner();
        let Some(MessageResponse::ListServicesResponse(list)) = answers.message().await.unwrap().unwrap().message_response else {
            panic!("no list");
        };
        let knows = |service: &str| list.service.iter().any(|s| s.name == service);
        assert_eq!((knows(SERVICE), knows(HEALTH)), (true, served), "{list:?}");
        let file = answers.message().await;
        assert_eq!(
            file.is_ok_and(|f| matches!(f.and_then(|f| f.message_response), Some(MessageResponse::FileDescriptorResponse(_)))),
            served
        );
        let health = HealthClient::new(channel).check(HealthCheckRequest::default()).await;
        assert_eq!(health.map_err(|e| e.code()).map(drop), if served { Ok(()) } else { Err(tonic::Code::Unimplemented) });
    }
}

#[tokio::test]
async fn a_message_above_the_limit_ends_the_session_with_the_reason() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let reason = "x".repeat((4 << 20) + 10);
    agent.say(fairlead::wire::operate_request::Message::Leaving(fairlead::wire::Leaving { reason })).await;
    let farewell = agent.farewell().await;
    assert!(farewell.message.contains("maxInboundMessageSize"), "{farewell:?}");
    until("it is gone", || rig.agent("a").is_none()).await;
}
