//! The connection itself.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::guard::{is_metadata, is_metadata_name};
use super::{DialError, proxy};
use crate::agent::failure::Reason;
use crate::config::agent::ProxyUrl;
use crate::tls::client::Client;
use crate::tls::late_refusal;

/// What one address may take while others of the name are left.
const ONE_ADDRESS: Duration = Duration::from_secs(3);

/// Where to, and how.
#[derive(Clone)]
pub(crate) struct Target {
    /// Name or address.
    pub(crate) host: Arc<str>,
    /// Port.
    pub(crate) port: u16,
    /// TLS, and the name that the certificate has to be for.
    pub(crate) tls: Option<(Client, ServerName<'static>)>,
    /// The proxy on the way.
    pub(crate) proxy: Option<ProxyUrl>,
    /// Addresses of metadata services are refused.
    pub(crate) guarded: bool,
}

/// Connects. Has no bound of its own: a hanging host is the caller's to time out.
///
/// # Errors
/// The step that failed, in words.
pub(crate) async fn dial(target: &Target) -> Result<Stream, DialError> {
    let literal: Option<IpAddr> = target.host.parse().ok();
    if target.guarded && (is_metadata_name(&target.host) || literal.is_some_and(is_metadata)) {
        return Err(metadata(&target.host));
    }
    let stream = match &target.proxy {
        Some(url) => {
            let through = |e: DialError| DialError { text: format!("the proxy {url} cannot be reached: {}", e.text), ..e };
            let mut stream = tcp(&url.host, url.port, false).await.map_err(through)?;
            proxy::tunnel(&mut stream, url, &target.host, target.port).await?;
            stream
        }
        None => tcp(&target.host, target.port, target.guarded).await?,
    };
    let Some((client, name)) = &target.tls else {
        return Ok(Stream { wire: Wire::Plain(stream), refusal: Refusal::default() });
    };
    let by = target.proxy.as_ref().map_or_else(String::new, |p| format!(" (by way of the proxy {p})"));
    match client.connect(name.clone(), stream).await {
        Ok(stream) => Ok(Stream { wire: Wire::Tls(Box::new(stream)), refusal: Refusal::default() }),
        Err(trouble) => {
            let reason = if trouble.of_tls { Reason::Tls } else { Reason::Unreachable };
            Err(DialError::new(reason, format!("TLS{by}: {}", trouble.text)))
        }
    }
}

fn metadata(host: &str) -> DialError {
    DialError::new(
        Reason::Definition,
        format!(
            "{host} is the address of a cloud's metadata service or link-local, which no API server has: it is not asked \
             (kubernetes.allowMetadataAddresses lets it be)"
        ),
    )
}

async fn tcp(host: &str, port: u16, guarded: bool) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = match tokio::net::lookup_host((host, port)).await {
        Ok(found) => found.collect(),
        Err(e) => return Err(DialError::new(Reason::Dns, format!("the name {host} cannot be resolved ({e})"))),
    };
    if addresses.is_empty() {
        return Err(DialError::new(Reason::Dns, format!("the name {host} has no address")));
    }
    if guarded && addresses.iter().any(|a| is_metadata(a.ip())) {
        return Err(metadata(host));
    }
    let mut last = None;
    for (i, address) in addresses.iter().enumerate() {
        let connect = TcpStream::connect(address);
        // The last one may take what time is left.
        let connected = if i + 1 == addresses.len() { Ok(connect.await) } else { tokio::time::timeout(ONE_ADDRESS, connect).await };
        match connected {
            Ok(Ok(stream)) => {
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Ok(Err(e)) => last = Some(refusal(*address, &e)),
            Err(_) => last = Some(DialError::new(Reason::Timeout, format!("{address} does not answer"))),
        }
    }
    Err(last.unwrap_or_else(|| DialError::new(Reason::Dns, format!("the name {host} has no address"))))
}

fn refusal(address: SocketAddr, e: &io::Error) -> DialError {
    match e.kind() {
        io::ErrorKind::ConnectionRefused => {
            DialError::new(Reason::Unreachable, format!("nobody listens at {address} (connection refused)"))
        }
        io::ErrorKind::TimedOut => DialError::new(Reason::Timeout, format!("{address} does not answer")),
        _ => DialError::new(Reason::Unreachable, format!("{address} cannot be reached ({e})")),
    }
}

/// Why the other side ended TLS after the handshake, as TLS 1.3 lets it. HTTP libraries keep that from who waits for an answer, so it is
/// kept here.
#[derive(Clone, Debug, Default)]
pub(crate) struct Refusal(Arc<Mutex<Option<String>>>);

impl Refusal {
    /// The words, once.
    pub(crate) fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn heed<T>(&self, polled: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(e)) = &polled
            && let Some(why) = late_refusal(e)
        {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
        }
        polled
    }
}

/// A connection, plain or not.
pub(crate) struct Stream {
    wire: Wire,
    refusal: Refusal,
}

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// What was agreed on by ALPN.
    pub(crate) fn alpn(&self) -> Option<&[u8]> {
        match &self.wire {
            Wire::Plain(_) => None,
            Wire::Tls(stream) => stream.get_ref().1.alpn_protocol(),
        }
    }

    /// The certificates that were shown.
    pub(crate) fn certificates(&self) -> &[CertificateDer<'static>] {
        match &self.wire {
            Wire::Plain(_) => &[],
            Wire::Tls(stream) => stream.get_ref().1.peer_certificates().unwrap_or_default(),
        }
    }

    /// Where it is kept why the other side ended TLS.
    pub(crate) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        };
        this.refusal.heed(polled)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        this.refusal.heed(polled)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = match &mut this.wire {
            Wire::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_flush(cx),
        };
        this.refusal.heed(polled)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().wire {
            Wire::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
