//! From what an account should be to what its agents are told: the one reconcile loop.
//!
//! Everybody else only changes rows (the interceptor by settling, the API, the scanner) and rings a [`Bell`]. The loop ([`run`]) reads the
//! rows whose time has come, and those whose agents have said something; [`plan`] says what each asks for; [`send`] asks the agents and
//! writes what they answer. Each write is a step of [`crate::lifecycle`] by compare-and-set, so a replica, a retry and a user's PATCH never
//! overwrite one another. What this process remembers ([`memory`]) may be lost at any time: rows and agents tell it again.

mod ask;
mod definition;
pub mod desk;
mod identity;
mod life;
mod memory;
mod metrics;
mod places;
pub mod plan;
mod registrations;
mod run;
mod send;
mod turns;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use ask::{Ask, Zone};
pub use desk::Desk;
pub use metrics::Metrics;

use crate::channel::Agents;
pub use crate::config::Limits;
use crate::config::Replica;
use crate::secrets::Resolver;
use crate::store::Store;
pub use crate::store::states::Bell;
use life::Life;
use memory::Memory;

/// An account of an agent that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Its name.
    pub account: Arc<str>,
    /// Whose.
    pub agent: Arc<str>,
    /// In words.
    pub why: String,
}

/// The loop and what it works with. One for each process.
pub struct Dispatch {
    store: Store,
    agents: Arc<dyn Agents>,
    limits: Limits,
    resolver: Resolver,
    bell: Bell,
    metrics: Metrics,
    life: Life,
    /// Called with the name of a row that has just gone: what waited for that goes on.
    gone: Box<dyn Fn(&str) + Send + Sync>,
    memory: Mutex<Memory>,
    ends: send::Ends,
    tasks: TaskTracker,
    cancel: CancellationToken,
}

impl Dispatch {
    /// Puts the parts together; nothing runs before [`Dispatch::run`].
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        store: Store,
        agents: Arc<dyn Agents>,
        limits: Limits,
        resolver: Resolver,
        replica: &Replica,
        bell: Bell,
        metrics: Metrics,
        gone: impl Fn(&str) + Send + Sync + 'static,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            life: Life::new(replica),
            store,
            agents,
            limits,
            resolver,
            bell,
            metrics,
            gone: Box::new(gone),
            memory: Mutex::default(),
            ends: send::Ends::default(),
            tasks: TaskTracker::new(),
            cancel,
        })
    }

    /// The bell to ring after a row was changed.
    pub fn bell(&self) -> &Bell {
        &self.bell
    }

    /// Accounts of agents that are refused now.
    pub fn refused(&self, account: &str) -> Vec<Refused> {
        let account: Arc<str> = account.into();
        let all = self.memory().refused_of(&account);
        all.into_iter().map(|(agent, why)| Refused { account: account.clone(), agent: agent.0, why }).collect()
    }

    /// Ends the loop and gives this life's work free. Call it before the store closes; `bound` for what is being written.
    pub async fn shutdown(&self, bound: Duration) {
        self.cancel.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(bound, self.tasks.wait()).await;
        let _ = tokio::time::timeout(bound, self.life.end(&self.store)).await;
    }

    /// Stops at once and leaves everything as it is, as a crash would. For tests of taking over.
    pub fn abandon(&self) {
        self.cancel.cancel();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
