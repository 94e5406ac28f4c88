//! Places for the scanner's accounts: at most `scanBatchSize` of them are ACTIVATING at once. One that waits for an agent holds none, and
//! what users ask for needs none.
//!
//! Places are counted in the database at each look, so several replicas share them; two that look at the same moment may take more by
//! what one look takes.

use std::time::Duration;

/// How long accounts wait for a place at least. So many as there are places come to ask in that time, however many wait.
const PAUSE: Duration = Duration::from_millis(500);

/// What is left for one look.
pub(super) struct Places {
    free: u64,
    /// How many rounds of places those take that wait.
    rounds: f64,
}

impl Places {
    /// Of so many in all.
    pub(super) fn new(all: u32, taken: u64, waiting: u64) -> Self {
        let all = u64::from(all.max(1));
        #[allow(clippy::cast_precision_loss, reason = "about how many is enough")]
        let rounds = waiting as f64 / all as f64;
        Self { free: all.saturating_sub(taken), rounds }
    }

    /// Takes one.
    pub(super) fn take(&mut self) -> bool {
        let free = self.free > 0;
        self.free = self.free.saturating_sub(1);
        free
    }

    /// When one that got none asks again: some time within the rounds that those before it take.
    pub(super) fn pause(&self) -> Duration {
        PAUSE.mul_f64(1.0 + fastrand::f64() * self.rounds.min(7_200.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_are_free() {
        let taken = |all, under_way| {
            let mut places = Places::new(all, under_way, 100);
            (0..100).filter(|_| places.take()).count()
        };
        assert_eq!((taken(5, 0), taken(5, 3), taken(5, 5), taken(5, 9)), (5, 2, 0, 0));
    }

    #[test]
    fn who_waits_comes_back_within_the_time_that_those_before_it_take() {
        for waiting in [0, 10, 1_000] {
            let places = Places::new(10, 10, waiting);
            let longest = PAUSE * (1 + u32::try_from(waiting / 10).unwrap());
            assert!((0..1_000).all(|_| (PAUSE..=longest).contains(&places.pause())), "{waiting}");
        }
    }
}
