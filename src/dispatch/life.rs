//! This replica's life, as far as work on accounts goes: rows name it as their owner, and when it is over others take them.
//!
//! It is not the mirror's epoch: that one leaves a gap when it dies, and is there only while the interceptor is.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ulid::Ulid;

use crate::config::Replica;
use crate::store::{Result, Store, lives};

pub(super) struct Life {
    id: String,
    replica: String,
    lease: Duration,
    alive: Mutex<HashSet<String>>,
}

impl Life {
    pub(super) fn new(replica: &Replica) -> Self {
        Self { id: Ulid::generate().to_string(), replica: replica.id.clone(), lease: replica.lease, alive: Mutex::default() }
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// How often [`Life::beat`] is due.
    pub(super) fn rhythm(&self) -> Duration {
        (self.lease / 4).max(Duration::from_millis(10))
    }

    /// Gives a sign of life and learns who else lives. The same at the first time and after the row was lost.
    pub(super) async fn beat(&self, store: &Store) -> Result<Vec<String>> {
        if !lives::beat(store.main(), &self.id).await? {
            lives::open(store.main(), &self.id, &self.replica).await?;
        }
        let lease = i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX);
        let alive = lives::alive(store.main(), lease).await?;
        *self.alive.lock().unwrap_or_else(PoisonError::into_inner) = alive.iter().cloned().collect();
        Ok(alive)
    }

    /// Whether that is the life of another replica, and goes on.
    pub(super) fn is_another(&self, id: Option<&str>) -> bool {
        id.is_some_and(|id| id != self.id && self.alive.lock().unwrap_or_else(PoisonError::into_inner).contains(id))
    }

    pub(super) async fn end(&self, store: &Store) {
        if let Err(e) = lives::close(store.main(), &self.id).await {
            tracing::debug!(error = %e, "this replica's work is free only after its lease");
        }
    }
}
