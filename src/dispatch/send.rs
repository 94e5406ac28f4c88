//! Asking agents, and writing what they answer. Each task ends with its rows written or looked at again; none waits without a bound.

mod ask;
mod back;
mod ends;
mod give;
mod offer;
mod round;
mod tell;

use std::sync::Arc;
use std::time::Duration;

pub(super) use back::Together;
pub(super) use ends::Ends;

use super::Dispatch;
use crate::channel::{Agent, Facts, Failure, Reason, Unanswered};
use crate::store::states::StateRow;

/// Rows of one agent that are read, made ready and sent together; each is answered by itself.
const TOGETHER: usize = 64;
/// Told of an account whose definition could not be read.
const UNREAD: &str =
    "its definition could not be read from Fairlead's database: nothing was sent, this is no attempt, it goes on in a moment";
/// Pause before an agent that is gone or overloaded is asked again.
const BREATH: Duration = Duration::from_secs(1);

/// What an agent is told of some accounts: a generation, or whether it watches.
pub(super) type Told<T> = (Arc<Agent>, Vec<(Arc<str>, T)>);

/// One account on its way to an agent.
pub(super) struct Attempt {
    pub name: Arc<str>,
    /// The ULID of the order, which is about nothing else.
    pub operation: String,
    /// As it was written before.
    pub row: StateRow,
    pub watch: bool,
    /// When it was planned: see [`super::memory::Memory::turn`].
    pub turn: u64,
}

/// An account in ACTIVATING, and who is to have it.
pub(super) struct Offer {
    pub agents: Vec<Arc<Agent>>,
    pub attempt: Attempt,
}

/// An account that another agent of its zone is to have too.
pub(super) struct Given {
    pub agent: Arc<Agent>,
    pub attempt: Attempt,
}

/// An account that these are to let go of.
pub(super) struct Back {
    pub agents: Vec<Arc<Agent>>,
    pub operation: String,
    pub name: Arc<str>,
    pub row: StateRow,
}

/// What became of one account with one agent.
#[derive(Clone, Debug)]
enum Answer {
    Done(Option<Arc<Facts>>),
    Failed(Failure),
    /// Nothing could be sent, and why.
    Unsendable(String),
    /// The row has changed since: nothing was sent.
    Stale,
    /// Our own database did not give the definition: nothing was sent.
    Unread,
    Unanswered(Unanswered),
}

impl Answer {
    /// From what an agent says of one account.
    fn said(result: Option<Result<Option<Arc<Facts>>, Failure>>) -> Self {
        match result {
            Some(Ok(facts)) => Self::Done(facts),
            Some(Err(failure)) => Self::failed(failure),
            None => Self::Failed(Failure { reason: Reason::Internal, message: "it said nothing of this account".to_owned(), host: None }),
        }
    }

    /// Where it says nothing of accounts.
    fn unanswered(why: Unanswered) -> Self {
        if let Unanswered::Refused(failure) = why { Self::failed(failure) } else { Self::Unanswered(why) }
    }

    fn failed(failure: Failure) -> Self {
        match failure.reason {
            // Nothing was tried.
            Reason::Busy => Self::Unanswered(Unanswered::Busy),
            _ => Self::Failed(failure),
        }
    }
}

impl Dispatch {
    /// Starts a task that ends with the loop.
    pub(super) fn spawn(self: &Arc<Self>, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    fn count_outcome(&self, operation: &'static str, answer: &Answer) {
        let outcome = match answer {
            Answer::Done(_) => "done",
            Answer::Failed(_) | Answer::Unsendable(_) | Answer::Unanswered(Unanswered::Refused(_)) => "failed",
            Answer::Stale | Answer::Unread | Answer::Unanswered(Unanswered::Lost) => "lost",
            Answer::Unanswered(Unanswered::TimedOut(_)) => "timeout",
            Answer::Unanswered(Unanswered::Busy) => "busy",
        };
        self.metrics.outcomes.get_or_create(&super::metrics::OutcomeLabel { operation, outcome }).inc();
    }
}

/// Which half failed, at which host, how.
fn told(who: &str, f: &Failure) -> String {
    let at = f.host.as_deref().filter(|host| !f.message.contains(host)).map_or(String::new(), |host| format!(" at {host}"));
    match f.reason {
        Reason::Definition | Reason::Unsupported => format!("{who} received it and cannot use it: {}", f.message),
        Reason::Internal => format!("{who} received it and failed by itself: {}", f.message),
        _ => format!("{who} received it and did not reach its cluster{at}: {}", f.message),
    }
}

pub(super) fn chunks<T>(all: Vec<T>, size: usize) -> Vec<Vec<T>> {
    let mut out = Vec::new();
    let mut rest = all.into_iter();
    loop {
        let some: Vec<T> = rest.by_ref().take(size).collect();
        if some.is_empty() {
            return out;
        }
        out.push(some);
    }
}
