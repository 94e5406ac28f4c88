//! Whether this replica should be given traffic.
//!
//! Ready is about serving, and serving needs no database: Fairlead passes requests on whatever the state of its own store
//! (promise 1 of the design). So the database's state is told in the body of `/health/ready` and never makes a replica unready;
//! otherwise one slow database would take every replica, and with them Clouddriver, out of service at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Where a replica is in its life. It moves forward only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServingState {
    /// Start has not finished; not ready.
    Starting,
    /// The data plane listens; ready.
    Ready,
    /// SIGTERM came: requests in flight are served to their end, new ones should go elsewhere; not ready.
    Draining,
}

impl ServingState {
    /// The word in `/health/ready` and `/info`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Draining => "draining",
        }
    }
}

/// The one place that says whether this replica is ready. Cheap to clone; every clone is the same replica.
///
/// It starts as [`ServingState::Starting`] and becomes ready only by [`Readiness::set_ready`]: a start that fails half-way, or a
/// handle that is dropped, never makes a replica ready.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<AtomicU8>);

const STARTING: u8 = 0;
const READY: u8 = 1;
const DRAINING: u8 = 2;

impl Readiness {
    /// A replica that is starting.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that start has finished. After [`Readiness::drain`] it changes nothing: a drain that began during a slow start stands.
    pub fn set_ready(&self) {
        let _ = self.0.compare_exchange(STARTING, READY, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Says that this replica is leaving. There is no way back.
    pub fn drain(&self) {
        self.0.store(DRAINING, Ordering::Release);
    }

    /// Where the replica is now.
    pub fn state(&self) -> ServingState {
        match self.0.load(Ordering::Acquire) {
            STARTING => ServingState::Starting,
            READY => ServingState::Ready,
            _ => ServingState::Draining,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replica_is_ready_only_after_start_said_so() {
        let readiness = Readiness::new();
        assert_eq!(readiness.state(), ServingState::Starting);
        drop(readiness.clone());
        assert_eq!(readiness.state(), ServingState::Starting);
        readiness.set_ready();
        assert_eq!(readiness.state(), ServingState::Ready);
    }

    #[test]
    fn a_drain_is_final_even_when_start_finishes_after_it() {
        let readiness = Readiness::new();
        readiness.drain();
        readiness.set_ready();
        assert_eq!(readiness.state(), ServingState::Draining);
    }
}
