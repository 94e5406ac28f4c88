//! Lines of the log that a peer could cause without end: at most one in a second for each key, and it says how many it stands for.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

const PAUSE: Duration = Duration::from_secs(1);
/// Keys that are remembered at once.
const KEYS: usize = 4_096;

/// What is said, and of whom.
type Key = (&'static str, u64);

/// See the module's page.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    /// When each was last said, and how often it was not since.
    at: HashMap<Key, (Instant, u64)>,
    /// When there was last looked for some that can be forgotten.
    tidied: Option<Instant>,
}

impl Quiet {
    /// Whether to say it now; then how many were not said since the last one.
    pub(super) fn say(&self, what: &'static str, of: &str) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        of.hash(&mut hasher);
        let (key, now) = ((what, hasher.finish()), Instant::now());
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, unsaid)) = said.at.get_mut(&key) {
            if now.duration_since(*at) < PAUSE {
                *unsaid += 1;
                return None;
            }
            *at = now;
            return Some(std::mem::take(unsaid));
        }
        if said.at.len() >= KEYS {
            // A look at all of them, so not with each line.
            if said.tidied.is_some_and(|tidied| now.duration_since(tidied) < PAUSE) {
                return None;
            }
            said.tidied = Some(now);
            said.at.retain(|_, (at, _)| now.duration_since(*at) < PAUSE);
            if said.at.len() >= KEYS {
                return None;
            }
        }
        said.at.insert(key, (now, 0));
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_line_in_a_second_says_how_many_it_stands_for() {
        let quiet = Quiet::default();
        assert_eq!(quiet.say("refused", "a"), Some(0));
        assert_eq!((0..100_000).filter_map(|_| quiet.say("refused", "a")).count(), 0);
        assert_eq!((quiet.say("refused", "b"), quiet.say("lost", "a")), (Some(0), Some(0)));
        tokio::time::advance(PAUSE).await;
        assert_eq!((quiet.say("refused", "a"), quiet.say("refused", "a")), (Some(100_000), None));
    }

    #[tokio::test(start_paused = true)]
    async fn many_keys_take_no_more_room_than_some() {
        let quiet = Quiet::default();
        assert_eq!((0..100_000).filter_map(|n| quiet.say("refused", &n.to_string())).count(), KEYS);
        tokio::time::advance(PAUSE).await;
        assert_eq!(quiet.say("refused", "new"), Some(0));
    }
}
