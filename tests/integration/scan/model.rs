//! The rules against the most naive model of them: histories of what Clouddriver, users and scans do, in any order, on real engines.
//!
//! The model is what `docs/scanner.md` says, one sentence each, on plain maps; it knows nothing of pages, transactions, revisions or journals.
//! After each step the mirror has to be the model's, and after each scan its report too. `FAIRLEAD_SCAN_SEED=N` repeats one history.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use fairlead::dispatch::desk::Outcome;
use fairlead::lifecycle::Wanted;
use fairlead::scan::Report;
use fairlead::store::Store;

use super::rig::{Replica, World, settings};
use crate::support::databases::SERVERS;

const NAMES: [&str; 6] = ["a1", "a2", "a3", "b1", "b2", "c"];
/// What a scan may be told to take.
const PATTERNS: [&[&str]; 4] = [&["a.*"], &["a.*", "b1"], &[".*"], &["nothing"]];
const STEPS: usize = 60;
const MAX_DELETES: u32 = 2;

/// What Clouddriver has of a name.
#[derive(Clone, Debug, PartialEq)]
struct Theirs {
    kubernetes: bool,
    readable: bool,
    note: u32,
    life: i64,
}

/// What the mirror is to have of it.
#[derive(Clone, Debug, PartialEq)]
struct Ours {
    status: &'static str,
    origin: &'static str,
    /// Of Clouddriver's definition; an account that was made here has none.
    seen: Option<(u32, i64)>,
}

#[derive(Clone, Debug)]
enum Step {
    /// Clouddriver stores it: with the same life or a new one, readable or not, of this type.
    Stores {
        name: &'static str,
        kubernetes: bool,
        readable: bool,
        same_life: bool,
    },
    /// Clouddriver has it no more.
    Drops(&'static str),
    /// A user's POST.
    Takes(&'static str),
    /// A user's PATCH or DELETE.
    Wants(&'static str, Wanted),
    /// A user's POST of an account that is none of Clouddriver's.
    Makes(&'static str),
    /// Agents could not reach it, for good.
    Fails(&'static str),
    Scans {
        patterns: usize,
        deletes: bool,
        max: Option<u32>,
        batch: u32,
    },
}

fn step(chance: &mut fastrand::Rng) -> Step {
    let name = NAMES[chance.usize(..NAMES.len())];
    match chance.u8(..20) {
        0..=5 => {
            let (kubernetes, readable) = (chance.u8(..8) > 0, chance.u8(..6) > 0);
            Step::Stores { name, kubernetes, readable, same_life: chance.bool() }
        }
        6 => Step::Drops(name),
        7 | 8 => Step::Takes(name),
        9 => Step::Wants(name, Wanted::Active),
        10 | 11 => Step::Wants(name, Wanted::Inactive),
        12 => Step::Wants(name, Wanted::Deleted),
        13 => Step::Makes(name),
        14 => Step::Fails(name),
        _ => Step::Scans {
            patterns: chance.usize(..PATTERNS.len()),
            deletes: chance.u8(..3) == 0,
            max: [None, Some(1), Some(3)][chance.usize(..3)],
            batch: [1, 2, 100][chance.usize(..3)],
        },
    }
}

#[derive(Default)]
struct Model {
    theirs: BTreeMap<&'static str, Theirs>,
    ours: BTreeMap<&'static str, Ours>,
    by_hand: BTreeSet<&'static str>,
    stored: u32,
}

impl Model {
    /// A definition that can be read, and what it is.
    fn readable(&self, name: &str) -> Option<(u32, i64)> {
        self.theirs.get(name).filter(|t| t.kubernetes && t.readable).map(|t| (t.note, t.life))
    }

    /// The row becomes what Clouddriver has. Says whether anything was to be done.
    fn refresh(&mut self, name: &str) -> bool {
        let (Some(new), Some(ours)) = (self.readable(name), self.ours.get_mut(name)) else { return false };
        let Some(seen) = ours.seen.filter(|seen| *seen != new) else { return false };
        // Another definition may mend what failed.
        if ours.status == "FAILED" && seen.0 != new.0 {
            ours.status = "TO_MIGRATE";
        }
        ours.seen = Some(new);
        true
    }

    fn stores(&mut self, name: &'static str, kubernetes: bool, readable: bool, same_life: bool) -> &Theirs {
        self.stored += 1;
        let before = self.theirs.get(name).map_or(0, |t| t.life);
        let life = if same_life && before > 0 { before } else { 1_000 + i64::from(self.stored) };
        self.theirs.insert(name, Theirs { kubernetes, readable, note: self.stored, life });
        &self.theirs[name]
    }

    fn takes(&mut self, name: &'static str) {
        let unreadable = self.theirs.get(name).is_some_and(|t| t.kubernetes && !t.readable);
        match (self.ours.contains_key(name), self.readable(name)) {
            (false, Some(seen)) => {
                self.ours.insert(name, Ours { status: "INACTIVE", origin: "migrated", seen: Some(seen) });
                self.by_hand.remove(name);
            }
            // Once more: Clouddriver's is looked at, and what was done by hand counts no more.
            (true, _) if !unreadable => {
                self.refresh(name);
                if self.ours[name].status == "INACTIVE" {
                    self.by_hand.remove(name);
                }
            }
            _ => {}
        }
    }

    fn wants(&mut self, name: &'static str, wanted: Wanted) {
        let Some(ours) = self.ours.get_mut(name) else { return };
        match wanted {
            Wanted::Active => {
                ours.status = "TO_MIGRATE";
                self.by_hand.remove(name);
            }
            Wanted::Inactive => {
                ours.status = "INACTIVE";
                self.by_hand.insert(name);
            }
            Wanted::Deleted => {
                self.ours.remove(name);
                self.by_hand.insert(name);
            }
        }
    }

    fn makes(&mut self, name: &'static str) {
        if !self.ours.contains_key(name) {
            self.ours.insert(name, Ours { status: "INACTIVE", origin: "created", seen: None });
            self.by_hand.remove(name);
        }
    }

    fn scans(&mut self, patterns: &[&str], deletes: bool, max: Option<u32>, batch: u32) -> Report {
        let takes = |name: &str| patterns.iter().any(|p| p.strip_suffix(".*").map_or(*p == name, |start| name.starts_with(start)));
        let mut report = Report { rows: self.theirs.len() as u64, ..Report::default() };
        let (mut migrations, mut activations) = (max.unwrap_or(u32::MAX), batch);
        let theirs: Vec<(&'static str, Theirs)> = self.theirs.iter().map(|(n, t)| (*n, t.clone())).collect();
        for (name, theirs) in theirs.into_iter().filter(|(_, t)| t.kubernetes) {
            let ours = self.ours.get(name).cloned();
            report.matched += u64::from(takes(name));
            if !theirs.readable {
                report.failed += u64::from(takes(name) || ours.is_some());
                continue;
            }
            report.refreshed += u64::from(self.refresh(name));
            let inactive = match &ours {
                None => true,
                Some(o) => o.status == "INACTIVE" && o.seen.is_some(),
            };
            if !takes(name) || !inactive {
                continue;
            }
            if self.by_hand.contains(name) {
                report.by_hand += 1;
            } else if migrations == 0 || (ours.is_some() && activations == 0) {
                report.held_back += 1;
            } else {
                migrations -= 1;
                match self.ours.get_mut(name) {
                    Some(ours) => {
                        ours.status = "TO_MIGRATE";
                        activations -= 1;
                        report.activated += 1;
                    }
                    None => {
                        let seen = Some((theirs.note, theirs.life));
                        self.ours.insert(name, Ours { status: "TO_MIGRATE", origin: "scanner", seen });
                        report.taken += 1;
                    }
                }
            }
        }
        let has = |name: &str| self.theirs.get(name).is_some_and(|t| t.kubernetes);
        let gone: Vec<&'static str> = self.ours.iter().filter(|(n, o)| o.seen.is_some() && !has(n)).map(|(n, _)| *n).collect();
        report.drift = gone.len() as u64;
        if deletes && gone.len() > MAX_DELETES as usize {
            report.deletes_held_back = report.drift;
        } else if deletes {
            (report.removed, report.drift) = (report.drift, 0);
            for name in gone {
                self.ours.remove(name);
                // Clouddriver has deleted it: what was done by hand is over.
                self.by_hand.remove(name);
            }
        }
        // So it is where the mirror has no row of it; many are no wish, and an empty table least of all.
        let over = |name: &&&'static str| !self.theirs.contains_key(**name) && !self.ours.contains_key(**name);
        let over: Vec<&'static str> = self.by_hand.iter().filter(over).copied().collect();
        let any = self.theirs.values().any(|t| t.kubernetes);
        if any && report.drift + over.len() as u64 <= u64::from(MAX_DELETES) {
            self.by_hand.retain(|name| !over.contains(name));
        }
        report
    }

    fn rows(&self) -> Vec<String> {
        let row = |(name, ours): (&&str, &Ours)| {
            let note = ours.seen.map_or_else(|| "-".to_owned(), |(note, _)| note.to_string());
            format!("{name} {} {note} {}", ours.status, ours.origin)
        };
        self.ours.iter().map(row).collect()
    }
}

/// Does one step on both; what differs afterwards, in words.
async fn differs(w: &World, r: &Replica, store: &Store, model: &mut Model, step: &Step) -> Option<String> {
    let mut reports = None;
    match step.clone() {
        Step::Stores { name, kubernetes, readable, same_life } => {
            let theirs = model.stores(name, kubernetes, readable, same_life);
            let (kind, note) = (if kubernetes { "kubernetes" } else { "aws" }, theirs.note);
            // JSON to the databases, and no number to anybody.
            let odd = if readable { "1" } else { "1e999" };
            let body = format!(r#"{{"type": "{kind}", "name": "{name}", "note": "{note}", "kubeconfigContents": "c", "x": {odd}}}"#);
            w.put_body(name, kind, &body, theirs.life).await;
        }
        Step::Drops(name) => {
            model.theirs.remove(name);
            w.drop_row(name).await;
        }
        Step::Takes(name) => {
            model.takes(name);
            r.tries_to_take(name).await;
        }
        Step::Wants(name, wanted) => {
            let known = model.ours.contains_key(name);
            model.wants(name, wanted);
            let came = r.tries_to_want(name, wanted).await;
            if known != (came == Outcome::Done) {
                return Some(format!("the user was told {came:?}"));
            }
        }
        Step::Makes(name) => {
            model.makes(name);
            r.tries_to_make(name).await;
        }
        Step::Fails(name) => {
            if let Some(ours) = model.ours.get_mut(name).filter(|o| o.status == "TO_MIGRATE") {
                ours.status = "FAILED";
                w.sql.exec(&format!("update kubesvc_accounts set status = 'FAILED', fl_rev = fl_rev + 1 where name = '{name}'")).await;
            }
        }
        Step::Scans { patterns, deletes, max, batch } => {
            let mut settings = settings(PATTERNS[patterns]);
            (settings.page, settings.deletes, settings.max_migrations, settings.batch) = (2, deletes, max, batch);
            let wanted = model.scans(PATTERNS[patterns], deletes, max, batch);
            let scanner = w.scanner(store, settings, MAX_DELETES);
            reports = Some((scanner.now().await.expect("scanned").expect("nobody else scans"), wanted));
        }
    }
    if let Some((report, wanted)) = reports.filter(|(report, wanted)| report != wanted) {
        return Some(format!("the report is {report:?}\nand should be {wanted:?}"));
    }
    let (rows, wanted) = (w.mirror().await, model.rows());
    (rows != wanted).then(|| format!("the mirror is {rows:?}\nand should be {wanted:?}"))
}

async fn history(w: &World, seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let r = w.replica_with(settings(&[]), MAX_DELETES, Duration::from_secs(60)).await;
    for table in ["accounts", "kubesvc_accounts", "fairlead_hand", "fairlead_names", "fairlead_tombstones"] {
        w.sql.exec(&format!("delete from {table}")).await;
    }
    let (mut model, mut told) = (Model::default(), String::new());
    for _ in 0..STEPS {
        let step = step(&mut chance);
        let _ = writeln!(told, "  {step:?}");
        if let Some(what) = differs(w, &r, &r.store, &mut model, &step).await {
            panic!("{}, FAIRLEAD_SCAN_SEED={seed}:\n{told}{what}", w.word());
        }
    }
    r.store.close().await;
}

fn seeds(n: u32) -> Vec<u64> {
    match std::env::var("FAIRLEAD_SCAN_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => vec![seed],
        None => (0..n).map(|_| fastrand::u64(..)).collect(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_clouddriver_users_and_scans_do_in_whatever_order_the_mirror_is_what_the_rules_say() {
    let w = World::sqlite().await;
    for seed in seeds(25) {
        history(&w, seed).await;
    }
    w.done(&[]).await;
    for server in SERVERS {
        let w = World::on(server, "scan_model").await;
        for seed in seeds(3) {
            history(&w, seed).await;
        }
        w.done(&[]).await;
    }
}
