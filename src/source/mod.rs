//! Reading what Clouddriver stores. Nothing here ever writes.
//!
//! Two ways: [`Sql`] reads `accounts` with one statement each; [`Api`] asks Clouddriver itself, where its database is out of
//! reach, and says "unknown" wherever the answer proves nothing.
//!
//! Names are compared by Clouddriver's database and never here: `acc` and `ACC ` are one account on MariaDB and two on
//! PostgreSQL. So a [`SourceRow`]'s id may be spelled differently from the name that was asked for.
//!
//! Left to others: what a definition means, and what follows for the mirror.

mod api;
mod encoding;
mod http;
mod judge;
mod names;
mod sign;
mod sql;
mod statements;

pub use api::{Api, ApiConfig};
pub use names::{Names, SortedNames};
pub use sign::Sign;
pub use sql::Sql;

use crate::account::Incarnation;
use crate::config::{Clouddriver, SourceConfig};
use crate::store::db::Db;
use crate::tls::upstream::Connector;

/// Where Clouddriver's accounts are read from. Clones share their connections.
#[derive(Clone, Debug)]
pub enum Source {
    /// From the table `accounts`.
    Sql(Sql),
    /// From Clouddriver's API.
    Api(Api),
}

/// One row of Clouddriver's `accounts`.
#[derive(Clone)]
pub struct SourceRow {
    /// The id exactly as stored. By the API: the name in the definition, which may differ from the id in what the database
    /// ignores (Clouddriver keeps the first spelling as id and the last in the definition).
    pub id: String,
    /// The column `type`; it decides, not the body.
    pub kind: String,
    /// The definition, as Clouddriver's text. Empty where a page holds a row of another type than `kubernetes`.
    pub body: String,
    /// Creation time: which life of the name this is.
    pub incarnation: Incarnation,
    /// Time of the last change. For "did it change?" only; it orders nothing. `None` where the API does not tell.
    pub modified: Option<i64>,
}

impl std::fmt::Debug for SourceRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SourceRow")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("incarnation", &self.incarnation)
            .field("modified", &self.modified)
            .finish_non_exhaustive()
    }
}

impl SourceRow {
    /// Whether the row is a Kubernetes account.
    pub fn is_kubernetes(&self) -> bool {
        self.kind == "kubernetes"
    }

    /// The definition as a value, as whoever takes it over reads it. `None`: it is no JSON, or not an object, which is an account neither to
    /// Clouddriver (it passes such a row over) nor to anybody else.
    pub fn definition(&self) -> Option<serde_json::Value> {
        serde_json::from_str(&self.body).ok().filter(serde_json::Value::is_object)
    }
}

/// What one name's reading found.
#[derive(Clone, Debug)]
pub enum Reading {
    /// The row.
    Present(SourceRow),
    /// Certainly no row.
    Absent,
    /// Nothing can be said: the row cannot be decoded, or the API's answers prove nothing. Change nothing. The text says why
    /// and holds nothing of a definition.
    Unknown(String),
}

/// A row that is there and cannot be used.
#[derive(Clone, Debug)]
pub struct Poison {
    /// Its id, or what can be shown of one that is no text.
    pub id: String,
    /// What is wrong with it; never a part of its body.
    pub reason: String,
}

/// A row whose definition was not read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bare {
    /// The id exactly as stored.
    pub id: String,
    /// Its type is `kubernetes`, or cannot be told. Nothing else of the row was looked at: reading it may find that it cannot be used.
    pub may_be_kubernetes: bool,
    /// As [`SourceRow::modified`].
    pub modified: Option<i64>,
}

/// One step of a pass over all accounts.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The rows in the database's order of ids, all types by SQL, Kubernetes accounts by the API.
    pub rows: Vec<SourceRow>,
    /// Rows of all types that came without their definitions ([`Source::skim`]), in the same order.
    pub bare: Vec<Bare>,
    /// Rows of this step that cannot be used. They are there: never take them for absent.
    pub poison: Vec<Poison>,
    /// Where the next step starts (`after`); `None` at the end.
    pub next: Option<String>,
    /// How many rows the source showed for this step, poison included.
    pub raw_count: usize,
}

/// What a name's row was just before a change was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreImage {
    /// No row.
    None,
    /// A row.
    Row {
        /// Its incarnation.
        created: i64,
        /// Its `last_modified_at`.
        modified: i64,
    },
    /// Not known.
    Unknown,
}

/// What [`Source::check`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceInfo {
    /// `sql` or `api`.
    pub mode: &'static str,
    /// The pool's name, or Clouddriver's host and port.
    pub place: String,
    /// The server's own words about its version; empty by the API.
    pub server: String,
}

/// Why Clouddriver's accounts could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database said no, or nothing.
    #[error(transparent)]
    Database(#[from] crate::store::db::Error),
    /// The server is a replica or in recovery: what it shows may be old.
    #[error("{0} is read-only or in recovery, so what it shows may be old: point sql.connectionPools at the primary")]
    NotPrimary(String),
    /// The table is not there (yet).
    #[error(
        "{0}: there is no table accounts: Clouddriver makes it when it starts with sql.enabled and account.storage.enabled; \
         is this its database?"
    )]
    NoTable(String),
    /// The user lacks the one right that is needed.
    #[error("{0}: the database user may not read the table accounts: grant it SELECT on accounts, it needs no more")]
    NoRight(String),
    /// Clouddriver's API could not be asked.
    #[error("Clouddriver's API at {hop} could not be asked: {reason}")]
    Api {
        /// Host and port.
        hop: String,
        /// What happened; never a body.
        reason: String,
    },
}

impl Error {
    /// Will trying later help, with no setting and no grant changed?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database(e) => e.is_transient(),
            // A failover ends, and Clouddriver's first start makes the table.
            Self::NotPrimary(_) | Self::NoTable(_) | Self::Api { .. } => true,
            Self::NoRight(_) => false,
        }
    }
}

impl Source {
    /// The source that the settings ask for; `main` is the pool of Fairlead's own tables, `tls` how Clouddriver is spoken to. Opens
    /// no connection yet.
    pub fn open(config: &SourceConfig, main: &Db, clouddriver: &Clouddriver, tls: Option<Connector>) -> Self {
        match config {
            SourceConfig::SameDatabase => Self::Sql(Sql::new(main.clone())),
            SourceConfig::OtherDatabase(pool) => Self::Sql(Sql::new(Db::open(pool))),
            SourceConfig::Api { user } => Self::Api(Api::new(ApiConfig::new(clouddriver, user.clone(), tls))),
        }
    }

    /// Reads one name, as the source's database compares names. The answer is of a moment after the call.
    ///
    /// # Errors
    /// See [`Error`]: nothing was learnt. Dropping the future leaves nothing behind.
    pub async fn read(&self, name: &str) -> Result<Reading, Error> {
        match self {
            Self::Sql(s) => s.read(name).await,
            Self::Api(a) => a.read(name).await,
        }
    }

    /// As [`Source::read`] for some hundred names, with as few questions as the source takes. `None`: that name is to be asked for alone.
    ///
    /// # Errors
    /// See [`Error`]: nothing was learnt of any.
    pub async fn read_all(&self, names: &[&str]) -> Result<Vec<Option<Reading>>, Error> {
        match self {
            Self::Sql(s) => s.read_all(names).await,
            Self::Api(a) => a.read_all(names).await,
        }
    }

    /// Reads the accounts after `after` (from the start with `None`), at most `limit` of them; fewer where definitions are
    /// large, more where ids are no text. A row that exists throughout a pass is seen exactly once in it. By the API a row that Clouddriver cannot
    /// resolve is left out, so that what a pass does not show is to be asked for with [`Source::read`].
    ///
    /// # Errors
    /// See [`Error`]. Dropping the future leaves nothing behind.
    pub async fn page(&self, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        match self {
            Self::Sql(s) => s.page(sql::Range { after, ..sql::Range::default() }, limit).await,
            Self::Api(a) => a.page(after, limit).await,
        }
    }

    /// As [`Source::page`] for whoever wants few of the definitions: by SQL the rows come without them, and as many as `limit`, up to 10,000; by
    /// the API, which has no list without definitions, with them.
    ///
    /// # Errors
    /// As [`Source::page`].
    pub async fn skim(&self, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        match self {
            Self::Sql(s) => s.skim(after, limit).await,
            Self::Api(a) => a.page(after, limit).await,
        }
    }

    /// As [`Source::page`], of the accounts up to `upto` (to the end with `None`) that say to have been changed at `since` or later. It
    /// costs the source what lies between `after` and `upto`, and the answer is as large as what has changed. By the API there is no such
    /// question, and no row.
    ///
    /// # Errors
    /// As [`Source::page`].
    pub async fn changed(&self, after: Option<&str>, upto: Option<&str>, since: i64, limit: u32) -> Result<Page, Error> {
        match self {
            Self::Sql(s) => s.page(sql::Range { after, upto, since: Some(since) }, limit).await,
            Self::Api(_) => Ok(Page::default()),
        }
    }

    /// What the source says of changes, in constant time. `None`: it cannot be asked, as by the API.
    pub async fn sign(&self) -> Option<Sign> {
        let Self::Sql(sql) = self else { return None };
        match sql.sign().await {
            Ok(sign) => Some(sign),
            Err(e) => {
                tracing::debug!(error = %e, "whether Clouddriver's table has changed cannot be asked");
                None
            }
        }
    }

    /// Whether the accounts can be read here and now.
    ///
    /// # Errors
    /// See [`Error`]; the text says what to change.
    pub async fn check(&self) -> Result<SourceInfo, Error> {
        match self {
            Self::Sql(s) => s.check().await,
            Self::Api(a) => a.check().await,
        }
    }

    /// The row of a name before a change is forwarded. Whatever goes wrong is [`PreImage::Unknown`]; so is the API, whose
    /// two questions would cost a change more than they tell.
    pub async fn pre_image(&self, name: &str) -> PreImage {
        match self {
            Self::Sql(s) => s.pre_image(name).await,
            Self::Api(_) => PreImage::Unknown,
        }
    }

    /// About how many rows there are, where that costs nothing to know. For people who wait only.
    pub async fn estimate(&self) -> Option<u64> {
        match self {
            Self::Sql(s) => s.estimate().await,
            Self::Api(_) => None,
        }
    }

    /// `sql` or `api`, as the mirror notes it beside a row.
    pub const fn mode(&self) -> &'static str {
        match self {
            Self::Sql(_) => "sql",
            Self::Api(_) => "api",
        }
    }
}
