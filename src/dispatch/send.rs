//! Asking agents, and writing what they answer. Each task ends with its rows written or looked at again; none waits without a bound.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use tracing::{debug, info, warn};
use ulid::Ulid;

use super::plan::{FailedLately, next_try};
use super::run::ORDER;
use super::{Dispatch, definition, identity};
use crate::account::Status;
use crate::channel::{Agent, BoxFuture, Facts, Failure, NewAccount, Order, Outcome, Reason, Unanswered};
use crate::lifecycle::{self, Event};
use crate::store::states::{self, Applied, Due, Extra, Message, StateRow, Work, Zone};

/// Bytes of definitions in one order, about.
const ORDER_BYTES: usize = 1 << 20;
/// Definitions that are made ready at the same time, where secrets have to be asked for.
const PREPARED: usize = 8;
/// Told of an account whose definition could not be read.
const UNREAD: &str =
    "its definition could not be read from Fairlead's database: nothing was sent, this is no attempt, it goes on in a moment";
/// Pause before an agent that is gone or overloaded is asked again.
const BREATH: Duration = Duration::from_secs(1);

/// What an agent is told of some accounts: a generation, or whether it watches.
pub(super) type Told<T> = (Arc<Agent>, Vec<(Arc<str>, T)>);
/// What is to be sent of the n-th of some attempts, or why nothing is.
type Prepared = (usize, Result<Vec<u8>, String>);

/// One account on its way to an agent.
pub(super) struct Attempt {
    pub name: Arc<str>,
    /// As it was written before.
    pub row: StateRow,
    pub watch: bool,
}

/// An account in ACTIVATING, and who is to have it.
pub(super) struct Offer {
    pub agents: Vec<Arc<Agent>>,
    pub operation: String,
    pub attempt: Attempt,
}

/// An account that another agent of its zone is to have too.
pub(super) struct Given {
    pub agent: Arc<Agent>,
    pub attempt: Attempt,
}

/// An account that these are to let go of.
pub(super) struct Back {
    pub agents: Vec<Arc<Agent>>,
    pub operation: String,
    pub name: Arc<str>,
    pub row: StateRow,
}

/// What became of one account with one agent.
#[derive(Clone, Debug)]
enum Answer {
    Done(Option<Arc<Facts>>),
    Failed(Failure),
    /// Nothing could be sent, and why.
    Unsendable(String),
    /// The row has changed since: nothing was sent.
    Stale,
    /// Our own database did not give the definition: nothing was sent.
    Unread,
    Unanswered(Unanswered),
}

impl Dispatch {
    fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Hands accounts to their agents.
    pub(super) fn offer(self: &Arc<Self>, offers: Vec<Offer>) {
        let mut orders: HashMap<String, (Arc<Agent>, Vec<Attempt>)> = HashMap::new();
        for o in offers {
            for agent in &o.agents {
                self.memory().send(&o.attempt.name, agent);
            }
            match o.agents.as_slice() {
                [agent] => orders.entry(o.operation).or_insert_with(|| (agent.clone(), vec![])).1.push(o.attempt),
                _ => {
                    let this = self.clone();
                    self.spawn(async move { this.round(o).await });
                }
            }
        }
        for (operation, (agent, attempts)) in orders {
            let this = self.clone();
            self.spawn(async move {
                let answers = this.add(&agent, &operation, &attempts).await;
                let mut ends = Vec::new();
                for (attempt, answer) in attempts.iter().zip(answers) {
                    let found = attempt.row.zone.is_none().then(|| agent.zone.0.to_string());
                    ends.extend(this.end_of(&attempt.row, &agent, answer, found).map(|(event, extra)| (attempt, event, extra)));
                }
                this.conclude(&ends).await;
                let mut memory = this.memory();
                for attempt in &attempts {
                    memory.sent(&attempt.name, &agent.session);
                    memory.end(&operation);
                    memory.mark(&attempt.name);
                }
                drop(memory);
                this.bell.ring();
            });
        }
    }

    /// What an answer makes of a row in ACTIVATING; `None`: it is no longer about this row.
    fn end_of(&self, row: &StateRow, agent: &Agent, answer: Answer, found: Option<String>) -> Option<(Event, Extra)> {
        let who = format!("agent {} (zone {})", agent.session.agent, agent.zone);
        let failed = |text: String| Extra { message: Message::Set(text), due: next_try(row, &self.limits), ..Extra::default() };
        Some(match answer {
            Answer::Done(facts) => {
                let learned = facts.as_deref().map(identity::learned);
                let zone = found.map_or(Zone::Keep, Zone::Found);
                // What is left to do about its zone's other agents is looked at by the caller, and after a crash by the look at everything.
                (Event::Accepted, Extra { learned, zone, connections: Some(1), due: Due::Never, ..Extra::default() })
            }
            Answer::Failed(f) => (Event::Rejected, failed(told(&who, &f))),
            Answer::Unsendable(why) => (Event::Rejected, failed(format!("nothing was sent to an agent: {why}"))),
            Answer::Unanswered(Unanswered::TimedOut(waited)) => {
                (Event::Expired, failed(format!("{who} is connected and did not answer within {waited:?}")))
            }
            Answer::Unanswered(Unanswered::Refused(f)) => (Event::Rejected, failed(told(&who, &f))),
            Answer::Unanswered(Unanswered::Lost) => {
                let text = format!("{who} was lost before it answered: this is no attempt, it goes on with the next");
                (Event::AgentLost, Extra { message: Message::Set(text), due: Due::In(BREATH / 10), ..Extra::default() })
            }
            Answer::Unanswered(busy @ Unanswered::Busy) => {
                let text = format!("{who} could not be asked: {busy}; this is no attempt, it goes on in a moment");
                (Event::AgentLost, Extra { message: Message::Set(text), due: Due::In(BREATH), ..Extra::default() })
            }
            Answer::Unread => (Event::AgentLost, Extra { message: Message::Set(UNREAD.into()), due: Due::In(BREATH), ..Extra::default() }),
            Answer::Stale => return None,
        })
    }

    /// Offers one account to one agent of each zone: the first success wins, the others let go.
    async fn round(self: Arc<Self>, o: Offer) {
        let mut waiting = o.agents.iter();
        let mut asked: Vec<&Arc<Agent>> = Vec::new();
        let attempt = [Attempt { watch: false, name: o.attempt.name.clone(), row: o.attempt.row.clone() }];
        let mut running: FuturesUnordered<BoxFuture<'_, (&Arc<Agent>, Answer)>> = FuturesUnordered::new();
        let mut reasons: Vec<String> = Vec::new();
        let (mut answered, mut winner, mut stale) = (false, None, false);
        loop {
            while running.len() < self.limits.fan_out.max(1)
                && let Some(agent) = waiting.next()
            {
                // An operation is one order to one agent: who gets it again repeats how it went. The first has the one that the row names.
                let operation = if asked.is_empty() { o.operation.clone() } else { Ulid::generate().to_string() };
                asked.push(agent);
                let (this, attempt) = (&self, &attempt);
                running.push(Box::pin(async move { (agent, this.add(agent, &operation, attempt).await.pop().unwrap_or(Answer::Stale)) }));
            }
            let Some((agent, answer)) = running.next().await else { break };
            match answer {
                Answer::Done(facts) => {
                    winner = Some((agent.clone(), facts));
                    break;
                }
                Answer::Stale => {
                    stale = true;
                    break;
                }
                Answer::Unsendable(why) => {
                    (reasons, answered) = (vec![format!("nothing was sent to an agent: {why}")], true);
                    break;
                }
                Answer::Failed(f) | Answer::Unanswered(Unanswered::Refused(f)) => {
                    answered = true;
                    reasons.push(format!("zone {}: agent {}: {}", agent.zone, agent.session.agent, f.message));
                }
                Answer::Unread => reasons.push(UNREAD.to_owned()),
                Answer::Unanswered(other) => {
                    answered |= matches!(other, Unanswered::TimedOut(_));
                    reasons.push(format!("zone {}: agent {}: {other}", agent.zone, agent.session.agent));
                }
            }
        }
        drop(running);
        let row = &o.attempt.row;
        let end = match &winner {
            Some((agent, facts)) => self.end_of(row, agent, Answer::Done(facts.clone()), Some(agent.zone.0.to_string())),
            None if stale => None,
            None if answered => {
                let text = match reasons.as_slice() {
                    [one] => one.clone(),
                    all => format!("no zone has an agent that reaches its cluster: {}", all.join("; ")),
                };
                Some((Event::Rejected, Extra { message: Message::Set(text), due: next_try(row, &self.limits), ..Extra::default() }))
            }
            None => {
                let text = format!("no agent answered, this is no attempt: {}", reasons.join("; "));
                Some((Event::AgentLost, Extra { message: Message::Set(text), due: Due::In(BREATH), ..Extra::default() }))
            }
        };
        if let Some((event, extra)) = end {
            self.conclude(&[(&o.attempt, event, extra)]).await;
        }
        // Whoever was asked and is not the one may have it, or will have it in a moment: orders arrive in their order.
        let others = asked.into_iter().filter(|a| winner.as_ref().is_none_or(|(w, _)| w.session != a.session));
        self.let_strays_go(others.map(|a| (a.clone(), vec![(o.attempt.name.clone(), row.generation)])));
        let mut memory = self.memory();
        for agent in &o.agents {
            memory.sent(&o.attempt.name, &agent.session);
        }
        memory.end(&o.operation);
        memory.mark(&o.attempt.name);
        drop(memory);
        self.bell.ring();
    }

    /// Writes how attempts ended, where the rows still wait for them. What cannot be written is found again: its operation is under
    /// way nowhere then.
    async fn conclude(&self, ends: &[(&Attempt, Event, Extra)]) {
        let steps: Vec<_> = ends.iter().map(|(a, event, extra)| (&a.row, lifecycle::next(&a.row.state, *event), extra.clone())).collect();
        for _ in 0..3 {
            match states::apply_all(&self.store, &steps).await {
                Ok(applied) => {
                    for ((row, step, extra), applied) in steps.iter().zip(applied) {
                        if applied == Applied::Won {
                            self.tell(row, *step, extra);
                        } else {
                            self.metrics.stale.inc();
                            info!(account = row.name, operationId = row.operation, "an answer came when something else was wanted already");
                        }
                    }
                    return;
                }
                Err(e) if e.is_contention() => drop(self.metrics.lost_races.inc()),
                Err(e) => {
                    self.metrics.errors.inc();
                    warn!(error = %e, "what agents answered cannot be written: they are asked again");
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..20))).await;
        }
    }

    /// Asks one agent to have accounts; an answer for each, in their order.
    async fn add(&self, agent: &Arc<Agent>, operation: &str, attempts: &[Attempt]) -> Vec<Answer> {
        let lane = self.memory().lane(&agent.session);
        let mut answers: Vec<Answer> = vec![Answer::Stale; attempts.len()];
        let Ok(_place) = lane.acquire_owned().await else { return answers };
        let names: Vec<&str> = attempts.iter().map(|a| &*a.name).collect();
        // Once more: time has passed, and what nobody wants any more is not sent.
        let payloads = match states::payloads(&self.store, &names).await {
            Ok(payloads) => payloads,
            Err(e) => {
                warn!(error = %e, "definitions cannot be read yet");
                return vec![Answer::Unread; attempts.len()];
            }
        };
        let by_name: HashMap<&str, &states::Payload> = payloads.iter().map(|p| (p.name.as_str(), p)).collect();
        let mut preparing: Vec<BoxFuture<'_, Prepared>> = Vec::new();
        for (i, attempt) in attempts.iter().enumerate() {
            let Some(payload) = by_name.get(&*attempt.name).copied().filter(|p| is_wanted(attempt, p)) else { continue };
            preparing.push(Box::pin(async move { (i, self.prepare(&attempt.row, payload).await) }));
        }
        let mut ready: Vec<Prepared> = Vec::new();
        let mut preparing = preparing.into_iter().peekable();
        while preparing.peek().is_some() {
            ready.extend(join_all(preparing.by_ref().take(PREPARED).collect::<Vec<_>>()).await);
        }
        let mut orders: Vec<(Vec<usize>, Vec<NewAccount>, usize)> = Vec::new();
        for (i, prepared) in ready {
            let bytes = match prepared {
                Ok(bytes) => bytes,
                Err(why) => {
                    self.metrics.secrets.inc();
                    answers[i] = Answer::Unsendable(why);
                    continue;
                }
            };
            let (name, generation, watch) = (attempts[i].name.clone(), attempts[i].row.generation, attempts[i].watch);
            if orders.last().is_none_or(|(indices, _, size)| indices.len() >= ORDER || size + bytes.len() > ORDER_BYTES) {
                orders.push((vec![], vec![], 0));
            }
            if let Some((indices, accounts, size)) = orders.last_mut() {
                *size += bytes.len();
                indices.push(i);
                accounts.push(NewAccount { name, generation, definition: bytes.into(), watch });
            }
        }
        for (n, (indices, accounts, _)) in orders.into_iter().enumerate() {
            let id = if n == 0 { operation.parse().unwrap_or_else(|_| Ulid::generate()) } else { Ulid::generate() };
            debug!(agentId = %agent.session.agent, operationId = %id, accounts = accounts.len(), "asked to have accounts");
            let result = self.agents.execute(&agent.session, id, Order::Add(accounts), self.limits.wait).await;
            for i in indices {
                let of = |o: &&Outcome| o.name == attempts[i].name && o.generation == attempts[i].row.generation;
                answers[i] = match &result {
                    Ok(outcomes) => match outcomes.iter().find(of).map(|o| o.result.clone()) {
                        Some(Ok(facts)) => Answer::Done(facts),
                        Some(Err(failure)) => Answer::Failed(failure),
                        None => Answer::Failed(internal("it said nothing of this account")),
                    },
                    Err(e) => Answer::Unanswered(e.clone()),
                };
                self.count_outcome("add", &answers[i]);
            }
        }
        answers
    }

    async fn prepare(&self, row: &StateRow, payload: &states::Payload) -> Result<Vec<u8>, String> {
        let definition = match payload.definition.0.as_str() {
            "" => serde_json::Value::Object(serde_json::Map::new()),
            text => self.store.open_definition(&row.name, text).map_err(|e| e.to_string())?,
        };
        let overlay = row.overlay(&self.store).map_err(|e| e.to_string())?;
        definition::prepare(definition::merge(definition, overlay), &self.resolver).await
    }

    /// Gives accounts that are well to further agents.
    pub(super) fn give(self: &Arc<Self>, given: Vec<Given>) {
        let mut orders: HashMap<_, (Arc<Agent>, Vec<Attempt>)> = HashMap::new();
        for g in given {
            self.memory().send(&g.attempt.name, &g.agent);
            orders.entry(g.agent.session.clone()).or_insert_with(|| (g.agent.clone(), vec![])).1.push(g.attempt);
        }
        for (agent, attempts) in orders.into_values() {
            let this = self.clone();
            self.spawn(async move {
                for some in attempts.chunks(ORDER) {
                    let answers = this.add(&agent, &Ulid::generate().to_string(), some).await;
                    for (attempt, answer) in some.iter().zip(answers) {
                        this.given(&agent, attempt, answer);
                    }
                    this.bell.ring();
                }
            });
        }
    }

    fn given(&self, agent: &Arc<Agent>, attempt: &Attempt, answer: Answer) {
        let who = format!("agent {} (zone {})", agent.session.agent, agent.zone);
        let done = matches!(answer, Answer::Done(_));
        let unanswered = matches!(answer, Answer::Unanswered(Unanswered::Busy | Unanswered::Lost) | Answer::Unread);
        let failed = match answer {
            Answer::Failed(f) | Answer::Unanswered(Unanswered::Refused(f)) => Some(told(&who, &f)),
            Answer::Unsendable(why) => Some(format!("nothing was sent to an agent: {why}")),
            Answer::Unanswered(Unanswered::TimedOut(waited)) => Some(format!("{who} is connected and did not answer within {waited:?}")),
            Answer::Done(_) | Answer::Stale | Answer::Unread | Answer::Unanswered(_) => None,
        };
        let mut memory = self.memory();
        memory.sent(&attempt.name, &agent.session);
        if let Some(message) = failed {
            warn!(account = %attempt.name, agentId = %agent.session.agent, message, "an agent cannot have an account of its zone");
            let how = FailedLately { agent: agent.session.agent.clone(), message, refused: false };
            let pause = memory.failed(&attempt.name, attempt.row.generation, how, self.limits.retry);
            memory.alarm(&attempt.name, pause);
            memory.mark(&attempt.name);
        } else {
            if done {
                memory.worked(&attempt.name, &agent.session.agent);
            }
            if unanswered {
                memory.alarm(&attempt.name, BREATH);
            } else {
                memory.mark(&attempt.name);
            }
        }
    }

    /// Asks agents to let go of what is in TO_DEACTIVATE or DELETING.
    pub(super) fn take_back(self: &Arc<Self>, backs: Vec<Back>) {
        let mut orders: HashMap<String, Vec<Back>> = HashMap::new();
        for b in backs {
            orders.entry(b.operation.clone()).or_default().push(b);
        }
        for (operation, backs) in orders {
            let this = self.clone();
            self.spawn(async move { this.take_back_now(&operation, &backs).await });
        }
    }

    async fn take_back_now(self: Arc<Self>, operation: &str, backs: &[Back]) {
        let Some(first) = backs.first() else { return };
        let names: Vec<(Arc<str>, i64)> = backs.iter().map(|b| (b.name.clone(), 0)).collect();
        let asked = first.agents.iter().enumerate().map(|(n, agent)| {
            let id = if n == 0 { operation.parse().unwrap_or_else(|_| Ulid::generate()) } else { Ulid::generate() };
            debug!(agentId = %agent.session.agent, operationId = %id, accounts = names.len(), "asked to let go of accounts");
            self.agents.execute(&agent.session, id, Order::Delete(names.clone()), self.limits.wait)
        });
        let results = join_all(asked).await;
        let mut steps = Vec::new();
        for b in backs {
            let mut worst: Option<(Event, String)> = None;
            let mut lost = None;
            for (agent, result) in first.agents.iter().zip(&results) {
                let who = format!("agent {} (zone {})", agent.session.agent, agent.zone);
                let answer = match result {
                    Ok(outcomes) => match outcomes.iter().find(|o| o.name == b.name).map(|o| o.result.clone()) {
                        Some(Ok(facts)) => Answer::Done(facts),
                        Some(Err(f)) => Answer::Failed(f),
                        None => Answer::Failed(internal("it said nothing of this account")),
                    },
                    Err(e) => Answer::Unanswered(e.clone()),
                };
                self.count_outcome("delete", &answer);
                match answer {
                    Answer::Failed(f) | Answer::Unanswered(Unanswered::Refused(f)) => {
                        worst = Some((Event::NotLetGo, format!("{who} could not let go of it: {}", f.message)));
                    }
                    Answer::Unanswered(Unanswered::TimedOut(waited)) => {
                        let text = format!("{who} is connected and did not say within {waited:?} that it has let go of it");
                        worst = worst.or(Some((Event::Expired, text)));
                    }
                    Answer::Unanswered(Unanswered::Lost) => lost = lost.or(Some(BREATH / 10)),
                    Answer::Unanswered(Unanswered::Busy) => lost = Some(BREATH),
                    Answer::Done(_) | Answer::Unsendable(_) | Answer::Stale | Answer::Unread => {}
                }
            }
            let deactivating = b.row.state.status == Status::Deactivating;
            let (event, extra) = match (worst, lost) {
                (Some((event, text)), _) => {
                    let due = if deactivating { Due::Now } else { next_try(&b.row, &self.limits) };
                    (Some(event), Extra { message: Message::Set(text), due, connections: Some(0), ..Extra::default() })
                }
                // One that is gone is not asked again; who is left is.
                (None, Some(pause)) => {
                    let extra = Extra { due: Due::In(pause), work: Work::Clear, ..Extra::default() };
                    (deactivating.then_some(Event::AgentLost), extra)
                }
                (None, None) => (Some(Event::LetGo), Extra { sent: Some(false), connections: Some(0), ..Extra::default() }),
            };
            let step = event.map_or_else(|| b.row.stay(), |event| lifecycle::next(&b.row.state, event));
            steps.push((&b.row, step, extra));
        }
        for (row, step, extra) in &steps {
            // One by one: a tombstone or a row that goes takes its own transaction.
            match states::apply(&self.store, row, *step, extra).await {
                Ok(Applied::Won) => self.tell(row, *step, extra),
                Ok(Applied::Lost) => drop(self.metrics.stale.inc()),
                Err(e) if e.is_contention() => drop(self.metrics.lost_races.inc()),
                Err(e) => {
                    self.metrics.errors.inc();
                    warn!(error = %e, account = row.name, "what agents answered cannot be written: they are asked again");
                }
            }
        }
        let mut memory = self.memory();
        for b in backs {
            memory.end(operation);
            memory.mark(&b.name);
        }
        drop(memory);
        self.bell.ring();
    }

    /// Tells agents to let go of what they have and may not have.
    pub(super) fn let_strays_go(self: &Arc<Self>, strays: impl IntoIterator<Item = Told<i64>>) {
        for (agent, accounts) in strays {
            {
                let mut memory = self.memory();
                accounts.iter().for_each(|(name, _)| memory.send(name, &agent));
            }
            let this = self.clone();
            self.spawn(async move {
                for some in accounts.chunks(ORDER * 4) {
                    let id = Ulid::generate();
                    for (name, _) in some {
                        info!(account = %name, agentId = %agent.session.agent, operationId = %id, "an agent is told to let go of what it may not have");
                        this.metrics.strays.inc();
                    }
                    let result = this.agents.execute(&agent.session, id, Order::Delete(some.to_vec()), this.limits.wait).await;
                    let mut memory = this.memory();
                    for (name, _) in some {
                        memory.sent(name, &agent.session);
                        let done = matches!(&result, Ok(outcomes) if outcomes.iter().any(|o| o.name == *name && o.result.is_ok()));
                        memory.alarm(name, if done { BREATH / 10 } else { this.limits.retry.max(BREATH) });
                    }
                }
                this.bell.ring();
            });
        }
    }

    /// Says who watches.
    pub(super) fn set_roles(self: &Arc<Self>, roles: impl IntoIterator<Item = Told<bool>>) {
        for (agent, accounts) in roles {
            {
                let mut memory = self.memory();
                accounts.iter().for_each(|(name, _)| memory.send(name, &agent));
            }
            let this = self.clone();
            self.spawn(async move {
                for some in accounts.chunks(ORDER * 16) {
                    let id = Ulid::generate();
                    debug!(agentId = %agent.session.agent, operationId = %id, accounts = some.len(), "told who watches");
                    let result = this.agents.execute(&agent.session, id, Order::Roles(some.to_vec()), this.limits.wait).await;
                    let mut memory = this.memory();
                    for (name, _) in some {
                        memory.sent(name, &agent.session);
                        memory.alarm(name, if result.is_ok() { BREATH / 10 } else { BREATH });
                    }
                }
                this.bell.ring();
            });
        }
    }

    fn count_outcome(&self, operation: &'static str, answer: &Answer) {
        let outcome = match answer {
            Answer::Done(_) => "done",
            Answer::Failed(_) | Answer::Unsendable(_) | Answer::Unanswered(Unanswered::Refused(_)) => "failed",
            Answer::Stale | Answer::Unread | Answer::Unanswered(Unanswered::Lost) => "lost",
            Answer::Unanswered(Unanswered::TimedOut(_)) => "timeout",
            Answer::Unanswered(Unanswered::Busy) => "busy",
        };
        self.metrics.outcomes.get_or_create(&super::metrics::OutcomeLabel { operation, outcome }).inc();
    }
}

/// Whether that is still what the row asks for.
fn is_wanted(attempt: &Attempt, now: &states::Payload) -> bool {
    now.generation == attempt.row.generation
        && match attempt.row.state.status {
            Status::Activating => now.operation == attempt.row.operation && now.status == Some(Status::Activating),
            _ => matches!(now.status, Some(Status::Active | Status::Orphaned)),
        }
}

fn internal(text: &str) -> Failure {
    Failure { reason: Reason::Internal, message: text.to_owned(), host: None }
}

/// Which half failed, at which host, how.
fn told(who: &str, f: &Failure) -> String {
    let at = f.host.as_deref().filter(|host| !f.message.contains(host)).map_or(String::new(), |host| format!(" at {host}"));
    match f.reason {
        Reason::Definition | Reason::Unsupported => format!("{who} received it and cannot use it: {}", f.message),
        Reason::Internal => format!("{who} received it and failed by itself: {}", f.message),
        _ => format!("{who} received it and did not reach its cluster{at}: {}", f.message),
    }
}
