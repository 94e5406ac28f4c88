//! The way to Clouddriver: one request, at most one delivery.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tower::Service;

use super::connect::{Io, connect};
use super::headers::{TransferEncoding, strip_hop_by_hop, transfer_encoding};
use super::pool::{Conn, Pool};
use super::{Body, Cause, Counters, UpstreamError, answer, timing};
use crate::config;

/// What a head may take, in bytes, on either side: Gate's header with all accounts has 60 KB at 2,000 of them.
pub(super) const MAX_BUFFER: usize = 256 * 1024;

/// Of a body that can no longer be forwarded: how much is read all the same, and for how long, so that a client in the middle of
/// sending it comes to read our answer.
const DRAIN_BYTES: usize = 256 * 1024;
const DRAIN_TIME: Duration = Duration::from_secs(1);

/// Where Clouddriver is and how long it may take.
#[derive(Clone, Debug)]
pub struct Config {
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// For name resolution and connect together, all addresses included.
    pub connect_timeout: Duration,
    /// From the last part of the request that could be sent to the head of the answer; `None`: for as long as the client waits.
    pub response_timeout: Option<Duration>,
    /// How long a connection is kept unused; below Tomcat's 20 s, so that it is we who close.
    pub pool_idle_timeout: Duration,
    /// How many are kept, for each thread.
    pub pool_max_idle: usize,
}

impl Config {
    /// As the operator set it.
    pub fn new(clouddriver: &config::Clouddriver, proxy: &config::Proxy) -> Self {
        Self {
            host: clouddriver.host.clone(),
            port: clouddriver.port,
            connect_timeout: proxy.connect_timeout,
            response_timeout: proxy.response_timeout,
            pool_idle_timeout: proxy.pool_idle_timeout,
            pool_max_idle: proxy.pool_max_idle,
        }
    }
}

/// Clouddriver as a service, for one thread: cheap to clone, not `Send`, to be used inside a `LocalSet`.
///
/// Dropping the future of a call closes the connection under it: what Clouddriver had read of the request by then it may still act
/// on. Its future is boxed: one allocation for each request.
#[derive(Clone)]
pub struct Upstream(Rc<Inner>);

struct Inner {
    config: Config,
    hop: Arc<str>,
    http: Builder,
    pool: Rc<Pool>,
    counters: Arc<Counters>,
}

impl Upstream {
    /// With an empty pool; connects when the first request comes.
    pub fn new(config: Config, counters: Arc<Counters>) -> Self {
        let mut http = Builder::new();
        http.preserve_header_case(true).max_buf_size(MAX_BUFFER);
        let hop = if config.host.contains(':') {
            format!("[{}]:{}", config.host, config.port)
        } else {
            format!("{}:{}", config.host, config.port)
        };
        Self(Rc::new(Inner { pool: Pool::new(config.pool_max_idle, config.pool_idle_timeout), hop: hop.into(), http, config, counters }))
    }
}

impl Service<Request<Body>> for Upstream {
    type Response = Response<Body>;
    type Error = UpstreamError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, UpstreamError>>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), UpstreamError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let inner = self.0.clone();
        Box::pin(async move {
            inner.send(request).await.map_err(|cause| {
                inner.counters.upstream_errors[cause.index()].fetch_add(1, Relaxed);
                UpstreamError { hop: inner.hop.clone(), cause }
            })
        })
    }
}

impl Inner {
    async fn send(&self, mut request: Request<Body>) -> Result<Response<Body>, Cause> {
        if let Err(cause) = prepare(&mut request) {
            drain(request.into_body()).await;
            return Err(cause);
        }
        let head_only = request.method() == Method::HEAD;
        if let Some(mut conn) = self.pool.take() {
            self.counters.pool_reused.fetch_add(1, Relaxed);
            match self.exchange(&mut conn.send, request).await? {
                Exchanged::Answer(answer) => return answer::pass_on(answer, conn, &self.pool, head_only),
                Exchanged::Unsent(unsent) => request = unsent,
            }
        }
        // Nothing of it has been written, so this is its first delivery, whatever its method.
        let mut conn = match self.connect().await {
            Ok(conn) => conn,
            Err(cause) => {
                drain(request.into_body()).await;
                return Err(cause);
            }
        };
        match self.exchange(&mut conn.send, request).await? {
            Exchanged::Answer(answer) => answer::pass_on(answer, conn, &self.pool, head_only),
            Exchanged::Unsent(_) => Err(Cause::ClosedUnsent),
        }
    }

    async fn connect(&self) -> Result<Conn, Cause> {
        let stream = connect(&self.config.host, self.config.port, self.config.connect_timeout).await?;
        self.counters.pool_opened.fetch_add(1, Relaxed);
        let (io, peep) = Io::new(stream);
        let (send, conn) = self.http.handshake(TokioIo::new(io)).await.map_err(|_| Cause::ClosedUnsent)?;
        // Ends when the handle to it is dropped, or when Clouddriver closes.
        tokio::task::spawn_local(async move {
            if let Err(error) = conn.await {
                tracing::debug!(%error, "a connection to Clouddriver ended");
            }
        });
        Ok(Conn { send, peep })
    }

    async fn exchange(&self, send: &mut SendRequest<Body>, request: Request<Body>) -> Result<Exchanged, Cause> {
        let sent = match self.config.response_timeout {
            None => send.try_send_request(request).await,
            Some(timeout) => {
                let (parts, body) = request.into_parts();
                let (body, owing) = timing::watch(body);
                let sent = send.try_send_request(Request::from_parts(parts, body));
                timing::within(timeout, owing, sent).await.ok_or(Cause::ResponseTimeout(timeout))?
            }
        };
        sent.map(Exchanged::Answer).or_else(|mut error| match error.take_message() {
            Some(request) => Ok(Exchanged::Unsent(request)),
            None => Err(why(error.into_error())),
        })
    }
}

enum Exchanged {
    Answer(Response<Incoming>),
    /// hyper gave the request back: not one byte of it was written.
    Unsent(Request<Body>),
}

/// Makes the request one for the next hop, or says why it cannot be.
fn prepare(request: &mut Request<Body>) -> Result<(), Cause> {
    if request.method() == Method::CONNECT {
        return Err(Cause::Unforwardable(StatusCode::NOT_IMPLEMENTED, "no tunnels"));
    }
    match transfer_encoding(request.headers()) {
        TransferEncoding::None | TransferEncoding::Chunked => {}
        TransferEncoding::Repeated => {
            return Err(Cause::Unforwardable(StatusCode::BAD_REQUEST, "Transfer-Encoding is given more than once"));
        }
        TransferEncoding::Unknown => {
            return Err(Cause::Unforwardable(StatusCode::NOT_IMPLEMENTED, "a Transfer-Encoding other than chunked"));
        }
    }
    strip_hop_by_hop(request.headers_mut());
    // The version is the hop's. Only a 1.0 request without Host, which 1.1 would make a bad one, stays what it is.
    if request.headers().contains_key(header::HOST) {
        *request.version_mut() = Version::HTTP_11;
    }
    Ok(())
}

fn why(error: hyper::Error) -> Cause {
    if error.is_user() {
        Cause::RequestBody
    } else if error.is_parse() {
        Cause::BadAnswer(error.to_string())
    } else {
        Cause::Broken(error)
    }
}

async fn drain(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    let mut left = DRAIN_BYTES;
    let read = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = match frame.data_ref() {
                Some(data) if data.len() < left => left - data.len(),
                Some(_) => return,
                None => left,
            };
        }
    };
    // Whether it came to its end does not matter: the answer is the same.
    let _ = tokio::time::timeout(DRAIN_TIME, read).await;
}
