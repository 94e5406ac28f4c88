//! A request that goes through the services: they are fed with its body as they ask for it, and their answer is written.

use std::future::{Future as _, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use http::{Method, Request, Response, Uri, Version, header};
use http_body::Body as _;
use tokio::time::{Instant, Sleep};
use tower::{Service, ServiceExt as _};

use super::super::Body;
use super::super::answer::{Coding, answer_head, headers_of, last_chunk};
use super::super::call::{RawAnswer, RawHead, Until};
use super::super::feed::{self, Fed, Feeder};
use super::super::interim::Interim;
use super::super::pace::Pace;
use super::super::respond::{self, Summary};
use super::super::wire::Framing;
use super::super::wire::request::RequestHead;
use super::{Client, EAGER, Then};

impl<S> Client<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible> + Clone + 'static,
{
    /// Gives one request to the services; nobody looks into one that has an end.
    pub(super) async fn serve(&mut self, parsed: RequestHead, head: &[u8], answer: &mut Vec<u8>, until: Option<Until>) -> Then {
        let shared = self.shared.clone();
        let (mut feeder, body) = feed::body(parsed.framing, parsed.expects, shared.limits.least());
        let body = if parsed.framing == Framing::Empty { Body::Empty } else { Body::Client(body) };
        let mut request = request_of(&parsed, head, body);
        let interim = Interim::default();
        if parsed.modern {
            // RFC 9110 §15.2: never to a client of HTTP/1.0.
            request.extensions_mut().insert(interim.clone());
        }
        if let Some(until) = until {
            request.extensions_mut().insert(until);
        }
        let summary = Summary::of(&request);
        let head_only = *request.method() == Method::HEAD;
        let (link, timer, given_up) = (&mut self.link, &mut self.timer, &shared.counters.given_up);
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
                                link.begins();
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
                give_up_in_time(&mut feeder, timer, given_up, cx);
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
        let mut pace = Pace::new(shared.limits.least());
        let written: Result<bool, ()> = poll_fn(|cx| {
            loop {
                if sent < answer.len() {
                    let before = sent;
                    let taken = link.poll_write_all(cx, answer, &mut sent);
                    pace.moved(sent - before);
                    match taken {
                        Poll::Ready(Ok(())) => {
                            answer.clear();
                            sent = 0;
                            pace.rests();
                        }
                        Poll::Ready(Err(_)) => return Poll::Ready(Err(())),
                        Poll::Pending => {
                            pace.waits();
                            while let Some(due) = pace.due() {
                                if !is_passed(timer, due, cx) {
                                    break;
                                }
                                if pace.is_over(Instant::now()) {
                                    given_up.fetch_add(1, Relaxed);
                                    return Poll::Ready(Ok(false));
                                }
                            }
                            return Poll::Pending;
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
                        if give_up_in_time(&mut feeder, timer, given_up, cx) {
                            continue;
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
}

/// Gives a client up that has let what waits for it wait too long; whether it was so.
fn give_up_in_time(feeder: &mut Feeder, timer: &mut Pin<Box<Sleep>>, given_up: &AtomicU64, cx: &mut Context<'_>) -> bool {
    while let Some(due) = feeder.due() {
        if !is_passed(timer, due, cx) {
            return false;
        }
        if feeder.is_over(Instant::now()) {
            given_up.fetch_add(1, Relaxed);
            feeder.give_up();
            return true;
        }
    }
    false
}

/// Whether the timer, set to `at`, has run out.
fn is_passed(timer: &mut Pin<Box<Sleep>>, at: Instant, cx: &mut Context<'_>) -> bool {
    if timer.deadline() != at {
        timer.as_mut().reset(at);
    }
    timer.as_mut().poll(cx).is_ready()
}

/// The request as the services see it. Its head goes on as it came.
pub(super) fn request_of(parsed: &RequestHead, head: &[u8], body: Body) -> Request<Body> {
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
