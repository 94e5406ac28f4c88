//! Which connection a request goes over, and who waits until one has room.
//!
//! A connection is made when all others are full, one at a time; requests wait for it, or for a place that becomes free, in the order
//! in which they came. How many wait is bounded.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use futures_util::FutureExt as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use super::super::Cause;
use super::super::link::Link;
use super::super::metrics::Up;
use super::super::upstream::{Inner, Upstream};
use super::connection::{self, Connection};
use super::exchange::Receiving;

/// Requests of a thread that wait for a place.
const QUEUE: usize = 1024;
/// After ALPN chose HTTP/1.1 it is asked again so much later.
const HTTP1_FOR: Duration = Duration::from_secs(60);

/// One thread's connections.
pub(in crate::proxy) struct Streams {
    open: RefCell<Vec<Rc<Connection>>>,
    waiting: RefCell<VecDeque<oneshot::Sender<Given>>>,
    connecting: Cell<bool>,
    http1_until: Cell<Option<Instant>>,
}

/// What a request gets.
pub(super) enum Given {
    Place(Place),
    /// Clouddriver speaks HTTP/1.1, and this is a connection.
    Http1(Link),
    /// Clouddriver speaks HTTP/1.1.
    Alone,
    Failed(Cause),
}

/// Room for one request on a connection, from its head to the end of its answer.
pub(super) struct Place {
    upstream: Upstream,
    pub(super) connection: Rc<Connection>,
    /// It was used before.
    pub(super) reused: bool,
    /// Somebody else gives it back.
    lent: bool,
}

impl Place {
    /// What still comes of an answer is read to its end by nobody, and the place is free after that.
    pub(super) fn hear_out(&mut self, receiving: Receiving) {
        self.lent = true;
        self.connection.hear_out(receiving);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.lent {
            return;
        }
        self.connection.give_back();
        self.upstream.inner().serve_waiting();
    }
}

impl Default for Streams {
    fn default() -> Self {
        Self { open: RefCell::default(), waiting: RefCell::default(), connecting: Cell::new(false), http1_until: Cell::new(None) }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        for connection in self.open.get_mut() {
            connection.close();
        }
    }
}

impl Streams {
    /// Whether HTTP/2 is to be tried.
    pub(in crate::proxy) fn are_spoken(&self) -> bool {
        self.http1_until.get().is_none_or(|until| until <= Instant::now())
    }

    /// There is no connection on which somebody could have a place.
    pub(super) fn has_none(&self) -> bool {
        self.young() == 0
    }

    fn room(&self) -> Option<Rc<Connection>> {
        let now = Instant::now();
        self.open.borrow().iter().find(|connection| connection.has_room(now)).cloned()
    }

    /// Those on which requests may begin, now or when others have ended.
    fn young(&self) -> usize {
        let now = Instant::now();
        self.open.borrow().iter().filter(|connection| connection.is_young(now)).count()
    }

    /// Who waits, and is still there.
    fn next(&self) -> Option<oneshot::Sender<Given>> {
        let mut waiting = self.waiting.borrow_mut();
        std::iter::from_fn(|| waiting.pop_front()).find(|waiter| !waiter.is_closed())
    }

    fn is_waited_for(&self) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        while waiting.front().is_some_and(oneshot::Sender::is_closed) {
            waiting.pop_front();
        }
        !waiting.is_empty()
    }
}

impl Upstream {
    /// A place, now or when there is one. Dropping the wait gives up its turn.
    pub(super) async fn place(&self, streams: &Streams) -> Result<Given, Cause> {
        if !streams.is_waited_for()
            && let Some(connection) = streams.room()
        {
            return Ok(Given::Place(self.on(connection)));
        }
        if !streams.are_spoken() {
            return Ok(Given::Alone);
        }
        let turn = {
            let mut waiting = streams.waiting.borrow_mut();
            if waiting.len() >= QUEUE {
                waiting.retain(|waiter| !waiter.is_closed());
            }
            if waiting.len() >= QUEUE {
                return Err(Cause::Busy);
            }
            let (sender, receiver) = oneshot::channel();
            waiting.push_back(sender);
            receiver
        };
        let _waits = Up::new(&self.counters().waiting);
        self.inner().connect_if_wanted();
        turn.await.map_err(|_| Cause::ClosedUnsent)
    }

    fn on(&self, connection: Rc<Connection>) -> Place {
        let reused = connection.take();
        if reused {
            self.counters().pool_reused.fetch_add(1, Relaxed);
        }
        Place { upstream: self.clone(), connection, reused, lent: false }
    }
}

impl Inner {
    /// A connection takes nothing more.
    pub(super) fn gone(self: &Rc<Self>, connection: &Rc<Connection>) {
        if let Some(streams) = &self.streams {
            streams.open.borrow_mut().retain(|other| !Rc::ptr_eq(other, connection));
            self.serve_waiting();
        }
    }

    /// Gives places to those who wait, and makes another connection if there are too few.
    pub(super) fn serve_waiting(self: &Rc<Self>) {
        let Some(streams) = &self.streams else { return };
        while streams.is_waited_for()
            && let Some(connection) = streams.room()
        {
            let place = Upstream::from(self.clone()).on(connection);
            if let Some(waiter) = streams.next() {
                // Who has gone by now gives the place back.
                let _ = waiter.send(Given::Place(place));
            }
        }
        self.connect_if_wanted();
    }

    fn connect_if_wanted(self: &Rc<Self>) {
        let Some(streams) = &self.streams else { return };
        if !streams.is_waited_for() || streams.connecting.get() || streams.young() >= self.config().pool_max_idle.max(1) {
            return;
        }
        streams.connecting.set(true);
        let inner = self.clone();
        // For all who wait: the one who came first may leave.
        tokio::task::spawn_local(async move {
            let made = AssertUnwindSafe(connect(&inner)).catch_unwind().await;
            // Told like any other failure: else nobody would be answered who waits, now or later.
            inner.made(made.unwrap_or_else(|_| {
                inner.counters().panics.fetch_add(1, Relaxed);
                tracing::error!("a connection to Clouddriver was not made, for a panic");
                Err(Cause::Fault)
            }));
        });
    }

    fn made(self: &Rc<Self>, made: Result<Made, Cause>) {
        let Some(streams) = &self.streams else { return };
        streams.connecting.set(false);
        match made {
            Ok(Made::Http2(connection, work)) => {
                streams.http1_until.set(None);
                streams.open.borrow_mut().push(connection.clone());
                let idle = self.config().pool_idle_timeout;
                tokio::task::spawn_local(connection::drive(Rc::downgrade(self), connection, work, idle));
                self.serve_waiting();
            }
            Ok(Made::Http1(link)) => {
                streams.http1_until.set(Some(Instant::now() + HTTP1_FOR));
                let mut link = Some(link);
                while let Some(waiter) = streams.next() {
                    let _ = waiter.send(link.take().map_or(Given::Alone, Given::Http1));
                }
            }
            // Those who wait may still get a place on another.
            Err(_) if streams.young() > 0 => {}
            Err(cause) => {
                while let Some(waiter) = streams.next() {
                    let _ = waiter.send(Given::Failed(cause.again()));
                }
            }
        }
    }
}

enum Made {
    Http2(Rc<Connection>, Box<connection::Work>),
    Http1(Link),
}

async fn connect(inner: &Rc<Inner>) -> Result<Made, Cause> {
    let deadline = Instant::now() + inner.config().connect_timeout;
    let upstream = Upstream::from(inner.clone());
    let stream = upstream.stream(true, deadline).await?;
    if inner.config().tls.is_some() && !stream.is_http2() {
        return Ok(Made::Http1(upstream.link(stream)));
    }
    stream.notice_who_vanishes();
    let begun = timeout_at(deadline, connection::begin(stream)).await;
    let (requests, work) = begun.map_err(|_| Cause::ConnectTimeout(inner.config().connect_timeout))??;
    Ok(Made::Http2(Connection::new(requests, upstream.retire_at()), Box::new(work)))
}
