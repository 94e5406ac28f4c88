//! What a state comes to when nobody asks for anything more: the properties "at rest" are about that.
//!
//! The search itself visits every order of steps. From each state in which nothing is under way, one fair order is played to its end, with
//! the agents as they are, and once more with all that had gone come back. What looks again and again, by design, comes to rest as a circle:
//! each of its quiet states is judged.

use fairlead::account::Status;
use fairlead::lifecycle::Wanted;

use super::properties::{GHOST, HELD, KEPT, LONELY, LOST, RESTLESS, STUCK, WATCHED};
use super::state::{AGENTS, Look, RETRIES, Row, Standing, State, TASKS};
use super::world::{Action, Dispatch};

/// More steps than any fair order needs.
const STEPS: usize = 400;

/// Nothing is under way.
pub fn is_calm(s: &State) -> bool {
    s.broken == 0 && s.memory.look == Look::Idle && s.memory.tasks == [None; TASKS]
}

/// The properties that a calm state breaks when it comes to rest.
pub fn judge(d: &Dispatch, s: &State) -> u16 {
    let mut t = *s;
    let mut broken = settle_down(d, &mut t);
    if broken == 0 && t.agents.iter().any(|a| a.away) {
        for a in 0..AGENTS {
            if t.agents[a].away {
                t = d.step(&t, Action::Return(a)).unwrap_or(t);
            }
        }
        broken |= settle_down(d, &mut t);
    }
    broken
}

/// Plays a fair order to its end, and says what does not hold there.
fn settle_down(d: &Dispatch, s: &mut State) -> u16 {
    let mut quiet: Vec<State> = Vec::new();
    let mut actions = Vec::new();
    for _ in 0..STEPS {
        actions.clear();
        d.internal(s, &mut actions);
        let Some(first) = actions.first().copied() else { return s.broken | at_rest(d, s) };
        if let Action::Alarm | Action::Pause(_) | Action::Due | Action::Grace = first {
            // Only time goes on.
            if let Some(at) = quiet.iter().position(|q| q == s) {
                return quiet[at..].iter().fold(s.broken, |broken, q| broken | at_rest(d, q));
            }
            quiet.push(*s);
        }
        match d.step(s, first) {
            Some(next) => *s = next,
            None => return 0,
        }
        if s.broken != 0 {
            return s.broken;
        }
    }
    RESTLESS
}

fn at_rest(d: &Dispatch, s: &State) -> u16 {
    let connected: Vec<usize> = s.in_order().collect();
    let mut broken = 0;
    for a in &connected {
        if s.agents[*a].seen != s.agents[*a].has {
            broken |= GHOST;
        }
        if s.agents[*a].has.is_some_and(|h| !s.row.is_some_and(|row| may_hold(s, &row, *a, h.generation))) {
            broken |= HELD;
        }
    }
    let Some(row) = s.row else {
        return if s.wish == Wanted::Deleted { broken } else { broken | LOST };
    };
    let of_zone: Vec<usize> = row.zone.map_or_else(|| connected.clone(), |z| s.in_zone(z).collect());
    let good = |a: &usize| s.agents[*a].has.is_some_and(|h| h.generation == 0 && h.standing == Standing::Reached);
    let as_wished = match s.wish {
        Wanted::Active => matches!(row.status, Status::ToMigrate | Status::Active | Status::Orphaned | Status::Failed),
        Wanted::Inactive => row.status == Status::Inactive,
        Wanted::Deleted => row.status == Status::DeleteFailed,
    };
    if !as_wished {
        broken |= LOST;
    }
    match row.status {
        Status::Activating | Status::ToDeactivate | Status::Deactivating | Status::Deleting => broken |= STUCK,
        // Any zone will do for one that has none, or whose zone was only found.
        Status::ToMigrate if !of_zone.is_empty() || (row.found && !connected.is_empty()) => broken |= STUCK,
        Status::Failed | Status::DeleteFailed if row.failed <= RETRIES => broken |= STUCK,
        Status::Failed if d.is_unbroken() && of_zone.iter().any(|a| s.agents[*a].reaches) => broken |= KEPT,
        Status::Active if !of_zone.iter().any(good) => broken |= STUCK,
        Status::Orphaned if of_zone.iter().any(|a| s.agents[*a].reaches) || (row.found && of_zone.is_empty() && !connected.is_empty()) => {
            broken |= STUCK;
        }
        Status::Active => {
            if of_zone.iter().any(|a| s.agents[*a].reaches && !good(a)) {
                broken |= LONELY;
            }
            if of_zone.iter().filter(|a| good(a) && s.agents[**a].has.is_some_and(|h| h.watch)).count() != 1 {
                broken |= WATCHED;
            }
        }
        _ => {}
    }
    broken
}

fn may_hold(s: &State, row: &Row, agent: usize, generation: u8) -> bool {
    match row.status {
        Status::DeleteFailed => true,
        Status::Active | Status::Orphaned => generation == 0 && row.zone.is_none_or(|z| z == s.zone_of(agent)),
        _ => false,
    }
}
