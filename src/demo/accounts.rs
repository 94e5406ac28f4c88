//! What the stand-in stores: rows, revisions, which accounts are live.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::store::db::{self, Db, Dialect};

use super::definition::Definition;
use super::table;

/// When a stored account counts as live, which is what Clouddriver means by "exists" in some of its answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Live {
    /// As soon as it is stored.
    AtOnce,
    /// At the next poll; polls are this far apart.
    Every(Duration),
    /// Only when [`super::StandIn::poll`] is called.
    ByHand,
}

/// Which names are one. With a table the database says it for the rows, and this for the history alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// As on PostgreSQL.
    ByteWise,
    /// As on MariaDB, as far as case and blanks at the end go.
    LikeMariaDb,
}

/// One stored account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The id as it was first spelled.
    pub id: String,
    /// The type.
    pub kind: String,
    /// The definition's text.
    pub body: String,
    /// `created_at`.
    pub created: i64,
    /// `last_modified_at`.
    pub modified: i64,
}

/// One entry of the history.
#[derive(Clone)]
pub(super) struct Revision {
    pub(super) version: u64,
    pub(super) timestamp: i64,
    /// `None`: a deletion.
    pub(super) body: Option<String>,
}

#[derive(Default)]
struct State {
    rows: BTreeMap<String, Row>,
    history: BTreeMap<String, Vec<Revision>>,
    live: BTreeSet<String>,
    polled: Option<Instant>,
    unresolvable: BTreeSet<String>,
    clock: i64,
}

pub(super) struct Accounts {
    state: Mutex<State>,
    table: Option<Db>,
    live: Live,
    names: Names,
}

impl Accounts {
    pub(super) fn new(live: Live, names: Names, table: Option<Db>) -> Self {
        let names = match table.as_ref().map(Db::dialect) {
            Some(Dialect::MySql) => Names::LikeMariaDb,
            Some(_) => Names::ByteWise,
            None => names,
        };
        Self { state: Mutex::default(), table, live, names }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn key(&self, name: &str) -> String {
        match self.names {
            Names::ByteWise => name.to_owned(),
            Names::LikeMariaDb => name.trim_end_matches(' ').to_lowercase(),
        }
    }

    /// The stand-in's own clock, milliseconds, never the same twice.
    pub(super) fn now(&self) -> i64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let mut state = self.state();
        state.clock = i64::try_from(wall).unwrap_or(i64::MAX).max(state.clock + 1);
        state.clock
    }

    fn remember(&self, name: &str, timestamp: i64, body: Option<String>) {
        let key = self.key(name);
        let mut state = self.state();
        let revisions = state.history.entry(key).or_default();
        let version = revisions.len() as u64 + 1;
        revisions.push(Revision { version, timestamp, body });
    }

    /// Inserts; `false` when the name is taken.
    pub(super) async fn insert(&self, d: &Definition, stamp: i64) -> db::Result<bool> {
        let row = Row { id: d.name.clone(), kind: d.kind.clone(), body: d.text.clone(), created: stamp, modified: stamp };
        let done = match &self.table {
            Some(db) => table::insert(db, &row).await?,
            None => {
                let key = self.key(&d.name);
                let mut state = self.state();
                let free = !state.rows.contains_key(&key);
                if free {
                    state.rows.insert(key, row);
                }
                free
            }
        };
        if done {
            self.remember(&d.name, stamp, Some(d.text.clone()));
        }
        Ok(done)
    }

    /// Updates; `false` when there is no such name.
    pub(super) async fn update(&self, name: &str, d: &Definition, stamp: i64) -> db::Result<bool> {
        let done = match &self.table {
            Some(db) => table::update(db, name, &d.kind, &d.text, stamp).await?,
            None => match self.state().rows.get_mut(&self.key(name)) {
                Some(row) => {
                    (row.kind, row.body, row.modified) = (d.kind.clone(), d.text.clone(), stamp);
                    true
                }
                None => false,
            },
        };
        if done {
            self.remember(name, stamp, Some(d.text.clone()));
        }
        Ok(done)
    }

    /// Updates or inserts.
    pub(super) async fn upsert(&self, d: &Definition, stamp: i64) -> db::Result<()> {
        // Another writer may come in between; two rounds settle it, a third would need two of them.
        for _ in 0..3 {
            if self.update(&d.name, d, stamp).await? || self.insert(d, stamp).await? {
                break;
            }
        }
        Ok(())
    }

    /// Deletes; `false` when there is no such name.
    pub(super) async fn delete(&self, name: &str, stamp: i64) -> db::Result<bool> {
        let done = match &self.table {
            Some(db) => table::delete(db, name).await?,
            None => {
                let key = self.key(name);
                self.state().rows.remove(&key).is_some()
            }
        };
        if done {
            self.remember(name, stamp, None);
        }
        Ok(done)
    }

    pub(super) async fn find(&self, name: &str) -> db::Result<Option<Row>> {
        match &self.table {
            Some(db) => table::find(db, name).await,
            None => Ok(self.state().rows.get(&self.key(name)).cloned()),
        }
    }

    /// All rows in the order of names.
    pub(super) async fn all(&self) -> db::Result<Vec<Row>> {
        match &self.table {
            Some(db) => table::all(db).await,
            None => Ok(self.state().rows.values().cloned().collect()),
        }
    }

    /// Rows of a type from `start` on (inclusive), as Clouddriver pages: those that it cannot resolve go after the limit.
    pub(super) async fn list(&self, kind: &str, start: Option<&str>, limit: usize) -> db::Result<Vec<Row>> {
        let start = start.map(|s| self.key(s));
        let mut rows: Vec<Row> =
            self.all().await?.into_iter().filter(|r| r.kind == kind && start.as_ref().is_none_or(|s| self.key(&r.id) >= *s)).collect();
        rows.truncate(limit);
        rows.retain(|r| !self.is_unresolvable(&r.id));
        Ok(rows)
    }

    /// Revisions, newest first; `None` where Clouddriver fails over a secret.
    pub(super) fn history(&self, name: &str) -> Option<Vec<Revision>> {
        if self.is_unresolvable(name) {
            return None;
        }
        Some(self.state().history.get(&self.key(name)).map(|h| h.iter().rev().cloned().collect()).unwrap_or_default())
    }

    pub(super) fn set_unresolvable(&self, name: &str, yes: bool) {
        let key = self.key(name);
        let mut state = self.state();
        if yes {
            state.unresolvable.insert(key);
        } else {
            state.unresolvable.remove(&key);
        }
    }

    fn is_unresolvable(&self, name: &str) -> bool {
        self.state().unresolvable.contains(&self.key(name))
    }

    /// Whether Clouddriver's memory has the account.
    pub(super) async fn is_live(&self, name: &str) -> db::Result<bool> {
        match self.live {
            Live::AtOnce => return Ok(self.find(name).await?.is_some()),
            Live::Every(period) => {
                let due = self.state().polled.is_none_or(|at| at.elapsed() >= period);
                if due {
                    self.poll().await?;
                }
            }
            Live::ByHand => {}
        }
        Ok(self.state().live.contains(&self.key(name)))
    }

    /// Takes what is stored into the memory.
    pub(super) async fn poll(&self) -> db::Result<()> {
        let live = self.all().await?.iter().map(|r| self.key(&r.id)).collect();
        let mut state = self.state();
        (state.live, state.polled) = (live, Some(Instant::now()));
        Ok(())
    }
}
