//! When to scan: the loop, and whose turn it is.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{debug, warn};

use super::{Error, Report, Scanner};
use crate::store::scans::{self, Claim, Ended};

/// Between two looks for the tables.
const TABLES: Duration = Duration::from_millis(100);
/// Pause after a scan that broke off, at first and at most.
const RETRY: Duration = Duration::from_secs(1);
const SLOWEST_RETRY: Duration = Duration::from_secs(60);
/// For giving the turn back at the end.
const FAREWELL: Duration = Duration::from_secs(2);

/// A turn to scan, kept by signs of life.
pub struct Turn {
    turn: scans::Turn,
    kept: Instant,
    /// This process remembers something that another would have to look for.
    pub(super) rest: bool,
}

impl Turn {
    /// Whether the last scan was another process's, and left something that only that one remembers.
    pub(super) fn is_left_by_another(&self) -> bool {
        self.turn.is_left_by_another()
    }
}

/// What came of trying.
enum Tried {
    Scanned(Report),
    Later(Duration),
}

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX / 4)
}

/// Up to a tenth longer, so that replicas do not go in step.
fn about(d: Duration) -> Duration {
    d.mul_f64(1.0 + fastrand::f64() / 10.0)
}

impl Scanner {
    /// Scans now and then until it is cancelled. Waits for the tables first.
    pub async fn run(self: Arc<Self>) {
        let stop = self.cancel.clone();
        tokio::select! {
            () = self.work() => {}
            () = stop.cancelled() => {}
        }
        // Cut off in the middle, it goes on with another replica's next scan, or with ours after a start.
        let given = scans::end(self.engine.store().main(), &self.who, Ended::BrokenOff);
        if !matches!(tokio::time::timeout(FAREWELL, given).await, Ok(Ok(()))) {
            debug!("the turn to scan is not given back: it ends by itself");
        }
    }

    async fn work(&self) {
        while self.engine.store().shape().is_none() {
            tokio::time::sleep(TABLES).await;
        }
        let (mut retry, mut first) = (RETRY, true);
        loop {
            let pause = match self.try_once(first, false).await {
                Ok(Tried::Scanned(_)) => {
                    (retry, first) = (RETRY, false);
                    self.settings.every
                }
                Ok(Tried::Later(pause)) => pause,
                Err(e) => {
                    self.metrics.errors.inc();
                    warn!(error = %e, "a scan broke off and is tried again");
                    let pause = retry.min(self.settings.every);
                    retry = (retry * 2).min(SLOWEST_RETRY);
                    pause
                }
            };
            tokio::time::sleep(about(pause)).await;
        }
    }

    /// The first scan of a process is always due: its patterns may be others than those of the last scan. And it reads everything, since
    /// nothing is remembered yet.
    async fn try_once(&self, due: bool, everything: bool) -> Result<Tried, Error> {
        let every = if due { 0 } else { millis(self.settings.every) };
        let claim = scans::claim(self.engine.store().main(), &self.who, millis(self.lease), every).await?;
        let turn = match claim {
            Claim::Mine(turn) => turn,
            Claim::Held => return Ok(Tried::Later(self.lease.min(self.settings.every) / 2)),
            Claim::NotDue(left) => return Ok(Tried::Later(Duration::from_millis(u64::try_from(left).unwrap_or_default()))),
        };
        let mut turn = Turn { turn, kept: Instant::now(), rest: false };
        // Boxed: it is a deep future, and many lie in it.
        let scanned = Box::pin(self.scan(&mut turn, everything)).await;
        let ended = match scanned {
            Ok(_) if turn.rest => Ended::WithRest,
            Ok(_) => Ended::Done,
            Err(_) => Ended::BrokenOff,
        };
        let ended = scans::end(self.engine.store().main(), &self.who, ended).await;
        let report = scanned?;
        ended?;
        Ok(Tried::Scanned(report))
    }

    /// Gives a sign of life, if it is time for one.
    ///
    /// # Errors
    /// [`Error::Overtaken`]: the turn is another's.
    pub(super) async fn keep(&self, turn: &mut Turn) -> Result<(), Error> {
        if turn.kept.elapsed() < self.lease / 3 {
            return Ok(());
        }
        if !scans::keep(self.engine.store().main(), &mut turn.turn, millis(self.lease)).await? {
            return Err(Error::Overtaken);
        }
        turn.kept = Instant::now();
        Ok(())
    }

    /// One scan of everything now, if nobody else scans; `None`: somebody does.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn now(&self) -> Result<Option<Report>, Error> {
        self.once(true).await
    }

    /// As [`Scanner::now`], as the loop does it: of what may have changed, where that can be known.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn again(&self) -> Result<Option<Report>, Error> {
        self.once(false).await
    }

    async fn once(&self, everything: bool) -> Result<Option<Report>, Error> {
        Ok(match self.try_once(true, everything).await? {
            Tried::Scanned(report) => Some(report),
            Tried::Later(_) => None,
        })
    }
}
