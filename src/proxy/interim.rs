//! What Clouddriver says before its answer (1xx), on its way to a client of HTTP/1.1 whose request somebody looks into.
//!
//! An extension of the request, so that whoever stands between need not know of it.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

/// Most bytes that wait for a client. Whoever takes none of them misses the rest: they are hints, and the answer is still to come.
const MAX_WAITING: usize = 64 * 1024;

/// Both ends. Of one thread, but an extension has to be able to move.
#[derive(Clone, Default)]
pub(super) struct Interim(Arc<Mutex<Said>>);

#[derive(Default)]
struct Said {
    heads: Vec<u8>,
    listener: Option<Waker>,
}

impl Interim {
    /// Clouddriver's end: a whole head.
    pub(super) fn say(&self, head: &[u8]) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.heads.len() + head.len() > MAX_WAITING {
            return;
        }
        said.heads.extend_from_slice(head);
        if let Some(listener) = said.listener.take() {
            listener.wake();
        }
    }

    /// The client's end: moves what was said to the end of `out`, and wakes the task when there is more.
    pub(super) fn hear(&self, cx: &Context<'_>, out: &mut Vec<u8>) {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        out.append(&mut said.heads);
        if !said.listener.as_ref().is_some_and(|listener| listener.will_wake(cx.waker())) {
            said.listener = Some(cx.waker().clone());
        }
    }

    /// The last of it, before the answer.
    pub(super) fn rest(&self, out: &mut Vec<u8>) {
        out.append(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner).heads);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_whole() {
        let interim = Interim::default();
        let head = b"HTTP/1.1 103 Early Hints\r\n\r\n";
        for _ in 0..10_000 {
            interim.say(head);
        }
        let mut out = Vec::new();
        interim.rest(&mut out);
        assert!(out.len() <= MAX_WAITING && out.len() > MAX_WAITING - head.len());
        assert_eq!(out.len() % head.len(), 0);
        interim.say(head);
        interim.rest(&mut out);
        assert!(out.ends_with(head));
    }
}
