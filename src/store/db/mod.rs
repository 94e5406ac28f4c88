//! One small face over sqlx's three drivers.
//!
//! Every statement of Fairlead is text with `?` for its values and two tokens for what differs everywhere: `{now}` (the
//! database's clock, epoch milliseconds) and `{update}` (`FOR UPDATE`, nothing on SQLite). What differs more is written out
//! for each dialect where it is used. Values are 64-bit integers and text only, so that the three databases hold the same things.
//!
//! Left to others: which statements there are ([`super`]), and what a failed one means for the mirror.

mod error;
mod open;
mod sqlite_tx;
mod text;
mod tx;
mod value;

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::mysql::MySqlPool;
use sqlx::postgres::PgPool;
use sqlx::sqlite::SqlitePool;

pub use error::Error;
pub(super) use error::classify;
pub use tx::Tx;
pub use value::{Arg, Row};

pub use crate::config::{PoolConfig, Target};
use sqlite_tx::SqliteTx;
pub(crate) use text::listed;
use text::translate;
use tx::TxInner;
use value::bind_all;

/// Which language the database speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL 8 and MariaDB.
    MySql,
    /// PostgreSQL.
    Postgres,
    /// SQLite, embedded.
    Sqlite,
}

/// The result of everything in this module.
pub type Result<T> = std::result::Result<T, Error>;

#[derive(Clone)]
enum Pool {
    MySql(MySqlPool),
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// A bounded pool of connections to one database. Clones share it.
#[derive(Clone)]
pub struct Db {
    pool: Pool,
    label: Arc<str>,
    acquire_timeout: Duration,
    statement_timeout: Duration,
    texts: Arc<RwLock<HashMap<usize, Arc<str>>>>,
}

impl std::fmt::Debug for Db {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Db").field("label", &self.label).finish_non_exhaustive()
    }
}

impl Db {
    /// Opens the pool lazily: the first statement connects.
    pub fn open(config: &PoolConfig) -> Self {
        Self::open_asking(config, true)
    }

    /// As [`Db::open`], with connections that are taken as they lie, which saves a round trip for each statement: only for statements
    /// that are repeated in any case, since one on a connection that the server closed meanwhile fails at once.
    pub fn open_unasked(config: &PoolConfig) -> Self {
        Self::open_asking(config, false)
    }

    fn open_asking(config: &PoolConfig, ask: bool) -> Self {
        let (acquire, statement) = (config.acquire_timeout, config.statement_timeout);
        let pool = open::pool(config, ask);
        Self { pool, label: config.label.clone(), acquire_timeout: acquire, statement_timeout: statement, texts: Arc::default() }
    }

    /// Which language this database speaks.
    pub fn dialect(&self) -> Dialect {
        match self.pool {
            Pool::MySql(_) => Dialect::MySql,
            Pool::Postgres(_) => Dialect::Postgres,
            Pool::Sqlite(_) => Dialect::Sqlite,
        }
    }

    /// The pool's name, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Connections that lie ready.
    pub fn idle(&self) -> usize {
        match &self.pool {
            Pool::MySql(p) => p.num_idle(),
            Pool::Postgres(p) => p.num_idle(),
            Pool::Sqlite(p) => p.num_idle(),
        }
    }

    /// Closes every connection; statements under way end first.
    pub async fn close(&self) {
        match &self.pool {
            Pool::MySql(p) => p.close().await,
            Pool::Postgres(p) => p.close().await,
            Pool::Sqlite(p) => p.close().await,
        }
    }

    /// The statement in this database's words. `sql` is a constant of the program, never built from input.
    fn text(&self, sql: &'static str) -> Arc<str> {
        let key = sql.as_ptr() as usize ^ sql.len().rotate_left(48);
        if let Some(t) = self.texts.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&key) {
            return t.clone();
        }
        let t: Arc<str> = translate(self.dialect(), sql).into();
        self.texts.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, t.clone());
        t
    }

    pub(in crate::store) fn classify(&self, e: sqlx::Error) -> Error {
        classify(&self.label, self.acquire_timeout, self.statement_timeout, e)
    }

    /// The pool itself, where it is SQLite's.
    pub(in crate::store) fn sqlite(&self) -> Option<&SqlitePool> {
        match &self.pool {
            Pool::Sqlite(p) => Some(p),
            _ => None,
        }
    }

    /// Wraps a row's reading error.
    pub fn row_error(&self, source: sqlx::Error) -> Error {
        Error::Statement { database: self.label.clone(), source }
    }

    async fn bounded<T>(&self, f: impl Future<Output = std::result::Result<T, sqlx::Error>>) -> Result<T> {
        // The server's own time-out is the first to strike; this one covers a server that says nothing at all.
        let bound = self.statement_timeout + Duration::from_millis(500);
        match tokio::time::timeout(bound, f).await {
            Ok(r) => r.map_err(|e| self.classify(e)),
            Err(_) => Err(Error::Timeout { database: self.label.clone(), waited: bound }),
        }
    }

    /// Runs one statement in a transaction of its own and says how many rows it touched.
    ///
    /// # Errors
    /// See [`Error`]. After [`Error::Unreachable`] and [`Error::Timeout`] it may have been done all the same.
    ///
    /// Dropped half-way, the statement may still be done.
    pub async fn exec(&self, sql: &'static str, args: &[Arg]) -> Result<u64> {
        let text = self.text(sql);
        self.bounded(self.acquire_timeout_free(async {
            Ok(match &self.pool {
                Pool::MySql(p) => bind_all!(sqlx::query(AssertSqlSafe(&*text)), args).execute(p).await?.rows_affected(),
                Pool::Postgres(p) => bind_all!(sqlx::query(AssertSqlSafe(&*text)), args).execute(p).await?.rows_affected(),
                Pool::Sqlite(p) => bind_all!(sqlx::query(AssertSqlSafe(&*text)), args).execute(p).await?.rows_affected(),
            })
        }))
        .await
    }

    /// Reads rows.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(&self, sql: &'static str, args: &[Arg]) -> Result<Vec<Row>> {
        let text = self.text(sql);
        self.fetch_text(&text, args).await
    }

    /// As [`Db::fetch`] for a statement that was put together at start (columns of an adopted table, lists of `?`).
    /// The text must hold no value of anybody's input. Tokens and `?` are translated as elsewhere.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_dynamic(&self, sql: &str, args: &[Arg]) -> Result<Vec<Row>> {
        self.fetch_text(&translate(self.dialect(), sql), args).await
    }

    /// As [`Db::exec`] for a statement put together at start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn exec_dynamic(&self, sql: &str, args: &[Arg]) -> Result<u64> {
        let mut tx = self.begin().await?;
        let n = tx.exec_dynamic(sql, args).await?;
        tx.commit().await?;
        Ok(n)
    }

    async fn fetch_text(&self, text: &str, args: &[Arg]) -> Result<Vec<Row>> {
        self.bounded(self.acquire_timeout_free(async {
            Ok(match &self.pool {
                Pool::MySql(p) => {
                    bind_all!(sqlx::query(AssertSqlSafe(text)), args).fetch_all(p).await?.into_iter().map(Row::MySql).collect()
                }
                Pool::Postgres(p) => {
                    bind_all!(sqlx::query(AssertSqlSafe(text)), args).fetch_all(p).await?.into_iter().map(Row::Postgres).collect()
                }
                Pool::Sqlite(p) => {
                    bind_all!(sqlx::query(AssertSqlSafe(text)), args).fetch_all(p).await?.into_iter().map(Row::Sqlite).collect()
                }
            })
        }))
        .await
    }

    // The pool has a bound of its own, so the statement's bound starts with the wait for a connection included.
    async fn acquire_timeout_free<T>(
        &self,
        f: impl Future<Output = std::result::Result<T, sqlx::Error>>,
    ) -> std::result::Result<T, sqlx::Error> {
        f.await
    }

    /// Starts a transaction in READ COMMITTED (SQLite: `BEGIN IMMEDIATE`).
    ///
    /// # Errors
    /// See [`Error`].
    ///
    /// Dropping the transaction rolls it back.
    pub async fn begin(&self) -> Result<Tx<'_>> {
        let inner = self
            .bounded(async {
                Ok(match &self.pool {
                    Pool::MySql(p) => TxInner::MySql(p.begin().await?),
                    Pool::Postgres(p) => TxInner::Postgres(p.begin().await?),
                    Pool::Sqlite(p) => TxInner::Sqlite(SqliteTx::begin(p).await?),
                })
            })
            .await?;
        Ok(Tx { db: self, inner })
    }
}
