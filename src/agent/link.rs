//! One HTTP/2 connection to Fairlead, and gRPC on it. When it has ended, it has ended: the next one is made by who waits between them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::HeaderValue;
use http::header::{AUTHORIZATION, USER_AGENT};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret as _;
use tokio::task::JoinHandle;

use super::dial::{Refusal, Target, dial};
use crate::config::agent::{Control, ControlTls, Surroundings};
use crate::tls::client::{Client, Trust};
use crate::tls::{FileError, Pem, Role};

/// TCP, proxy and TLS together.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);
/// What may be under way unread: explicit, and not adaptive, which would undo it. The connection's is larger than any one stream's, so
/// that bulk on one cannot stop another.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A connection.
#[derive(Clone)]
pub(super) struct Link {
    send: http2::SendRequest<tonic::body::Body>,
    token: Option<HeaderValue>,
}

/// Carries the connection; ends when it does, with the reason.
pub(super) type Carrier = JoinHandle<Result<(), hyper::Error>>;

/// Connects.
///
/// # Errors
/// What failed, in words that name hosts.
pub(super) async fn connect(control: &Control, surroundings: &Surroundings) -> Result<(Link, Carrier, Refusal), String> {
    let shown = format!("{}:{}", control.host, control.port);
    let proxy = if control.no_proxy { None } else { surroundings.proxy_to(true, &control.host, control.port).cloned() };
    let tls = match control.tls.clone() {
        Some(tls) => {
            let host = Arc::clone(&control.host);
            let made = tokio::task::spawn_blocking(move || client(&tls, &host)).await;
            Some(made.map_err(|e| format!("clouddriver.tls: {e}"))?.map_err(|e| format!("clouddriver.tls: {e}"))?)
        }
        None => None,
    };
    let with_tls = tls.is_some();
    let target = Target { host: Arc::clone(&control.host), port: control.port, tls, proxy, guarded: false };
    let dialled = tokio::time::timeout(CONNECT_LIMIT, dial(&target)).await;
    let stream = dialled
        .map_err(|_| format!("Fairlead at {shown} did not answer within {} s", CONNECT_LIMIT.as_secs()))?
        .map_err(|e| format!("Fairlead at {shown} cannot be reached: {e}"))?;
    if with_tls && stream.alpn() != Some(b"h2") {
        let seen = stream.alpn().map_or_else(|| "nothing".to_owned(), |p| String::from_utf8_lossy(p).into_owned());
        return Err(format!(
            "what answers at {shown} does not offer HTTP/2 by ALPN (it chose {seen}): a proxy stands between that breaks TLS open, or it is \
             not Fairlead's port for agents"
        ));
    }
    let refusal = stream.refusal();
    let (send, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(control.keep_alive)
        .keep_alive_timeout(control.keep_alive_timeout)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("what answers at {shown} does not speak HTTP/2 ({e})"))?;
    let token = control.token.as_ref().and_then(|t| {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", t.expose_secret())).ok()?;
        value.set_sensitive(true);
        Some(value)
    });
    Ok((Link { send, token }, tokio::spawn(connection), refusal))
}

/// The files are read at each connection, so changed ones count from then on.
fn client(tls: &ControlTls, host: &str) -> Result<(Client, ServerName<'static>), FileError> {
    let trust = match &tls.ca {
        _ if tls.skip_verify => Trust::Anybody,
        Some(file) => Trust::These(Pem::read(Role::Trust, file)?),
        None => Trust::System,
    };
    let own = match &tls.identity {
        Some((certificate, key)) => Some((Pem::read(Role::Certificate, certificate)?, Pem::read(Role::Key, key)?)),
        None => None,
    };
    let name = tls.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(name.to_owned()).map_err(|_| FileError {
        role: Role::Trust,
        path: name.to_owned(),
        why: "is no name that a certificate can have: set clouddriver.tls.serverName".to_owned(),
    })?;
    Ok((Client::new(trust, own, &[b"h2"])?, name))
}

impl tower::Service<http::Request<tonic::body::Body>> for Link {
    type Response = http::Response<hyper::body::Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, hyper::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), hyper::Error>> {
        self.send.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<tonic::body::Body>) -> Self::Future {
        let headers = request.headers_mut();
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("fairlead-agent/", env!("CARGO_PKG_VERSION"))));
        if let Some(token) = &self.token {
            headers.insert(AUTHORIZATION, token.clone());
        }
        Box::pin(self.send.send_request(request))
    }
}
