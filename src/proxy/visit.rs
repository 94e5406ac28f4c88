//! When a client's connection by HTTP/2 may end: what is under way on it, and for how long nothing was.
//!
//! Only what was asked for and not yet answered to its end keeps a connection: not a first word that does not come, nor a head that
//! is never whole, nor a client that answers nothing that we ask by HTTP/2 itself.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::client::LAST_CALL;
use super::serve::Limits;

/// What a client says first.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// One connection. Its copies are the same one.
#[derive(Clone)]
pub(super) struct Visit(Rc<State>);

struct State {
    limits: Limits,
    under_way: Cell<usize>,
    /// It began then, or the last request on it was over.
    since: Cell<Instant>,
    /// Bytes that came, as far as they matter.
    came: Cell<usize>,
    /// The client takes nothing: what was said last may not have arrived.
    blocked: Cell<bool>,
    /// Since when it is to end.
    told: Cell<Option<Instant>>,
    task: RefCell<Option<Waker>>,
}

/// A request, until its answer was handed over to its end.
pub(super) struct UnderWay(Rc<State>);

/// What its time brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// It has been idle for long enough, and is to be told so.
    Tell,
    /// Nothing is to be waited for any more.
    End,
}

impl Visit {
    pub(super) fn new(limits: Limits, came: usize) -> Self {
        Self(Rc::new(State {
            limits,
            under_way: Cell::new(0),
            since: Cell::new(Instant::now()),
            came: Cell::new(came),
            blocked: Cell::new(false),
            told: Cell::new(None),
            task: RefCell::default(),
        }))
    }

    pub(super) fn begins(&self) -> UnderWay {
        self.0.under_way.set(self.0.under_way.get() + 1);
        UnderWay(self.0.clone())
    }

    /// So many bytes came.
    pub(super) fn came(&self, bytes: usize) {
        self.0.came.set(self.0.came.get().saturating_add(bytes).min(PREFACE));
    }

    pub(super) fn is_blocked(&self, blocked: bool) {
        self.0.blocked.set(blocked);
    }

    /// It is to end from now on. False: it was before.
    pub(super) fn tell(&self) -> bool {
        let first = self.0.told.get().is_none();
        if first {
            self.0.told.set(Some(Instant::now()));
        }
        first
    }

    /// When something is due, and what, if nothing changes until then. The task is woken when the last request is over.
    pub(super) fn due(&self, cut: bool, cx: &Context<'_>) -> Option<(Instant, Due)> {
        let mut task = self.0.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        if self.0.under_way.get() > 0 {
            return None;
        }
        let since = self.0.since.get();
        match self.0.told.get() {
            // What is not taken is the end of an answer.
            Some(_) if self.0.blocked.get() => None,
            Some(told) => {
                let patience = if cut { Duration::ZERO } else { LAST_CALL };
                Some((since.max(told) + patience, Due::End))
            }
            None if self.0.came.get() < PREFACE => Some((since + self.0.limits.header_timeout, Due::End)),
            None => Some((since + self.0.limits.idle_timeout, Due::Tell)),
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = self.0.under_way.get() - 1;
        self.0.under_way.set(left);
        if left == 0 {
            self.0.since.set(Instant::now());
            if let Some(task) = &*self.0.task.borrow() {
                task.wake_by_ref();
            }
        }
    }
}
