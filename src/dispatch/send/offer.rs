//! Offering accounts in ACTIVATING to the one agent that is to have them, and where that cannot, to the next of its zone.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use ulid::Ulid;

use super::{Answer, Attempt, BREATH, Offer, TOGETHER, UNREAD, chunks, told};
use crate::channel::{Agent, Reason, Unanswered};
use crate::dispatch::plan::next_try;
use crate::dispatch::turns::{IN_ONE_ATTEMPT, in_turn};
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

    /// One attempt: what the agent says, and where it cannot have the account, what the next of its zone says.
    async fn offered(&self, first: &Arc<Agent>, attempt: &Attempt, answer: impl Future<Output = Answer>) {
        let found = attempt.row.zone.is_none().then(|| first.zone.0.to_string());
        let (mut asked, mut agent, mut answer, mut reasons) = (vec![first.clone()], first.clone(), answer.await, Vec::new());
        while let Some((next, turn)) = self.next_in_turn(&attempt.name, &asked, &answer) {
            if let Some((_, Extra { message: Message::Set(why), .. })) = self.end_of(&attempt.row, &agent, answer, None) {
                reasons.push(why);
            }
            // An operation is one order to one agent; the row goes on to name the first.
            let (name, operation) = (attempt.name.clone(), Ulid::generate().to_string());
            let one = [Attempt { name, operation, row: attempt.row.clone(), watch: true, turn }];
            answer = match self.ask(&next, &one).await.pop() {
                Some(answer) => answer.await,
                None => Answer::Stale,
            };
            agent = next.clone();
            asked.push(next);
        }
        if let Some((event, mut extra)) = self.end_of(&attempt.row, &agent, answer, found) {
            if let (Message::Set(why), false) = (&mut extra.message, reasons.is_empty()) {
                reasons.push(std::mem::take(why));
                *why = reasons.join("; ");
            }
            self.conclude(&attempt.row, event, extra).await;
        }
        let mut memory = self.memory();
        for agent in &asked {
            memory.sent(&attempt.name, &agent.session);
        }
        memory.end(&attempt.operation);
        memory.mark(&attempt.name);
        drop(memory);
        self.bell.ring();
    }

    /// Who is asked next in the same attempt, where the last that was asked could not have it. One that took all of its time to reach the
    /// cluster has taken the attempt's: what failed is told then, and the next attempt asks the next agent.
    fn next_in_turn(&self, name: &Arc<str>, asked: &[Arc<Agent>], answer: &Answer) -> Option<(Arc<Agent>, u64)> {
        let last = asked.last()?;
        self.note_turn(name, last, answer);
        if asked.len() >= IN_ONE_ATTEMPT || !matches!(answer, Answer::Failed(f) if f.reason != Reason::Timeout) {
            return None;
        }
        let mut zone = self.agents.of_zone(&last.zone);
        zone.retain(|a| asked.iter().all(|b| a.session.agent != b.session.agent));
        let next = in_turn(&zone, Some(&last.session.agent))?.clone();
        let mut memory = self.memory();
        let turn = memory.turn();
        memory.send(name, &next, turn);
        Some((next, turn))
    }

    /// Whose turn it is after such an answer.
    pub(super) fn note_turn(&self, name: &Arc<str>, agent: &Agent, answer: &Answer) {
        match answer {
            Answer::Done(_) => self.memory().begin_turns_anew(name),
            Answer::Failed(_) | Answer::Unanswered(Unanswered::Refused(_) | Unanswered::TimedOut(_)) => self.memory().pass(name, agent),
            Answer::Unsendable(_) | Answer::Stale | Answer::Unread | Answer::Unanswered(_) => {}
        }
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
