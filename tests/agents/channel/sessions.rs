use std::time::Duration;

use fairlead::channel::{AgentId, ZoneId};
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use fairlead::wire::{Chunk, FarewellReason, Leaving, Ping, Register};
use prost::Message as _;

use super::rig::{Rig, config, until};
use crate::scripted_agent::{ScriptedAgent, connect, register};

fn names(agents: &[std::sync::Arc<fairlead::channel::Agent>]) -> Vec<String> {
    agents.iter().map(|a| a.session.agent.to_string()).collect()
}

#[tokio::test]
async fn an_agent_that_registers_is_there_with_its_accounts_and_is_gone_with_its_connection() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &["x", "y"])).await;
    assert_eq!(agent.registered.replica_id, "replica-of-a-test");
    assert_eq!((agent.registered.ping_interval_ms, agent.registered.dead_after_ms), (10_000, 25_000));
    assert_eq!(agent.registered.features, [1, 2, 3]);
    let there = rig.agent("a").unwrap();
    assert_eq!((&*there.zone.0, there.session.epoch), ("z", agent.registered.epoch));
    assert_eq!(there.accounts.keys().map(|k| &**k).collect::<Vec<_>>(), ["x", "y"]);
    assert_eq!((names(&rig.agents.holders("x")), rig.agents.zones()), (vec!["a".to_owned()], vec![ZoneId("z".into())]));
    let change = rig.changed().await;
    assert!(change[0].registered && change[0].connected);
    agent.close();
    assert_eq!(agent.hear().await, None);
    let change = rig.changed().await;
    assert_eq!((change[0].connected, change[0].accounts.len(), &*change[0].zone.0), (false, 2, "z"));
    assert!(rig.agent("a").is_none() && rig.agents.zones().is_empty() && rig.agents.holders("x").is_empty());
    rig.measures("fairlead_channel_agents", 0.0).await;
}

#[tokio::test]
async fn a_newer_session_takes_over_and_the_older_ones_end_changes_nothing() {
    let rig = Rig::start().await;
    let mut older = ScriptedAgent::start(rig.address, register("a", "z", &["x"])).await;
    let newer = ScriptedAgent::start(rig.address, register("a", "z", &["x", "y"])).await;
    assert!(newer.registered.epoch > older.registered.epoch);
    let farewell = older.farewell().await;
    assert_eq!(farewell.reason(), FarewellReason::TakenOver);
    assert_eq!(older.hear().await, None);
    drop(older);
    rig.measures("fairlead_channel_sessions_ended_total{reason=\"taken_over\"}", 1.0).await;
    assert_eq!(rig.session("a").epoch, newer.registered.epoch);
    let changes = rig.changed().await;
    assert!(changes.iter().all(|c| c.connected), "{changes:?}");
    rig.measures("fairlead_channel_registrations_total{reason=\"taken_over\"}", 1.0).await;
}

#[tokio::test]
async fn what_cannot_be_taken_is_refused_with_the_field() {
    let rig = Rig::start().await;
    for (agent_id, zone_id, words) in [("", "z", "agent_id is empty"), ("a b", "z", "agent_id holds"), ("a", "", "zone_id is empty")] {
        let mut agent = ScriptedAgent::open(connect(rig.address).await).await;
        agent.say(Said::Register(Register { agent_id: agent_id.into(), zone_id: zone_id.into(), ..Register::default() })).await;
        let farewell = agent.farewell().await;
        assert_eq!(farewell.reason(), FarewellReason::Refused);
        assert!(farewell.message.contains(words) && farewell.retry_after_ms > 0, "{farewell:?}");
        assert_eq!(agent.hear().await, None);
    }
    assert!(rig.agents.all().is_empty());
    rig.measures("fairlead_channel_registrations_total{reason=\"refused\"}", 3.0).await;
}

#[tokio::test]
async fn nothing_comes_before_the_registration_and_it_comes_in_time() {
    let rig = Rig::with(fairlead::config::ChannelConfig { handshake_timeout: Duration::from_secs(2), ..config() }, None).await;
    let mut agent = ScriptedAgent::open(connect(rig.address).await).await;
    agent.say(Said::Ping(Ping { number: 1 })).await;
    assert_eq!(agent.farewell().await.reason(), FarewellReason::Protocol);
    let mut agent = ScriptedAgent::open(connect(rig.address).await).await;
    let farewell = agent.farewell().await;
    assert!(farewell.message.contains("no Register came"), "{farewell:?}");
}

#[tokio::test]
async fn a_registration_in_the_same_session_replaces_the_list() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &["x", "y"])).await;
    let since = rig.agent("a").unwrap().since;
    rig.changed().await;
    agent.say(Said::Register(register("a", "z", &["y", "w"]))).await;
    let Some(Heard::Registered(again)) = agent.hear().await else { panic!("not registered") };
    assert_eq!(again.epoch, agent.registered.epoch);
    let there = rig.agent("a").unwrap();
    assert_eq!((there.accounts.keys().map(|k| &**k).collect::<Vec<_>>(), there.since), (vec!["w", "y"], since));
    let change = rig.changed().await;
    assert_eq!((change[0].registered, change[0].accounts.iter().map(|a| &**a).collect::<Vec<_>>()), (true, vec!["x"]));
    // Under another name it would be another agent's list.
    agent.say(Said::Register(register("b", "z", &[]))).await;
    assert_eq!(agent.farewell().await.reason(), FarewellReason::Protocol);
}

#[tokio::test]
async fn an_agent_that_leaves_is_asked_for_nothing_more_and_may_end_what_it_does() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &["x"])).await;
    let session = rig.session("a");
    let begun = rig.agents.execute(&session, ulid::Ulid::generate(), super::rig::add(&["n"], 1), Duration::from_secs(20));
    let operation = agent.order().await;
    agent.say(Said::Leaving(Leaving { reason: "SIGTERM".into() })).await;
    until("it is gone", || rig.agent("a").is_none()).await;
    let more = rig.agents.execute(&session, ulid::Ulid::generate(), super::rig::add(&["m"], 1), Duration::from_secs(20));
    assert_eq!(more.await, Err(fairlead::channel::Unanswered::Lost));
    agent.done(&operation).await;
    assert!(begun.await.unwrap()[0].result.is_ok());
}

#[tokio::test]
async fn pings_are_answered_and_an_agent_that_does_not_answer_is_dead() {
    let times =
        fairlead::config::ChannelConfig { ping_interval: Duration::from_millis(100), dead_after: Duration::from_secs(2), ..config() };
    let rig = Rig::with(times, None).await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &["x"])).await;
    agent.say(Said::Ping(Ping { number: 77 })).await;
    let Some(Heard::Pong(pong)) = agent.hear().await else { panic!("no pong") };
    assert_eq!(pong.number, 77);
    agent.silent = true;
    assert_eq!(agent.hear().await, None);
    until("it is gone", || rig.agent("a").is_none()).await;
    rig.measures("fairlead_channel_pings_missed_total", 1.0).await;
}

#[tokio::test]
async fn a_drain_says_farewell_and_lets_nobody_in() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let mut late = ScriptedAgent::open(connect(rig.address).await).await;
    let channel = rig.channel.clone();
    let drained = tokio::spawn(async move { channel.drain(Duration::from_secs(10)).await });
    assert_eq!(agent.farewell().await.reason(), FarewellReason::Shutdown);
    late.say(Said::Register(register("b", "z", &[]))).await;
    assert_eq!(late.farewell().await.reason(), FarewellReason::Shutdown);
    drop((agent, late));
    drained.await.unwrap();
    assert!(tokio::net::TcpStream::connect(rig.address).await.is_err());
}

#[tokio::test]
async fn an_agent_that_is_disconnected_is_told_why_and_gone_at_once() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let session = rig.session("a");
    assert!(rig.agents.disconnect(&session, "an operator asked for it"));
    assert!(rig.agent("a").is_none() && !rig.agents.disconnect(&session, "again"));
    let farewell = agent.farewell().await;
    assert_eq!((farewell.reason(), farewell.message.as_str()), (FarewellReason::Requested, "an operator asked for it"));
}

#[tokio::test]
async fn a_registration_above_the_limit_comes_in_parts() {
    let rig = Rig::start().await;
    let names: Vec<String> = (0..60_000).map(|n| format!("account-with-a-name-of-some-length-{n:06}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    let encoded = fairlead::wire::OperateRequest { message: Some(Said::Register(register("a", "z", &all))) }.encode_to_vec();
    assert!(encoded.len() > 3 << 20, "{}", encoded.len());
    let mut agent = ScriptedAgent::open(connect(rig.address).await).await;
    for chunk in fairlead::channel::chunks::Parts::of(1, encoded.into(), 1 << 20) {
        agent.say(Said::Chunk(chunk)).await;
    }
    assert!(matches!(agent.hear().await, Some(Heard::Registered(_))));
    assert_eq!(rig.agents.get(&AgentId("a".into())).unwrap().accounts.len(), 60_000);
    agent.say(Said::Chunk(Chunk { message_id: 2, index: 1, ..Chunk::default() })).await;
    let farewell = agent.farewell().await;
    assert!(farewell.reason() == FarewellReason::Protocol && farewell.message.contains("without the first"), "{farewell:?}");
}

#[tokio::test]
async fn a_stream_that_was_reset_is_opened_again_on_the_same_connection() {
    let rig = Rig::start().await;
    let client = connect(rig.address).await;
    let first = ScriptedAgent::with(client.clone(), register("a", "z", &["x"])).await;
    let epoch = first.registered.epoch;
    drop(first);
    until("the reset stream's session is over", || rig.agent("a").is_none()).await;
    let again = ScriptedAgent::with(client, register("a", "z", &["x"])).await;
    assert!(again.registered.epoch > epoch);
    assert_eq!(rig.metric("fairlead_channel_connections"), 1.0);
}

#[tokio::test]
async fn what_is_under_way_at_a_drain_has_its_outcome() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let outcome = rig.agents.execute(&rig.session("a"), ulid::Ulid::generate(), super::rig::add(&["x"], 1), Duration::from_secs(20));
    let operation = agent.order().await;
    let channel = rig.channel.clone();
    let drained = tokio::spawn(async move { channel.drain(Duration::from_secs(20)).await });
    until("nobody is let in", || rig.channel.is_draining()).await;
    agent.done(&operation).await;
    assert!(outcome.await.unwrap()[0].result.is_ok());
    assert_eq!(agent.farewell().await.reason(), FarewellReason::Shutdown);
    drop(agent);
    drained.await.unwrap();
}

#[tokio::test]
async fn an_operation_that_was_lost_is_asked_again_under_its_name_in_the_next_session() {
    let rig = Rig::start().await;
    let id = ulid::Ulid::generate();
    let order = || super::rig::add(&["x"], 1);
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let lost = rig.agents.execute(&rig.session("a"), id, order(), Duration::from_secs(20));
    let first = agent.order().await;
    drop(agent);
    assert_eq!(lost.await, Err(fairlead::channel::Unanswered::Lost));
    until("it is gone", || rig.agent("a").is_none()).await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let again = rig.agents.execute(&rig.session("a"), id, order(), Duration::from_secs(20));
    assert_eq!(agent.order().await, first);
    agent.done(&first).await;
    assert!(again.await.unwrap()[0].result.is_ok());
}
