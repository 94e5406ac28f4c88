//! One client's connection: a request after the other, each passed on or given to the services, until one side has enough.

mod own;
mod serve;

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use http::{Request, Response};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::Service;

use super::accept::Shared;
use super::call::{MAX_HEAD, Until};
use super::link::Link;
use super::metrics::Up;
use super::pass::{Bounds, Ended, Fault, Pass};
use super::wire::Framing;
use super::wire::request::{self, Refusal, RequestHead};
use super::wire::response::Asked;
use super::{Body, Cause, tunnel};

/// A head of so many bytes is looked at whenever something of it comes, a longer one when its end has come: however slowly it is
/// sent, reading it costs little.
const EAGER: usize = 4096;
/// A connection that has nothing to do when the drain begins has this long to send the request that may be on its way.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);
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
    /// A request has begun to come, and its answer has not ended.
    busy: bool,
    /// It is a `HEAD`.
    head_only: bool,
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
        Self { shared, link, timer, called: false, requests: 0, busy: false, head_only: false }
    }

    /// Serves it to its end. True: it has not ended, the client speaks HTTP/2 from here on.
    pub(super) async fn run(&mut self) -> bool {
        let (mut head, mut answer) = (Vec::new(), Vec::new());
        loop {
            let then = match self.next(&mut head, &mut answer).await {
                Next::End => Then::End,
                Next::Refused(refusal) => Box::pin(self.refuse(refusal, &mut answer)).await,
                Next::Preface => {
                    self.shared.give_spare(head, answer);
                    return true;
                }
                Next::Head(parsed) => {
                    self.requests += 1;
                    self.head_only = head.starts_with(b"HEAD ");
                    let shared = self.shared.clone();
                    let _in_flight = Up::new(&shared.counters.in_flight);
                    if shared.is_full() {
                        Box::pin(self.overloaded(&parsed, &mut answer)).await
                    } else if shared.selector.takes(&head[parsed.method.clone()], &head[parsed.path.clone()]) {
                        Box::pin(self.serve(parsed, &head, &mut answer, None)).await
                    } else if shared.upstream.streams().is_some() && !parsed.upgrade {
                        // To another version nothing passes as bytes.
                        let until = shared.limits.total_timeout.map(|total| Until(Instant::now() + total));
                        Box::pin(self.serve(parsed, &head, &mut answer, until)).await
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
        false
    }

    /// Goes on by HTTP/2.
    pub(super) async fn into_http2(self) {
        let (stream, unread) = self.link.into_parts();
        super::http2::serve(self.shared, stream, unread).await;
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
        let (link, timer, shared) = (&mut self.link, &mut self.timer, &self.shared);
        let end = Instant::now() + shared.limits.stall_timeout;
        timer.as_mut().reset(end);
        let mut called = false;
        poll_fn(|cx| match link.poll_shutdown(cx) {
            Poll::Pending if shared.cut.get() => Poll::Ready(()),
            Poll::Pending => {
                if shared.draining.get() && !called {
                    called = true;
                    timer.as_mut().reset(end.min(Instant::now() + LAST_CALL));
                }
                timer.as_mut().poll(cx)
            }
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
        self.link.begins();
        let mut begun = !self.link.is_empty();
        self.busy = begun;
        let wait = if begun { limits.header_timeout } else { idle };
        self.timer.as_mut().reset(Instant::now() + wait);
        let mut looked = 0;
        poll_fn(|cx| {
            loop {
                let unread = self.link.unread();
                if !unread.is_empty() {
                    self.busy = true;
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
                        // A head that begins in a drain is there soon, or keeps nobody waiting.
                        let wait = if self.called { LAST_CALL.min(limits.header_timeout) } else { limits.header_timeout };
                        self.timer.as_mut().reset(Instant::now() + wait);
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
        let head_only = self.head_only;
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
            least: shared.limits.least(),
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
                while let Some(at) = pass.deadline() {
                    if timer.deadline() != at {
                        timer.as_mut().reset(at);
                    }
                    if timer.as_mut().poll(cx).is_pending() {
                        break;
                    }
                    if let Some(fault) = pass.expired(Instant::now()) {
                        if pass.waits_for_client() {
                            shared.counters.given_up.fetch_add(1, Relaxed);
                        }
                        return Poll::Ready(Err(fault));
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
                        // With something unread, a close would be a reset, and take from the client what it has not read yet.
                        false if has_body || !self.link.is_empty() => Then::Linger,
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
}

/// Whether an empty line is in it.
fn ends_head(bytes: &[u8]) -> bool {
    bytes.windows(3).any(|w| w == b"\n\r\n") || bytes.windows(2).any(|w| w == b"\n\n")
}
