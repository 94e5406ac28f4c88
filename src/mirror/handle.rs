//! The data plane's end of the mirror: [`Handle`] announces changes and hears what became of them.
//!
//! All work with the database is done on the control runtime; a data-plane thread only waits, with a bound.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::oneshot;
use tracing::{error, warn};
use ulid::Ulid;

use super::decide::Known;
use super::engine::Engine;
use super::spool::Noted;
use super::{Announced, Change, Journal, Outcome, Refusal, Ticket, Verdict};
use crate::config::FailurePolicy;
use crate::source::PreImage as SourcePreImage;
use crate::store::journal::{self, NewIntent, PreImageFrom};

/// Misses in a row after which the wait for the journal is skipped for a while.
const BREAKER_MISSES: u32 = 5;
/// How long it is skipped.
const BREAKER_PAUSE: Duration = Duration::from_secs(1);
/// The part of the wait for the journal after which a change is noted on disk as well.
const NOTED_AFTER: f64 = 0.3;
/// What a change may take between its announcement and its first byte, at most: longer than any connect, far shorter than the window
/// after which others give an unknown outcome up.
const FORWARD_SLACK: Duration = Duration::from_secs(30);

/// Announces changes. Clones share everything.
#[derive(Clone)]
pub struct Handle {
    engine: Arc<Engine>,
}

impl Handle {
    /// The data plane's end of this engine.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    fn slack(&self) -> Duration {
        FORWARD_SLACK.min(self.engine.settings.unknown_outcome_window / 2)
    }

    fn max_wait(&self) -> Duration {
        let i = &self.engine.settings;
        if i.failure_policy == FailurePolicy::Fail { i.max_wait_fail } else { i.max_wait }
    }
}

impl Journal for Handle {
    type Ticket = OpenChange;

    async fn announce(&self, change: Change) -> Announced<OpenChange> {
        let e = &self.engine;
        let policy = e.settings.failure_policy;
        if !e.registered.load(Ordering::Acquire) {
            if policy == FailurePolicy::Fail {
                e.metrics.refused.inc();
                return Err(Refusal::JournalUnavailable);
            }
            if !e.remember_gap().await {
                e.metrics.refused.inc();
                return Err(Refusal::NotRegistered);
            }
        }
        if !e.registry.insert(&change) {
            if policy == FailurePolicy::Fail {
                e.metrics.refused.inc();
                return Err(Refusal::JournalUnavailable);
            }
            // Not even memory is left: the epoch itself becomes the gap.
            e.lost.store(true, Ordering::Release);
            let spool = e.spool.clone();
            e.control.spawn_blocking(move || spool.spoil("unknown"));
            e.metrics.forgotten.inc();
            error!(name = change.name, method = change.method.as_str(), "too many open changes: forwarded without being remembered");
            return Ok(OpenChange { engine: e.clone(), id: None, deadline: self.slack(), at: std::time::Instant::now() });
        }
        let id = change.id;
        let at = std::time::Instant::now();
        let guard = OpenChange { engine: e.clone(), id: Some(id), deadline: self.slack(), at };
        let (done, mut journalled) = oneshot::channel();
        let (late, until) = (Noted::now(&change), tokio::time::Instant::from_std(at + self.max_wait()));
        e.control.spawn(write_intent(e.clone(), change, done));
        let skip = policy == FailurePolicy::Ignore && e.breaker.is_open();
        // Noted so early that the disk has it when the wait is over.
        let first = match policy {
            FailurePolicy::Ignore => self.max_wait().mul_f64(NOTED_AFTER),
            FailurePolicy::Fail => self.max_wait(),
        };
        let mut heard = if skip { None } else { tokio::time::timeout(first, &mut journalled).await.ok() };
        let mut noting = None;
        if !matches!(heard, Some(Ok(()))) && policy == FailurePolicy::Ignore {
            noting = Some(e.begin_to_note(late));
            if !skip && heard.is_none() {
                heard = tokio::time::timeout_at(until, &mut journalled).await.ok();
            }
        }
        let in_time = matches!(heard, Some(Ok(())));
        e.metrics.journal_wait.observe(at.elapsed().as_secs_f64());
        if in_time {
            e.breaker.hit();
            if let Some(noting) = noting {
                let e = e.clone();
                e.control.clone().spawn(async move {
                    let _ = noting.await;
                    e.noted_is_over(id);
                });
            }
            return Ok(guard);
        }
        e.breaker.miss();
        if policy == FailurePolicy::Fail {
            e.metrics.refused.inc();
            guard.finish(Verdict { outcome: Outcome::Refused, name: None });
            return Err(Refusal::JournalUnavailable);
        }
        // Under the lock of the registry, so that the writer and we agree on whether it was late.
        let own = e.registry.update(&id, |own| {
            own.late = !own.journalled;
            if own.late {
                e.unjournalled.fetch_add(1, Ordering::AcqRel);
            }
        });
        if own.is_some_and(|o| o.late) {
            e.metrics.late.inc();
            warn!(intent = %id, waited_ms = at.elapsed().as_millis(), "the journal did not answer in time: the change is forwarded and will be settled");
        }
        if let Some(noting) = noting {
            e.is_noted(id, noting, until, self.max_wait().mul_f64(NOTED_AFTER)).await;
        }
        Ok(guard)
    }

    fn sweep_soon(&self, reason: &'static str) {
        warn!(reason, "a sweep over Clouddriver's accounts is due");
        self.engine.sweep.ring();
    }
}

/// Writes an intent until its commit is known or nobody needs it any more.
async fn write_intent(engine: Arc<Engine>, change: Change, done: oneshot::Sender<()>) {
    let id = change.id;
    let pre = engine.pre_image_from(change.name.as_deref()).await;
    let new = NewIntent { id: id.to_string(), name: change.name.clone(), method: change.method.as_str(), epoch: engine.epoch() };
    // A connection that the server closed meanwhile fails at once, and so may the next one from the pool.
    let mut pause = Duration::from_millis(1);
    loop {
        match journal::insert_intent(engine.store.intents(), &new, &pre).await {
            Ok(()) => break,
            Err(e) => {
                engine.metrics.journal_errors.inc();
                if pause >= Duration::from_secs(1) {
                    warn!(error = %e, intent = %id, "an intent cannot be journalled yet");
                }
            }
        }
        if engine.registry.get(&id).is_none_or(|o| o.known == Known::Refused) {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)) => {}
            () = engine.cancel.cancelled() => return,
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
    crate::crash_point!("intent-journalled");
    let mut marked = false;
    loop {
        let mut mark = false;
        let own = engine.registry.update(&id, |own| {
            mark = own.late && !marked;
            if !mark {
                own.journalled = true;
                if own.late {
                    engine.unjournalled.fetch_sub(1, Ordering::AcqRel);
                }
            }
        });
        if !mark {
            match own {
                Some(own) if own.known != Known::Refused => {}
                // Refused meanwhile, or settled from memory and forgotten: nobody else ends this intent.
                _ => end_refused(&engine, id).await,
            }
            break;
        }
        // Whoever takes this over must not believe a pre-image that may have been read after the change; until that is in the
        // journal too, the change is not journalled.
        if journal::mark_late(engine.store.intents(), &id.to_string()).await.is_ok() {
            marked = true;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(200)) => {}
            () = engine.cancel.cancelled() => return,
        }
    }
    engine.noted_is_over(id);
    let _ = done.send(());
}

/// Ends the intent of a change that was certainly not done.
async fn end_refused(engine: &Arc<Engine>, id: Ulid) {
    let mut pause = Duration::from_millis(50);
    loop {
        match journal::delete_intent(engine.store.main(), &id.to_string()).await {
            Ok(()) => break,
            Err(e) => warn!(error = %e, intent = %id, "the intent of a refused change cannot be ended yet"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = engine.cancel.cancelled() => return,
        }
        pause = (pause * 2).min(Duration::from_secs(5));
    }
    engine.forget(&id);
}

/// One announced change. Dropped unfinished, its outcome is unknown.
pub struct OpenChange {
    engine: Arc<Engine>,
    id: Option<Ulid>,
    deadline: Duration,
    at: std::time::Instant,
}

impl OpenChange {
    fn conclude(&mut self, verdict: &Verdict) {
        let Some(id) = self.id.take() else { return };
        let engine = self.engine.clone();
        let Some(own) = engine.registry.finish(&id, verdict) else { return };
        crate::crash_point!("outcome-known");
        if own.known == Known::Refused {
            // Nothing was done, so nothing has to be known of it.
            engine.noted_is_over(id);
            // One that is still being written is ended by its writer.
            if own.journalled {
                let control = engine.control.clone();
                control.spawn(async move { end_refused(&engine, id).await });
            }
            return;
        }
        match own.name {
            Some(name) => engine.ring(&name),
            None => engine.sweep.ring(),
        }
    }
}

impl Ticket for OpenChange {
    fn may_forward(&self) -> bool {
        crate::crash_point!("before-forward");
        self.at.elapsed() < self.deadline
    }

    fn finish(mut self, verdict: Verdict) {
        self.conclude(&verdict);
    }
}

impl Drop for OpenChange {
    fn drop(&mut self) {
        self.conclude(&Verdict { outcome: Outcome::Unknown, name: None });
    }
}

/// Skips the wait for the journal after some misses in a row.
#[derive(Default)]
pub(super) struct Breaker {
    misses: std::sync::atomic::AtomicU32,
    opened: std::sync::Mutex<Option<std::time::Instant>>,
}

impl Breaker {
    fn is_open(&self) -> bool {
        if self.misses.load(Ordering::Relaxed) < BREAKER_MISSES {
            return false;
        }
        let mut opened = self.opened.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match *opened {
            Some(at) if at.elapsed() < BREAKER_PAUSE => true,
            // One change waits again, to see whether the journal is back.
            _ => {
                *opened = Some(std::time::Instant::now());
                false
            }
        }
    }

    fn hit(&self) {
        self.misses.store(0, Ordering::Relaxed);
    }

    fn miss(&self) {
        self.misses.fetch_add(1, Ordering::Relaxed);
    }
}

/// Writes the marker of a gap, synced to disk, before a change is forwarded that nothing else remembers.
pub(super) fn write_marker(dir: &Path) -> std::io::Result<()> {
    use std::io::Write as _;
    let path = dir.join(super::MARKER);
    if path.exists() {
        return Ok(());
    }
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
    let partial = dir.join(format!("{}.partial", super::MARKER));
    let mut file = std::fs::File::create(&partial)?;
    file.write_all(now.to_string().as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&partial, &path)?;
    std::fs::File::open(dir)?.sync_all()
}

impl Engine {
    /// The pre-image's place in the statement, or what a reading elsewhere says.
    pub(super) async fn pre_image_from(&self, name: Option<&str>) -> PreImageFrom {
        if self.same_database {
            return PreImageFrom::SameDatabase;
        }
        let Some(name) = name else { return PreImageFrom::Given("unknown", None, None) };
        match self.source.pre_image(name).await {
            SourcePreImage::None => PreImageFrom::Given("none", None, None),
            SourcePreImage::Row { created, modified } => PreImageFrom::Given("row", Some(created), Some(modified)),
            SourcePreImage::Unknown => PreImageFrom::Given("unknown", None, None),
        }
    }
}
