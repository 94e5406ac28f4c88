//! `settle(name)`: the one function that writes the mirror from Clouddriver.
//!
//! 1. Read the name's generation and its open intents, with what is known of their outcomes *now*.
//! 2. Read Clouddriver's row after that, with nothing locked and no transaction open.
//! 3. In one transaction: take the name if its generation is still the same (else start again), evaluate the table of
//!    [`super::decide`], apply it, end the intents that it ends.
//!
//! An intent is ended only by a reading that began after its outcome was known: whatever became known later is not in the
//! snapshot. A reading is never applied after a newer one, because the newer one changed the generation. Done twice, nothing
//! happens twice, because every line of the table is about an incarnation; so an unknown commit simply starts again.

use std::time::Duration;

use serde_json::Value;
use tracing::{debug, info, warn};
use ulid::Ulid;

use super::Method;
use super::decide::{Action, Decision, IntentFacts, Known, MirrorFacts, NameFacts, PreImage, RowFacts, Trigger, decide};
use super::engine::Engine;
use super::take::{Take, Taken};
use crate::account::{Incarnation, Origin, Status};
use crate::source::{self, Reading, SourceRow};
use crate::store::hand;
use crate::store::journal::{self, IntentRow, NameSnapshot};
use crate::store::mirrored::{self, MirrorRow, NewRow};

/// Starts again, in all, before the name is left to its next turn.
const MAX_ROUNDS: u32 = 64;

/// What an applied reading did.
#[derive(Debug)]
pub struct Settled {
    /// What happened to the mirror's row.
    pub action: Action,
    /// Linked, and Clouddriver does not have it, and no deletion went through us.
    pub drift: bool,
    /// A row of Fairlead's or an agent's own, and Clouddriver has the name too.
    pub conflict: bool,
    /// A pass after a gap has to come back to this name.
    pub undecided: bool,
    /// Clouddriver's API could not tell whether the account is there.
    pub unreadable: bool,
    /// Open intents for which this was the reading that showed nothing of them.
    pub unexplained: Vec<Ulid>,
    /// What it was for whoever asked for the account by its name.
    pub taken: Taken,
}

/// Why a settling has to be tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own database.
    #[error("the mirror: {0}")]
    Store(#[from] crate::store::Error),
    /// Clouddriver's accounts.
    #[error("Clouddriver's accounts: {0}")]
    Source(#[from] source::Error),
    /// A definition could not be sealed or opened.
    #[error("the mirrored definition: {0}")]
    Definition(#[from] mirrored::WriteError),
    /// The process is ending.
    #[error("stopped")]
    Stopped,
    /// Others were always faster.
    #[error("the account is being settled elsewhere all the time")]
    Busy,
}

enum Round {
    Done(Settled),
    Again { lost_race: bool },
}

impl Engine {
    /// Reads what Clouddriver stores under a name and makes the mirror agree. `extra`: intents that name no account and may have made
    /// this row.
    ///
    /// # Errors
    /// [`Error`]: nothing was changed, or it is not known whether it was; settle again.
    ///
    /// Dropped half-way, the transaction is rolled back or was done; both are fine.
    pub(super) async fn settle(&self, name: &str, trigger: Trigger, extra: &[IntentFacts]) -> Result<Settled, Error> {
        self.settle_with(name, trigger, extra, None).await
    }

    /// As [`Engine::settle`]; with [`Trigger::Take`], `take` says how the account enters.
    pub(super) async fn settle_with(
        &self,
        name: &str,
        trigger: Trigger,
        extra: &[IntentFacts],
        take: Option<&Take>,
    ) -> Result<Settled, Error> {
        for _ in 0..MAX_ROUNDS {
            match self.settle_once(name, trigger, extra, take).await {
                Ok(Round::Done(settled)) => return Ok(settled),
                Ok(Round::Again { lost_race: true }) => self.metrics.lost_races.inc(),
                Ok(Round::Again { lost_race: false }) => continue,
                Err(Error::Store(e)) if e.is_contention() => self.metrics.lost_races.inc(),
                Err(e) => return Err(e),
            };
            tokio::time::sleep(Duration::from_micros(fastrand::u64(500..8_000))).await;
        }
        Err(Error::Busy)
    }

    async fn settle_once(&self, name: &str, trigger: Trigger, extra: &[IntentFacts], take: Option<&Take>) -> Result<Round, Error> {
        let db = self.store.main();
        let snapshot = journal::snapshot(db, name).await?;
        let (mut intents, own) = self.facts(name, &snapshot);
        let journalled: Vec<Ulid> = snapshot.intents.iter().filter_map(|i| i.id.parse().ok()).collect();
        intents.extend_from_slice(extra);
        crate::crash_point!("settle-snapshot");
        // After the snapshot, and with nothing of ours open: what is read holds for each outcome that the snapshot knows.
        let reading = self.source.read(name).await?;
        crate::crash_point!("settle-read");
        let row = match reading {
            Reading::Present(row) => Some(row),
            Reading::Absent => None,
            Reading::Unknown(reason) => {
                debug!(account = name, reason, "Clouddriver does not say whether the account is there");
                self.count_attempts(&own);
                // By the API an account whose secret does not resolve today may show itself tomorrow; by SQL it is poison.
                if self.source.mode() == "sql" {
                    let past = |i: &&IntentFacts| i.known == Known::Unknown && i.past_window;
                    let end: Vec<String> = intents.iter().filter(past).map(|i| i.id.to_string()).collect();
                    self.end_without_reading(&end).await?;
                }
                return Ok(Round::Done(Settled {
                    action: Action::Keep,
                    drift: false,
                    conflict: false,
                    undecided: false,
                    unreadable: true,
                    unexplained: vec![],
                    taken: Taken::Unreadable,
                }));
            }
        };
        let definition = match row.as_ref().filter(|r| r.is_kubernetes()).map(SourceRow::definition) {
            Some(Some(v)) => Some(v),
            Some(None) => return self.poison(name, "it is no JSON object that can be read", &own, &intents).await,
            None => None,
        };

        let mut tx = db.begin().await?;
        let Some((noted, taken_at)) = journal::take_name(db, &mut tx, name, snapshot.generation).await? else {
            tx.rollback().await;
            return Ok(Round::Again { lost_race: true });
        };
        let m = mirrored::load(&self.store, &mut tx, name).await?;
        let name_facts = NameFacts {
            claimed: noted.claimed.map(Incarnation),
            seen: noted.seen.map(Incarnation),
            seen_at: noted.seen_at.unwrap_or(i64::MAX),
        };
        // Here and not in the snapshot: one that was announced since then counts as well, and one that was ended since then does not.
        let open_now: Vec<(Ulid, Method)> = journal::open_now(db, &mut tx, name)
            .await?
            .iter()
            .filter_map(|(id, method)| Some((id.parse().ok()?, Method::parse(method)?)))
            .collect();
        intents.retain(|i| !journalled.contains(&i.id) || open_now.iter().any(|(id, _)| *id == i.id));
        let differs = match (&definition, &m) {
            (Some(d), Some(m)) => !self.same_definition(m, d),
            _ => false,
        };
        let row_facts =
            row.as_ref().map(|r| RowFacts { incarnation: r.incarnation, modified: r.modified, kubernetes: r.is_kubernetes(), differs });
        let m_facts = m.as_ref().map(|m| MirrorFacts {
            origin: m.origin,
            incarnation: m.incarnation.map(Incarnation),
            sent: m.sent,
            deleting: m.deleting,
        });
        // After the row, which is written together with it.
        let by_hand = m.is_none() && take.is_some_and(|t| t.respects_hand) && !hand::of_in(&self.store, &mut tx, &[name]).await?.is_empty();
        // Then only what is open of it is settled: a POST takes it again.
        let (trigger, take) = if by_hand { (Trigger::Intents, None) } else { (trigger, take) };
        let decision = decide(row_facts.as_ref(), m_facts.as_ref(), &name_facts, &intents, &open_now, trigger);
        let taken = match (decision.action, &m, take) {
            (Action::Insert { .. }, ..) => Taken::Entered,
            // By a round of ours whose commit was not known to be done.
            (_, Some(m), Some(take)) if m.generation == take.generation() => Taken::Entered,
            (_, Some(_), _) => Taken::There,
            (_, None, _) if by_hand => Taken::ByHand,
            (_, None, _) => Taken::Absent,
        };
        let gone = match self.apply(&mut tx, name, row.as_ref(), definition.as_ref(), m.as_ref(), &decision, take).await {
            // The row is what it is: trying again would not make it smaller.
            Err(Error::Definition(e @ mirrored::WriteError::Unstorable(_))) => {
                tx.rollback().await;
                return self.poison(name, &e.to_string(), &own, &intents).await;
            }
            Err(Error::Definition(mirrored::WriteError::Database(e))) => return Err(Error::Store(e)),
            other => other?,
        };
        let k = row_facts.filter(|r| r.kubernetes);
        let mut note = noted.clone();
        if let (true, Some(k)) = (decision.claims, k) {
            note.claimed = Some(k.incarnation.0);
        }
        if let Some(r) = &row_facts {
            if note.seen != Some(r.incarnation.0) {
                // A time after the reading: what is older than it may still have been on its way when the row was read.
                (note.seen, note.seen_at) = (Some(r.incarnation.0), Some(taken_at));
            }
            if decision.put_made_it {
                note.seen_at = Some(0);
            }
        }
        if note != noted {
            journal::note_name(&mut tx, name, &note).await?;
        }
        let ended: Vec<String> = decision.ended.iter().map(Ulid::to_string).collect();
        journal::end_intents(&mut tx, &ended).await?;
        crate::crash_point!("settle-before-commit");
        if let Err(e) = tx.commit().await {
            // Done or not: the next round finds out.
            if e.is_transient() {
                debug!(error = %e, account = name, "a settling's commit is not known to be done");
                return Ok(Round::Again { lost_race: true });
            }
            return Err(e.into());
        }
        crate::crash_point!("settle-committed");
        let left = decision.action != Action::Remove || gone || m.as_ref().is_some_and(|m| !m.deleting);
        self.after_commit(name, &decision, left, &own);
        // Where agents have to let go first, dispatch rings when the row is gone.
        if decision.again && gone {
            return Ok(Round::Again { lost_race: false });
        }
        let unexplained = intents
            .iter()
            .filter(|i| i.known == Known::Ok && !decision.ended.contains(&i.id) && !decision.held.contains(&i.id))
            .map(|i| i.id)
            .collect();
        Ok(Round::Done(Settled {
            action: decision.action,
            drift: decision.drift,
            conflict: decision.conflict,
            undecided: decision.undecided || (decision.again && !gone),
            unreadable: false,
            unexplained,
            taken,
        }))
    }

    /// The open intents of a name as they are known now, and which of them are our own.
    fn facts(&self, name: &str, snapshot: &NameSnapshot) -> (Vec<IntentFacts>, Vec<Ulid>) {
        let mut facts = Vec::new();
        let mut own_ids = Vec::new();
        for i in &snapshot.intents {
            if let Some(f) = self.fact(i, snapshot.now, Some(name)) {
                if self.registry.get(&f.id).is_some() {
                    own_ids.push(f.id);
                }
                facts.push(f);
            }
        }
        // Ours that are not in the journal under this name: written late, or named by the answer only.
        for (id, own) in self.registry.of_name(name) {
            if facts.iter().any(|f| f.id == id) {
                continue;
            }
            own_ids.push(id);
            facts.push(IntentFacts {
                id,
                method: own.method,
                pre: PreImage::Unknown,
                late: own.late,
                known: own.known,
                past_window: own.announced.elapsed() >= self.settings.unknown_outcome_window,
                created: snapshot.now - i64::try_from(own.announced.elapsed().as_millis()).unwrap_or(0),
            });
        }
        (facts, own_ids)
    }

    /// What an intent of the journal is worth. With `name`, one of ours that the answer gave another name is left to that name.
    pub(super) fn fact(&self, i: &IntentRow, now: i64, name: Option<&str>) -> Option<IntentFacts> {
        let (id, method) = (i.id.parse::<Ulid>().ok()?, Method::parse(&i.method)?);
        let pre = match (i.pre_state.as_str(), i.pre_created) {
            ("none", _) => PreImage::None,
            ("row" | "late", Some(created)) => PreImage::Row { incarnation: Incarnation(created), modified: i.pre_modified },
            _ => PreImage::Unknown,
        };
        let late = i.pre_state == "late";
        let window = i64::try_from(self.settings.unknown_outcome_window.as_millis()).unwrap_or(i64::MAX);
        let lease = i64::try_from(self.replica.lease.as_millis()).unwrap_or(i64::MAX);
        let past_window = now - i.created >= window;
        let (known, late) = match self.registry.get(&id) {
            Some(own) => {
                let elsewhere = name.is_some_and(|n| own.confirmed && own.name.as_deref() != Some(n) && i.name.as_deref() == Some(n));
                (if elsewhere { Known::Pending } else { own.known }, own.late || late)
            }
            // Ours by its epoch and not in memory: forgotten, or ended while a late write was still on its way.
            None if i.epoch == self.epoch() => (Known::Unknown, late),
            None if i.owner_alive.is_some_and(|alive| alive > now - lease) => (Known::Pending, late),
            None => (Known::Unknown, late),
        };
        Some(IntentFacts { id, method, pre, late, known, past_window, created: i.created })
    }

    pub(super) fn same_definition(&self, m: &MirrorRow, definition: &Value) -> bool {
        // Values as the API shows them are decrypted: they are never held against those of the table.
        m.mode == self.source.mode() && self.store.open_definition(&m.name, &m.definition).is_ok_and(|v| v == *definition)
    }

    #[allow(clippy::too_many_arguments)]
    async fn apply(
        &self,
        tx: &mut crate::store::db::Tx<'_>,
        name: &str,
        row: Option<&SourceRow>,
        definition: Option<&Value>,
        m: Option<&MirrorRow>,
        decision: &Decision,
        take: Option<&Take>,
    ) -> Result<bool, Error> {
        let status = if self.settings.activate { Status::ToMigrate } else { Status::Inactive };
        let mut gone = false;
        if let (Action::Remove | Action::Replace, Some(m)) = (decision.action, m) {
            let deleted = !row.is_some_and(SourceRow::is_kubernetes);
            gone = mirrored::remove(&self.store, tx, m, deleted).await?;
            if gone {
                info!(account = m.name, "left the mirror");
            } else if !m.deleting {
                info!(account = m.name, "leaves the mirror when its agents have let go of it");
            }
        }
        let (Some(row), Some(definition)) = (row, definition) else { return Ok(gone) };
        match decision.action {
            Action::Insert { .. } | Action::Replace => {
                let after_gap = decision.action == Action::Insert { after_gap: true };
                let take = take.filter(|_| decision.action != Action::Replace);
                let new = NewRow {
                    name: &row.id,
                    origin: take.map_or(Origin::Interceptor, |t| t.origin),
                    incarnation: row.incarnation.0,
                    // After a gap nobody acknowledged it to us, so nothing goes on by itself.
                    status: take.map_or(if after_gap { Status::Inactive } else { status }, |t| t.status),
                    mode: self.source.mode(),
                    after_gap,
                    definition,
                    zone: take.and_then(|t| t.zone.as_deref()),
                    overlay: take.and_then(|t| t.overlay.as_ref()),
                    generation: take.map_or_else(journal::fresh_generation, Take::generation),
                };
                mirrored::insert(&self.store, tx, &new).await?;
                info!(account = row.id, origin = new.origin.as_str(), after_gap, "entered the mirror");
            }
            Action::Update | Action::Relink => {
                if let Some(m) = m {
                    let changed = !self.same_definition(m, definition) && m.mode == self.source.mode();
                    mirrored::update(&self.store, tx, m, row.incarnation.0, self.source.mode(), definition, changed).await?;
                    info!(account = name, relinked = decision.action == Action::Relink, "definition updated");
                }
            }
            Action::Keep | Action::Remove => {}
        }
        Ok(gone)
    }

    pub(super) fn after_commit(&self, name: &str, decision: &Decision, left: bool, own: &[Ulid]) {
        self.metrics.settles.inc();
        match decision.action {
            Action::Insert { .. } => drop(self.metrics.inserted.inc()),
            Action::Replace => {
                self.metrics.removed.inc();
                self.metrics.inserted.inc();
            }
            Action::Update | Action::Relink => drop(self.metrics.updated.inc()),
            Action::Remove if left => drop(self.metrics.removed.inc()),
            Action::Remove | Action::Keep => {}
        }
        if decision.action != Action::Keep {
            self.tell_changed();
        }
        if decision.conflict {
            warn!(account = name, "Clouddriver has an account of a name that Fairlead or an agent owns; it is left alone");
        }
        for id in &decision.ended {
            if let Some(at) = self.registry.get(id).and_then(|o| o.finished) {
                self.metrics.lag.observe(at.elapsed().as_secs_f64());
            }
            self.forget(id);
        }
        let left: Vec<Ulid> = own.iter().filter(|id| !decision.ended.contains(id) && !decision.held.contains(id)).copied().collect();
        self.count_attempts(&left);
        // What waits for others is read again, ever more slowly, and never given up.
        for id in &decision.held {
            self.registry.update(id, |o| o.attempts = (o.attempts + 1).min(super::LADDER_STEPS));
        }
    }

    fn count_attempts(&self, own: &[Ulid]) {
        for id in own {
            self.registry.update(id, |o| {
                if matches!(o.known, Known::Ok | Known::Unknown) {
                    o.attempts += 1;
                }
            });
        }
    }

    /// A row that cannot be mirrored as it is changes nothing there: told, and its acknowledged intents end.
    async fn poison(&self, name: &str, reason: &str, own: &[Ulid], intents: &[IntentFacts]) -> Result<Round, Error> {
        self.metrics.poison.inc();
        warn!(account = name, reason, "Clouddriver's definition of the account cannot be mirrored");
        self.count_attempts(own);
        let end: Vec<String> = intents
            .iter()
            .filter(|i| i.known == Known::Ok || (i.known == Known::Unknown && i.past_window))
            .map(|i| i.id.to_string())
            .collect();
        self.end_without_reading(&end).await?;
        Ok(Round::Done(Settled {
            action: Action::Keep,
            drift: false,
            conflict: false,
            undecided: false,
            unreadable: true,
            unexplained: vec![],
            taken: Taken::Unreadable,
        }))
    }

    async fn end_without_reading(&self, ids: &[String]) -> Result<(), Error> {
        for id in ids {
            journal::delete_intent(self.store.main(), id).await?;
            if let Ok(id) = id.parse() {
                self.forget(&id);
            }
        }
        Ok(())
    }
}
