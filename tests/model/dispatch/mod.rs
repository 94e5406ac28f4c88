//! The dispatch of accounts to agents as a model, searched (docs/adr/0006-agent-channel.md).

mod agents;
mod mutants;
mod properties;
mod real;
mod rest;
mod rows;
mod state;
mod world;

use std::fmt::Write as _;

use super::full;
use fairlead::account::Status;
use fairlead::lifecycle::Wanted;
use stateright::{Checker, HasDiscoveries, Model};

use mutants::Mutant;
use properties::{GHOST, HELD, KEPT, LONELY, LOST, STUCK, TWICE, UNREACHED, UNTOLD, WATCHED};
use state::{Agent, Budget, Held, Look, Memory, Missing, Row, Standing, State, TASKS, When};
use world::Dispatch;

/// Where the account is in the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum World {
    /// Never sent, INACTIVE, and both agents reach the cluster.
    Inactive,
    /// As that, wanted ACTIVE, and only the second agent reaches it.
    Second,
    /// ACTIVE at all agents of its zone.
    Active,
    /// ACTIVE at the first, and the other one has just come.
    Alone,
}

use World::{Active, Alone, Inactive, Second};

/// How agents and account stand to zones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Zones {
    /// Both agents are of the account's zone.
    One,
    /// Two zones, and the account is of the first.
    Given,
    /// Two zones, and the account is of none, or the first was found.
    Any,
}

const ZONES: [Zones; 3] = [Zones::One, Zones::Given, Zones::Any];

fn start(world: World, zones: Zones, budget: Budget) -> State {
    let active = matches!(world, Active | Alone);
    let in_zone = |a: usize| a == 0 || (zones == Zones::One && world == Active);
    let agent = |a: usize| {
        let has = (active && in_zone(a)).then_some(Held { generation: 0, watch: a == 0, standing: Standing::Reached });
        Agent { connected: true, reaches: world != Second || a == 1, has, seen: has, ..Agent::default() }
    };
    let mut row = rows::row(Status::Inactive, if zones == Zones::Any && !active { None } else { Some(0) });
    row.due = When::Never;
    if active {
        let connections = if in_zone(1) { 2 } else { 1 };
        let due = if world == Alone { When::Now } else { When::Never };
        row = Row { status: Status::Active, wanted: Wanted::Active, sent: true, found: zones == Zones::Any, connections, due, ..row };
    }
    if world == Second {
        row = Row { status: Status::ToMigrate, wanted: Wanted::Active, due: When::Now, ..row };
    }
    State {
        wish: row.wanted,
        row: Some(row),
        memory: Memory {
            look: Look::Idle,
            dirty: false,
            alarm: false,
            missing: Missing::No,
            passed: None,
            everything: false,
            tasks: [None; TASKS],
        },
        agents: [agent(0), agent(1)],
        first: 0,
        one_zone: zones == Zones::One,
        budget,
        reached: active,
        broken: 0,
    }
}

fn starts(worlds: &[World], zones: &[Zones], budget: Budget) -> Vec<State> {
    worlds.iter().flat_map(|w| zones.iter().map(|z| start(*w, *z, budget))).collect()
}

const NOTHING: Budget = Budget { wishes: 0, changes: 0, crashes: 0, faults: 0 };

/// The properties that a search found violated before it was done, each with a short way there, to be read by a person.
fn violations(starts: Vec<State>, mutant: Mutant, watched: u16, fine: bool) -> Vec<(&'static str, String)> {
    let begun = std::time::Instant::now();
    let checker =
        Dispatch { starts, mutant, watched, fine }.checker().threads(2).finish_when(HasDiscoveries::AnyFailures).spawn_bfs().join();
    if std::env::var_os("FAIRLEAD_MODEL_TRACES").is_some() {
        let text = format!("{mutant:?}: {} states in {:?}\n", checker.unique_state_count(), begun.elapsed());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
    }
    checker.discoveries().into_iter().map(|(name, path)| (name, tell(path.into_vec()))).collect()
}

fn tell(steps: Vec<(State, Option<world::Action>)>) -> String {
    let mut text = String::new();
    for (s, action) in steps {
        let row = s.row.map(|r| (r.status, r.wanted, r.zone, r.due, r.operation));
        let has = s.agents.map(|a| (a.connected, a.has.map(|h| (h.generation, h.watch, h.standing)), a.seen.map(|h| h.generation)));
        let _ = write!(text, "\n  {row:?}, agents {has:?}");
        if let Some(action) = action {
            let _ = write!(text, " -> {action:?}");
        }
        if s.broken != 0 {
            let _ = write!(text, "\n  which comes to {s:?}");
        }
    }
    text
}

/// All beginnings in which an account is not offered to several zones at once, with each step by itself.
#[track_caller]
fn holds(budget: Budget) {
    let mut all = starts(&[Inactive, Second, Active, Alone], &[Zones::One, Zones::Given], budget);
    all.extend(starts(&[Active, Alone], &[Zones::Any], budget));
    hold(all, true);
}

/// Those in which it is. These searches are much larger, so some steps are taken together unless the bounds are the larger ones.
#[track_caller]
fn holds_in_rounds(worlds: &[World], budget: Budget) {
    hold(starts(worlds, &[Zones::Any], budget), full());
}

#[track_caller]
fn hold(starts: Vec<State>, fine: bool) {
    if let Some((name, trace)) = violations(starts, Mutant::None, u16::MAX, fine).into_iter().next() {
        panic!("violated: {name}\n{trace}");
    }
}

/// Dispatch without one clause is refused, for this property.
#[track_caller]
fn refused(mutant: Mutant, starts: Vec<State>, property: u16) {
    let found = violations(starts, mutant, property, true);
    let Some((name, trace)) = found.first() else { panic!("{mutant:?} passes: {:?} was not violated", properties::name(property)) };
    if std::env::var_os("FAIRLEAD_MODEL_TRACES").is_some() {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{mutant:?} violates: {name}\n{trace}\n"));
    }
}

#[test]
fn two_wishes_come_to_be() {
    holds(Budget { wishes: 2, ..NOTHING });
}

#[test]
fn a_wish_and_a_changed_definition_come_to_be() {
    holds(Budget { wishes: 1, changes: 1, ..NOTHING });
}

#[test]
fn a_wish_comes_to_be_whatever_breaks_meanwhile() {
    holds(Budget { wishes: 1, faults: 1, ..NOTHING });
}

#[test]
fn a_wish_comes_to_be_though_the_replica_dies_at_any_step() {
    holds(Budget { wishes: 1, crashes: 1, ..NOTHING });
}

#[test]
fn an_account_without_a_zone_comes_to_be_as_it_is_wanted() {
    holds_in_rounds(&[Inactive], Budget { wishes: 2, ..NOTHING });
    holds_in_rounds(&[Second], Budget { wishes: 1, ..NOTHING });
}

/// The larger bounds, by hand.
mod larger {
    use super::*;

    #[test]
    fn two_wishes_come_to_be_though_the_replica_dies_at_any_step() {
        if full() {
            holds(Budget { wishes: 2, crashes: 1, ..NOTHING });
        }
    }

    #[test]
    fn a_wish_and_a_changed_definition_come_to_be_whatever_breaks_meanwhile() {
        if full() {
            holds(Budget { wishes: 1, changes: 1, crashes: 1, ..NOTHING });
            holds(Budget { wishes: 1, changes: 1, faults: 1, ..NOTHING });
        }
    }

    #[test]
    fn an_account_without_a_zone_finds_one_whatever_breaks_meanwhile() {
        if full() {
            let one = [Budget { changes: 1, ..NOTHING }, Budget { crashes: 1, ..NOTHING }, Budget { faults: 1, ..NOTHING }];
            one.into_iter().for_each(|budget| holds_in_rounds(&[Second], budget));
        }
    }
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident, $worlds:expr, $budget:expr, $property:ident;)*) => {
        $(#[test]
        fn $name() {
            refused(Mutant::$mutant, starts($worlds, &ZONES, $budget), $property);
        })*
    };
}

const TWO_WISHES: Budget = Budget { wishes: 2, ..NOTHING };
const A_CRASH: Budget = Budget { wishes: 1, crashes: 1, ..NOTHING };
const TWO_WISHES_AND_A_FAULT: Budget = Budget { wishes: 2, faults: 1, ..NOTHING };
const A_FAULT: Budget = Budget { wishes: 1, faults: 1, ..NOTHING };

mutants! {
    without_compare_and_set_a_wish_is_lost: NoCompareAndSet, &[Inactive], TWO_WISHES, LOST;
    an_answer_counts_for_the_row_that_it_was_asked_for_only: AnswersAreBelieved, &[Inactive], Budget { wishes: 1, changes: 1, ..NOTHING }, UNREACHED;
    a_wish_that_came_meanwhile_is_followed_whoever_writes: WishesWaitForTheWriter, &[Active], Budget { faults: 1, ..TWO_WISHES }, LOST;
    without_a_deadline_and_without_a_wake_at_a_start_it_is_stuck: NoDeadlineAndNoWake, &[Inactive], A_CRASH, STUCK;
    what_a_dead_replica_was_about_is_not_under_way: NamedIsUnderWay, &[Inactive], A_CRASH, STUCK;
    what_is_under_way_is_remembered: OperationsAreForgotten, &[Inactive], Budget { changes: 1, ..A_FAULT }, TWICE;
    strays_are_told: StraysStay, &[Inactive], A_FAULT, HELD;
    who_comes_with_what_has_no_row_is_told: NoRowMeansNothing, &[Active], A_FAULT, HELD;
    everything_is_looked_at_after_a_start: NoLookAtEverything, &[Active], Budget { faults: 1, ..A_CRASH }, STUCK;
    who_registers_is_compared: RegistrationsAreNotCompared, &[Active], A_FAULT, HELD;
    who_registers_starts_what_waits_for_it: RegistrationsWakeNothing, &[Inactive], A_CRASH, STUCK;
    who_has_it_on_its_way_is_asked_to_let_go: OnItsWayIsNobody, &[Inactive], TWO_WISHES, UNTOLD;
    who_watches_is_told: NoRoles, &[Active], A_FAULT, WATCHED;
    a_write_of_unknown_outcome_is_looked_at_again: LostWritesAreNotMarked, &[Active], Budget { faults: 2, ..NOTHING }, STUCK;
    all_of_a_zone_are_given_it: NobodyIsGiven, &[Inactive], A_FAULT, LONELY;
    a_zone_that_was_found_is_not_waited_for_for_ever: FoundZonesAreKept, &[Active], TWO_WISHES_AND_A_FAULT, STUCK;
    what_was_planned_later_is_not_overtaken: OlderOrdersAreSent, &[Inactive], Budget { wishes: 1, changes: 1, ..NOTHING }, GHOST;
    a_later_order_overtakes_an_earlier_ones_outcome: OutcomesInAnyOrder, &[Alone], TWO_WISHES, GHOST;
    a_later_order_to_add_overtakes_an_earlier_one: AddsInAnyOrder, &[Inactive], A_FAULT, WATCHED;
    one_agent_of_a_zone_keeps_an_account_from_no_other: OneOfAZoneIsAsked, &[Second], NOTHING, KEPT;
}
