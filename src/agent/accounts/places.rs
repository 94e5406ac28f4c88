//! Whose turn it is: how many clusters are reached at a time.
//!
//! A cluster that answers does so soon, and one that hangs is waited for until its time-out. So that those that hang do not keep the others
//! waiting, an attempt that takes long leaves its place to the next one, and goes on among a bounded number of slow ones.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

/// What takes longer than this is slow. Far above what a cluster takes that answers: where the agent itself is slow, those that are slow
/// because of it must not become many more.
const SLOW: Duration = Duration::from_secs(1);
/// Slow ones for each place.
const SLOW_FOR_EACH: usize = 4;

/// The places.
pub(super) struct Places {
    quick: Semaphore,
    slow: Semaphore,
}

impl Places {
    /// So many at a time, but for slow ones.
    pub(super) fn new(at_once: usize) -> Self {
        Self { quick: Semaphore::new(at_once), slow: Semaphore::new(at_once * SLOW_FOR_EACH) }
    }

    /// Waits for a place, in the order of the calls. `None`: there was none until then.
    pub(super) async fn turn(&self, by: Option<Instant>) -> Option<SemaphorePermit<'_>> {
        let turn = self.quick.acquire();
        match by {
            Some(by) => tokio::time::timeout_at(by, turn).await.ok()?.ok(),
            None => turn.await.ok(),
        }
    }

    /// Does what there is a place for.
    pub(super) async fn spend<T>(&self, place: SemaphorePermit<'_>, attempt: impl Future<Output = T>) -> T {
        let mut attempt = pin!(attempt);
        let slow = async {
            tokio::time::sleep(SLOW).await;
            self.slow.acquire().await
        };
        let _slow = tokio::select! {
            biased;
            done = &mut attempt => return done,
            slow = slow => slow,
        };
        drop(place);
        attempt.await
    }
}
