//! Many names of one request: settled, and taken over from Clouddriver, by few statements.
//!
//! Only what has nothing open is done here; a name of which something is open, or that others are at, is settled alone
//! ([`Engine::take`]). For the others the order is that of [`super::settle`]: generations first, then Clouddriver's rows, then one
//! transaction that takes the names whose generations are still the same and evaluates the table of [`super::decide`] for each.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::Value;
use tracing::{debug, info, warn};

use super::decide::{Action, Decision, Known, MirrorFacts, NameFacts, RowFacts, Trigger, decide};
use super::engine::Engine;
use super::settle::Error;
use super::take::{Take, Taken};
use crate::account::Incarnation;
use crate::source::{Reading, SourceRow};
use crate::store::journal::NameNotes;
use crate::store::mirrored::{self, Entering, MirrorRow, NewRow};
use crate::store::names;

/// Names that are settled at once for one request.
const AT_ONCE: usize = 6;

/// What becomes of one name in the transaction.
struct Fate {
    taken: Taken,
    decision: Decision,
    notes: NameNotes,
    entering: Option<Entering>,
}

impl Engine {
    /// As [`Engine::settle_open`] for many names; the bound is that of them all.
    pub async fn settle_open_all(self: &Arc<Self>, names: &[&str], bound: Duration) {
        let open = async {
            let mut open = names::open(self.store.main(), names).await.unwrap_or_default();
            open.extend(self.registry.among(names, |own| matches!(own.known, Known::Ok | Known::Unknown)));
            // As the intents spell them: it is the same account.
            let open: Vec<String> = open.into_iter().collect();
            for some in open.chunks(AT_ONCE) {
                let settled: Vec<_> = some.iter().map(|name| self.settle(name, Trigger::Intents, &[])).collect();
                let _ = join_all(settled).await;
            }
        };
        let _ = tokio::time::timeout(bound, open).await;
    }

    /// As [`Engine::take`] for some hundred names, each once, in one transaction. `None`: this one is to be taken alone.
    ///
    /// # Errors
    /// As [`Engine::take`], for all of them together. With the same [`Take`]s they can be asked for again.
    pub async fn take_all(&self, asked: &[(&str, &Take)]) -> Result<Vec<Option<Taken>>, Error> {
        let db = self.store.main();
        let all: Vec<&str> = asked.iter().map(|(name, _)| *name).collect();
        let generations = names::generations(db, &all).await?;
        let mut open = names::open(db, &all).await?;
        open.extend(self.registry.among(&all, |_| true));
        let here: HashSet<&str> = all.iter().copied().collect();
        if open.iter().any(|name| !here.contains(name.as_str())) {
            // Another spelling of one of these: which, only the database can tell.
            return Ok(vec![None; asked.len()]);
        }
        // What a user did by hand is looked for alone.
        let is_plain = |name: &str, take: &Take| !take.respects_hand && generations.contains_key(name) && !open.contains(name);
        let plain: Vec<(&str, &Take)> = asked.iter().copied().filter(|(name, take)| is_plain(name, take)).collect();
        let plain_names: Vec<&str> = plain.iter().map(|(name, _)| *name).collect();
        crate::crash_point!("settle-snapshot");
        let readings = self.source.read_all(&plain_names).await?;
        crate::crash_point!("settle-read");
        let mut read: HashMap<&str, (&Take, Reading)> = HashMap::with_capacity(plain.len());
        let mut taken: HashMap<&str, Taken> = HashMap::new();
        for ((name, take), reading) in plain.iter().zip(readings) {
            match reading {
                None => {}
                Some(Reading::Unknown(reason)) => {
                    debug!(account = name, reason, "Clouddriver does not say whether the account is there");
                    taken.insert(name, Taken::Unreadable);
                }
                Some(reading) => drop(read.insert(name, (take, reading))),
            }
        }
        let fates = self.decide_all(&read, &generations).await?;
        for (name, fate) in fates {
            self.after_commit(name, &fate.decision, true, &[]);
            if fate.taken == Taken::Entered && fate.decision.action != Action::Keep {
                info!(account = name, "entered the mirror");
            }
            taken.insert(name, fate.taken);
        }
        Ok(all.iter().map(|name| taken.get(name).copied()).collect())
    }

    /// The transaction. What is not in the answer is to be taken alone.
    async fn decide_all<'r>(
        &self,
        read: &HashMap<&'r str, (&Take, Reading)>,
        generations: &HashMap<String, i64>,
    ) -> Result<Vec<(&'r str, Fate)>, Error> {
        let mut order: Vec<&str> = read.keys().copied().collect();
        if order.is_empty() {
            return Ok(Vec::new());
        }
        order.sort_unstable();
        let db = self.store.main();
        let expected: HashMap<&str, i64> = order.iter().filter_map(|name| Some((*name, *generations.get(*name)?))).collect();
        let mut tx = db.begin().await?;
        let noted = names::take(db, &mut tx, &expected).await?;
        let rows = mirrored::load_all(&self.store, &mut tx, &order).await?;
        let open = names::open_now(db, &mut tx, &order).await?;
        if rows.iter().map(|m| m.name.as_str()).chain(open.iter().map(String::as_str)).any(|name| !read.contains_key(name)) {
            // Another spelling, as above.
            tx.rollback().await;
            return Ok(Vec::new());
        }
        let rows: HashMap<&str, &MirrorRow> = rows.iter().map(|m| (m.name.as_str(), m)).collect();
        let mut fates = Vec::with_capacity(order.len());
        for name in order {
            let Some((name, (take, reading))) = read.get_key_value(name) else { continue };
            let Some((notes, at)) = noted.get(*name).filter(|_| !open.contains(*name)) else { continue };
            if let Some(fate) = self.fate(name, take, reading, rows.get(name).copied(), notes, *at) {
                fates.push((*name, fate));
            }
        }
        let notes: Vec<(&str, NameNotes)> = fates.iter().map(|(name, fate)| (*name, fate.notes.clone())).collect();
        let entering: Vec<Entering> = fates.iter_mut().filter_map(|(_, fate)| fate.entering.take()).collect();
        if notes.is_empty() {
            tx.rollback().await;
            return Ok(fates);
        }
        if !entering.is_empty() {
            mirrored::insert_all(&self.store, &mut tx, entering).await?;
        }
        // The names are locked already: they come last so that their statement holds what the decisions noted.
        names::note(db, &mut tx, &notes).await?;
        crate::crash_point!("settle-before-commit");
        tx.commit().await?;
        crate::crash_point!("settle-committed");
        Ok(fates)
    }

    /// What the table says of one name, of which nothing is open. `None`: more than entering is to be done.
    fn fate(&self, name: &str, take: &Take, reading: &Reading, m: Option<&MirrorRow>, notes: &NameNotes, at: i64) -> Option<Fate> {
        let row = match reading {
            Reading::Present(row) => Some(row),
            Reading::Absent | Reading::Unknown(_) => None,
        };
        let definition = match row.filter(|r| r.is_kubernetes()).map(SourceRow::definition) {
            Some(Some(definition)) => Some(definition),
            // Told as settling tells it.
            Some(None) => return None,
            None => None,
        };
        let differs = matches!((&definition, m), (Some(d), Some(m)) if !self.same_definition(m, d));
        let facts = row.map(|r| RowFacts { incarnation: r.incarnation, modified: r.modified, kubernetes: r.is_kubernetes(), differs });
        let mirror =
            m.map(|m| MirrorFacts { origin: m.origin, incarnation: m.incarnation.map(Incarnation), sent: m.sent, deleting: m.deleting });
        let name_facts = NameFacts {
            claimed: notes.claimed.map(Incarnation),
            seen: notes.seen.map(Incarnation),
            seen_at: notes.seen_at.unwrap_or(i64::MAX),
        };
        let decision = decide(facts.as_ref(), mirror.as_ref(), &name_facts, &[], &[], Trigger::Take);
        let (taken, entering) = match (decision.action, m) {
            (Action::Insert { after_gap: false }, _) => (Taken::Entered, Some(self.entering(row?, definition.as_ref()?, take)?)),
            // By a try of ours whose commit was not known to be done.
            (Action::Keep, Some(m)) if m.generation == take.generation() => (Taken::Entered, None),
            (Action::Keep, Some(_)) => (Taken::There, None),
            (Action::Keep, None) => (Taken::Absent, None),
            _ => return None,
        };
        let mut notes = notes.clone();
        if let (true, Some(r)) = (decision.claims, row.filter(|r| r.is_kubernetes())) {
            notes.claimed = Some(r.incarnation.0);
        }
        if let Some(r) = row.filter(|r| notes.seen != Some(r.incarnation.0)) {
            (notes.seen, notes.seen_at) = (Some(r.incarnation.0), Some(at));
        }
        debug_assert!(!decision.again && decision.ended.is_empty() && !decision.put_made_it, "{name}: nothing is open");
        Some(Fate { taken, decision, notes, entering })
    }

    /// `None`: it cannot be stored as it is, which settling tells.
    fn entering(&self, row: &SourceRow, definition: &Value, take: &Take) -> Option<Entering> {
        let new = NewRow {
            name: &row.id,
            origin: take.origin,
            incarnation: row.incarnation.0,
            status: take.status,
            mode: self.source.mode(),
            after_gap: false,
            definition,
            zone: take.zone.as_deref(),
            overlay: take.overlay.as_ref(),
            generation: take.generation(),
        };
        mirrored::seal(&self.store, &new).inspect_err(|e| warn!(account = row.id, error = %e, "it is looked at alone")).ok()
    }
}
