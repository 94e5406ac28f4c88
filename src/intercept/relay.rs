//! An answer's body on its way to the client, with a bounded copy for the verdict.
//!
//! The detached task that called Clouddriver reads the body and hands each frame to the client through a short channel, so that the
//! verdict does not depend on the client's staying. The verdict is given before the frame that ends the body is handed over: who
//! has the whole answer finds the change finished.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

use crate::proxy::{Body, BodyError};

/// Frames between Clouddriver and the client.
const FRAMES: usize = 4;
/// How long a client that reads nothing may hold up a verdict that still waits for the body.
const STALLED_CLIENT: Duration = Duration::from_secs(5);
/// How long what is left of an answer is read after its client has gone.
const DRAIN: Duration = Duration::from_secs(60);

enum Item {
    Frame(Frame<Bytes>),
    Broken(BodyError),
    End,
}

/// The reading side's end.
pub(super) struct Sender {
    to: mpsc::Sender<Item>,
}

/// A body for the client, framed as `like` is, and the end that feeds it.
pub(super) fn channel(like: &Body) -> (Sender, Body) {
    let (to, from) = mpsc::channel(FRAMES);
    (Sender { to }, Body::boxed(Relay { from, left: like.size_hint().exact(), ended: false }))
}

struct Relay {
    from: mpsc::Receiver<Item>,
    left: Option<u64>,
    ended: bool,
}

impl HttpBody for Relay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let item = ready!(this.from.poll_recv(cx));
        if let Some(Item::Frame(frame)) = item {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            this.left = this.left.map(|left| left.saturating_sub(length));
            return Poll::Ready(Some(Ok(frame)));
        }
        this.ended = true;
        Poll::Ready(match item {
            Some(Item::End) => None,
            Some(Item::Broken(error)) => Some(Err(error)),
            // The reading task died: never a clean end.
            _ => Some(Err("the answer could not be relayed to its end".into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

/// How far a body is copied and read.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Most bytes in the copy.
    pub(super) copy: usize,
    /// Most bytes that are read after the client has gone.
    pub(super) drain: usize,
    /// When the verdict is given at the latest.
    pub(super) until: Instant,
}

/// What was copied when the verdict was due.
pub(super) struct Copied<'a> {
    /// The beginning of the body.
    pub(super) bytes: &'a [u8],
    /// Whether that is all of it.
    pub(super) complete: bool,
}

struct Tap<F> {
    copy: Vec<u8>,
    seen: u64,
    verdict: Option<F>,
}

impl<F: FnOnce(Copied<'_>)> Tap<F> {
    fn give(&mut self, complete: bool) {
        if let Some(verdict) = self.verdict.take() {
            verdict(Copied { bytes: &self.copy, complete: complete && self.seen == self.copy.len() as u64 });
            self.copy = Vec::new();
        }
    }
}

/// Reads `body` to its end, feeds the client, and calls `verdict` exactly once, as early as it can be given: when the body ended or
/// broke off, when the copy is full, when the time is over or a stalled client holds things up. True: the client left before the end.
pub(super) async fn pump(mut body: Body, client: Sender, bounds: Bounds, verdict: impl FnOnce(Copied<'_>)) -> bool {
    let exact = body.size_hint().exact();
    let mut tap = Tap { copy: Vec::new(), seen: 0, verdict: Some(verdict) };
    loop {
        let frame = tokio::select! {
            biased;
            () = client.to.closed() => break,
            frame = next(&mut body, &tap, bounds.until) => frame,
        };
        let item = match frame {
            Next::TimeIsOver => {
                tap.give(false);
                continue;
            }
            Next::Frame(None) => {
                tap.give(true);
                Item::End
            }
            Next::Frame(Some(Err(error))) => {
                tap.give(false);
                Item::Broken(error)
            }
            Next::Frame(Some(Ok(frame))) => {
                look(&mut tap, &frame, exact, &body, bounds.copy);
                Item::Frame(frame)
            }
        };
        let last = !matches!(item, Item::Frame(_));
        let sent = if tap.verdict.is_some() {
            match timeout(STALLED_CLIENT, client.to.reserve()).await {
                Ok(permit) => permit.map(|permit| permit.send(item)).is_ok(),
                Err(_) => {
                    tap.give(false);
                    client.to.send(item).await.is_ok()
                }
            }
        } else {
            client.to.send(item).await.is_ok()
        };
        if last {
            return false;
        }
        if !sent {
            break;
        }
    }
    // The client has gone, or it has all the bytes that it was promised.
    let left = exact != Some(tap.seen);
    let until = bounds.until.min(Instant::now() + DRAIN);
    while left && tap.seen <= bounds.drain as u64 {
        match timeout_at(until, body.frame()).await {
            Ok(Some(Ok(frame))) => look(&mut tap, &frame, exact, &body, bounds.copy),
            Ok(None) => {
                tap.give(true);
                break;
            }
            Ok(Some(Err(_))) | Err(_) => break,
        }
    }
    tap.give(false);
    left
}

/// Reads what is left of an answer that nobody waits for, within bounds, so that its connection can be used again.
pub(super) async fn drain(mut body: Body, most: usize) {
    let until = Instant::now() + DRAIN;
    let mut seen = 0;
    while let Ok(Some(Ok(frame))) = timeout_at(until, body.frame()).await {
        seen += frame.data_ref().map_or(0, Bytes::len);
        if seen > most {
            break;
        }
    }
}

enum Next {
    Frame(Option<Result<Frame<Bytes>, BodyError>>),
    TimeIsOver,
}

async fn next<F>(body: &mut Body, tap: &Tap<F>, until: Instant) -> Next {
    if tap.verdict.is_none() {
        return Next::Frame(body.frame().await);
    }
    timeout_at(until, body.frame()).await.map_or(Next::TimeIsOver, Next::Frame)
}

/// Copies a frame, and gives the verdict when this is the last one or the copy is full.
fn look<F: FnOnce(Copied<'_>)>(tap: &mut Tap<F>, frame: &Frame<Bytes>, exact: Option<u64>, body: &Body, most: usize) {
    let Some(data) = frame.data_ref() else {
        // Trailers end a body.
        tap.give(true);
        return;
    };
    tap.seen += data.len() as u64;
    if tap.verdict.is_none() {
        return;
    }
    let room = most - tap.copy.len();
    tap.copy.extend_from_slice(&data[..data.len().min(room)]);
    if exact == Some(tap.seen) || body.is_end_stream() {
        tap.give(true);
    } else if data.len() >= room {
        tap.give(false);
    }
}
