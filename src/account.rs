//! The words that all parts share: an account's name, where it came from, the state it is in.
//!
//! No logic of any part lives here, so that each may use it without knowing another.

use std::fmt;

/// When a row of Clouddriver's table was created, in its own milliseconds.
///
/// An account that is deleted and created again has a new one; an update keeps it. It is compared for equality
/// only: Clouddriver's clocks order nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Incarnation(pub i64);

/// Which way a row came into the mirror (column `fl_origin`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An acknowledged `POST /credentials` that passed through the proxy.
    Interceptor,
    /// The scanner found it in Clouddriver's table.
    Scanner,
    /// `POST /armory/accounts`, or a dynamic row adopted from the original plugin.
    Migrated,
    /// `POST /armory/accounts/dynamic`: it never was in Clouddriver.
    Created,
    /// An agent's own configuration file (static).
    Agent,
}

impl Origin {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Interceptor, Self::Scanner, Self::Migrated, Self::Created, Self::Agent];

    /// The text in the column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Interceptor => "interceptor",
            Self::Scanner => "scanner",
            Self::Migrated => "migrated",
            Self::Created => "created",
            Self::Agent => "agent",
        }
    }

    /// Reads the column's text; `None` for a word that is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "interceptor" => Self::Interceptor,
            "scanner" => Self::Scanner,
            "migrated" => Self::Migrated,
            "created" => Self::Created,
            "agent" => Self::Agent,
            _ => return None,
        })
    }

    /// As a row has it: one that was taken over from the plugin has none, and a word that is not ours counts as none.
    pub fn stored(text: Option<&str>, dynamic: bool) -> Self {
        text.and_then(Self::parse).unwrap_or(if dynamic { Self::Migrated } else { Self::Agent })
    }

    /// Whether such a row mirrors one of Clouddriver's, so that settling, drift and deletion may touch it.
    pub const fn follows_clouddriver(self) -> bool {
        matches!(self, Self::Interceptor | Self::Scanner | Self::Migrated)
    }
}

/// The state of an account, in the words of the original's contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Status {
    Inactive,
    ToMigrate,
    Activating,
    Active,
    Failed,
    Orphaned,
    ToDeactivate,
    Deactivating,
    Deleting,
    DeleteFailed,
}

impl Status {
    /// The text in the column and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Inactive => "INACTIVE",
            Self::ToMigrate => "TO_MIGRATE",
            Self::Activating => "ACTIVATING",
            Self::Active => "ACTIVE",
            Self::Failed => "FAILED",
            Self::Orphaned => "ORPHANED",
            Self::ToDeactivate => "TO_DEACTIVATE",
            Self::Deactivating => "DEACTIVATING",
            Self::Deleting => "DELETING",
            Self::DeleteFailed => "DELETE_FAILED",
        }
    }

    /// All of them, in the order of the documents.
    pub const ALL: [Self; 10] = [
        Self::Inactive,
        Self::ToMigrate,
        Self::Activating,
        Self::Active,
        Self::Failed,
        Self::Orphaned,
        Self::ToDeactivate,
        Self::Deactivating,
        Self::Deleting,
        Self::DeleteFailed,
    ];

    /// Reads the column's text; `None` for a word that is not ours.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == text)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
