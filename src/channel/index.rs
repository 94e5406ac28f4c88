//! Who is there, by name, zone and account, and what changed since it was last asked. Pure: no clock, no lock, no wire.
//!
//! What a change costs is in proportion to what changed: an [`Agent`] is changed in place unless somebody reads it just then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::orders::Effect;
use super::{Agent, AgentChange, AgentId, Held, HeldState, SessionId, ZoneId};

/// Agents in the order in which they connected: epochs of one process are never the same.
type InOrder = BTreeMap<u64, AgentId>;

#[derive(Debug)]
pub(super) struct Index<S> {
    agents: HashMap<AgentId, (Arc<Agent>, S)>,
    zones: BTreeMap<ZoneId, InOrder>,
    accounts: HashMap<Arc<str>, InOrder>,
    epochs: HashMap<u64, AgentId>,
    changes: BTreeMap<AgentId, Change>,
}

#[derive(Debug, Default)]
struct Change {
    zone: Option<ZoneId>,
    registered: bool,
    accounts: BTreeSet<Arc<str>>,
}

impl<S> Default for Index<S> {
    fn default() -> Self {
        Self { agents: HashMap::new(), zones: BTreeMap::new(), accounts: HashMap::new(), epochs: HashMap::new(), changes: BTreeMap::new() }
    }
}

impl<S> Index<S> {
    pub(super) fn len(&self) -> usize {
        self.agents.len()
    }

    pub(super) fn get(&self, agent: &AgentId) -> Option<&Arc<Agent>> {
        self.agents.get(agent).map(|(agent, _)| agent)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &(Arc<Agent>, S)> {
        self.agents.values()
    }

    /// What stands for a session, if it is the agent's present one.
    pub(super) fn session(&self, session: &SessionId) -> Option<&S> {
        self.agents.get(&session.agent).filter(|(agent, _)| agent.session == *session).map(|(_, s)| s)
    }

    /// What stands for the session of an epoch.
    pub(super) fn of_epoch(&self, epoch: u64) -> Option<&S> {
        self.agents.get(self.epochs.get(&epoch)?).map(|(_, session)| session)
    }

    pub(super) fn of_zone(&self, zone: &ZoneId) -> Vec<Arc<Agent>> {
        self.in_order(self.zones.get(zone))
    }

    pub(super) fn zones(&self) -> Vec<ZoneId> {
        self.zones.keys().cloned().collect()
    }

    pub(super) fn holders(&self, account: &str) -> Vec<Arc<Agent>> {
        self.in_order(self.accounts.get(account))
    }

    fn in_order(&self, agents: Option<&InOrder>) -> Vec<Arc<Agent>> {
        agents.into_iter().flat_map(BTreeMap::values).filter_map(|id| self.get(id).cloned()).collect()
    }

    /// An agent has registered: for the first time, or again in a new session or in the same. Its session of before comes back.
    pub(super) fn register(&mut self, agent: Agent, session: S) -> Option<(Arc<Agent>, S)> {
        let id = agent.session.agent.clone();
        let before = self.take(&id, |name| agent.accounts.contains_key(name));
        let change = self.changes.entry(id.clone()).or_default();
        (change.zone, change.registered) = (Some(agent.zone.clone()), true);
        let epoch = agent.session.epoch;
        self.zones.entry(agent.zone.clone()).or_default().insert(epoch, id.clone());
        for name in agent.accounts.keys() {
            self.accounts.entry(name.clone()).or_default().insert(epoch, id.clone());
        }
        self.epochs.insert(epoch, id.clone());
        self.agents.insert(id, (Arc::new(agent), session));
        before
    }

    /// A session has ended. `None`, and nothing changes: it was not the agent's present one.
    pub(super) fn remove(&mut self, session: &SessionId) -> Option<(Arc<Agent>, S)> {
        self.session(session)?;
        self.take(&session.agent, |_| false)
    }

    /// Takes an agent out, and notes which accounts go with it.
    fn take(&mut self, id: &AgentId, stays: impl Fn(&str) -> bool) -> Option<(Arc<Agent>, S)> {
        let (agent, session) = self.agents.remove(id)?;
        let epoch = agent.session.epoch;
        self.epochs.remove(&epoch);
        let change = self.changes.entry(id.clone()).or_default();
        change.zone = Some(agent.zone.clone());
        change.accounts.extend(agent.accounts.keys().filter(|name| !stays(name)).cloned());
        for name in agent.accounts.keys() {
            forget(&mut self.accounts, name, epoch);
        }
        if let Some(zone) = self.zones.get_mut(&agent.zone) {
            zone.remove(&epoch);
            if zone.is_empty() {
                self.zones.remove(&agent.zone);
            }
        }
        Some((agent, session))
    }

    /// Something became of accounts of a session. `false`: it is not the agent's present one, and nothing changes.
    pub(super) fn apply(&mut self, session: &SessionId, effects: Vec<(Arc<str>, Effect)>) -> bool {
        let Some((agent, _)) = self.agents.get_mut(&session.agent).filter(|(agent, _)| agent.session == *session) else { return false };
        let mut changed = Vec::new();
        for (name, effect) in effects {
            let before = agent.accounts.get(&name);
            let after = match (effect, before) {
                (Effect::Has(held), before) if before != Some(&held) => Some(held),
                (Effect::Gone { generation }, Some(held)) if is_meant(held, generation) => None,
                (Effect::GoneBefore { generation }, Some(held)) if is_meant(held, 0) && held.generation != generation => None,
                (Effect::Role { watch }, Some(held)) => match role(held, watch) {
                    Some(held) => Some(held),
                    None => continue,
                },
                _ => continue,
            };
            let accounts = &mut Arc::make_mut(agent).accounts;
            match after {
                Some(held) => {
                    if accounts.insert(name.clone(), held).is_none() {
                        self.accounts.entry(name.clone()).or_default().insert(session.epoch, session.agent.clone());
                    }
                }
                None => {
                    accounts.remove(&name);
                    forget(&mut self.accounts, &name, session.epoch);
                }
            }
            changed.push(name);
        }
        if !changed.is_empty() {
            let change = self.changes.entry(session.agent.clone()).or_default();
            change.zone = Some(agent.zone.clone());
            change.accounts.extend(changed);
        }
        true
    }

    /// Whether somebody has to be told.
    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Nobody asks for changes, and there is no room for more of this agent: as many agents, or names of accounts, as may be.
    pub(super) fn is_crowded(&self, agent: &AgentId, agents: usize, accounts: usize) -> bool {
        match self.changes.get(agent) {
            Some(change) => change.accounts.len() >= accounts,
            None => self.changes.len() >= agents,
        }
    }

    /// What changed since the last call.
    pub(super) fn changes(&mut self) -> Vec<AgentChange> {
        let changes = std::mem::take(&mut self.changes);
        let told = changes.into_iter().filter_map(|(agent, change)| {
            let connected = self.agents.contains_key(&agent);
            let registered = connected && change.registered;
            Some(AgentChange { agent, zone: change.zone?, connected, registered, accounts: change.accounts.into_iter().collect() })
        });
        told.collect()
    }
}

/// Static accounts go with their agent's own word only.
fn is_meant(held: &Held, generation: i64) -> bool {
    held.properties.is_none() && (generation == 0 || held.generation == generation)
}

fn role(held: &Held, watch: bool) -> Option<Held> {
    let state = HeldState::reached(watch);
    let other = matches!((&held.state, &state), (HeldState::Watching, HeldState::Standby) | (HeldState::Standby, HeldState::Watching));
    other.then(|| Held { state, ..held.clone() })
}

fn forget(accounts: &mut HashMap<Arc<str>, InOrder>, name: &str, epoch: u64) {
    if let Some(holders) = accounts.get_mut(name) {
        holders.remove(&epoch);
        if holders.is_empty() {
            accounts.remove(name);
        }
    }
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
