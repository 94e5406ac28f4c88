//! How slowly a client may send what it announced, or take what is due to it.

use std::time::Duration;

use tokio::time::Instant;

/// What is asked of clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Least {
    /// How long nothing at all may move while they are waited for.
    pub(super) stall: Duration,
    /// Bytes a second, over each such time in which they are waited for; 0: as slowly as they like.
    pub(super) rate: u64,
}

/// What one has moved in the time in which it was waited for. What others took of that time is not its own.
#[derive(Debug)]
pub(super) struct Pace {
    least: Least,
    /// Waited for since, without anything that moved.
    since: Option<Instant>,
    /// Of this stretch: how long it was waited for before, and since when it is now.
    waited: Duration,
    from: Option<Instant>,
    moved: u64,
}

impl Pace {
    pub(super) fn new(least: Least) -> Self {
        Self { least, since: None, waited: Duration::ZERO, from: None, moved: 0 }
    }

    /// Bytes came, or were taken.
    pub(super) fn moved(&mut self, bytes: usize) {
        if bytes > 0 {
            self.moved += bytes as u64;
            self.since = None;
        }
    }

    /// The client is waited for from now on.
    pub(super) fn waits(&mut self) {
        if self.from.is_none() || self.since.is_none() {
            let now = Instant::now();
            self.since.get_or_insert(now);
            self.from.get_or_insert(now);
        }
    }

    /// It is not: somebody else has the next word.
    pub(super) fn rests(&mut self) {
        self.since = None;
        if let Some(from) = self.from.take() {
            self.waited += from.elapsed();
        }
    }

    /// When it is to be asked again, at the latest. `None`: nobody waits.
    pub(super) fn due(&self) -> Option<Instant> {
        let stalled = self.since? + self.least.stall;
        let slow = self.from.filter(|_| self.least.rate > 0).map(|from| from + self.least.stall.saturating_sub(self.waited));
        Some(slow.map_or(stalled, |slow| slow.min(stalled)))
    }

    /// Whether it has had its time. If it was fast enough until now, the next stretch begins.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        if self.since.is_some_and(|since| since + self.least.stall <= now) {
            return true;
        }
        let Some(from) = self.from else { return false };
        let waited = self.waited + now.saturating_duration_since(from);
        if self.least.rate == 0 || waited < self.least.stall {
            return false;
        }
        // In whole bytes, and at least one.
        let least = self.least.stall.as_millis() * u128::from(self.least.rate) / 1000;
        if u128::from(self.moved) < least.max(1) {
            return true;
        }
        (self.waited, self.from, self.moved) = (Duration::ZERO, Some(now), 0);
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::{advance, pause};

    const STALL: Duration = Duration::from_secs(10);

    /// Moves so many bytes every second, with as many seconds of others between; after how many of its own seconds it is over.
    async fn lasts(rate: u64, bytes: usize, of_others: u64) -> Option<u64> {
        let mut pace = Pace::new(Least { stall: STALL, rate });
        for second in 1..1000 {
            pace.waits();
            advance(Duration::from_secs(1)).await;
            let now = Instant::now();
            if pace.due().is_some_and(|due| due <= now) && pace.is_over(now) {
                return Some(second);
            }
            pace.moved(bytes);
            if of_others > 0 {
                pace.rests();
                assert_eq!(pace.due(), None);
                advance(Duration::from_secs(of_others)).await;
            }
        }
        None
    }

    #[tokio::test]
    async fn who_is_too_slow_is_given_up_after_one_stretch_and_who_is_not_never() {
        pause();
        for of_others in [0, 1, 100] {
            assert_eq!(lasts(16, 0, of_others).await, Some(10));
            assert_eq!(lasts(16, 15, of_others).await, Some(10));
            assert_eq!(lasts(16, 18, of_others).await, None);
            assert_eq!(lasts(0, 1, of_others).await, None);
        }
        assert_eq!(lasts(0, 0, 0).await, Some(10));
    }
}
