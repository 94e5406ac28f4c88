//! One session: from the connection to its end.
//!
//! The reader never waits for anything else: what is to be sent stands in a queue of its own, whose length the operations under way
//! bound. Both sides ping; whoever was silent for too long is dead, whatever TCP says.

use std::collections::VecDeque;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::Uri;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tracing::{debug, info, warn};

use super::accounts::Outcome;
use super::chunks::{self, Assembly};
use super::dial::Refusal;
use super::link::{self, Carrier, Link};
use super::reports::{self, Reporting};
use super::status::Connected;
use super::wire::{Detail, account, features, order, outcome};
use super::{Context, Identity};
use crate::config::agent::Control;
use crate::wire::agent_service_client::AgentServiceClient;
use crate::wire::operate_request::Message as Ask;
use crate::wire::operate_response::Message as Say;
use crate::wire::{Farewell, Feature, Leaving, OperateRequest, OperateResponse, Ping, Pong, Register, Registered};

/// The largest message that is taken and, until Fairlead says otherwise, sent.
const MAX_MESSAGE: u32 = 4 << 20;
/// A registration above this leaves lists out, which follow as reports. Smaller than what is sent, as chunks are not agreed on before.
const MAX_REGISTRATION: usize = 3 << 20;
/// From the connection to Registered.
const REGISTRATION_LIMIT: Duration = Duration::from_secs(20);
/// Where Fairlead does not say.
const PING: Duration = Duration::from_secs(10);
const DEAD: Duration = Duration::from_secs(25);
/// Outcomes under way at the end.
pub(super) const LEAVE_LIMIT: Duration = Duration::from_secs(8);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum End {
    /// It never was one: not connected, or not registered.
    NotBegun(String),
    /// Fairlead ended it.
    Farewell(Farewell),
    /// It broke.
    Lost(String),
    /// The agent is about to end.
    Left,
    /// The configuration has changed.
    Changed,
}

/// A session that is registered.
struct Session<'a> {
    context: &'a Context,
    identity: &'a Identity,
    agreed: Registered,
    inbound: tonic::Streaming<OperateResponse>,
    /// What is still to be sent, in order.
    queue: VecDeque<OperateRequest>,
    chunk_ids: u64,
    assembly: Assembly,
    outcomes: FuturesUnordered<super::BoxFuture<'static, (String, Option<Arc<Outcome>>)>>,
    heard: Instant,
    pings: u64,
}

/// Connects, registers, and serves until the end. Also tells how long it was registered.
pub(super) async fn run(context: &Context, identity: &Identity, control: &Control) -> (End, Duration) {
    let (link, carrier, refusal) = match link::connect(control, &context.surroundings).await {
        Ok(made) => made,
        Err(why) => return (End::NotBegun(why), Duration::ZERO),
    };
    let mut carrier = Carried { carrier: Some(carrier), refusal };
    let shown = format!("{}:{}", control.host, control.port);
    let begun = tokio::time::timeout(REGISTRATION_LIMIT, Session::begin(context, identity, link, control)).await;
    let (session, client, outbound) = match begun {
        Err(_) => {
            let why = format!("Fairlead at {shown} took no registration within {} s", REGISTRATION_LIMIT.as_secs());
            return (End::NotBegun(why), Duration::ZERO);
        }
        Ok(Err(End::NotBegun(why))) => {
            let cause = carrier.cause().await.map_or_else(String::new, |c| format!("; {c}"));
            return (End::NotBegun(format!("Fairlead at {shown} did not take the registration: {why}{cause}")), Duration::ZERO);
        }
        Ok(Err(end)) => return (end, Duration::ZERO),
        Ok(Ok(begun)) => begun,
    };
    let since = Instant::now();
    let connected =
        Connected { epoch: session.agreed.epoch, replica: session.agreed.replica_id.clone(), since: std::time::SystemTime::now() };
    info!(epoch = connected.epoch, replica = connected.replica, fairlead = shown, "connected and registered");
    context.status.connected(connected);
    context.metrics.connections.set(1);
    let mut end = session.serve(client, outbound, control).await;
    context.status.disconnected();
    context.metrics.connections.set(0);
    context.metrics.disconnections.inc();
    if let End::Lost(why) = &mut end
        && let Some(cause) = carrier.cause().await
    {
        *why += &format!("; {cause}");
    }
    (end, since.elapsed())
}

impl<'a> Session<'a> {
    async fn begin(
        context: &'a Context,
        identity: &'a Identity,
        link: Link,
        control: &Control,
    ) -> Result<(Self, AgentServiceClient<Link>, mpsc::Sender<OperateRequest>), End> {
        let scheme = if control.tls.is_some() { "https" } else { "http" };
        let host = if control.host.contains(':') { format!("[{}]", control.host) } else { control.host.to_string() };
        let origin: Uri =
            format!("{scheme}://{host}:{}", control.port).parse().map_err(|_| End::NotBegun("clouddriver.grpc makes no URL".to_owned()))?;
        let mut client = AgentServiceClient::with_origin(link, origin)
            .max_decoding_message_size(MAX_MESSAGE as usize + 1024)
            .max_encoding_message_size(usize::MAX);
        let (outbound, receiver) = mpsc::channel(16);
        let registration = registration(context, identity);
        outbound.send(registration).await.map_err(|_| End::NotBegun("the stream ended".to_owned()))?;
        let refused = |status: &Status| End::NotBegun(words(status));
        let mut inbound = client.operate(ReceiverStream::new(receiver)).await.map_err(|s| refused(&s))?.into_inner();
        let agreed = loop {
            match inbound.message().await.map_err(|s| refused(&s))?.map(|m| m.message) {
                None => return Err(End::NotBegun("it ended the stream without an answer".to_owned())),
                Some(Some(Say::Registered(registered))) => break registered,
                Some(Some(Say::Farewell(farewell))) => return Err(End::Farewell(farewell)),
                // What is not known, or comes too early, is passed over.
                Some(_) => {}
            }
        };
        let session = Self {
            context,
            identity,
            agreed,
            inbound,
            queue: VecDeque::new(),
            chunk_ids: 0,
            assembly: Assembly::default(),
            outcomes: FuturesUnordered::new(),
            heard: Instant::now(),
            pings: 0,
        };
        session.took_registration();
        Ok((session, client, outbound))
    }

    fn took_registration(&self) {
        let refusals: Vec<(String, String)> = self.agreed.refusals.iter().map(|r| (r.account.clone(), r.reason.clone())).collect();
        self.context.keeper.refused(&refusals);
    }

    fn has(&self, feature: Feature) -> bool {
        self.agreed.features.contains(&(feature as i32))
    }

    fn most(&self) -> usize {
        if self.agreed.max_message_bytes == 0 { MAX_MESSAGE as usize } else { self.agreed.max_message_bytes as usize }
    }

    async fn serve(mut self, client: AgentServiceClient<Link>, outbound: mpsc::Sender<OperateRequest>, control: &Control) -> End {
        let millis = |ms: u32, otherwise| if ms == 0 { otherwise } else { Duration::from_millis(ms.into()) };
        let (ping_every, dead_after) = (millis(self.agreed.ping_interval_ms, PING), millis(self.agreed.dead_after_ms, DEAD));
        let mut ping = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (heard, mut heard_elsewhere) = mpsc::channel(1);
        let reporting =
            Reporting { client, keeper: self.context.keeper.clone(), epoch: self.agreed.epoch, credits: self.has(Feature::Credits), heard };
        let mut reports = std::pin::pin!(reports::run(reporting));
        let mut listed = self.context.keeper.listed();
        let mut settings = self.context.settings.clone();
        let keeper = self.context.keeper.clone();
        let mut leaving: Option<super::BoxFuture<'static, ()>> = None;
        loop {
            tokio::select! {
                message = self.inbound.message() => match message {
                    Ok(Some(message)) => {
                        self.heard = Instant::now();
                        if let Some(end) = self.said(message.message) {
                            return end;
                        }
                    }
                    Ok(None) => return End::Lost("Fairlead ended the stream".to_owned()),
                    Err(status) => return End::Lost(words(&status)),
                },
                Some((id, outcome)) = self.outcomes.next(), if !self.outcomes.is_empty() => {
                    if let Some(known) = outcome {
                        self.send(Ask::Outcome(self::outcome(id, self.agreed.epoch, &known)));
                    }
                }
                permit = outbound.reserve(), if !self.queue.is_empty() => match permit {
                    Ok(permit) => {
                        if let Some(message) = self.queue.pop_front() {
                            permit.send(message);
                        }
                    }
                    // The reader knows why.
                    Err(_) => return self.last_words().await,
                },
                _ = ping.tick() => {
                    self.pings += 1;
                    let number = self.pings;
                    self.send(Ask::Ping(Ping { number }));
                }
                () = tokio::time::sleep_until(self.heard + dead_after) => {
                    return End::Lost(format!("Fairlead was silent for {} s", dead_after.as_secs()));
                }
                Some(()) = heard_elsewhere.recv() => self.heard = Instant::now(),
                end = &mut reports => return End::Lost(end),
                Ok(()) = listed.changed() => {
                    let again = registration(self.context, self.identity);
                    self.send_all(again);
                }
                Ok(()) = settings.changed() => {
                    if settings.borrow().control != *control || settings.borrow().zone != self.identity.configured {
                        return End::Changed;
                    }
                }
                () = self.context.stop.cancelled(), if leaving.is_none() => {
                    self.send(Ask::Leaving(Leaving { reason: "the agent was asked to end".to_owned() }));
                    let keeper = keeper.clone();
                    leaving = Some(Box::pin(async move {
                        let _ = tokio::time::timeout(LEAVE_LIMIT, keeper.leave()).await;
                    }));
                }
                () = async { if let Some(l) = &mut leaving { l.await } }, if leaving.is_some() => {
                    break;
                }
            }
        }
        self.leave(outbound).await
    }

    /// What Fairlead says. `Some`: the session is over.
    fn said(&mut self, message: Option<Say>) -> Option<End> {
        match message {
            Some(Say::Registered(registered)) => {
                self.agreed = registered;
                self.took_registration();
            }
            Some(Say::Operation(operation)) => {
                let (id, deadline, order) = order(operation);
                debug!(operation = id, "operation received");
                let receipt = self.context.keeper.perform(&id, deadline, order);
                self.outcomes.push(Box::pin(async move { (id, receipt.outcome().await) }));
            }
            Some(Say::Ping(ping)) => self.send(Ask::Pong(Pong { number: ping.number })),
            Some(Say::Pong(_)) | None => {}
            Some(Say::Chunk(chunk)) => match self.assembly.take(chunk) {
                Ok(Some(whole)) => return self.said(Some(whole)),
                Ok(None) => {}
                Err(why) => return Some(End::Lost(format!("Fairlead broke the protocol: {why}"))),
            },
            Some(Say::Farewell(farewell)) => return Some(End::Farewell(farewell)),
        }
        None
    }

    fn send(&mut self, message: Ask) {
        self.send_all(OperateRequest { message: Some(message) });
    }

    fn send_all(&mut self, message: OperateRequest) {
        if self.has(Feature::Chunks) {
            let most = self.most();
            self.queue.extend(chunks::cut(message, most, &mut self.chunk_ids));
        } else {
            self.queue.push_back(message);
        }
    }

    /// The end of the stream, after the other half of it broke.
    async fn last_words(&mut self) -> End {
        loop {
            match tokio::time::timeout(Duration::from_secs(1), self.inbound.message()).await {
                Ok(Ok(Some(OperateResponse { message: Some(Say::Farewell(farewell)) }))) => return End::Farewell(farewell),
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) | Err(_) => return End::Lost("Fairlead ended the stream".to_owned()),
                Ok(Err(status)) => return End::Lost(words(&status)),
            }
        }
    }

    /// Sends what outcomes there are, and ends the stream from this side.
    async fn leave(mut self, outbound: mpsc::Sender<OperateRequest>) -> End {
        while let Some(Some((id, known))) = futures_util::FutureExt::now_or_never(self.outcomes.next()) {
            if let Some(known) = known {
                self.send(Ask::Outcome(outcome(id, self.agreed.epoch, &known)));
            }
        }
        let Self { queue, mut inbound, .. } = self;
        let flushed = tokio::time::timeout(Duration::from_secs(2), async move {
            for message in queue {
                if outbound.send(message).await.is_err() {
                    break;
                }
            }
            drop(outbound);
            // Its end is the sign that everything was read.
            while let Ok(Some(_)) = inbound.message().await {}
        });
        if flushed.await.is_err() {
            warn!("Fairlead did not take the agent's last words in time");
        }
        End::Left
    }
}

fn registration(context: &Context, identity: &Identity) -> OperateRequest {
    let shown = context.keeper.register();
    let register = |detail| Register {
        agent_id: identity.agent.to_string(),
        zone_id: identity.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: features(),
        accounts: shown.iter().map(|s| account(s, detail)).collect(),
        instance_id: context.instance.clone(),
        replicas: identity.replicas,
        max_message_bytes: MAX_MESSAGE,
    };
    let mut message = register(Detail::Full);
    if message.encoded_len() > MAX_REGISTRATION {
        message = register(Detail::Brief);
        context.keeper.report_all();
    }
    OperateRequest { message: Some(Ask::Register(message)) }
}

/// What a status says, for a person.
pub(super) fn words(status: &Status) -> String {
    let code = status.code();
    let hint = match code {
        tonic::Code::Unauthenticated | tonic::Code::PermissionDenied => "; correct clouddriver.auth.token or clouddriver.tls.*",
        tonic::Code::Unimplemented => "; is it Fairlead's port for agents, and not an older or another service?",
        _ => "",
    };
    let cause = status.source().and_then(|e| e.source()).map_or_else(String::new, |e| format!(" ({e})"));
    let text: String = status.message().chars().filter(|c| !c.is_control()).take(500).collect();
    if text.is_empty() { format!("{code:?}{cause}{hint}") } else { format!("{text}{cause}{hint}") }
}

/// The connection's own task; it ends with the session.
struct Carried {
    carrier: Option<Carrier>,
    refusal: Refusal,
}

impl Carried {
    /// Why the connection ended, where that says more than the stream.
    async fn cause(&mut self) -> Option<String> {
        let carrier = self.carrier.as_mut()?;
        let ended = tokio::time::timeout(Duration::from_millis(200), carrier).await.ok()?;
        self.carrier = None;
        let error = ended.ok()?.err()?;
        Some(self.refusal.take().unwrap_or_else(|| format!("the connection broke ({error})")))
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        // What is written already still goes out: the connection ends by itself once its streams have.
        if let Some(mut carrier) = self.carrier.take() {
            tokio::spawn(async move {
                if tokio::time::timeout(Duration::from_secs(2), &mut carrier).await.is_err() {
                    carrier.abort();
                }
            });
        }
    }
}
