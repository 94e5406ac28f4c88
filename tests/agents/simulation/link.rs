//! A connection over the simulated network, for gRPC's client.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::AbortHandle;

#[derive(Clone)]
pub struct Link(http2::SendRequest<tonic::body::Body>);

/// Carries a connection until it is dropped.
pub struct Carrier(AbortHandle);

impl Drop for Carrier {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Connects, or gives up.
pub async fn connect(host: &str, port: u16, patience: Duration) -> io::Result<(Link, Carrier)> {
    let stream = tokio::time::timeout(patience, turmoil::net::TcpStream::connect((host, port))).await??;
    let (send, connection) = http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let carrier = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((Link(send), Carrier(carrier.abort_handle())))
}

impl tower::Service<http::Request<tonic::body::Body>> for Link {
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
