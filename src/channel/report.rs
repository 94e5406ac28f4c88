//! The stream of reports: what an agent says within the credits that it was granted. They are granted again as reports are taken, so
//! reports never fill the connection's window, and orders always have room on it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use prost::Message as _;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use super::registry::Registry;
use crate::wire::{ReportRequest, ReportResponse};

/// Bytes that may be on their way; well below the connection's window.
pub(super) const CREDITS: u64 = 1 << 20;
/// Credits are granted in no smaller pieces.
const PIECE: u64 = 64 << 10;

/// What was granted and not said yet. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Credits(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Taken, and not granted again yet.
    taken: u64,
    /// To be said.
    due: u64,
    ended: Option<Option<Status>>,
    waker: Option<Waker>,
}

impl Credits {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State { taken: 0, due: CREDITS, ended: None, waker: None })))
    }

    /// So many bytes have been taken; what is granted for them.
    fn take(&self, bytes: u64) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.taken += bytes;
        if state.taken < PIECE {
            return 0;
        }
        let granted = std::mem::take(&mut state.taken);
        state.due += granted;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        granted
    }

    fn end(&self, status: Option<Status>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended.get_or_insert(status);
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }
}

impl Stream for Credits {
    type Item = Result<ReportResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(status) = &mut state.ended {
            return Poll::Ready(status.take().map(Err));
        }
        if state.due > 0 {
            let credit_bytes = std::mem::take(&mut state.due);
            return Poll::Ready(Some(Ok(ReportResponse { credit_bytes })));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

/// Ends the stream whatever becomes of the task.
struct End(Credits);

impl Drop for End {
    fn drop(&mut self) {
        self.0.end(None);
    }
}

/// Takes reports until the session, or the stream, ends.
pub(super) async fn run(registry: Arc<Registry>, mut inbound: Streaming<ReportRequest>, credits: Credits) {
    let end = End(credits.clone());
    let first = timeout(registry.limits.register_timeout, inbound.message()).await;
    let Ok(Ok(Some(first))) = first else {
        return end.0.end(Some(Status::deadline_exceeded("no report came in time")));
    };
    let Some(session) = registry.of_epoch(first.epoch) else {
        return end.0.end(Some(Status::failed_precondition("there is no session of that epoch: register first")));
    };
    // Of two streams of one session the later one counts.
    let mine = CancellationToken::new();
    std::mem::replace(&mut *session.reports.lock().unwrap_or_else(PoisonError::into_inner), mine.clone()).cancel();
    let mut left = i64::try_from(CREDITS).unwrap_or(i64::MAX);
    let mut next = Some(first);
    loop {
        let report = match next.take() {
            Some(report) => report,
            None => tokio::select! {
                biased;
                () = session.over().cancelled() => return,
                () = mine.cancelled() => return end.0.end(Some(Status::aborted("a newer stream of reports has taken over"))),
                report = inbound.message() => match report {
                    Ok(Some(report)) => report,
                    _ => return,
                },
            },
        };
        // A message may go beyond what is left, but none may begin when nothing is.
        if left <= 0 {
            return end.0.end(Some(Status::resource_exhausted("more was sent than credits were granted for")));
        }
        let bytes = report.encoded_len() as u64;
        registry.metrics.bytes_received.inc_by(bytes);
        registry.report(&session, report.accounts);
        left = left.saturating_sub_unsigned(bytes).saturating_add_unsigned(credits.take(bytes));
    }
}
