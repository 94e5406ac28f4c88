//! What must hold, as bits of [`History::broken`](crate::state::History): some are judged when a run applies, some when nothing moves
//! any more (see `rest`).

use stateright::Property;

use crate::protocol::Protocol;
use crate::state::{CHANGES, Going, Known, Link, Method, Purpose, Read, State, Status, bit};
use crate::table::{Decision, Step};

pub const BACK: u16 = 1;
pub const TWICE: u16 = 1 << 1;
pub const CARRIED: u16 = 1 << 2;
pub const UNLINKED: u16 = 1 << 3;
pub const BY_HAND: u16 = 1 << 4;
pub const BEFORE: u16 = 1 << 5;
pub const PUT_ALONE: u16 = 1 << 6;
pub const STUCK: u16 = 1 << 7;
pub const ORPHAN: u16 = 1 << 8;
pub const STALE: u16 = 1 << 9;
pub const LOST: u16 = 1 << 10;

const fn holds(state: &State, property: u16) -> bool {
    state.history.broken & property == 0
}

/// All properties, under the names that the mutants' tests use.
pub fn all() -> Vec<Property<Protocol>> {
    vec![
        Property::always(name(BACK), |_, s| holds(s, BACK)),
        Property::always(name(TWICE), |_, s| holds(s, TWICE)),
        Property::always(name(CARRIED), |_, s| holds(s, CARRIED)),
        Property::always(name(UNLINKED), |_, s| holds(s, UNLINKED)),
        Property::always(name(BY_HAND), |_, s| holds(s, BY_HAND)),
        Property::always(name(BEFORE), |_, s| holds(s, BEFORE)),
        Property::always(name(PUT_ALONE), |_, s| holds(s, PUT_ALONE)),
        Property::always(name(STUCK), |_, s| holds(s, STUCK)),
        Property::always(name(ORPHAN), |_, s| holds(s, ORPHAN)),
        Property::always(name(STALE), |_, s| holds(s, STALE)),
        Property::always(name(LOST), |_, s| holds(s, LOST)),
    ]
}

pub const fn name(property: u16) -> &'static str {
    match property {
        BACK => "applied reads never go back",
        TWICE => "no incarnation is claimed twice",
        CARRIED => "an ACTIVE row is never carried over a DELETE or onto a POST that was announced",
        UNLINKED => "unlinked rows are untouched",
        BY_HAND => "what was taken out by hand stays out",
        BEFORE => "no row enters for a POST that it is older than",
        PUT_ALONE => "no row enters by an announced PUT alone",
        STUCK => "at rest nothing is open: no intent, no gap, no DELETING",
        ORPHAN => "at rest no linked row is without Clouddriver's",
        STALE => "at rest a linked row has Clouddriver's incarnation and value",
        LOST => "at rest an account that a POST of ours made is mirrored",
        _ => "?",
    }
}

/// Judges what a run is about to do to the mirror.
pub fn judge(s: &State, run: &Going, decision: &Decision) -> u16 {
    let mut broken = 0;
    if matches!(run.read, Read::Row(_)) && run.at < s.history.applied {
        broken |= BACK;
    }
    let by_itself = run.purpose != Purpose::Take;
    if let Step::Claim(row) | Step::Insert(row) = decision.step
        && by_itself
    {
        if s.history.claimed & bit(row.inc) != 0 {
            broken |= TWICE;
        }
        if s.history.by_hand & bit(row.inc) != 0 {
            broken |= BY_HAND;
        }
    }
    match (decision.step, s.mirror.map(|m| (m.link, m.status))) {
        (Step::Claim(row), _) if by_itself => {
            let a_post_is_older = (0..CHANGES).any(|i| {
                let c = &s.changes[i];
                c.method == Method::Post && !matches!(run.known[i], Known::Absent | Known::Pending) && c.floor <= row.inc
            });
            if !a_post_is_older {
                broken |= BEFORE;
            }
        }
        (Step::Insert(row), _) if s.history.put & bit(row.inc) != 0 => broken |= PUT_ALONE,
        (Step::Relink(row), Some((Link::To(inc), status)))
            if status != Status::Inactive && (s.history.announced & bit(row.inc) | s.history.deleted & bit(inc)) != 0 =>
        {
            broken |= CARRIED;
        }
        _ => {}
    }
    match (s.mirror.map(|m| m.link), decision.step) {
        (None | Some(Link::To(_)), _) | (_, Step::Nothing) => {}
        (Some(Link::Created), Step::Remove) if (0..CHANGES).any(|i| s.changes[i].method == Method::Delete && run.known[i] == Known::Ok) => {
        }
        _ => broken |= UNLINKED,
    }
    broken
}

/// What must hold of a state in which nothing moves any more.
pub fn at_rest(s: &State) -> u16 {
    let linked = s.mirror.and_then(|m| if let Link::To(inc) = m.link { Some((inc, m.val)) } else { None });
    match (s.row, linked) {
        // Deleted past the proxy: shown as drift.
        (None, Some((inc, _))) if s.history.deleted_outside & bit(inc) == 0 => ORPHAN,
        (Some(row), Some(link)) if link != (row.inc, row.val) => STALE,
        (Some(row), None)
            if s.mirror.is_none()
                && s.history.posted & !s.history.beside_a_put & bit(row.inc) != 0
                && s.history.by_hand & bit(row.inc) == 0 =>
        {
            LOST
        }
        _ => 0,
    }
}
