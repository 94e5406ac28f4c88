//! What a scan would do to each account, and why: [`crate::scan`] with its hands tied.
//!
//! It goes over the same accounts in the same order, asks the same rules, and spends the same budget; where a scan would write, it says so.
//! What others do meanwhile is not foreseen, nor what a change that is under way will come to.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write;

use serde_json::{Value, json};

use super::Error;
use super::compare::{Difference, NOT_JSON, compare};
use super::screen::{Record, Screen};
use super::view::{Noted, View};
use crate::account::Status;
use crate::lifecycle::Wanted;
use crate::scan::{Account, Budget, Migrate, Mirrored, Report, Settings, Verdict, Why, judge};
use crate::source::{Page, Poison, Reading, SourceRow};
use crate::store::mirrored::PassRow;

/// Mirrored rows read at a time.
const MIRROR_PAGE: u32 = 500;

/// What would be done to an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Refresh,
    Enter,
    Activate,
    Remove,
}

impl Act {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Refresh => "refresh",
            Self::Enter => "enter",
            Self::Activate => "activate",
            Self::Remove => "remove",
        }
    }
}

/// One account.
struct Planned {
    name: String,
    pattern: Option<String>,
    /// Status and origin of its row; none: it is not in the mirror.
    mirror: Option<(String, &'static str)>,
    acts: Vec<Act>,
    /// In one word.
    reason: &'static str,
    /// In some.
    why: String,
}

impl Record for Planned {
    const HEAD: &'static [&'static str] = &["WOULD", "ACCOUNT", "IN THE MIRROR", "WHY", "PATTERN"];

    fn cells(&self) -> Vec<String> {
        let acts: Vec<&str> = self.acts.iter().map(|a| a.as_str()).collect();
        vec![
            match acts[..] {
                [] if self.reason == "unreadable" => "fail".to_owned(),
                [] => "nothing".to_owned(),
                _ => acts.join(", "),
            },
            self.name.clone(),
            self.mirror.as_ref().map_or_else(|| "-".to_owned(), |(status, _)| status.clone()),
            self.why.clone(),
            self.pattern.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "type": "account",
            "name": self.name,
            "pattern": self.pattern,
            "mirror": self.mirror.as_ref().map(|(status, origin)| json!({ "status": status, "origin": origin })),
            "actions": self.acts.iter().map(|a| a.as_str()).collect::<Vec<_>>(),
            "reason": self.reason,
            "why": self.why,
        })
    }
}

/// The rules' own words for why nothing more is done.
const fn words(why: Why) -> (&'static str, &'static str) {
    match why {
        Why::Matched => ("matched", "a pattern takes it"),
        Why::NotMatched => ("notMatched", "no pattern takes it"),
        Why::ByHand => ("byHand", "a user took it out by hand"),
        Why::Unreadable => ("unreadable", NOT_JSON),
        Why::NotClouddrivers => ("notClouddrivers", "the name is an account of Fairlead's own or of an agent's"),
        Why::InHand => ("inHand", "it is managed already, or on its way"),
    }
}

/// What would become of one account.
struct Outcome {
    acts: Vec<Act>,
    reason: &'static str,
    why: String,
    /// It is worth a line though nothing is done and no pattern takes it.
    fails: bool,
}

impl Outcome {
    fn nothing((reason, why): (&'static str, &str)) -> Self {
        Self { acts: Vec::new(), reason, why: why.to_owned(), fails: false }
    }

    fn fails(why: &str) -> Self {
        Self { fails: true, ..Self::nothing(("unreadable", why)) }
    }
}

/// Which of the limits leaves no room.
fn limit(budget: &Budget) -> &'static str {
    let mut probe = *budget;
    if probe.admits(Migrate::Take) { "scanBatchSize" } else { "maxMigrationsPerScan" }
}

struct Planner<'a> {
    view: &'a View,
    settings: &'a Settings,
    max_deletes: usize,
    all: bool,
    report: Report,
    budget: Budget,
    /// Clouddriver has any Kubernetes account.
    any: bool,
    hasher: RandomState,
    /// Mirrored names that pages have shown: eight bytes for each.
    seen: HashSet<u64>,
}

/// Says of each account what a scan would do to it; `all`: also of those that are no business of a scan's. Writes nothing anywhere but on the
/// screen, and answers what the scan would report.
///
/// # Errors
/// [`Error`]. Dropped half-way, it leaves nothing behind.
pub async fn plan<W: Write>(
    view: &View,
    settings: &Settings,
    max_deletes: u32,
    all: bool,
    screen: &mut Screen<W>,
) -> Result<Report, Error> {
    let budget = Budget::new(settings.max_migrations, settings.batch);
    let (max_deletes, hasher, seen) = (max_deletes as usize, RandomState::new(), HashSet::new());
    let mut planner = Planner { view, settings, max_deletes, all, report: Report::default(), budget, any: false, hasher, seen };
    let mut after: Option<String> = None;
    loop {
        let page = view.source.page(after.as_deref(), settings.page).await?;
        planner.report.rows += page.raw_count as u64;
        planner.look_at(&page, screen).await?;
        screen.page(planner.report.rows)?;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    planner.look_for_absent(screen).await?;
    planner.report.held_back = planner.budget.held_back;
    Ok(planner.report)
}

impl Planner<'_> {
    fn tell<W: Write>(&self, name: &str, m: Option<&PassRow>, outcome: Outcome, screen: &mut Screen<W>) -> Result<(), Error> {
        let pattern = self.settings.patterns.first(name).map(str::to_owned);
        if !self.all && pattern.is_none() && outcome.acts.is_empty() && !outcome.fails {
            return Ok(());
        }
        let Outcome { acts, reason, why, .. } = outcome;
        let mirror = m.map(|m| (m.status.map_or_else(|| "unknown".to_owned(), |s| s.as_str().to_owned()), m.origin.as_str()));
        Ok(screen.line(&Planned { name: name.to_owned(), pattern, mirror, acts, reason, why })?)
    }

    async fn look_at<W: Write>(&mut self, page: &Page, screen: &mut Screen<W>) -> Result<(), Error> {
        let rows: Vec<&SourceRow> = page.rows.iter().filter(|r| r.is_kubernetes()).collect();
        self.any |= !rows.is_empty() || !page.poison.is_empty();
        let ids: Vec<&str> = rows.iter().map(|r| r.id.as_str()).chain(page.poison.iter().map(|p| p.id.as_str())).collect();
        let mirrored = self.view.mirrored(&ids).await?;
        let matched: Vec<&str> = rows.iter().map(|r| r.id.as_str()).filter(|id| self.settings.patterns.take(id)).collect();
        let noted = self.view.noted(&matched).await?;
        let matched: HashSet<&str> = matched.into_iter().collect();
        self.report.matched += matched.len() as u64;
        self.seen.extend(mirrored.values().map(|m| self.hasher.hash_one(&m.name)));
        for Poison { id, reason } in &page.poison {
            let m = mirrored.get(id);
            let concerns = m.is_some() || self.settings.patterns.take(id);
            self.report.failed += u64::from(concerns);
            self.tell(id, m, Outcome { fails: concerns, ..Outcome::fails(reason) }, screen)?;
        }
        for row in rows {
            let outcome = self.judge(row, &mirrored, matched.contains(row.id.as_str()), &noted);
            self.tell(&row.id, mirrored.get(&row.id), outcome, screen)?;
        }
        Ok(())
    }

    fn judge(&mut self, row: &SourceRow, mirrored: &HashMap<String, PassRow>, is_matched: bool, noted: &Noted) -> Outcome {
        let name = row.id.as_str();
        let found = mirrored.get(name);
        // A scan knows a row under another spelling only when it is about to take the account.
        let m = found.filter(|m| m.name == name);
        if m.is_none() && !is_matched {
            return Outcome::nothing(words(Why::NotMatched));
        }
        let difference = m.filter(|m| m.origin.follows_clouddriver()).map(|m| compare(&self.view.store, self.view.source.mode(), row, m));
        let readable = row.definition().is_some();
        let differs = !matches!(difference, None | Some(Difference::None | Difference::OtherMode));
        let account = Account {
            matched: is_matched,
            readable,
            by_hand: noted.exactly.contains(name),
            mirrored: m.map(|m| Mirrored {
                follows: m.origin.follows_clouddriver(),
                status: m.status,
                wanted: m.wanted,
                differs: readable && differs,
            }),
        };
        let Verdict { refresh, migrate, why } = judge(&account);
        self.report.by_hand += u64::from(why == Why::ByHand);
        if !readable {
            self.report.failed += 1;
            return Outcome::fails(NOT_JSON);
        }
        let mut outcome = Outcome::nothing(words(why));
        if let (true, Some(m), Some(difference)) = (refresh, m, &difference) {
            self.refresh(row, m, difference, &mut outcome);
        }
        let Some(migrate) = migrate else { return outcome };
        if !self.budget.admits(migrate) {
            let limit = limit(&self.budget);
            (outcome.reason, outcome.why) = ("heldBack", format!("{limit} keeps it for a later scan"));
            return outcome;
        }
        match migrate {
            Migrate::Take if found.is_some() => {
                let rests =
                    |m: &PassRow| m.status == Some(Status::Inactive) && m.wanted == Wanted::Inactive && m.origin.follows_clouddriver();
                let by_hand = noted.exactly.contains(name) || noted.otherwise.contains(name);
                (outcome.reason, outcome.why) = ("otherSpelling", "it is in the mirror under another spelling".to_owned());
                if !self.budget.admits(Migrate::Activate) {
                    (outcome.reason, outcome.why) = ("heldBack", "scanBatchSize keeps it for a later scan".to_owned());
                } else if found.is_some_and(rests) && !by_hand {
                    self.report.activated += 1;
                    self.budget.spend(Migrate::Activate);
                    outcome.acts.push(Act::Activate);
                }
            }
            Migrate::Take if noted.otherwise.contains(name) => {
                self.report.by_hand += 1;
                (outcome.reason, outcome.why) = (words(Why::ByHand).0, words(Why::ByHand).1.to_owned());
            }
            Migrate::Take => match self.unstorable(row) {
                Some(why) => {
                    self.report.failed += 1;
                    return Outcome::fails(&why);
                }
                None => {
                    self.report.taken += 1;
                    self.budget.spend(migrate);
                    outcome.acts.push(Act::Enter);
                }
            },
            Migrate::Activate if noted.otherwise.contains(name) => {
                (outcome.reason, outcome.why) = (words(Why::ByHand).0, words(Why::ByHand).1.to_owned())
            }
            Migrate::Activate => {
                self.report.activated += 1;
                self.budget.spend(migrate);
                outcome.acts.push(Act::Activate);
            }
        }
        outcome
    }

    /// Makes the mirror's row what Clouddriver has.
    fn refresh(&mut self, row: &SourceRow, m: &PassRow, difference: &Difference, outcome: &mut Outcome) {
        if let Some(why) = self.unstorable(row) {
            self.report.failed += 1;
            outcome.fails = true;
            outcome.why = format!("{}; {why}", outcome.why);
            return;
        }
        // A row that leaves is not linked to another life.
        if *difference == Difference::OtherLife && matches!(m.status, Some(Status::Deleting | Status::DeleteFailed)) {
            return;
        }
        self.report.refreshed += 1;
        outcome.acts.push(Act::Refresh);
        let what = match difference {
            Difference::OtherLife => "it was deleted and made again in Clouddriver",
            Difference::NotLinked => "it was taken over from the original and is linked to Clouddriver's",
            Difference::Sealed(_) => "the mirrored definition does not open with the keys that are given",
            _ => "Clouddriver has another definition",
        };
        outcome.why = format!("{what}; {}", outcome.why);
    }

    /// Why it cannot be mirrored as it is, if it cannot.
    fn unstorable(&self, row: &SourceRow) -> Option<String> {
        match row.definition() {
            None => Some(NOT_JSON.to_owned()),
            Some(definition) => self.view.store.seal_definition(&row.id, &definition).err().map(|e| e.to_string()),
        }
    }

    /// Mirrored accounts that the pages did not show. At most `maxDeletesPerPass` of them are held before they are told.
    async fn look_for_absent<W: Write>(&mut self, screen: &mut Screen<W>) -> Result<(), Error> {
        let mut gone: Vec<PassRow> = Vec::new();
        let (mut absent, mut too_many) = (0_u64, false);
        let mut after: Option<String> = None;
        loop {
            let page = self.view.mirror_page(after.as_deref(), MIRROR_PAGE).await?;
            let left: Vec<&PassRow> = page
                .iter()
                .filter(|m| m.origin.follows_clouddriver() && !matches!(m.status, Some(Status::Deleting | Status::DeleteFailed)))
                .filter(|m| !self.seen.contains(&self.hasher.hash_one(&m.name)))
                .collect();
            let names: Vec<&str> = left.iter().map(|m| m.name.as_str()).collect();
            for (m, reading) in left.into_iter().zip(self.view.read(&names).await?) {
                match self.view.or_alone(&m.name, reading).await? {
                    Reading::Present(row) if row.is_kubernetes() => {
                        let mut outcome = Outcome::nothing(words(Why::NotMatched));
                        match compare(&self.view.store, self.view.source.mode(), &row, m) {
                            Difference::None | Difference::OtherMode => {}
                            difference => self.refresh(&row, m, &difference, &mut outcome),
                        }
                        self.tell(&m.name, Some(m), outcome, screen)?;
                    }
                    Reading::Unknown(reason) => {
                        self.tell(&m.name, Some(m), Outcome::nothing(("unknown", &reason)), screen)?;
                    }
                    Reading::Present(_) | Reading::Absent => {
                        absent += 1;
                        if !self.settings.deletes || m.incarnation.is_none() {
                            let why = if self.settings.deletes {
                                "Clouddriver does not have it, and perhaps never had"
                            } else {
                                "Clouddriver does not have it any more, and scanDeletes is off"
                            };
                            self.tell(&m.name, Some(m), Outcome { fails: true, ..Outcome::nothing(("absent", why)) }, screen)?;
                        } else {
                            gone.push(m.clone());
                        }
                        too_many |= gone.len() > self.max_deletes;
                        if too_many {
                            self.keep(&mut gone, screen)?;
                        }
                    }
                }
            }
            screen.page(self.report.rows)?;
            match page.last() {
                Some(last) if page.len() >= MIRROR_PAGE as usize => after = Some(last.name.clone()),
                _ => break,
            }
        }
        self.report.drift = absent;
        if too_many || !self.any && gone.len() > 1 {
            self.report.deletes_held_back = absent;
            return self.keep(&mut gone, screen);
        }
        for m in gone {
            self.report.removed += 1;
            self.report.drift -= 1;
            let outcome = Outcome { acts: vec![Act::Remove], ..Outcome::nothing(("absent", "Clouddriver does not have it any more")) };
            self.tell(&m.name, Some(&m), outcome, screen)?;
        }
        Ok(())
    }

    /// They are more than `maxDeletesPerPass`, or all of them.
    fn keep<W: Write>(&self, gone: &mut Vec<PassRow>, screen: &mut Screen<W>) -> Result<(), Error> {
        let why = match self.any {
            true => "Clouddriver lacks more mirrored accounts than maxDeletesPerPass",
            false => "Clouddriver has no Kubernetes account at all",
        };
        for m in gone.drain(..) {
            let outcome = Outcome::nothing(("heldBack", why));
            self.tell(&m.name, Some(&m), Outcome { fails: true, ..outcome }, screen)?;
        }
        Ok(())
    }
}
