//! One scan: over Clouddriver's accounts in pages, then over the mirror's rows for those that Clouddriver does not have.
//!
//! No transaction is open while pages are read, and no lock is taken on Clouddriver's table. What a page says is a hint only: each account
//! is read again when something is done about it, so what was deleted or changed since the page is not brought back.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use tracing::{debug, error, info, warn};

use super::{Account, Budget, Migrate, Mirrored, Scanner, Turn, Why, judge};
use crate::account::{Origin, Status};
use crate::lifecycle::{self, Event, Wanted};
use crate::mirror::decide::Action;
use crate::mirror::settle::{self, Settled};
use crate::mirror::{Take, Taken};
use crate::source::{self, Page, Reading, SourceRow};
use crate::store::mirrored::{self, PassRow};
use crate::store::states::{self, Applied, Extra};
use crate::store::{self, hand};

/// Mirrored rows read at a time.
const MIRROR_PAGE: u32 = 500;
/// How often a row is read again while others are faster.
const TRIES: u32 = 16;

/// What a scan came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Rows of Clouddriver's that were read, of every type.
    pub rows: u64,
    /// Kubernetes accounts that a pattern takes.
    pub matched: u64,
    /// Of these, accounts that entered the mirror.
    pub taken: u64,
    /// Of these, accounts that were INACTIVE.
    pub activated: u64,
    /// Of these, accounts that a user took out by hand.
    pub by_hand: u64,
    /// Mirrored accounts that Clouddriver had changed.
    pub refreshed: u64,
    /// Accounts that could not be read, or not be taken over.
    pub failed: u64,
    /// Accounts that a limit keeps for a later scan.
    pub held_back: u64,
    /// Mirrored accounts that Clouddriver does not have, and that stay.
    pub drift: u64,
    /// Of these, accounts that `maxDeletesPerPass` keeps.
    pub deletes_held_back: u64,
    /// Mirrored accounts that were removed because Clouddriver does not have them.
    pub removed: u64,
}

/// Why a scan broke off. The next one begins anew; what was done stays done.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own database.
    #[error("the mirror: {0}")]
    Store(#[from] store::Error),
    /// Clouddriver's accounts.
    #[error("Clouddriver's accounts: {0}")]
    Source(#[from] source::Error),
    /// An account, by settling.
    #[error(transparent)]
    Settle(#[from] settle::Error),
    /// Another replica scans: this one was silent for too long.
    #[error("another replica scans now")]
    Overtaken,
}

/// Whether this is about one account, so that the others go on.
fn of_one(e: &settle::Error) -> bool {
    match e {
        settle::Error::Store(e) => !e.is_transient(),
        settle::Error::Source(e) => !e.is_transient(),
        settle::Error::Definition(_) | settle::Error::Busy => true,
        settle::Error::Stopped => false,
    }
}

/// What is known of a scan that goes on.
struct Course {
    report: Report,
    budget: Budget,
    /// Hashes of the Kubernetes accounts that Clouddriver has: eight bytes for each, for the time of the scan.
    present: HashSet<u64>,
}

impl Scanner {
    /// Scans once.
    ///
    /// # Errors
    /// [`Error`]. Dropped half-way, it leaves what it has done.
    pub async fn scan(&self, turn: &mut Turn) -> Result<Report, Error> {
        let started = Instant::now();
        let budget = Budget::new(self.settings.max_migrations, self.settings.batch);
        let mut course = Course { report: Report::default(), budget, present: HashSet::new() };
        let mut after: Option<String> = None;
        loop {
            self.keep(turn).await?;
            let page = self.engine.source().page(after.as_deref(), self.settings.page).await?;
            self.metrics.rows.inc_by(page.raw_count as u64);
            course.report.rows += page.raw_count as u64;
            self.look_at(&page, &mut course, turn).await?;
            crate::crash_point!("scan-page");
            match page.next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        self.look_for_absent(&mut course, turn).await?;
        let Course { mut report, budget, .. } = course;
        report.held_back = budget.held_back;
        self.tell(&report, started);
        Ok(report)
    }

    async fn look_at(&self, page: &Page, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let store = self.engine.store();
        let rows: Vec<&SourceRow> = page.rows.iter().filter(|r| r.is_kubernetes()).collect();
        let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).chain(page.poison.iter().map(|p| p.id.as_str())).collect();
        course.present.extend(ids.iter().map(|id| self.hash(id)));
        let mirrored = mirrored::of_names(store, &ids).await?;
        let mirrored: HashMap<&str, &PassRow> = mirrored.iter().map(|m| (m.name.as_str(), m)).collect();
        let matched: Vec<&str> = rows.iter().map(|r| r.id.as_str()).filter(|id| self.settings.patterns.take(id)).collect();
        // A note under another spelling of the name is found when the account is taken: the database compares it.
        let noted = hand::of(store, &matched).await?;
        let noted: HashSet<&str> = noted.iter().map(|n| n.name.as_str()).collect();
        let matched: HashSet<&str> = matched.into_iter().collect();
        course.report.matched += matched.len() as u64;

        for poison in &page.poison {
            if mirrored.contains_key(poison.id.as_str()) || self.settings.patterns.take(&poison.id) {
                course.report.failed += 1;
                self.tell_poison(&poison.id, &poison.reason);
            }
        }
        for row in rows {
            let name = row.id.as_str();
            let (m, is_matched) = (mirrored.get(name).copied(), matched.contains(name));
            if m.is_none() && !is_matched {
                continue;
            }
            let readable = serde_json::from_str::<serde::de::IgnoredAny>(&row.body).is_ok();
            let account = Account {
                matched: is_matched,
                readable,
                by_hand: noted.contains(name),
                mirrored: m.map(|m| Mirrored {
                    follows: m.origin.follows_clouddriver(),
                    status: m.status,
                    wanted: m.wanted,
                    differs: readable && self.engine.looks_wrong(row, m),
                }),
            };
            let verdict = judge(&account);
            course.report.by_hand += u64::from(verdict.why == Why::ByHand);
            if !readable {
                course.report.failed += 1;
                self.tell_poison(name, "its definition is not JSON that can be read");
                continue;
            }
            if verdict.refresh {
                match self.engine.agree(name, false).await {
                    Ok(Settled { action: Action::Update | Action::Relink, .. }) => course.report.refreshed += 1,
                    Ok(Settled { unreadable, .. }) => course.report.failed += u64::from(unreadable),
                    Err(e) => self.failed(name, e, course)?,
                }
            }
            if let Some(migrate) = verdict.migrate
                && course.budget.admits(migrate)
            {
                self.migrate(row, migrate, course).await?;
            }
            self.keep(turn).await?;
        }
        Ok(())
    }

    /// One account that speaks for itself only: told, and the others go on.
    fn failed(&self, name: &str, e: settle::Error, course: &mut Course) -> Result<(), Error> {
        if !of_one(&e) {
            return Err(e.into());
        }
        course.report.failed += 1;
        warn!(account = name, error = %e, "an account cannot be scanned: the next scan tries again");
        Ok(())
    }

    async fn migrate(&self, row: &SourceRow, migrate: Migrate, course: &mut Course) -> Result<(), Error> {
        let name = row.id.as_str();
        // By the API it may be readable without having changed: a secret of it resolves again.
        let hopeless = (name, row.incarnation.0, row.body.as_str());
        let done = match migrate {
            Migrate::Take if self.engine.source().mode() == "sql" && self.is_known(hopeless) => {
                course.report.failed += 1;
                false
            }
            Migrate::Take => {
                let mut take = Take::new(Origin::Scanner, Status::ToMigrate);
                take.respects_hand = true;
                match self.engine.take(name, &take).await {
                    Ok(Taken::Entered) => true,
                    Ok(Taken::There | Taken::Absent) => false,
                    Ok(Taken::ByHand) => {
                        course.report.by_hand += 1;
                        false
                    }
                    // Settling has told why.
                    Ok(Taken::Unreadable) => {
                        self.is_new(hopeless);
                        course.report.failed += 1;
                        false
                    }
                    Err(e) => {
                        self.failed(name, e, course)?;
                        false
                    }
                }
            }
            Migrate::Activate => match self.activate(name).await {
                Ok(done) => done,
                Err(e) => {
                    self.failed(name, e.into(), course)?;
                    false
                }
            },
        };
        if done {
            course.budget.spend(migrate);
            self.metrics.migrated.inc();
            match migrate {
                Migrate::Take => course.report.taken += 1,
                Migrate::Activate => course.report.activated += 1,
            }
            info!(
                account = name,
                pattern = self.settings.patterns.first(name),
                activated = migrate == Migrate::Activate,
                "migrated by its name"
            );
        }
        Ok(())
    }

    /// Wants an INACTIVE account managed, if no user took it out by hand.
    async fn activate(&self, name: &str) -> store::Result<bool> {
        let store = self.engine.store();
        for _ in 0..TRIES {
            let Some(row) = states::load(store, name).await? else { return Ok(false) };
            // After the row: what a user does from now on raises its revision, and nothing is written here.
            let by_hand = !hand::of(store, &[name]).await?.is_empty();
            let at_rest = row.state.status == Status::Inactive && row.state.wanted == Wanted::Inactive;
            if by_hand || !at_rest || !row.origin.follows_clouddriver() {
                return Ok(false);
            }
            let step = lifecycle::next(&row.state, Event::Activate);
            match states::apply(store, &row, step, &Extra::default()).await {
                Ok(Applied::Won) => {
                    self.engine.tell_changed();
                    return Ok(true);
                }
                Ok(Applied::Lost) => {}
                Err(e) if e.is_contention() => {}
                Err(e) => return Err(e),
            }
        }
        Ok(false)
    }

    /// Mirrored accounts that the pages did not show. Each is asked for by its name: another spelling of it, or one that came since, is there.
    async fn look_for_absent(&self, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let (most, mut gone) = (self.engine.max_deletes() as usize, Vec::new());
        let mut after: Option<String> = None;
        loop {
            self.keep(turn).await?;
            let page = mirrored::page(self.engine.store(), after.as_deref(), MIRROR_PAGE).await?;
            for m in &page {
                let leaving = matches!(m.status, Some(Status::Deleting | Status::DeleteFailed));
                if leaving || !m.origin.follows_clouddriver() || course.present.contains(&self.hash(&m.name)) {
                    continue;
                }
                match self.engine.source().read(&m.name).await? {
                    Reading::Present(row) if row.is_kubernetes() => {
                        if self.engine.looks_wrong(&row, m) {
                            match self.engine.agree(&m.name, false).await {
                                Ok(settled) => {
                                    course.report.refreshed += u64::from(matches!(settled.action, Action::Update | Action::Relink))
                                }
                                Err(e) => self.failed(&m.name, e, course)?,
                            }
                        }
                    }
                    Reading::Unknown(reason) => debug!(account = m.name, reason, "Clouddriver does not say whether the account is there"),
                    Reading::Present(_) | Reading::Absent => {
                        course.report.drift += 1;
                        // An adopted row that never saw Clouddriver's may never have had one.
                        if m.incarnation.is_some() && gone.len() <= most {
                            gone.push(m.name.clone());
                        }
                        if self.is_new(("drift", &m.name)) {
                            warn!(
                                account = m.name,
                                deletes = self.settings.deletes,
                                "Clouddriver does not have a mirrored account any more"
                            );
                        }
                    }
                }
                self.keep(turn).await?;
            }
            match page.last() {
                Some(last) if page.len() >= MIRROR_PAGE as usize => after = Some(last.name.clone()),
                _ => break,
            }
        }
        if !self.settings.deletes || gone.is_empty() {
            return Ok(());
        }
        if gone.len() > most {
            course.report.deletes_held_back = course.report.drift;
            error!(
                absent = course.report.drift,
                max_deletes_per_pass = most,
                "Clouddriver lacks many mirrored accounts: beyond maxDeletesPerPass none is removed, and they are shown as drift"
            );
            return Ok(());
        }
        for name in gone {
            match self.engine.agree(&name, true).await {
                Ok(Settled { action: Action::Remove, .. }) => {
                    course.report.removed += 1;
                    course.report.drift -= 1;
                }
                Ok(settled) => course.report.drift -= u64::from(!settled.drift),
                Err(e) => self.failed(&name, e, course)?,
            }
            self.keep(turn).await?;
        }
        Ok(())
    }

    fn tell_poison(&self, name: &str, reason: &str) {
        if self.is_new(("poison", name, reason)) {
            warn!(account = name, reason, "an account of Clouddriver's cannot be scanned");
        }
    }

    fn tell(&self, report: &Report, started: Instant) {
        let level = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.refreshed.inc_by(report.refreshed);
        self.metrics.matched.set(level(report.matched));
        self.metrics.failed.set(level(report.failed));
        self.metrics.held_back.set(level(report.held_back));
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.metrics.last.set(now.as_secs_f64());
        self.engine.note_drift(report.drift, report.deletes_held_back);
        info!(
            rows = report.rows,
            matched = report.matched,
            taken = report.taken,
            activated = report.activated,
            by_hand = report.by_hand,
            refreshed = report.refreshed,
            failed = report.failed,
            held_back = report.held_back,
            drift = report.drift,
            removed = report.removed,
            millis = started.elapsed().as_millis(),
            "scanned Clouddriver's accounts"
        );
        if report.held_back > 0 {
            warn!(accounts = report.held_back, "maxMigrationsPerScan or scanBatchSize keeps accounts for a later scan");
        }
    }
}
