//! Whether the agent is connected, for those who ask.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// A session that is.
#[derive(Clone, Debug)]
pub(super) struct Connected {
    pub(super) epoch: u64,
    pub(super) replica: String,
    pub(super) since: SystemTime,
}

/// Clones are the same status.
#[derive(Clone, Debug, Default)]
pub(super) struct Status(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    connected: Option<Connected>,
    trouble: Option<String>,
}

impl Status {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connected(&self, connected: Connected) {
        *self.state() = State { connected: Some(connected), trouble: None };
    }

    pub(super) fn disconnected(&self) {
        self.state().connected = None;
    }

    pub(super) fn trouble(&self, why: String) {
        self.state().trouble = Some(why);
    }

    /// The session, or why there is none.
    pub(super) fn get(&self) -> Result<Connected, String> {
        let state = self.state();
        state.connected.clone().ok_or_else(|| state.trouble.clone().unwrap_or_else(|| "not connected yet".to_owned()))
    }
}
