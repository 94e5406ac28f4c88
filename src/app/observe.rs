//! What `/info` shows of the database and the mirror: looked for now and then, shown from memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::mirror::{Engine, MirrorStatus};
use crate::store::Store;
use crate::telemetry::{DatabaseState, Live};

/// How often the levels that only the database knows are read for `/info`.
const OBSERVE: Duration = Duration::from_millis(500);
/// Rows sealed anew in one step.
const RESEAL_STEP: u32 = 100;

/// What was seen last. Clones share it.
#[derive(Clone)]
pub(super) struct Observer(Arc<Mutex<Observed>>);

struct Observed {
    database: DatabaseState,
    message: Option<String>,
    status: Option<MirrorStatus>,
    times: u64,
}

impl Observer {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Observed { database: DatabaseState::Starting, message: None, status: None, times: 0 })))
    }

    fn seen(&self) -> MutexGuard<'_, Observed> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database has been reached.
    pub(super) fn database_is_up(&self) {
        self.seen().database = DatabaseState::Up;
    }

    /// Reads the levels that only the database knows, and seals anew what is sealed by an older key.
    pub(super) async fn run(self, store: Store, engine: Arc<Engine>, stop: CancellationToken) {
        let mut resealed = false;
        loop {
            if store.shape().is_some() {
                if !resealed {
                    match store.reseal(RESEAL_STEP).await {
                        Ok(step) => resealed = step.finished,
                        Err(e) => warn!(error = %e, "rows cannot be sealed anew yet"),
                    }
                }
                let status = engine.status().await;
                let mut seen = self.seen();
                seen.times += 1;
                match status {
                    Ok(status) => {
                        (seen.database, seen.message, seen.status) = (DatabaseState::Up, None, Some(status));
                    }
                    Err(e) => (seen.database, seen.message) = (DatabaseState::Down, Some(e.to_string())),
                }
            }
            tokio::select! {
                () = tokio::time::sleep(OBSERVE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// What `/info` shows of the mirror, from memory. `observations` counts the looks into the database: who waits for rest waits for
    /// two of them, so that what is shown is newer than the wait.
    pub(super) fn live(self, engine: Arc<Engine>) -> impl Fn() -> Live + Send + Sync + 'static {
        move || {
            let here = engine.levels();
            let seen = self.seen();
            let mut mirror = BTreeMap::from([
                ("observations", seen.times),
                ("openChanges", here.open_changes as u64),
                ("unjournalled", u64::try_from(here.unjournalled).unwrap_or(0)),
                ("settling", here.settling as u64),
                ("sweepDue", u64::from(here.sweep_due)),
                ("drift", here.drift),
            ]);
            if let Some(status) = &seen.status {
                mirror.insert("openIntents", u64::try_from(status.open_intents).unwrap_or(0));
                mirror.insert("gapsOpen", status.gaps_open as u64);
                mirror.insert("gapsSecondPass", status.gaps_second_pass as u64);
            }
            Live { database: seen.database, database_message: seen.message.clone(), mirror }
        }
    }
}
