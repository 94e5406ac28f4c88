use std::time::Duration;

use fairlead::channel::{HeldState, Order, Reason, Unanswered};
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use fairlead::wire::{Account, AccountOutcome, AccountState, Failure, FarewellReason, OperateResponse, ReportRequest, account_outcome};
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use ulid::Ulid;

use super::rig::{Rig, add, until};
use crate::scripted_agent::{ScriptedAgent, accounts_of, register};

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_order_has_its_outcome_and_the_agent_has_the_account() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let id = Ulid::generate();
    let outcome = rig.agents.execute(&rig.session("a"), id, add(&["x", "y"], 7), LONG);
    let operation = agent.order().await;
    assert_eq!((operation.id.as_str(), operation.deadline_ms), (id.to_string().as_str(), 20_000));
    agent
        .answer(&operation, |name| match name {
            "x" => account_outcome::Result::Done(Default::default()),
            _ => account_outcome::Result::Failure(Failure { reason: 2, message: "no such host".into(), host: "h".into() }),
        })
        .await;
    let outcomes = outcome.await.unwrap();
    assert!(outcomes[0].result.is_ok());
    let failure = outcomes[1].result.clone().unwrap_err();
    assert_eq!((failure.reason, failure.message.as_str(), failure.host.as_deref()), (Reason::Dns, "no such host", Some("h")));
    let held = rig.agent("a").unwrap().accounts.clone();
    assert_eq!((held.len(), held["x"].generation, &held["x"].state), (1, 7, &HeldState::Watching));
    let roles = rig.agents.execute(&rig.session("a"), Ulid::generate(), Order::Roles(vec![("x".into(), false)]), LONG);
    let operation = agent.order().await;
    agent.done(&operation).await;
    roles.await.unwrap();
    assert_eq!(rig.agent("a").unwrap().accounts["x"].state, HeldState::Standby);
    let delete = rig.agents.execute(&rig.session("a"), Ulid::generate(), Order::Delete(vec![("x".into(), 7)]), LONG);
    let operation = agent.order().await;
    agent.done(&operation).await;
    delete.await.unwrap();
    assert!(rig.agent("a").unwrap().accounts.is_empty() && rig.agents.holders("x").is_empty());
}

#[tokio::test]
async fn orders_arrive_in_the_order_of_the_calls_before_any_future_is_polled() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let (session, ids) = (rig.session("a"), (0..200).map(|_| Ulid::generate()).collect::<Vec<_>>());
    let waiting: Vec<_> = ids.iter().map(|id| rig.agents.execute(&session, *id, add(&["x"], 1), LONG)).collect();
    for id in &ids {
        assert_eq!(agent.order().await.id, id.to_string());
    }
    drop(waiting);
    rig.measures("fairlead_channel_operations_in_flight", 0.0).await;
}

#[tokio::test]
async fn an_order_ends_as_lost_or_timed_out_and_a_late_outcome_still_counts() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let session = rig.session("a");
    let short = Duration::from_millis(50);
    let late = rig.agents.execute(&session, Ulid::generate(), add(&["x"], 1), short);
    let operation = agent.order().await;
    assert_eq!(late.await, Err(Unanswered::TimedOut(short)));
    rig.changed().await;
    agent.done(&operation).await;
    let change = rig.changed().await;
    assert_eq!(change[0].accounts.iter().map(|a| &**a).collect::<Vec<_>>(), ["x"]);
    assert_eq!(rig.agents.holders("x").len(), 1);
    let lost = rig.agents.execute(&session, Ulid::generate(), add(&["y"], 1), LONG);
    agent.order().await;
    drop(agent);
    assert_eq!(lost.await, Err(Unanswered::Lost));
    until("it is gone", || rig.agent("a").is_none()).await;
    assert_eq!(rig.agents.execute(&session, Ulid::generate(), add(&["y"], 1), LONG).await, Err(Unanswered::Lost));
}

#[tokio::test]
async fn outcomes_of_another_epoch_or_of_no_operation_are_dropped_and_counted() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let waiting = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&["x"], 1), LONG);
    let operation = agent.order().await;
    let done = vec![AccountOutcome { name: "x".into(), generation: 1, result: Some(account_outcome::Result::Done(Default::default())) }];
    let mut replayed = agent.outcome(&operation.id, done.clone());
    replayed.epoch -= 1;
    agent.say(Said::Outcome(replayed)).await;
    agent.say(Said::Outcome(agent.outcome(&Ulid::generate().to_string(), done.clone()))).await;
    agent.say(Said::Outcome(agent.outcome("no ulid", done))).await;
    let dropped = |reason: &str| rig.metric(&format!("fairlead_channel_outcomes_dropped_total{{reason=\"{reason}\"}}"));
    until("all are counted", || (dropped("epoch"), dropped("unknown")) == (1.0, 2.0)).await;
    assert!(rig.agent("a").unwrap().accounts.is_empty());
    agent.done(&operation).await;
    assert!(waiting.await.unwrap()[0].result.is_ok());
    agent.done(&operation).await;
    until("the repetition is counted", || dropped("unknown") == 3.0).await;
}

#[tokio::test]
async fn an_answer_for_an_account_that_was_not_asked_for_ends_the_session() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &[])).await;
    let other = ScriptedAgent::start(rig.address, register("b", "z", &["theirs"])).await;
    let waiting = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&["x"], 1), LONG);
    let operation = agent.order().await;
    let theirs = AccountOutcome { name: "theirs".into(), generation: 0, result: Some(account_outcome::Result::Done(Default::default())) };
    agent.say(Said::Outcome(agent.outcome(&operation.id, vec![theirs]))).await;
    let farewell = agent.farewell().await;
    assert!(farewell.reason() == FarewellReason::Protocol && farewell.message.contains("theirs"), "{farewell:?}");
    // Within the grace period of its accounts: one fault does not orphan them.
    assert!(farewell.retry_after_ms < 30_000, "{farewell:?}");
    assert_eq!(waiting.await, Err(Unanswered::Lost));
    until("it is gone", || rig.agent("a").is_none()).await;
    assert_eq!(rig.agents.holders("theirs")[0].session.epoch, other.registered.epoch);
    rig.measures("fairlead_channel_outcomes_dropped_total{reason=\"foreign\"}", 1.0).await;
}

#[tokio::test]
async fn an_order_above_the_agents_limit_goes_in_parts_or_is_refused() {
    let rig = Rig::start().await;
    let mut small = register("a", "z", &[]);
    small.max_message_bytes = 4 << 10;
    let mut agent = ScriptedAgent::start(rig.address, small.clone()).await;
    let names: Vec<String> = (0..2_000).map(|n| format!("account{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let waiting = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&names, 1), LONG);
    let mut assembler = fairlead::channel::chunks::Assembler::new(fairlead::channel::chunks::Budget::new(1 << 20));
    let whole = loop {
        let Some(Heard::Chunk(chunk)) = agent.hear().await else { panic!("no part") };
        assert!(chunk.encoded_len() < 4 << 10);
        if let Some(whole) = assembler.take(chunk).unwrap() {
            break whole;
        }
    };
    let Some(Heard::Operation(operation)) = OperateResponse::decode(&*whole).unwrap().message else { panic!("no operation") };
    assert_eq!(accounts_of(&operation).len(), 2_000);
    agent.done(&operation).await;
    assert_eq!(waiting.await.unwrap().len(), 2_000);
    small.features.clear();
    let _agent = ScriptedAgent::start(rig.address, small).await;
    let refused = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&names, 1), LONG).await;
    assert!(matches!(&refused, Err(Unanswered::Refused(f)) if f.message.contains("more than the agent takes")), "{refused:?}");
}

#[tokio::test]
async fn reports_say_how_held_accounts_stand_within_credits_that_are_granted_again() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &["x"])).await;
    let epoch = agent.registered.epoch;
    let (say, said) = tokio::sync::mpsc::channel(16);
    let mut granted = agent.client.report(ReceiverStream::new(said)).await.unwrap().into_inner();
    let first = granted.message().await.unwrap().unwrap().credit_bytes;
    assert!(first >= 64 << 10, "{first}");
    let failed = |name: &str, generation| Account {
        name: name.into(),
        generation,
        state: AccountState::Failed.into(),
        failure: Some(Failure { reason: 6, message: "401".into(), ..Failure::default() }),
        ..Account::default()
    };
    rig.changed().await;
    say.send(ReportRequest { epoch, accounts: vec![failed("x", 0), failed("not-its", 0), failed("x", 3)] }).await.unwrap();
    let change = rig.changed().await;
    assert_eq!((change[0].registered, change[0].accounts.len()), (false, 1));
    let held = rig.agent("a").unwrap().accounts["x"].clone();
    assert!(matches!(&held.state, HeldState::Failed(f) if f.reason == Reason::Unauthenticated) && held.properties.is_some());
    rig.measures("fairlead_channel_reports_dropped_total", 2.0).await;
    // One that overtakes its outcome counts after it.
    let waiting = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&["n"], 5), LONG);
    let operation = agent.order().await;
    say.send(ReportRequest { epoch: 0, accounts: vec![failed("n", 5), failed("gone", 0)] }).await.unwrap();
    rig.measures("fairlead_channel_reports_dropped_total", 3.0).await;
    agent.done(&operation).await;
    waiting.await.unwrap();
    assert!(matches!(rig.agent("a").unwrap().accounts["n"].state, HeldState::Failed(_)));
    let mut sent = 0;
    while sent < first * 3 {
        let report = ReportRequest { epoch: 0, accounts: vec![failed(&"long-name".repeat(1_000), 0); 5] };
        sent += report.encoded_len() as u64;
        say.send(report).await.unwrap();
    }
    let mut again = 0;
    while again < first * 2 {
        again += granted.message().await.unwrap().expect("the stream goes on").credit_bytes;
    }
    assert!(rig.agent("a").is_some());
}

#[tokio::test]
async fn a_report_of_no_session_is_refused() {
    let rig = Rig::start().await;
    let mut agent = ScriptedAgent::start(rig.address, register("a", "z", &["x"])).await;
    let report = ReportRequest { epoch: agent.registered.epoch + 1, accounts: vec![] };
    let mut granted = agent.client.report(futures_util::stream::iter([report])).await.unwrap().into_inner();
    let status = loop {
        match granted.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("no status"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), tonic::Code::FailedPrecondition);
}
