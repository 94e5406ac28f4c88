//! A connection's bytes: plain, or by TLS. Which one is a match and nothing more: a plain connection pays nothing for the other.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::ClientConnection;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsStream, client, server};

/// After so long without a sign of its kernel the other side is taken for gone.
const VANISHED: Duration = Duration::from_secs(30);

/// See the module's page.
pub(super) enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

pub(super) struct Tls {
    stream: TlsStream<TcpStream>,
    /// It was cut: the other side must not take what it has for whole.
    cut: bool,
}

impl From<TcpStream> for Stream {
    fn from(stream: TcpStream) -> Self {
        Self::Plain(stream)
    }
}

impl From<client::TlsStream<TcpStream>> for Stream {
    fn from(stream: client::TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Tls { stream: stream.into(), cut: false }))
    }
}

impl From<server::TlsStream<TcpStream>> for Stream {
    fn from(stream: server::TlsStream<TcpStream>) -> Self {
        Self::Tls(Box::new(Tls { stream: stream.into(), cut: false }))
    }
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(tls) => tls.stream.get_ref().0,
        }
    }

    /// Whether a read is worth a buffer. By TLS always: what came may be a half of a record, or lie decrypted already.
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// TLS takes what it is given and may keep some of it until the kernel takes more.
    pub(super) fn poll_flush_all(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) if tls.stream.get_ref().1.wants_write() => Pin::new(&mut tls.stream).poll_flush(cx),
            Self::Tls(_) => Poll::Ready(Ok(())),
        }
    }

    /// Nothing came and nobody has closed it. A session ticket is nothing, and is taken.
    pub(super) fn is_quiet(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                let mut byte = [MaybeUninit::uninit(); 1];
                matches!(SockRef::from(&*stream).peek(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
            }
            Self::Tls(tls) => match &mut tls.stream {
                TlsStream::Client(stream) => {
                    let (tcp, session) = stream.get_mut();
                    is_session_quiet(tcp, session)
                }
                // Clients' connections are not kept by us.
                TlsStream::Server(_) => false,
            },
        }
    }

    /// HTTP/2 was agreed on by ALPN.
    pub(super) fn is_http2(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.stream.get_ref().1.alpn_protocol() == Some(b"h2"))
    }

    /// The kernel is to find out if nobody is there any more: many wait on this one, and none of them may say anything.
    pub(super) fn notice_who_vanishes(&self) {
        let socket = SockRef::from(self.tcp());
        let probes = TcpKeepalive::new().with_time(VANISHED / 2).with_interval(VANISHED / 6).with_retries(3);
        if let Err(error) = socket.set_tcp_keepalive(&probes).and_then(|()| socket.set_tcp_user_timeout(Some(VANISHED))) {
            tracing::debug!(%error, "a connection to Clouddriver is not watched");
        }
    }

    pub(super) fn is_to_be_ended(&self) -> bool {
        matches!(self, Self::Tls(tls) if !tls.cut)
    }

    pub(super) fn reset_on_close(&mut self) {
        let _ = SockRef::from(self.tcp()).set_linger(Some(Duration::ZERO));
        if let Self::Tls(tls) = self {
            tls.cut = true;
        }
    }
}

/// Reads what the kernel has, past the runtime, which may not know of it yet.
fn is_session_quiet(tcp: &TcpStream, session: &mut ClientConnection) -> bool {
    let socket = SockRef::from(tcp);
    loop {
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            Ok(_) | Err(_) => return false,
        }
        match session.read_tls(&mut &*socket) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(tls) => {
                // Who waits for an answer has to have sent the whole question.
                if tls.stream.get_ref().1.wants_write()
                    && let Poll::Ready(Err(error)) = Pin::new(&mut tls.stream).poll_flush(cx)
                {
                    tracing::debug!(%error, "a connection takes no more");
                }
                Pin::new(&mut tls.stream).poll_read(cx, buf)
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(tls) => {
                // What was taken before goes first, so that little more than a record ever waits.
                if tls.stream.get_ref().1.wants_write() {
                    ready!(Pin::new(&mut tls.stream).poll_flush(cx))?;
                }
                Pin::new(&mut tls.stream).poll_write(cx, buf)
            }
        }
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_all(cx)
    }

    /// By TLS the other side is told first.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(&mut tls.stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use rustls::pki_types::{PrivateKeyDer, ServerName};
    use rustls::{ClientConfig, RootCertStore, ServerConfig};
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpListener;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::proxy::link::{Buffers, Link};

    /// A test that waits so long has failed.
    const NEVER: std::time::Duration = std::time::Duration::from_secs(30);

    async fn pair() -> (server::TlsStream<TcpStream>, client::TlsStream<TcpStream>) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone()).unwrap();
        let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let server = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
        let server = server.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots).with_no_client_auth();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = async { TlsAcceptor::from(Arc::new(server)).accept(listener.accept().await.unwrap().0).await.unwrap() };
        let connected = async {
            let stream = TcpStream::connect(address).await.unwrap();
            TlsConnector::from(Arc::new(client)).connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap()
        };
        tokio::join!(accepted, connected)
    }

    #[tokio::test]
    async fn what_was_written_by_tls_goes_out_while_nothing_but_a_read_is_asked_for() {
        let (server, mut client) = pair().await;
        let mut link = Link::new(server, Buffers::default());
        let mut taken = 0;
        poll_fn(|cx| {
            loop {
                match link.poll_write(cx, &[7; 10_000]) {
                    Poll::Ready(n) => taken += n.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
        })
        .await;
        // The kernel takes no more, so that some of it waits here.
        let mut got = vec![0; taken];
        tokio::select! {
            read = client.read_exact(&mut got) => drop(read.unwrap()),
            ended = poll_fn(|cx| link.poll_fill(cx, 1024)) => panic!("nothing was sent to us: {ended:?}"),
            () = tokio::time::sleep(NEVER) => panic!("what waited here did not go out"),
        }
        assert!(got.iter().all(|b| *b == 7));
    }
}
