//! What Clouddriver does not have any more, once all that it has was read: mirrored accounts, and notes of what users did by hand.

use tracing::{debug, error, info, warn};

use super::known::AT_ONCE;
use super::once::Course;
use super::{Error, Scanner, Turn};
use crate::mirror::decide::Action;
use crate::mirror::settle::Settled;
use crate::source::{Reading, SortedNames};
use crate::store::heads::{self, Head};
use crate::store::{hand, mirrored};

/// Mirrored rows, or notes, read at a time.
const PAGE: u32 = 500;

impl Scanner {
    /// Mirrored accounts that the pages did not show. Each is asked for by its name: another spelling of it, or one that came since
    /// [`Scanner::known`] was read, is there.
    pub(super) async fn look_for_absent(&self, present: &SortedNames, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let (most, mut gone) = (self.engine.max_deletes() as usize, Vec::new());
        let mut after: Option<String> = None;
        loop {
            self.keep(turn).await?;
            let page = heads::page(self.engine.store(), after.as_deref(), PAGE).await?;
            let is_missed = |m: &&Head| !m.is_leaving() && m.origin.follows_clouddriver() && !present.has(&m.name);
            let missed: Vec<&Head> = page.iter().filter(is_missed).collect();
            for some in missed.chunks(AT_ONCE) {
                let names: Vec<&str> = some.iter().map(|m| m.name.as_str()).collect();
                for (m, reading) in some.iter().zip(self.engine.source().read_all(&names).await?) {
                    let reading = match reading {
                        Some(reading) => reading,
                        None => self.engine.source().read(&m.name).await?,
                    };
                    if self.is_absent(m, reading, course).await? && gone.len() <= most {
                        gone.push(m.name.clone());
                    }
                    self.keep(turn).await?;
                }
            }
            match page.last() {
                Some(last) if page.len() >= PAGE as usize => after = Some(last.name.clone()),
                _ => break,
            }
        }
        if !self.settings.deletes || gone.is_empty() {
            return Ok(());
        }
        // One account that goes is a deletion, also where it was the only one; of several, a table without any is rather lost.
        let is_empty = !course.any && gone.len() > 1;
        if gone.len() > most || is_empty {
            course.report.deletes_held_back = course.report.drift;
            error!(
                absent = course.report.drift,
                max_deletes_per_pass = most,
                "Clouddriver lacks many mirrored accounts: beyond maxDeletesPerPass, or where it has no Kubernetes account at all, none is \
                 removed, and they are shown as drift"
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

    /// Looks at a mirrored account that no page has shown. `true`: it may go.
    async fn is_absent(&self, m: &Head, reading: Reading, course: &mut Course) -> Result<bool, Error> {
        match reading {
            Reading::Present(row) if row.is_kubernetes() => {
                let mirrored = mirrored::of_names(self.engine.store(), &[&m.name]).await?;
                if mirrored.iter().any(|m| self.engine.looks_wrong(&row, m)) {
                    match self.engine.agree(&m.name, false).await {
                        Ok(settled) => course.report.refreshed += u64::from(matches!(settled.action, Action::Update | Action::Relink)),
                        Err(e) => self.failed(&m.name, e, course)?,
                    }
                }
                Ok(false)
            }
            Reading::Unknown(reason) => {
                debug!(account = m.name, reason, "Clouddriver does not say whether the account is there");
                Ok(false)
            }
            Reading::Present(_) | Reading::Absent => {
                course.report.drift += 1;
                if self.is_new(("drift", &m.name)) {
                    warn!(account = m.name, deletes = self.settings.deletes, "Clouddriver does not have a mirrored account any more");
                }
                // An adopted row that never saw Clouddriver's may never have had one.
                Ok(m.incarnation.is_some())
            }
        }
    }

    /// What a user did by hand counts until Clouddriver deletes the account. Where the mirror has a row of it, removing that row forgets it;
    /// here are the names that have none. As with rows, many of them are no wish.
    pub(super) async fn forget_by_hand(&self, present: &SortedNames, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let (store, most) = (self.engine.store(), u64::from(self.engine.max_deletes()));
        let (mut gone, mut after) = (Vec::new(), None::<String>);
        loop {
            self.keep(turn).await?;
            let notes = hand::page(store, after.as_deref(), PAGE).await?;
            let full = notes.len() >= PAGE as usize;
            after = notes.last().map(|note| note.name.clone());
            for note in notes {
                if present.has(&note.name) || !mirrored::of_names(store, &[&note.name]).await?.is_empty() {
                    continue;
                }
                // After the note: one that is made from now on has another time, and stays.
                if matches!(self.engine.source().read(&note.name).await?, Reading::Absent) {
                    gone.push(note);
                }
                self.keep(turn).await?;
                if !course.any || course.report.drift + gone.len() as u64 > most {
                    debug!("Clouddriver lacks many accounts: what users did by hand to them is not forgotten");
                    return Ok(());
                }
            }
            if !full {
                break;
            }
        }
        for note in gone {
            if hand::forget_as_it_was(store.main(), &note).await? {
                info!(account = note.name, "Clouddriver deleted the account: what a user did to it by hand counts no more");
            }
        }
        Ok(())
    }
}
