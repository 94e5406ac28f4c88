//! Kept connections to Clouddriver: one thread's, last in first out, closed by us before Tomcat would, and when they are old.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use super::link::Link;

struct Idle {
    link: Link,
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

    /// The connection that was used last, if one is open, quiet and not too old. The kernel is asked: what came on it unasked is nobody's answer,
    /// and what was closed may be known there and not yet here.
    pub(super) fn take(&self) -> Option<Link> {
        let mut idle = self.idle.borrow_mut();
        let newest = idle.back()?;
        let now = Instant::now();
        if now.duration_since(newest.since) >= self.idle_timeout {
            // All others have been idle for longer.
            idle.clear();
            return None;
        }
        while let Some(Idle { mut link, .. }) = idle.pop_back() {
            if link.is_young(now) && link.is_quiet() {
                return Some(link);
            }
        }
        None
    }

    /// Takes a connection that is free and quiet.
    pub(super) fn put(self: &Rc<Self>, mut link: Link) {
        if self.max_idle == 0 || !link.is_empty() {
            return;
        }
        let now = Instant::now();
        if !link.is_young(now) {
            return;
        }
        link.rest();
        let mut idle = self.idle.borrow_mut();
        if idle.len() >= self.max_idle {
            idle.pop_front();
        }
        idle.push_back(Idle { link, since: now });
        let mut purger = self.purger.borrow_mut();
        if purger.as_ref().is_none_or(AbortHandle::is_finished) {
            let task = tokio::task::spawn_local(purge(Rc::downgrade(self), now + self.idle_timeout));
            *purger = Some(task.abort_handle());
        }
    }

    /// Closes what has been idle for too long, or was closed by Clouddriver; the time of the next look, unless nothing is left.
    fn purge(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut idle = self.idle.borrow_mut();
        idle.retain_mut(|i| now.duration_since(i.since) < self.idle_timeout && i.link.is_young(now) && i.link.is_quiet());
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
