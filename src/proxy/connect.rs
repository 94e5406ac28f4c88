//! A TCP connection to Clouddriver. The name is resolved each time, so a change of address is followed at the next connect.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};

use super::Cause;

/// Tries every address of the name in turn; together they take at most `timeout`, and one that says nothing leaves the others
/// their share of it.
pub(super) async fn connect(host: &str, port: u16, timeout: Duration) -> Result<TcpStream, Cause> {
    let deadline = Instant::now() + timeout;
    let addresses: Vec<_> = match timeout_at(deadline, lookup_host((host, port))).await {
        Err(_) => return Err(Cause::Dns(io::ErrorKind::TimedOut.into())),
        Ok(Err(error)) => return Err(Cause::Dns(error)),
        Ok(Ok(addresses)) => addresses.collect(),
    };
    let mut last = Cause::Dns(io::ErrorKind::NotFound.into());
    for (i, address) in addresses.iter().enumerate() {
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / (addresses.len() - i) as u32;
        last = match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(Cause::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => Cause::Refused,
            Ok(Err(error)) if error.kind() == io::ErrorKind::TimedOut => Cause::ConnectTimeout(timeout),
            Ok(Err(error)) => Cause::Connect(error),
            Err(_) => Cause::ConnectTimeout(timeout),
        };
    }
    Err(last)
}

/// The stream as hyper's connection owns it, with a way to look at it from outside.
pub(super) struct Io(Rc<RefCell<TcpStream>>);

/// Looks at a stream that hyper's connection owns; does not keep it open.
pub(super) struct Peep(Weak<RefCell<TcpStream>>);

impl Io {
    pub(super) fn new(stream: TcpStream) -> (Self, Peep) {
        let stream = Rc::new(RefCell::new(stream));
        let peep = Peep(Rc::downgrade(&stream));
        (Self(stream), peep)
    }
}

impl Peep {
    /// Whether an idle connection is still open and quiet, asked of the kernel: that Clouddriver has closed it may be known there
    /// and not yet to the connection's task, and a request written then would be lost with nobody knowing whether it arrived.
    pub(super) fn is_open(&self) -> bool {
        let Some(stream) = self.0.upgrade() else { return false };
        let stream = stream.borrow();
        let mut byte = [MaybeUninit::uninit(); 1];
        matches!(SockRef::from(&*stream).peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }
}

impl AsyncRead for Io {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(cx, buf)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(cx, buf)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(cx)
    }
}
