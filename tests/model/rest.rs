//! What a state comes to when nobody asks for anything more: the properties "at rest" are about that.
//!
//! The search itself visits every order of steps. From each state in which all calls are decided and no run is on its way, one fair
//! order is played to its end, so that "nothing stays open for ever" is checked too, which a search for bad states alone cannot see.

use crate::properties::{STUCK, at_rest};
use crate::protocol::{Action, Protocol};
use crate::state::{CHANGES, Fate, Intent, Known, Life, Purpose, RUNS, Read, Run, Said, State, Status};
use crate::steps::{begin, can_expire, known, read};

/// More rounds than any fair order needs.
const ROUNDS: usize = 12;

/// All calls are decided, and no run is on its way.
pub fn is_calm(s: &State) -> bool {
    s.history.broken == 0
        && s.runs == [Run::Idle; RUNS]
        && s.replicas.iter().all(|r| r.life != Life::Paused)
        && s.changes.iter().all(|c| !matches!(c.fate, Fate::Unsent | Fate::InFlight))
}

/// The properties that a calm state breaks when it comes to rest.
pub fn judge(p: &Protocol, s: &State) -> u16 {
    let mut t = *s;
    settle_down(p, &mut t);
    let mut broken = t.history.broken | open(&t);
    if !t.history.needs_pass {
        // What was journalled needs no pass.
        broken |= at_rest(&t);
    }
    if broken == 0 {
        let gap = t.replicas.iter().any(|r| r.gap);
        run(p, &mut t, if gap { Purpose::GapPass } else { Purpose::Pass });
        settle_down(p, &mut t);
        let gap_left = t.replicas.iter().any(|r| r.gap);
        broken |= t.history.broken | open(&t) | at_rest(&t) | if gap_left { STUCK } else { 0 };
    }
    broken
}

fn is_open(s: &State) -> bool {
    s.changes.iter().any(|c| matches!(c.intent, Intent::Open | Intent::Writing)) || s.mirror.is_some_and(|m| m.status == Status::Deleting)
}

fn open(s: &State) -> u16 {
    if is_open(s) { STUCK } else { 0 }
}

fn settle_down(p: &Protocol, s: &mut State) {
    for _ in 0..ROUNDS {
        for r in 0..2 {
            if s.replicas[r].life == Life::Waking {
                *s = p.step(s, Action::RenewLease(r as u8));
            }
        }
        for i in 0..CHANGES {
            let c = s.changes[i];
            let Some(owner) = c.owner() else { continue };
            let alive = s.replicas[owner as usize].life == Life::Up;
            if c.intent == Intent::Writing {
                *s = p.step(s, if alive { Action::LateCommit(i) } else { Action::LateFails(i) });
            }
            if alive && c.answer != Said::Nothing && c.heard == Said::Nothing && !s.changes[i].lost {
                *s = p.step(s, Action::Hear(i));
            }
            if can_expire(s, i) {
                *s = p.step(s, Action::GPassed(i));
            }
        }
        if !is_open(s) {
            return;
        }
        for r in 0..2 {
            let live = s.replicas[r as usize].life == Life::Up;
            if live && (0..CHANGES).any(|i| !matches!(known(s, r, i), Known::Absent | Known::Pending)) {
                settle(p, s, r, Purpose::Intents);
            }
        }
        if s.mirror.is_some_and(|m| m.status == Status::Deleting) {
            *s = p.step(s, Action::AgentConfirms);
        }
    }
}

/// One full pass by a replica that lives.
fn run(p: &Protocol, s: &mut State, purpose: Purpose) {
    let r = if s.replicas[0].life == Life::Up { 0 } else { 1 };
    settle(p, s, r, purpose);
}

fn settle(p: &Protocol, s: &mut State, replica: u8, purpose: Purpose) {
    begin(s, replica, purpose);
    p.snapshot(s);
    if let Some(k) = s.runs.iter().position(|r| *r != Run::Idle) {
        let (row, writes) = (s.row, s.history.writes);
        read(s, k, Read::Row(row), writes);
        *s = p.step(s, Action::Apply(k));
    }
}
