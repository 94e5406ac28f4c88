//! Scans between full ones: what may have changed, and what something was left to do about.
//!
//! Nothing here has to be right for the mirror to be right in the end: whatever such a scan does not see, the next full one does. What it
//! has to see is whatever a user waits for. `docs/adr/0007-scans-that-cost-what-changed.md` goes through the cases.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use super::once::{Course, Kind};
use super::{Error, Scanner, Turn};
use crate::source::Sign;
use crate::store::{hand, scans};

/// How far before what was seen last a change may say to have been made, in milliseconds: a commit comes up to 40 s after the time that it
/// carries (measured), and the clocks of several Clouddrivers differ. What lies in it is read again, and judged as before.
const OVERLAP: i64 = 300_000;
/// Accounts that one scan remembers for the next. Beyond that, the next one reads everything.
pub(super) const AGAIN: usize = 1_000;
/// Mirrored rows read at a time.
const PAGE: u32 = 500;

/// What one scan of this process leaves for the next.
pub(super) struct Left {
    /// Of the moment before the last look at the table began.
    sign: Sign,
    /// The greatest `last_modified_at` that was seen; not the last commit's.
    newest: i64,
    /// Ids that part the table into pieces, each small enough for one statement.
    marks: Vec<String>,
    /// Accounts to be looked at, whether they change or not.
    again: Vec<String>,
    /// When the last full scan began.
    full: Instant,
}

impl Left {
    pub fn new(sign: Sign, newest: i64, marks: Vec<String>, full: Instant) -> Self {
        Self { sign, newest, marks, again: Vec::new(), full }
    }

    /// The same, and these are to be looked at.
    pub fn with(self, again: Vec<String>) -> Self {
        Self { again, ..self }
    }

    /// Whether anything is.
    pub const fn has_rest(&self) -> bool {
        !self.again.is_empty()
    }

    /// Whether it is not time for a full scan yet.
    pub fn is_fresh(&self, every: Duration) -> bool {
        self.full.elapsed() < every
    }

    /// A row from a clock that is ahead must not hide what the others change, nor the database's time what a clock that is behind does.
    fn since(&self) -> i64 {
        self.newest.min(self.sign.now).saturating_sub(OVERLAP)
    }
}

impl Scanner {
    /// Taken out, so that a scan that breaks off leaves nothing, and the next one reads everything.
    pub(super) fn take_left(&self) -> Option<Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn leave(&self, left: Option<Left>) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = left;
    }

    /// Looks at what may have changed, and at what waits for a scan.
    pub(super) async fn scan_changes(&self, left: Left, sign: Sign, course: &mut Course, turn: &mut Turn) -> Result<Left, Error> {
        let mut next = if sign.shows_no_change_since(&left.sign) {
            course.report.kind = Kind::Skipped;
            left
        } else {
            course.report.kind = Kind::Changed;
            self.look_at_changes(&left, course, turn).await?;
            Left { sign, newest: left.newest.max(course.newest), ..left }
        };
        let mut names = std::mem::take(&mut next.again);
        names.extend(self.inactive().await?);
        names.sort_unstable();
        names.dedup();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let rows = self.look_at_names(&names, course, turn).await?;
        self.count(rows, course);
        Ok(next)
    }

    /// Piece by piece, so that no statement looks through the whole table.
    async fn look_at_changes(&self, left: &Left, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let (since, mut from) = (left.since(), None::<&str>);
        for upto in left.marks.iter().map(|mark| Some(mark.as_str())).chain([None]) {
            let mut after = from.map(str::to_owned);
            loop {
                self.keep(turn).await?;
                let page = self.engine.source().changed(after.as_deref(), upto, since, self.settings.page).await?;
                self.look_at_page(&page, course, turn).await?;
                crate::crash_point!("scan-page");
                match page.next {
                    Some(next) => after = Some(next),
                    None => break,
                }
            }
            from = upto;
        }
        Ok(())
    }

    /// Mirrored accounts that a pattern takes, INACTIVE and not by hand: they come to be so without a change of Clouddriver's table.
    async fn inactive(&self) -> Result<Vec<String>, Error> {
        let (store, patterns) = (self.engine.store(), &self.settings.patterns);
        let (mut found, mut after) = (Vec::new(), None::<String>);
        while !patterns.is_empty() {
            let page = scans::inactive(store, after.as_deref(), PAGE).await?;
            let matched: Vec<&str> = page.iter().filter(|r| r.follows && patterns.take(&r.name)).map(|r| r.name.as_str()).collect();
            let noted = hand::of(store, &matched).await?;
            found.extend(matched.iter().filter(|name| !noted.iter().any(|n| n.name == **name)).map(|name| (*name).to_owned()));
            match page.last() {
                Some(last) if page.len() >= PAGE as usize && found.len() < AGAIN => after = Some(last.name.clone()),
                _ => break,
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(newest: i64, now: i64) -> Left {
        Left::new(Sign::silent(now), newest, vec![], Instant::now())
    }

    #[test]
    fn changes_are_looked_for_from_before_the_earlier_of_what_was_seen_and_when_it_was_looked() {
        assert_eq!(left(1_000_000, 2_000_000).since(), 700_000);
        assert_eq!(left(i64::MAX, 2_000_000).since(), 1_700_000, "a row from the future hides nothing");
        assert_eq!(left(i64::MIN, 2_000_000).since(), i64::MIN, "an empty table");
    }
}
