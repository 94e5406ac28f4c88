//! One thread's share of the clients: accept, serve each connection, and in the end let them finish.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::{Future as _, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode, Version};
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tower::{Service, ServiceExt as _};

use super::metrics::Up;
use super::respond::{Summary, error};
use super::upstream::MAX_BUFFER;
use super::{Body, Counters};

/// What the threads are told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Serve,
    /// Finish what is in flight until then.
    DrainUntil(Instant),
}

/// A connection that waited in the kernel's queue when the drain began has this long to send a request.
const LAST_CALL: Duration = Duration::from_secs(1);

/// The state of one thread's acceptor. Lives on that thread only.
pub(super) struct Acceptor<S> {
    pub(super) service: S,
    pub(super) counters: Arc<Counters>,
    pub(super) header_timeout: Duration,
    pub(super) max_connections: usize,
}

/// What the connections of one thread share.
struct Shared<S> {
    service: S,
    counters: Arc<Counters>,
    draining: Cell<bool>,
    drain: Notify,
    open: Cell<usize>,
    closed: Notify,
}

impl<S> Acceptor<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    /// Accepts until told to drain, then waits for the connections. Returns when the drain has to end and how many connections
    /// were still open then. To be run inside a `LocalSet`.
    pub(super) async fn run(self, listener: TcpListener, phase: watch::Receiver<Phase>) -> (Instant, usize) {
        let shared = Rc::new(Shared {
            service: self.service,
            counters: self.counters,
            draining: Cell::new(false),
            drain: Notify::new(),
            open: Cell::new(0),
            closed: Notify::new(),
        });
        let limit = Arc::new(Semaphore::new(self.max_connections.min(Semaphore::MAX_PERMITS)));
        let http = http(self.header_timeout);
        let mut stop = phase;
        let deadline = {
            let mut stopped = pin!(stopped(&mut stop));
            let mut backoff = Backoff::default();
            loop {
                let permit = tokio::select! {
                    biased;
                    deadline = stopped.as_mut() => break deadline,
                    permit = limit.clone().acquire_owned() => permit.ok(),
                };
                let accepted = tokio::select! {
                    biased;
                    deadline = stopped.as_mut() => break deadline,
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        backoff = Backoff::default();
                        let task = connection(shared.clone(), http.clone(), stream);
                        tokio::task::spawn_local(async move {
                            task.await;
                            drop(permit);
                        });
                    }
                    Err(error) => {
                        shared.counters.accept_errors.fetch_add(1, Relaxed);
                        let Some(pause) = backoff.after(&error) else { continue };
                        tokio::select! {
                            biased;
                            deadline = stopped.as_mut() => break deadline,
                            () = tokio::time::sleep(pause) => {}
                        }
                    }
                }
            }
        };
        // Closing a listener resets what waits in its queue, so that is taken out first and gets its one answer.
        if let Ok(listener) = listener.into_std() {
            let mut last = http.clone();
            last.keep_alive(false).header_read_timeout(self.header_timeout.min(LAST_CALL));
            while let Ok((stream, _)) = listener.accept() {
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                    tokio::task::spawn_local(connection(shared.clone(), last.clone(), stream));
                }
            }
        }
        // Let the ones just spawned count themselves before the others are told.
        tokio::task::yield_now().await;
        shared.draining.set(true);
        shared.drain.notify_waiters();
        let all_closed = async {
            while shared.open.get() > 0 {
                shared.closed.notified().await;
            }
        };
        let _ = timeout_at(deadline, all_closed).await;
        (deadline, shared.open.get())
    }
}

fn http(header_timeout: Duration) -> Builder {
    let mut http = Builder::new();
    // No half-close: a client that shuts its writing side while it waits is taken for gone, and its request is given up. (nginx
    // does the same.) No date: an answer has the one that Clouddriver gave it.
    http.timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .preserve_header_case(true)
        .auto_date_header(false)
        .max_buf_size(MAX_BUFFER);
    http
}

/// Resolves with the deadline when the drain begins; a handle that is gone means now.
async fn stopped(phase: &mut watch::Receiver<Phase>) -> Instant {
    loop {
        if let Phase::DrainUntil(deadline) = *phase.borrow_and_update() {
            return deadline;
        }
        if phase.changed().await.is_err() {
            return Instant::now();
        }
    }
}

/// How long to wait after a failed accept: with no descriptors left, trying again at once would only spin.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    fn after(&mut self, error: &io::Error) -> Option<Duration> {
        if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted) {
            return None;
        }
        if self.0 == 0 {
            tracing::error!(%error, "cannot accept connections; trying on");
        }
        self.0 = (self.0 + 1).min(6);
        Some(Duration::from_millis(10 << self.0))
    }
}

struct Open<'a, S>(&'a Shared<S>);

impl<S> Drop for Open<'_, S> {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get() - 1);
        self.0.closed.notify_waiters();
    }
}

/// Serves one connection to its end.
async fn connection<S>(shared: Rc<Shared<S>>, http: Builder, stream: TcpStream)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    shared.open.set(shared.open.get() + 1);
    let _open = Open(&shared);
    shared.counters.accepted.fetch_add(1, Relaxed);
    let _gauge = Up::new(&shared.counters.connections);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    // The end of an answer without length to a client of HTTP/1.0 is the end of the connection: only a reset tells that it broke.
    let old_client = Cell::new(false);
    let service = service_fn(|request: Request<Incoming>| {
        old_client.set(request.version() == Version::HTTP_10);
        handle(&shared, request)
    });
    let mut conn = http.serve_connection(TokioIo::new(stream), service);
    let mut drain = pin!(shared.drain.notified());
    let mut told = shared.draining.get();
    let mut registered = false;
    let ended = poll_fn(|cx| {
        if !told && shared.draining.get() {
            told = true;
            Pin::new(&mut conn).graceful_shutdown();
        } else if !registered {
            // Once for the whole life of the connection: the task's waker stays the same, and the flag says the rest.
            registered = true;
            let _ = drain.as_mut().poll(cx);
        }
        Pin::new(&mut conn).poll(cx)
    });
    let ended = AssertUnwindSafe(ended).catch_unwind().await;
    match ended {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::debug!(%error, "a client's connection ended");
            if old_client.get() && error.is_user() {
                let _ = SockRef::from(conn.into_parts().io.inner()).set_linger(Some(Duration::ZERO));
            }
        }
        Err(_) => {
            shared.counters.panics.fetch_add(1, Relaxed);
            tracing::error!("a body panicked; its connection is closed");
        }
    }
}

/// One request: whatever happens in its services, it is answered, and nothing else notices.
async fn handle<S>(shared: &Shared<S>, request: Request<Incoming>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    let _in_flight = Up::new(&shared.counters.in_flight);
    let request = request.map(Body::Incoming);
    let summary = Summary::of(&request);
    let answer = match AssertUnwindSafe(shared.service.clone().oneshot(request)).catch_unwind().await {
        Ok(Ok(answer)) => answer,
        Ok(Err(never)) => match never {},
        Err(_) => {
            shared.counters.panics.fetch_add(1, Relaxed);
            tracing::error!(request_id = summary.id(), method = summary.method(), path = summary.path(), "a request panicked");
            error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "Fairlead failed on this request; its log says where", None)
        }
    };
    let class = usize::from(answer.status().as_u16() / 100).clamp(1, 5) - 1;
    shared.counters.answers[class].fetch_add(1, Relaxed);
    tracing::debug!(
        request_id = summary.id(),
        method = summary.method(),
        path = summary.path(),
        status = answer.status().as_u16(),
        "answered"
    );
    Ok(answer)
}
