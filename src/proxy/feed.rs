//! The body of a request that somebody looks into, on its way from the client's connection.
//!
//! The connection stays where it is read; what reads the body asks for one piece at a time. Nothing is read before it is asked for,
//! and a client that waits for 100 is told to go on when it is.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::BodyError;
use super::answer::trailers_of;
use super::link::{LARGE, Link};
use super::pace::{Least, Pace};
use super::wire::Framing;
use super::wire::chunked::{Chunks, Piece};

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    Ended,
    Broken,
}

#[derive(Default)]
struct Slot {
    frame: Option<Frame<Bytes>>,
    trailers: Option<HeaderMap>,
    state: State,
    wanted: bool,
    reader: Option<Waker>,
    feeder: Option<Waker>,
}

impl Slot {
    fn tell(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// The reading end.
pub struct ClientBody {
    slot: Rc<RefCell<Slot>>,
    left: Option<u64>,
}

impl HttpBody for ClientBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let mut slot = this.slot.borrow_mut();
        if let Some(frame) = slot.frame.take() {
            let length = frame.data_ref().map_or(0, Bytes::len) as u64;
            this.left = this.left.map(|left| left - length);
            return Poll::Ready(Some(Ok(frame)));
        }
        match slot.state {
            State::Ended => Poll::Ready(slot.trailers.take().map(|t| Ok(Frame::trailers(t)))),
            State::Broken => Poll::Ready(Some(Err("the client's body broke off or was malformed".into()))),
            State::Open => {
                slot.wanted = true;
                slot.reader = Some(cx.waker().clone());
                if let Some(feeder) = slot.feeder.take() {
                    feeder.wake();
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}

enum Body {
    Length(u64),
    Chunked(Chunks, Vec<u8>),
}

/// The connection's end.
pub(super) struct Feeder {
    slot: Rc<RefCell<Slot>>,
    body: Body,
    /// Bytes of the `100 Continue` that were sent; `None`: the client does not wait for it.
    go_on: Option<usize>,
    buffered: bool,
    /// A piece that is asked for has not come.
    waits: bool,
    pace: Pace,
}

/// What became of feeding for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fed {
    /// All of the body was read.
    Whole,
    /// It broke off, or was malformed. The connection cannot be read any further.
    Broken,
}

/// Both ends of a body.
pub(super) fn body(framing: Framing, expects: bool, least: Least) -> (Feeder, ClientBody) {
    let slot = Rc::<RefCell<Slot>>::default();
    let (body, left) = match framing {
        Framing::Length(n) => (Body::Length(n), Some(n)),
        Framing::Chunked => (Body::Chunked(Chunks::default(), Vec::new()), None),
        Framing::Empty | Framing::UntilClose => (Body::Length(0), Some(0)),
    };
    (
        Feeder { slot: slot.clone(), body, go_on: expects.then_some(0), buffered: false, waits: false, pace: Pace::new(least) },
        ClientBody { slot, left },
    )
}

impl Feeder {
    /// All of the body was read from the connection.
    pub(super) fn is_whole(&self) -> bool {
        match &self.body {
            Body::Length(left) => *left == 0,
            Body::Chunked(chunks, _) => chunks.is_done(),
        }
    }

    /// When a client that owes a piece that is asked for has had its time. To be asked after each poll.
    pub(super) fn due(&self) -> Option<Instant> {
        self.pace.due()
    }

    /// Whether it has. If it was fast enough until now, it has some more.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.pace.is_over(now)
    }

    /// Nothing more will come: the body breaks off.
    pub(super) fn give_up(&mut self) {
        self.pace.rests();
        if self.slot.borrow().state == State::Open {
            self.broken();
        }
    }

    /// A part of `100 Continue` is on its way: nothing else may be written now.
    pub(super) fn is_speaking(&self) -> bool {
        self.go_on.is_some_and(|sent| sent > 0)
    }

    /// The answer comes, and the client is not told to go on any more. What is left of a word that has begun.
    pub(super) fn hush(&mut self) -> &'static [u8] {
        match self.go_on.take() {
            Some(sent) if sent > 0 => &CONTINUE[sent..],
            _ => &[],
        }
    }

    /// Reads what is asked for. Ready when there will be nothing more to read.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Fed> {
        let fed = self.poll_piece(cx, link);
        if self.waits && fed.is_pending() {
            self.pace.waits();
        } else {
            self.pace.rests();
        }
        fed
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>, link: &mut Link) -> Poll<Fed> {
        self.waits = false;
        loop {
            {
                let mut slot = self.slot.borrow_mut();
                match slot.state {
                    State::Ended => return Poll::Ready(Fed::Whole),
                    State::Broken => return Poll::Ready(Fed::Broken),
                    State::Open => {}
                }
                if slot.frame.is_some() || !slot.wanted {
                    if !slot.feeder.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
                        slot.feeder = Some(cx.waker().clone());
                    }
                    return Poll::Pending;
                }
            }
            if self.is_whole() {
                self.ended();
                return Poll::Ready(Fed::Whole);
            }
            if let Some(sent) = &mut self.go_on {
                self.buffered |= !link.is_empty();
                // Who has begun to send needs no word.
                if !self.buffered && ready!(link.poll_write_all(cx, CONTINUE, sent)).is_err() {
                    return Poll::Ready(self.broken());
                }
                link.begins();
                self.go_on = None;
            }
            if link.is_empty() {
                match link.poll_fill(cx, LARGE) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(self.broken()),
                    Poll::Ready(Ok(n)) => self.pace.moved(n),
                    Poll::Pending => {
                        self.waits = true;
                        return Poll::Pending;
                    }
                }
            }
            if !self.take(link) {
                return Poll::Ready(self.broken());
            }
        }
    }

    fn take(&mut self, link: &mut Link) -> bool {
        let unread = link.unread();
        let (used, data) = match &mut self.body {
            Body::Length(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(unread.len());
                *left -= n as u64;
                (n, Bytes::copy_from_slice(&unread[..n]))
            }
            Body::Chunked(chunks, trailers) => {
                let mut data = Vec::new();
                let scanned = chunks.scan(unread, |piece| match piece {
                    Piece::Data(bytes) => data.extend_from_slice(bytes),
                    Piece::Trailer(bytes) => trailers.extend_from_slice(bytes),
                });
                let Ok(n) = scanned else { return false };
                (n, data.into())
            }
        };
        link.consume(used);
        if !data.is_empty() {
            let mut slot = self.slot.borrow_mut();
            slot.frame = Some(Frame::data(data));
            slot.wanted = false;
            slot.tell();
        }
        true
    }

    fn ended(&mut self) {
        let mut slot = self.slot.borrow_mut();
        slot.state = State::Ended;
        if let Body::Chunked(_, trailers) = &self.body
            && !trailers.is_empty()
        {
            slot.trailers = Some(trailers_of(trailers));
        }
        slot.tell();
    }

    fn broken(&mut self) -> Fed {
        let mut slot = self.slot.borrow_mut();
        slot.state = State::Broken;
        slot.tell();
        Fed::Broken
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        let open = self.slot.borrow().state == State::Open;
        match (open, self.is_whole()) {
            (true, true) => self.ended(),
            (true, false) => {
                self.broken();
            }
            _ => {}
        }
    }
}
