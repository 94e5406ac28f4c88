//! Faults on command: what a Clouddriver behind a bad network and a bad database was seen to do.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use tokio::sync::{Semaphore, watch};

use crate::mirror::Method;

/// An account change as it arrives.
#[derive(Clone, Debug)]
pub struct Call {
    /// Which one.
    pub method: Method,
    /// The name in the path, or in the body.
    pub name: Option<String>,
}

/// How a change is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// As it went.
    Honest,
    /// With this status and a JSON error.
    Status(StatusCode),
    /// 200, whatever became of it.
    Ok,
    /// 400 with the exception that a newer Clouddriver throws when its connection breaks after COMMIT; the message holds
    /// the whole definition, as there.
    SqlAccountDefinitionException,
    /// The connection is closed with no answer.
    Close,
    /// No answer until the client leaves.
    Hang,
}

/// What goes wrong with one change.
#[derive(Clone, Debug)]
pub enum Fault {
    /// It is done; the answer is another.
    DoneThen(Answer),
    /// It is not done; this is the answer.
    NotDone(Answer),
    /// It is answered at once and done this much later, with the times of its arrival.
    DoneLate(Duration, Answer),
    /// It waits before it is done, and is answered honestly.
    Slow(Duration),
    /// It waits for a permit (which it keeps) before it is done. The times are those of its arrival.
    HoldBefore(Arc<Semaphore>),
    /// It is done and waits for a permit (which it keeps) before it is answered.
    HoldAfter(Arc<Semaphore>),
}

/// A rule asked for each change; `None` leaves it alone.
pub type Rule = Arc<dyn Fn(&Call) -> Option<Fault> + Send + Sync>;

/// The faults of one stand-in; clones are the same.
#[derive(Clone)]
pub struct Faults {
    inner: Arc<Mutex<Inner>>,
    silent: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    once: VecDeque<(Option<Method>, Fault)>,
    rule: Option<Rule>,
}

impl Default for Faults {
    fn default() -> Self {
        Self { inner: Arc::default(), silent: watch::Sender::new(false) }
    }
}

impl Faults {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next change fails so.
    pub fn next(&self, fault: Fault) {
        self.inner().once.push_back((None, fault));
    }

    /// The next change by this method fails so.
    pub fn next_of(&self, method: Method, fault: Fault) {
        self.inner().once.push_back((Some(method), fault));
    }

    /// Every change that none of the single faults takes is asked of this rule.
    pub fn rule(&self, rule: impl Fn(&Call) -> Option<Fault> + Send + Sync + 'static) {
        self.inner().rule = Some(Arc::new(rule));
    }

    /// No fault from now on; what waits for a permit goes on waiting.
    pub fn clear(&self) {
        *self.inner() = Inner::default();
        self.silence(false);
    }

    /// With `true` no request at all, reads included, is looked at until `false`.
    pub fn silence(&self, silent: bool) {
        self.silent.send_replace(silent);
    }

    /// How many single faults no change has met yet.
    pub fn pending(&self) -> usize {
        self.inner().once.len()
    }

    pub(super) async fn heard(&self) {
        // An error means that the sender is gone, and it lives in `self`.
        let _ = self.silent.subscribe().wait_for(|silent| !*silent).await;
    }

    pub(super) fn take(&self, call: &Call) -> Option<Fault> {
        let mut inner = self.inner();
        let at = inner.once.iter().position(|(m, _)| m.is_none_or(|m| m == call.method));
        match at.and_then(|i| inner.once.remove(i)) {
            Some((_, fault)) => Some(fault),
            None => inner.rule.clone().and_then(|rule| rule(call)),
        }
    }
}
