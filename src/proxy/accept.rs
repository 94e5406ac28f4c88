//! One thread's share of the clients: accept, serve each connection, and in the end let them finish.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::{Request, Response, StatusCode};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout_at};
use tower::Service;

use super::balance::{Seat, Taken};
use super::client::Client;
use super::handshake::{self, Begun};
use super::link::Link;
use super::metrics::Up;
use super::respond::{Summary, fault};
use super::select::Selector;
use super::serve::{Limits, Stack};
use super::stream::Stream;
use super::{Body, Counters, Upstream};
use crate::tls::front;

/// What the threads are told.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Serve,
    /// Finish what is in flight until then.
    DrainUntil(Instant),
}

/// How long before the end of a drain the requests that still wait are answered by us.
const CUT: Duration = Duration::from_millis(100);
/// What a thread keeps of the room for heads.
const HEAD: usize = 1024;
const SPARE_HEADS: usize = 128;
const SPARE_HEAD_SIZE: usize = 16 * 1024;

/// The state of one thread's acceptor. Lives on that thread only.
pub(super) struct Acceptor<S> {
    pub(super) stack: Stack<S>,
    pub(super) counters: Arc<Counters>,
    pub(super) limits: Limits,
    pub(super) tls: Option<front::Acceptor>,
    pub(super) seat: Seat,
}

/// What the connections of one thread share.
pub(super) struct Shared<S> {
    pub(super) service: S,
    pub(super) upstream: Upstream,
    pub(super) selector: Selector,
    pub(super) counters: Arc<Counters>,
    pub(super) limits: Limits,
    tls: Option<front::Acceptor>,
    pub(super) draining: Cell<bool>,
    /// The drain's time is over: who waits for Clouddriver is answered by us.
    pub(super) cut: Cell<bool>,
    /// The connections' tasks, to be told of a change of the two above.
    tasks: RefCell<Vec<Option<Waker>>>,
    free: RefCell<Vec<usize>>,
    open: Cell<usize>,
    closed: Notify,
    /// For requests that are no connection's own task.
    cutting: Notify,
    heads: RefCell<Vec<(Vec<u8>, Vec<u8>)>>,
}

impl<S> Shared<S> {
    /// More requests are in progress on this thread than may be.
    pub(super) fn is_full(&self) -> bool {
        self.counters.in_flight.load(Relaxed) > self.limits.max_in_flight as i64
    }

    pub(super) fn answered(&self, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(1, 5) - 1;
        self.counters.answers[class].fetch_add(1, Relaxed);
    }

    /// The answer to a request that panicked.
    pub(super) fn panicked(&self, summary: &Summary) -> Response<Body> {
        self.counters.panics.fetch_add(1, Relaxed);
        tracing::error!(request_id = summary.id(), method = summary.method(), path = summary.path(), "a request panicked");
        fault()
    }

    /// Room for two heads.
    pub(super) fn spare(&self) -> (Vec<u8>, Vec<u8>) {
        self.heads.borrow_mut().pop().unwrap_or_else(|| (Vec::with_capacity(HEAD), Vec::with_capacity(HEAD)))
    }

    pub(super) fn give_spare(&self, one: Vec<u8>, other: Vec<u8>) {
        let mut heads = self.heads.borrow_mut();
        if heads.len() < SPARE_HEADS && one.capacity() > 0 && one.capacity().max(other.capacity()) <= SPARE_HEAD_SIZE {
            heads.push((one, other));
        }
    }

    /// Comes when the drain's time is over.
    pub(super) async fn is_cut(&self) {
        let mut cutting = pin!(self.cutting.notified());
        cutting.as_mut().enable();
        if !self.cut.get() {
            cutting.await;
        }
    }

    fn tell(&self) {
        if self.cut.get() {
            self.cutting.notify_waiters();
        }
        for task in self.tasks.borrow().iter().flatten() {
            task.wake_by_ref();
        }
    }
}

impl<S> Acceptor<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    /// Accepts until told to drain, then waits for the connections. Returns when the drain has to end and how many connections
    /// were still open then. To be run inside a runtime that takes local tasks.
    pub(super) async fn run(self, listener: TcpListener, phase: watch::Receiver<Phase>) -> (Instant, usize) {
        let Self { stack, counters, limits, tls, mut seat } = self;
        let shared = Rc::new(Shared {
            service: stack.service,
            upstream: stack.upstream,
            selector: stack.selector,
            counters,
            limits,
            tls,
            draining: Cell::new(false),
            cut: Cell::new(false),
            tasks: RefCell::default(),
            free: RefCell::default(),
            open: Cell::new(0),
            closed: Notify::new(),
            cutting: Notify::new(),
            heads: RefCell::default(),
        });
        let places = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
        let mut stop = phase;
        let deadline = {
            let mut stopped = pin!(stopped(&mut stop));
            let mut backoff = Backoff::default();
            loop {
                let permit = tokio::select! {
                    biased;
                    deadline = stopped.as_mut() => break deadline,
                    permit = places.clone().acquire_owned() => permit.ok(),
                };
                let accepted = tokio::select! {
                    biased;
                    deadline = stopped.as_mut() => break deadline,
                    Some(stream) = seat.handed_over() => {
                        match TcpStream::from_std(stream) {
                            Ok(stream) => spawn(&shared, stream, permit, seat.taken()),
                            Err(error) => tracing::debug!(%error, "a connection ended before it began"),
                        }
                        continue;
                    }
                    accepted = listener.accept() => accepted,
                };
                match accepted {
                    Ok((stream, _)) => {
                        backoff = Backoff::default();
                        if let Some(stream) = seat.hand_over(stream) {
                            spawn(&shared, stream, permit, seat.take());
                        }
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
            while let Ok((stream, _)) = listener.accept() {
                if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream)) {
                    spawn(&shared, stream, None, seat.take());
                }
            }
        }
        for stream in seat.close() {
            if let Ok(stream) = TcpStream::from_std(stream) {
                spawn(&shared, stream, None, seat.taken());
            }
        }
        // Let the ones just spawned count themselves before the others are told.
        tokio::task::yield_now().await;
        shared.draining.set(true);
        shared.tell();
        let all_closed = async {
            while shared.open.get() > 0 {
                shared.closed.notified().await;
            }
        };
        let mut all_closed = pin!(all_closed);
        let cut = deadline.checked_sub(CUT).unwrap_or(deadline);
        if timeout_at(cut, all_closed.as_mut()).await.is_err() {
            shared.cut.set(true);
            let open = shared.open.get();
            shared.tell();
            let _ = timeout_at(deadline.max(Instant::now() + CUT), all_closed).await;
            return (deadline, open);
        }
        (deadline, 0)
    }
}

/// What a connection holds for as long as it lives.
type Place = (Option<OwnedSemaphorePermit>, Taken);

fn spawn<S>(shared: &Rc<Shared<S>>, stream: TcpStream, place: Option<OwnedSemaphorePermit>, taken: Taken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    tokio::task::spawn_local(connection(shared.clone(), stream, (place, taken)));
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

/// A connection's place among the ones that are told things.
struct Open<S> {
    shared: Rc<Shared<S>>,
    at: usize,
}

impl<S> Open<S> {
    fn new(shared: &Rc<Shared<S>>, waker: Waker) -> Self {
        let mut tasks = shared.tasks.borrow_mut();
        let at = match shared.free.borrow_mut().pop() {
            Some(at) => {
                tasks[at] = Some(waker);
                at
            }
            None => {
                tasks.push(Some(waker));
                tasks.len() - 1
            }
        };
        shared.open.set(shared.open.get() + 1);
        Self { shared: shared.clone(), at }
    }
}

impl<S> Drop for Open<S> {
    fn drop(&mut self) {
        self.shared.tasks.borrow_mut()[self.at] = None;
        self.shared.free.borrow_mut().push(self.at);
        self.shared.open.set(self.shared.open.get() - 1);
        self.shared.closed.notify_waiters();
    }
}

/// Serves one connection to its end.
///
/// What an idle connection costs is the size of this future. One that is moved into another before it is awaited counts twice, so none
/// is; and what is seldom waited for lies in a box.
async fn connection<S>(shared: Rc<Shared<S>>, stream: TcpStream, _place: Place)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    // A task's waker stays the same for its whole life.
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _open = Open::new(&shared, waker);
    let counters = shared.counters.clone();
    counters.accepted.fetch_add(1, Relaxed);
    let _gauge = Up::new(&counters.connections);
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended before it began");
        return;
    }
    // Out here, so that it is still there after a panic.
    let mut client = None;
    let served = AssertUnwindSafe(async {
        let begun = match &shared.tls {
            None => Begun::Http1(Stream::from(stream)),
            // In a box, so that a connection without TLS has no room for it.
            Some(tls) => Box::pin(handshake::begin(&shared, tls, stream)).await,
        };
        let link = |stream| Link::new(stream, shared.upstream.buffers().clone());
        match begun {
            Begun::Http1(stream) => {
                let speaks_http2 = client.insert(Client::new(shared.clone(), link(stream))).run().await;
                if speaks_http2 && let Some(client) = client.take() {
                    Box::pin(client.into_http2()).await;
                }
            }
            Begun::Http2(stream) => Box::pin(super::http2::serve(shared.clone(), stream, Vec::new())).await,
            Begun::Plaintext(stream) => Box::pin(Client::new(shared.clone(), link(stream)).refuse_plaintext()).await,
            Begun::Ended => {}
        }
    })
    .catch_unwind()
    .await;
    if served.is_err() {
        counters.panics.fetch_add(1, Relaxed);
        tracing::error!("a request panicked, and its connection is closed");
        if let Some(client) = &mut client {
            Box::pin(client.panicked()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::respond::Respond;

    fn size<S, F>(_: impl FnOnce(Rc<Shared<S>>, TcpStream, Place) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn an_idle_connection_costs_little() {
        let bytes = size(connection::<Respond<Upstream>>);
        assert!(bytes <= 2048, "{bytes} bytes");
    }
}
