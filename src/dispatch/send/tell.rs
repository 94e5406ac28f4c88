//! What agents are told beside a row's way: to let go of what they may not have, and who watches. No row waits for it; the next look finds
//! what became of it.

use std::sync::Arc;

use tracing::{debug, info};
use ulid::Ulid;

use super::{BREATH, Told};
use crate::channel::{Agent, Order};
use crate::dispatch::Dispatch;

/// Accounts of one order that is answered without a word to any cluster.
const TOLD: usize = 256;

impl Dispatch {
    /// Tells agents to let go of what they have and may not have.
    pub(in crate::dispatch) fn let_strays_go(self: &Arc<Self>, strays: impl IntoIterator<Item = Told<i64>>) {
        for (agent, accounts) in strays {
            let turn = self.begin_to_tell(&agent, &accounts);
            let this = self.clone();
            self.spawn(async move {
                for some in accounts.chunks(TOLD) {
                    let id = Ulid::generate();
                    let told = this.latest(&agent, some, turn);
                    for (name, _) in &told {
                        info!(account = %name, agentId = %agent.session.agent, operationId = %id, "an agent is told to let go of what it may not have");
                        this.metrics.strays.inc();
                    }
                    let result = if told.is_empty() {
                        Ok(vec![])
                    } else {
                        this.agents.execute(&agent.session, id, Order::Delete(told), this.limits.wait).await
                    };
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
    pub(in crate::dispatch) fn set_roles(self: &Arc<Self>, roles: impl IntoIterator<Item = Told<bool>>) {
        for (agent, accounts) in roles {
            let turn = self.begin_to_tell(&agent, &accounts);
            let this = self.clone();
            self.spawn(async move {
                for some in accounts.chunks(TOLD * 4) {
                    let id = Ulid::generate();
                    let told = this.latest(&agent, some, turn);
                    debug!(agentId = %agent.session.agent, operationId = %id, accounts = told.len(), "told who watches");
                    let result = if told.is_empty() {
                        Ok(vec![])
                    } else {
                        this.agents.execute(&agent.session, id, Order::Roles(told), this.limits.wait).await
                    };
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

    /// Notes what is on its way to an agent; says which turn it has.
    fn begin_to_tell<T>(&self, agent: &Arc<Agent>, accounts: &[(Arc<str>, T)]) -> u64 {
        let mut memory = self.memory();
        let turn = memory.turn();
        accounts.iter().for_each(|(name, _)| memory.send(name, agent, turn));
        turn
    }

    /// Those of which nothing later was planned.
    fn latest<T: Clone>(&self, agent: &Agent, accounts: &[(Arc<str>, T)], turn: u64) -> Vec<(Arc<str>, T)> {
        let memory = self.memory();
        accounts.iter().filter(|(name, _)| memory.is_latest(name, &agent.session, turn)).cloned().collect()
    }
}
