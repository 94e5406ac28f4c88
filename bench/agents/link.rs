//! One connection of a simulated agent: TCP, TLS, HTTP/2 with the windows and the keep-alive of the real one.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio_rustls::TlsConnector;

/// As the real agent has them.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// For TCP and TLS together.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection, for gRPC's client.
#[derive(Clone)]
pub struct Link(http2::SendRequest<tonic::body::Body>);

/// Carries a connection until it is dropped.
pub struct Carrier(AbortHandle);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects; a handshake that has ended with TLS agreed on is counted.
pub async fn connect(port: u16, tls: &Arc<ClientConfig>, shaken: &AtomicU64) -> io::Result<(Link, Carrier)> {
    let stream = tokio::time::timeout(PATIENCE, async {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").expect("a name");
        TlsConnector::from(tls.clone()).connect(name, stream).await
    })
    .await??;
    shaken.fetch_add(1, Relaxed);
    let (send, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    let carrier = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((Link(send), Carrier(carrier.abort_handle())))
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Link {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(self.0.send_request(request))
    }
}
