//! What this process remembers between two looks. All of it may be lost at any time: rows and agents tell it again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::plan::FailedLately;
use crate::channel::{Agent, AgentId, SessionId, ZoneId};

/// Longest pause before an agent that failed with an account gets it again.
const SLOWEST: Duration = Duration::from_secs(300);
/// Accounts that one agent is asked to reach at a time; the rest wait here, and no time runs for them yet. An agent reaches some dozens of
/// clusters at once, so it always has the next ones, and few enough that a turn comes for each before its time is over.
const REACHED: usize = 256;

#[derive(Default)]
pub(super) struct Memory {
    /// Names to look at, although no row says so.
    dirty: HashSet<Arc<str>>,
    /// Names to look at later.
    alarms: BTreeSet<(Instant, Arc<str>)>,
    /// Operations that are under way here, and for how many accounts.
    under_way: HashMap<String, u32>,
    /// Agents to which something about an account is on its way.
    busy: HashMap<Arc<str>, Vec<Busy>>,
    /// Grows with each thing that is planned to be asked of agents.
    turn: u64,
    /// Agents that failed with an account.
    failed: HashMap<Arc<str>, Vec<Failed>>,
    /// The last agent of a zone that could not have an account: the next one has its turn.
    passed: HashMap<Arc<str>, HashMap<ZoneId, AgentId>>,
    /// Since when an account has no agent.
    missing: HashMap<Arc<str>, Instant>,
    /// Accounts of agents that are refused, and why.
    refused: BTreeMap<(Arc<str>, AgentId), String>,
    /// The last name of these that was looked at again.
    refused_after: Option<Arc<str>>,
    /// Agents that have registered, or come into a zone, and whose accounts are to be compared.
    pub(super) arrived: HashSet<SessionId>,
    /// Accounts that a session is asked to reach at once.
    lanes: HashMap<SessionId, Arc<Semaphore>>,
}

struct Busy {
    agent: Arc<Agent>,
    /// How many things are on their way.
    things: u32,
    /// The turn of the last that was planned.
    last: u64,
}

struct Failed {
    agent: AgentId,
    generation: i64,
    message: String,
    refused: bool,
    tries: u32,
    until: Instant,
}

impl Memory {
    pub(super) fn mark(&mut self, name: &Arc<str>) {
        self.dirty.insert(name.clone());
    }

    pub(super) fn alarm(&mut self, name: &Arc<str>, after: Duration) {
        self.alarms.insert((Instant::now() + after, name.clone()));
    }

    /// Names whose time has come, at most so many.
    pub(super) fn take(&mut self, limit: usize) -> Vec<Arc<str>> {
        let now = Instant::now();
        while let Some((at, _)) = self.alarms.first() {
            if *at > now {
                break;
            }
            if let Some((_, name)) = self.alarms.pop_first() {
                self.dirty.insert(name);
            }
        }
        let names: Vec<Arc<str>> = self.dirty.iter().take(limit).cloned().collect();
        for name in &names {
            self.dirty.remove(name);
        }
        names
    }

    /// How long nothing happens by itself.
    pub(super) fn pause(&self, longest: Duration) -> Duration {
        if !self.dirty.is_empty() {
            return Duration::ZERO;
        }
        self.alarms.first().map_or(longest, |(at, _)| at.saturating_duration_since(Instant::now()).min(longest))
    }

    pub(super) fn begin(&mut self, operation: &str) {
        *self.under_way.entry(operation.to_owned()).or_default() += 1;
    }

    pub(super) fn end(&mut self, operation: &str) {
        if let Some(n) = self.under_way.get_mut(operation) {
            *n -= 1;
            if *n == 0 {
                self.under_way.remove(operation);
            }
        }
    }

    pub(super) fn is_under_way(&self, operation: Option<&str>) -> bool {
        operation.is_some_and(|o| self.under_way.contains_key(o))
    }

    /// The turn of what is planned now. Rows are looked at one after another, so of two things the later was worked out from the newer row.
    pub(super) fn turn(&mut self) -> u64 {
        self.turn += 1;
        self.turn
    }

    /// Something about an account is on its way to an agent, until [`Memory::sent`].
    pub(super) fn send(&mut self, name: &Arc<str>, agent: &Arc<Agent>, turn: u64) {
        let all = self.busy.entry(name.clone()).or_default();
        match all.iter_mut().find(|b| b.agent.session == agent.session) {
            Some(b) => (b.things, b.last) = (b.things + 1, turn),
            None => all.push(Busy { agent: agent.clone(), things: 1, last: turn }),
        }
    }

    /// Something else is asked of an agent now: what was planned before and is not sent yet is not sent any more.
    pub(super) fn overtake(&mut self, name: &str, session: &SessionId, turn: u64) {
        let all = self.busy.get_mut(name).into_iter().flatten();
        all.filter(|b| b.agent.session == *session).for_each(|b| b.last = turn);
    }

    /// Whether nothing later was planned for an account and an agent. To be asked just before it is sent: what took its time to be made
    /// ready never arrives after what is newer.
    pub(super) fn is_latest(&self, name: &str, session: &SessionId, turn: u64) -> bool {
        let mut all = self.busy.get(name).into_iter().flatten();
        all.find(|b| b.agent.session == *session).is_none_or(|b| b.last <= turn)
    }

    pub(super) fn sent(&mut self, name: &Arc<str>, session: &SessionId) {
        let Some(all) = self.busy.get_mut(name) else { return };
        for b in all.iter_mut() {
            b.things -= u32::from(b.agent.session == *session);
        }
        all.retain(|b| b.things > 0);
        if all.is_empty() {
            self.busy.remove(name);
        }
    }

    pub(super) fn busy(&self, name: &str) -> Vec<Arc<Agent>> {
        self.busy.get(name).into_iter().flatten().map(|b| b.agent.clone()).collect()
    }

    /// An agent could not have an account that is otherwise well; it gets it again after ever longer pauses. Says after how long.
    pub(super) fn failed(&mut self, name: &Arc<str>, generation: i64, how: FailedLately, first: Duration) -> Duration {
        let FailedLately { agent, message, refused } = how;
        let all = self.failed.entry(name.clone()).or_default();
        let tries = all.iter().find(|f| f.agent == agent && f.generation == generation).map_or(0, |f| f.tries + 1);
        let pause = first.saturating_mul(1 << tries.min(10)).min(SLOWEST);
        all.retain(|f| f.agent != agent);
        all.push(Failed { agent, generation, message, refused, tries, until: Instant::now() + pause });
        pause
    }

    pub(super) fn worked(&mut self, name: &str, agent: &AgentId) {
        if let Some(all) = self.failed.get_mut(name) {
            all.retain(|f| f.agent != *agent);
            if all.is_empty() {
                self.failed.remove(name);
            }
        }
    }

    pub(super) fn failed_lately(&self, name: &str, generation: i64) -> Vec<FailedLately> {
        let now = Instant::now();
        let all = self.failed.get(name).into_iter().flatten();
        all.filter(|f| f.generation == generation && f.until > now)
            .map(|f| FailedLately { agent: f.agent.clone(), message: f.message.clone(), refused: f.refused })
            .collect()
    }

    /// An agent of a zone could not have an account that no agent has.
    pub(super) fn pass(&mut self, name: &Arc<str>, agent: &Agent) {
        self.passed.entry(name.clone()).or_default().insert(agent.zone.clone(), agent.session.agent.clone());
    }

    /// The last of a zone that could not.
    pub(super) fn passed(&self, name: &str, zone: &ZoneId) -> Option<AgentId> {
        self.passed.get(name)?.get(zone).cloned()
    }

    /// An agent has it: should it be without one again, the turns begin anew.
    pub(super) fn begin_turns_anew(&mut self, name: &str) {
        self.passed.remove(name);
    }

    /// Notes whether an account is without an agent; asks for a look when the grace period is over.
    pub(super) fn note_missing(&mut self, name: &Arc<str>, missing: bool, grace: Duration) {
        if !missing {
            self.missing.remove(name);
        } else if !self.missing.contains_key(name) {
            self.missing.insert(name.clone(), Instant::now());
            self.alarm(name, grace);
        }
    }

    pub(super) fn missing(&self, name: &str) -> Option<Duration> {
        self.missing.get(name).map(Instant::elapsed)
    }

    /// Replaces what is refused under a name. `true`: it is new.
    pub(super) fn refuse(&mut self, name: &Arc<str>, refused: &[(AgentId, String)]) -> Vec<(AgentId, String)> {
        let known = |agent: &AgentId, why: &String| self.refused.get(&(name.clone(), agent.clone())) == Some(why);
        let new: Vec<_> = refused.iter().filter(|(agent, why)| !known(agent, why)).cloned().collect();
        let old: Vec<_> = self.refused_of(name).into_iter().filter(|(a, _)| !refused.iter().any(|(r, _)| r == a)).collect();
        for (agent, _) in old {
            self.refused.remove(&(name.clone(), agent));
        }
        for (agent, why) in &new {
            self.refused.insert((name.clone(), agent.clone()), why.clone());
        }
        new
    }

    pub(super) fn refused_of(&self, name: &Arc<str>) -> Vec<(AgentId, String)> {
        let first = (name.clone(), AgentId("".into()));
        self.refused.range(first..).take_while(|((n, _), _)| n == name).map(|((_, a), why)| (a.clone(), why.clone())).collect()
    }

    /// Looks again at some of what is refused, at all of it in turn: a row that stands against it may go with no word to anybody here.
    pub(super) fn look_at_refused(&mut self, most: usize) {
        let after = self.refused_after.take();
        let next = self.refused.keys().filter(|(name, _)| after.as_ref().is_none_or(|after| name > after)).take(most);
        let names: Vec<Arc<str>> = next.map(|(name, _)| name.clone()).collect();
        self.refused_after = names.last().cloned();
        self.dirty.extend(names);
    }

    pub(super) fn refused(&self) -> usize {
        self.refused.len()
    }

    /// A place for each account that an agent is to reach is asked for here.
    pub(super) fn lane(&mut self, session: &SessionId) -> Arc<Semaphore> {
        self.lanes.entry(session.clone()).or_insert_with(|| Arc::new(Semaphore::new(REACHED))).clone()
    }

    /// An agent is gone.
    pub(super) fn left(&mut self, agent: &AgentId) {
        self.lanes.retain(|session, _| session.agent != *agent);
        self.arrived.retain(|session| session.agent != *agent);
    }

    /// Nothing is known of a name any more.
    pub(super) fn forget(&mut self, name: &str) {
        self.failed.remove(name);
        self.passed.remove(name);
        self.missing.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_was_planned_before_something_newer_is_not_sent_any_more() {
        let agent = |epoch| {
            Arc::new(Agent {
                session: SessionId { agent: AgentId("a".into()), epoch },
                zone: ZoneId("z".into()),
                version: "1".into(),
                since: SystemTime::UNIX_EPOCH,
                replicas: None,
                accounts: BTreeMap::new(),
            })
        };
        let (mut memory, name, a, later) = (Memory::default(), Arc::from("x"), agent(1), agent(2));
        let (first, second) = (memory.turn(), memory.turn());
        memory.send(&name, &a, first);
        assert!(memory.is_latest(&name, &a.session, first));
        memory.send(&name, &a, second);
        assert!(!memory.is_latest(&name, &a.session, first) && memory.is_latest(&name, &a.session, second));
        // The newer one is over; the older one is still being made ready.
        memory.sent(&name, &a.session);
        assert!(!memory.is_latest(&name, &a.session, first));
        let third = memory.turn();
        memory.overtake(&name, &a.session, third);
        memory.send(&name, &later, second);
        assert!(!memory.is_latest(&name, &a.session, second), "it is to be let go of");
        assert!(memory.is_latest(&name, &later.session, second), "another session has its own");
        memory.sent(&name, &a.session);
        memory.sent(&name, &later.session);
        assert!(memory.busy.is_empty());
    }
}
