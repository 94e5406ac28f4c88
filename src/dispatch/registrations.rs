//! Agents that come, go and say what they have: which rows are to be looked at because of it, and accounts that have no row.

use std::collections::HashMap;
use std::sync::Arc;

use tracing::{debug, info, warn};

use super::send::Told;
use super::{Dispatch, identity};
use crate::account::{Origin, Status};
use crate::channel::{Agent, AgentChange, HeldState, SessionId};
use crate::lifecycle::Wanted;
use crate::store::Result;
use crate::store::states::{self, NewState, wake};

impl Dispatch {
    /// Notes what to look at. Nothing is asked of the database here, so nothing can fail.
    pub(super) fn agents_changed(&self, changes: Vec<AgentChange>) {
        let mut memory = self.memory();
        for change in changes {
            for name in &change.accounts {
                memory.mark(name);
            }
            if !change.connected {
                memory.left(&change.agent);
            } else if change.registered
                && let Some(agent) = self.agents.get(&change.agent)
            {
                memory.arrived.insert(agent.session.clone());
            }
        }
    }

    /// Whoever has registered: all that it has is looked at, and all that its zone's agents should have.
    pub(super) async fn compare_arrived(&self) -> Result<()> {
        let arrived: Vec<SessionId> = self.memory().arrived.drain().collect();
        if arrived.is_empty() {
            return Ok(());
        }
        let compared = self.compare(&arrived).await;
        if compared.is_err() {
            self.memory().arrived.extend(arrived);
        }
        compared
    }

    async fn compare(&self, arrived: &[SessionId]) -> Result<()> {
        let agents: Vec<Arc<Agent>> =
            arrived.iter().filter_map(|s| self.agents.get(&s.agent)).filter(|a| arrived.contains(&a.session)).collect();
        let mut zones: Vec<_> = agents.iter().map(|a| a.zone.clone()).collect();
        zones.sort();
        zones.dedup();
        // Only the first agent of a zone can be one that somebody without a zone waits for.
        let any = zones.iter().any(|zone| self.agents.of_zone(zone).iter().all(|a| arrived.contains(&a.session)));
        let words: Vec<&str> = zones.iter().map(|z| &*z.0).collect();
        let woken = wake::wake_waiting(&self.store, &words, any).await?;
        let mut names: Vec<Arc<str>> = Vec::new();
        names.extend(wake::names_of_zones(&self.store, &words).await?.into_iter().map(Arc::from));
        for agent in &agents {
            names.extend(agent.accounts.keys().cloned());
            // The channel has told of it.
            debug!(agentId = %agent.session.agent, zone = %agent.zone, accounts = agent.accounts.len(), woken, "what an agent has is compared");
        }
        let mut memory = self.memory();
        for name in &names {
            memory.mark(name);
        }
        Ok(())
    }

    /// Accounts that agents have, or had, and that have no row: static ones get one, of dynamic ones they are told to let go.
    pub(super) async fn without_row(self: &Arc<Self>, names: &[Arc<str>]) -> Result<()> {
        let mut strays: HashMap<SessionId, Told<i64>> = HashMap::new();
        for name in names {
            let holders = self.agents.holders(name);
            let busy = self.memory().busy(name);
            for agent in &holders {
                let Some(held) = agent.accounts.get(name).filter(|h| h.properties.is_none()) else { continue };
                if !busy.iter().any(|b| b.session == agent.session) {
                    strays.entry(agent.session.clone()).or_insert_with(|| (agent.clone(), vec![])).1.push((name.clone(), held.generation));
                }
            }
            let configured = holders
                .iter()
                .find(|a| a.accounts.get(name).is_some_and(|h| h.properties.is_some() && !matches!(h.state, HeldState::Connecting)));
            if let Some(agent) = configured {
                self.enter_static(name, agent).await?;
            } else {
                let mut memory = self.memory();
                memory.forget(name);
                memory.refuse(name, &[]);
            }
        }
        self.let_strays_go(strays.into_values());
        Ok(())
    }

    async fn enter_static(&self, name: &Arc<str>, agent: &Agent) -> Result<()> {
        let Some(held) = agent.accounts.get(name) else { return Ok(()) };
        let new = NewState {
            name,
            origin: Origin::Agent,
            status: Status::Active,
            wanted: Wanted::Active,
            zone: Some(agent.zone.0.to_string()),
            definition: None,
            overlay: None,
            props: held.properties.as_deref().map(str::to_owned),
            learned: held.facts.as_deref().map(identity::learned),
        };
        let mut tx = self.store.main().begin().await?;
        let entered = states::insert(&self.store, &mut tx, &new).await?;
        tx.commit().await?;
        if entered {
            info!(account = %name, agentId = %agent.session.agent, zone = %agent.zone, "an account of an agent's own configuration");
            self.metrics.transitions.get_or_create(&super::metrics::StatusLabel { status: Status::Active.as_str() }).inc();
            self.memory().mark(name);
            return Ok(());
        }
        let why = format!(
            "agent {} (zone {}) has an account whose name the database takes for that of another: it is refused",
            agent.session.agent, agent.zone
        );
        for (agent, why) in self.memory().refuse(name, &[(agent.session.agent.clone(), why)]) {
            warn!(account = %name, agentId = %agent, "{why}");
        }
        Ok(())
    }
}
