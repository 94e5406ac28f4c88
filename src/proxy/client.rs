//! One client's connection: a request after the other, each passed on or given to the services, until one side has enough.

use std::future::{Future as _, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Service, ServiceExt as _};

use super::accept::Shared;
use super::answer::{Coding, answer_head, headers_of, last_chunk};
use super::call::{MAX_HEAD, RawAnswer, RawHead};
use super::feed::{self, Fed};
use super::interim::Interim;
use super::link::Link;
use super::metrics::Up;
use super::pass::{Bounds, Ended, Fault, Pass};
use super::respond::{self, Summary};
use super::wire::Framing;
use super::wire::request::{self, Refusal, RequestHead};
use super::wire::response::Asked;
use super::{Body, Cause, tunnel};

/// A head of so many bytes is looked at whenever something of it comes, a longer one when its end has come: however slowly it is
/// sent, reading it costs little.
const EAGER: usize = 4096;
/// A connection that has nothing to do when the drain begins has this long to send the request that may be on its way.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);
/// After an answer that came before the end of its request: what is read of that all the same, and for how long, so that the client
/// comes to read the answer.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);
/// What a client sends first who speaks HTTP/2 without asking.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// See the module's page.
pub(super) struct Client<S> {
    shared: Rc<Shared<S>>,
    link: Link,
    timer: Pin<Box<Sleep>>,
    /// It was told that the drain began.
    called: bool,
    requests: u64,
}

/// What comes next on a connection.
enum Next {
    Head(RequestHead),
    Refused(Refusal),
    /// HTTP/2 from here on.
    Preface,
    End,
}

/// Whether the connection can be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Next,
    /// It ends; what the client still sends is read for a while.
    Linger,
    End,
}

impl<S> Client<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible> + Clone + 'static,
{
    pub(super) fn new(shared: Rc<Shared<S>>, link: Link) -> Self {
        let timer = Box::pin(sleep_until(Instant::now() + shared.limits.header_timeout));
        Self { shared, link, timer, called: false, requests: 0 }
    }

    /// Serves it to its end.
    pub(super) async fn run(mut self) {
        let (mut head, mut answer) = (Vec::new(), Vec::new());
        loop {
            let then = match self.next(&mut head, &mut answer).await {
                Next::End => Then::End,
                Next::Refused(refusal) => Box::pin(self.refuse(refusal, &mut answer)).await,
                Next::Preface => {
                    let (stream, unread) = self.link.into_parts();
                    self.shared.give_spare(head, answer);
                    return Box::pin(super::http2::serve(self.shared, stream, unread)).await;
                }
                Next::Head(parsed) => {
                    self.requests += 1;
                    let shared = self.shared.clone();
                    let _in_flight = Up::new(&shared.counters.in_flight);
                    if shared.is_full() {
                        Box::pin(self.overloaded(&parsed, &head, &mut answer)).await
                    } else if shared.selector.takes(&head[parsed.method.clone()], &head[parsed.path.clone()]) {
                        Box::pin(self.serve(parsed, &head, &mut answer)).await
                    } else {
                        self.pass(parsed, &mut head, &mut answer).await
                    }
                }
            };
            match then {
                Then::Next => {}
                Then::Linger => {
                    self.linger().await;
                    break;
                }
                Then::End => break self.farewell().await,
            }
        }
        self.shared.give_spare(head, answer);
    }

    /// Refuses a client that speaks without TLS where TLS is spoken.
    pub(super) async fn refuse_plaintext(mut self) {
        let mut answer = Vec::new();
        self.refuse(request::PLAINTEXT, &mut answer).await;
        self.linger().await;
    }

    /// The client can tell this end from one that nobody meant, if its protocol knows the difference.
    async fn farewell(&mut self) {
        if !self.link.is_to_be_ended() {
            return;
        }
        let (link, timer, cut) = (&mut self.link, &mut self.timer, &self.shared.cut);
        timer.as_mut().reset(Instant::now() + self.shared.limits.stall_timeout);
        poll_fn(|cx| match link.poll_shutdown(cx) {
            Poll::Pending if cut.get() => Poll::Ready(()),
            Poll::Pending => timer.as_mut().poll(cx),
            Poll::Ready(_) => Poll::Ready(()),
        })
        .await;
    }

    /// Reads the next head. Without a word from the client, the end comes after the idle time-out, and soon in a drain.
    ///
    /// While there is nothing to read, the connection holds no room for heads.
    async fn next(&mut self, out: &mut Vec<u8>, answer: &mut Vec<u8>) -> Next {
        let limits = self.shared.limits;
        let idle = if self.requests == 0 { limits.header_timeout } else { limits.idle_timeout };
        self.link.rest();
        let mut begun = !self.link.is_empty();
        let wait = if begun { limits.header_timeout } else { idle };
        self.timer.as_mut().reset(Instant::now() + wait);
        let mut looked = 0;
        poll_fn(|cx| {
            loop {
                let unread = self.link.unread();
                if !unread.is_empty() {
                    if self.requests == 0 && (unread.starts_with(&PREFACE[..PREFACE.len().min(unread.len())])) {
                        if unread.len() >= PREFACE.len() {
                            return Poll::Ready(Next::Preface);
                        }
                    } else if unread.len() > looked && (unread.len() <= EAGER || ends_head(&unread[looked.saturating_sub(3)..])) {
                        if out.capacity() == 0 {
                            (*out, *answer) = self.shared.spare();
                        }
                        match request::parse(unread, out) {
                            Ok(Some(head)) => {
                                self.link.consume(head.length);
                                return Poll::Ready(Next::Head(head));
                            }
                            Ok(None) => {}
                            Err(refusal) => return Poll::Ready(Next::Refused(refusal)),
                        }
                    }
                    looked = unread.len();
                    if !begun {
                        begun = true;
                        self.timer.as_mut().reset(Instant::now() + limits.header_timeout);
                    }
                }
                match self.link.poll_fill(cx, limits.max_head) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(Next::End),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(e)) if e.kind() == io::ErrorKind::OutOfMemory => {
                        return Poll::Ready(Next::Refused(request::TOO_LARGE));
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Next::End),
                    Poll::Pending => break,
                }
            }
            if self.link.is_empty() && out.capacity() > 0 {
                self.shared.give_spare(std::mem::take(out), std::mem::take(answer));
            }
            if self.shared.cut.get() {
                return Poll::Ready(Next::End);
            }
            if self.shared.draining.get() && !self.called {
                self.called = true;
                self.timer.as_mut().reset(Instant::now() + LAST_CALL.min(wait));
            }
            // No 408: Gate would repeat a POST on it.
            self.timer.as_mut().poll(cx).map(|()| Next::End)
        })
        .await
    }

    /// Passes one request on, and its answer back.
    async fn pass(&mut self, parsed: RequestHead, head: &mut Vec<u8>, answer: &mut Vec<u8>) -> Then {
        let shared = self.shared.clone();
        let method = &head[parsed.method.clone()];
        let head_only = method == b"HEAD";
        let safe = (head_only || matches!(method, b"GET" | b"OPTIONS" | b"TRACE")) && parsed.framing == Framing::Empty && !parsed.upgrade;
        let has_body = parsed.framing != Framing::Empty;
        let (origin, reused) = match shared.upstream.kept() {
            Some(link) => (link, true),
            None => match Box::pin(shared.upstream.connect()).await {
                Ok(link) => (link, false),
                Err(cause) => return Box::pin(self.failed(cause, &parsed, head, has_body, answer)).await,
            },
        };
        let asked = Asked {
            head_only,
            modern: parsed.modern,
            upgrade: parsed.upgrade,
            close: !parsed.persistent || shared.draining.get(),
            unfinished: false,
        };
        let bounds = Bounds {
            response: shared.upstream.response_timeout(),
            stall: shared.limits.stall_timeout,
            until: shared.limits.total_timeout.map(|total| Instant::now() + total),
            cancel: shared.limits.cancel_on_half_close,
            head: MAX_HEAD,
        };
        let length = head.len();
        let mut pass = Pass::new(&mut self.link, origin, reused, head, parsed.framing, answer, asked, bounds);
        let timer = &mut self.timer;
        let fault = loop {
            let moved = poll_fn(|cx| {
                if asked.close || shared.draining.get() {
                    pass.close_after();
                }
                if let Poll::Ready(ended) = pass.poll(cx) {
                    return Poll::Ready(ended);
                }
                if shared.cut.get() && pass.is_unanswered() {
                    return Poll::Ready(Err(Fault::NoAnswer(Cause::Shutdown)));
                }
                if let Some(at) = pass.deadline() {
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    if timer.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Err(pass.expired(Instant::now())));
                    }
                }
                Poll::Pending
            })
            .await;
            match moved {
                Ok(Ended { status, client_open, origin_open, switched }) => {
                    shared.answered(status);
                    let origin = pass.into_origin();
                    if switched {
                        Box::pin(tunnel::run(&mut self.link, origin)).await;
                        return Then::End;
                    }
                    if origin_open {
                        shared.upstream.keep(origin);
                    }
                    return match client_open {
                        true => Then::Next,
                        false if has_body => Then::Linger,
                        false => Then::End,
                    };
                }
                Err(Fault::Stale { unsent, .. }) if safe || unsent => match Box::pin(shared.upstream.connect()).await {
                    Ok(link) => pass.again(link),
                    Err(cause) => break Fault::NoAnswer(cause),
                },
                Err(fault) => break fault,
            }
        };
        let cut = matches!(fault, Fault::Cut) && pass.ends_by_close();
        drop(pass);
        match fault {
            Fault::NoAnswer(cause) => {
                head.truncate(length);
                Box::pin(self.failed(cause, &parsed, head, has_body, answer)).await
            }
            Fault::Stale { error, .. } => {
                head.truncate(length);
                Box::pin(self.failed(Cause::Broken(error), &parsed, head, has_body, answer)).await
            }
            Fault::Client => Then::End,
            Fault::Cut => {
                if cut {
                    self.link.reset_on_close();
                }
                Then::End
            }
        }
    }

    /// Gives one request to the services.
    async fn serve(&mut self, parsed: RequestHead, head: &[u8], answer: &mut Vec<u8>) -> Then {
        let shared = self.shared.clone();
        let (mut feeder, body) = feed::body(parsed.framing, parsed.expects);
        let body = if parsed.framing == Framing::Empty { Body::Empty } else { Body::Client(body) };
        let mut request = request_of(&parsed, head, body);
        let interim = Interim::default();
        if parsed.modern {
            // RFC 9110 §15.2: never to a client of HTTP/1.0.
            request.extensions_mut().insert(interim.clone());
        }
        let summary = Summary::of(&request);
        let head_only = *request.method() == Method::HEAD;
        let (link, timer, stall) = (&mut self.link, &mut self.timer, shared.limits.stall_timeout);
        let mut half_closed = false;
        answer.clear();
        // Of what is in `answer`.
        let mut sent = 0;
        let called = {
            let mut call = pin!(AssertUnwindSafe(shared.service.clone().oneshot(request)).catch_unwind());
            poll_fn(|cx| {
                // Twice: what the service asks for is fetched at once.
                for _ in 0..2 {
                    if let Poll::Ready(called) = call.as_mut().poll(cx) {
                        return Poll::Ready(Some(called));
                    }
                    interim.hear(cx, answer);
                    if !answer.is_empty() && !feeder.is_speaking() {
                        match link.poll_write_all(cx, answer, &mut sent) {
                            Poll::Ready(Ok(())) => {
                                answer.clear();
                                sent = 0;
                            }
                            Poll::Ready(Err(_)) => return Poll::Ready(None),
                            Poll::Pending => {}
                        }
                    }
                    if sent == 0 {
                        let _ = feeder.poll(cx, link);
                    }
                }
                if let Some(since) = feeder.waits_since() {
                    let at = since + stall;
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    if timer.as_mut().poll(cx).is_ready() {
                        feeder.give_up();
                    }
                }
                if feeder.is_whole() && !half_closed && link.is_empty() {
                    match link.poll_fill(cx, EAGER) {
                        Poll::Ready(Ok(0)) if !shared.limits.cancel_on_half_close => half_closed = true,
                        Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(None),
                        Poll::Ready(Ok(_)) | Poll::Pending => {}
                    }
                }
                if shared.cut.get() {
                    return Poll::Ready(Some(Ok(Ok(respond::cut()))));
                }
                Poll::Pending
            })
            .await
        };
        let given = match called {
            // Nobody is there to be answered.
            None => return Then::End,
            Some(Ok(Ok(given))) => given,
            Some(Ok(Err(never))) => match never {},
            Some(Err(_)) => shared.panicked(&summary),
        };
        shared.answered(given.status());
        summary.answered(given.status());
        let (mut parts, mut body) = given.into_parts();
        let told = parts.headers.get(header::CONNECTION).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"close"));
        let mut close = told
            || !parsed.persistent
            || half_closed
            || shared.draining.get()
            || !feeder.is_whole()
            || (parsed.upgrade && !link.is_empty());
        answer.splice(..0, feeder.hush().iter().copied());
        interim.rest(answer);
        let exact = if body.is_end_stream() { Some(0) } else { body.size_hint().exact() };
        let (coding, ends_by_close) = match parts.extensions.remove::<RawAnswer>() {
            Some(raw) => {
                answer.extend_from_slice(&raw.head);
                if close && !raw.close {
                    answer.truncate(answer.len() - 2);
                    answer.extend_from_slice(b"Connection: close\r\n\r\n");
                }
                close |= raw.close;
                let coding = if raw.framing == Framing::Chunked { Coding::Chunked } else { Coding::Plain };
                (coding, raw.framing == Framing::UntilClose || !parsed.modern)
            }
            None => {
                close |= exact.is_none() && !parsed.modern;
                let coding = answer_head(answer, parts.status, &parts.headers, exact, close);
                (coding, false)
            }
        };
        let mut ended = head_only || (exact == Some(0) && coding == Coding::Plain);
        let mut feeding = !feeder.is_whole();
        timer.as_mut().reset(Instant::now() + stall);
        let written: Result<bool, ()> = poll_fn(|cx| {
            loop {
                if sent < answer.len() {
                    let before = sent;
                    match link.poll_write_all(cx, answer, &mut sent) {
                        Poll::Ready(Ok(())) => {
                            answer.clear();
                            sent = 0;
                            timer.as_mut().reset(Instant::now() + stall);
                        }
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                        Poll::Pending => {
                            if sent > before {
                                timer.as_mut().reset(Instant::now() + stall);
                            }
                            return timer.as_mut().poll(cx).map(|()| Ok(false));
                        }
                    }
                }
                if ended {
                    return Poll::Ready(Ok(true));
                }
                let frame = match Pin::new(&mut body).poll_frame(cx) {
                    Poll::Ready(frame) => frame,
                    Poll::Pending => {
                        if feeding && let Poll::Ready(fed) = feeder.poll(cx, link) {
                            feeding = false;
                            if fed == Fed::Broken {
                                close = true;
                            }
                            continue;
                        }
                        if let Some(since) = feeder.waits_since() {
                            let at = since + stall;
                            if timer.deadline() != at {
                                timer.as_mut().reset(at);
                            }
                            if timer.as_mut().poll(cx).is_ready() {
                                feeder.give_up();
                                continue;
                            }
                        }
                        if !feeding && !half_closed && link.is_empty() {
                            match link.poll_fill(cx, EAGER) {
                                Poll::Ready(Ok(0)) => half_closed = true,
                                Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                                Poll::Ready(Ok(_)) | Poll::Pending => {}
                            }
                        }
                        return Poll::Pending;
                    }
                };
                match frame {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) if coding == Coding::Chunked => {
                            if !data.is_empty() {
                                answer.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                                answer.extend_from_slice(&data);
                                answer.extend_from_slice(b"\r\n");
                            }
                            if body.is_end_stream() {
                                answer.extend_from_slice(b"0\r\n\r\n");
                                ended = true;
                            }
                        }
                        Ok(data) => {
                            answer.extend_from_slice(&data);
                            ended = body.is_end_stream();
                        }
                        Err(frame) => {
                            if coding == Coding::Chunked {
                                answer.extend_from_slice(&last_chunk(&frame.into_trailers().unwrap_or_default()));
                            }
                            ended = true;
                        }
                    },
                    None => {
                        if coding == Coding::Chunked {
                            answer.extend_from_slice(b"0\r\n\r\n");
                        }
                        ended = true;
                    }
                    Some(Err(_)) => return Poll::Ready(Ok(false)),
                }
            }
        })
        .await;
        match written {
            Ok(true) if close || half_closed => Then::Linger,
            Ok(true) if feeder.is_whole() => Then::Next,
            Ok(true) => Then::Linger,
            Ok(false) => {
                if ends_by_close {
                    link.reset_on_close();
                }
                Then::End
            }
            Err(()) => Then::End,
        }
    }

    /// An answer of our own to a request that Clouddriver did not answer.
    async fn failed(&mut self, cause: Cause, parsed: &RequestHead, head: &[u8], has_body: bool, out: &mut Vec<u8>) -> Then {
        let failed = self.shared.upstream.failed(cause);
        let request = request_of(parsed, head, Body::Empty);
        let answer = respond::refuse(&Summary::of(&request), &failed, has_body);
        self.answer(answer, !parsed.persistent, *request.method() == Method::HEAD, out).await
    }

    /// More than is allowed at once.
    async fn overloaded(&mut self, parsed: &RequestHead, head: &[u8], out: &mut Vec<u8>) -> Then {
        self.shared.counters.overloaded.fetch_add(1, Relaxed);
        let message = "Fairlead has as many requests in progress as it may have; this one was not forwarded";
        let mut answer = respond::error(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", message, Some(1));
        let close = parsed.framing != Framing::Empty;
        if close {
            answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        self.answer(answer, !parsed.persistent, head.starts_with(b"HEAD "), out).await
    }

    async fn refuse(&mut self, refusal: Refusal, out: &mut Vec<u8>) -> Then {
        tracing::info!(status = refusal.status.as_u16(), "a request was not forwarded: {refusal}");
        self.shared.counters.refused.fetch_add(1, Relaxed);
        let message = format!("not forwarded: {refusal}");
        self.answer(respond::error(refusal.status, "RequestNotForwardable", &message, None), true, false, out).await;
        Then::Linger
    }

    /// Sends an answer whose body is at hand.
    async fn answer(&mut self, answer: Response<Body>, close: bool, head_only: bool, out: &mut Vec<u8>) -> Then {
        self.shared.answered(answer.status());
        let (parts, body) = answer.into_parts();
        let close = close || self.shared.draining.get() || parts.headers.contains_key(header::CONNECTION);
        out.clear();
        answer_head(out, parts.status, &parts.headers, body.size_hint().exact(), close);
        if let (Body::Full(full), false) = (body, head_only)
            && let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut { full }).now_or_never().flatten()
            && let Some(data) = frame.data_ref()
        {
            out.extend_from_slice(data);
        }
        let (mut sent, link, timer) = (0, &mut self.link, &mut self.timer);
        timer.as_mut().reset(Instant::now() + self.shared.limits.stall_timeout);
        let written = poll_fn(|cx| match link.poll_write_all(cx, out, &mut sent) {
            Poll::Pending => timer.as_mut().poll(cx).map(|()| false),
            Poll::Ready(written) => Poll::Ready(written.is_ok()),
        })
        .await;
        match (written, close) {
            (true, true) => Then::Linger,
            (true, false) => Then::Next,
            (false, _) => Then::End,
        }
    }

    /// Ends the connection so that what was said arrives: a close with something unread would be a reset.
    async fn linger(&mut self) {
        let (link, timer) = (&mut self.link, &mut self.timer);
        timer.as_mut().reset(Instant::now() + LINGER);
        let mut left = LINGER_BYTES;
        let mut told = false;
        poll_fn(|cx| {
            if !told {
                match link.poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => told = true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {}
                }
            }
            loop {
                let n = link.unread().len();
                link.consume(n);
                left = left.saturating_sub(n);
                if left == 0 {
                    return Poll::Ready(());
                }
                match link.poll_fill(cx, super::link::LARGE) {
                    Poll::Ready(Ok(0) | Err(_)) => return Poll::Ready(()),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Pending => break,
                }
            }
            timer.as_mut().poll(cx)
        })
        .await;
    }
}

/// Whether an empty line is in it.
fn ends_head(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|w| w == b"\n\r\n") || bytes.windows(2).any(|w| w == b"\n\n")
}

/// The request as the services see it. Its head goes on as it came.
fn request_of(parsed: &RequestHead, head: &[u8], body: Body) -> Request<Body> {
    let mut request = Request::new(body);
    let line_end = head.iter().position(|b| *b == b'\r').unwrap_or(head.len());
    let target = &head[parsed.method.end + 1..line_end.saturating_sub(b" HTTP/1.1".len()).max(parsed.method.end + 1)];
    *request.method_mut() = Method::from_bytes(&head[parsed.method.clone()]).unwrap_or(Method::OPTIONS);
    // A target that is no URI cannot mean a route by any strict reading; the services see one that only a tolerant one takes.
    *request.uri_mut() = Uri::try_from(target).unwrap_or_else(|_| Uri::from_static("//credentials"));
    *request.headers_mut() = headers_of(head);
    *request.version_mut() = if parsed.modern { Version::HTTP_11 } else { Version::HTTP_10 };
    request.extensions_mut().insert(RawHead(bytes::Bytes::copy_from_slice(head)));
    request
}
