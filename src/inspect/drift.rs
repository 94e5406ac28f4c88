//! Where the mirror and Clouddriver differ, account by account.
//!
//! Both change while they are read, so nothing is said at first sight: what seems to differ is read again, Clouddriver's row before *and* after
//! the mirror's and the open changes. Said is only what differs while Clouddriver's row stood still and no change of the account was open. A
//! change through Fairlead is journalled before it is forwarded and settled in the transaction that ends it, so of those readings one shows it.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write;

use serde_json::{Value, json};

use super::Error;
use super::compare::{Difference, NOT_JSON, compare};
use super::screen::{Record, Screen};
use super::view::{View, mark};
use crate::account::Status;
use crate::patterns::Patterns;
use crate::source::{Poison, Reading, SourceRow};
use crate::store::mirrored::PassRow;

/// Rows read at a time.
const PAGE: u32 = 500;
/// Names that are looked at again at once.
const AT_ONCE: usize = 100;
/// How often a name is read again that changes while it is read.
const LOOKS: u32 = 4;

/// How an account differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Missing,
    Gone,
    OtherLife,
    NotLinked,
    OtherDefinition,
    Poison,
    Conflict,
    Unknown,
    /// Not told: a change is under way that explains it.
    UnderWay,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Gone => "gone",
            Self::OtherLife => "otherLife",
            Self::NotLinked => "notLinked",
            Self::OtherDefinition => "otherDefinition",
            Self::Poison => "poison",
            Self::Conflict => "conflict",
            Self::Unknown => "unknown",
            Self::UnderWay => "underWay",
        }
    }
}

/// One account.
struct Finding {
    kind: Kind,
    name: String,
    /// Status and origin of its row.
    mirror: Option<(String, &'static str)>,
    /// Where the definitions differ.
    places: Vec<String>,
    what: String,
}

impl Record for Finding {
    const HEAD: &'static [&'static str] = &["DIFFERENCE", "ACCOUNT", "IN THE MIRROR", "WHAT"];

    fn cells(&self) -> Vec<String> {
        let mirror = self.mirror.as_ref().map_or_else(|| "-".to_owned(), |(status, _)| status.clone());
        let places = if self.places.is_empty() { String::new() } else { format!(": {}", self.places.join(", ")) };
        vec![self.kind.as_str().to_owned(), self.name.clone(), mirror, format!("{}{places}", self.what)]
    }

    fn json(&self) -> Value {
        json!({
            "type": "difference",
            "kind": self.kind.as_str(),
            "name": self.name,
            "mirror": self.mirror.as_ref().map(|(status, origin)| json!({ "status": status, "origin": origin })),
            "pointers": self.places,
            "what": self.what,
        })
    }
}

/// What a comparison came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drift {
    /// Rows of Clouddriver's that were read, of every type.
    pub rows: u64,
    /// Rows of the mirror that were compared.
    pub mirrored: u64,
    /// Clouddriver has it, and it should be in the mirror.
    pub missing: u64,
    /// It is in the mirror, and Clouddriver does not have it.
    pub gone: u64,
    /// It was deleted and made again in Clouddriver.
    pub other_life: u64,
    /// It was taken over from the original and has not seen Clouddriver's.
    pub not_linked: u64,
    /// Another definition.
    pub other_definition: u64,
    /// Clouddriver's row cannot be used.
    pub poison: u64,
    /// A name of Fairlead's own or of an agent's, and Clouddriver has it too.
    pub conflict: u64,
    /// It cannot be told.
    pub unknown: u64,
    /// A change is open that explains a difference, or the row is leaving.
    pub under_way: u64,
}

impl Drift {
    fn count(&mut self, kind: Kind) {
        *match kind {
            Kind::Missing => &mut self.missing,
            Kind::Gone => &mut self.gone,
            Kind::OtherLife => &mut self.other_life,
            Kind::NotLinked => &mut self.not_linked,
            Kind::OtherDefinition => &mut self.other_definition,
            Kind::Poison => &mut self.poison,
            Kind::Conflict => &mut self.conflict,
            Kind::Unknown => &mut self.unknown,
            Kind::UnderWay => &mut self.under_way,
        } += 1;
    }

    /// Accounts that differ.
    pub const fn differences(&self) -> u64 {
        self.missing + self.gone + self.other_life + self.not_linked + self.other_definition + self.poison + self.conflict
    }

    /// The sums, as the last line.
    pub fn json(&self) -> Value {
        json!({
            "type": "summary",
            "verdict": self.verdict(),
            "rows": self.rows,
            "mirrored": self.mirrored,
            "missing": self.missing,
            "gone": self.gone,
            "otherLife": self.other_life,
            "notLinked": self.not_linked,
            "otherDefinition": self.other_definition,
            "poison": self.poison,
            "conflict": self.conflict,
            "unknown": self.unknown,
            "underWay": self.under_way,
        })
    }

    /// The sums for people.
    pub fn sentences(&self) -> Vec<String> {
        let verdict = match self.verdict() {
            "equal" => "the mirror is as it should be".to_owned(),
            "unknown" => format!("nothing was found to differ, and of {} it cannot be told", self.unknown),
            _ => format!(
                "{} differ{}",
                self.differences(),
                if self.unknown > 0 { format!(", and of {} it cannot be told", self.unknown) } else { String::new() }
            ),
        };
        let mut said = vec![format!("{} rows of Clouddriver's read, {} of the mirror's: {verdict}", self.rows, self.mirrored)];
        if self.under_way > 0 {
            said.push(format!("{} not told of, because a change of them is under way", self.under_way));
        }
        said
    }

    /// `equal`, `differs`, or `unknown`: nothing differs, and of some it cannot be told.
    pub const fn verdict(&self) -> &'static str {
        match (self.differences(), self.unknown) {
            (0, 0) => "equal",
            (0, _) => "unknown",
            _ => "differs",
        }
    }
}

/// What is known of one name beside its rows.
struct Beside<'a> {
    takes: bool,
    claimed: Option<&'a i64>,
    by_hand: bool,
    open: bool,
}

/// What was found of one name; nothing: it is as it should be.
type Found = Option<(Kind, String, Vec<String>)>;

struct Look<'a> {
    view: &'a View,
    /// `None`: nothing is scanned, so nothing has to be in the mirror for its name.
    patterns: Option<&'a Patterns>,
    drift: Drift,
    hasher: RandomState,
    /// Mirrored names that were compared: eight bytes for each.
    seen: HashSet<u64>,
}

/// Compares everything. `patterns`: those of a scanner that is on.
///
/// # Errors
/// [`Error`]. Dropped half-way, it leaves nothing behind.
pub async fn drift<W: Write>(view: &View, patterns: Option<&Patterns>, screen: &mut Screen<W>) -> Result<Drift, Error> {
    let mut look = Look { view, patterns, drift: Drift::default(), hasher: RandomState::new(), seen: HashSet::new() };
    let mut after: Option<String> = None;
    loop {
        let page = view.source.page(after.as_deref(), PAGE).await?;
        look.drift.rows += page.raw_count as u64;
        let poison = page.poison.into_iter().map(|Poison { id, reason }| (id, Reading::Unknown(reason)));
        let rows = page.rows.into_iter().filter(SourceRow::is_kubernetes).map(|row| (row.id.clone(), Reading::Present(row)));
        let rows: Vec<(String, Reading)> = poison.chain(rows).collect();
        look.at_first_sight(rows, screen).await?;
        screen.page(look.drift.rows)?;
        match page.next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    let mut after: Option<String> = None;
    loop {
        let page = view.mirror_page(after.as_deref(), PAGE).await?;
        look.drift.mirrored += page.len() as u64;
        let follows = page.iter().filter(|m| m.origin.follows_clouddriver()).map(|m| m.name.as_str());
        let left: Vec<&str> = follows.filter(|name| !look.seen.contains(&look.hasher.hash_one(*name))).collect();
        look.again(&left, screen).await?;
        screen.page(look.drift.rows)?;
        match page.last() {
            Some(last) if page.len() >= PAGE as usize => after = Some(last.name.clone()),
            _ => break,
        }
    }
    Ok(look.drift)
}

impl Look<'_> {
    fn takes(&self, name: &str) -> bool {
        self.patterns.is_some_and(|p| p.take(name))
    }

    /// Looks at a page; what seems to differ is looked at again.
    async fn at_first_sight<W: Write>(&mut self, rows: Vec<(String, Reading)>, screen: &mut Screen<W>) -> Result<(), Error> {
        let names: Vec<&str> = rows.iter().map(|(name, _)| name.as_str()).collect();
        let mirrored = self.view.mirrored(&names).await?;
        self.seen.extend(mirrored.values().map(|m| self.hasher.hash_one(&m.name)));
        let alone: Vec<&str> = names.iter().copied().filter(|name| !mirrored.contains_key(*name)).collect();
        let claimed = self.view.claimed(&alone).await?;
        let mut doubtful = Vec::new();
        for (name, reading) in &rows {
            let beside = Beside { takes: self.takes(name), claimed: claimed.get(name), by_hand: false, open: false };
            if self.judge(reading, mirrored.get(name), &beside).is_some() {
                doubtful.push(name.clone());
            }
        }
        drop(rows);
        let doubtful: Vec<&str> = doubtful.iter().map(String::as_str).collect();
        self.again(&doubtful, screen).await
    }

    /// Looks at names as the head of this file says, and tells what is still so.
    async fn again<W: Write>(&mut self, names: &[&str], screen: &mut Screen<W>) -> Result<(), Error> {
        for some in names.chunks(AT_ONCE) {
            self.again_some(some, screen).await?;
        }
        Ok(())
    }

    async fn again_some<W: Write>(&mut self, names: &[&str], screen: &mut Screen<W>) -> Result<(), Error> {
        let mut left: Vec<&str> = names.to_vec();
        for _ in 0..LOOKS {
            if left.is_empty() {
                return Ok(());
            }
            let before = self.view.marks(&left, &self.hasher).await?;
            let open = self.view.open(&left).await?;
            let nameless = self.view.is_any_nameless().await?;
            let mirrored = self.view.mirrored(&left).await?;
            let claimed = self.view.claimed(&left).await?;
            let noted = self.view.noted(&left).await?;
            let after = self.view.read(&left).await?;
            let mut moving = Vec::new();
            for ((name, before), after) in left.into_iter().zip(before).zip(after) {
                let after = self.view.or_alone(name, after).await?;
                if before != mark(&after, &self.hasher) {
                    moving.push(name);
                    continue;
                }
                let m = mirrored.get(name);
                let by_hand = noted.exactly.contains(name) || noted.otherwise.contains(name);
                let beside = Beside { takes: self.takes(name), claimed: claimed.get(name), by_hand, open: open.contains(name) };
                let found = self.judge(&after, m, &beside);
                self.tell(name, m, found, nameless, screen)?;
            }
            left = moving;
        }
        for name in left {
            self.tell(name, None, Some((Kind::Unknown, "it changes all the time".to_owned(), Vec::new())), false, screen)?;
        }
        Ok(())
    }

    fn tell<W: Write>(
        &mut self,
        name: &str,
        m: Option<&PassRow>,
        found: Found,
        nameless: bool,
        screen: &mut Screen<W>,
    ) -> Result<(), Error> {
        let Some((mut kind, mut what, places)) = found else { return Ok(()) };
        if nameless && matches!(kind, Kind::Missing | Kind::Gone | Kind::OtherLife | Kind::OtherDefinition) {
            kind = Kind::Unknown;
            what = format!("{what}; a change is open of which no name is known, and may explain it");
        }
        self.drift.count(kind);
        if kind == Kind::UnderWay {
            return Ok(());
        }
        let mirror = m.map(|m| (m.status.map_or_else(|| "unknown".to_owned(), |s| s.as_str().to_owned()), m.origin.as_str()));
        Ok(screen.line(&Finding { kind, name: name.to_owned(), mirror, places, what })?)
    }

    /// What is to be said of one name.
    fn judge(&self, reading: &Reading, m: Option<&PassRow>, beside: &Beside<'_>) -> Found {
        let found = |kind, what: &str| Some((kind, what.to_owned(), Vec::new()));
        let row = match reading {
            Reading::Unknown(reason) if m.is_some() || beside.takes || beside.claimed.is_some() => {
                let kind = if self.view.source.mode() == "sql" { Kind::Poison } else { Kind::Unknown };
                return found(kind, reason);
            }
            Reading::Unknown(_) => return None,
            Reading::Present(row) => Some(row).filter(|row| row.is_kubernetes()),
            Reading::Absent => None,
        };
        let under_way = |found: Found| match found {
            Some((Kind::Conflict | Kind::Poison | Kind::Unknown, ..)) | None => found,
            Some((_, what, places)) if beside.open => Some((Kind::UnderWay, what, places)),
            Some(_) => found,
        };
        under_way(match (row, m) {
            (None, None) => None,
            (Some(_), Some(m)) if !m.origin.follows_clouddriver() => {
                let whose = if m.origin.as_str() == "agent" { "an agent's own" } else { "Fairlead's own" };
                found(Kind::Conflict, &format!("the name is an account of {whose}, and Clouddriver has it too"))
            }
            (None, Some(m)) if !m.origin.follows_clouddriver() => None,
            (row, Some(m)) if matches!(m.status, Some(Status::Deleting | Status::DeleteFailed)) => {
                let leaves = row.is_none_or(|row| m.incarnation != Some(row.incarnation.0));
                if leaves { found(Kind::UnderWay, "its agents are letting go of it") } else { None }
            }
            (None, Some(m)) if m.incarnation.is_none() => {
                found(Kind::Gone, "Clouddriver does not have it, and perhaps never had: it was taken over from the original")
            }
            (None, Some(_)) => {
                let other = matches!(reading, Reading::Present(_));
                found(Kind::Gone, if other { "Clouddriver has it with another type" } else { "Clouddriver does not have it any more" })
            }
            (Some(row), Some(m)) => self.differs(row, m),
            (Some(row), None) => {
                let was_here = beside.claimed == Some(&row.incarnation.0);
                if beside.by_hand || !(was_here || beside.takes) {
                    None
                } else if row.definition().is_none() {
                    found(Kind::Poison, NOT_JSON)
                } else if was_here {
                    found(Kind::Missing, "it was in the mirror, and nobody took it out")
                } else {
                    found(Kind::Missing, "a pattern takes it, and no scan has brought it in")
                }
            }
        })
    }

    fn differs(&self, row: &SourceRow, m: &PassRow) -> Found {
        let (kind, what) = match compare(&self.view.store, self.view.source.mode(), row, m) {
            Difference::None => return None,
            Difference::OtherLife => (Kind::OtherLife, "it was deleted and made again in Clouddriver".to_owned()),
            Difference::NotLinked => (Kind::NotLinked, "it was taken over from the original, and has not seen Clouddriver's".to_owned()),
            Difference::Definition(places) => return Some((Kind::OtherDefinition, "the definitions differ at".to_owned(), places)),
            Difference::Unreadable(why) => (Kind::Poison, why.to_owned()),
            Difference::Sealed(why) => (Kind::Unknown, format!("the mirrored definition does not open: {why}")),
            Difference::OtherMode => (
                Kind::Unknown,
                format!("it was mirrored by {} and is read by {}: the values cannot be compared", m.mode, self.view.source.mode()),
            ),
        };
        Some((kind, what, Vec::new()))
    }
}
