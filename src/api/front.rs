//! Where the data plane meets the API: a layer that takes the requests for our own paths out of the stream.
//!
//! What it changes: a request below `/armory/` or `/agents/kubernetes/` is read (body bounded) and sent through a bounded queue to the control
//! runtime, where [`serve`] answers it; a spelling of such a path that some server might read otherwise is answered 404. What it never
//! changes: every other request, which goes to the inner service as it came, with no allocation. When our own part fails the answer is 503
//! (queue full, runtime gone), or 500 (a panic, there and nowhere else). A client that leaves drops the wait; a request that was not begun
//! is then not begun.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::future::Either;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use http_body_util::BodyExt as _;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Layer, Service, ServiceExt as _};

use crate::proxy::path::{self, Whose};
use crate::proxy::respond::{error, error_bytes};
use crate::proxy::{Body, BodyError};

/// Most bytes of a request's body to the API.
pub const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// How long a client may take to send it.
const BODY_BOUND: Duration = Duration::from_secs(30);
/// How long an answer may take, the wait in the queue included.
const ANSWER_BOUND: Duration = Duration::from_secs(60);
/// How long after its arrival a request goes on to begin with entries of its body. What it has begun is done well before [`ANSWER_BOUND`].
const WORK_BOUND: Duration = Duration::from_secs(40);
/// Requests that wait for the control runtime.
pub const QUEUE: usize = 128;
/// Requests that it works on at once.
pub const CONCURRENCY: usize = 32;

/// When a request begins with no more entries of its body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Until(pub Instant);

impl Until {
    /// Of a request that has just arrived.
    pub(super) fn from_now() -> Self {
        Self(Instant::now() + WORK_BOUND)
    }
}

/// One request on its way to the control runtime.
#[derive(Debug)]
pub struct Call {
    request: Request<Bytes>,
    answer: oneshot::Sender<Response<Bytes>>,
}

/// What the front counts.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    requests: Counter,
    turned_away: Counter,
    denied: Counter,
    panics: Counter,
}

impl Metrics {
    /// Counters of the API, in a registry that adds the prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("api_requests", "Requests to Fairlead's own REST API", m.requests.clone());
        registry.register(
            "api_turned_away",
            "Requests to the API answered 503 because its queue was full or its runtime gone",
            m.turned_away.clone(),
        );
        registry.register(
            "api_denied_spellings",
            "Requests whose path some server might take for Fairlead's own, answered 404",
            m.denied.clone(),
        );
        registry.register("api_panics", "Requests to the API that ended in a panic and were answered 500", m.panics.clone());
        m
    }
}

/// The two ends of the queue between data plane and control runtime.
pub fn queue() -> (mpsc::Sender<Call>, mpsc::Receiver<Call>) {
    mpsc::channel(QUEUE)
}

/// Puts [`Front`] around a service of the data plane.
#[derive(Clone, Debug)]
pub struct FrontLayer {
    calls: mpsc::Sender<Call>,
    context_path: Arc<str>,
    metrics: Metrics,
}

impl FrontLayer {
    /// `context_path` is `clouddriver.contextPath`: our paths are known with it and without it.
    pub fn new(calls: mpsc::Sender<Call>, context_path: Arc<str>, metrics: Metrics) -> Self {
        Self { calls, context_path, metrics }
    }
}

impl<S> Layer<S> for FrontLayer {
    type Service = Front<S>;

    fn layer(&self, inner: S) -> Front<S> {
        Front { inner, front: self.clone() }
    }
}

/// See the module's page.
#[derive(Clone, Debug)]
pub struct Front<S> {
    inner: S,
    front: FrontLayer,
}

impl<S> Service<Request<Body>> for Front<S>
where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    // Boxed only where it is ours, and then a database call follows anyway.
    type Future = Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        match path::of(request.uri(), &self.front.context_path) {
            Whose::Ours => {
                let front = self.front.clone();
                Either::Right(Box::pin(async move { Ok(front.answer(request).await) }))
            }
            Whose::OursDenied => {
                self.front.metrics.denied.inc();
                let answer = error(StatusCode::NOT_FOUND, "NotFoundException", "no such path; the spelling of this one is ambiguous", None);
                Either::Right(Box::pin(std::future::ready(Ok(closing(&request, answer)))))
            }
            Whose::Change(_) | Whose::Suspicious | Whose::Other => Either::Left(self.inner.call(request)),
        }
    }
}

impl FrontLayer {
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        self.metrics.requests.inc();
        let (mut parts, body) = request.into_parts();
        parts.uri = without_context(&parts.uri, &self.context_path);
        let refused = |status, exception, message: &str| {
            let mut answer = error(status, exception, message, None);
            close(&mut answer);
            answer
        };
        let body = match tokio::time::timeout(BODY_BOUND, collect(body)).await {
            Ok(Ok(body)) => body,
            Ok(Err(Unread::TooLarge)) => {
                let message = format!(
                    "the body is larger than {BODY_LIMIT} bytes, the most that this API takes: send its entries in several requests"
                );
                return refused(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLargeException", &message);
            }
            Ok(Err(Unread::Broken)) => return refused(StatusCode::BAD_REQUEST, "RequestBodyBroken", "the body broke off"),
            Err(_) => return refused(StatusCode::BAD_REQUEST, "RequestBodyBroken", "the body did not arrive in time"),
        };
        parts.extensions.insert(Until::from_now());
        let (answer, heard) = oneshot::channel();
        let head = parts.method == Method::HEAD;
        if self.calls.try_send(Call { request: Request::from_parts(parts, body), answer }).is_err() {
            self.metrics.turned_away.inc();
            return error(
                StatusCode::SERVICE_UNAVAILABLE,
                "ApiBusyException",
                "Fairlead's API has too much to do; try again later",
                Some(1),
            );
        }
        match tokio::time::timeout(ANSWER_BOUND, heard).await {
            Ok(Ok(answer)) if head => answer.map(|_| Body::Empty),
            Ok(Ok(answer)) => answer.map(Body::from_bytes),
            Ok(Err(_)) => {
                self.metrics.turned_away.inc();
                error(StatusCode::SERVICE_UNAVAILABLE, "ApiGoneException", "Fairlead is stopping; try again later", Some(1))
            }
            Err(_) => error(StatusCode::GATEWAY_TIMEOUT, "ApiTimeoutException", "Fairlead's API did not answer in time", None),
        }
    }
}

/// The body may not have been read to its end, and then the connection cannot be used again; said, and not just done.
fn closing(request: &Request<Body>, mut answer: Response<Body>) -> Response<Body> {
    if !http_body::Body::is_end_stream(request.body()) {
        close(&mut answer);
    }
    answer
}

fn close(answer: &mut Response<Body>) {
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
}

enum Unread {
    TooLarge,
    Broken,
}

impl From<BodyError> for Unread {
    fn from(_: BodyError) -> Self {
        Self::Broken
    }
}

async fn collect(mut body: Body) -> Result<Bytes, Unread> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if data.len() > BODY_LIMIT - all.len() {
                return Err(Unread::TooLarge);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// The router knows our paths as they are without a prefix.
fn without_context(uri: &Uri, context_path: &str) -> Uri {
    let whole = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
    let ours = |p: &str| p.starts_with("/armory") || p.starts_with("/agents/kubernetes");
    match whole.strip_prefix(context_path) {
        Some(rest) if !ours(whole) && ours(rest) => rest.parse().unwrap_or_else(|_| uri.clone()),
        _ => whole.parse().unwrap_or_else(|_| uri.clone()),
    }
}

/// Answers what the data plane sends, at most [`CONCURRENCY`] at a time, until `stop`; what is under way then is finished, what waits is
/// answered 503. Runs on the control runtime.
pub async fn serve(mut calls: mpsc::Receiver<Call>, router: Router, metrics: Metrics, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(CONCURRENCY));
    let tasks = TaskTracker::new();
    loop {
        let next = async {
            let place = places.clone().acquire_owned().await.ok()?;
            Some((place, calls.recv().await?))
        };
        let (place, call) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            next = next => match next {
                Some(next) => next,
                None => break,
            },
        };
        if call.answer.is_closed() {
            continue;
        }
        let (router, panics) = (router.clone(), metrics.panics.clone());
        tasks.spawn(async move {
            let Call { request, answer } = call;
            let done = AssertUnwindSafe(respond(router, request)).catch_unwind().await.unwrap_or_else(|_| {
                panics.inc();
                tracing::error!("a request to the API ended in a panic");
                error_bytes(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "Fairlead failed at this request; the log says more", None)
            });
            let _ = answer.send(done);
            drop(place);
        });
    }
    // Dropping the queue answers what waits in it.
    drop(calls);
    tasks.close();
    tasks.wait().await;
}

async fn respond(router: Router, request: Request<Bytes>) -> Response<Bytes> {
    let Ok(answer) = router.oneshot(request.map(axum::body::Body::from)).await;
    let (parts, body) = answer.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(body) => Response::from_parts(parts, body),
        // Our own bodies are bytes already.
        Err(_) => error_bytes(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "Fairlead failed at this request", None),
    }
}

#[cfg(test)]
mod tests;
