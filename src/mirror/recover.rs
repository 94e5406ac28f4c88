//! Recovery: what dead replicas left open, and what this one forgot.
//!
//! Each intent without a living owner counts as one of unknown outcome. Its name is settled now and again until the window has
//! passed, because Clouddriver may commit long after everybody stopped listening.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::engine::Engine;
use crate::store::{epochs, journal};

/// Dead intents looked at in one turn.
const BATCH: i64 = 1_000;
/// Names that nothing refers to are forgotten after a day.
const NAME_AGE_MS: i64 = 24 * 3_600 * 1_000;

/// Looks after the dead until shutdown.
pub(super) async fn run(engine: Arc<Engine>) {
    // Often enough for the window to be seen ending, seldom enough to cost nothing.
    let pause = (engine.settings.unknown_outcome_window / 60).clamp(Duration::from_millis(250), Duration::from_secs(15));
    let mut turns = 0_u64;
    loop {
        if let Err(e) = engine.recover().await {
            warn!(error = %e, "what dead replicas left open cannot be read yet");
        }
        turns += 1;
        if turns.is_multiple_of(200) {
            let _ = journal::purge_names(engine.store.main(), NAME_AGE_MS).await;
        }
        let first = Duration::from_millis(500);
        let pause = if turns == 1 { first.min(pause) } else { pause };
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.75 + fastrand::f64() / 2.0)) => {}
            () = engine.cancel.cancelled() => return,
        }
    }
}

impl Engine {
    pub(super) fn lease_ms(&self) -> i64 {
        i64::try_from(self.replica.lease.as_millis()).unwrap_or(i64::MAX)
    }

    async fn recover(self: &Arc<Self>) -> crate::store::Result<()> {
        let db = self.store.main();
        let own = self.epoch();
        let died = epochs::expire(db, &own, self.lease_ms()).await?;
        if died > 0 {
            self.metrics.gaps.inc_by(died);
            info!(epochs = died, "replicas are gone without a clean drain: their open changes are settled, and a pass follows");
        }
        let open = journal::unowned_intents(db, &own, self.lease_ms(), BATCH).await?;
        let mut names = BTreeSet::new();
        let mut nameless = false;
        for i in &open {
            if i.id.parse().is_ok_and(|id| self.registry.get(&id).is_some()) {
                continue;
            }
            match &i.name {
                Some(n) => {
                    names.insert(n.clone());
                }
                None => nameless = true,
            }
        }
        for name in names {
            self.ring(&name);
        }
        if nameless {
            self.sweep.ring();
        }
        self.metrics.open_intents.set(journal::count_intents(db).await?);
        self.look_for_gaps().await
    }

    /// Asks for a pass where a gap has had none, or where its window has passed since.
    async fn look_for_gaps(self: &Arc<Self>) -> crate::store::Result<()> {
        let window = i64::try_from(self.settings.unknown_outcome_window.as_millis()).unwrap_or(i64::MAX);
        for gap in epochs::gaps(self.store.main()).await? {
            match gap.passes {
                0 => self.sweep.ring(),
                1 if gap.now >= gap.until.saturating_add(window) => self.sweep.ring(),
                1 => {}
                _ => epochs::forget_gap(self.store.main(), &gap.epoch).await?,
            }
        }
        Ok(())
    }
}
