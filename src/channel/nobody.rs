//! No agents at all: for a process without a channel, and for tests.

use std::sync::Arc;
use std::time::Duration;

use ulid::Ulid;

use super::{Agent, AgentChange, AgentId, Agents, BoxFuture, Order, Outcome, SessionId, Unanswered, ZoneId};

/// Nobody is connected, and nobody ever will be.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Agents for Nobody {
    fn get(&self, _: &AgentId) -> Option<Arc<Agent>> {
        None
    }

    fn all(&self) -> Vec<Arc<Agent>> {
        Vec::new()
    }

    fn of_zone(&self, _: &ZoneId) -> Vec<Arc<Agent>> {
        Vec::new()
    }

    fn zones(&self) -> Vec<ZoneId> {
        Vec::new()
    }

    fn holders(&self, _: &str) -> Vec<Arc<Agent>> {
        Vec::new()
    }

    fn changed(&self) -> BoxFuture<'_, Vec<AgentChange>> {
        Box::pin(std::future::pending())
    }

    fn execute(&self, _: &SessionId, _: Ulid, _: Order, _: Duration) -> BoxFuture<'static, Result<Vec<Outcome>, Unanswered>> {
        Box::pin(std::future::ready(Err(Unanswered::Lost)))
    }

    fn disconnect(&self, _: &SessionId, _: &str) -> bool {
        false
    }
}
