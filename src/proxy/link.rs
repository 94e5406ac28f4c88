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

/// What is read at once of small messages, of large ones, and of those that fill even that each time: with fewer and larger pieces a byte
/// costs half as much.
const SMALL: usize = 16 * 1024;
pub(super) const LARGE: usize = 64 * 1024;
const HUGE: usize = 512 * 1024;
/// Buffers that a thread keeps for the next that needs one, of each size.
const SPARE_SMALL: usize = 256;
const SPARE_LARGE: usize = 16;
const SPARE_HUGE: usize = 2;
/// As many are in use at once on a thread. They are held over a wait only while a slow reader has not taken what is in them.
const MOST_HUGE: usize = 8;

/// A thread's buffers. Taken zeroed the first time and as they are afterwards: what was in them is never looked at.
#[derive(Clone, Default)]
pub(super) struct Buffers(Rc<RefCell<Spare>>);

#[derive(Default)]
struct Spare {
    small: Vec<Box<[u8]>>,
    large: Vec<Box<[u8]>>,
    huge: Vec<Box<[u8]>>,
    /// One more than there are huge ones in use.
    leases: Rc<()>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Size {
    Small,
    Large,
    Huge,
}

impl Size {
    fn bytes(self) -> usize {
        match self {
            Self::Small => SMALL,
            Self::Large => LARGE,
            Self::Huge => HUGE,
        }
    }
}

struct Buffer {
    bytes: Box<[u8]>,
    /// Of a huge one; counts for as long as it is in use.
    lease: Option<Rc<()>>,
}

impl Buffers {
    /// A large one in place of a huge one, when too many of these are in use.
    fn take(&self, size: Size) -> Buffer {
        let mut spare = self.0.borrow_mut();
        let spare = &mut *spare;
        let lease = (size == Size::Huge && Rc::strong_count(&spare.leases) <= MOST_HUGE).then(|| spare.leases.clone());
        let (spare, size) = match (size, &lease) {
            (Size::Small, _) => (&mut spare.small, SMALL),
            (Size::Huge, Some(_)) => (&mut spare.huge, HUGE),
            (Size::Large | Size::Huge, _) => (&mut spare.large, LARGE),
        };
        Buffer { bytes: spare.pop().unwrap_or_else(|| vec![0; size].into_boxed_slice()), lease }
    }

    fn give(&self, Buffer { bytes, lease }: Buffer) {
        let mut spare = self.0.borrow_mut();
        match bytes.len() {
            HUGE if lease.is_some() && spare.huge.len() < SPARE_HUGE => spare.huge.push(bytes),
            SMALL if spare.small.len() < SPARE_SMALL => spare.small.push(bytes),
            LARGE if spare.large.len() < SPARE_LARGE => spare.large.push(bytes),
            _ => {}
        }
    }
}

/// See the module's page.
pub(super) struct Link {
    stream: Stream,
    buffers: Buffers,
    buffer: Option<Buffer>,
    start: usize,
    end: usize,
    /// Of the next buffer.
    size: Size,
    retire_at: Option<Instant>,
    /// See [`Link::is_amid`].
    amid: bool,
}

impl Link {
    pub(super) fn new(stream: impl Into<Stream>, buffers: Buffers) -> Self {
        Self { stream: stream.into(), buffers, buffer: None, start: 0, end: 0, size: Size::Small, retire_at: None, amid: false }
    }

    /// Something was written since a message began.
    pub(super) fn is_amid(&self) -> bool {
        self.amid
    }

    /// What is written next begins a message.
    pub(super) fn begins(&mut self) {
        self.amid = false;
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
        self.buffer.as_ref().map_or(&[], |b| &b.bytes[self.start..self.end])
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

    /// A message has come to its end: lets the buffer go if nothing is in it, and expects nothing large.
    pub(super) fn rest(&mut self) {
        self.size = Size::Small;
        self.release();
    }

    fn release(&mut self) {
        if self.is_empty()
            && let Some(buffer) = self.buffer.take()
        {
            self.buffers.give(buffer);
        }
    }

    /// Reads large pieces of this message from now on.
    pub(super) fn expect_much(&mut self) {
        self.size = Size::Large;
    }

    /// As [`Link::poll_fill`], of a body of which all that was read is used. When it fills a buffer, it gets a larger one.
    pub(super) fn poll_fill_body(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        debug_assert!(self.is_empty());
        if self.buffer.as_ref().is_some_and(|b| b.bytes.len() < self.size.bytes()) {
            self.release();
        }
        let n = ready!(self.poll_fill(cx, LARGE))?;
        match self.buffer.as_ref().map(|b| b.bytes.len()) {
            Some(SMALL) if n == SMALL => self.size = Size::Large,
            Some(LARGE) if n == LARGE => self.size = Size::Huge,
            _ => {}
        }
        Poll::Ready(Ok(n))
    }

    fn resize(&mut self, size: usize) {
        let mut larger =
            if size == LARGE { self.buffers.take(Size::Large) } else { Buffer { bytes: vec![0; size].into_boxed_slice(), lease: None } };
        let unread = self.unread();
        larger.bytes[..unread.len()].copy_from_slice(unread);
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
            self.buffer = Some(self.buffers.take(self.size));
        }
        let size = self.buffer.as_ref().map_or(0, |b| b.bytes.len());
        if self.end == size {
            if self.start > 0 {
                let unread = self.start..self.end;
                let length = unread.len();
                if let Some(buffer) = &mut self.buffer {
                    buffer.bytes.copy_within(unread, 0);
                }
                (self.start, self.end) = (0, length);
            } else if size >= most {
                return Poll::Ready(Err(io::ErrorKind::OutOfMemory.into()));
            } else {
                self.resize(if size < LARGE { LARGE.min(most) } else { (size * 2).min(most) });
            }
        }
        let Some(buffer) = &mut self.buffer else { return Poll::Ready(Ok(0)) };
        let mut room = ReadBuf::new(&mut buffer.bytes[self.end..]);
        match Pin::new(&mut self.stream).poll_read(cx, &mut room) {
            Poll::Ready(Ok(())) => {
                let n = room.filled().len();
                self.end += n;
                Poll::Ready(Ok(n))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.release();
                Poll::Pending
            }
        }
    }

    /// Writes some of `bytes`.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.amid |= matches!(written, Poll::Ready(Ok(1..)));
        written
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn few_buffers_are_huge_at_once_and_one_that_is_let_go_makes_room() {
        let buffers = Buffers::default();
        let mut taken: Vec<_> = (0..MOST_HUGE).map(|_| buffers.take(Size::Huge)).collect();
        assert!(taken.iter().all(|b| b.bytes.len() == HUGE));
        assert_eq!(buffers.take(Size::Huge).bytes.len(), LARGE);
        drop(taken.pop());
        taken.push(buffers.take(Size::Huge));
        assert_eq!(taken[MOST_HUGE - 1].bytes.len(), HUGE);
        for buffer in taken.drain(..) {
            buffers.give(buffer);
        }
        assert_eq!(buffers.0.borrow().huge.len(), SPARE_HUGE);
        assert!((0..MOST_HUGE).all(|_| buffers.take(Size::Huge).bytes.len() == HUGE));
    }

    #[tokio::test]
    async fn a_body_that_fills_its_buffers_gets_larger_ones_and_the_next_message_begins_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut writer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut link = Link::new(listener.accept().await.unwrap().0, Buffers::default());
        let writing = tokio::spawn(async move {
            writer.write_all(&vec![7; 64 * HUGE]).await.unwrap();
            writer
        });
        let (mut seen, mut most) = (0, 0);
        while seen < 64 * HUGE {
            let n = poll_fn(|cx| link.poll_fill_body(cx)).await.unwrap();
            assert!(n > 0 && link.unread().iter().all(|b| *b == 7));
            link.consume(n);
            (seen, most) = (seen + n, most.max(n));
        }
        assert!(most > LARGE, "{most} bytes at once at most");
        link.rest();
        let mut writer = writing.await.unwrap();
        writer.write_all(b"next").await.unwrap();
        poll_fn(|cx| link.poll_fill(cx, LARGE)).await.unwrap();
        assert_eq!((link.unread(), link.buffer.as_ref().map(|b| b.bytes.len())), (&b"next"[..], Some(SMALL)));
    }
}
