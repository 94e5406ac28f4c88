//! What users ask for, as plain values. The API reads them from bodies; [`super::desk`] makes rows of them.

use serde_json::{Map, Value};

/// An account and what is said about it.
#[derive(Clone, PartialEq)]
pub struct Ask {
    /// Its name, as the user wrote it.
    pub name: String,
    /// Which agents may have it.
    pub zone: Zone,
    /// Properties for its overlay (or, for one that is created, its definition); `null` takes one out. May hold credentials.
    pub properties: Map<String, Value>,
}

/// What becomes of an account's zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Zone {
    /// Nothing was said of it.
    #[default]
    Keep,
    /// Any agent may have it again.
    Any,
    /// Only agents of this one.
    Only(String),
}

impl std::fmt::Debug for Ask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ask").field("name", &self.name).field("zone", &self.zone).finish_non_exhaustive()
    }
}
