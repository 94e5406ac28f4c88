//! The scanner: the second way into the mirror, by the names of accounts that Clouddriver has already.
//!
//! Every `scanFrequencySeconds` one replica ([`crate::store::scans`]) reads Clouddriver's accounts page by page ([`once`]), asks the [`rules`]
//! what each is to become ([`look`]), and has that done by those who do it for everybody: settling brings an account in and refreshes it
//! ([`crate::mirror::take`]), the table of states activates it, dispatch hands it to agents. Nothing here talks to an agent, and nothing is
//! remembered between scans that a full one could not do without: what is ([`steady`]) makes those between two full ones cost what has
//! changed. `docs/scanner.md` tells it to operators.

mod absent;
mod command;
mod known;
mod look;
mod metrics;
mod once;
mod rules;
mod run;
mod steady;

use std::collections::HashSet;
use std::hash::{BuildHasher as _, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use ulid::Ulid;

pub use metrics::Metrics;
pub use once::{Error, Kind, Report};
pub use rules::{Account, Budget, Migrate, Mirrored, Verdict, Why, judge};
pub use run::Turn;

pub use crate::config::Scan as Settings;
use crate::mirror::Engine;

/// What is remembered of accounts that were told of; past that, they are told again.
const REMEMBERED: usize = 10_000;

/// Scans. One for each process.
pub struct Scanner {
    engine: Arc<Engine>,
    settings: Settings,
    lease: Duration,
    /// This process, where turns are written down.
    who: String,
    metrics: Metrics,
    cancel: CancellationToken,
    hasher: RandomState,
    /// What has been told already, and what is not worth another try until it changes.
    told: Mutex<HashSet<u64>>,
    /// What the last scan leaves for the next; `None`: that one reads everything.
    left: Mutex<Option<steady::Left>>,
}

impl Scanner {
    /// Puts the parts together; nothing runs before [`Scanner::run`]. `lease`: a replica silent for so long has lost its turn.
    pub fn new(engine: Arc<Engine>, settings: Settings, lease: Duration, metrics: Metrics, cancel: CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            engine,
            settings,
            lease,
            who: Ulid::generate().to_string(),
            metrics,
            cancel,
            hasher: RandomState::new(),
            told: Mutex::default(),
            left: Mutex::default(),
        })
    }

    /// Whether this is new. Bounded; what was forgotten is new again.
    fn is_new(&self, what: impl Hash) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(self.hasher.hash_one(what))
    }

    fn is_known(&self, what: impl Hash) -> bool {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).contains(&self.hasher.hash_one(what))
    }
}
