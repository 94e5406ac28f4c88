//! What was asked, and what became of it: kept for a while, so that a repeated question has the same answer.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::agent::cluster::Facts;
use crate::agent::failure::Failure;

/// How long an outcome is kept after it is known.
const KEPT: Duration = Duration::from_secs(600);
/// Outcomes that are kept at most.
const MAX_KEPT: usize = 10_000;

/// What is asked.
pub(crate) enum Order {
    /// Reach these clusters and keep the accounts.
    Add(Vec<NewAccount>),
    /// Let go of these (name, generation; 0: whichever).
    Delete(Vec<(Arc<str>, i64)>),
    /// Watch, or stand by.
    Roles(Vec<(Arc<str>, bool)>),
    /// Of a kind that this agent does not know.
    Unknown,
}

/// An account to be added.
pub(crate) struct NewAccount {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// The generation of its definition.
    pub(crate) generation: i64,
    /// The definition, JSON with credentials.
    pub(crate) definition: Vec<u8>,
    /// Watch it, or stand by.
    pub(crate) watch: bool,
}

/// What became of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// One for each account.
    pub(crate) accounts: Vec<AccountOutcome>,
    /// It could not be done as a whole.
    pub(crate) failure: Option<Failure>,
}

/// What became of one account of an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccountOutcome {
    /// Its name.
    pub(crate) name: Arc<str>,
    /// Its generation.
    pub(crate) generation: i64,
    /// What was learned; nothing where nothing was to be learned.
    pub(crate) result: Result<Option<Arc<Facts>>, Failure>,
}

/// Gives the outcome once it is known.
#[derive(Clone, Debug)]
pub(crate) struct Receipt(watch::Receiver<Option<Arc<Outcome>>>);

impl Receipt {
    /// The outcome. `None`: the agent ended before.
    pub(crate) async fn outcome(mut self) -> Option<Arc<Outcome>> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|o| o.clone())
    }
}

/// Operations by their id.
#[derive(Default)]
pub(super) struct Operations {
    known: HashMap<String, Receipt>,
    /// Those whose outcome is known, the oldest first.
    done: VecDeque<(Instant, String)>,
}

impl Operations {
    /// The receipt of one that was asked before.
    pub(super) fn get(&self, id: &str) -> Option<Receipt> {
        self.known.get(id).cloned()
    }

    /// A new one. What is sent is kept by [`Operations::finished`].
    pub(super) fn begin(&mut self, id: &str) -> (watch::Sender<Option<Arc<Outcome>>>, Receipt) {
        let now = Instant::now();
        while self.done.front().is_some_and(|(since, _)| self.done.len() > MAX_KEPT || now.duration_since(*since) > KEPT) {
            if let Some((_, old)) = self.done.pop_front() {
                self.known.remove(&old);
            }
        }
        let (sender, receiver) = watch::channel(None);
        let receipt = Receipt(receiver);
        self.known.insert(id.to_owned(), receipt.clone());
        (sender, receipt)
    }

    /// Its outcome is known from now on.
    pub(super) fn finished(&mut self, id: &str) {
        self.done.push_back((Instant::now(), id.to_owned()));
    }

    /// Operations whose outcome is not known yet.
    pub(super) fn under_way(&self) -> usize {
        self.known.len() - self.done.len()
    }
}
