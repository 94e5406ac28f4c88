//! What goes into a statement, and what comes out.

use sqlx::Row as _;
use sqlx::mysql::MySqlRow;
use sqlx::postgres::PgRow;
use sqlx::sqlite::SqliteRow;

/// A value for one `?`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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

    /// As [`Row::text`], of any column that holds text or bytes: bytes that are no UTF-8 come back as they are.
    ///
    /// # Errors
    /// The driver's, when the column is of another kind.
    pub fn text_or_bytes(&self, i: usize) -> std::result::Result<Option<std::result::Result<String, Vec<u8>>>, sqlx::Error> {
        let bytes: Option<Vec<u8>> = match self {
            Self::MySql(r) => r.try_get_unchecked(i)?,
            Self::Postgres(r) => r.try_get_unchecked(i)?,
            Self::Sqlite(r) => r.try_get_unchecked(i)?,
        };
        Ok(bytes.map(|b| String::from_utf8(b).map_err(std::string::FromUtf8Error::into_bytes)))
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

pub(super) use bind_all;
