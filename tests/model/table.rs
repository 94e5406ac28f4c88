//! The decision: what a run of settle does with what it read.
//!
//! It is not written down here a second time. The model asks the real one, [`fairlead::mirror::decide::decide`], and only
//! translates: so the two cannot drift apart, and what the search shows holds for the table that runs. A mutant turns its clause off in what the table
//! is told, or in what is done with its answer.

use fairlead::account::{Incarnation, Origin};
use fairlead::mirror::Method as RealMethod;
use fairlead::mirror::decide::{self as real, CLOCK_SKEW_MS, Gap, IntentFacts, MirrorFacts, NameFacts, PreImage, RowFacts, Trigger};
use ulid::Ulid;

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
    /// By a pass after a gap.
    Insert(Row),
    /// In place of what was there, if anything was.
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

/// Incarnations lie so far apart that "near in time" means "the same".
const APART: i64 = 100 * CLOCK_SKEW_MS;

const fn time(inc: Inc) -> i64 {
    inc as i64 * APART
}

const fn id(i: usize) -> Ulid {
    Ulid(i as u128 + 1)
}

pub fn decide(f: &Facts) -> Decision {
    let row = match f.read {
        Read::Row(row) => row,
        Read::CannotTell if f.mutant == Mutant::AbsentFromTheListIsDeleted => None,
        Read::NotYet | Read::CannotTell => {
            return Decision { step: Step::Nothing, ends: [false; CHANGES], looked: [false; CHANGES], name: f.name, undecided: true };
        }
    };
    let r = row.map(|r| RowFacts {
        incarnation: Incarnation(time(r.inc)),
        modified: Some(i64::from(r.val)),
        kubernetes: true,
        differs: f.mirror.is_some_and(|m| m.val != r.val),
    });
    let m = f.mirror.map(|m| MirrorFacts {
        origin: match m.link {
            Link::To(_) => Origin::Interceptor,
            Link::Static => Origin::Agent,
            Link::Created => Origin::Created,
        },
        incarnation: if let Link::To(inc) = m.link { Some(Incarnation(time(inc))) } else { None },
        sent: m.status != Status::Inactive,
        deleting: m.status == Status::Deleting,
    });
    let claimed = if f.mutant == Mutant::ClaimedIsForgotten { 0 } else { f.name.claimed };
    let name = NameFacts {
        claimed: (claimed != 0).then(|| Incarnation(time(claimed))),
        seen: (f.name.seen != 0).then(|| Incarnation(time(f.name.seen))),
        // Only what counts as seen before the gap is kept at all.
        seen_at: 0,
    };
    let intents: Vec<IntentFacts> = (0..CHANGES).filter_map(|i| intent(f, i, row)).collect();
    let open: Vec<Ulid> = (0..CHANGES)
        .filter(|i| f.open[*i] && (f.mutant != Mutant::OthersAsInTheSnapshot || f.known[*i] != Known::Absent))
        .map(id)
        .collect();
    let open: Vec<(Ulid, RealMethod)> =
        (0..CHANGES).filter(|i| open.contains(&id(*i))).map(|i| (id(i), method(f.changes[i].method))).collect();
    let trigger = match f.purpose {
        Purpose::Intents => Trigger::Intents,
        Purpose::Take => Trigger::Take,
        Purpose::Pass => Trigger::Pass { gap: None, may_remove: false },
        Purpose::GapPass => Trigger::Pass { gap: Some(Gap { since: time(2), ok_until: 0 }), may_remove: true },
    };
    let d = real::decide(r.as_ref(), m.as_ref(), &name, &intents, &open, trigger);
    translate(f, row, &d)
}

const fn method(m: Method) -> RealMethod {
    match m {
        Method::Post => RealMethod::Post,
        Method::Put => RealMethod::Put,
        Method::Delete => RealMethod::Delete,
    }
}

fn intent(f: &Facts, i: usize, row: Option<Row>) -> Option<IntentFacts> {
    let c = &f.changes[i];
    let known = match f.known[i] {
        Known::Absent => return None,
        Known::Pending => real::Known::Pending,
        Known::Ok => real::Known::Ok,
        Known::Unknown | Known::Expired => real::Known::Unknown,
    };
    let pre = match c.before {
        _ if f.mutant == Mutant::PreImageIsForgotten && c.method == Method::Post => PreImage::None,
        Before::Unknown => PreImage::Unknown,
        Before::None => PreImage::None,
        Before::Row(before) => PreImage::Row { incarnation: Incarnation(time(before.inc)), modified: Some(i64::from(before.val)) },
    };
    // Real times are apart by as much as clocks may be. That a POST takes a row for its own which is older than it is one row too many; that
    // a PUT does so would be one too few, so for a PUT the worst is assumed.
    let near = c.method == Method::Put || row.is_some_and(|r| r.inc >= c.floor);
    Some(IntentFacts {
        id: id(i),
        method: method(c.method),
        pre,
        late: c.late && f.mutant != Mutant::LatePreImageIsBelieved,
        known,
        past_window: f.known[i] == Known::Expired || f.mutant == Mutant::UnknownEndsAtOnce,
        created: row.map_or(0, |r| time(r.inc)) + if near { 0 } else { -APART },
    })
}

fn translate(f: &Facts, row: Option<Row>, d: &real::Decision) -> Decision {
    let linked = f.mirror.and_then(|m| if let Link::To(inc) = m.link { Some(inc) } else { None });
    let mut step = match (d.action, row) {
        (real::Action::Remove, _) => Step::Remove,
        (_, None) | (real::Action::Keep, _) => Step::Nothing,
        (real::Action::Insert { after_gap: true }, Some(row)) => Step::Insert(row),
        (real::Action::Insert { after_gap: false } | real::Action::Replace, Some(row)) => Step::Claim(row),
        (real::Action::Update, Some(row)) => Step::Update(row),
        (real::Action::Relink, Some(row)) => Step::Relink(row),
    };
    match (row, f.mirror) {
        (Some(row), Some(m)) if linked.is_some_and(|inc| inc != row.inc) => match f.mutant {
            Mutant::RowAndMirrorMeanUpdate => step = Step::Relink(row),
            Mutant::DyingRowIsUpdated if m.status == Status::Deleting => step = Step::Relink(row),
            _ => {}
        },
        _ => {}
    }
    let mut made_it = d.put_made_it;
    if f.mutant == Mutant::NearnessExplains
        && f.changes.iter().zip(f.known).any(|(c, known)| c.method == Method::Put && *known != Known::Absent)
    {
        made_it = true;
        if matches!(step, Step::Insert(_)) {
            step = Step::Nothing;
        }
    }
    let mut name = f.name;
    if let Some(row) = row {
        if !f.behind || made_it || f.mutant == Mutant::SeenDuringTheGap {
            name.seen = row.inc;
        }
        if d.claims || matches!(step, Step::Claim(_)) {
            name.claimed = row.inc;
        }
    }
    let mut ends = [false; CHANGES];
    let mut looked = [false; CHANGES];
    for i in 0..CHANGES {
        ends[i] = d.ended.contains(&id(i)) || (f.mutant == Mutant::OneReadEndsAll && f.open[i]);
        if f.known[i] == Known::Ok && !ends[i] && !d.held.contains(&id(i)) {
            // The ladder, with one step in place of several.
            ends[i] = f.changes[i].looked;
            looked[i] = !f.changes[i].looked;
        }
    }
    if f.mutant == Mutant::DyingRowIsUpdated && matches!(step, Step::Relink(_)) {
        ends = std::array::from_fn(|i| f.known[i] == Known::Ok);
    }
    if f.mutant == Mutant::RemovalEndsThePost && step == Step::Remove {
        ends = std::array::from_fn(|i| ends[i] || f.known[i] == Known::Ok);
    }
    // Asked to settle again at once, a pass stays what it is.
    let undecided = d.undecided || d.again;
    Decision { step, ends, looked, name, undecided }
}
