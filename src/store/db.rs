//! One small face over sqlx's three drivers.
//!
//! Every statement of Fairlead is text with `?` for its values and three tokens that differ between databases:
//! `{now}` (the database's clock, epoch milliseconds), `{update}` (`FOR UPDATE`, nothing on SQLite) and `{skip}`
//! (`INSERT IGNORE`-like endings are written out per dialect instead). Values are 64-bit integers and text only, so
//! that the three databases hold the same things.
//!
//! Left to others: which statements there are ([`super`]), and what a failed one means for the mirror.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions, MySqlRow};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Row as _};

use super::sqlite_tx::SqliteTx;

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

/// A value for one `?`.
#[derive(Clone, Debug)]
pub enum Arg {
    /// A number, or NULL.
    Int(Option<i64>),
    /// A text, or NULL.
    Text(Option<String>),
}

impl From<i64> for Arg {
    fn from(v: i64) -> Self {
        Self::Int(Some(v))
    }
}
impl From<bool> for Arg {
    fn from(v: bool) -> Self {
        Self::Int(Some(i64::from(v)))
    }
}
impl From<Option<i64>> for Arg {
    fn from(v: Option<i64>) -> Self {
        Self::Int(v)
    }
}
impl From<&str> for Arg {
    fn from(v: &str) -> Self {
        Self::Text(Some(v.to_owned()))
    }
}
impl From<String> for Arg {
    fn from(v: String) -> Self {
        Self::Text(Some(v))
    }
}
impl From<&String> for Arg {
    fn from(v: &String) -> Self {
        Self::Text(Some(v.clone()))
    }
}
impl From<Option<String>> for Arg {
    fn from(v: Option<String>) -> Self {
        Self::Text(v)
    }
}
impl From<Option<&str>> for Arg {
    fn from(v: Option<&str>) -> Self {
        Self::Text(v.map(str::to_owned))
    }
}

/// Builds the values of one statement: `args![name, 3_i64]`.
#[macro_export]
macro_rules! args {
    ($($v:expr),* $(,)?) => { &[$($crate::store::db::Arg::from($v)),*][..] };
}

/// Why a statement failed, in the classes that callers act on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Deadlock, serialization failure or lock wait: the transaction is gone and may be started again.
    #[error("{database}: the statement lost against another ({source})")]
    Contention {
        /// Which pool, for the reader of a log.
        database: Arc<str>,
        /// The driver's words.
        source: sqlx::Error,
    },
    /// The server cannot be reached, or the connection broke. Whether a commit arrived is not known.
    #[error("{database}: the database cannot be reached ({source})")]
    Unreachable {
        /// Which pool.
        database: Arc<str>,
        /// The driver's words.
        source: sqlx::Error,
    },
    /// No connection of the pool was free in time.
    #[error("{database}: no free connection within {waited:?}")]
    PoolExhausted {
        /// Which pool.
        database: Arc<str>,
        /// How long was waited.
        waited: Duration,
    },
    /// The server refuses writes: a replica, or one in recovery.
    #[error("{database}: the server is read-only")]
    ReadOnly {
        /// Which pool.
        database: Arc<str>,
    },
    /// The statement took longer than the statement time-out.
    #[error("{database}: no answer within {waited:?}")]
    Timeout {
        /// Which pool.
        database: Arc<str>,
        /// How long was waited.
        waited: Duration,
    },
    /// The server has no room left for what was to be written.
    #[error("{database}: the server has no room left ({source})")]
    NoRoom {
        /// Which pool.
        database: Arc<str>,
        /// The driver's words.
        source: sqlx::Error,
    },
    /// The tables have not been made ready yet.
    #[error("{database}: the tables are not ready yet")]
    NotReady {
        /// Which pool.
        database: Arc<str>,
    },
    /// Anything else: a missing right, a bad statement, a value that does not fit. Trying again does not help.
    #[error("{database}: {source}")]
    Statement {
        /// Which pool.
        database: Arc<str>,
        /// The driver's words.
        source: sqlx::Error,
    },
}

impl Error {
    /// May the whole transaction be tried again at once?
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::Contention { .. })
    }

    /// Will trying later help, with nothing changed by us?
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::Statement { .. })
    }

    /// Was it refused because a column of that name is there already?
    pub(super) fn says_column_exists(&self) -> bool {
        let Self::Statement { source, .. } = self else { return false };
        source.as_database_error().is_some_and(|d| match d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            Some(m) => m.number() == 1060,
            None => d.code().is_some_and(|c| c == "42701") || d.message().starts_with("duplicate column name"),
        })
    }
}

impl Error {
    /// Was it refused because a row of that key is there already?
    pub(super) fn says_duplicate(&self) -> bool {
        let Self::Statement { source, .. } = self else { return false };
        source.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}

/// The result of everything in this module.
pub type Result<T> = std::result::Result<T, Error>;

/// How a pool is opened. Built by `config`.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Name for messages, such as `sql.connectionPools.default`.
    pub label: Arc<str>,
    /// Where, in the driver's own options (they hide the password in `Debug`).
    pub target: Target,
    /// Most connections at once.
    pub max_connections: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may take, on the server where it can be told, and here in any case.
    pub statement_timeout: Duration,
}

/// The database a pool talks to.
#[derive(Clone)]
pub enum Target {
    /// MySQL or MariaDB.
    MySql(Box<MySqlConnectOptions>),
    /// PostgreSQL.
    Postgres(Box<PgConnectOptions>),
    /// A file, or memory.
    Sqlite(Box<SqliteConnectOptions>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MySql(_) => "MySql(..)",
            Self::Postgres(_) => "Postgres(..)",
            Self::Sqlite(_) => "Sqlite(..)",
        })
    }
}

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

/// One row of an answer; columns by their place.
pub enum Row {
    #[doc(hidden)]
    MySql(MySqlRow),
    #[doc(hidden)]
    Postgres(PgRow),
    #[doc(hidden)]
    Sqlite(SqliteRow),
}

impl Row {
    /// A 64-bit number, or NULL. On PostgreSQL the column must be `bigint` (cast it in the statement).
    ///
    /// # Errors
    /// The driver's, when the column is not a number.
    pub fn int(&self, i: usize) -> std::result::Result<Option<i64>, sqlx::Error> {
        match self {
            Self::MySql(r) => r.try_get(i),
            Self::Postgres(r) => r.try_get(i),
            Self::Sqlite(r) => r.try_get(i),
        }
    }

    /// A text, or NULL.
    ///
    /// # Errors
    /// The driver's, when the column is not text.
    pub fn text(&self, i: usize) -> std::result::Result<Option<String>, sqlx::Error> {
        match self {
            Self::MySql(r) => r.try_get(i),
            Self::Postgres(r) => r.try_get(i),
            Self::Sqlite(r) => r.try_get(i),
        }
    }
}

macro_rules! bind_all {
    ($query:expr, $args:expr) => {{
        let mut q = $query;
        for a in $args {
            q = match a {
                Arg::Int(v) => q.bind(*v),
                Arg::Text(v) => q.bind(v.clone()),
            };
        }
        q
    }};
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
        let pool = match &config.target {
            Target::MySql(options) => Pool::MySql(
                MySqlPoolOptions::new()
                    .max_connections(config.max_connections)
                    .acquire_timeout(acquire)
                    .idle_timeout(Duration::from_secs(45))
                    .test_before_acquire(ask)
                    .after_connect(move |conn, _| {
                        Box::pin(async move {
                            sqlx::query("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").execute(&mut *conn).await?;
                            // Whole seconds, and below the statement's own bound, so that a wait for a lock is told apart from a
                            // slow server. A value that does not fit must be an error on any server: without the strict mode it is cut.
                            let lock_wait = statement.as_secs().saturating_sub(1).max(1);
                            sqlx::query(AssertSqlSafe(format!(
                                "SET SESSION innodb_lock_wait_timeout = {lock_wait}, lock_wait_timeout = {lock_wait}, \
                                 sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')"
                            )))
                            .execute(&mut *conn)
                            .await?;
                            // MariaDB's name for it; MySQL has another, and only for SELECT. The bound here counts in any case.
                            let _ = sqlx::query(AssertSqlSafe(format!("SET SESSION max_statement_time = {}", statement.as_secs_f64())))
                                .execute(&mut *conn)
                                .await;
                            Ok(())
                        })
                    })
                    .connect_lazy_with((**options).clone()),
            ),
            Target::Postgres(options) => {
                let ms = statement.as_millis();
                let options = (**options).clone().options([
                    ("default_transaction_isolation", "read committed".to_owned()),
                    ("statement_timeout", ms.to_string()),
                    ("lock_timeout", (ms * 4 / 5).max(1).to_string()),
                    ("idle_in_transaction_session_timeout", (2 * ms).to_string()),
                ]);
                Pool::Postgres(
                    PgPoolOptions::new()
                        .max_connections(config.max_connections)
                        .acquire_timeout(acquire)
                        .idle_timeout(Duration::from_secs(45))
                        .test_before_acquire(ask)
                        .connect_lazy_with(options),
                )
            }
            Target::Sqlite(options) => {
                // The default lies in a folder that nobody made. If it cannot be made, the first statement says why.
                let _ = options.get_filename().parent().map(std::fs::create_dir_all);
                Pool::Sqlite(
                    SqlitePoolOptions::new()
                        .max_connections(config.max_connections)
                        .acquire_timeout(acquire)
                        .idle_timeout(None)
                        .max_lifetime(None)
                        .test_before_acquire(false)
                        .connect_lazy_with((**options).clone().busy_timeout(statement)),
                )
            }
        };
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

    pub(super) fn classify(&self, e: sqlx::Error) -> Error {
        classify(&self.label, self.acquire_timeout, self.statement_timeout, e)
    }

    /// The pool itself, where it is SQLite's.
    pub(super) fn sqlite(&self) -> Option<&SqlitePool> {
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

enum TxInner {
    MySql(sqlx::Transaction<'static, sqlx::MySql>),
    Postgres(sqlx::Transaction<'static, sqlx::Postgres>),
    Sqlite(SqliteTx),
}

/// A transaction; rolled back when dropped.
pub struct Tx<'a> {
    db: &'a Db,
    inner: TxInner,
}

impl Tx<'_> {
    /// Runs a statement inside the transaction.
    ///
    /// # Errors
    /// See [`Error`]; the transaction is of no more use then.
    pub async fn exec(&mut self, sql: &'static str, args: &[Arg]) -> Result<u64> {
        let text = self.db.text(sql);
        self.exec_text(&text, args).await
    }

    /// As [`Tx::exec`] for a statement put together at start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn exec_dynamic(&mut self, sql: &str, args: &[Arg]) -> Result<u64> {
        let text = translate(self.db.dialect(), sql);
        self.exec_text(&text, args).await
    }

    async fn exec_text(&mut self, text: &str, args: &[Arg]) -> Result<u64> {
        let inner = &mut self.inner;
        self.db
            .bounded(async {
                Ok(match inner {
                    TxInner::MySql(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args).execute(&mut **t).await?.rows_affected(),
                    TxInner::Postgres(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args).execute(&mut **t).await?.rows_affected(),
                    TxInner::Sqlite(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args).execute(t.connection()).await?.rows_affected(),
                })
            })
            .await
    }

    /// Reads rows inside the transaction.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch(&mut self, sql: &'static str, args: &[Arg]) -> Result<Vec<Row>> {
        let text = self.db.text(sql);
        self.fetch_text(&text, args).await
    }

    /// As [`Tx::fetch`] for a statement put together at start.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn fetch_dynamic(&mut self, sql: &str, args: &[Arg]) -> Result<Vec<Row>> {
        let text = translate(self.db.dialect(), sql);
        self.fetch_text(&text, args).await
    }

    async fn fetch_text(&mut self, text: &str, args: &[Arg]) -> Result<Vec<Row>> {
        let inner = &mut self.inner;
        self.db
            .bounded(async {
                Ok(match inner {
                    TxInner::MySql(t) => {
                        bind_all!(sqlx::query(AssertSqlSafe(text)), args).fetch_all(&mut **t).await?.into_iter().map(Row::MySql).collect()
                    }
                    TxInner::Postgres(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args)
                        .fetch_all(&mut **t)
                        .await?
                        .into_iter()
                        .map(Row::Postgres)
                        .collect(),
                    TxInner::Sqlite(t) => bind_all!(sqlx::query(AssertSqlSafe(text)), args)
                        .fetch_all(t.connection())
                        .await?
                        .into_iter()
                        .map(Row::Sqlite)
                        .collect(),
                })
            })
            .await
    }

    /// Commits.
    ///
    /// # Errors
    /// After [`Error::Unreachable`] and [`Error::Timeout`] it is not known whether the commit was done.
    pub async fn commit(self) -> Result<()> {
        let db = self.db;
        db.bounded(async {
            match self.inner {
                TxInner::MySql(t) => t.commit().await,
                TxInner::Postgres(t) => t.commit().await,
                TxInner::Sqlite(t) => t.commit().await,
            }
        })
        .await
    }

    /// Rolls back and waits for it.
    pub async fn rollback(self) {
        let _ = self
            .db
            .bounded(async {
                match self.inner {
                    TxInner::MySql(t) => t.rollback().await,
                    TxInner::Postgres(t) => t.rollback().await,
                    TxInner::Sqlite(t) => t.rollback().await,
                }
            })
            .await;
    }
}

/// Which class an error of the driver belongs to.
pub(super) fn classify(label: &Arc<str>, acquire: Duration, statement: Duration, e: sqlx::Error) -> Error {
    let database = label.clone();
    match &e {
        sqlx::Error::PoolTimedOut => Error::PoolExhausted { database, waited: acquire },
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed | sqlx::Error::Protocol(_) => {
            Error::Unreachable { database, source: e }
        }
        sqlx::Error::Database(d) => {
            let class = if let Some(m) = d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
                class_of_mysql(m.number(), m.message())
            } else if d.try_downcast_ref::<sqlx::postgres::PgDatabaseError>().is_some() {
                class_of_postgres(&d.code().unwrap_or_default())
            } else {
                class_of_sqlite(d.code().and_then(|c| c.parse().ok()).unwrap_or(0))
            };
            match class {
                Class::Contention => Error::Contention { database, source: e },
                Class::ReadOnly => Error::ReadOnly { database },
                Class::Timeout => Error::Timeout { database, waited: statement },
                Class::NoRoom => Error::NoRoom { database, source: e },
                Class::Unreachable => Error::Unreachable { database, source: e },
                Class::Statement => Error::Statement { database, source: e },
            }
        }
        _ => Error::Statement { database, source: e },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Contention,
    ReadOnly,
    Timeout,
    NoRoom,
    Unreachable,
    Statement,
}

fn class_of_mysql(number: u16, message: &str) -> Class {
    match number {
        // Lock wait, deadlock, and a row that another has changed.
        1205 | 1213 | 1020 => Class::Contention,
        // 1290 is any option of the server that forbids the statement.
        1290 if message.contains("read-only") || message.contains("read_only") => Class::ReadOnly,
        1792 | 1836 => Class::ReadOnly,
        // The bound of MariaDB, of MySQL, and a statement that an administrator has stopped.
        1969 | 3024 | 1317 => Class::Timeout,
        1021 | 1114 => Class::NoRoom,
        // Too many connections, shutdown, a connection that was killed or cut, a node outside its cluster.
        1040 | 1047 | 1053 | 1077 | 1152 | 1158..=1161 | 1184 | 1203 | 1226 | 1927 | 2006 | 2013 => Class::Unreachable,
        _ => Class::Statement,
    }
}

fn class_of_postgres(code: &str) -> Class {
    match code {
        "40001" | "40P01" | "55P03" => Class::Contention,
        "25006" => Class::ReadOnly,
        "57014" => Class::Timeout,
        "53100" => Class::NoRoom,
        // Whether it was done is not known, the server or the connection goes, or there are too many of them.
        "40003" | "53200" | "53300" | "57P01" | "57P02" | "57P03" | "57P05" | "25P03" | "25P04" => Class::Unreachable,
        code if code.starts_with("08") => Class::Unreachable,
        _ => Class::Statement,
    }
}

/// The lowest byte is the class of the result, the rest its kind.
fn class_of_sqlite(code: i64) -> Class {
    match code & 0xff {
        5 | 6 => Class::Contention,
        8 => Class::ReadOnly,
        9 => Class::Timeout,
        13 => Class::NoRoom,
        10 | 14 => Class::Unreachable,
        _ => Class::Statement,
    }
}

/// `?` to `$n` on PostgreSQL, and the tokens of the module page.
fn translate(dialect: Dialect, sql: &str) -> String {
    let (now, update) = match dialect {
        Dialect::MySql => ("CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS SIGNED)", "FOR UPDATE"),
        Dialect::Postgres => ("(extract(epoch from clock_timestamp()) * 1000)::bigint", "FOR UPDATE"),
        Dialect::Sqlite => ("CAST(unixepoch('subsec') * 1000 AS INTEGER)", ""),
    };
    let sql = sql.replace("{now}", now).replace("{update}", update);
    if dialect != Dialect::Postgres {
        return sql;
    }
    let mut out = String::with_capacity(sql.len() + 16);
    let (mut n, mut quoted) = (0, false);
    for c in sql.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                out.push(c);
            }
            '?' if !quoted => {
                n += 1;
                out.push('$');
                out.push_str(&n.to_string());
            }
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn question_marks_become_numbered_on_postgres_only_outside_quotes() {
        assert_eq!(translate(Dialect::Postgres, "select '?' where a = ? and b = ?"), "select '?' where a = $1 and b = $2");
        assert_eq!(translate(Dialect::Sqlite, "select '?' where a = ?"), "select '?' where a = ?");
    }
}
