//! One TCP connection to a host, through a proxy or not, with TLS or not, and a clear word where there is none.
//!
//! Both ways out of an agent begin here: to Fairlead and to the API servers of clusters.

mod connect;
mod guard;
mod proxy;

pub(crate) use connect::{Refusal, Stream, Target, dial};

use super::failure::Reason;

/// Why there is no connection. The words name hosts and causes, never a secret, and are meant to stand behind "cannot be reached: ".
#[derive(Clone, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct DialError {
    /// Its class.
    pub(crate) reason: Reason,
    /// In words.
    pub(crate) text: String,
}

impl DialError {
    fn new(reason: Reason, text: impl Into<String>) -> Self {
        Self { reason, text: text.into() }
    }
}
