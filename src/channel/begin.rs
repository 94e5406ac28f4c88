//! How a connection on the agents' port begins: with HTTP/2's preface, or with something that gets a clear answer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

/// What every client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The first byte of a handshake.
const HANDSHAKE: u8 = 22;

/// What came first.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum First {
    Http2,
    /// A handshake of TLS.
    Tls,
    /// A request of HTTP/1, or the beginning of one.
    Http1,
    /// Neither.
    Other,
    /// The other side went without a word.
    Nothing,
}

/// A connection with what was read from it before.
#[derive(Debug)]
pub(super) struct Rewound<IO> {
    io: IO,
    unread: [u8; PREFACE.len()],
    from: usize,
    to: usize,
}

/// Reads as little as tells one from another; all of it is read again from what comes back.
pub(super) async fn first<IO: AsyncRead + Unpin>(mut io: IO) -> io::Result<(First, Rewound<IO>)> {
    let mut read = [0; PREFACE.len()];
    let mut n = 0;
    let first = loop {
        match io.read(&mut read[n..]).await? {
            0 if n == 0 => break First::Nothing,
            0 => break First::Other,
            more => n += more,
        }
        if read[..n] == PREFACE[..n] {
            if n == PREFACE.len() {
                break First::Http2;
            }
            continue;
        }
        break match read[0] {
            HANDSHAKE => First::Tls,
            b'A'..=b'Z' => First::Http1,
            _ => First::Other,
        };
    };
    Ok((first, Rewound { io, unread: read, from: 0, to: n }))
}

/// What a client of HTTP/1 reads.
pub(super) const REFUSED_HTTP1: &str = "this port speaks gRPC over HTTP/2 only, to Fairlead's agents. A proxy or load balancer in between must \
                                        pass HTTP/2 on, to here too.\n";
/// What a client without TLS reads where there is TLS.
pub(super) const REFUSED_PLAINTEXT: &str = "this port speaks TLS (kubesvc.grpc.server.security.enabled), and gRPC over HTTP/2 within it.\n";

/// Answers a request of HTTP/1. The request is read, or the answer would be reset away; whoever calls bounds that.
pub(super) async fn refuse_http1<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, why: &str) -> io::Result<()> {
    let head = "HTTP/1.1 505 HTTP Version Not Supported\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n";
    io.write_all(format!("{head}content-length: {}\r\n\r\n{why}", why.len()).as_bytes()).await?;
    io.shutdown().await?;
    drain(io).await
}

/// Tells a client of HTTP/2 without TLS: SETTINGS, and GOAWAY with the reason INADEQUATE_SECURITY.
pub(super) async fn refuse_http2<IO: AsyncRead + AsyncWrite + Unpin>(mut io: IO, why: &str) -> io::Result<()> {
    let mut frames = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = u8::try_from(8 + why.len()).unwrap_or(u8::MAX);
    frames.extend([0, 0, length, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc]);
    frames.extend(&why.as_bytes()[..usize::from(length) - 8]);
    io.write_all(&frames).await?;
    io.shutdown().await?;
    drain(io).await
}

async fn drain<IO: AsyncRead + Unpin>(mut io: IO) -> io::Result<()> {
    let mut rest = [0; 1_024];
    while io.read(&mut rest).await? > 0 {}
    Ok(())
}

impl<IO: AsyncRead + Unpin> AsyncRead for Rewound<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.from < this.to {
            let n = buf.remaining().min(this.to - this.from);
            buf.put_slice(&this.unread[this.from..this.from + n]);
            this.from += n;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Rewound<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn of(bytes: &[u8]) -> (First, Vec<u8>) {
        let (first, mut rewound) = first(bytes).await.unwrap();
        let mut again = Vec::new();
        rewound.read_to_end(&mut again).await.unwrap();
        (first, again)
    }

    #[tokio::test]
    async fn the_first_bytes_tell_what_comes_and_none_is_lost() {
        let more = [PREFACE, b"more"].concat();
        for (bytes, is) in [
            (more.as_slice(), First::Http2),
            (b"GET / HTTP/1.1\r\n\r\n", First::Http1),
            (b"PRI * HTTP/1.1\r\n\r\n", First::Http1),
            (b"\x16\x03\x01\x02\x00\x01", First::Tls),
            (b"\x00\x00", First::Other),
            (b"PRI", First::Other),
            (b"", First::Nothing),
        ] {
            assert_eq!(of(bytes).await, (is, bytes.to_vec()), "{bytes:?}");
        }
    }
}
