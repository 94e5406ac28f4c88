//! A pass over everything: sweeps for changes that name no account, and the looking after gaps.
//!
//! It walks Clouddriver's table in pages, then the mirror's, and calls `settle` for each name that does not look as it should. It
//! never writes by itself, holds no lock and no transaction, and compares names only as the databases do: a pair that does not
//! match to the letter is settled, and settling knows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tracing::{error, info, warn};
use ulid::Ulid;

use super::Method;
use super::decide::{Action, CLOCK_SKEW_MS, Gap, IntentFacts, Known, PreImage, Trigger};
use super::engine::{Engine, LADDER};
use super::settle::Error;
use crate::source::{Names, SourceRow};
use crate::store::mirrored::{self, PassRow};
use crate::store::{epochs, journal};

/// Rows read at a time.
const PAGE: u32 = 500;
/// Pause before a gap's pass comes back to a name that an open change kept from being decided.
const UNDECIDED_RETRY: Duration = Duration::from_secs(5);
/// Pause before a failed pass is tried again, at most.
const SLOWEST_RETRY: Duration = Duration::from_secs(15);

/// What a pass is for.
#[derive(Default)]
struct Purpose {
    /// Rows may have come in unjournalled.
    gap: Option<Gap>,
    /// A deletion may have gone unjournalled, or its name is not known.
    may_remove: bool,
    /// Intents that name no account.
    nameless: Vec<IntentFacts>,
}

/// What a pass found.
#[derive(Default, Debug)]
struct Found {
    rows: u64,
    settled: u64,
    poison: u64,
    drift: u64,
    conflicts: i64,
    removed: u32,
    held_back: u64,
    undecided: u64,
}

/// Passes when rung, until shutdown. The first comes at start: what this process cannot know is found then.
pub(super) async fn run(engine: Arc<Engine>) {
    engine.sweep.ring();
    let mut retry = Duration::from_millis(200);
    loop {
        tokio::select! {
            () = engine.sweep.bell.notified() => {}
            () = engine.cancel.cancelled() => return,
        }
        if !engine.registered.load(Ordering::Acquire) {
            // No epoch, no pass: what is seen could not be told from what is missed.
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(100)) => engine.sweep.bell.notify_one(),
                () = engine.cancel.cancelled() => return,
            }
            continue;
        }
        // While it runs it is still due, for whoever waits for rest.
        engine.passing.store(true, Ordering::Release);
        engine.sweep.due.store(false, Ordering::Release);
        match engine.pass_once().await {
            Ok(again) => {
                retry = Duration::from_millis(200);
                if let Some(pause) = again {
                    let engine = engine.clone();
                    engine.clone().tasks.spawn(async move {
                        tokio::select! {
                            () = tokio::time::sleep(pause) => engine.sweep.ring(),
                            () = engine.cancel.cancelled() => {}
                        }
                    });
                }
            }
            Err(e) => {
                warn!(error = %e, "a pass over Clouddriver's accounts broke off and is tried again");
                engine.sweep.due.store(true, Ordering::Release);
                tokio::select! {
                    () = tokio::time::sleep(retry) => engine.sweep.bell.notify_one(),
                    () = engine.cancel.cancelled() => return,
                }
                retry = (retry * 2).min(SLOWEST_RETRY);
            }
        }
        engine.passing.store(false, Ordering::Release);
    }
}

impl Engine {
    /// One pass for all that wait for one now. Answers when the next is due because of what is still open.
    async fn pass_once(self: &Arc<Self>) -> Result<Option<Duration>, Error> {
        let started = Instant::now();
        let db = self.store.main();
        let window = i64::try_from(self.settings.unknown_outcome_window.as_millis()).unwrap_or(i64::MAX);

        // Before the walk begins: only what is known now is explained by what the walk sees.
        let gaps = epochs::gaps(db).await?;
        let due: Vec<_> = gaps.iter().filter(|g| g.passes == 0 || (g.passes == 1 && g.now >= g.until.saturating_add(window))).collect();
        let now = journal::now(db).await?;
        let waiting = self.registry.waiting_for_sweep();
        let mut purpose = Purpose::default();
        if !due.is_empty() {
            // What the dead left open is settled first, so that a row is not taken for unjournalled that an intent explains.
            self.settle_the_dead().await?;
            let first = epochs::first_opened(db).await?.unwrap_or(0);
            let from = due.iter().map(|g| g.from).min().unwrap_or(now);
            purpose.gap = Some(Gap { since: from.saturating_sub(window).max(first).saturating_sub(CLOCK_SKEW_MS), ok_until: from });
            purpose.may_remove = true;
        }
        for i in journal::nameless_intents(db).await? {
            if let Some(f) = self.fact(&i, now, None).filter(|f| matches!(f.known, Known::Ok | Known::Unknown)) {
                purpose.nameless.push(f);
            }
        }
        for (id, own) in &waiting {
            if own.name.is_none() && !purpose.nameless.iter().any(|n| n.id == *id) {
                purpose.nameless.push(IntentFacts {
                    id: *id,
                    method: own.method,
                    pre: PreImage::Unknown,
                    late: own.late,
                    known: own.known,
                    past_window: own.announced.elapsed() >= self.settings.unknown_outcome_window,
                    created: now - i64::try_from(own.announced.elapsed().as_millis()).unwrap_or(0),
                });
            }
        }
        purpose.may_remove |= waiting.iter().any(|(_, o)| o.method == Method::Delete && o.known == Known::Ok);
        purpose.may_remove |= purpose.nameless.iter().any(|n| n.method == Method::Delete);

        let found = self.walk(&purpose).await?;

        if found.undecided == 0 {
            for gap in &due {
                epochs::passed(db, &gap.epoch, gap.passes).await?;
            }
        }
        self.end_nameless(&purpose.nameless).await?;
        for (id, own) in &waiting {
            self.registry.update(id, |o| o.swept = true);
            if let Some(name) = &own.name {
                self.ring(name);
            }
        }
        self.metrics.passes.inc();
        self.drift.store(found.drift, Ordering::Relaxed);
        self.metrics.drift.set(i64::try_from(found.drift).unwrap_or(i64::MAX));
        self.metrics.conflicts.set(found.conflicts);
        info!(
            rows = found.rows,
            settled = found.settled,
            poison = found.poison,
            drift = found.drift,
            removed = found.removed,
            gaps = due.len(),
            millis = started.elapsed().as_millis(),
            "passed over Clouddriver's accounts"
        );
        if found.held_back > 0 {
            self.metrics.deletes_held_back.inc_by(found.held_back);
            error!(
                held_back = found.held_back,
                max_deletes_per_pass = self.max_deletes,
                "Clouddriver lacks many mirrored accounts after a gap: beyond maxDeletesPerPass they stay and are shown as drift"
            );
        }
        let again = (found.undecided > 0).then_some(UNDECIDED_RETRY);
        Ok(self.next_sweep(&purpose.nameless).into_iter().chain(again).min())
    }

    /// Settles, one after the other, the names that dead replicas left open.
    async fn settle_the_dead(self: &Arc<Self>) -> Result<(), Error> {
        let own = self.epoch();
        let mut names = HashSet::new();
        for i in journal::unowned_intents(self.store.main(), &own, self.lease_ms(), 10_000).await? {
            let ours = i.id.parse::<Ulid>().is_ok_and(|id| self.registry.get(&id).is_some());
            if let (false, Some(name)) = (ours, i.name) {
                names.insert(name);
            }
        }
        for name in names {
            self.settle(&name, Trigger::Intents, &[]).await?;
        }
        Ok(())
    }

    /// Ends the intents without a name that this pass has served: acknowledged ones, and those past their window.
    async fn end_nameless(&self, nameless: &[IntentFacts]) -> Result<(), Error> {
        for n in nameless {
            if n.known == Known::Ok || n.past_window {
                journal::delete_intent(self.store.main(), &n.id.to_string()).await?;
                self.forget(&n.id);
            } else {
                self.registry.update(&n.id, |o| {
                    o.attempts += 1;
                    o.swept = true;
                });
            }
        }
        Ok(())
    }

    /// Unknown outcomes without a name: a few sweeps while their window lasts, and one at its end.
    fn next_sweep(&self, nameless: &[IntentFacts]) -> Option<Duration> {
        let open: Vec<_> = nameless.iter().filter(|n| n.known == Known::Unknown && !n.past_window).collect();
        if open.is_empty() {
            return None;
        }
        for n in &open {
            self.registry.update(&n.id, |o| o.swept = false);
        }
        let attempts = open.iter().filter_map(|n| self.registry.get(&n.id)).map(|o| o.attempts).min().unwrap_or(u32::MAX) as usize;
        let window = self.settings.unknown_outcome_window;
        Some(
            LADDER
                .get(attempts + 1)
                .copied()
                .unwrap_or((window / 4).clamp(Duration::from_millis(200), Duration::from_secs(240)))
                .min(window),
        )
    }

    async fn walk(self: &Arc<Self>, purpose: &Purpose) -> Result<Found, Error> {
        let mut found = Found::default();
        // Eight bytes for a row of Clouddriver's: a million accounts are some megabytes for the time of a pass.
        let mut present = Names::default();
        let mut after: Option<String> = None;
        loop {
            let page = self.source.page(after.as_deref(), PAGE).await?;
            found.rows += page.raw_count as u64;
            for p in &page.poison {
                found.poison += 1;
                present.put(&p.id);
                self.metrics.poison.inc();
                warn!(account = p.id, reason = p.reason, "a row of Clouddriver's cannot be mirrored");
            }
            let ids: Vec<&str> = page.rows.iter().map(|r| r.id.as_str()).collect();
            let mirrored = mirrored::of_names(&self.store, &ids).await?;
            let by_name: HashMap<&str, &PassRow> = mirrored.iter().map(|m| (m.name.as_str(), m)).collect();
            let unseen = self.unseen(&page.rows, purpose, &by_name).await?;
            for row in &page.rows {
                if row.is_kubernetes() {
                    present.put(&row.id);
                }
                let wanted = match by_name.get(row.id.as_str()) {
                    Some(m) => self.looks_wrong(row, m),
                    None => unseen.contains(row.id.as_str()),
                };
                if wanted {
                    self.settle_in_pass(&row.id, purpose, &mut found).await?;
                }
                if let Some(m) = by_name.get(row.id.as_str()) {
                    found.conflicts += i64::from(row.is_kubernetes() && !m.origin.follows_clouddriver());
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
            if self.cancel.is_cancelled() {
                return Err(Error::Stopped);
            }
        }
        let (present, mut after) = (present.sorted(), None::<String>);
        loop {
            let page = mirrored::page(&self.store, after.as_deref(), PAGE).await?;
            for m in &page {
                if m.origin.follows_clouddriver() && !present.has(&m.name) {
                    self.settle_in_pass(&m.name, purpose, &mut found).await?;
                }
            }
            let Some(last) = page.last().map(|m| m.name.clone()) else { break };
            if page.len() < PAGE as usize {
                break;
            }
            if self.cancel.is_cancelled() {
                return Err(Error::Stopped);
            }
            after = Some(last);
        }
        Ok(found)
    }

    /// Whether a row does not look as Clouddriver's does, so that settling has to look at it.
    pub(crate) fn looks_wrong(&self, row: &SourceRow, m: &PassRow) -> bool {
        if !m.origin.follows_clouddriver() {
            return false;
        }
        if !row.is_kubernetes() || m.incarnation != Some(row.incarnation.0) {
            return true;
        }
        let theirs = row.definition();
        let ours = self.store.open_definition(&m.name, &m.definition.0);
        match (theirs, ours) {
            (Some(t), Ok(o)) => m.mode == self.source.mode() && t != o,
            // No object: poison, which settling tells. A definition that cannot be opened is written anew.
            (None, _) | (_, Err(_)) => true,
        }
    }

    /// Rows that the mirror lacks and that this pass may bring in: nobody has seen this life of theirs yet.
    async fn unseen<'r>(
        &self,
        rows: &'r [SourceRow],
        purpose: &Purpose,
        mirrored: &HashMap<&str, &PassRow>,
    ) -> Result<HashSet<&'r str>, Error> {
        let posts = purpose.nameless.iter().filter(|n| n.method == Method::Post).map(|n| n.created.saturating_sub(CLOCK_SKEW_MS)).min();
        let Some(since) = [purpose.gap.map(|g| g.since), posts].into_iter().flatten().min() else { return Ok(HashSet::new()) };
        let young: Vec<&SourceRow> =
            rows.iter().filter(|r| r.is_kubernetes() && r.incarnation.0 >= since && !mirrored.contains_key(r.id.as_str())).collect();
        let names: Vec<&str> = young.iter().map(|r| r.id.as_str()).collect();
        let seen: HashMap<String, (Option<i64>, Option<i64>)> =
            mirrored::seen_of(&self.store, &names).await?.into_iter().map(|(n, inc, at)| (n, (inc, at))).collect();
        Ok(young
            .into_iter()
            .filter(|r| {
                let (inc, at) = seen.get(&r.id).copied().unwrap_or_default();
                inc != Some(r.incarnation.0) || purpose.gap.is_some_and(|g| at.unwrap_or(i64::MAX) > g.ok_until)
            })
            .map(|r| r.id.as_str())
            .collect())
    }

    async fn settle_in_pass(self: &Arc<Self>, name: &str, purpose: &Purpose, found: &mut Found) -> Result<(), Error> {
        let may_remove = purpose.may_remove && found.removed < self.max_deletes;
        let trigger = Trigger::Pass { gap: purpose.gap, may_remove };
        let nameless: Vec<IntentFacts> = purpose.nameless.iter().filter(|n| n.method == Method::Post).copied().collect();
        let settled = self.settle(name, trigger, &nameless).await?;
        found.settled += 1;
        found.undecided += u64::from(settled.undecided);
        match settled.action {
            Action::Remove => found.removed += 1,
            Action::Keep if settled.drift => {
                found.drift += 1;
                found.held_back += u64::from(purpose.may_remove && !may_remove);
            }
            _ => {}
        }
        Ok(())
    }
}
