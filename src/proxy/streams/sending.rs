//! The body of a request by HTTP/2, piece by piece.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::SendStream;
use http::HeaderMap;
use http_body::Body as _;
use tokio::time::Instant;

use super::super::answer::of_no_hop;
use super::super::{Body, Cause};

/// What is kept of a body until Clouddriver has taken it, so that it can be sent again where it took nothing.
const KEPT: usize = 64 * 1024;

/// A piece of a body that is smaller waits for the next one, or for the end: Tomcat ends a whole connection, with the requests of others on
/// it, after a few smaller ones.
const PIECE: usize = 1024;

/// See the module's page.
pub(super) struct Sending {
    body: Body,
    /// What was read of it and not sent yet.
    queue: VecDeque<Bytes>,
    /// All that was read of it, to be sent again; `None`: too much.
    kept: Option<Vec<Bytes>>,
    /// It was read to its end, and these are its trailers.
    end: Option<Option<HeaderMap>>,
    /// There is nothing more to send, or nobody who takes it.
    over: bool,
    /// All of it was sent.
    pub(super) whole: bool,
    /// The body waits for Clouddriver's 100.
    pub(super) held: bool,
    pub(super) waits_for_client: bool,
    pub(super) moved: Instant,
}

impl Sending {
    pub(super) fn new(body: Body, expects: bool) -> Self {
        let empty = body.is_end_stream();
        Self {
            body,
            queue: VecDeque::new(),
            kept: Some(Vec::new()),
            end: None,
            over: empty,
            whole: empty,
            held: expects && !empty,
            waits_for_client: false,
            moved: Instant::now(),
        }
    }

    /// From the beginning, if all of it is still there.
    pub(super) fn rewind(&mut self) -> bool {
        let Some(kept) = &self.kept else { return false };
        self.queue = kept.iter().cloned().collect();
        self.whole = self.queue.is_empty() && self.end.is_none() && self.body.is_end_stream();
        self.over = self.whole;
        true
    }

    pub(super) fn poll(&mut self, stream: &mut SendStream<Bytes>, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        self.waits_for_client = false;
        while !self.over {
            let ready = self.end.is_some() || self.queue.iter().map(Bytes::len).sum::<usize>() >= PIECE;
            if let Some(front) = self.queue.front_mut().filter(|_| ready) {
                stream.reserve_capacity(front.len());
                if stream.capacity() == 0 {
                    match ready!(stream.poll_capacity(cx)) {
                        Some(Ok(_)) => {}
                        // It takes no more. It may have said why.
                        Some(Err(_)) | None => self.over = true,
                    }
                    continue;
                }
                let piece = front.split_to(stream.capacity().min(front.len()));
                if front.is_empty() {
                    self.queue.pop_front();
                }
                // A last piece that does not say so would be followed by an empty one.
                let last = self.queue.is_empty() && matches!(self.end, Some(None));
                let failed = stream.send_data(piece, last).is_err();
                self.over = failed || last;
                self.whole = last && !failed;
                self.moved = Instant::now();
            } else if let Some(trailers) = &self.end {
                // Nothing is left in the queue.
                let sent = match trailers {
                    Some(trailers) => stream.send_trailers(trailers.clone()),
                    None => stream.send_data(Bytes::new(), true),
                };
                (self.over, self.whole) = (true, sent.is_ok());
                self.moved = Instant::now();
            } else if self.held {
                return Poll::Pending;
            } else {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Pending => {
                        self.waits_for_client = true;
                        if stream.poll_reset(cx).is_pending() {
                            return Poll::Pending;
                        }
                        self.over = true;
                    }
                    Poll::Ready(Some(Err(_))) => {
                        self.over = true;
                        return Poll::Ready(Err(Cause::RequestBody));
                    }
                    Poll::Ready(None) => self.end = Some(None),
                    Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                        Ok(data) => self.read(data),
                        Err(frame) => self.end = Some(frame.into_trailers().ok().map(of_no_hop).filter(|trailers| !trailers.is_empty())),
                    },
                }
                self.moved = Instant::now();
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Small pieces become one.
    fn read(&mut self, data: Bytes) {
        if let Some(kept) = &mut self.kept {
            kept.push(data.clone());
            if kept.iter().map(Bytes::len).sum::<usize>() > KEPT {
                self.kept = None;
            }
        }
        match self.queue.back_mut() {
            Some(last) if last.len() + data.len() <= 2 * PIECE => *last = [&last[..], &data[..]].concat().into(),
            _ if data.is_empty() => {}
            _ => self.queue.push_back(data),
        }
        if self.body.is_end_stream() {
            self.end = Some(None);
        }
    }
}
