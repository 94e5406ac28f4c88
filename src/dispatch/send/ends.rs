//! How what was asked ended, written as it comes: each time, all rows that have come while the last ones were being written.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tracing::{info, warn};

use crate::dispatch::Dispatch;
use crate::lifecycle::{self, Event, Step};
use crate::store::states::{self, Applied, Extra, StateRow};

/// Rows of one transaction.
const ROWS: usize = 100;

/// Ends that are not written yet. As many as operations under way at most.
#[derive(Default)]
pub(in crate::dispatch) struct Ends {
    waiting: Mutex<Vec<End>>,
    bell: Notify,
}

struct End {
    row: StateRow,
    step: Step,
    extra: Extra,
    written: oneshot::Sender<()>,
}

impl Dispatch {
    /// Writes how something ended, where the row still waits for it, and returns when that is done. What cannot be written is found again:
    /// its operation is under way nowhere then.
    pub(super) async fn conclude(&self, row: &StateRow, event: Event, extra: Extra) {
        self.conclude_by(row, lifecycle::next(&row.state, event), extra).await;
    }

    /// As [`Dispatch::conclude`], where the step is known.
    pub(super) async fn conclude_by(&self, row: &StateRow, step: Step, extra: Extra) {
        let (written, done) = oneshot::channel();
        let end = End { row: row.clone(), step, extra, written };
        self.ends.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(end);
        self.ends.bell.notify_one();
        let _ = done.await;
    }

    /// Writes ends until the loop ends. One of these.
    pub(in crate::dispatch) async fn write_ends(self: Arc<Self>) {
        loop {
            self.ends.bell.notified().await;
            let all = std::mem::take(&mut *self.ends.waiting.lock().unwrap_or_else(PoisonError::into_inner));
            for some in super::chunks(all, ROWS) {
                self.write_some(some).await;
            }
        }
    }

    async fn write_some(&self, mut ends: Vec<End>) {
        let steps: Vec<_> = ends.iter_mut().map(|e| (&e.row, e.step, std::mem::take(&mut e.extra))).collect();
        for _ in 0..3 {
            match states::apply_all(&self.store, &steps).await {
                Ok(applied) => {
                    for ((row, step, extra), applied) in steps.iter().zip(applied) {
                        if applied == Applied::Won {
                            self.tell(row, *step, extra);
                        } else {
                            self.metrics.stale.inc();
                            info!(account = row.name, operationId = row.operation, "an answer came when something else was wanted already");
                        }
                    }
                    break;
                }
                Err(e) if e.is_contention() => drop(self.metrics.lost_races.inc()),
                Err(e) => {
                    self.metrics.errors.inc();
                    warn!(error = %e, "what agents answered cannot be written: they are asked again");
                    break;
                }
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(1..20))).await;
        }
        for end in ends {
            let _ = end.written.send(());
        }
    }
}
