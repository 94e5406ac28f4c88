//! The decision table: what a run of settle does with what it read. Pure.

use crate::mutants::Mutant;
use crate::state::{Before, CHANGES, Change, Inc, Known, Link, Method, Mirror, Name, Purpose, Read, Row, Status};

/// What a run knows when its transaction holds the name's row.
pub struct Facts<'a> {
    pub read: Read,
    pub mirror: Option<Mirror>,
    pub name: Name,
    pub purpose: Purpose,
    pub changes: &'a [Change; CHANGES],
    /// The intents as the snapshot had them, before the read.
    pub known: &'a [Known; CHANGES],
    /// The intents that are open now, in the transaction.
    pub open: &'a [bool; CHANGES],
    /// Some replica's `ok_until` stands still: what is seen now was not seen before the gap.
    pub behind: bool,
    pub mutant: Mutant,
}

/// What becomes of the mirror's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Nothing,
    Update(Row),
    Insert(Row),
    /// A claim, of this change.
    Claim(Row),
    Relink(Row),
    Remove,
}

pub struct Decision {
    pub step: Step,
    /// Intents that end with this transaction.
    pub ends: [bool; CHANGES],
    /// Intents of outcome ok that the row did not explain, looked at for the first time.
    pub looked: [bool; CHANGES],
    pub name: Name,
    /// Clouddriver's row is not mirrored, and that may be so only because something else was in the way: a pass for a gap comes back.
    pub undecided: bool,
}

pub fn decide(f: &Facts) -> Decision {
    let row = match f.read {
        Read::Row(row) => row,
        Read::CannotTell if f.mutant == Mutant::AbsentFromTheListIsDeleted => None,
        Read::NotYet | Read::CannotTell => {
            return Decision { step: Step::Nothing, ends: [false; CHANGES], looked: [false; CHANGES], name: f.name, undecided: true };
        }
    };
    let claims = claims(f, row);
    let step = step(f, row, claims);
    let mut name = f.name;
    if let Some(row) = row {
        if !f.behind || made_by_put(f, row.inc) || f.mutant == Mutant::SeenDuringTheGap {
            name.seen = row.inc;
        }
        if let Step::Claim(_) | Step::Insert(_) | Step::Update(_) | Step::Relink(_) = step {
            name.claimed = row.inc;
        }
    }
    let mut ends = [false; CHANGES];
    let mut looked = [false; CHANGES];
    for i in 0..CHANGES {
        let c = &f.changes[i];
        match f.known[i] {
            _ if f.mutant == Mutant::OneReadEndsAll => ends[i] = f.open[i],
            Known::Absent | Known::Pending | Known::Unknown => {}
            _ if waits(f, c, step, row, claims) => {}
            Known::Expired => ends[i] = true,
            Known::Ok if explained(c, row) || c.looked => ends[i] = true,
            Known::Ok => looked[i] = true,
        }
        if f.mutant == Mutant::UnknownEndsAtOnce && f.known[i] == Known::Unknown {
            ends[i] = true;
        }
    }
    let in_the_way = f.open.iter().any(|open| *open) || f.mirror.is_some_and(|m| m.status == Status::Deleting);
    let undecided = row.is_some() && (step == Step::Remove || (step == Step::Nothing && in_the_way));
    Decision { step, ends, looked, name, undecided }
}

/// Whether a POST that was not refused made this row, as far as can be told.
fn claims(f: &Facts, row: Option<Row>) -> bool {
    let Some(row) = row else { return false };
    if f.name.claimed == row.inc && f.mutant != Mutant::ClaimedIsForgotten {
        return false;
    }
    (0..CHANGES).any(|i| {
        let c = &f.changes[i];
        let asked = c.method == Method::Post && matches!(f.known[i], Known::Ok | Known::Unknown | Known::Expired);
        asked
            && match c.before {
                _ if f.mutant == Mutant::PreImageIsForgotten => true,
                Before::None => true,
                Before::Row(before) => before.inc != row.inc,
                Before::Unknown => f.known[i] == Known::Ok || row.inc >= c.floor,
            }
    })
}

/// Whether an intent of this method is there that may be judged, or one that is open at all, also since the snapshot.
fn any(f: &Facts, method: Method, judged: bool) -> bool {
    (0..CHANGES).any(|i| {
        f.changes[i].method == method
            && match f.known[i] {
                Known::Ok | Known::Unknown | Known::Expired => true,
                Known::Pending => !judged,
                Known::Absent => !judged && f.open[i] && f.mutant != Mutant::OthersAsInTheSnapshot,
            }
    })
}

/// First match wins.
fn step(f: &Facts, row: Option<Row>, claims: bool) -> Step {
    let (linked, mirror) = match f.mirror {
        None => (None, None),
        Some(m) => match m.link {
            Link::To(inc) => (Some(inc), Some(m)),
            Link::Created if (0..CHANGES).any(|i| f.known[i] == Known::Ok && f.changes[i].method == Method::Delete) => return Step::Remove,
            Link::Static | Link::Created => return Step::Nothing,
        },
    };
    match (row, mirror) {
        (None, None) => Step::Nothing,
        // A row that was deleted past the proxy is shown as drift, unless something may have passed unjournalled.
        (None, Some(_)) if f.purpose == Purpose::Pass && f.known.iter().all(|k| *k == Known::Absent) => Step::Nothing,
        (None, Some(_)) => Step::Remove,
        (Some(row), Some(_)) if linked == Some(row.inc) => Step::Update(row),
        (Some(row), Some(_)) if f.mutant == Mutant::RowAndMirrorMeanUpdate => Step::Relink(row),
        (Some(row), None) if claims || f.purpose == Purpose::Take => Step::Claim(row),
        (Some(row), None) if f.purpose == Purpose::GapPass && found_after_gap(f, row.inc) && !any(f, Method::Put, false) => {
            Step::Insert(row)
        }
        (Some(_), None) => Step::Nothing,
        (Some(row), Some(m)) if claims && m.status == Status::Inactive => Step::Claim(row),
        (Some(row), Some(_)) if claims && f.mutant == Mutant::DyingRowIsUpdated => Step::Relink(row),
        (Some(_), Some(_)) if claims => Step::Remove,
        (Some(_), Some(_)) if any(f, Method::Delete, true) => Step::Remove,
        // A dying row is the agent's to let go: linked anew, it would take the new account with it.
        (Some(_), Some(m)) if m.status == Status::Deleting => Step::Nothing,
        // Open PUTs do not keep one another from it: no PUT makes an account that must start INACTIVE.
        (Some(row), Some(_)) if !any(f, Method::Post, false) && !any(f, Method::Delete, false) => Step::Relink(row),
        (Some(_), Some(_)) => Step::Nothing,
    }
}

/// Whether a journalled PUT may have made this incarnation: it was not there when the PUT was announced.
fn made_by_put(f: &Facts, inc: Inc) -> bool {
    (0..CHANGES).any(|i| {
        let c = &f.changes[i];
        c.method == Method::Put
            && !matches!(f.known[i], Known::Absent | Known::Pending)
            && match c.before {
                Before::None => true,
                Before::Row(before) => before.inc != inc,
                Before::Unknown => inc >= c.floor,
            }
    })
}

/// Created since the gap began, and neither seen nor claimed before.
fn found_after_gap(f: &Facts, inc: Inc) -> bool {
    inc > 1 && f.name.seen != inc && f.name.claimed != inc
}

/// Whether an intent stays open although its time has come: the mirror is not yet where it leads.
fn waits(f: &Facts, c: &Change, step: Step, row: Option<Row>, claims: bool) -> bool {
    match (c.method, row, f.mirror) {
        // The row it leads to comes in a transaction after the one that drops the old row, whatever that one followed.
        (Method::Post, _, Some(m)) => {
            claims && (step == Step::Remove || m.status == Status::Deleting || (m.link == Link::Created && any(f, Method::Delete, false)))
        }
        (Method::Put, Some(row), Some(Mirror { link: Link::To(inc), status, .. })) => {
            inc != row.inc && step == Step::Nothing && status != Status::Deleting
        }
        (Method::Post | Method::Put | Method::Delete, _, _) => false,
    }
}

/// Whether the row shows what the change did, or what came after it.
fn explained(c: &Change, row: Option<Row>) -> bool {
    match (c.method, c.before, row) {
        (Method::Delete, _, None) => true,
        (Method::Post | Method::Put, Before::Unknown | Before::None, None) => false,
        (Method::Post, Before::Unknown, Some(_)) => true,
        (Method::Delete | Method::Put, Before::Unknown, Some(_)) => false,
        (Method::Post | Method::Put, Before::Row(_), None) => true,
        (Method::Post | Method::Put | Method::Delete, Before::None, Some(_)) => true,
        (Method::Post | Method::Delete, Before::Row(before), Some(row)) => before.inc != row.inc,
        (Method::Put, Before::Row(before), Some(row)) => before != row,
    }
}
