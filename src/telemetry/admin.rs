//! The admin listener: `/health/live`, `/health/ready`, `/metrics` and `/info`, on a port of their own.
//!
//! It runs on the control runtime and shares nothing with the data plane, so it answers while that one is overloaded. It waits
//! for no database: what it tells is in memory. A connection carries one request and has [`CONNECTION_LIMIT`]; more than
//! [`MAX_CONNECTIONS`] at once wait in the kernel's queue. Nobody has to log in, so nothing here is secret and nothing can be
//! changed from here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use super::health::{Readiness, ServingState};
use super::info::{Facts, Live};
use super::metrics::{self, Exposition};

/// Connections served at once. Probes, a scraper or two and a person need a handful.
pub const MAX_CONNECTIONS: usize = 64;

/// How long one connection may take in all, so that a client that is slow on purpose holds a place for so long and no longer.
pub const CONNECTION_LIMIT: Duration = Duration::from_secs(30);

/// How long answers on their way may take after the end was asked for.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What the admin listener tells about.
#[derive(Clone)]
pub struct AdminState(Arc<Inner>);

struct Inner {
    readiness: Readiness,
    metrics: Exposition,
    facts: Facts,
    live: Box<dyn Fn() -> Live + Send + Sync>,
}

impl AdminState {
    /// `live` is called at each `/health/ready` and `/info`; it must answer from memory, at once.
    pub fn new(readiness: Readiness, metrics: Exposition, facts: Facts, live: impl Fn() -> Live + Send + Sync + 'static) -> Self {
        Self(Arc::new(Inner { readiness, metrics, facts, live: Box::new(live) }))
    }
}

/// Serves the admin endpoints until `stop` is cancelled; then takes no more connections, and returns when the answers on their
/// way are out, at the latest two seconds later. Cancelled half-way (dropped), it leaves connections to end by their own limit.
///
/// `stop` should come last in a drain: until the last request is served, probes and the scraper still want answers.
pub async fn serve(listener: TcpListener, state: AdminState, stop: CancellationToken) {
    serve_router(listener, router(state), stop).await;
}

/// As [`serve`], for another router of that kind: small answers from memory.
pub(crate) async fn serve_router(listener: TcpListener, router: Router, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let connections = TaskTracker::new();
    loop {
        // A permit before the accept: with none left, connections wait in the kernel's queue and not in our memory.
        let place = tokio::select! {
            () = stop.cancelled() => break,
            place = Arc::clone(&places).acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let connection = connection(stream, router.clone(), stop.clone());
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            // Out of files, or a connection that was gone before it was accepted: neither must end the listener.
            Err(error) => {
                tracing::warn!(%error, "admin: a connection could not be accepted");
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = tokio::time::sleep(Duration::from_millis(100)) => {}
                }
            }
        }
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(END_LIMIT, connections.wait()).await.is_err() {
        tracing::debug!("admin: answers were still on their way at the end");
    }
}

async fn connection(stream: TcpStream, router: Router, stop: CancellationToken) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let router = router.clone();
        async move { Ok::<_, Infallible>(answer(router, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .header_read_timeout(Duration::from_secs(5))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let served = tokio::time::timeout(CONNECTION_LIMIT, async {
        tokio::select! {
            served = &mut connection => served,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        }
    });
    match served.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "admin: a connection broke"),
        Err(_) => tracing::debug!("admin: a connection took too long and was closed"),
    }
}

async fn answer(router: Router, request: hyper::Request<Incoming>) -> Response {
    match router.oneshot(request.map(Body::new)).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

fn router(state: AdminState) -> Router {
    Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(ready))
        .route("/metrics", get(scrape))
        .route("/info", get(info))
        .fallback(async || {
            (
                StatusCode::NOT_FOUND,
                Json(json!({"message": "here are /health/live, /health/ready, /metrics and /info; Clouddriver is on the other port"})),
            )
        })
        .with_state(state)
}

/// The process runs and its control runtime schedules tasks; nothing else is asked, since a restart mends nothing else.
async fn live() -> Response {
    Json(json!({"status": "live"})).into_response()
}

async fn ready(State(state): State<AdminState>) -> Response {
    let serving = state.0.readiness.state();
    let status = if serving == ServingState::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let live = (state.0.live)();
    (status, Json(json!({"status": serving.as_str(), "database": live.database}))).into_response()
}

async fn scrape(State(state): State<AdminState>) -> Response {
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], state.0.metrics.encode()).into_response()
}

async fn info(State(state): State<AdminState>) -> Response {
    #[derive(serde::Serialize)]
    struct Info<'a> {
        #[serde(flatten)]
        facts: &'a Facts,
        status: &'static str,
        live: Live,
    }
    Json(Info { facts: &state.0.facts, status: state.0.readiness.state().as_str(), live: (state.0.live)() }).into_response()
}
