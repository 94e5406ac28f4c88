//! Answers of our own, and the end of a connection that lets them arrive.

use std::future::{Future as _, poll_fn};
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use tokio::time::Instant;
use tower::Service;

use super::super::answer::answer_head;
use super::super::respond::{self, Summary};
use super::super::wire::Framing;
use super::super::wire::request::{Refusal, RequestHead};
use super::super::{Body, Cause, link};
use super::serve::request_of;
use super::{Client, Then};

/// After an answer that came before the end of what the client sends: what is read of that all the same, and how long the client has to
/// read the answer.
const LINGER_BYTES: usize = 256 * 1024;
const LINGER: Duration = Duration::from_secs(1);

impl<S> Client<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = std::convert::Infallible> + Clone + 'static,
{
    /// An answer of our own to a request that Clouddriver did not answer.
    pub(super) async fn failed(&mut self, cause: Cause, parsed: &RequestHead, head: &[u8], has_body: bool, out: &mut Vec<u8>) -> Then {
        let failed = self.shared.upstream.failed(cause);
        let request = request_of(parsed, head, Body::Empty);
        let answer = respond::refuse(&Summary::of(&request), &failed, has_body);
        self.answer(answer, !parsed.persistent, *request.method() == Method::HEAD, out).await
    }

    /// After a panic. Who has heard nothing of an answer gets one; who has must not take it for the whole.
    pub(in crate::proxy) async fn panicked(&mut self) {
        if self.link.is_amid() {
            self.link.reset_on_close();
        } else if self.busy {
            self.answer(respond::fault(), true, self.head_only, &mut Vec::new()).await;
            self.linger().await;
        }
    }

    /// More than is allowed at once.
    pub(super) async fn overloaded(&mut self, parsed: &RequestHead, out: &mut Vec<u8>) -> Then {
        self.shared.counters.overloaded.fetch_add(1, Relaxed);
        let message = "Fairlead has as many requests in progress as it may have; this one was not forwarded";
        let mut answer = respond::error(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", message, Some(1));
        let close = parsed.framing != Framing::Empty;
        if close {
            answer.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
        }
        self.answer(answer, !parsed.persistent, self.head_only, out).await
    }

    pub(super) async fn refuse(&mut self, refusal: Refusal, out: &mut Vec<u8>) -> Then {
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
    pub(super) async fn linger(&mut self) {
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
                    break;
                }
                match link.poll_fill(cx, link::LARGE) {
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
