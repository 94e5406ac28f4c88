//! One scan: over Clouddriver's accounts in pages, all of them or what has changed ([`super::steady`]), and, where it was all, over the
//! mirror's rows for those that Clouddriver does not have ([`super::absent`]).
//!
//! Most rows are no business of a scan's, so all of them are read without their definitions, and those of the few accounts that a pattern takes or
//! that are [`super::known`] follow by their names. Where a page shows that they are not few, the next one is read with all definitions.
//!
//! No transaction is open while pages are read, and no lock is taken on Clouddriver's table. What a page says is a hint only: each account
//! is read again when something is done about it, so what was deleted or changed since the page is not brought back.

use std::time::Instant;

use tracing::{info, warn};

use super::metrics::KindLabel;
use super::steady::{AGAIN, Left};
use super::{Budget, Scanner, Turn};
use crate::mirror::settle;
use crate::source::{self, Names, Page, Sign, SortedNames};
use crate::store;

/// Rows of Clouddriver's between two places that are remembered: what one statement looks through for changes.
const SPAN: u64 = 10_000;
/// Where one row in so many is looked at, a page with all definitions costs less than asking for each by its name.
const MANY: usize = 4;

/// What a scan read of Clouddriver's accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Kind {
    /// All of them.
    #[default]
    Full,
    /// Those that say to have been changed lately.
    Changed,
    /// None but those that something was left to do about: the database says that nothing has changed.
    Skipped,
}

impl Kind {
    /// In metrics and the log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Changed => "changed",
            Self::Skipped => "skipped",
        }
    }
}

/// What a scan came to. After one that was not [`Kind::Full`] it is about what was read, and nothing is known of drift.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What was read.
    pub kind: Kind,
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

/// What is known of a scan that goes on.
pub(super) struct Course {
    pub report: Report,
    pub budget: Budget,
    /// What is looked at though no pattern takes it; `None`: everything that is read.
    pub known: Option<SortedNames>,
    /// Of the accounts that were looked at, those that Clouddriver has: eight bytes for each, for the time of the scan.
    pub present: Names,
    /// Clouddriver has any Kubernetes account.
    pub any: bool,
    /// The greatest `last_modified_at`.
    pub newest: i64,
    /// Accounts that the next scan has to look at, whether they change or not, at most [`AGAIN`].
    pub again: Vec<String>,
    /// There are more of them.
    pub too_many: bool,
}

impl Course {
    /// The next scan looks at this account.
    pub fn look_again(&mut self, name: &str) {
        if self.again.len() < AGAIN {
            self.again.push(name.to_owned());
        } else {
            self.too_many = true;
        }
    }
}

impl Scanner {
    /// Scans once: everything, or what may have changed since this process last did.
    ///
    /// # Errors
    /// [`Error`]. Dropped half-way, it leaves what it has done, and the next scan reads everything.
    pub(super) async fn scan(&self, turn: &mut Turn, everything: bool) -> Result<Report, Error> {
        let started = Instant::now();
        let mut course = Course {
            report: Report::default(),
            budget: Budget::new(self.settings.max_migrations, self.settings.batch),
            known: None,
            present: Names::default(),
            any: false,
            newest: i64::MIN,
            again: Vec::new(),
            too_many: false,
        };
        let left = self.take_left().filter(|left| !everything && !turn.is_left_by_another() && left.is_fresh(self.settings.full));
        // Before the first row is read: what is committed from now on makes another sign.
        let sign = self.engine.source().sign().await;
        let left = match (left, sign) {
            (Some(left), Some(sign)) => Some(self.scan_changes(left, sign, &mut course, turn).await?),
            (_, sign) => self.scan_all(sign, &mut course, turn).await?,
        };
        let left = left.filter(|_| !course.too_many).map(|left| left.with(course.again));
        turn.rest = left.as_ref().is_none_or(Left::has_rest) && self.engine.source().mode() == "sql";
        self.leave(left);
        let mut report = course.report;
        report.held_back = course.budget.held_back;
        self.tell(&report, started);
        Ok(report)
    }

    /// What it leaves is the next scan's beginning; `None`: that one reads everything again.
    async fn scan_all(&self, sign: Option<Sign>, course: &mut Course, turn: &mut Turn) -> Result<Option<Left>, Error> {
        let began = Instant::now();
        course.known = Some(self.known(turn).await?);
        let (mut after, mut marks, mut marked) = (None::<String>, Vec::new(), 0);
        let mut few = true;
        loop {
            self.keep(turn).await?;
            let (source, limit) = (self.engine.source(), self.settings.page);
            let page = match few {
                true => source.skim(after.as_deref(), limit).await?,
                false => source.page(after.as_deref(), limit).await?,
            };
            few = self.look_at_page(&page, course, turn).await? * MANY < page.raw_count;
            crate::crash_point!("scan-page");
            let Some(next) = page.next else { break };
            if course.report.rows - marked >= SPAN {
                marked = course.report.rows;
                marks.push(next.clone());
            }
            after = Some(next);
        }
        let present = std::mem::take(&mut course.present).sorted();
        self.look_for_absent(&present, course, turn).await?;
        self.forget_by_hand(&present, course, turn).await?;
        Ok(sign.map(|sign| Left::new(sign, course.newest, marks, began)))
    }

    /// Counts the page, and looks at its accounts; says at how many.
    pub(super) async fn look_at_page(&self, page: &Page, course: &mut Course, turn: &mut Turn) -> Result<usize, Error> {
        self.count(page.raw_count, course);
        let times = page.rows.iter().map(|row| row.modified).chain(page.bare.iter().map(|row| row.modified));
        course.newest = times.flatten().fold(course.newest, i64::max);
        course.any |= page.bare.iter().any(|row| row.may_be_kubernetes);
        let bare = page.bare.iter().filter(|row| row.may_be_kubernetes).map(|row| row.id.as_str());
        let names: Vec<&str> = bare.filter(|id| self.concerns(id, course)).collect();
        let looked = self.look_at(page, course, turn).await?;
        self.look_at_names(&names, course, turn).await?;
        Ok(looked + names.len())
    }

    /// Rows of Clouddriver's that were read.
    pub(super) fn count(&self, rows: usize, course: &mut Course) {
        self.metrics.rows.inc_by(rows as u64);
        course.report.rows += rows as u64;
    }

    fn tell(&self, report: &Report, started: Instant) {
        let level = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        self.metrics.scans.get_or_create(&KindLabel { kind: report.kind.as_str() }).inc();
        self.metrics.seconds.observe(started.elapsed().as_secs_f64());
        self.metrics.refreshed.inc_by(report.refreshed);
        self.metrics.held_back.set(level(report.held_back));
        if report.kind == Kind::Full {
            self.metrics.matched.set(level(report.matched));
            self.metrics.failed.set(level(report.failed));
            self.engine.note_drift(report.drift, report.deletes_held_back);
        } else if level(report.failed) > self.metrics.failed.get() {
            self.metrics.failed.set(level(report.failed));
        }
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        self.metrics.last.set(now.as_secs_f64());
        info!(
            kind = report.kind.as_str(),
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
