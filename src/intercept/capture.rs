//! A request's body, looked at before it goes on.
//!
//! Up to the inspection limit it is collected, so that nothing has been forwarded when its client breaks off. Beyond the limit it
//! streams: what was collected first, then the rest as it comes. Its framing is kept: a length that was told stays told, a chunked
//! body stays chunked, trailers follow it.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::time::timeout;

use crate::proxy::{Body, BodyError};

/// How long a client may pause within a body that is being collected. Gate itself gives up after so long.
const STALL: Duration = Duration::from_secs(120);

/// Why there is no body to forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failed {
    #[error("the request's body broke off; nothing was forwarded")]
    Broken,
    #[error("the request's body stood still for {} s; nothing was forwarded", STALL.as_secs())]
    Stalled,
}

/// What was collected. It holds no more than the limit and the one frame that went beyond it.
pub(super) struct Captured {
    bytes: Bytes,
    trailers: Option<HeaderMap>,
    /// What has not been read: the body went beyond the limit.
    rest: Option<Body>,
    /// The length that the client told.
    exact: Option<u64>,
}

/// Reads a body up to its end or the limit, whichever comes first. Dropped half-way, nothing has happened.
pub(super) async fn collect(mut body: Body, limit: usize) -> Result<Captured, Failed> {
    let exact = body.size_hint().exact();
    if exact.is_some_and(|n| n > limit as u64) {
        return Ok(Captured { bytes: Bytes::new(), trailers: None, rest: Some(body), exact });
    }
    // Copied into one piece: the frames of a slow client may be a byte each, and each would keep a whole read buffer alive.
    let mut bytes = BytesMut::with_capacity(exact.map_or(0, |n| n as usize));
    let mut trailers = None;
    while let Some(frame) = timeout(STALL, body.frame()).await.map_err(|_| Failed::Stalled)? {
        match frame.map_err(|_| Failed::Broken)?.into_data() {
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if bytes.len() > limit {
            return Ok(Captured { bytes: bytes.freeze(), trailers: None, rest: Some(body), exact });
        }
    }
    Ok(Captured { bytes: bytes.freeze(), trailers, rest: None, exact })
}

impl Captured {
    /// All of it, where the limit was not passed.
    pub(super) fn whole(&self) -> Option<&[u8]> {
        self.rest.is_none().then_some(&self.bytes)
    }

    /// Nothing of it, not even a length that was told.
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_none() && self.bytes.is_empty() && self.trailers.is_none()
    }

    /// The body to forward. Its first byte waits for `announced`, and then `gate` is asked once; if it says no, the body breaks. `gone`
    /// tells that the client left before an answer: then an end that nobody announced is not believed.
    pub(super) fn replay(self, announced: Announcement, gate: impl FnOnce() -> bool + 'static, gone: Rc<Cell<bool>>) -> Body {
        Body::boxed(Replay {
            prefix: Some(self.bytes).filter(|b| !b.is_empty()),
            rest: self.rest,
            trailers: self.trailers,
            left: self.exact,
            announced,
            gate: Some(Box::new(gate)),
            gone,
            ended: false,
        })
    }
}

/// Whether a change has been announced: what its body waits for, while its head may be on its way.
#[derive(Clone, Default)]
pub(super) struct Announcement(Rc<(Cell<bool>, RefCell<Option<Waker>>)>);

impl Announcement {
    /// It has.
    pub(super) fn made(&self) {
        self.0.0.set(true);
        if let Some(waiting) = self.0.1.take() {
            waiting.wake();
        }
    }

    pub(super) fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        if self.0.0.get() {
            return Poll::Ready(());
        }
        *self.0.1.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }
}

struct Replay {
    prefix: Option<Bytes>,
    rest: Option<Body>,
    trailers: Option<HeaderMap>,
    left: Option<u64>,
    announced: Announcement,
    gate: Option<Box<dyn FnOnce() -> bool>>,
    gone: Rc<Cell<bool>>,
    ended: bool,
}

impl Replay {
    fn data(&mut self, data: Bytes) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

impl HttpBody for Replay {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        ready!(this.announced.poll(cx));
        if this.gate.take().is_some_and(|gate| !gate()) {
            this.ended = true;
            return Poll::Ready(Some(Err("the change was announced too long ago to be forwarded now".into())));
        }
        if let Some(prefix) = this.prefix.take() {
            return this.data(prefix);
        }
        if let Some(rest) = &mut this.rest {
            match ready!(Pin::new(rest).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    return match frame.into_data() {
                        Ok(data) => this.data(data),
                        Err(trailers) => Poll::Ready(Some(Ok(trailers))),
                    };
                }
                Some(Err(error)) => {
                    this.ended = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    this.rest = None;
                    // A connection that was dropped looks like a chunked body's clean end.
                    if this.left.is_none() && this.gone.get() {
                        this.ended = true;
                        return Poll::Ready(Some(Err("the client left before its body had certainly ended".into())));
                    }
                }
            }
        }
        this.ended = true;
        Poll::Ready(this.trailers.take().map(|t| Ok(Frame::trailers(t))))
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
