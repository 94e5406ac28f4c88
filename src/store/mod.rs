//! Fairlead's own tables, on MariaDB/MySQL, PostgreSQL or SQLite.
//!
//! [`Store`] is the way in: its pools, what [`migrate`](Store::migrate) learned of the tables, and the keys that seal. `docs/database.md` lists
//! tables and grants. Clouddriver's `accounts` is another's table: nothing here writes, locks or alters it.

mod accounts;
mod adopt;
mod collation;
pub mod db;
pub mod epochs;
pub mod hand;
pub mod heads;
mod introspect;
pub mod journal;
pub mod lives;
mod look;
mod migrate;
pub mod mirrored;
pub mod names;
pub mod overlay;
mod reseal;
pub mod scans;
mod seal;
pub mod secrets;
mod shape;
pub mod states;
pub mod tombstones;

use std::sync::{Arc, RwLock};

use serde_json::Value;

pub use accounts::{AccountRow, Page};
pub use db::{Db, Error, Result};
pub use look::{Table, Tables};
pub use migrate::{MigrateError, Report};
pub use reseal::Resealed;
pub use seal::{KeyError, OpenError, SealError, Sealer};
pub use shape::Shape;

use crate::config::{Database, PoolConfig, SealKeys, SourceConfig};

/// Most bytes of a stored definition, whatever the database would take. A kubeconfig is some kilobytes.
pub const DEFINITION_MAX: usize = 64 * 1024 * 1024;

/// Fairlead's tables. Clones share pools, keys and what was learned.
#[derive(Clone, Debug)]
pub struct Store {
    main: Db,
    intents: Db,
    sealer: Sealer,
    shape: Arc<RwLock<Option<Arc<Shape>>>>,
    config: Arc<Config>,
}

#[derive(Debug)]
struct Config {
    main: PoolConfig,
    source: SourceConfig,
}

/// Why one account's definition cannot be stored. It concerns that account only, and trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum UnstorableError {
    /// Larger than the table or the server takes.
    #[error("the definition takes {bytes} bytes as stored, and this database takes {limit} at most")]
    TooLarge {
        /// Bytes of the sealed text.
        bytes: usize,
        /// What the column, the server's packet size and our own bound allow.
        limit: usize,
    },
    /// It could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// A definition as it goes into the row.
#[derive(Clone)]
pub struct Sealed {
    /// For column `definition`: canonical JSON, secrets sealed.
    pub text: String,
    /// For column `fl_key_id`.
    pub key_id: Option<String>,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealed").field("bytes", &self.text.len()).field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the pools lazily: nothing is connected before the first statement.
    ///
    /// # Errors
    /// [`KeyError`], for a seal key that cannot be used.
    pub fn open(database: &Database, seal: Option<&SealKeys>) -> std::result::Result<Self, KeyError> {
        Ok(Self {
            main: Db::open(&database.main),
            intents: Db::open_unasked(&database.intents),
            sealer: Sealer::new(seal)?,
            shape: Arc::default(),
            config: Arc::new(Config { main: database.main.clone(), source: database.source.clone() }),
        })
    }

    /// The pool for everything but intents.
    pub fn main(&self) -> &Db {
        &self.main
    }

    /// The small pool for intents.
    pub fn intents(&self) -> &Db {
        &self.intents
    }

    /// Has this many connections for intents lie ready, as far as the pool has so many and the database answers. Making one takes several
    /// round trips, for which a change would wait, and those that nobody uses are closed after a while.
    pub async fn ready_intents(&self, connections: usize) {
        // At once, so that each takes one of its own.
        futures_util::future::join_all((0..connections).map(|_| self.intents.fetch("select 1", &[]))).await;
    }

    /// Seals and opens definitions.
    pub fn sealer(&self) -> &Sealer {
        &self.sealer
    }

    /// What `kubesvc_accounts` looks like; `None` until [`Store::migrate`] has succeeded once.
    pub fn shape(&self) -> Option<Arc<Shape>> {
        self.shape.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn learn(&self, shape: Shape) {
        *self.shape.write().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(Arc::new(shape));
    }

    /// The definition as it goes into the row named exactly `row_name`, checked against what the table takes.
    ///
    /// # Errors
    /// [`UnstorableError`]: of this account only.
    pub fn seal_definition(&self, row_name: &str, definition: &Value) -> std::result::Result<Sealed, UnstorableError> {
        let (text, key_id) = self.sealer.seal_definition(row_name, definition)?;
        let limit = self.shape().map_or(DEFINITION_MAX, |s| s.definition_limit());
        if text.len() > limit {
            return Err(UnstorableError::TooLarge { bytes: text.len(), limit });
        }
        Ok(Sealed { text, key_id })
    }

    /// The definition of a row as it was before it was sealed.
    ///
    /// # Errors
    /// [`OpenError`]; never any of the text.
    pub fn open_definition(&self, row_name: &str, text: &str) -> std::result::Result<Value, OpenError> {
        self.sealer.open_definition(row_name, text)
    }

    /// The overlay as it goes into the row (`fl_overlay`), checked as a definition is.
    ///
    /// # Errors
    /// [`UnstorableError`]: of this account only.
    pub fn seal_overlay(&self, row_name: &str, overlay: &Value) -> std::result::Result<String, UnstorableError> {
        let text = self.sealer.seal_overlay(row_name, overlay)?;
        let limit = self.shape().map_or(DEFINITION_MAX, |s| s.definition_limit());
        if text.len() > limit {
            return Err(UnstorableError::TooLarge { bytes: text.len(), limit });
        }
        Ok(text)
    }

    /// The overlay of a row as it was before it was sealed.
    ///
    /// # Errors
    /// [`OpenError`]; never any of the text.
    pub fn open_overlay(&self, row_name: &str, text: &str) -> std::result::Result<Value, OpenError> {
        self.sealer.open_overlay(row_name, text)
    }

    /// Closes both pools; statements under way end first.
    pub async fn close(&self) {
        self.intents.close().await;
        self.main.close().await;
    }
}
