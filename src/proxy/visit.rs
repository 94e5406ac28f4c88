//! When a client's connection by HTTP/2 may end: what is under way on it, and for how long nothing was.
//!
//! Only what was asked for and not yet answered to its end keeps a connection: not a first word that does not come, nor a head that
//! is never whole, nor a client that answers nothing that we ask by HTTP/2 itself. Who sends frames takes the end of an answer long before the
//! client has room for it, so the ends are looked for in what is written.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::Duration;

use tokio::time::Instant;

use super::client::LAST_CALL;
use super::serve::Limits;

/// What a client says first.
const PREFACE: usize = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len();

/// Of a frame's head: its bytes, the last kind that may end an answer (0 is DATA, 1 is HEADERS), and the flag that does.
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// One connection. Its copies are the same one.
#[derive(Clone)]
pub(super) struct Visit(Rc<State>);

struct State {
    limits: Limits,
    under_way: Cell<usize>,
    /// Answers that were handed over to their end, and of those the ones whose end was written.
    handed: Cell<usize>,
    written: Cell<usize>,
    ends: RefCell<Ends>,
    /// It began then, or the last request on it was over, or something of its answer was taken.
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
pub(super) struct UnderWay {
    visit: Rc<State>,
    handed: bool,
}

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
            handed: Cell::new(0),
            written: Cell::new(0),
            ends: RefCell::default(),
            since: Cell::new(Instant::now()),
            came: Cell::new(came),
            blocked: Cell::new(false),
            told: Cell::new(None),
            task: RefCell::default(),
        }))
    }

    pub(super) fn begins(&self) -> UnderWay {
        self.0.under_way.set(self.0.under_way.get() + 1);
        UnderWay { visit: self.0.clone(), handed: false }
    }

    /// So many bytes came.
    pub(super) fn came(&self, bytes: usize) {
        self.0.came.set(self.0.came.get().saturating_add(bytes).min(PREFACE));
    }

    pub(super) fn is_blocked(&self, blocked: bool) {
        self.0.blocked.set(blocked);
    }

    /// The client, or the kernel for it, took these bytes.
    pub(super) fn wrote(&self, bytes: &[u8]) {
        let state = &*self.0;
        if state.keeps_something() {
            state.since.set(Instant::now());
        }
        state.written.set(state.written.get() + state.ends.borrow_mut().count(bytes));
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
            Some(_) if self.0.keeps_something() && cut => None,
            Some(told) if self.0.keeps_something() => Some((since.max(told) + self.0.limits.stall_timeout, Due::End)),
            Some(told) => {
                let patience = if cut { Duration::ZERO } else { LAST_CALL };
                Some((since.max(told) + patience, Due::End))
            }
            None if self.0.came.get() < PREFACE => Some((since + self.0.limits.header_timeout, Due::End)),
            None => Some((since + self.0.limits.idle_timeout, Due::Tell)),
        }
    }
}

impl State {
    /// Something is said that the client has not taken, for want of room on its side or on the way.
    fn keeps_something(&self) -> bool {
        self.blocked.get() || self.handed.get() > self.written.get()
    }
}

impl UnderWay {
    /// The end of its answer was handed over. Told twice it does no harm.
    pub(super) fn is_handed(&mut self) {
        if !std::mem::replace(&mut self.handed, true) {
            self.visit.handed.set(self.visit.handed.get() + 1);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let left = self.visit.under_way.get() - 1;
        self.visit.under_way.set(left);
        if left == 0 {
            self.visit.since.set(Instant::now());
            if let Some(task) = &*self.visit.task.borrow() {
                task.wake_by_ref();
            }
        }
    }
}

/// Finds the ends of answers in what is written.
#[derive(Default)]
struct Ends {
    head: [u8; HEAD],
    /// Bytes of the head that there are.
    known: usize,
    /// Bytes behind the head that are still to come.
    left: usize,
}

impl Ends {
    /// How many answers end with these bytes, or in them.
    fn count(&mut self, mut bytes: &[u8]) -> usize {
        let mut ends = 0;
        while !bytes.is_empty() {
            let n;
            if self.known < HEAD {
                n = bytes.len().min(HEAD - self.known);
                self.head[self.known..self.known + n].copy_from_slice(&bytes[..n]);
                self.known += n;
                self.left = u32::from_be_bytes([0, self.head[0], self.head[1], self.head[2]]) as usize;
            } else {
                n = bytes.len().min(self.left);
                self.left -= n;
            }
            bytes = &bytes[n..];
            if self.known == HEAD && self.left == 0 {
                ends += usize::from(self.head[3] <= HEADERS && self.head[4] & END_STREAM != 0);
                self.known = 0;
            }
        }
        ends
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_answers_are_found_however_what_is_written_is_cut() {
        let frame = |kind: u8, flags: u8, payload: &[u8]| {
            let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
            [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
        };
        // SETTINGS with what would be END_STREAM elsewhere, an answer of two pieces, one that is over with its head, an empty last piece.
        let said = [
            frame(4, 1, &[]),
            frame(1, 4, b"head"),
            frame(0, 0, &[0, 0, 0, 0, 1, 0, 0, 0, 1]),
            frame(0, 1, b"end"),
            frame(1, 5, b"head"),
            frame(0, 1, &[]),
            frame(3, 1, &[0; 4]),
        ]
        .concat();
        for size in 1..=said.len() {
            let mut ends = Ends::default();
            assert_eq!(said.chunks(size).map(|some| ends.count(some)).sum::<usize>(), 3, "{size}");
        }
    }
}
