//! Why a statement failed, in classes, by the codes of the three servers.

use std::sync::Arc;
use std::time::Duration;

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
    pub(in crate::store) fn says_column_exists(&self) -> bool {
        let Self::Statement { source, .. } = self else { return false };
        source.as_database_error().is_some_and(|d| match d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
            Some(m) => m.number() == 1060,
            None => d.code().is_some_and(|c| c == "42701") || d.message().starts_with("duplicate column name"),
        })
    }

    /// Was it refused because a row of that key is there already?
    pub fn says_duplicate(&self) -> bool {
        let Self::Statement { source, .. } = self else { return false };
        source.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
    }
}

/// Which class an error of the driver belongs to.
pub(in crate::store) fn classify(label: &Arc<str>, acquire: Duration, statement: Duration, e: sqlx::Error) -> Error {
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
