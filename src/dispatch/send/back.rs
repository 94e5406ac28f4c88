//! Taking accounts back: what is in TO_DEACTIVATE or DELETING goes on when its agents have let go. No cluster is waited for there, so one
//! order names many.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tracing::debug;
use ulid::Ulid;

use super::{Answer, BREATH, Back};
use crate::account::Status;
use crate::channel::{Agent, Order, SessionId, Unanswered};
use crate::dispatch::Dispatch;
use crate::dispatch::plan::next_try;
use crate::lifecycle::{self, Event};
use crate::store::states::{Due, Extra, Message, Work};

/// Accounts of one order.
const TOGETHER: usize = 64;

/// Which rows of one look share an order, and so an operation: those with the same agents, some at a time.
#[derive(Default)]
pub(in crate::dispatch) struct Together(HashMap<Vec<SessionId>, (String, usize)>);

impl Together {
    /// The operation of the next row with these agents.
    pub(in crate::dispatch) fn of(&mut self, agents: &[Arc<Agent>]) -> String {
        let key: Vec<_> = agents.iter().map(|a| a.session.clone()).collect();
        let (operation, n) = self.0.entry(key).or_insert_with(|| (Ulid::generate().to_string(), 0));
        if *n >= TOGETHER {
            (*operation, *n) = (Ulid::generate().to_string(), 0);
        }
        *n += 1;
        operation.clone()
    }
}

impl Dispatch {
    /// Asks agents to let go of what is in TO_DEACTIVATE or DELETING.
    pub(in crate::dispatch) fn take_back(self: &Arc<Self>, backs: Vec<Back>) {
        let mut orders: HashMap<String, Vec<Back>> = HashMap::new();
        for b in backs {
            let mut memory = self.memory();
            let turn = memory.turn();
            b.agents.iter().for_each(|agent| memory.overtake(&b.name, &agent.session, turn));
            drop(memory);
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
                    Ok(outcomes) => Answer::said(outcomes.iter().find(|o| o.name == b.name).map(|o| o.result.clone())),
                    Err(why) => Answer::unanswered(why.clone()),
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
        join_all(steps.into_iter().map(|(row, step, extra)| self.conclude_by(row, step, extra))).await;
        let mut memory = self.memory();
        for b in backs {
            memory.end(operation);
            memory.mark(&b.name);
        }
        drop(memory);
        self.bell.ring();
    }
}
