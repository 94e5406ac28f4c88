//! What is done about the accounts of one page, each by itself.

use std::collections::{HashMap, HashSet};

use tracing::{info, warn};

use super::once::Course;
use super::{Account, Error, Migrate, Mirrored, Scanner, Turn, Why, judge};
use crate::account::{Origin, Status};
use crate::lifecycle::{self, Event, Wanted};
use crate::mirror::decide::Action;
use crate::mirror::settle::{self, Settled};
use crate::mirror::{Take, Taken};
use crate::source::{Page, Poison, SourceRow};
use crate::store::mirrored::{self, PassRow};
use crate::store::states::{self, Applied, Extra};
use crate::store::{self, hand};

/// How often a row is read again while others are faster.
const TRIES: u32 = 16;

/// Whether this is about one account, so that the others go on.
fn of_one(e: &settle::Error) -> bool {
    match e {
        settle::Error::Store(e) => !e.is_transient(),
        settle::Error::Source(e) => !e.is_transient(),
        settle::Error::Definition(_) | settle::Error::Busy => true,
        settle::Error::Stopped => false,
    }
}

impl Scanner {
    /// Whether anything may have to be done about an account of this name, or told.
    pub(super) fn concerns(&self, id: &str, course: &Course) -> bool {
        course.known.as_ref().is_none_or(|known| known.has(id)) || self.settings.patterns.take(id)
    }

    /// Looks at the accounts that came with their definitions; says at how many.
    pub(super) async fn look_at(&self, page: &Page, course: &mut Course, turn: &mut Turn) -> Result<usize, Error> {
        let store = self.engine.store();
        course.any |= page.rows.iter().any(SourceRow::is_kubernetes) || !page.poison.is_empty();
        let rows: Vec<&SourceRow> = page.rows.iter().filter(|r| r.is_kubernetes() && self.concerns(&r.id, course)).collect();
        let poison: Vec<&Poison> = page.poison.iter().filter(|p| self.concerns(&p.id, course)).collect();
        let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).chain(poison.iter().map(|p| p.id.as_str())).collect();
        ids.iter().for_each(|id| course.present.put(id));
        let looked = ids.len();
        let mirrored = mirrored::of_names(store, &ids).await?;
        let mirrored: HashMap<&str, &PassRow> = mirrored.iter().map(|m| (m.name.as_str(), m)).collect();
        let matched: Vec<&str> = rows.iter().map(|r| r.id.as_str()).filter(|id| self.settings.patterns.take(id)).collect();
        // A note under another spelling of the name is found when the account is taken: the database compares it.
        let noted = hand::of(store, &matched).await?;
        let noted: HashSet<&str> = noted.iter().map(|n| n.name.as_str()).collect();
        let matched: HashSet<&str> = matched.into_iter().collect();
        course.report.matched += matched.len() as u64;

        for poison in poison {
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
            // As a value: a number that is none is passed over by those who only look for the end.
            let readable = row.definition().is_some();
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
            // Once it has gone, nothing but its absence tells.
            if is_matched && m.is_some_and(|m| m.origin.follows_clouddriver() && m.is_leaving()) {
                course.look_again(name);
            }
            course.report.by_hand += u64::from(verdict.why == Why::ByHand);
            if !readable {
                course.report.failed += 1;
                self.tell_poison(name, "its definition is no JSON object that can be read");
                continue;
            }
            if verdict.refresh {
                match self.engine.agree(name, false).await {
                    Ok(Settled { action: Action::Update | Action::Relink, .. }) => course.report.refreshed += 1,
                    Ok(Settled { unreadable: true, .. }) => course.report.failed += 1,
                    // Something that is open stands in its way, or it goes.
                    Ok(_) => course.look_again(name),
                    Err(e) => self.failed(name, e, course)?,
                }
            }
            match verdict.migrate {
                Some(migrate) if course.budget.admits(migrate) => self.migrate(row, migrate, course).await?,
                Some(_) => course.look_again(name),
                None => {}
            }
            self.keep(turn).await?;
        }
        Ok(looked)
    }

    /// One account that speaks for itself only: told, and the others go on.
    pub(super) fn failed(&self, name: &str, e: settle::Error, course: &mut Course) -> Result<(), Error> {
        if !of_one(&e) {
            return Err(e.into());
        }
        course.report.failed += 1;
        course.look_again(name);
        warn!(account = name, error = %e, "an account cannot be scanned: the next scan tries again");
        Ok(())
    }

    async fn migrate(&self, row: &SourceRow, migrate: Migrate, course: &mut Course) -> Result<(), Error> {
        let name = row.id.as_str();
        let done = match migrate {
            Migrate::Take => self.take(row, course).await?,
            Migrate::Activate => self.activate_one(name, course).await?,
        };
        if let Some(done) = done {
            course.budget.spend(done);
            self.metrics.migrated.inc();
            match done {
                Migrate::Take => course.report.taken += 1,
                Migrate::Activate => course.report.activated += 1,
            }
            info!(
                account = name,
                pattern = self.settings.patterns.first(name),
                activated = done == Migrate::Activate,
                "migrated by its name"
            );
        }
        Ok(())
    }

    /// Says what was done.
    async fn take(&self, row: &SourceRow, course: &mut Course) -> Result<Option<Migrate>, Error> {
        let name = row.id.as_str();
        // By the API it may be readable without having changed: a secret of it resolves again.
        let hopeless = (name, row.incarnation.0, row.body.as_str());
        if self.engine.source().mode() == "sql" && self.is_known(hopeless) {
            course.report.failed += 1;
            return Ok(None);
        }
        let mut take = Take::new(Origin::Scanner, Status::ToMigrate);
        take.respects_hand = true;
        match self.engine.take(name, &take).await {
            Ok(Taken::Entered) => return Ok(Some(Migrate::Take)),
            // Since the page was read, or under another spelling, which only the database takes for this name.
            Ok(Taken::There) if course.budget.admits(Migrate::Activate) => return self.activate_one(name, course).await,
            Ok(Taken::There) => course.look_again(name),
            Ok(Taken::Absent) => {}
            Ok(Taken::ByHand) => course.report.by_hand += 1,
            // Settling has told why.
            Ok(Taken::Unreadable) => {
                self.is_new(hopeless);
                course.report.failed += 1;
            }
            Err(e) => self.failed(name, e, course)?,
        }
        Ok(None)
    }

    async fn activate_one(&self, name: &str, course: &mut Course) -> Result<Option<Migrate>, Error> {
        match self.activate(name).await {
            Ok(done) => Ok(done.then_some(Migrate::Activate)),
            Err(e) => {
                self.failed(name, e.into(), course)?;
                Ok(None)
            }
        }
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

    fn tell_poison(&self, name: &str, reason: &str) {
        if self.is_new(("poison", name, reason)) {
            warn!(account = name, reason, "an account of Clouddriver's cannot be scanned");
        }
    }
}
