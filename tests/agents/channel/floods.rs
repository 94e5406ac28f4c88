//! Agents, and others, that send more than anybody could want. Each costs its own connection at most.

use std::time::Duration;

use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use fairlead::wire::{Outcome, Ping};
use ulid::Ulid;

use super::frames::{CONTINUATION, END_HEADERS, END_STREAM, Flood, H2, HEADERS, PING, RST_STREAM, SETTINGS, frame, get};
use super::rig::{Rig, add, until};
use crate::scripted_agent::{ScriptedAgent, register};

const LONG: Duration = Duration::from_secs(30);

/// A quiet agent that is asked for things until it is told that the flood is over; how many it answered.
async fn served(rig: &Rig, over: tokio_util::sync::CancellationToken) -> u64 {
    let mut agent = ScriptedAgent::start(rig.address, register("quiet", "z", &[])).await;
    let mut served = 0;
    while !over.is_cancelled() || served < 20 {
        let outcome = rig.agents.execute(&rig.session("quiet"), Ulid::generate(), add(&["x"], 1), LONG);
        let operation = agent.order().await;
        agent.done(&operation).await;
        outcome.await.expect("an outcome while others flood");
        served += 1;
    }
    served
}

/// The head of a call of `Operate`, in words of HPACK that need no state.
fn operate(stream: u32) -> Vec<u8> {
    let literal = |name: &[u8], value: &str| [name, &[u8::try_from(value.len()).unwrap()], value.as_bytes()].concat();
    let path = literal(&[0x04], "/fairlead.agent.v1.AgentService/Operate");
    let head = [vec![0x83, 0x86], path, literal(&[0x01], "fairlead"), literal(&[0x0f, 0x10], "application/grpc")].concat();
    frame(HEADERS, END_HEADERS, stream, &head)
}

async fn flood(pieces: impl Iterator<Item = Vec<u8>>) -> Flood {
    let rig = Rig::start().await;
    let over = tokio_util::sync::CancellationToken::new();
    let flooding = async {
        let H2 { read, mut write } = H2::connect(rig.address.port()).await;
        let read = tokio::spawn(read.until_the_end());
        let flood = write.flood(pieces).await;
        drop(write);
        let code = tokio::time::timeout(LONG, read).await.expect("its connection ends").unwrap();
        println!("{flood:?}, GOAWAY {code:?}");
        over.cancel();
        flood
    };
    let (flood, served) = tokio::join!(flooding, served(&rig, over.clone()));
    assert!(served >= 20);
    until("the connection is gone", || rig.metric("fairlead_channel_connections") <= 1.0).await;
    flood
}

fn together(frames: impl Iterator<Item = Vec<u8>>) -> impl Iterator<Item = Vec<u8>> {
    let mut frames = frames.peekable();
    std::iter::from_fn(move || {
        frames.peek()?;
        Some(frames.by_ref().take(500).flatten().collect())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_reset_as_soon_as_they_are_begun_end_their_own_connection() {
    let resets = (0..100_000_u32).map(|i| [operate(2 * i + 1), frame(RST_STREAM, 0, 2 * i + 1, &8_u32.to_be_bytes())].concat());
    flood(together(resets)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_head_that_never_ends_is_not_collected() {
    let field = [&[0x00, 1, b'x', 0x7F, 0xFB, 0x7E][..], &[b'y'; 16_384 - 6]].concat();
    let head = std::iter::once(frame(HEADERS, END_STREAM, 1, &get("/endless")));
    assert_eq!(flood(head.chain((0..4_096).map(|_| frame(CONTINUATION, 0, 1, &field)))).await, Flood::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_and_settings_without_end_cost_nobody_else() {
    let both = |i: u32| [frame(PING, 0, 0, &u64::from(i).to_be_bytes()), frame(SETTINGS, 0, 0, &[])].concat();
    flood(together((0..200_000).map(both))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_tiny_messages_of_an_agent_that_reads_nothing_end_no_session() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let over = tokio_util::sync::CancellationToken::new();
    let flooding = async {
        for number in 0..50_000 {
            agent.say(Said::Ping(Ping { number })).await;
            if number % 3 == 0 {
                agent.say(Said::Outcome(Outcome::default())).await;
            }
        }
        until("all were read", || rig.metric("fairlead_channel_outcomes_dropped_total{reason=\"epoch\"}") >= 16_666.0).await;
        over.cancel();
    };
    tokio::join!(flooding, served(&rig, over.clone()));
    assert_eq!(rig.session("a").epoch, agent.registered.epoch);
    let outcome = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&["x"], 1), LONG);
    let operation = loop {
        match agent.hear().await.expect("the session goes on") {
            Heard::Operation(operation) => break operation,
            Heard::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    };
    agent.done(&operation).await;
    outcome.await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_reads_nothing_holds_up_no_other_and_orders_to_it_are_refused_at_once_when_there_are_too_many() {
    let rig = Rig::start().await;
    let _slow = ScriptedAgent::start(rig.address, register("slow", "z", &[])).await;
    let large = vec![b'x'; 1 << 20];
    let order = || {
        let account = fairlead::channel::NewAccount { name: "x".into(), generation: 1, definition: large.clone().into(), watch: true };
        fairlead::channel::Order::Add(vec![account])
    };
    let session = rig.session("slow");
    let mut waiting = Vec::new();
    let busy = loop {
        let mut outcome = rig.agents.execute(&session, Ulid::generate(), order(), LONG);
        match futures_util::FutureExt::now_or_never(&mut outcome) {
            Some(ended) => break ended,
            None => waiting.push(outcome),
        }
        assert!(waiting.len() < 500, "an agent that reads nothing takes everything");
    };
    assert_eq!(busy, Err(fairlead::channel::Unanswered::Busy));
    let over = tokio_util::sync::CancellationToken::new();
    over.cancel();
    served(&rig, over).await;
}
