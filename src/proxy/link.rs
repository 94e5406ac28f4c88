//! One end of a connection: a stream and what was read from it and not yet used.
//!
//! A buffer is held only while there is something in it, or something is about to be: a kept connection that is idle costs no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::time::Instant;

use super::stream::Stream;

/// What is read at once of small messages, and of large ones.
const SMALL: usize = 16 * 1024;
pub(super) const LARGE: usize = 64 * 1024;
/// Buffers that a thread keeps for the next that needs one, of each size.
const SPARE_SMALL: usize = 256;
const SPARE_LARGE: usize = 16;

/// A thread's buffers. Taken zeroed the first time and as they are afterwards: what was in them is never looked at.
#[derive(Clone, Default)]
pub(super) struct Buffers(Rc<RefCell<Spare>>);

#[derive(Default)]
struct Spare {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
}

impl Buffers {
    fn take(&self, large: bool) -> Box<[u8]> {
        let mut spare = self.0.borrow_mut();
        let (spare, size) = if large { (&mut spare.large, LARGE) } else { (&mut spare.small, SMALL) };
        spare.pop().unwrap_or_else(|| vec![0; size].into_boxed_slice())
    }

    fn give(&self, buffer: Box<[u8]>) {
        let mut spare = self.0.borrow_mut();
        match buffer.len() {
            SMALL if spare.small.len() < SPARE_SMALL => spare.small.push(buffer),
            LARGE if spare.large.len() < SPARE_LARGE => spare.large.push(buffer),
            _ => {}
        }
    }
}

/// See the module's page.
pub(super) struct Link {
    stream: Stream,
    buffers: Buffers,
    buffer: Option<Box<[u8]>>,
    start: usize,
    end: usize,
    retire_at: Option<Instant>,
}

impl Link {
    pub(super) fn new(stream: impl Into<Stream>, buffers: Buffers) -> Self {
        Self { stream: stream.into(), buffers, buffer: None, start: 0, end: 0, retire_at: None }
    }

    /// From then on no further exchange begins on it.
    pub(super) fn retire_at(&mut self, at: Instant) {
        self.retire_at = Some(at);
    }

    /// It may be used for another exchange.
    pub(super) fn is_young(&self, now: Instant) -> bool {
        self.retire_at.is_none_or(|at| now < at)
    }

    /// What was read and not yet used.
    pub(super) fn unread(&self) -> &[u8] {
        self.buffer.as_ref().map_or(&[], |b| &b[self.start..self.end])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The first `n` unread bytes were used.
    pub(super) fn consume(&mut self, n: usize) {
        self.start += n;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Lets the buffer go if nothing is in it.
    pub(super) fn rest(&mut self) {
        if self.is_empty()
            && let Some(buffer) = self.buffer.take()
        {
            self.buffers.give(buffer);
        }
    }

    /// Reads large pieces from now on, until the buffer is let go.
    pub(super) fn expect_much(&mut self) {
        if self.buffer.as_ref().is_none_or(|b| b.len() < LARGE) {
            self.resize(LARGE);
        }
    }

    fn resize(&mut self, size: usize) {
        let mut larger = if size == LARGE { self.buffers.take(true) } else { vec![0; size].into_boxed_slice() };
        let unread = self.unread();
        larger[..unread.len()].copy_from_slice(unread);
        (self.start, self.end) = (0, unread.len());
        if let Some(old) = self.buffer.replace(larger) {
            self.buffers.give(old);
        }
    }

    /// Reads more, behind what is there; 0 is the stream's end. With a full buffer, a larger one of up to `most` bytes is taken;
    /// nothing more fits into that one, and then this is an error of kind [`io::ErrorKind::OutOfMemory`].
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<usize>> {
        if self.buffer.is_none() {
            // Before there is something to read, no buffer. By TLS only a read can tell; its buffer is given back below.
            ready!(self.stream.poll_read_ready(cx))?;
            self.buffer = Some(self.buffers.take(false));
        }
        let size = self.buffer.as_ref().map_or(0, |b| b.len());
        if self.end == size {
            if self.start > 0 {
                let unread = self.start..self.end;
                let length = unread.len();
                if let Some(buffer) = &mut self.buffer {
                    buffer.copy_within(unread, 0);
                }
                (self.start, self.end) = (0, length);
            } else if size >= most {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            } else {
                self.resize(if size < LARGE { LARGE.min(most) } else { (size * 2).min(most) });
            }
        }
        let Some(buffer) = &mut self.buffer else { return Poll::Ready(Ok(0)) };
        let mut room = ReadBuf::new(&mut buffer[self.end..]);
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let n = room.filled().len();
                self.end += n;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.rest();
                Poll::Pending
            }
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    /// Hands to the kernel what was written. Nothing ever waits here but by TLS.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.poll_flush_all(cx)
    }

    /// Writes all of `bytes`, to the kernel; `sent` says how many were written before, and now.
    pub(super) fn poll_write_all(&mut self, cx: &mut Context<'_>, bytes: &[u8], sent: &mut usize) -> Poll<io::Result<()>> {
        while *sent < bytes.len() {
            match ready!(self.poll_write(cx, &bytes[*sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => *sent += n,
            }
        }
        self.poll_flush(cx)
    }

    /// Ends the writing direction.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    /// Whether an idle connection is still open and quiet, asked of the kernel: that the other side has closed it may be known
    /// there and not yet to the runtime.
    pub(super) fn is_quiet(&mut self) -> bool {
        self.is_empty() && self.stream.is_quiet()
    }

    /// The other side can tell an end that was meant from one that was not; so it has to be told.
    pub(super) fn is_to_be_ended(&self) -> bool {
        self.stream.is_to_be_ended()
    }

    /// The connection is to end with a reset, not with an orderly end.
    pub(super) fn reset_on_close(&mut self) {
        self.stream.reset_on_close();
    }

    /// The stream and what was read from it.
    pub(super) fn into_parts(self) -> (Stream, Vec<u8>) {
        let unread = self.unread().to_vec();
        (self.stream, unread)
    }
}
