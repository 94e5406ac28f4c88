//! Offering accounts in ACTIVATING to the one agent that is to have them.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Answer, Attempt, BREATH, Offer, TOGETHER, UNREAD, chunks, told};
use crate::channel::{Agent, Unanswered};
use crate::dispatch::plan::next_try;
use crate::dispatch::{Dispatch, identity};
use crate::lifecycle::Event;
use crate::store::states::{Due, Extra, Message, StateRow, Zone};

impl Dispatch {
    /// Hands accounts to their agents.
    pub(in crate::dispatch) fn offer(self: &Arc<Self>, offers: Vec<Offer>) {
        let mut by_agent: HashMap<_, (Arc<Agent>, Vec<Attempt>)> = HashMap::new();
        for mut o in offers {
            let mut memory = self.memory();
            o.attempt.turn = memory.turn();
            for agent in &o.agents {
                memory.send(&o.attempt.name, agent, o.attempt.turn);
            }
            drop(memory);
            match o.agents.as_slice() {
                [agent] => by_agent.entry(agent.session.clone()).or_insert_with(|| (agent.clone(), vec![])).1.push(o.attempt),
                _ => {
                    let this = self.clone();
                    self.spawn(async move { this.round(o).await });
                }
            }
        }
        for (agent, attempts) in by_agent.into_values() {
            for some in chunks(attempts, TOGETHER) {
                let (this, agent) = (self.clone(), agent.clone());
                self.spawn(async move {
                    let asked = this.ask(&agent, &some).await;
                    let offered = |(attempt, answer)| this.offered(&agent, attempt, answer);
                    join_all(some.iter().zip(asked).map(offered)).await;
                });
            }
        }
    }

    async fn offered(&self, agent: &Arc<Agent>, attempt: &Attempt, answer: impl Future<Output = Answer>) {
        let found = attempt.row.zone.is_none().then(|| agent.zone.0.to_string());
        if let Some((event, extra)) = self.end_of(&attempt.row, agent, answer.await, found) {
            self.conclude(&attempt.row, event, extra).await;
        }
        let mut memory = self.memory();
        memory.sent(&attempt.name, &agent.session);
        memory.end(&attempt.operation);
        memory.mark(&attempt.name);
        drop(memory);
        self.bell.ring();
    }

    /// What an answer makes of a row in ACTIVATING; `None`: it is no longer about this row.
    pub(super) fn end_of(&self, row: &StateRow, agent: &Agent, answer: Answer, found: Option<String>) -> Option<(Event, Extra)> {
        let who = format!("agent {} (zone {})", agent.session.agent, agent.zone);
        let failed = |text: String| Extra { message: Message::Set(text), due: next_try(row, &self.limits), ..Extra::default() };
        Some(match answer {
            Answer::Done(facts) => {
                let learned = facts.as_deref().map(identity::learned);
                let zone = found.map_or(Zone::Keep, Zone::Found);
                // What is left to do about its zone's other agents is looked at by the caller, and after a crash by the look at everything.
                (Event::Accepted, Extra { learned, zone, connections: Some(1), due: Due::Never, ..Extra::default() })
            }
            Answer::Failed(f) => (Event::Rejected, failed(told(&who, &f))),
            Answer::Unsendable(why) => (Event::Rejected, failed(format!("nothing was sent to an agent: {why}"))),
            Answer::Unanswered(Unanswered::TimedOut(waited)) => {
                (Event::Expired, failed(format!("{who} is connected and did not answer within {waited:?}")))
            }
            Answer::Unanswered(Unanswered::Refused(f)) => (Event::Rejected, failed(told(&who, &f))),
            Answer::Unanswered(Unanswered::Lost) => {
                let text = format!("{who} was lost before it answered: this is no attempt, it goes on with the next");
                (Event::AgentLost, Extra { message: Message::Set(text), due: Due::In(BREATH / 10), ..Extra::default() })
            }
            Answer::Unanswered(busy @ Unanswered::Busy) => {
                let text = format!("{who} could not be asked: {busy}; this is no attempt, it goes on in a moment");
                (Event::AgentLost, Extra { message: Message::Set(text), due: Due::In(BREATH), ..Extra::default() })
            }
            Answer::Unread => (Event::AgentLost, Extra { message: Message::Set(UNREAD.into()), due: Due::In(BREATH), ..Extra::default() }),
            Answer::Stale => return None,
        })
    }
}
