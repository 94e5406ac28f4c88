//! What there is of Fairlead's tables, for commands that only look: not one statement of this file writes, and no table is made.

use super::db::{Db, Dialect, Error, PoolConfig, Target};
use super::migrate::lacks_right;
use super::{KeyError, Result, Shape, Store, introspect};
use crate::config::{Database, SealKeys};

/// Whether a table can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Table {
    /// It can.
    There,
    /// It is not there (yet).
    Absent,
    /// The database user may not read it. MySQL and MariaDB say so of a table that is not there too, unless there is a grant on it.
    Hidden,
}

impl Table {
    /// Whether it can be read.
    pub const fn is_there(self) -> bool {
        matches!(self, Self::There)
    }
}

/// Fairlead's tables, as far as commands look at them. One of an older Fairlead may not be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tables {
    /// `kubesvc_accounts`.
    pub mirror: Table,
    /// `fairlead_hand`.
    pub hand: Table,
    /// `fairlead_names`.
    pub names: Table,
    /// `fairlead_intents`.
    pub intents: Table,
}

impl Store {
    /// As [`Store::open`] for a process that only looks: a SQLite file that is not there is not made, and taken for an empty one.
    ///
    /// # Errors
    /// [`KeyError`], for a seal key that cannot be used.
    pub fn open_to_look(database: &Database, seal: Option<&SealKeys>) -> std::result::Result<Self, KeyError> {
        let look = |pool: &PoolConfig| {
            let Target::Sqlite(options) = &pool.target else { return pool.clone() };
            let options = if options.get_filename().exists() {
                (**options).clone().create_if_missing(false).pragma("query_only", "ON")
            } else {
                sqlx::sqlite::SqliteConnectOptions::new().in_memory(true)
            };
            PoolConfig { target: Target::Sqlite(Box::new(options)), ..pool.clone() }
        };
        Self::open(&Database { main: look(&database.main), intents: look(&database.intents), source: database.source.clone() }, seal)
    }

    /// Looks which tables there are, and learns the columns of `kubesvc_accounts` as they are now: those that the next start would add read as
    /// NULL. Where there is none, [`Store::shape`] stays `None`.
    ///
    /// # Errors
    /// See [`Error`]: nothing was learnt.
    pub async fn look(&self) -> Result<Tables> {
        let db = self.main();
        let mirror = table(db, "select 1 from kubesvc_accounts where 1 = 0").await?;
        if mirror.is_there() {
            let columns = introspect::columns(db).await?;
            self.learn(Shape::to_read(db.dialect(), columns, introspect::packet(db).await?));
        }
        Ok(Tables {
            mirror,
            hand: table(db, "select 1 from fairlead_hand where 1 = 0").await?,
            names: table(db, "select 1 from fairlead_names where 1 = 0").await?,
            intents: table(db, "select 1 from fairlead_intents where 1 = 0").await?,
        })
    }
}

async fn table(db: &Db, probe: &'static str) -> Result<Table> {
    match db.fetch(probe, &[]).await {
        Ok(_) => Ok(Table::There),
        Err(Error::Statement { source, .. }) if lacks_right(&source) => Ok(Table::Hidden),
        Err(Error::Statement { source, .. }) if is_missing(db.dialect(), &source) => Ok(Table::Absent),
        Err(e) => Err(e),
    }
}

/// Whether the server says that there is no such table.
fn is_missing(dialect: Dialect, e: &sqlx::Error) -> bool {
    let Some(d) = e.as_database_error() else { return false };
    match (d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>(), dialect) {
        (Some(m), _) => m.number() == 1146,
        // SQLite has one code for every mistake in a statement, and these have no other.
        (None, Dialect::Sqlite) => d.code().is_some_and(|c| c == "1"),
        (None, _) => d.code().is_some_and(|c| c == "42P01"),
    }
}
