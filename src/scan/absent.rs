//! What Clouddriver does not have any more, once all that it has was read: mirrored accounts, and notes of what users did by hand.

use tracing::{debug, error, info, warn};

use super::once::Course;
use super::{Error, Scanner, Turn};
use crate::mirror::decide::Action;
use crate::mirror::settle::Settled;
use crate::source::Reading;
use crate::store::hand;
use crate::store::mirrored;

/// Mirrored rows, or notes, read at a time.
const PAGE: u32 = 500;

impl Scanner {
    /// Mirrored accounts that the pages did not show. Each is asked for by its name: another spelling of it, or one that came since, is there.
    pub(super) async fn look_for_absent(&self, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let (most, mut gone) = (self.engine.max_deletes() as usize, Vec::new());
        let mut after: Option<String> = None;
        loop {
            self.keep(turn).await?;
            let page = mirrored::page(self.engine.store(), after.as_deref(), PAGE).await?;
            for m in &page {
                if m.is_leaving() || !m.origin.follows_clouddriver() || course.present.contains(&self.hash(&m.name)) {
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
                Some(last) if page.len() >= PAGE as usize => after = Some(last.name.clone()),
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

    /// What a user did by hand counts until Clouddriver deletes the account. Where the mirror has a row of it, removing that row forgets it;
    /// here are the names that have none. As with rows, many of them are no wish.
    pub(super) async fn forget_by_hand(&self, course: &mut Course, turn: &mut Turn) -> Result<(), Error> {
        let (store, most) = (self.engine.store(), u64::from(self.engine.max_deletes()));
        let (mut gone, mut after) = (Vec::new(), None::<String>);
        loop {
            self.keep(turn).await?;
            let notes = hand::page(store, after.as_deref(), PAGE).await?;
            let full = notes.len() >= PAGE as usize;
            after = notes.last().map(|note| note.name.clone());
            for note in notes {
                if course.present.contains(&self.hash(&note.name)) || !mirrored::of_names(store, &[&note.name]).await?.is_empty() {
                    continue;
                }
                // After the note: one that is made from now on has another time, and stays.
                if matches!(self.engine.source().read(&note.name).await?, Reading::Absent) {
                    gone.push(note);
                }
                self.keep(turn).await?;
                if course.present.is_empty() || course.report.drift + gone.len() as u64 > most {
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
