//! This replica's epoch: registered at start, kept alive by a heartbeat, closed by a clean drain only.
//!
//! The heartbeat moves `ok_until` only while every change that passed is journalled. So whatever ends this process, the
//! database already knows since when something may be missing.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tracing::{info, warn};
use ulid::Ulid;

use super::engine::Engine;
use super::spool::{self, Leftover, Noted};
use crate::store::{epochs, journal};

/// Connections for intents that are kept ready: account changes are few, and often come in pairs.
const READY: usize = 2;

/// Registers, then beats until shutdown.
pub(super) async fn run(engine: Arc<Engine>) {
    let mut beat = 0_i64;
    let mut tick = tokio::time::interval(engine.replica.heartbeat);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = engine.cancel.cancelled() => return,
        }
        let done =
            if engine.registered.load(Ordering::Acquire) { engine.keep_alive(&mut beat).await } else { engine.register(&mut beat).await };
        match done {
            // A database that does not answer has the next beat to be ready by.
            Ok(()) => drop(tokio::time::timeout(engine.replica.heartbeat, engine.store.ready_intents(READY)).await),
            Err(e) => warn!(error = %e, "this replica's epoch cannot be kept"),
        }
    }
}

impl Engine {
    /// Registers this process now, so that account changes are journalled from the first one on. The heartbeat tries again where this
    /// fails.
    ///
    /// # Errors
    /// The database's.
    pub async fn register_now(&self) -> crate::store::Result<()> {
        self.register(&mut 0).await
    }

    async fn register(&self, beat: &mut i64) -> crate::store::Result<()> {
        if self.registered.load(Ordering::Acquire) {
            return Ok(());
        }
        let id = self.epoch();
        epochs::open(self.store.main(), &id, &self.replica.id).await?;
        *beat = 0;
        if let Some((path, since)) = self.read_marker() {
            // The marker's time is this machine's; the pass allows for the two clocks' difference.
            epochs::note_gap(self.store.main(), &Ulid::generate().to_string(), &self.replica.id, since).await?;
            self.drop_marker(&path).await;
            self.metrics.gaps.inc();
            warn!("account changes passed before the database was there: a pass over everything looks after them");
        }
        self.take_over_notes().await?;
        self.begin_notes(&id).await;
        // The first change must not wait for them.
        let _ = tokio::time::timeout(self.replica.heartbeat, self.store.ready_intents(READY)).await;
        self.registered.store(true, Ordering::Release);
        info!(epoch = id, replica = self.replica.id, "registered");
        Ok(())
    }

    /// Journals what processes that died on this host had forwarded and not journalled. Where a file tells everything, its epoch leaves no
    /// gap: unless the database remembers less of it than was acknowledged.
    async fn take_over_notes(&self) -> crate::store::Result<()> {
        let Some(dir) = self.settings.spool_dir.clone() else { return Ok(()) };
        let found = self.control.spawn_blocking(move || spool::leftovers(&dir)).await.unwrap_or_default();
        for left in found {
            // Another database's, or one that was looked after long ago.
            let Some(beat) = epochs::left_beat(self.store.main(), &left.epoch).await? else { continue };
            let Ok(Ok(Some(left))) = self.control.spawn_blocking(move || left.hold()).await else { continue };
            let mut all = left.whole && (left.beat..=left.beat + 1).contains(&beat);
            for change in &left.changes {
                match self.take_over(&left, change).await {
                    Err(e) if e.is_transient() => return Err(e),
                    Err(e) => {
                        all = false;
                        warn!(error = %e, intent = change.id, "a noted change cannot be journalled: its epoch leaves a gap");
                    }
                    Ok(()) => {}
                }
            }
            if all {
                epochs::forget_life(self.store.main(), &left.epoch, beat).await?;
            }
            info!(
                epoch = left.epoch,
                changes = left.changes.len(),
                all,
                "a process that died here had noted what it had not journalled: it is journalled now"
            );
            let _ = self.control.spawn_blocking(move || left.remove()).await;
        }
        Ok(())
    }

    async fn take_over(&self, left: &Leftover, change: &Noted) -> crate::store::Result<()> {
        journal::insert_noted(self.store.main(), &left.new_intent(change), change.age_ms()).await?;
        journal::mark_late(self.store.main(), &change.id).await
    }

    async fn begin_notes(&self, epoch: &str) {
        let (spool, epoch) = (self.spool.clone(), epoch.to_owned());
        let begun = self.control.spawn_blocking(move || spool.begin(&epoch)).await;
        match begun {
            // Told once, and tried at each beat.
            Ok(Err(e)) if !self.spool.is_told() => {
                warn!(error = %e, "no change can be noted on disk while the journal is slow: set interceptor.stateDir to a folder that can be written");
            }
            _ => {}
        }
    }

    /// Keeps the notes as true as the database.
    async fn note_beat(&self, beat: i64) {
        let nothing_missed = || self.unjournalled.load(Ordering::Acquire) == 0;
        if nothing_missed() && self.spool.is_spoilt() {
            let epoch = self.epoch();
            self.begin_notes(&epoch).await;
            // One that left in between is not in it. One that cannot be noted and is not counted yet spoils it when it is.
            if !nothing_missed() {
                let spool = self.spool.clone();
                let _ = self.control.spawn_blocking(move || spool.spoil("unknown")).await;
            }
        }
        let spool = self.spool.clone();
        drop(tokio::time::timeout(self.replica.heartbeat, self.control.spawn_blocking(move || spool.beat(beat))).await);
    }

    async fn keep_alive(&self, beat: &mut i64) -> crate::store::Result<()> {
        let id = self.epoch();
        if self.lost.load(Ordering::Acquire) {
            // Something passed that not even memory holds: this epoch ends as a gap, and a new one begins.
            epochs::give_up(self.store.main(), &id).await?;
            self.lost.store(false, Ordering::Release);
            return self.start_over("changes passed that nothing remembers", beat).await;
        }
        let nothing_missed = self.unjournalled.load(Ordering::Acquire) == 0;
        match epochs::beat(self.store.main(), &id, *beat, nothing_missed).await {
            Ok(true) => {
                *beat += 1;
                self.note_beat(*beat).await;
                Ok(())
            }
            Ok(false) => match epochs::remembered_beat(self.store.main(), &id).await? {
                // A beat whose answer was lost.
                Some(b) if b == *beat + 1 => {
                    *beat = b;
                    Ok(())
                }
                // The database remembers less than it acknowledged: it went back in time, and intents with it.
                Some(_) => {
                    epochs::give_up(self.store.main(), &id).await?;
                    self.start_over("the database went back in time", beat).await
                }
                // Another replica took us for dead (its gap is noted), or the row is gone with the database.
                None => {
                    let noted = epochs::gaps(self.store.main()).await?.iter().any(|g| g.epoch == id);
                    if !noted {
                        let opened = epochs::first_opened(self.store.main()).await?.unwrap_or(0);
                        epochs::note_gap(self.store.main(), &Ulid::generate().to_string(), &self.replica.id, opened).await?;
                    }
                    self.start_over("the epoch's row is gone", beat).await
                }
            },
            Err(e) => Err(e),
        }
    }

    async fn start_over(&self, why: &str, beat: &mut i64) -> crate::store::Result<()> {
        self.metrics.gaps.inc();
        warn!(reason = why, "a new epoch begins; a pass over everything looks after the gap");
        let id = Ulid::generate().to_string();
        epochs::open(self.store.main(), &id, &self.replica.id).await?;
        self.begin_notes(&id).await;
        self.set_epoch(id);
        *beat = 0;
        Ok(())
    }

    /// Closes the epoch after a clean drain. With a change left that only this process knew of, it stays open and becomes a gap.
    pub(super) async fn close_epoch(&self) {
        if !self.registered.load(Ordering::Acquire) {
            return;
        }
        let clean = self.unjournalled.load(Ordering::Acquire) == 0 && !self.lost.load(Ordering::Acquire) && self.registry.all_journalled();
        if !clean {
            warn!("not every account change is journalled: the next replica looks after the gap");
            return;
        }
        match epochs::close(self.store.main(), &self.epoch()).await {
            Ok(()) => {
                let spool = self.spool.clone();
                let _ = self.control.spawn_blocking(move || spool.end()).await;
            }
            Err(e) => warn!(error = %e, "the epoch cannot be closed: the next replica looks after the gap"),
        }
    }
}
