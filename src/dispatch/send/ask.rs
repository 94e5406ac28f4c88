//! Asking an agent to have accounts. Each has an operation of its own, so that it has its answer when its own cluster has, whatever the
//! others' do; the channel puts what is ready together into few writes.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{debug, warn};
use ulid::Ulid;

use super::{Answer, Attempt};
use crate::channel::{Agent, BoxFuture, NewAccount, Order, Outcome};
use crate::dispatch::plan::is_still_wanted;
use crate::dispatch::{Dispatch, definition};
use crate::store::states::{self, Payload, StateRow};

/// Definitions of one call that are made ready at the same time, where secrets have to be asked for.
const PREPARED: usize = 8;

impl Dispatch {
    /// Asks one agent to have some accounts, once it has few enough others to reach. What becomes of each, in their order: they are to be
    /// awaited together, and each is known as soon as it is there.
    pub(super) async fn ask<'a>(&'a self, agent: &'a Agent, attempts: &'a [Attempt]) -> Vec<BoxFuture<'a, Answer>> {
        let all = |answer: Answer| attempts.iter().map(|_| known(answer.clone())).collect();
        let lane = self.memory().lane(&agent.session);
        let Ok(mut places) = lane.acquire_many_owned(u32::try_from(attempts.len()).unwrap_or(u32::MAX)).await else {
            return all(Answer::Stale);
        };
        let names: Vec<&str> = attempts.iter().map(|a| &*a.name).collect();
        // Once more: time has passed, and what nobody wants any more is not sent.
        let payloads = match states::payloads(&self.store, &names).await {
            Ok(payloads) => payloads,
            Err(e) => {
                warn!(error = %e, "definitions cannot be read yet");
                return all(Answer::Unread);
            }
        };
        let mut by_name: HashMap<String, Payload> = payloads.into_iter().map(|p| (p.name.clone(), p)).collect();
        let preparing = Arc::new(Semaphore::new(PREPARED));
        let ask = |attempt: &'a Attempt| -> BoxFuture<'a, Answer> {
            match (by_name.remove(&*attempt.name).filter(|p| is_wanted(attempt, p)), places.split(1)) {
                (Some(payload), Some(place)) => Box::pin(self.ask_one(agent, attempt, payload, preparing.clone(), place)),
                _ => known(Answer::Stale),
            }
        };
        attempts.iter().map(ask).collect()
    }

    async fn ask_one(
        &self,
        agent: &Agent,
        attempt: &Attempt,
        payload: Payload,
        preparing: Arc<Semaphore>,
        _place: OwnedSemaphorePermit,
    ) -> Answer {
        let prepared = {
            let _turn = preparing.acquire().await;
            self.prepare(&attempt.row, &payload).await
        };
        drop(payload);
        let definition = match prepared {
            Ok(definition) => definition.into(),
            Err(why) => {
                self.metrics.secrets.inc();
                return Answer::Unsendable(why);
            }
        };
        if !self.memory().is_latest(&attempt.name, &agent.session, attempt.turn) {
            // Making it ready took its time, and something newer was planned meanwhile: that comes first, or has been there already.
            return Answer::Stale;
        }
        let (name, generation) = (attempt.name.clone(), attempt.row.generation);
        let id = attempt.operation.parse().unwrap_or_else(|_| Ulid::generate());
        debug!(agentId = %agent.session.agent, operationId = %id, account = %name, "asked to have an account");
        let account = NewAccount { name: name.clone(), generation, definition, watch: attempt.watch };
        let result = self.agents.execute(&agent.session, id, Order::Add(vec![account]), self.limits.wait).await;
        let of = |o: &Outcome| o.name == name && o.generation == generation;
        let answer = match result {
            Ok(outcomes) => Answer::said(outcomes.into_iter().find(of).map(|o| o.result)),
            Err(why) => Answer::unanswered(why),
        };
        self.count_outcome("add", &answer);
        answer
    }

    async fn prepare(&self, row: &StateRow, payload: &states::Payload) -> Result<Vec<u8>, String> {
        let definition = match payload.definition.0.as_str() {
            "" => serde_json::Value::Object(serde_json::Map::new()),
            text => self.store.open_definition(&row.name, text).map_err(|e| e.to_string())?,
        };
        let overlay = row.overlay(&self.store).map_err(|e| e.to_string())?;
        definition::prepare(definition::merge(definition, overlay), &self.resolver).await
    }
}

fn known<'a>(answer: Answer) -> BoxFuture<'a, Answer> {
    Box::pin(std::future::ready(answer))
}

/// Whether that is still what the row asks for.
fn is_wanted(attempt: &Attempt, now: &states::Payload) -> bool {
    let same_operation = now.operation == attempt.row.operation;
    now.generation == attempt.row.generation && is_still_wanted(attempt.row.state.status, same_operation, now.status)
}
