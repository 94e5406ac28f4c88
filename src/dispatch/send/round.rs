//! The round over zones, for an account that has none: one agent of each, the next round another one of each.

use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use ulid::Ulid;

use super::{Answer, Attempt, BREATH, Offer, UNREAD};
use crate::channel::{Agent, BoxFuture, Unanswered};
use crate::dispatch::Dispatch;
use crate::dispatch::plan::next_try;
use crate::lifecycle::Event;
use crate::store::states::{Due, Extra, Message};

impl Dispatch {
    /// Offers one account to one agent of each zone: the first success wins, the others let go.
    pub(super) async fn round(self: Arc<Self>, o: Offer) {
        let mut waiting = o.agents.iter();
        let mut asked: Vec<&Arc<Agent>> = Vec::new();
        let mut running: FuturesUnordered<BoxFuture<'_, (&Arc<Agent>, Answer)>> = FuturesUnordered::new();
        let mut reasons: Vec<String> = Vec::new();
        let (mut answered, mut winner, mut stale) = (false, None, false);
        loop {
            while running.len() < self.limits.fan_out.max(1)
                && let Some(agent) = waiting.next()
            {
                // An operation is one order to one agent: who gets it again repeats how it went. The first has the one that the row names.
                let operation = if asked.is_empty() { o.attempt.operation.clone() } else { Ulid::generate().to_string() };
                asked.push(agent);
                let (this, name, row, turn) = (&self, o.attempt.name.clone(), o.attempt.row.clone(), o.attempt.turn);
                running.push(Box::pin(async move {
                    let attempt = [Attempt { name, operation, row, watch: false, turn }];
                    let answer = match this.ask(agent, &attempt).await.pop() {
                        Some(answer) => answer.await,
                        None => Answer::Stale,
                    };
                    (agent, answer)
                }));
            }
            let Some((agent, answer)) = running.next().await else { break };
            self.note_turn(&o.attempt.name, agent, &answer);
            match answer {
                Answer::Done(facts) => {
                    winner = Some((agent.clone(), facts));
                    break;
                }
                Answer::Stale => {
                    stale = true;
                    break;
                }
                Answer::Unsendable(why) => {
                    (reasons, answered) = (vec![format!("nothing was sent to an agent: {why}")], true);
                    break;
                }
                Answer::Failed(f) | Answer::Unanswered(Unanswered::Refused(f)) => {
                    answered = true;
                    reasons.push(format!("zone {}: agent {}: {}", agent.zone, agent.session.agent, f.message));
                }
                Answer::Unread => reasons.push(UNREAD.to_owned()),
                Answer::Unanswered(other) => {
                    answered |= matches!(other, Unanswered::TimedOut(_));
                    reasons.push(format!("zone {}: agent {}: {other}", agent.zone, agent.session.agent));
                }
            }
        }
        drop(running);
        let row = &o.attempt.row;
        let end = match &winner {
            Some((agent, facts)) => self.end_of(row, agent, Answer::Done(facts.clone()), Some(agent.zone.0.to_string())),
            None if stale => None,
            None if answered => {
                let text = match reasons.as_slice() {
                    [one] => one.clone(),
                    all => format!("no zone has an agent that reaches its cluster: {}", all.join("; ")),
                };
                Some((Event::Rejected, Extra { message: Message::Set(text), due: next_try(row, &self.limits), ..Extra::default() }))
            }
            None => {
                let text = format!("no agent answered, this is no attempt: {}", reasons.join("; "));
                Some((Event::AgentLost, Extra { message: Message::Set(text), due: Due::In(BREATH), ..Extra::default() }))
            }
        };
        if let Some((event, extra)) = end {
            self.conclude(row, event, extra).await;
        }
        // Whoever was asked and is not the one may have it, or will have it in a moment: orders arrive in their order.
        let others = asked.into_iter().filter(|a| winner.as_ref().is_none_or(|(w, _)| w.session != a.session));
        self.let_strays_go(others.map(|a| (a.clone(), vec![(o.attempt.name.clone(), row.generation)])));
        let mut memory = self.memory();
        for agent in &o.agents {
            memory.sent(&o.attempt.name, &agent.session);
        }
        memory.end(&o.attempt.operation);
        memory.mark(&o.attempt.name);
        drop(memory);
        self.bell.ring();
    }
}
