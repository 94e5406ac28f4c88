//! One session of an agent: from its registration until either side ends it, or nothing is heard of it any more.
//!
//! The reader never waits for anybody: what an agent says is done in memory, and what is said to it goes into lanes that are bounded.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message as _;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Streaming};
use tracing::{debug, info, warn};

use super::admit::{Admitted, FEATURES, admit};
use super::chunks::{Assembler, ChunkError};
use super::convert::clean;
use super::orders::Orders;
use super::outbox::Outbox;
use super::registry::{Registration, Registry};
use super::{Held, SessionId, ZoneId};
use crate::wire::operate_request::Message as Said;
use crate::wire::operate_response::Message as Say;
use crate::wire::{Farewell, FarewellReason, OperateRequest, Ping, Pong, Refusal, Registered};

/// A session as the rest of the channel sees it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: SessionId,
    pub(super) zone: ZoneId,
    /// The process behind it.
    pub(super) instance: Arc<str>,
    pub(super) peer: Arc<str>,
    pub(super) outbox: Outbox,
    pub(super) orders: Orders,
    /// Accounts of which a report came before the outcome that makes them the agent's.
    pub(super) early: Mutex<HashMap<Arc<str>, Held>>,
    /// The stream of reports that counts; a later one ends it.
    pub(super) reports: Mutex<CancellationToken>,
    ended: Mutex<Option<Ending>>,
    over: CancellationToken,
}

/// Why a session ends.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    /// The word of the metric.
    pub(super) word: &'static str,
    /// In words, for the log and for the agent.
    pub(super) text: String,
    /// What the agent is told, where there is somebody to tell, and when it may come back.
    pub(super) farewell: Option<(FarewellReason, u32)>,
}

impl Ending {
    pub(super) fn told(reason: FarewellReason, text: impl Into<String>, retry_after_ms: u32) -> Self {
        let word = match reason {
            FarewellReason::TakenOver => "taken_over",
            FarewellReason::Shutdown => "shutdown",
            FarewellReason::Requested => "requested",
            FarewellReason::Refused => "refused",
            FarewellReason::Protocol | FarewellReason::Unspecified => "protocol",
            FarewellReason::Overloaded => "overloaded",
        };
        Self { word, text: text.into(), farewell: Some((reason, retry_after_ms)) }
    }

    /// A fault of the protocol, of either side. The agent comes back well within the grace period of its accounts, or one fault would orphan
    /// all of them; one that goes wrong each time costs a session in some seconds, and is told of once a second at most.
    pub(super) fn protocol(text: impl Into<String>) -> Self {
        Self::told(FarewellReason::Protocol, text, 5_000)
    }

    fn message(&self) -> Option<Say> {
        let (reason, retry_after_ms) = self.farewell?;
        Some(Say::Farewell(Farewell { reason: reason.into(), message: clean(&self.text, 4_096), retry_after_ms }))
    }
}

impl Session {
    pub(super) fn new(id: SessionId, admitted: &Admitted, peer: Arc<str>, outbox: Outbox, over: CancellationToken) -> Self {
        Self {
            id,
            zone: admitted.zone.clone(),
            instance: admitted.instance.clone(),
            peer,
            outbox,
            orders: Orders::default(),
            early: Mutex::default(),
            reports: Mutex::default(),
            ended: Mutex::default(),
            over,
        }
    }

    /// Ends it; the first reason counts.
    pub(super) fn end(&self, why: Ending) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.is_none() {
            self.outbox.end(why.message());
            *ended = Some(why);
            self.over.cancel();
        }
    }

    /// Cancelled when it is over.
    pub(super) fn over(&self) -> &CancellationToken {
        &self.over
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What comes from the agent, whole.
struct Inbox {
    inbound: Streaming<OperateRequest>,
    assembler: Assembler,
    registry: Arc<Registry>,
}

impl Inbox {
    /// The next message. Nothing is lost when the future is dropped.
    async fn next(&mut self) -> Result<Said, Ending> {
        loop {
            let said = match self.inbound.message().await {
                Ok(Some(said)) => said,
                Ok(None) => return Err(Ending { word: "closed", text: "the agent closed its stream".to_owned(), farewell: None }),
                Err(status) => return Err(broken(&status)),
            };
            self.registry.metrics.bytes_received.inc_by(said.encoded_len() as u64);
            match said.message {
                Some(Said::Chunk(chunk)) => {
                    let Some(whole) = self.assembler.take(chunk).map_err(|e| unchunked(&e))? else { continue };
                    match OperateRequest::decode(&*whole).map(|said| said.message) {
                        Ok(Some(Said::Chunk(_))) => return Err(Ending::protocol("a message in chunks holds a chunk")),
                        Ok(Some(said)) => return Ok(said),
                        Ok(None) => {}
                        Err(_) => return Err(Ending::protocol("a message in chunks cannot be read")),
                    }
                }
                Some(said) => return Ok(said),
                // Of a newer agent: nothing that this side knows.
                None => {}
            }
        }
    }
}

fn unchunked(error: &ChunkError) -> Ending {
    match error {
        ChunkError::NoRoom => Ending::told(FarewellReason::Overloaded, error.to_string(), 10_000),
        _ => Ending::protocol(error.to_string()),
    }
}

fn broken(status: &tonic::Status) -> Ending {
    let text = clean(status.message(), 512);
    match status.code() {
        // tonic says so of a message above the limit.
        Code::OutOfRange => Ending::protocol(format!("a message is above kubesvc.grpc.server.maxInboundMessageSize: {text}")),
        Code::Internal if text.contains("decode") || text.contains("compress") => {
            Ending::protocol(format!("a message cannot be read: {text}"))
        }
        Code::Unimplemented => Ending::protocol(format!("a message cannot be read: {text}")),
        _ => Ending { word: "lost", text: format!("the connection is lost: {text}"), farewell: None },
    }
}

/// Serves one stream from its first message to its end.
///
/// Not async itself: what is passed to such a function it keeps beside what is made of it, for as long as it lives.
pub(super) fn run(
    registry: Arc<Registry>,
    inbound: Streaming<OperateRequest>,
    outbox: Outbox,
    gone: CancellationToken,
    peer: Arc<str>,
) -> impl Future<Output = ()> + Send {
    let assembler = Assembler::new(registry.budget.clone());
    let mut inbox = Inbox { inbound, assembler, registry };
    async move {
        // In a box, so that no session keeps the room that its registration took.
        let Some(Begun { session, refusals, features }) = Box::pin(register(&mut inbox, outbox, &gone, peer)).await else { return };
        let registry = inbox.registry.clone();
        // Whatever becomes of this task, the session ends with it.
        let _end = End(&registry, &session);
        say_registered(&registry, &session, refusals, features);
        let ending = serve(&registry, &session, &mut inbox, &gone).await;
        session.end(ending);
    }
}

/// A session that its agent does not know of yet.
struct Begun {
    session: Arc<Session>,
    refusals: Vec<Refusal>,
    features: Vec<i32>,
}

/// Waits for the registration. `None`: it was not taken, and has been answered.
async fn register(inbox: &mut Inbox, outbox: Outbox, gone: &CancellationToken, peer: Arc<str>) -> Option<Begun> {
    let registry = inbox.registry.clone();
    let first = tokio::select! {
        biased;
        () = gone.cancelled() => return None,
        first = timeout(registry.limits.register_timeout, inbox.next()) => first,
    };
    let admitted = match first {
        Ok(Ok(Said::Register(register))) => admit(register).map_err(|e| Ending::told(FarewellReason::Refused, e.to_string(), 60_000)),
        Ok(Ok(_)) => Err(Ending::protocol("the first message is not Register")),
        Ok(Err(ending)) => Err(ending),
        Err(_) => Err(Ending::protocol(format!("no Register came within {:?}", registry.limits.register_timeout))),
    };
    let registered = admitted.and_then(|mut admitted| {
        outbox.set_limit(admitted.limit, admitted.features.contains(&FEATURES[0]));
        let (refusals, features) = (std::mem::take(&mut admitted.refusals), admitted.features.clone());
        let session = registry.register(admitted, peer.clone(), outbox.clone())?;
        Ok(Begun { session, refusals, features: features.into_iter().map(i32::from).collect() })
    });
    match registered {
        Ok(begun) => Some(begun),
        Err(ending) => {
            not_registered(&registry, &outbox, &ending, &peer);
            None
        }
    }
}

struct End<'a>(&'a Registry, &'a Arc<Session>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.ended(self.1);
    }
}

fn not_registered(registry: &Registry, outbox: &Outbox, ending: &Ending, peer: &str) {
    outbox.end(ending.message());
    // Somebody who opened a stream and went has not even been refused.
    if ending.farewell.is_some() {
        registry.metrics.registration(ending.word);
        if let Some(more) = registry.quiet.say("registration", "") {
            warn!(peer, more, "a registration was not taken: {}", ending.text);
        }
    }
}

fn say_registered(registry: &Registry, session: &Session, refusals: Vec<Refusal>, features: Vec<i32>) {
    for refusal in &refusals {
        if let Some(more) = registry.quiet.say("refusal", &session.id.agent.0) {
            warn!(agentId = %session.id.agent, account = refusal.account, more, "an account of a registration is not taken: {}", refusal.reason);
        }
    }
    let limits = &registry.limits;
    let ms = |d: std::time::Duration| u32::try_from(d.as_millis()).unwrap_or(u32::MAX);
    session.outbox.answer(Say::Registered(Registered {
        epoch: session.id.epoch,
        replica_id: registry.replica.to_string(),
        features,
        cache_kinds: Vec::new(),
        ping_interval_ms: ms(limits.ping_interval),
        dead_after_ms: ms(limits.dead_after),
        max_message_bytes: u32::try_from(limits.max_message).unwrap_or(u32::MAX),
        refusals,
    }));
}

/// Reads until the session is to end, and says why.
async fn serve(registry: &Arc<Registry>, session: &Arc<Session>, inbox: &mut Inbox, gone: &CancellationToken) -> Ending {
    let limits = &registry.limits;
    let (mut heard, mut pinged, mut number) = (Instant::now(), Instant::now(), 0_u64);
    let mut unfinished: Option<Instant> = None;
    loop {
        let dead_at = heard + limits.dead_after;
        let next = dead_at.min(heard.max(pinged) + limits.ping_interval);
        let said = tokio::select! {
            biased;
            () = session.over().cancelled() => {
                return session.ending().unwrap_or_else(|| Ending::protocol("ended"));
            }
            () = gone.cancelled() => return Ending { word: "lost", text: "the connection is lost".to_owned(), farewell: None },
            said = inbox.next() => Some(said),
            () = sleep_until(next) => None,
        };
        let Some(said) = said else {
            let now = Instant::now();
            if now >= dead_at {
                registry.metrics.pings_missed.inc();
                let text = format!("nothing was heard of the agent for {:?}", limits.dead_after);
                return Ending { word: "silent", text, farewell: None };
            }
            // A message in parts that does not become whole holds memory.
            unfinished = inbox.assembler.is_open().then(|| unfinished.unwrap_or(now));
            if unfinished.is_some_and(|since| now.duration_since(since) > limits.dead_after * 4) {
                return Ending::protocol("a message in chunks was begun and not ended");
            }
            number += 1;
            pinged = now;
            session.outbox.answer(Say::Ping(Ping { number }));
            continue;
        };
        heard = Instant::now();
        let said = match said {
            Ok(said) => said,
            Err(ending) => return ending,
        };
        if let Err(ending) = hear(registry, session, said) {
            return ending;
        }
    }
}

/// Does what one message asks for. Waits for nothing.
fn hear(registry: &Arc<Registry>, session: &Arc<Session>, said: Said) -> Result<(), Ending> {
    match said {
        Said::Ping(ping) => {
            // Who asks faster than it reads has answers enough on the way.
            session.outbox.answer(Say::Pong(Pong { number: ping.number }));
        }
        Said::Pong(_) | Said::Chunk(_) => {}
        Said::Outcome(outcome) => registry.outcome(session, outcome)?,
        Said::Register(register) => {
            let mut admitted = admit(register).map_err(|e| Ending::told(FarewellReason::Refused, e.to_string(), 60_000))?;
            if admitted.agent != session.id.agent || admitted.zone != session.zone {
                return Err(Ending::protocol("a session's agent_id and zone_id cannot change: open another one"));
            }
            session.outbox.set_limit(admitted.limit, admitted.features.contains(&FEATURES[0]));
            let refusals = std::mem::take(&mut admitted.refusals);
            let features = admitted.features.iter().map(|f| i32::from(*f)).collect();
            match registry.register_again(session, admitted)? {
                Registration::Taken => say_registered(registry, session, refusals, features),
                Registration::Old => debug!(agentId = %session.id.agent, "a registration came of a session that another has taken over"),
            }
        }
        Said::Leaving(leaving) => {
            info!(agentId = %session.id.agent, zoneId = %session.zone, "the agent leaves: {}", clean(&leaving.reason, 512));
            registry.leave(session);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F>(_: impl FnOnce(Arc<Registry>, Streaming<OperateRequest>, Outbox, CancellationToken, Arc<str>) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_session_at_rest_costs_little() {
        let bytes = size(run);
        assert!(bytes <= 1_024, "{bytes} bytes");
    }
}
