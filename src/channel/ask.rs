//! The way to those who are connected: [`Agents`] over the sessions of this replica.

use std::sync::Arc;
use std::time::Duration;

use tracing::info;
use ulid::Ulid;

use super::convert;
use super::metrics::Metrics;
use super::orders::Asked;
use super::outbox;
use super::registry::Registry;
use super::session::{Ending, Session};
use super::{Agent, AgentChange, AgentId, Agents, BoxFuture, Failure, Order, Outcome, Reason, SessionId, Unanswered, ZoneId};
use crate::wire::FarewellReason;
use crate::wire::operate_response::Message as Say;

impl Agents for Registry {
    fn get(&self, agent: &AgentId) -> Option<Arc<Agent>> {
        self.state().index.get(agent).cloned()
    }

    fn all(&self) -> Vec<Arc<Agent>> {
        self.state().index.all().map(|(agent, _)| agent.clone()).collect()
    }

    fn of_zone(&self, zone: &ZoneId) -> Vec<Arc<Agent>> {
        self.state().index.of_zone(zone)
    }

    fn zones(&self) -> Vec<ZoneId> {
        self.state().index.zones()
    }

    fn holders(&self, account: &str) -> Vec<Arc<Agent>> {
        self.state().index.holders(account)
    }

    fn changed(&self) -> BoxFuture<'_, Vec<AgentChange>> {
        Box::pin(async move {
            loop {
                let changes = self.state().index.changes();
                if !changes.is_empty() {
                    return changes;
                }
                self.changed.notified().await;
            }
        })
    }

    fn execute(
        &self,
        session: &SessionId,
        id: Ulid,
        order: Order,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Vec<Outcome>, Unanswered>> {
        let asked = Asked::of(&order);
        let kind = asked.kind;
        let (account, agent) = (asked.account().cloned(), session.agent.clone());
        let found = self.state().index.session(session).cloned();
        let begun = found.ok_or(Unanswered::Lost).and_then(|session| {
            let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
            let message = Say::Operation(convert::operation(id.to_string(), order, deadline_ms));
            let mut bytes = 0;
            let answer = session.orders.begin(id, asked, || {
                bytes = session.outbox.order(message).map_err(not_sent)?;
                Ok(())
            })?;
            self.metrics.bytes_sent.inc_by(bytes as u64);
            self.metrics.in_flight.inc();
            Ok((Waiting { session, id, metrics: self.metrics.clone() }, answer))
        });
        let (metrics, quiet) = (self.metrics.clone(), self.quiet.clone());
        Box::pin(async move {
            let ended = match begun {
                Ok((waiting, answer)) => {
                    let ended = match tokio::time::timeout(deadline, answer).await {
                        Ok(Ok(ended)) => ended,
                        Ok(Err(_)) => Err(Unanswered::Lost),
                        Err(_) => Err(Unanswered::TimedOut(deadline)),
                    };
                    drop(waiting);
                    ended
                }
                Err(e) => Err(e),
            };
            let word = match &ended {
                Ok(_) => "outcome",
                Err(Unanswered::Lost) => "lost",
                Err(Unanswered::TimedOut(_)) => "timed_out",
                Err(Unanswered::Busy) => "busy",
                Err(Unanswered::Refused(_)) => "refused",
            };
            metrics.operation(kind, word);
            let account = account.as_deref();
            match &ended {
                Ok(_) => {
                    tracing::debug!(agentId = %agent, operationId = %id, operationType = kind, account, "an operation has its outcome")
                }
                Err(e) => {
                    if let Some(more) = quiet.say(word, &agent.0) {
                        info!(agentId = %agent, operationId = %id, operationType = kind, account, more, "an operation has no outcome: {e}");
                    }
                }
            }
            ended
        })
    }

    fn disconnect(&self, session: &SessionId, reason: &str) -> bool {
        let mut state = self.state();
        let Some((_, session)) = state.index.remove(session) else { return false };
        self.done(state);
        session.end(Ending::told(FarewellReason::Requested, reason, 0));
        session.orders.close();
        true
    }
}

/// Somebody waits for an operation, until this is dropped.
struct Waiting {
    session: Arc<Session>,
    id: Ulid,
    metrics: Metrics,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.session.orders.give_up(self.id);
        self.metrics.in_flight.dec();
    }
}

fn not_sent(why: outbox::NotTaken) -> Unanswered {
    match why {
        outbox::NotTaken::Ended => Unanswered::Lost,
        outbox::NotTaken::Full => Unanswered::Busy,
        outbox::NotTaken::TooLarge(bytes) => Unanswered::Refused(Failure {
            reason: Reason::Definition,
            message: format!("the operation has {bytes} bytes, more than the agent takes"),
            host: None,
        }),
    }
}
