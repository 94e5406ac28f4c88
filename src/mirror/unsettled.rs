//! Which accounts cannot be settled now, and what the log hears of it. When Clouddriver or a database is away, each account that is waited
//! for fails again and again, for one reason: that is told at once, then once a minute with how many they are, and when it is over. What is
//! one account's own fault is told of each, once.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::settle::Error;

/// Between two lines about what keeps all of them.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Unsettled(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    names: HashSet<String>,
    /// When it was last told what keeps all of them.
    told: Option<Instant>,
}

impl Unsettled {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An account could not be settled, once more or for the first time.
    pub(super) fn failed(&self, name: &str, error: &Error) {
        let of_all = matches!(error, Error::Store(_) | Error::Source(_));
        match self.note(name, of_all) {
            Some(_) if !of_all => warn!(error = %error, account = name, "an account cannot be settled yet"),
            Some(accounts) => warn!(error = %error, account = name, accounts, "accounts cannot be settled yet"),
            None => debug!(error = %error, account = name, "an account cannot be settled yet"),
        }
    }

    /// It is settled, or nothing is left to be settled.
    pub(super) fn is_over(&self, name: &str) {
        if self.forget(name) {
            info!(account = name, "all accounts that could not be settled are settled now");
        }
    }

    /// How many cannot be settled, where that is to be told.
    fn note(&self, name: &str, of_all: bool) -> Option<usize> {
        let mut state = self.state();
        let is_new = state.names.insert(name.to_owned());
        if !of_all {
            return is_new.then_some(1);
        }
        if state.told.is_some_and(|told| told.elapsed() < AGAIN) {
            return None;
        }
        state.told = Some(Instant::now());
        Some(state.names.len())
    }

    /// Whether it was the last, and something was told of all.
    fn forget(&self, name: &str) -> bool {
        let mut state = self.state();
        state.names.remove(name) && state.names.is_empty() && state.told.take().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_keeps_all_accounts_is_told_at_once_then_once_a_minute_and_when_it_is_over() {
        let unsettled = Unsettled::default();
        assert_eq!(unsettled.note("a", true), Some(1));
        let told = (0..1_000).filter_map(|n| unsettled.note(&format!("a{}", n % 100), true)).count();
        assert_eq!(told, 0);
        tokio::time::advance(AGAIN).await;
        assert_eq!((unsettled.note("a", true), unsettled.note("a", true)), (Some(101), None));
        assert!((0..100).all(|n| !unsettled.forget(&format!("a{n}"))));
        assert!(unsettled.forget("a") && !unsettled.forget("a"));
        assert_eq!(unsettled.note("a", true), Some(1), "it begins anew");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_one_accounts_own_fault_is_told_of_each_once() {
        let unsettled = Unsettled::default();
        assert_eq!((unsettled.note("a", true), unsettled.note("b", false), unsettled.note("b", false)), (Some(1), Some(1), None));
        assert!(!unsettled.forget("b"));
        assert_eq!(unsettled.note("b", false), Some(1), "it was settled meanwhile");
    }
}
