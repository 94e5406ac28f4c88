//! What agents are told beside a row's way: to let go of what they may not have, and who watches. No row waits for it; the next look finds
//! what became of it.

use std::sync::Arc;

use tracing::{debug, info};
use ulid::Ulid;

use super::{BREATH, Told};
use crate::channel::Order;
use crate::dispatch::Dispatch;

/// Accounts of one order that is answered without a word to any cluster.
const TOLD: usize = 256;

impl Dispatch {
    /// Tells agents to let go of what they have and may not have.
    pub(in crate::dispatch) fn let_strays_go(self: &Arc<Self>, strays: impl IntoIterator<Item = Told<i64>>) {
        for (agent, accounts) in strays {
            {
                let mut memory = self.memory();
                accounts.iter().for_each(|(name, _)| memory.send(name, &agent));
            }
            let this = self.clone();
            self.spawn(async move {
                for some in accounts.chunks(TOLD) {
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
    pub(in crate::dispatch) fn set_roles(self: &Arc<Self>, roles: impl IntoIterator<Item = Told<bool>>) {
        for (agent, accounts) in roles {
            {
                let mut memory = self.memory();
                accounts.iter().for_each(|(name, _)| memory.send(name, &agent));
            }
            let this = self.clone();
            self.spawn(async move {
                for some in accounts.chunks(TOLD * 4) {
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
}
