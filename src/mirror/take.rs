//! An account enters the mirror by its name: a user's `POST /armory/accounts`, or the scanner.
//!
//! It is a settling like any other, so the row is Clouddriver's of now and not of the page or the answer that named it: what was deleted
//! meanwhile does not come back (trace 11).

use serde_json::Value;

use super::decide::Trigger;
use super::engine::Engine;
use super::settle::{Error, Settled};
use crate::account::{Origin, Status};
use crate::store::journal::fresh_generation;

/// How an account enters.
#[derive(Clone)]
pub struct Take {
    /// Which way.
    pub origin: Origin,
    /// Its first state.
    pub status: Status,
    /// The zone whose agents may have it; `None`: any.
    pub zone: Option<String>,
    /// What is laid over its definition.
    pub overlay: Option<Value>,
    /// One that a user took out by hand stays out: it was not a user who asked.
    pub respects_hand: bool,
    /// By which a row is known for ours when a commit's answer was lost.
    generation: i64,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is in the mirror now.
    Entered,
    /// It was in the mirror already; nothing of [`Take`] was written.
    There,
    /// Clouddriver has no Kubernetes account of this name.
    Absent,
    /// A user took it out by hand, and [`Take::respects_hand`].
    ByHand,
    /// Whether it has cannot be told, or its definition cannot be mirrored; the log says why.
    Unreadable,
}

impl Take {
    /// With nothing laid over it, and whatever a user did by hand before.
    pub fn new(origin: Origin, status: Status) -> Self {
        Self { origin, status, zone: None, overlay: None, respects_hand: false, generation: fresh_generation() }
    }

    pub(super) const fn generation(&self) -> i64 {
        self.generation
    }
}

impl std::fmt::Debug for Take {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Take").field("origin", &self.origin).field("status", &self.status).field("zone", &self.zone).finish_non_exhaustive()
    }
}

impl Engine {
    /// Brings the account of this name in, if Clouddriver has it and the mirror does not.
    ///
    /// # Errors
    /// As settling: nothing was changed, or it is not known whether it was. With the same [`Take`] it can be asked again.
    pub async fn take(&self, name: &str, take: &Take) -> Result<Taken, Error> {
        let Settled { taken, .. } = self.settle_with(name, Trigger::Take, &[], Some(take)).await?;
        Ok(taken)
    }

    /// Makes the account's row what Clouddriver has now, if there is a row. `may_remove`: one that Clouddriver does not have any more goes;
    /// otherwise it is drift.
    ///
    /// # Errors
    /// As [`Engine::take`].
    pub async fn agree(&self, name: &str, may_remove: bool) -> Result<Settled, Error> {
        self.settle(name, Trigger::Pass { gap: None, may_remove }, &[]).await
    }
}
