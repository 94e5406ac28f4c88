//! Giving accounts that are well to further agents of their zone.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use tracing::warn;

use super::{Answer, Attempt, BREATH, Given, TOGETHER, chunks, told};
use crate::channel::{Agent, BoxFuture, Unanswered};
use crate::dispatch::Dispatch;
use crate::dispatch::plan::FailedLately;

impl Dispatch {
    /// Gives accounts that are well to further agents.
    pub(in crate::dispatch) fn give(self: &Arc<Self>, given: Vec<Given>) {
        let mut by_agent: HashMap<_, (Arc<Agent>, Vec<Attempt>)> = HashMap::new();
        for mut g in given {
            let mut memory = self.memory();
            g.attempt.turn = memory.turn();
            memory.send(&g.attempt.name, &g.agent, g.attempt.turn);
            drop(memory);
            by_agent.entry(g.agent.session.clone()).or_insert_with(|| (g.agent.clone(), vec![])).1.push(g.attempt);
        }
        for (agent, attempts) in by_agent.into_values() {
            for some in chunks(attempts, TOGETHER) {
                let (this, agent) = (self.clone(), agent.clone());
                self.spawn(async move {
                    let asked = this.ask(&agent, &some).await;
                    let given = async |(attempt, answer): (&Attempt, BoxFuture<'_, Answer>)| {
                        this.given(&agent, attempt, answer.await);
                        this.bell.ring();
                    };
                    join_all(some.iter().zip(asked).map(given)).await;
                });
            }
        }
    }

    fn given(&self, agent: &Arc<Agent>, attempt: &Attempt, answer: Answer) {
        let who = format!("agent {} (zone {})", agent.session.agent, agent.zone);
        let done = matches!(answer, Answer::Done(_));
        let unanswered = matches!(answer, Answer::Unanswered(Unanswered::Busy | Unanswered::Lost) | Answer::Unread);
        let failed = match answer {
            Answer::Failed(f) | Answer::Unanswered(Unanswered::Refused(f)) => Some(told(&who, &f)),
            Answer::Unsendable(why) => Some(format!("nothing was sent to an agent: {why}")),
            Answer::Unanswered(Unanswered::TimedOut(waited)) => Some(format!("{who} is connected and did not answer within {waited:?}")),
            Answer::Done(_) | Answer::Stale | Answer::Unread | Answer::Unanswered(_) => None,
        };
        let mut memory = self.memory();
        memory.sent(&attempt.name, &agent.session);
        if let Some(message) = failed {
            warn!(account = %attempt.name, agentId = %agent.session.agent, message, "an agent cannot have an account of its zone");
            let how = FailedLately { agent: agent.session.agent.clone(), message, refused: false };
            let pause = memory.failed(&attempt.name, attempt.row.generation, how, self.limits.retry);
            memory.alarm(&attempt.name, pause);
            memory.mark(&attempt.name);
        } else {
            if done {
                memory.worked(&attempt.name, &agent.session.agent);
            }
            if unanswered {
                memory.alarm(&attempt.name, BREATH);
            } else {
                memory.mark(&attempt.name);
            }
        }
    }
}
