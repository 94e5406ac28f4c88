//! A simulated agent: says what it has, reaches every cluster at once, and comes back as the real one does.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use crate::crowd::Crowd;
use crate::link;
use crate::wire::agent_service_client::AgentServiceClient;
use crate::wire::operate_request::Message as Said;
use crate::wire::operate_response::Message as Heard;
use crate::wire::operation::Kind;
use crate::wire::{
    Account, AccountOutcome, AccountState, ClusterFacts, Done, OperateRequest, Operation, Outcome, Ping, Pong, Register, Registered,
    ReportRequest, account_outcome,
};

/// The real agent's defaults: how long the first pause may be, how the bound grows, where that ends, how long it is at least where a
/// connection was lost, and after how long a session was a good one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const GROWTH: f64 = 1.6;
const LONGEST_PAUSE: Duration = Duration::from_secs(120);
const AFTER_LOSS: Duration = Duration::from_secs(5);
const GOOD: Duration = Duration::from_secs(10);

/// Kinds of an ordinary cluster, as its discovery names them.
const KINDS: usize = 60;
const NAMESPACES: usize = 20;

/// What a session ended with.
#[derive(Default)]
struct End {
    /// There was a connection.
    begun: bool,
    registered: bool,
    /// Fairlead's wish.
    retry_after: Duration,
}

/// One agent.
pub struct Agent {
    pub number: usize,
    pub crowd: Arc<Crowd>,
    /// Name, and the generation and role that were given last.
    pub accounts: BTreeMap<String, (i64, bool)>,
}

impl Agent {
    /// Lives until the crowd is dismissed.
    pub async fn live(mut self) {
        // As processes that are started by a rollout.
        sleep(self.crowd.spread.mul_f64(fastrand::f64())).await;
        let mut attempt = 0;
        loop {
            let began = Instant::now();
            let end = self.session().await.unwrap_or_default();
            if end.registered {
                self.crowd.registered.fetch_sub(1, Relaxed);
            }
            if end.registered && began.elapsed() >= GOOD {
                attempt = 0;
            }
            let bound = FIRST_PAUSE.mul_f64(GROWTH.powi(attempt)).min(LONGEST_PAUSE);
            let bound = if end.begun { bound.max(AFTER_LOSS) } else { bound };
            attempt = (attempt + 1).min(50);
            // Full jitter.
            sleep(end.retry_after + bound.mul_f64(fastrand::f64())).await;
        }
    }

    /// One connection, from its first byte to its last.
    async fn session(&mut self) -> Option<End> {
        let crowd = self.crowd.clone();
        crowd.attempts.fetch_add(1, Relaxed);
        let (link, _carrier) = link::connect(crowd.port, &crowd.tls, &crowd.handshakes).await.ok()?;
        let mut client = AgentServiceClient::with_origin(link, http::Uri::from_static("https://localhost"));
        let (say, said) = mpsc::channel(16);
        say.try_send(request(Said::Register(self.register()))).ok()?;
        let mut hear = client.operate(ReceiverStream::new(said)).await.ok()?.into_inner();
        let registered = loop {
            match hear.message().await.ok()??.message {
                Some(Heard::Registered(registered)) => break registered,
                Some(Heard::Farewell(farewell)) => {
                    crowd.refused.fetch_add(1, Relaxed);
                    return Some(End {
                        begun: true,
                        registered: false,
                        retry_after: Duration::from_millis(farewell.retry_after_ms.into()),
                    });
                }
                _ => {}
            }
        };
        crowd.registered.fetch_add(1, Relaxed);
        let mut end = End { begun: true, registered: true, retry_after: Duration::ZERO };
        // The second stream of the connection, which nothing of note travels on yet.
        let (report, reports) = mpsc::channel(1);
        let _ = report.try_send(ReportRequest { epoch: registered.epoch, accounts: Vec::new() });
        let reporting = tokio::spawn(async move {
            if let Ok(answer) = client.report(ReceiverStream::new(reports)).await {
                let mut answers = answer.into_inner();
                while let Ok(Some(_)) = answers.message().await {}
            }
        });
        end.retry_after = self.serve(&registered, &mut hear, &say).await.unwrap_or_default();
        reporting.abort();
        drop(report);
        Some(end)
    }

    async fn serve(
        &mut self,
        registered: &Registered,
        hear: &mut tonic::Streaming<crate::wire::OperateResponse>,
        say: &mpsc::Sender<OperateRequest>,
    ) -> Option<Duration> {
        let every = Duration::from_millis(registered.ping_interval_ms.max(100).into());
        let dead = Duration::from_millis(registered.dead_after_ms.max(1_000).into());
        let (mut spoken, mut heard, mut number) = (Instant::now(), Instant::now(), 0);
        loop {
            let message = tokio::select! {
                message = hear.message() => message.ok()??.message,
                () = sleep_until(spoken + every) => {
                    if heard.elapsed() > dead {
                        return None;
                    }
                    number += 1;
                    spoken = Instant::now();
                    say.send(request(Said::Ping(Ping { number }))).await.ok()?;
                    continue;
                }
            };
            heard = Instant::now();
            let answer = match message {
                Some(Heard::Operation(operation)) => Said::Outcome(self.operate(operation, registered.epoch)),
                Some(Heard::Ping(ping)) => Said::Pong(Pong { number: ping.number }),
                Some(Heard::Farewell(farewell)) => return Some(Duration::from_millis(farewell.retry_after_ms.into())),
                _ => continue,
            };
            spoken = Instant::now();
            say.send(request(answer)).await.ok()?;
        }
    }

    fn operate(&mut self, operation: Operation, epoch: u64) -> Outcome {
        let done = |name: String, generation, facts| AccountOutcome {
            name,
            generation,
            result: Some(account_outcome::Result::Done(Done { facts })),
        };
        let accounts: Vec<AccountOutcome> = match operation.kind {
            Some(Kind::AddAccounts(add)) => add
                .accounts
                .into_iter()
                .map(|account| {
                    self.crowd.arrived(&account.name);
                    self.accounts.insert(account.name.clone(), (account.generation, account.watch));
                    let facts = facts(&account.name);
                    done(account.name, account.generation, Some(facts))
                })
                .collect(),
            Some(Kind::DeleteAccounts(delete)) => delete
                .accounts
                .into_iter()
                .map(|account| {
                    self.accounts.remove(&account.name);
                    done(account.name, account.generation, None)
                })
                .collect(),
            Some(Kind::SetRoles(roles)) => roles
                .roles
                .into_iter()
                .filter_map(|role| {
                    let account = self.accounts.get_mut(&role.name)?;
                    account.1 = role.watch;
                    Some(done(role.name, account.0, None))
                })
                .collect(),
            None => Vec::new(),
        };
        self.crowd.operations.fetch_add(accounts.len() as u64, Relaxed);
        Outcome { operation_id: operation.id, epoch, accounts, failure: None }
    }

    fn register(&self) -> Register {
        let account = |(name, (generation, watch)): (&String, &(i64, bool))| {
            let state = if *watch { AccountState::Watching } else { AccountState::Standby };
            Account { name: name.clone(), generation: *generation, state: state.into(), facts: Some(facts(name)), ..Account::default() }
        };
        Register {
            agent_id: format!("agent-{}-7c9d5b6f8d-{:05}", self.number, self.number),
            zone_id: zone(self.number),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            features: vec![1, 2, 3],
            accounts: self.accounts.iter().map(account).collect(),
            instance_id: format!("{:032x}", self.number),
            replicas: 1,
            max_message_bytes: 0,
        }
    }
}

/// The zone of an agent: each has its own.
pub fn zone(number: usize) -> String {
    format!("agent-{number}_spinnaker")
}

fn request(message: Said) -> OperateRequest {
    OperateRequest { message: Some(message) }
}

/// As much as an ordinary cluster says of itself, and each account has a cluster of its own.
fn facts(account: &str) -> ClusterFacts {
    ClusterFacts {
        host: format!("https://{account}.example:6443"),
        version: "v1.34.4".to_owned(),
        certificate_fingerprint: vec![7; 16],
        identity: format!("uid-of-{account}"),
        ca_fingerprint: vec![9; 32],
        namespaces: (0..NAMESPACES).map(|n| format!("namespace-{n}")).collect(),
        namespaces_unknown: false,
        kinds: (0..KINDS).map(|n| format!("OrdinaryKind{n}.group-{}.example", n / 5)).collect(),
        remarks: Vec::new(),
    }
}
