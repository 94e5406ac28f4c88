//! The body of an answer that comes by HTTP/1.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Sleep;

use super::super::link::LARGE;
use super::super::upstream::Upstream;
use super::super::wire::chunked::{Chunks, Piece};
use super::super::{BodyError, answer};
use super::Outgoing;

/// Read to its clean end it gives the connection back; broken or dropped before, it closes it.
pub struct Answer {
    pub(super) left: Option<u64>,
    pub(super) chunks: Option<Chunks>,
    pub(super) trailers: Vec<u8>,
    pub(super) persistent: bool,
    pub(super) end: Option<Pin<Box<Sleep>>>,
    pub(super) call: Option<Box<(Upstream, Outgoing)>>,
}

impl Answer {
    pub(super) fn ended(&mut self) {
        if let Some(call) = self.call.take() {
            let (upstream, outgoing) = *call;
            if self.persistent
                && outgoing.is_sent()
                && let Some(link) = outgoing.link
            {
                upstream.keep(link);
            }
        }
    }

    fn broken(&mut self, why: &'static str) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.call = None;
        Poll::Ready(Some(Err(why.into())))
    }

    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self;
        let Some(call) = &mut this.call else { return Poll::Ready(None) };
        // The answer may come before its request has ended, and then the rest of that is sent meanwhile.
        let outgoing = &mut call.1;
        if let Poll::Ready(Err(cause)) = outgoing.poll_send(cx) {
            outgoing.failure = Some(io::Error::other(cause.label()));
            outgoing.body = None;
            outgoing.breaks_off = true;
        }
        let Some(link) = &mut outgoing.link else { return Poll::Ready(None) };
        if outgoing.breaks_off && link.poll_shutdown(cx).is_ready() {
            // Clouddriver sees a request that never ended, and may say the rest of what it has to say.
            outgoing.breaks_off = false;
        }
        loop {
            if !link.is_empty() {
                let unread = link.unread();
                if let Some(chunks) = &mut this.chunks {
                    let (mut data, trailers) = (Vec::new(), &mut this.trailers);
                    let scanned = chunks.scan(unread, |piece| match piece {
                        Piece::Data(bytes) => data.extend_from_slice(bytes),
                        Piece::Trailer(bytes) => trailers.extend_from_slice(bytes),
                    });
                    let Ok(n) = scanned else { return this.broken("Clouddriver's answer has malformed chunks") };
                    link.consume(n);
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data.into()))));
                    }
                } else {
                    let n = this.left.map_or(unread.len(), |left| usize::try_from(left).unwrap_or(usize::MAX).min(unread.len()));
                    let data = Bytes::copy_from_slice(&unread[..n]);
                    link.consume(n);
                    if let Some(left) = &mut this.left {
                        *left -= n as u64;
                        if *left == 0 {
                            this.ended();
                        }
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
            if this.chunks.as_ref().is_some_and(Chunks::is_done) {
                this.ended();
                let trailers = answer::trailers_of(&this.trailers);
                return Poll::Ready((!trailers.is_empty()).then(|| Ok(Frame::trailers(trailers))));
            }
            crate::crash_point!("answer-body");
            match ready!(link.poll_fill(cx, LARGE)) {
                Ok(0) if this.chunks.is_none() && this.left.is_none() => {
                    this.call = None;
                    return Poll::Ready(None);
                }
                Ok(0) => return this.broken("Clouddriver's answer broke off"),
                Err(_) => return this.broken("Clouddriver's connection broke in its answer"),
                Ok(_) => {}
            }
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.end.as_mut().is_some_and(|end| end.as_mut().poll(cx).is_ready()) {
            return self.broken("the answer took longer than a request may");
        }
        self.poll_piece(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.call.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
