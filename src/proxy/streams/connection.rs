//! One connection: its first words, its work, and when it takes nothing more.

use std::cell::{Cell, RefCell};
use std::future::{Future as _, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use h2::client::{self, SendRequest};
use http::Request;
use tokio::time::{Instant, sleep_until};

use super::super::Cause;
use super::super::call::MAX_HEAD;
use super::super::stream::Stream;
use super::super::upstream::Inner;
use super::exchange::Receiving;

/// Requests at once on a connection, where Clouddriver allows as many: its Tomcat works on so many of one connection at once, and more
/// would wait there behind those that take long.
pub(super) const STREAMS: usize = 20;
/// What Clouddriver may send of one answer before its client has taken it.
const STREAM_WINDOW: u32 = 256 * 1024;
/// Of all together: as much as of each, so that clients that take nothing keep no other answer back.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * STREAMS as u32;
/// Bytes of a request's body that wait for the kernel.
const SEND_BUFFER: usize = 64 * 1024;
/// What the framing of many small pieces may take until they are read: bounded, and more than a patient answer of small pieces needs.
const SMALL_PIECES: usize = 16 * 1024 * 1024;
/// What is read of an answer whose client has left, and for how long it is waited for: a stream that is reset costs a server more, and
/// Tomcat ends a whole connection, with the requests of others on it, after a few.
const LEFT_OVER: usize = 256 * 1024;
const HEARD_FOR: Duration = Duration::from_secs(30);
/// So many that were reset, and nothing more begins on the connection.
const RESETS: u32 = 2;
/// How long our last word may take.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) type Requests = SendRequest<Bytes>;
pub(super) type Work = client::Connection<Stream, Bytes>;

/// What the requests of a connection share. The connection itself is moved by [`drive`].
pub(super) struct Connection {
    /// `None`: it takes nothing more.
    requests: RefCell<Option<Requests>>,
    active: Cell<usize>,
    /// What Clouddriver allows at once.
    allowed: Cell<usize>,
    used: Cell<bool>,
    idle_since: Cell<Instant>,
    retire_at: Option<Instant>,
    task: RefCell<Option<Waker>>,
    /// Answers whose clients have left, and what may still be read of each until when.
    left_over: RefCell<Vec<(Receiving, usize, Instant)>>,
    resets: Cell<u32>,
}

/// Says the first word and waits for Clouddriver's.
pub(super) async fn begin(stream: Stream) -> Result<(Requests, Work), Cause> {
    let mut builder = client::Builder::new();
    builder
        .enable_push(false)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(MAX_HEAD as u32)
        .max_send_buffer_size(SEND_BUFFER)
        .data_frame_budget(SMALL_PIECES)
        // So that the first SETTINGS, which allow some, can be told.
        .initial_max_send_streams(0);
    let (requests, mut work) = builder.handshake(stream).await.map_err(|e| Cause::Http2(e.to_string()))?;
    poll_fn(|cx| match pin!(&mut work).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(Cause::Http2("the connection was closed".to_owned()))),
        Poll::Ready(Err(e)) => Poll::Ready(Err(Cause::Http2(e.to_string()))),
        Poll::Pending if requests.current_max_send_streams() > 0 => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    Ok((requests, work))
}

impl Connection {
    pub(super) fn new(requests: Requests, retire_at: Option<Instant>) -> Rc<Self> {
        Rc::new(Self {
            allowed: Cell::new(requests.current_max_send_streams()),
            requests: RefCell::new(Some(requests)),
            active: Cell::new(0),
            used: Cell::new(false),
            idle_since: Cell::new(Instant::now()),
            retire_at,
            task: RefCell::default(),
            left_over: RefCell::default(),
            resets: Cell::new(0),
        })
    }

    pub(super) fn has_room(&self, now: Instant) -> bool {
        self.is_young(now) && self.active.get() < self.allowed.get().min(STREAMS)
    }

    pub(super) fn is_young(&self, now: Instant) -> bool {
        self.is_open() && self.retire_at.is_none_or(|at| now < at)
    }

    pub(super) fn is_open(&self) -> bool {
        self.requests.borrow().is_some()
    }

    /// Another request on it; whether it had one before.
    pub(super) fn take(&self) -> bool {
        self.active.set(self.active.get() + 1);
        self.used.replace(true)
    }

    /// A request is over.
    pub(super) fn give_back(&self) {
        self.active.set(self.active.get() - 1);
        if self.active.get() == 0 {
            self.idle_since.set(Instant::now());
            self.wake();
        }
    }

    /// A stream of it is reset by us.
    pub(super) fn was_reset(&self) {
        self.resets.set(self.resets.get() + 1);
        if self.resets.get() >= RESETS {
            self.close();
        }
    }

    /// Somebody's answer is read to its end by nobody, for a while, and keeps its place so long.
    pub(super) fn hear_out(&self, receiving: Receiving) {
        self.left_over.borrow_mut().push((receiving, LEFT_OVER, Instant::now() + HEARD_FOR));
        self.wake();
    }

    /// How many answers that nobody wants have ended, and when the first of the others is given up.
    fn poll_left_over(&self, cx: &mut std::task::Context<'_>) -> (usize, Option<Instant>) {
        let mut left_over = self.left_over.borrow_mut();
        let (before, now) = (left_over.len(), Instant::now());
        left_over.retain_mut(|(receiving, most, end)| {
            let over = receiving.poll_out(most, cx).is_ready();
            if !over && *end <= now {
                self.resets.set(self.resets.get() + 1);
            }
            !over && *end > now
        });
        (before - left_over.len(), left_over.iter().map(|(.., end)| *end).min())
    }

    /// It takes nothing more, and ends when what is on it has ended.
    pub(super) fn close(&self) {
        if self.requests.borrow_mut().take().is_some() {
            self.wake();
        }
    }

    fn wake(&self) {
        if let Some(task) = &*self.task.borrow() {
            task.wake_by_ref();
        }
    }

    /// Begins a request. `None`: nothing of it was sent, and the connection takes nothing more.
    pub(super) fn ask(&self, head: Request<()>, whole: bool) -> Option<Result<(client::ResponseFuture, h2::SendStream<Bytes>), h2::Error>> {
        // A clone, for one that waits for its turn would keep others from being handed over.
        let mut requests = self.requests.borrow().clone()?;
        match requests.send_request(head, whole) {
            Err(error) if error.is_go_away() || error.is_io() || error.is_library() => {
                self.close();
                None
            }
            asked => Some(asked),
        }
    }

    /// When it is to end if nothing more comes.
    fn due(&self, idle: Duration) -> Option<Instant> {
        let idle = self.idle_since.get() + idle;
        (self.active.get() == 0).then(|| self.retire_at.map_or(idle, |at| at.min(idle)))
    }

    /// Whether Clouddriver takes requests on it; notes how many.
    fn listens(&self, cx: &mut std::task::Context<'_>) -> bool {
        let mut requests = self.requests.borrow_mut();
        let Some(open) = &mut *requests else { return false };
        self.allowed.set(open.current_max_send_streams());
        let listens = !matches!(open.poll_ready(cx), Poll::Ready(Err(_)));
        if !listens {
            *requests = None;
        }
        listens
    }
}

/// Moves a connection to its end.
pub(super) async fn drive(upstream: Weak<Inner>, connection: Rc<Connection>, mut work: Box<Work>, idle: Duration) {
    let mut timer = pin!(sleep_until(Instant::now() + idle));
    let (mut allowed, mut known) = (connection.allowed.get(), true);
    let mut last_words = None;
    let moved = poll_fn(|cx| {
        crate::crash_point!("clouddriver-http2");
        if !connection.task.borrow().as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *connection.task.borrow_mut() = Some(cx.waker().clone());
        }
        loop {
            if let Poll::Ready(ended) = pin!(&mut work).poll(cx) {
                return Poll::Ready(ended.err());
            }
            if upstream.strong_count() == 0 {
                for _ in connection.left_over.borrow_mut().drain(..) {
                    connection.active.set(connection.active.get() - 1);
                }
            }
            let (heard, give_up_at) = connection.poll_left_over(cx);
            for _ in 0..heard {
                connection.give_back();
            }
            if heard > 0 {
                if let Some(upstream) = upstream.upgrade() {
                    upstream.serve_waiting();
                }
                continue;
            }
            let listens = connection.listens(cx);
            if known && !listens {
                known = false;
                if let Some(upstream) = upstream.upgrade() {
                    upstream.gone(&connection);
                }
                continue;
            }
            if listens && connection.allowed.get() != allowed {
                allowed = connection.allowed.get();
                if let Some(upstream) = upstream.upgrade() {
                    upstream.serve_waiting();
                }
            }
            let due = if listens {
                connection.due(idle)
            } else if connection.active.get() == 0 {
                Some(*last_words.get_or_insert_with(|| Instant::now() + FAREWELL))
            } else {
                None
            };
            let Some(due) = due.into_iter().chain(give_up_at).min() else { return Poll::Pending };
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if connection.active.get() > 0 {
                continue;
            }
            if !listens {
                return Poll::Ready(None);
            }
            connection.close();
        }
    });
    // Who waits on it is told, who waits for another gets one, and it is counted, whatever ended it.
    match AssertUnwindSafe(moved).catch_unwind().await {
        Ok(None) => {}
        Ok(Some(error)) => tracing::debug!(%error, "a connection to Clouddriver ended"),
        Err(_) => {
            if let Some(upstream) = upstream.upgrade() {
                upstream.counters().panics.fetch_add(1, Relaxed);
            }
            tracing::error!("a connection to Clouddriver ended by a panic");
        }
    }
    drop(work);
    connection.close();
    connection.left_over.borrow_mut().clear();
    if let Some(upstream) = upstream.upgrade() {
        upstream.gone(&connection);
    }
}
