//! Clouddriver as a tower service: for requests that somebody looks into, and for those that came by HTTP/2.
//!
//! The same connections as [`super::pass`] uses, and the same promise: at most one delivery.

mod body;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::Service;

use super::interim::Interim;
use super::link::Link;
use super::streams::{self, Sent};
use super::upstream::Upstream;
use super::wire::Framing;
use super::wire::chunked::Chunks;
use super::wire::response::{self, Asked};
use super::{Body, Cause, UpstreamError, answer};

pub use body::Answer;

/// What a head may take, in bytes: Gate's header with all accounts has 60 KB at 2,000 of them.
pub(super) const MAX_HEAD: usize = 256 * 1024;

/// How long a body waits for Clouddriver's 100: a server that knows nothing of asking waits for the body (RFC 9110 §10.1.1).
pub(super) const UNASKED: Duration = Duration::from_secs(1);

/// The head of a request as it came over HTTP/1, less what belongs to the hop. An extension of the request; it goes on as it is.
#[derive(Clone, Debug)]
pub(super) struct RawHead(pub(super) Bytes);

/// When all of a request that nobody looks into has to be over. An extension of the request, where it does not pass as bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(pub(super) Instant);

/// The head of an answer as it is to go out over HTTP/1, and how its body is framed. An extension of the answer.
#[derive(Clone, Debug)]
pub(super) struct RawAnswer {
    pub(super) head: Bytes,
    pub(super) framing: Framing,
    /// The head says that the connection ends.
    pub(super) close: bool,
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, UpstreamError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    /// Dropping the future closes the connection under it: what Clouddriver had read of the request by then it may still act on.
    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let upstream = self.clone();
        Box::pin(async move { send(&upstream, request).await.map_err(|cause| upstream.failed(cause)) })
    }
}

async fn send(upstream: &Upstream, request: Request<Body>) -> Result<Response<Body>, Cause> {
    let (request, made) = match upstream.streams() {
        None => (request, None),
        Some(streams) => match streams::send(upstream, streams, request).await {
            Sent::Done(done) => return done,
            Sent::ByHttp1(request, link) => (*request, link),
        },
    };
    let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) && request.body().is_end_stream();
    let asked = match request.body() {
        Body::Asked(asked) => Some(asked.clone()),
        _ => None,
    };
    let mut outgoing = Outgoing::new(request);
    let mut kept = if made.is_some() { None } else { upstream.kept() };
    let mut made = made;
    loop {
        let reused = kept.is_some();
        let link = match kept.take().or_else(|| made.take()) {
            Some(link) => link,
            None => upstream.connect().await?,
        };
        if asked.as_ref().is_some_and(|asked| !asked()) {
            return Err(Cause::Withheld);
        }
        outgoing.begin(link);
        match outgoing.head_of_answer(upstream).await {
            Ok(head) => return Ok(pass_on(upstream, outgoing, head)),
            // Nothing of it was written, or nothing depends on whether it was.
            Err(Failed::Silent(_)) if reused && (safe || outgoing.sent == 0) => {}
            Err(Failed::Silent(_)) if outgoing.sent == 0 => return Err(Cause::ClosedUnsent),
            Err(Failed::Silent(error)) => return Err(Cause::Broken(error)),
            Err(Failed::Other(cause)) => return Err(cause),
        }
    }
}

enum Failed {
    /// The connection ended with nothing said.
    Silent(io::Error),
    Other(Cause),
}

/// A request on its way.
pub(super) struct Outgoing {
    link: Option<Link>,
    head: Bytes,
    /// Bytes of the head that were written.
    sent: usize,
    body: Option<Body>,
    chunked: bool,
    /// A piece of the body: its framing, itself, and what follows it.
    before: Bytes,
    data: Bytes,
    after: Bytes,
    /// The body waits for Clouddriver's 100.
    held: bool,
    failure: Option<io::Error>,
    /// The client broke its body off, and Clouddriver has not been told.
    breaks_off: bool,
    asked: Asked,
    /// Something came from Clouddriver.
    heard: bool,
    interim: Option<Interim>,
    until: Option<Instant>,
    moved: Instant,
    waits_for_client: bool,
}

impl Outgoing {
    fn new(request: Request<Body>) -> Self {
        let (mut parts, body) = request.into_parts();
        let modern = parts.version != Version::HTTP_10;
        let exact = body.size_hint().exact();
        let empty = body.is_end_stream();
        let (head, chunked) = match parts.extensions.remove::<RawHead>() {
            Some(RawHead(head)) => (head, exact.is_none()),
            None => (answer::request_head(&parts, exact), exact.is_none()),
        };
        let interim = parts.extensions.remove::<Interim>();
        let until = parts.extensions.remove::<Until>().map(|until| until.0);
        let expects = modern && parts.headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
        Self {
            link: None,
            head,
            sent: 0,
            // An empty chunked body still has its last chunk.
            body: (!empty || (chunked && parts.headers.contains_key(header::TRANSFER_ENCODING))).then_some(body),
            chunked,
            before: Bytes::new(),
            data: Bytes::new(),
            after: Bytes::new(),
            held: expects && !empty,
            failure: None,
            breaks_off: false,
            asked: Asked { head_only: parts.method == Method::HEAD, modern, upgrade: false, close: false, unfinished: false },
            heard: false,
            interim,
            until,
            moved: Instant::now(),
            waits_for_client: false,
        }
    }

    fn begin(&mut self, link: Link) {
        (self.link, self.sent, self.failure, self.heard) = (Some(link), 0, None, false);
        self.moved = Instant::now();
    }

    fn is_sent(&self) -> bool {
        self.body.is_none() && !self.has_piece() && self.sent == self.head.len() && self.failure.is_none()
    }

    fn has_piece(&self) -> bool {
        self.before.has_remaining() || self.data.has_remaining() || self.after.has_remaining()
    }

    /// Sends what can be sent.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.waits_for_client = false;
        let Some(link) = &mut self.link else { return Poll::Ready(Ok(())) };
        if self.failure.is_some() {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.sent < self.head.len() {
                // Nothing of a body leaves before something of its head: who is to say no to the body is asked first.
                match ready!(link.poll_write(cx, &self.head[self.sent..])) {
                    Ok(n) => self.sent += n,
                    Err(error) => {
                        self.failure = Some(error);
                        return Poll::Ready(Ok(()));
                    }
                }
                self.moved = Instant::now();
                continue;
            }
            let piece = [&mut self.before, &mut self.data, &mut self.after].into_iter().find(|p| p.has_remaining());
            if let Some(piece) = piece {
                match ready!(link.poll_write(cx, piece)) {
                    Ok(n) => piece.advance(n),
                    Err(error) => {
                        self.failure = Some(error);
                        return Poll::Ready(Ok(()));
                    }
                }
                self.moved = Instant::now();
                continue;
            }
            let Some(body) = &mut self.body else { return Poll::Ready(Ok(())) };
            if self.held {
                return Poll::Pending;
            }
            let frame = match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    self.waits_for_client = true;
                    return Poll::Pending;
                }
            };
            self.moved = Instant::now();
            match frame {
                Some(Err(_)) => return Poll::Ready(Err(Cause::RequestBody)),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) if self.chunked => {
                        self.before = format!("{:x}\r\n", data.len()).into();
                        self.data = data;
                        self.after = Bytes::from_static(b"\r\n");
                    }
                    Ok(data) => {
                        self.data = data;
                        if body.is_end_stream() {
                            self.body = None;
                        }
                    }
                    Err(frame) => {
                        let trailers = frame.into_trailers().unwrap_or_default();
                        self.body = None;
                        if self.chunked {
                            self.before = answer::last_chunk(&trailers);
                        }
                    }
                },
                None => {
                    self.body = None;
                    if self.chunked {
                        self.before = answer::last_chunk(&HeaderMap::new());
                    }
                }
            }
        }
    }

    async fn head_of_answer(&mut self, upstream: &Upstream) -> Result<Head, Failed> {
        let timeout = upstream.response_timeout();
        let mut timer: Option<Pin<Box<Sleep>>> = None;
        let mut patience: Option<Pin<Box<Sleep>>> = None;
        poll_fn(|cx| {
            match self.poll_send(cx) {
                Poll::Ready(Err(cause)) => return Poll::Ready(Err(Failed::Other(cause))),
                Poll::Ready(Ok(())) | Poll::Pending => {}
            }
            if let Poll::Ready(head) = self.poll_head(cx) {
                return Poll::Ready(head);
            }
            if self.held && patience.get_or_insert_with(|| Box::pin(sleep(UNASKED))).as_mut().poll(cx).is_ready() {
                self.held = false;
            }
            if !self.held {
                // The 100 may have come just now.
                if let Poll::Ready(Err(cause)) = self.poll_send(cx) {
                    return Poll::Ready(Err(Failed::Other(cause)));
                }
            }
            let response = timeout.filter(|_| !self.waits_for_client).map(|timeout| self.moved + timeout);
            if let Some(at) = response.into_iter().chain(self.until).min() {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                if timer.as_mut().poll(cx).is_ready() {
                    let total = self.until == Some(at);
                    let cause = if total { Cause::TotalTimeout } else { Cause::ResponseTimeout(timeout.unwrap_or_default()) };
                    return Poll::Ready(Err(Failed::Other(cause)));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Failed>> {
        let unfinished = !self.is_sent();
        let Some(link) = &mut self.link else { return Poll::Pending };
        let bad = |why: &str| Failed::Other(Cause::BadAnswer(why.to_owned()));
        loop {
            if !link.is_empty() {
                crate::crash_point!("answer-head");
                let mut out = Vec::new();
                match response::parse(link.unread(), &mut out, Asked { unfinished, ..self.asked }) {
                    Ok(Some(head)) => {
                        link.consume(head.length);
                        if head.status.is_informational() {
                            if head.status == StatusCode::CONTINUE {
                                // The client has had its 100 from us when its body was first asked for, and is not told again.
                                self.held = false;
                                cx.waker().wake_by_ref();
                            } else if let Some(interim) = &self.interim {
                                interim.say(&out);
                            }
                            continue;
                        }
                        return Poll::Ready(Ok(Head { head, out }));
                    }
                    Ok(None) => {}
                    Err(why) => return Poll::Ready(Err(bad(why))),
                }
            }
            match ready!(link.poll_fill(cx, MAX_HEAD)) {
                Ok(0) => return Poll::Ready(Err(self.silent(io::ErrorKind::UnexpectedEof.into()))),
                Err(e) if e.kind() == io::ErrorKind::OutOfMemory => return Poll::Ready(Err(bad("its head is too large"))),
                Err(error) => return Poll::Ready(Err(self.silent(error))),
                Ok(_) => self.heard = true,
            }
        }
    }

    fn silent(&mut self, error: io::Error) -> Failed {
        let error = self.failure.take().unwrap_or(error);
        if self.heard { Failed::Other(Cause::Broken(error)) } else { Failed::Silent(error) }
    }
}

struct Head {
    head: response::ResponseHead,
    out: Vec<u8>,
}

fn pass_on(upstream: &Upstream, outgoing: Outgoing, Head { head, out }: Head) -> Response<Body> {
    let raw = RawAnswer { head: out.into(), framing: head.framing, close: head.close };
    let mut answer = Response::new(Body::Empty);
    *answer.status_mut() = head.status;
    *answer.headers_mut() = answer::headers_of(&raw.head);
    answer.headers_mut().remove(header::CONNECTION);
    answer.headers_mut().remove(header::TRANSFER_ENCODING);
    let mut body = Answer {
        left: match head.framing {
            Framing::Length(n) => Some(n),
            Framing::Empty => Some(0),
            _ => None,
        },
        chunks: (head.framing == Framing::Chunked).then(Chunks::default),
        trailers: Vec::new(),
        persistent: head.persistent,
        end: outgoing.until.map(|at| Box::pin(sleep_until(at))),
        call: Some(Box::new((upstream.clone(), outgoing))),
    };
    answer.extensions_mut().insert(raw);
    if body.left == Some(0) {
        body.ended();
    } else {
        *answer.body_mut() = Body::Answer(body);
    }
    answer
}
