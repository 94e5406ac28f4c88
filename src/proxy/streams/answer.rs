//! The body of an answer that comes by HTTP/2.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::super::BodyError;
use super::exchange::Exchange;

/// Read to its clean end it leaves nothing behind.
pub(super) struct Answer {
    /// `None`: it is over.
    exchange: Option<Box<Exchange>>,
    left: Option<u64>,
    end: Option<Pin<Box<Sleep>>>,
}

impl Answer {
    pub(super) fn new(exchange: Exchange, length: Option<u64>, until: Option<Instant>) -> Self {
        Self { exchange: Some(Box::new(exchange)), left: length, end: until.map(|at| Box::pin(sleep_until(at))) }
    }

    fn over(&mut self) {
        if let Some(mut exchange) = self.exchange.take() {
            exchange.ended();
        }
    }

    fn broken(&mut self, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.over();
        Poll::Ready(Some(Err(why.into())))
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let Some(exchange) = &mut this.exchange else { return Poll::Ready(None) };
        // The answer may come before its request has ended, and then the rest of that is sent meanwhile.
        if let Poll::Ready(Err(_)) = exchange.poll_send(cx) {
            return this.broken("the request broke off behind the head of its answer");
        }
        let Some(body) = exchange.body() else { return Poll::Ready(None) };
        crate::crash_point!("answer-body");
        match body.poll_data(cx) {
            Poll::Ready(Some(Ok(data))) => {
                let _ = body.flow_control().release_capacity(data.len());
                this.left = this.left.map(|left| left.saturating_sub(data.len() as u64));
                if body.is_end_stream() {
                    this.over();
                }
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            Poll::Ready(Some(Err(_))) => return this.broken("Clouddriver's answer broke off"),
            Poll::Ready(None) => match body.poll_trailers(cx) {
                Poll::Ready(Ok(trailers)) => {
                    this.over();
                    return Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))));
                }
                Poll::Ready(Err(_)) => return this.broken("Clouddriver's answer broke off"),
                Poll::Pending => {}
            },
            Poll::Pending => {}
        }
        if this.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            this.exchange = None;
            return Poll::Ready(Some(Err("the answer took longer than a request may".into())));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.exchange.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
