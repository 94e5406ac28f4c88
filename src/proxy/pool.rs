//! Kept connections to Clouddriver: one thread's, last in first out, closed by us before Tomcat would.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use hyper::client::conn::http1::SendRequest;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::Body;
use super::connect::Peep;

/// A connection that nobody uses at the moment, or the right to use one. Dropped, it closes.
pub(super) struct Conn {
    pub(super) send: SendRequest<Body>,
    pub(super) peep: Peep,
}

struct Idle {
    conn: Conn,
    since: Instant,
}

/// The pool. Its size and the age of what lies in it are bounded.
pub(super) struct Pool {
    idle: RefCell<VecDeque<Idle>>,
    purger: RefCell<Option<AbortHandle>>,
    max_idle: usize,
    idle_timeout: Duration,
}

impl Pool {
    pub(super) fn new(max_idle: usize, idle_timeout: Duration) -> Rc<Self> {
        Rc::new(Self { idle: RefCell::default(), purger: RefCell::default(), max_idle, idle_timeout })
    }

    /// The connection that was used last, if one is open.
    pub(super) fn take(&self) -> Option<Conn> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { conn, since }) = idle.pop_back() {
            if now.duration_since(since) >= self.idle_timeout {
                // All others have been idle for longer.
                idle.clear();
                return None;
            }
            if conn.send.is_ready() && conn.peep.is_open() {
                return Some(conn);
            }
        }
        None
    }

    /// Takes a connection back once it is free: at once if it is, otherwise when the rest of a request's body has left (an answer
    /// may come before its request has ended). One that never gets free, or is to be closed, is dropped.
    pub(super) fn give_back(self: Rc<Self>, mut conn: Conn) {
        if conn.send.is_ready() {
            self.put(conn);
        } else if !conn.send.is_closed() {
            tokio::task::spawn_local(async move {
                if let Ok(Ok(())) = timeout(self.idle_timeout, conn.send.ready()).await {
                    self.put(conn);
                }
            });
        }
    }

    fn put(self: &Rc<Self>, conn: Conn) {
        let mut idle = self.idle.borrow_mut();
        if self.max_idle == 0 {
            return;
        }
        if idle.len() >= self.max_idle {
            idle.pop_front();
        }
        idle.push_back(Idle { conn, since: Instant::now() });
        let mut purger = self.purger.borrow_mut();
        if purger.as_ref().is_none_or(AbortHandle::is_finished) {
            let task = tokio::task::spawn_local(purge(Rc::downgrade(self), Instant::now() + self.idle_timeout));
            *purger = Some(task.abort_handle());
        }
    }

    /// Closes what has been idle for too long, or was closed by Clouddriver; the time of the next look, unless nothing is left.
    fn purge(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.retain(|i| now.duration_since(i.since) < self.idle_timeout && !i.conn.send.is_closed());
        let next = idle.front().map(|i| i.since + self.idle_timeout);
        if next.is_none() {
            *self.purger.borrow_mut() = None;
        }
        next
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        if let Some(task) = self.purger.get_mut() {
            task.abort();
        }
    }
}

/// Lives while the pool holds something.
async fn purge(pool: Weak<Pool>, mut next: Instant) {
    loop {
        sleep_until(next).await;
        match pool.upgrade().and_then(|pool| pool.purge()) {
            Some(at) => next = at,
            None => return,
        }
    }
}
