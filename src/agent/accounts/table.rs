//! The table of accounts: plain state, changed under one lock and never while something is waited for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::operations::Operations;
use crate::agent::cluster::{Definition, Facts};
use crate::agent::failure::Failure;

/// How an account stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// Its cluster is being reached for the first time.
    Connecting,
    /// Reached.
    Reached,
    /// Its cluster does not let the agent in (any more).
    Failed(Failure),
}

/// The end of the first attempt.
pub(super) type First = Option<Result<Arc<Facts>, Failure>>;

/// An account.
pub(super) struct Entry {
    /// Tells this entry from an earlier or later one of the same name.
    pub(super) serial: u64,
    /// 0 for one of the agent's own configuration.
    pub(super) generation: i64,
    pub(super) definition: Arc<Definition>,
    pub(super) watch: bool,
    pub(super) standing: Standing,
    pub(super) facts: Option<Arc<Facts>>,
    /// An earlier one of the name was there, so Fairlead knows of it otherwise than by the operation that is under way.
    pub(super) replaces: bool,
    /// Why Fairlead does not take it.
    pub(super) refused: Option<String>,
    /// Ends its task.
    pub(super) stop: CancellationToken,
    pub(super) first: watch::Receiver<First>,
}

/// Everything.
#[derive(Default)]
pub(super) struct Table {
    pub(super) accounts: BTreeMap<Arc<str>, Entry>,
    pub(super) operations: Operations,
    /// Accounts of which there is something new to report.
    pub(super) dirty: BTreeSet<Arc<str>>,
    /// Accounts that Fairlead knows as being reached: the end of that has to be reported, for the operation may be of an older session.
    pub(super) told_connecting: BTreeSet<Arc<str>>,
    pub(super) serials: u64,
    /// No more operations are taken.
    pub(super) leaving: bool,
}

impl Table {
    /// The entry, if it is still this one.
    pub(super) fn same(&mut self, name: &str, serial: u64) -> Option<&mut Entry> {
        self.accounts.get_mut(name).filter(|e| e.serial == serial)
    }

    /// Takes an account out and ends its task.
    pub(super) fn let_go(&mut self, name: &str) -> Option<Entry> {
        let entry = self.accounts.remove(name)?;
        entry.stop.cancel();
        self.dirty.remove(name);
        Some(entry)
    }

    /// Puts one in, in place of an earlier one.
    pub(super) fn put(
        &mut self,
        generation: i64,
        definition: Arc<Definition>,
        watch: bool,
    ) -> (u64, CancellationToken, watch::Sender<First>) {
        let name = Arc::clone(&definition.account.name);
        let replaces = self.let_go(&name).is_some();
        self.serials += 1;
        let (first, receiver) = watch::channel(None);
        let stop = CancellationToken::new();
        let entry = Entry {
            serial: self.serials,
            generation,
            definition,
            watch,
            standing: Standing::Connecting,
            facts: None,
            replaces,
            refused: None,
            stop: stop.clone(),
            first: receiver,
        };
        self.accounts.insert(name, entry);
        (self.serials, stop, first)
    }
}
