//! One request that nobody looks into, and its answer: bytes from one connection to the other, in both directions at once.
//!
//! Heads were read and rewritten before they get here or are here (the answer's); bodies are followed only to know where they end.
//! Nothing is sent twice: whether a failed exchange may be tried again is for the caller to say, from what [`Fault`] tells.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::StatusCode;
use tokio::time::Instant;

use super::Cause;
use super::link::{LARGE, Link};
use super::pace::{Least, Pace};
use super::wire::head::is_switch_as_asked;
use super::wire::response::{self, Asked, ResponseHead};
use super::wire::{Body, Framing};

/// Bytes of a body that go out in one piece with their head.
const WITH_HEAD: usize = 16 * 1024;
/// A body of so many bytes is read in large pieces.
const MUCH: u64 = 64 * 1024;

/// Why an exchange ended before its time.
#[derive(Debug)]
pub(super) enum Fault {
    /// No byte of an answer went out, so one of ours can.
    NoAnswer(Cause),
    /// A kept connection ended, and nothing at all came on it: Clouddriver was closing it. `unsent`: nor was anything sent.
    Stale { error: io::Error, unsent: bool },
    /// The client has gone, or broke its request off.
    Client,
    /// The answer broke off. What the client has of it must not look whole.
    Cut,
}

/// How an exchange ended well.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: StatusCode,
    /// The client may send its next request.
    pub(super) client_open: bool,
    /// The connection to Clouddriver can be kept.
    pub(super) origin_open: bool,
    /// Clouddriver switched protocols: everything that follows is a tunnel's.
    pub(super) switched: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Up {
    Sending,
    Done,
    /// Clouddriver takes no more; what it has to say may still come.
    Failed,
}

enum Down {
    Head,
    Body(Body),
    Done,
}

/// Limits of an exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// From the last part of the request that could be sent to the head of the answer.
    pub(super) response: Option<Duration>,
    /// How slowly a client may send or take what is due.
    pub(super) least: Least,
    /// When all of it has to be over.
    pub(super) until: Option<Instant>,
    /// A client that ends its writing side has given up.
    pub(super) cancel: bool,
    /// Most bytes of an answer's head.
    pub(super) head: usize,
}

/// See the module's page.
pub(super) struct Pass<'a> {
    client: &'a mut Link,
    origin: Link,
    asked: Asked,
    /// As it was before anything failed.
    close: bool,
    bounds: Bounds,
    /// The request's head, and what of its body goes out with it.
    head: &'a mut Vec<u8>,
    head_sent: usize,
    body: Body,
    /// Bytes at the front of what was read from the client that belong to this body and were not sent yet.
    body_ready: usize,
    up: Up,
    failure: Option<io::Error>,
    /// The client ended its writing side. It may well be waiting for its answer.
    half_closed: bool,
    answer: &'a mut Vec<u8>,
    answer_sent: usize,
    down: Down,
    down_ready: usize,
    response: Option<ResponseHead>,
    /// Something came from Clouddriver.
    heard: bool,
    /// Something went out to the client.
    told: bool,
    reused: bool,
    /// When something last moved in the direction that a time-out watches.
    moved: Instant,
    waits_for_client: bool,
    pace: Pace,
}

impl<'a> Pass<'a> {
    /// `head` is what goes to Clouddriver before the body; `answer` is room for the head that comes back.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        client: &'a mut Link,
        origin: Link,
        reused: bool,
        head: &'a mut Vec<u8>,
        framing: Framing,
        answer: &'a mut Vec<u8>,
        asked: Asked,
        bounds: Bounds,
    ) -> Self {
        if matches!(framing, Framing::Length(n) if n >= MUCH) {
            client.expect_much();
        }
        answer.clear();
        Self {
            client,
            origin,
            asked,
            close: asked.close,
            bounds,
            head,
            head_sent: 0,
            body: Body::new(framing),
            body_ready: 0,
            up: Up::Sending,
            failure: None,
            half_closed: false,
            answer,
            answer_sent: 0,
            down: Down::Head,
            down_ready: 0,
            response: None,
            heard: false,
            told: false,
            reused,
            moved: Instant::now(),
            waits_for_client: false,
            pace: Pace::new(bounds.least),
        }
    }

    /// The client's connection is to end after this answer.
    pub(super) fn close_after(&mut self) {
        (self.close, self.asked.close) = (true, true);
    }

    /// No answer has begun for the client.
    pub(super) fn is_unanswered(&self) -> bool {
        !self.told
    }

    /// Once more, on another connection. Only after [`Fault::Stale`], and only where nothing was sent or the request is safe and
    /// has no body.
    pub(super) fn again(&mut self, origin: Link) {
        (self.origin, self.reused, self.heard) = (origin, false, false);
        (self.head_sent, self.failure, self.asked.close) = (0, None, self.close);
        if self.up == Up::Failed {
            self.up = Up::Sending;
        }
        // What is in `head` of the body was scanned; with no body there is nothing to scan.
        if self.body.is_done() && self.body_ready == 0 {
            self.up = Up::Sending;
        }
    }

    /// Only a reset tells the client that what it has is not all.
    pub(super) fn ends_by_close(&self) -> bool {
        !self.asked.modern || self.response.as_ref().is_none_or(|r| r.framing == Framing::UntilClose)
    }

    /// The connection to Clouddriver.
    pub(super) fn into_origin(self) -> Link {
        self.origin
    }

    /// When to give up, if nothing moves until then. To be asked after each poll.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        if self.waits_for_client {
            self.pace.waits();
        } else {
            self.pace.rests();
        }
        let patience = match self.down {
            _ if self.waits_for_client => self.pace.due(),
            Down::Head => self.bounds.response.map(|t| self.moved + t),
            _ => None,
        };
        match (patience, self.bounds.until) {
            (Some(patience), Some(until)) => Some(patience.min(until)),
            (patience, until) => patience.or(until),
        }
    }

    /// It is the client's turn.
    pub(super) fn waits_for_client(&self) -> bool {
        self.waits_for_client
    }

    /// The deadline has passed. `None`: the client is slow, and not too slow; there is another deadline.
    pub(super) fn expired(&mut self, now: Instant) -> Option<Fault> {
        if self.bounds.until.is_some_and(|until| until <= now) {
            return Some(if self.told { Fault::Cut } else { Fault::NoAnswer(Cause::TotalTimeout) });
        }
        if self.waits_for_client {
            return self.pace.is_over(now).then_some(if self.told { Fault::Cut } else { Fault::NoAnswer(Cause::TooSlow) });
        }
        Some(Fault::NoAnswer(Cause::ResponseTimeout(self.bounds.response.unwrap_or_default())))
    }

    /// Moves what can be moved. Ready when the answer has gone out, and the request too unless nobody wants the rest of it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Ended, Fault>> {
        self.waits_for_client = false;
        if self.up == Up::Sending
            && let Poll::Ready(Err(fault)) = self.poll_up(cx)
        {
            return Poll::Ready(Err(fault));
        }
        if let Poll::Ready(Err(fault)) = self.poll_down(cx) {
            return Poll::Ready(Err(fault));
        }
        if matches!(self.down, Down::Done)
            && let Some(response) = &self.response
        {
            let switched = response.status == StatusCode::SWITCHING_PROTOCOLS;
            if self.up == Up::Sending && !response.close {
                // Clouddriver keeps its connection, so it will read the rest, and the client may go on.
                return Poll::Pending;
            }
            let whole = self.up == Up::Done;
            return Poll::Ready(Ok(Ended {
                status: response.status,
                client_open: whole && !response.close && !self.half_closed,
                origin_open: whole && response.persistent && self.origin.is_empty(),
                switched,
            }));
        }
        if self.up == Up::Done && !self.half_closed && self.client.is_empty() {
            // Nothing is expected, but a reset says that nobody waits any more.
            match self.client.poll_fill(cx, LARGE) {
                Poll::Ready(Ok(0)) if !self.bounds.cancel => self.half_closed = true,
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Fault::Client)),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        // What TLS holds back goes out even when nothing more comes.
        match self.client.poll_flush(cx) {
            Poll::Ready(Err(_)) => Poll::Ready(Err(Fault::Client)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }

    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        if self.head_sent == 0 && !self.body.is_done() && !self.client.is_empty() {
            // Head and body in one piece, where they came so.
            self.scan_request()?;
            let n = self.body_ready.min(WITH_HEAD);
            self.head.extend_from_slice(&self.client.unread()[..n]);
            self.client.consume(n);
            self.body_ready -= n;
        }
        loop {
            if self.head_sent < self.head.len() {
                match ready!(self.origin.poll_write_all(cx, self.head, &mut self.head_sent)) {
                    Ok(()) => self.touch(),
                    Err(error) => return self.refused(error),
                }
            }
            if self.body_ready > 0 {
                match ready!(self.origin.poll_write(cx, &self.client.unread()[..self.body_ready])) {
                    Ok(n) => {
                        self.client.consume(n);
                        self.body_ready -= n;
                        self.touch();
                    }
                    Err(error) => return self.refused(error),
                }
                continue;
            }
            if self.body.is_done() {
                self.up = Up::Done;
                self.client.rest();
                return Poll::Ready(Ok(()));
            }
            if !self.client.is_empty() {
                self.scan_request()?;
                continue;
            }
            match self.client.poll_fill_body(cx) {
                Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(Err(Fault::Client)),
                Poll::Ready(Ok(n)) => {
                    self.pace.moved(n);
                    self.touch();
                }
                Poll::Pending => {
                    self.waits_for_client = true;
                    return Poll::Pending;
                }
            }
        }
    }

    fn scan_request(&mut self) -> Result<(), Fault> {
        match self.body.scan(self.client.unread()) {
            Ok(n) => {
                self.body_ready = n;
                Ok(())
            }
            Err(_) if self.told => Err(Fault::Cut),
            Err(_) => Err(Fault::NoAnswer(Cause::RequestBody)),
        }
    }

    /// Clouddriver takes no more. It may have said why.
    fn refused(&mut self, error: io::Error) -> Poll<Result<(), Fault>> {
        self.up = Up::Failed;
        self.failure = Some(error);
        self.asked.close = true;
        Poll::Ready(Ok(()))
    }

    fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            if self.answer_sent < self.answer.len() {
                let before = self.answer_sent;
                let written = self.client.poll_write_all(cx, self.answer, &mut self.answer_sent);
                self.pace.moved(self.answer_sent - before);
                match written {
                    Poll::Ready(Ok(())) => {
                        if self.response.is_some() {
                            self.told = true;
                        } else {
                            self.client.begins();
                        }
                        self.touch();
                        self.answer.clear();
                        self.answer_sent = 0;
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::Client)),
                    Poll::Pending => {
                        self.told |= self.answer_sent > 0;
                        self.waits_for_client = true;
                        return Poll::Pending;
                    }
                }
            }
            match &mut self.down {
                Down::Done => return Poll::Ready(Ok(())),
                Down::Head => {
                    if !self.origin.is_empty() && self.read_head()? {
                        continue;
                    }
                    match ready!(self.origin.poll_fill(cx, self.bounds.head)) {
                        Ok(0) => return Poll::Ready(Err(self.silent(io::ErrorKind::UnexpectedEof.into()))),
                        Err(e) if e.kind() == io::ErrorKind::OutOfMemory => {
                            return Poll::Ready(Err(self.unusable("its head is too large")));
                        }
                        Err(error) => return Poll::Ready(Err(self.silent(error))),
                        Ok(_) => self.heard = true,
                    }
                }
                Down::Body(body) => {
                    if self.down_ready > 0 {
                        match self.client.poll_write(cx, &self.origin.unread()[..self.down_ready]) {
                            Poll::Ready(Ok(n)) => {
                                self.origin.consume(n);
                                self.down_ready -= n;
                                self.pace.moved(n);
                                self.touch();
                            }
                            Poll::Ready(Err(_)) => return Poll::Ready(Err(Fault::Client)),
                            Poll::Pending => {
                                self.waits_for_client = true;
                                return Poll::Pending;
                            }
                        }
                    } else if body.is_done() {
                        self.down = Down::Done;
                    } else if !self.origin.is_empty() {
                        self.down_ready = body.scan(self.origin.unread()).map_err(|_| Fault::Cut)?;
                    } else {
                        crate::crash_point!("answer-body");
                        match ready!(self.origin.poll_fill_body(cx)) {
                            Ok(0) if matches!(body, Body::UntilClose) => self.down = Down::Done,
                            Ok(0) | Err(_) => return Poll::Ready(Err(Fault::Cut)),
                            Ok(_) => {}
                        }
                    }
                }
            }
        }
    }

    /// True: there is something to write, or the next head to read.
    fn read_head(&mut self) -> Result<bool, Fault> {
        crate::crash_point!("answer-head");
        self.asked.unfinished = self.up != Up::Done;
        if self.asked.upgrade && !self.client.is_empty() {
            // The client did not wait for the other protocol. Unless this is 101, nobody may read as requests what it sent.
            self.asked.close = true;
        }
        let begun = self.answer.len();
        let head = match response::parse(self.origin.unread(), self.answer, self.asked) {
            Ok(Some(head)) => head,
            Ok(None) => return Ok(false),
            Err(why) => return Err(self.unusable(why)),
        };
        self.origin.consume(head.length);
        if head.status.is_informational() && head.status != StatusCode::SWITCHING_PROTOCOLS {
            if !self.asked.modern {
                // RFC 9110 §15.2: never to a client of HTTP/1.0.
                self.answer.truncate(begun);
            }
            return Ok(true);
        }
        if head.status == StatusCode::SWITCHING_PROTOCOLS {
            if !is_switch_as_asked(self.head, &self.answer[begun..]) {
                self.answer.truncate(begun);
                return Err(self.unusable("101 to another protocol than was asked for"));
            }
            self.down = Down::Done;
            self.response = Some(head);
            return Ok(true);
        }
        let mut body = Body::new(head.framing);
        let n = body.scan(self.origin.unread()).map_err(|_| Fault::NoAnswer(Cause::BadAnswer("malformed chunks".to_owned())))?;
        if n <= WITH_HEAD {
            self.answer.extend_from_slice(&self.origin.unread()[..n]);
            self.origin.consume(n);
        } else {
            self.down_ready = n;
        }
        if matches!(head.framing, Framing::Length(n) if n >= MUCH) {
            self.origin.expect_much();
        }
        self.down = Down::Body(body);
        self.response = Some(head);
        Ok(true)
    }

    fn unusable(&self, why: &str) -> Fault {
        if self.told { Fault::Cut } else { Fault::NoAnswer(Cause::BadAnswer(why.to_owned())) }
    }

    /// The connection ended without a (further) head.
    fn silent(&mut self, error: io::Error) -> Fault {
        let error = self.failure.take().unwrap_or(error);
        if self.told {
            Fault::Cut
        } else if self.reused && !self.heard {
            Fault::Stale { error, unsent: self.head_sent == 0 }
        } else {
            Fault::NoAnswer(Cause::Broken(error))
        }
    }

    fn touch(&mut self) {
        self.moved = Instant::now();
    }
}
