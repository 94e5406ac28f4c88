//! What the mirror's parts share, and the queue of names that wait to be settled.
//!
//! A name is settled by one task of this replica at a time; ringing it again while it is settled makes it run once more. Between
//! replicas, the generation of the name's row decides.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;
use ulid::Ulid;

use super::decide::{Known, Trigger};
use super::handle::{Breaker, write_marker};
use super::metrics::Metrics;
use super::registry::Registry;
use super::settle::Settled;
use super::spool::{Noted, Spool};
use super::unsettled::Unsettled;
use crate::config::Interceptor;
use crate::source::Source;
use crate::store::Store;
use crate::store::states::Bell;

/// Names settled at the same time.
const CONCURRENT_SETTLES: usize = 8;
/// Pauses between readings that do not explain an acknowledged change.
pub(super) const LADDER: [Duration; 4] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1), Duration::from_secs(5)];
/// Longest pause between readings for a change of unknown outcome.
const SLOWEST_READING: Duration = Duration::from_secs(60);
/// Longest pause between tries while a database or Clouddriver cannot be asked.
const SLOWEST_RETRY: Duration = Duration::from_secs(5);

/// Everything the mirror works with. One for each process.
pub struct Engine {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) settings: Interceptor,
    pub(super) max_deletes: u32,
    pub(super) replica: crate::config::Replica,
    pub(super) registry: Registry,
    pub(super) metrics: Metrics,
    pub(super) control: tokio::runtime::Handle,
    pub(super) cancel: CancellationToken,
    pub(super) tasks: TaskTracker,
    pub(super) breaker: Breaker,
    /// The first epoch is in the database.
    pub(super) registered: AtomicBool,
    /// Changes that were forwarded and whose intents are not known to be journalled yet.
    pub(super) unjournalled: AtomicI64,
    /// A change was forwarded that nothing remembers.
    pub(super) lost: AtomicBool,
    /// What left before it was journalled, on disk.
    pub(super) spool: Arc<Spool>,
    pub(super) sweep: SweepBell,
    pub(super) drift: AtomicU64,
    /// A pass is under way.
    pub(super) passing: AtomicBool,
    /// Clouddriver's table lies beside the journal, so that a pre-image is a subquery.
    pub(super) same_database: bool,
    epoch: Mutex<String>,
    names: Mutex<HashMap<String, Arc<NameTask>>>,
    slots: Semaphore,
    unsettled: Unsettled,
    marked: tokio::sync::Mutex<bool>,
    changed: OnceLock<Bell>,
}

#[derive(Default)]
struct NameTask {
    again: AtomicBool,
    bell: Notify,
}

/// Asks for a sweep; one serves all that rang before it began.
#[derive(Default)]
pub struct SweepBell {
    pub(super) bell: Notify,
    pub(super) due: AtomicBool,
}

impl SweepBell {
    pub(super) fn ring(&self) {
        self.due.store(true, Ordering::Release);
        self.bell.notify_one();
    }
}

/// What is open, for `/info` and for tests that wait for rest.
#[derive(Clone, Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MirrorStatus {
    /// Intents in the journal, of all replicas.
    pub open_intents: i64,
    /// This replica's changes that are not settled.
    pub open_changes: usize,
    /// Changes forwarded whose intents are not journalled yet.
    pub unjournalled: i64,
    /// Names waiting or being settled here.
    pub settling: usize,
    /// A sweep is due or under way.
    pub sweep_due: bool,
    /// Gaps that no pass has looked after yet.
    pub gaps_open: usize,
    /// Gaps that wait for their second pass.
    pub gaps_second_pass: usize,
    /// Linked rows that Clouddriver does not have, at the last pass.
    pub drift: u64,
}

impl Engine {
    /// Puts the parts together; nothing runs yet. See [`Engine::start`].
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        store: Store,
        source: Source,
        same_database: bool,
        settings: Interceptor,
        max_deletes: u32,
        replica: crate::config::Replica,
        metrics: Metrics,
        control: tokio::runtime::Handle,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let spool = Arc::new(Spool::new(settings.spool_dir.clone()));
        Arc::new(Self {
            store,
            source,
            spool,
            settings,
            max_deletes,
            replica,
            registry: Registry::default(),
            metrics,
            control,
            cancel,
            tasks: TaskTracker::new(),
            breaker: Breaker::default(),
            registered: AtomicBool::new(false),
            unjournalled: AtomicI64::new(0),
            lost: AtomicBool::new(false),
            sweep: SweepBell::default(),
            drift: AtomicU64::new(0),
            passing: AtomicBool::new(false),
            same_database,
            epoch: Mutex::new(Ulid::generate().to_string()),
            names: Mutex::default(),
            slots: Semaphore::new(CONCURRENT_SETTLES),
            unsettled: Unsettled::default(),
            marked: tokio::sync::Mutex::new(false),
            changed: OnceLock::new(),
        })
    }

    /// Starts the background tasks: heartbeat, recovery, sweeps. They end with the cancellation token.
    pub fn start(self: &Arc<Self>) {
        self.tasks.spawn_on(super::epoch::run(self.clone()), &self.control);
        self.tasks.spawn_on(super::recover::run(self.clone()), &self.control);
        self.tasks.spawn_on(super::pass::run(self.clone()), &self.control);
    }

    /// Ends the background tasks, waits (bounded) for what is being settled, and closes the epoch if nothing is left open that only
    /// this process knows of. Call it after the data plane has drained.
    pub async fn shutdown(self: &Arc<Self>, bound: Duration) {
        let settled = async {
            while !self.names().is_empty() || self.unjournalled.load(Ordering::Acquire) > 0 {
                // Unknown outcomes are looked after for long; they are in the journal, and others take them over.
                if self.registry_only_waits() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(bound, settled).await;
        self.cancel.cancel();
        self.tasks.close();
        let _ = tokio::time::timeout(Duration::from_secs(5), self.tasks.wait()).await;
        self.close_epoch().await;
    }

    /// Stops at once and leaves everything as it is, as a crash would. For tests of recovery.
    pub fn abandon(&self) {
        self.cancel.cancel();
    }

    fn registry_only_waits(&self) -> bool {
        self.unjournalled.load(Ordering::Acquire) == 0 && self.registry.all_journalled_unknown()
    }

    pub(super) fn epoch(&self) -> String {
        self.epoch.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_epoch(&self, id: String) {
        *self.epoch.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    fn names(&self) -> MutexGuard<'_, HashMap<String, Arc<NameTask>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers, outside the database, that changes pass which nothing else remembers. `false`: there is no place for that.
    pub(super) async fn remember_gap(&self) -> bool {
        let Some(dir) = self.settings.state_dir.clone() else { return false };
        let mut marked = self.marked.lock().await;
        if *marked {
            return true;
        }
        let written = self.control.spawn_blocking(move || write_marker(&dir)).await;
        match written {
            Ok(Ok(())) => {
                *marked = true;
                true
            }
            Ok(Err(e)) => {
                warn!(error = %e, "interceptor.stateDir cannot be written: account changes are refused until the database is there");
                false
            }
            Err(_) => false,
        }
    }

    /// Begins to note on disk a change that may leave before it is journalled.
    pub(super) fn begin_to_note(&self, change: Noted) -> JoinHandle<bool> {
        let spool = self.spool.clone();
        self.control.spawn_blocking(move || spool.note(change))
    }

    /// Waits until the change is noted, so that it may leave: not beyond `until`, or `grace` from now where that is later. What is not noted
    /// then is a gap, should this process die, and the file is given `grace` once more to say so.
    pub(super) async fn is_noted(&self, id: Ulid, noting: JoinHandle<bool>, until: tokio::time::Instant, grace: Duration) {
        // Where this thread itself stood still, the disk had no time yet.
        let until = until.max(tokio::time::Instant::now() + grace);
        if !matches!(tokio::time::timeout_at(until, noting).await, Ok(Ok(true))) {
            let spool = self.spool.clone();
            drop(tokio::time::timeout(grace, self.control.spawn_blocking(move || spool.spoil(&id.to_string()))).await);
        }
        // Journalled while it was noted: nobody else says so any more.
        if self.registry.get(&id).is_none_or(|own| own.journalled || own.known == Known::Refused) {
            self.noted_is_over(id);
        }
    }

    /// It is journalled, or was not done: what was noted of it counts no more.
    pub(super) fn noted_is_over(&self, id: Ulid) {
        let spool = self.spool.clone();
        self.control.spawn_blocking(move || spool.done(&id.to_string()));
    }

    /// Takes the marker's time, if there is one; see [`Engine::drop_marker`].
    pub(super) fn read_marker(&self) -> Option<(PathBuf, i64)> {
        let path = self.settings.state_dir.as_ref()?.join(super::MARKER);
        let text = std::fs::read_to_string(&path).ok()?;
        // A marker that cannot be read is one from the beginning of time: too much is looked at, never too little.
        Some((path, text.trim().parse().unwrap_or(0)))
    }

    /// Removes the marker once the database remembers the gap.
    pub(super) async fn drop_marker(&self, path: &std::path::Path) {
        let mut marked = self.marked.lock().await;
        if let Err(e) = std::fs::remove_file(path) {
            warn!(error = %e, "the marker in interceptor.stateDir cannot be removed: its gap will be looked at again");
        }
        *marked = false;
    }

    pub(super) fn forget(&self, id: &Ulid) {
        if self.registry.remove(id).is_some_and(|own| own.late && !own.journalled) {
            self.unjournalled.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Rings this bell whenever a row has changed, for whoever tells agents of it. Once.
    pub fn ring_when_changed(&self, bell: Bell) {
        let _ = self.changed.set(bell);
    }

    /// Notes what a pass over everything found: mirrored rows that Clouddriver does not have, and those of them that it did not dare to remove.
    pub(crate) fn note_drift(&self, rows: u64, held_back: u64) {
        self.drift.store(rows, Ordering::Relaxed);
        self.metrics.drift.set(i64::try_from(rows).unwrap_or(i64::MAX));
        self.metrics.deletes_held_back.inc_by(held_back);
    }

    /// `maxDeletesPerPass`.
    pub(crate) const fn max_deletes(&self) -> u32 {
        self.max_deletes
    }

    pub(crate) fn tell_changed(&self) {
        if let Some(bell) = self.changed.get() {
            bell.ring();
        }
    }

    /// A row has gone because its agents have let go of it: what waited for that is settled.
    pub fn row_gone(self: &Arc<Self>, name: &str) {
        self.ring(name);
    }

    /// Asks for a name to be settled soon.
    pub(super) fn ring(self: &Arc<Self>, name: &str) {
        let mut names = self.names();
        if let Some(task) = names.get(name) {
            task.again.store(true, Ordering::Release);
            task.bell.notify_one();
            return;
        }
        let task = Arc::new(NameTask::default());
        names.insert(name.to_owned(), task.clone());
        drop(names);
        self.tasks.spawn_on(self.clone().look_after(name.to_owned(), task), &self.control);
    }

    /// Settles one name until nothing of ours is open for it, or only what has to wait.
    async fn look_after(self: Arc<Self>, name: String, task: Arc<NameTask>) {
        let mut retry = Duration::from_millis(50);
        loop {
            task.again.store(false, Ordering::Release);
            let result = {
                let Ok(_slot) = self.slots.acquire().await else { break };
                self.settle(&name, Trigger::Intents, &[]).await
            };
            let pause = match result {
                Ok(Settled { .. }) => {
                    retry = Duration::from_millis(50);
                    self.unsettled.is_over(&name);
                    self.next_reading(&name)
                }
                Err(e) => {
                    self.metrics.settle_errors.inc();
                    self.unsettled.failed(&name, &e);
                    retry = (retry * 2).min(SLOWEST_RETRY);
                    Some(retry.mul_f64(0.5 + fastrand::f64() / 2.0))
                }
            };
            if !task.again.load(Ordering::Acquire) {
                let Some(pause) = pause else {
                    let mut names = self.names();
                    // Rung between the look and the lock: once more.
                    if !task.again.load(Ordering::Acquire) {
                        names.remove(&name);
                        return;
                    }
                    continue;
                };
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = task.bell.notified() => {}
                    () = self.cancel.cancelled() => break,
                }
            }
            if self.cancel.is_cancelled() {
                break;
            }
        }
        self.names().remove(&name);
    }

    /// When to read again for what is open of this name; `None`: nothing is. Gives up, with a warning, what a ladder of readings and
    /// a sweep did not explain.
    fn next_reading(self: &Arc<Self>, name: &str) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        for (id, own) in self.registry.of_name(name) {
            let pause = match own.known {
                Known::Pending | Known::Refused => continue,
                Known::Ok if own.attempts as usize <= LADDER.len() => {
                    LADDER[(own.attempts as usize).saturating_sub(1).min(LADDER.len() - 1)]
                }
                Known::Ok if own.swept || own.confirmed => {
                    self.give_up(id, name);
                    continue;
                }
                Known::Ok => {
                    self.sweep.ring();
                    SLOWEST_RETRY
                }
                Known::Unknown => {
                    let window = self.settings.unknown_outcome_window;
                    let slow = Duration::from_secs(5) * own.attempts.saturating_sub(LADDER.len() as u32).max(1);
                    let pause = LADDER.get((own.attempts as usize).saturating_sub(1)).copied().unwrap_or(slow).min(SLOWEST_READING);
                    // The last reading comes just after the window has passed.
                    match window.checked_sub(own.announced.elapsed()) {
                        Some(left) => pause.min(left + Duration::from_millis(50)),
                        // Past it, a reading that tells is all that is waited for.
                        None => pause.max(Duration::from_secs(1)),
                    }
                }
            };
            next = Some(next.map_or(pause, |n| n.min(pause)));
        }
        next
    }

    /// An acknowledged change that nothing explains: told, and then let go.
    pub(super) fn give_up(self: &Arc<Self>, id: Ulid, name: &str) {
        self.metrics.unexplained.inc();
        warn!(intent = %id, account = name, "Clouddriver acknowledged a change that its table does not show");
        let engine = self.clone();
        self.tasks.spawn_on(
            async move {
                if let Err(e) = crate::store::journal::delete_intent(engine.store.main(), &id.to_string()).await {
                    warn!(error = %e, intent = %id, "an unexplained intent cannot be ended yet");
                }
                engine.forget(&id);
            },
            &self.control,
        );
    }

    /// Settles what is open and known of a name, before somebody looks at it. Bounded; a failure leaves things as they are.
    ///
    /// Dropped half-way, the settling goes on or is taken up again by itself.
    pub async fn settle_open(self: &Arc<Self>, name: &str, bound: Duration) {
        let open = async {
            let known_here = self.registry.of_name(name).iter().any(|(_, o)| matches!(o.known, Known::Ok | Known::Unknown));
            let open = known_here || !crate::store::journal::intents_of(self.store.main(), name).await.is_ok_and(|i| i.is_empty());
            if open {
                let _ = self.settle(name, Trigger::Intents, &[]).await;
            }
        };
        let _ = tokio::time::timeout(bound, open).await;
    }

    /// What is open.
    ///
    /// # Errors
    /// The database's.
    pub async fn status(&self) -> crate::store::Result<MirrorStatus> {
        let gaps = crate::store::epochs::gaps(self.store.main()).await?;
        Ok(MirrorStatus {
            open_intents: crate::store::journal::count_intents(self.store.main()).await?,
            gaps_open: gaps.iter().filter(|g| g.passes == 0).count(),
            gaps_second_pass: gaps.iter().filter(|g| g.passes > 0).count(),
            ..self.levels()
        })
    }

    /// What is open as far as this process knows without asking: the levels of the database are zero.
    pub fn levels(&self) -> MirrorStatus {
        MirrorStatus {
            open_intents: 0,
            gaps_open: 0,
            gaps_second_pass: 0,
            open_changes: self.registry.len(),
            unjournalled: self.unjournalled.load(Ordering::Acquire),
            settling: self.names().len(),
            sweep_due: self.sweep.due.load(Ordering::Acquire) || self.passing.load(Ordering::Acquire),
            drift: self.drift.load(Ordering::Relaxed),
        }
    }

    /// Where the mirror's rows are.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// How Clouddriver's rows are read.
    pub fn source(&self) -> &Source {
        &self.source
    }
}
