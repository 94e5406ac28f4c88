//! Who is connected to this replica, and what becomes of what they say. How they are asked is `ask`'s.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use ulid::Ulid;

use super::admit::Admitted;
use super::chunks::Budget;
use super::convert;
use super::index::Index;
use super::metrics::Metrics;
use super::orders::{Effect, NotTaken};
use super::outbox::Outbox;
use super::quiet::Quiet;
use super::session::{Ending, Session};
use super::{Agent, Held, SessionId};
use crate::wire::{self, FarewellReason};

/// Reports that may come before the outcome that they belong to.
const EARLY: usize = 1_024;
/// Changes that nobody has asked for: agents, and names of accounts of one. Who keeps the accounts may be without its database.
const UNHEARD_AGENTS: usize = 65_536;
const UNHEARD_ACCOUNTS: usize = 262_144;
/// Memory for messages in parts, of all agents.
const PARTS: usize = 256 << 20;

/// Times and sizes.
#[derive(Clone, Debug)]
pub struct Limits {
    /// For the first message of a session.
    pub register_timeout: Duration,
    /// How often to ask an agent that is silent.
    pub ping_interval: Duration,
    /// An agent that was silent for so long is dead.
    pub dead_after: Duration,
    /// Bytes of a message.
    pub max_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            register_timeout: Duration::from_secs(10),
            ping_interval: Duration::from_secs(10),
            dead_after: Duration::from_secs(25),
            max_message: 4 << 20,
        }
    }
}

/// See the module's page.
#[derive(Debug)]
pub struct Registry {
    pub(super) limits: Limits,
    pub(super) replica: Arc<str>,
    pub(super) metrics: Metrics,
    pub(super) quiet: Arc<Quiet>,
    pub(super) budget: Budget,
    state: Mutex<State>,
    pub(super) changed: Notify,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) index: Index<Arc<Session>>,
    epoch: u64,
    /// Nobody is let in any more.
    draining: bool,
}

/// What became of a registration in a session that is there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Registration {
    Taken,
    /// A newer session of the agent has taken over.
    Old,
}

impl Registry {
    /// With nobody connected.
    pub fn new(limits: Limits, replica: &str, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            limits,
            replica: replica.into(),
            metrics,
            quiet: Arc::default(),
            budget: Budget::new(PARTS),
            state: Mutex::default(),
            changed: Notify::new(),
        })
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells who waits for changes, and counts who is there.
    pub(super) fn done(&self, state: MutexGuard<'_, State>) {
        self.metrics.agents.set(i64::try_from(state.index.len()).unwrap_or(i64::MAX));
        let changes = state.index.has_changes();
        drop(state);
        if changes {
            self.changed.notify_one();
        }
    }

    /// Begins a session. A session of the same agent that is there already ends.
    pub(super) fn register(&self, admitted: Admitted, peer: Arc<str>, outbox: Outbox) -> Result<Arc<Session>, Ending> {
        let mut state = self.state();
        if state.draining {
            return Err(Ending::told(FarewellReason::Shutdown, "this replica of Fairlead shuts down", retry_after(1_000)));
        }
        if state.index.is_crowded(&admitted.agent, UNHEARD_AGENTS, UNHEARD_ACCOUNTS) {
            return Err(crowded());
        }
        // In microseconds, so that the count cannot run ahead of the clock, and grows over a restart too.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_micros()).unwrap_or(0));
        state.epoch = now.max(state.epoch + 1);
        let id = SessionId { agent: admitted.agent.clone(), epoch: state.epoch };
        let session = Arc::new(Session::new(id.clone(), &admitted, peer, outbox, CancellationToken::new()));
        let accounts = admitted.accounts.len();
        let version = admitted.version.clone();
        let older = state.index.register(agent(id, SystemTime::now(), admitted), session.clone());
        self.done(state);
        self.metrics.registration(if older.is_some() { "taken_over" } else { "new" });
        if let Some(more) = self.quiet.say("registered", &session.id.agent.0) {
            let (agent, zone, peer) = (&session.id.agent, &session.zone, &session.peer);
            info!(agentId = %agent, zoneId = %zone, peer = %peer, version = %version, accounts, epoch = session.id.epoch, more, "an agent has registered");
        }
        if let Some((_, older)) = older {
            self.take_over(&older, &session);
        }
        Ok(session)
    }

    fn take_over(&self, older: &Session, newer: &Session) {
        if older.instance != newer.instance
            && let Some(more) = self.quiet.say("taken_over", &older.id.agent.0)
        {
            let text =
                "another process of the same name takes over from an agent that was still connected; if both run, give each its own name";
            warn!(agentId = %older.id.agent, older = %older.peer, newer = %newer.peer, more, "{text}");
        }
        let text = format!("a newer session of {} has taken over, from {}", older.id.agent, newer.peer);
        older.end(Ending::told(FarewellReason::TakenOver, text, 5_000));
        older.orders.close();
    }

    /// The agent's list anew, in the same session.
    pub(super) fn register_again(&self, session: &Arc<Session>, admitted: Admitted) -> Result<Registration, Ending> {
        let mut state = self.state();
        if state.index.is_crowded(&admitted.agent, UNHEARD_AGENTS, UNHEARD_ACCOUNTS) {
            return Err(crowded());
        }
        let since = match state.index.get(&session.id.agent) {
            Some(present) if present.session.epoch > session.id.epoch => return Ok(Registration::Old),
            present => present.map_or_else(SystemTime::now, |a| a.since),
        };
        session.early.lock().unwrap_or_else(PoisonError::into_inner).clear();
        state.index.register(agent(session.id.clone(), since, admitted), session.clone());
        self.done(state);
        self.metrics.registration("again");
        Ok(Registration::Taken)
    }

    /// The agent takes nothing more; what is under way goes on.
    pub(super) fn leave(&self, session: &Session) {
        let mut state = self.state();
        state.index.remove(&session.id);
        self.done(state);
    }

    /// A session is over. Its end changes nothing where a newer one has taken over.
    pub(super) fn ended(&self, session: &Arc<Session>) {
        let ending = session.ending().unwrap_or_else(|| {
            self.metrics.panics.inc();
            Ending { word: "fault", text: "a fault of Fairlead's own ended the session".to_owned(), farewell: None }
        });
        session.end(ending.clone());
        let mut state = self.state();
        state.index.remove(&session.id);
        self.done(state);
        let lost = session.orders.close();
        self.metrics.session_ended(ending.word);
        if let Some(more) = self.quiet.say("ended", &session.id.agent.0) {
            let (agent, zone, peer) = (&session.id.agent, &session.zone, &session.peer);
            info!(agentId = %agent, zoneId = %zone, peer = %peer, epoch = session.id.epoch, lost, more, "a session has ended: {}", ending.text);
        }
    }

    /// An agent says what became of an operation.
    pub(super) fn outcome(&self, session: &Arc<Session>, said: wire::Outcome) -> Result<(), Ending> {
        if said.epoch != session.id.epoch {
            self.metrics.outcome_dropped("epoch");
            return Ok(());
        }
        let Ok(id) = said.operation_id.parse::<Ulid>() else {
            self.metrics.outcome_dropped("unknown");
            return Ok(());
        };
        // Under the lock, so that a report comes before or after all of it.
        let mut state = self.state();
        let mut taken = match session.orders.outcome(id, said) {
            Ok(taken) => taken,
            Err(NotTaken::Unknown) => {
                self.metrics.outcome_dropped("unknown");
                return Ok(());
            }
            Err(NotTaken::Foreign(account)) => {
                self.metrics.outcome_dropped("foreign");
                let account = convert::clean(&account, 255);
                let text = format!("the outcome of operation {id} speaks of account {account}, which the operation does not");
                if let Some(more) = self.quiet.say("foreign", &session.id.agent.0) {
                    warn!(agentId = %session.id.agent, operationId = %id, account, peer = %session.peer, more, "refused: {text}");
                }
                return Err(Ending::protocol(text));
            }
        };
        if taken.is_late() {
            self.metrics.outcome_dropped("late");
            tracing::debug!(agentId = %session.id.agent, operationId = %id, operationType = taken.asked.kind, "an outcome came when nobody waited any more");
        }
        let mut early = session.early.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, effect) in &mut taken.effects {
            if let (Effect::Has(held), Some(newer)) = (effect, early.remove(name))
                && held.generation == newer.generation
            {
                *held = newer;
            }
        }
        drop(early);
        state.index.apply(&session.id, std::mem::take(&mut taken.effects));
        self.done(state);
        taken.tell();
        Ok(())
    }

    /// The session that a report names.
    pub(super) fn of_epoch(&self, epoch: u64) -> Option<Arc<Session>> {
        self.state().index.of_epoch(epoch).cloned()
    }

    /// An agent reports of accounts that it has, in a generation that it was given.
    pub(super) fn report(&self, session: &Arc<Session>, accounts: Vec<wire::Account>) {
        let accounts: Vec<(Arc<str>, Held)> = accounts.into_iter().map(|a| (a.name.as_str().into(), convert::held(a))).collect();
        let mut state = self.state();
        let mut effects = Vec::new();
        let Some(agent) = state.index.get(&session.id.agent).filter(|a| a.session == session.id) else { return };
        for (name, mut held) in accounts {
            match agent.accounts.get(&name) {
                Some(before) if before.generation == held.generation => {
                    held.properties = before.properties.clone();
                    held.facts = held.facts.or_else(|| before.facts.clone());
                    effects.push((name, Effect::Has(held)));
                }
                _ if session.orders.is_being_added(&name, held.generation) => {
                    held.properties = None;
                    let mut early = session.early.lock().unwrap_or_else(PoisonError::into_inner);
                    if early.len() < EARLY || early.contains_key(&name) {
                        early.insert(name, held);
                    }
                }
                _ => drop(self.metrics.reports_dropped.inc()),
            }
        }
        state.index.apply(&session.id, effects);
        self.done(state);
    }

    /// Lets nobody in any more, and says farewell to all.
    pub(super) fn drain(&self) {
        let mut state = self.state();
        state.draining = true;
        let sessions: Vec<Arc<Session>> = state.index.all().map(|(_, s)| s.clone()).collect();
        drop(state);
        // They come back to the other replicas, or to the next process, not all at once.
        let spread = u32::try_from(sessions.len()).unwrap_or(u32::MAX).saturating_mul(2).clamp(1_000, 30_000);
        for session in sessions {
            session.end(Ending::told(FarewellReason::Shutdown, "this replica of Fairlead shuts down", retry_after(spread)));
        }
    }

    /// No more sessions begin; those that are there go on.
    pub(super) fn close(&self) {
        self.state().draining = true;
    }

    /// Operations that somebody waits for.
    pub(super) fn in_flight(&self) -> usize {
        self.state().index.all().map(|(_, session)| session.orders.open()).sum()
    }
}

fn crowded() -> Ending {
    let text = "too much has changed with agents that Fairlead could take no note of; is its database there?";
    Ending::told(FarewellReason::Overloaded, text, 10_000 + retry_after(20_000))
}

/// Some of so many milliseconds.
fn retry_after(spread: u32) -> u32 {
    fastrand::u32(..spread.max(1))
}

fn agent(session: SessionId, since: SystemTime, admitted: Admitted) -> Agent {
    Agent { session, zone: admitted.zone, version: admitted.version, since, replicas: admitted.replicas, accounts: admitted.accounts }
}
