//! The desk: what users ask for, many accounts at a time, becomes rows.
//!
//! Each request first settles what is open of its names (bounded), so that a PATCH right after a POST through the proxy finds its account.
//! What is written goes along the table of [`crate::lifecycle`], many rows in one transaction ([`batch`]), and each entry stands for itself
//! all the same; then the loop's bell is rung. Nothing here talks to an agent.
//!
//! What a user did by hand is remembered by name ([`crate::store::hand`]): PATCH INACTIVE and DELETE until a POST or PATCH to ACTIVE.

mod batch;
mod enter;
mod rows;
mod wishes;

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use tokio::time::Instant;

use super::{Ask, Bell, Zone};
use crate::lifecycle::Wanted;
use crate::mirror::{Engine, settle};
use crate::store::db::Error as StoreError;
use crate::store::mirrored::WriteError;
use crate::store::{OpenError, Store, UnstorableError};
use batch::Work;
use enter::New;
use wishes::{Kind, Wish};

/// Settling before some accounts are worked on takes no longer than this; then the request sees what is there.
const SETTLE_BOUND: Duration = Duration::from_secs(2);
/// A name that cannot be taken over by then is not: Clouddriver's side is slow or gone.
const TAKE_BOUND: Duration = Duration::from_secs(10);

/// What came of one account of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or noted and will be.
    Done,
    /// There is no such account here (for [`Desk::take`]: nor in Clouddriver).
    Unknown,
    /// It was not done, and why, in words for the user.
    Not(String),
}

/// What is known of one account of a request at its end. An error may be that of several.
pub type Told = Result<Outcome, Arc<Error>>;

/// Why an account's request was not done, or why nothing can be said of it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mirror: our database or Clouddriver's accounts.
    #[error(transparent)]
    Settle(#[from] settle::Error),
    /// Others were always faster.
    #[error("the account is being changed by others all the time")]
    Busy,
    /// Clouddriver's accounts were not read in time.
    #[error("Clouddriver's accounts were not read in time")]
    Slow,
    /// The request's time was over before, or the database was away. Nothing was changed.
    #[error("it was not begun: the request's time was over, or the database did not answer")]
    NotBegun,
}

impl Error {
    /// Will trying later help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Settle(settle::Error::Source(e)) => e.is_transient(),
            Self::Settle(settle::Error::Definition(WriteError::Unstorable(_))) => false,
            Self::Settle(settle::Error::Stopped | settle::Error::Busy) | Self::Busy | Self::Slow | Self::NotBegun => true,
            Self::Store(_) | Self::Settle(_) => self.of_store().is_some_and(StoreError::is_transient),
        }
    }

    /// Was it lost against somebody else's?
    fn is_contention(&self) -> bool {
        matches!(self, Self::Settle(settle::Error::Busy) | Self::Busy) || self.of_store().is_some_and(StoreError::is_contention)
    }

    /// Our database's, where it is that.
    fn of_store(&self) -> Option<&StoreError> {
        match self {
            Self::Store(e) | Self::Settle(settle::Error::Store(e) | settle::Error::Definition(WriteError::Database(e))) => Some(e),
            _ => None,
        }
    }
}

/// Makes rows of what users ask for. Clones share everything.
///
/// Each operation takes entries and the time at which what is not begun is left, and answers in the entries' order. What is begun is
/// finished. Two entries that the database takes for one account are done one after the other.
#[derive(Clone)]
pub struct Desk {
    engine: Arc<Engine>,
    bell: Bell,
}

impl Desk {
    /// On the mirror's store; `bell` is the dispatch loop's.
    pub fn new(engine: Arc<Engine>, bell: Bell) -> Self {
        Self { engine, bell }
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Asks the loop for a look. One ring serves all rows that were changed before it.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Takes accounts over from Clouddriver: INACTIVE, with what was said of them. One that a user deactivated is taken again: no longer by
    /// hand.
    pub async fn take(&self, asks: &[&Ask], until: Instant) -> Vec<Told> {
        self.work(&Work::Takes(asks.iter().map(|ask| (*ask, enter::take(ask))).collect()), until).await
    }

    /// Makes accounts that Clouddriver never had: INACTIVE.
    pub async fn create(&self, asks: &[&Ask], until: Instant) -> Vec<Told> {
        self.work(&Work::New(asks.iter().map(|ask| New::of(self.store(), ask)).collect()), until).await
    }

    /// Changes what lies over accounts' definitions (or, for those that were made here, the definitions), and their zones. Agents that have
    /// them hear of it.
    pub async fn update(&self, asks: &[&Ask], until: Instant) -> Vec<Told> {
        self.work(&Work::Wishes(asks.iter().map(|ask| Wish { ask, kind: Kind::Update }).collect()), until).await
    }

    /// Wants accounts managed, or let go of, and changes their zones and kubeconfigs along with that. What cannot be is noted in the row's
    /// message.
    pub async fn want(&self, asks: &[(&Ask, Wanted)], until: Instant) -> Vec<Told> {
        self.work(&Work::Wishes(asks.iter().map(|(ask, wanted)| Wish { ask, kind: Kind::Want(*wanted) }).collect()), until).await
    }

    /// Wants accounts gone, from their agents first. Clouddriver's own are untouched.
    pub async fn delete(&self, names: &[&str], until: Instant) -> Vec<Told> {
        let asks: Vec<Ask> = names.iter().map(|name| plain(name)).collect();
        self.want(&asks.iter().map(|ask| (ask, Wanted::Deleted)).collect::<Vec<_>>(), until).await
    }

    /// Asks the loop to look at accounts: who of their agents watches them is decided anew.
    pub async fn look(&self, names: &[&str], until: Instant) -> Vec<Told> {
        let asks: Vec<Ask> = names.iter().map(|name| plain(name)).collect();
        self.work(&Work::Wishes(asks.iter().map(|ask| Wish { ask, kind: Kind::Look }).collect()), until).await
    }
}

/// A name of which nothing more is said.
fn plain(name: &str) -> Ask {
    Ask { name: name.to_owned(), zone: Zone::Keep, properties: Map::new() }
}

/// Why what is asked for cannot be laid over a row. Never any of the text.
#[derive(Debug, thiserror::Error)]
enum LayError {
    #[error("what is stored of it cannot be opened: {0}")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Unstorable(#[from] UnstorableError),
    #[error("it would be left with no way to its cluster: give one of kubeconfigFile, kubeconfigContents and serviceAccount")]
    NoKubeconfig,
}
