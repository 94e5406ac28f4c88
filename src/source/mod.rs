//! Reading what Clouddriver stores. Nothing here ever writes.
//!
//! Two ways: [`sql`] reads `accounts` with one statement each; [`api`] asks Clouddriver itself, where its database is out of
//! reach, and says "unknown" wherever the answer proves nothing.

use crate::account::Incarnation;

/// One row of Clouddriver's `accounts`.
#[derive(Clone)]
pub struct SourceRow {
    /// The id exactly as stored.
    pub id: String,
    /// The column `type`; it decides, not the body.
    pub kind: String,
    /// The definition, as Clouddriver's text.
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
}

/// What one name's reading found.
#[derive(Clone, Debug)]
pub enum Reading {
    /// The row.
    Present(SourceRow),
    /// Certainly no row.
    Absent,
    /// Nothing can be said (API only); change nothing.
    Unknown(String),
}

/// Why Clouddriver's accounts could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no, or nothing.
    #[error(transparent)]
    Database(#[from] crate::store::db::Error),
    /// The server is a replica or in recovery: what it shows may be old.
    #[error("{0} is read-only or in recovery, so what it shows may be old: point sql.connectionPools at the primary")]
    NotPrimary(String),
    /// Clouddriver's API could not be asked.
    #[error("Clouddriver's API at {hop} could not be asked: {reason}")]
    Api {
        /// Host and port.
        hop: String,
        /// What happened; never a body.
        reason: String,
    },
}
