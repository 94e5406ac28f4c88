//! Makes and widens Fairlead's tables at start: once, however many replicas start together.
//!
//! sqlx runs the files of `migrations/`; the lock around it is ours. Its own does not lock on MariaDB, where `GET_LOCK` answers NULL to the
//! negative time-out that it gives, and SQLite has none. Migrations only ever add (expand), so a replica of the version before goes on
//! working; what is not used any more may go one version later (contract).

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};

use super::db::{self, Db, PoolConfig, Target};
use super::{Store, adopt, collation};
use crate::config::SourceConfig;

/// How long a start waits while another one migrates.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// How long one statement of a migration may take; far above what these small tables need.
const STATEMENT: Duration = Duration::from_secs(120);
const TABLE: &str = "fairlead_migrations";

/// What a migration did.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Report {
    /// `kubesvc_accounts` was made; else it was there.
    pub created: bool,
    /// Columns that `kubesvc_accounts` was given.
    pub added: Vec<String>,
    /// What an operator should know, one sentence each.
    pub warnings: Vec<String>,
}

impl Report {
    pub(super) fn warn(&mut self, text: String) {
        self.warnings.push(text);
    }
}

/// Why the tables could not be made ready.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MigrateError {
    /// The database said no, or nothing.
    #[error(transparent)]
    Database(#[from] db::Error),
    /// The database user lacks a right.
    #[error("{database}: the database user lacks the right {right} on table {table} ({source}); docs/database.md lists the grants")]
    Right {
        /// Which pool.
        database: String,
        /// The table, and not the row, that it is about.
        table: String,
        /// `CREATE`, `ALTER`, `SELECT`, `INSERT`, `UPDATE` or `DELETE`.
        right: &'static str,
        /// The server's words.
        source: Box<sqlx::Error>,
    },
    /// `kubesvc_accounts` is there, but cannot be worked with.
    #[error("{database}: kubesvc_accounts cannot be used: {problem}")]
    Column {
        /// Which pool.
        database: String,
        /// What is wrong and what would be right.
        problem: String,
    },
    /// `kubesvc_accounts` was made and cannot be seen.
    #[error("{database}: kubesvc_accounts was made, and the database user cannot see it; docs/database.md lists the grants")]
    Hidden {
        /// Which pool.
        database: String,
    },
    /// Another start held the lock all the time.
    #[error("{database}: another start has held the migration lock for {waited:?}")]
    Locked {
        /// Which pool.
        database: String,
        /// How long was waited.
        waited: Duration,
    },
    /// The file beside SQLite's database that serves as the lock.
    #[error("{database}: the lock file {path} cannot be used ({source})")]
    LockFile {
        /// Which pool.
        database: String,
        /// The file.
        path: String,
        /// The system's words.
        source: std::io::Error,
    },
    /// A migration that was done differs from the file of this version.
    #[error("{database}: {source}")]
    Migration {
        /// Which pool.
        database: String,
        /// sqlx's words.
        source: sqlx::migrate::MigrateError,
    },
}

impl MigrateError {
    /// Will trying later help, with nothing changed by an operator?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(e) => e.is_transient(),
            Self::Locked { .. } => true,
            _ => false,
        }
    }

    pub(super) fn of(error: db::Error, right: &'static str, table: &str) -> Self {
        match error {
            db::Error::Statement { database, source } if lacks_right(&source) => {
                Self::Right { database: database.to_string(), table: table.to_owned(), right, source: Box::new(source) }
            }
            other => Self::Database(other),
        }
    }
}

pub(super) fn lacks_right(e: &sqlx::Error) -> bool {
    let Some(d) = e.as_database_error() else { return false };
    match d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        Some(m) => matches!(m.number(), 1044 | 1142 | 1143 | 1227 | 1370),
        None => d.code().is_some_and(|c| c == "42501"),
    }
}

/// Runs one statement; a missing right is told as `right` on `table`.
pub(super) async fn step(db: &Db, sql: &str, right: &'static str, table: &str) -> Result<(), MigrateError> {
    db.exec_dynamic(sql, &[]).await.map(drop).map_err(|e| MigrateError::of(e, right, table))
}

impl Store {
    /// Makes the tables ready and learns what they look like. Safe to call at once from many replicas, and again at any time.
    ///
    /// # Errors
    /// [`MigrateError`], with table and right where one is missing. What was done until then stays, and the next call carries on.
    ///
    /// Dropped half-way, a statement may still be done; the next call carries on.
    pub async fn migrate(&self) -> Result<Report, MigrateError> {
        let config = &self.config.main;
        // A pool of its own, since a lock or a change of a table may take longer than any statement should; SQLite may be in memory.
        let work = match config.target {
            Target::Sqlite(_) => self.main().clone(),
            _ => Db::open(&PoolConfig { max_connections: 1, statement_timeout: STATEMENT, ..config.clone() }),
        };
        let mut lock = Lock::take(config).await?;
        let done = self.migrate_locked(&work, &mut lock).await;
        lock.release().await;
        if !matches!(config.target, Target::Sqlite(_)) {
            work.close().await;
        }
        done
    }

    async fn migrate_locked(&self, work: &Db, lock: &mut Lock) -> Result<Report, MigrateError> {
        let mut report = Report::default();
        run_files(work, lock).await?;
        let shape = adopt::run(work, &mut report).await?;
        let elsewhere = self.foreign_collation(&mut report).await;
        adopt::collate(work, elsewhere.as_ref(), &mut report).await?;
        adopt::probe(work, &shape).await?;
        self.learn(shape);
        Ok(report)
    }

    /// The collation of `accounts.id` where that table lies in another database. Not seeing it is worth a warning: the reader of that
    /// database says what it lacks.
    async fn foreign_collation(&self, report: &mut Report) -> Option<collation::Collation> {
        let SourceConfig::OtherDatabase(config) = &self.config.source else { return None };
        let (Target::MySql(_), Target::MySql(_)) = (&config.target, &self.config.main.target) else { return None };
        let db = Db::open(&PoolConfig { max_connections: 1, ..config.clone() });
        let found = collation::of(&db, "accounts", "id").await;
        db.close().await;
        match found {
            Ok(Some(c)) => Some(c),
            Ok(None) => None,
            Err(e) => {
                report.warn(format!("the collation of Clouddriver's accounts.id could not be read, so ours stays as it is: {e}"));
                None
            }
        }
    }
}

macro_rules! files {
    ($folder:literal) => {
        [
            ("fairlead_intents", include_str!(concat!("../../migrations/", $folder, "/0001_fairlead_intents.sql"))),
            ("fairlead_names", include_str!(concat!("../../migrations/", $folder, "/0002_fairlead_names.sql"))),
            ("fairlead_epochs", include_str!(concat!("../../migrations/", $folder, "/0003_fairlead_epochs.sql"))),
            ("fairlead_tombstones", include_str!(concat!("../../migrations/", $folder, "/0004_fairlead_tombstones.sql"))),
            ("fairlead_meta", include_str!(concat!("../../migrations/", $folder, "/0005_fairlead_meta.sql"))),
            ("fairlead_hand", include_str!(concat!("../../migrations/", $folder, "/0006_fairlead_hand.sql"))),
            ("fairlead_lives", include_str!(concat!("../../migrations/", $folder, "/0007_fairlead_lives.sql"))),
        ]
    };
}

/// On MySQL each file is one statement that may be run again, because a change of a table commits by itself there.
fn migrator(files: &[(&'static str, &'static str)]) -> Migrator {
    let migrations = (1..)
        .zip(files)
        .map(|(version, (name, sql))| Migration::new(version, (*name).into(), MigrationType::Simple, (*sql).into_sql_str(), false))
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.dangerous_set_table_name(TABLE);
    migrator.set_locking(false);
    // A newer replica may already have widened the schema.
    migrator.set_ignore_missing(true);
    migrator
}

async fn run_files(work: &Db, lock: &mut Lock) -> Result<(), MigrateError> {
    let (files, done) = match lock {
        Lock::MySql(conn) => {
            let files = files!("mysql");
            // A start that was killed, or that lacked a right, between a file and its mark: the file is run again.
            let known = "SELECT CAST(COUNT(*) AS SIGNED) FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?";
            let known: i64 = sqlx::query_scalar(known).bind(TABLE).fetch_one(&mut *conn).await.map_err(|e| work.classify(e))?;
            if known > 0 {
                let clear = sqlx::query(AssertSqlSafe(format!("DELETE FROM {TABLE} WHERE success = FALSE"))).execute(&mut *conn).await;
                clear.map_err(|e| MigrateError::of(work.classify(e), "DELETE", TABLE))?;
            }
            (files, migrator(&files).run_direct(None, conn, false).await)
        }
        Lock::Postgres(conn) => {
            let files = files!("postgres");
            (files, migrator(&files).run_direct(None, conn, false).await)
        }
        Lock::Sqlite { .. } => {
            let files = files!("sqlite");
            let Some(pool) = work.sqlite() else { return Ok(()) };
            let mut conn = pool.acquire().await.map_err(|e| work.classify(e))?;
            (files, migrator(&files).run_direct(None, &mut *conn, false).await)
        }
    };
    use sqlx::migrate::MigrateError as Sqlx;
    done.map_err(|e| match e {
        Sqlx::Execute(e) => MigrateError::of(work.classify(e), "CREATE", TABLE),
        Sqlx::ExecuteMigration(e, version) => {
            let table = usize::try_from(version - 1).ok().and_then(|i| files.get(i)).map_or(TABLE, |(name, _)| name);
            MigrateError::of(work.classify(e), "CREATE", table)
        }
        source => MigrateError::Migration { database: work.label().to_owned(), source },
    })
}

/// One in a process migrates an embedded database at a time; the file keeps other processes out.
static SQLITE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// The right to migrate. Dropped, its connection (or file) closes, and with it the lock goes.
enum Lock {
    MySql(MySqlConnection),
    Postgres(PgConnection),
    Sqlite { _process: tokio::sync::MutexGuard<'static, ()>, _file: Option<File> },
}

impl Lock {
    async fn take(config: &PoolConfig) -> Result<Self, MigrateError> {
        let database = config.label.to_string();
        let locked = || MigrateError::Locked { database: database.clone(), waited: LOCK_WAIT };
        let failed = |e| MigrateError::Database(db::classify(&config.label, config.acquire_timeout, STATEMENT, e));
        let bound = config.acquire_timeout;
        let unreachable = |_| MigrateError::Database(db::Error::PoolExhausted { database: config.label.clone(), waited: bound });
        match &config.target {
            Target::MySql(options) => {
                let mut conn = tokio::time::timeout(bound, options.connect()).await.map_err(unreachable)?.map_err(failed)?;
                // The name is of the whole server, so the schema is part of it; the server takes 64 characters.
                let sql = format!("SELECT CAST(GET_LOCK(CONCAT('fairlead.', SHA1(DATABASE())), {}) AS SIGNED)", LOCK_WAIT.as_secs());
                let asked = sqlx::query_scalar::<_, Option<i64>>(AssertSqlSafe(sql)).fetch_one(&mut conn);
                let got = tokio::time::timeout(LOCK_WAIT + bound, asked).await.map_err(|_| locked())?.map_err(failed)?;
                if got == Some(1) { Ok(Self::MySql(conn)) } else { Err(locked()) }
            }
            Target::Postgres(options) => {
                let options = (**options).clone().options([("statement_timeout", "0"), ("lock_timeout", "0")]);
                let mut conn = tokio::time::timeout(bound, options.connect()).await.map_err(unreachable)?.map_err(failed)?;
                // The advisory lock is of one database; schemas in it get keys of their own.
                let asked =
                    sqlx::query("SELECT pg_advisory_lock(hashtext('fairlead.migrate'), hashtext(current_schema()))").execute(&mut conn);
                tokio::time::timeout(LOCK_WAIT, asked).await.map_err(|_| locked())?.map_err(failed)?;
                Ok(Self::Postgres(conn))
            }
            Target::Sqlite(options) => {
                let _process = tokio::time::timeout(LOCK_WAIT, SQLITE.lock()).await.map_err(|_| locked())?;
                let path = options.get_filename();
                let in_memory = is_in_memory(path);
                let _file = if in_memory { None } else { Some(lock_file(&database, path, &locked).await?) };
                Ok(Self::Sqlite { _process, _file })
            }
        }
    }

    /// Gives the lock back and waits for it, so that the next start need not wait for the server to notice.
    async fn release(self) {
        let bound = Duration::from_secs(5);
        match self {
            Self::MySql(c) => drop(tokio::time::timeout(bound, c.close()).await),
            Self::Postgres(c) => drop(tokio::time::timeout(bound, c.close()).await),
            Self::Sqlite { .. } => {}
        }
    }
}

fn is_in_memory(path: &Path) -> bool {
    let text = path.to_string_lossy();
    // The second is what the driver makes of `sqlite::memory:`.
    text.is_empty() || text == ":memory:" || text.starts_with("file:sqlx-in-memory") || text.contains("mode=memory")
}

/// `<database>.migrate.lock`, locked for this process. It stays: removing it would let two in.
async fn lock_file(database: &str, path: &Path, locked: &impl Fn() -> MigrateError) -> Result<File, MigrateError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".migrate.lock");
    let failed = |source| MigrateError::LockFile { database: database.to_owned(), path: Path::new(&name).display().to_string(), source };
    let file = File::options().create(true).append(true).open(&name).map_err(failed)?;
    let until = Instant::now() + LOCK_WAIT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < until => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(std::fs::TryLockError::WouldBlock) => return Err(locked()),
            Err(std::fs::TryLockError::Error(e)) => return Err(failed(e)),
        }
    }
}
