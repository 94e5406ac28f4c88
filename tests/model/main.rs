//! The mirror's protocol as a model, searched (docs/adr/0004-mirror-protocol.md).
//!
//! `FAIRLEAD_MODEL=full` searches the larger bounds too.

mod bounds;
mod canon;
mod dispatch;
mod mutants;
mod properties;
mod protocol;
mod rest;
mod state;
mod steps;
mod table;

use std::fmt::Write;

use stateright::{Checker, HasDiscoveries, Model};

use bounds::{LINKED_WORLDS, NOTHING, OUTSIDE, R1, R2, UNLINKED_WORLDS, starts};
use mutants::Mutant;
use protocol::Protocol;
use state::{Budget, State, Writer};

type Writers = &'static [&'static [Writer]];

/// The properties that a search found violated before it was done, each with a short way there, to be read by a person.
fn violations(starts: Vec<State>, mutant: Mutant, watched: u16, done: HasDiscoveries) -> Vec<(&'static str, String)> {
    let checker = Protocol { starts, mutant, watched, agent: true }.checker().threads(2).finish_when(done).spawn_bfs().join();
    checker.discoveries().into_iter().map(|(name, path)| (name, tell(path.into_vec()))).collect()
}

fn tell(steps: Vec<(State, Option<protocol::Action>)>) -> String {
    let mut text = String::new();
    for c in steps[0].0.changes {
        let _ = write!(text, "{:?} by {:?}; ", c.method, c.writer);
    }
    for (s, action) in steps {
        let row = s.row.map(|r| (r.inc, r.val));
        let mirror = s.mirror.map(|m| (m.link, m.val, m.status));
        let _ = write!(text, "\n  Clouddriver {row:?}, mirror {mirror:?}, name {:?}", s.name);
        if let Some(action) = action {
            let _ = write!(text, " -> {action:?}");
        }
    }
    text
}

#[track_caller]
fn holds(starts: Vec<State>) {
    if let Some((name, trace)) = violations(starts, Mutant::None, u16::MAX, HasDiscoveries::AnyFailures).into_iter().next() {
        panic!("violated: {name}\n{trace}");
    }
}

fn full() -> bool {
    std::env::var("FAIRLEAD_MODEL").is_ok_and(|v| v == "full")
}

const THREE: Writers = &[&[R1, R1, R1], &[R1, R1, R2], &[R1, R1, OUTSIDE], &[R1, R2, OUTSIDE], &[R1, OUTSIDE, OUTSIDE]];
const TWO_AND_ONE_OUTSIDE: Writers = &[&[R1, R1, OUTSIDE], &[R1, R2, OUTSIDE]];
const TWO: Writers = &[&[R1, R1], &[R1, R2], &[R1, OUTSIDE]];

#[test]
fn three_changes_without_faults_converge() {
    holds(starts(&LINKED_WORLDS, if full() { THREE } else { &THREE[1..4] }, NOTHING));
}

#[test]
fn two_changes_with_one_fault_converge() {
    if full() {
        holds(starts(&LINKED_WORLDS, TWO_AND_ONE_OUTSIDE, Budget { faults: 1, ..NOTHING }));
    } else {
        // An INACTIVE row comes about by the first change as well.
        holds(starts(&[Empty, Active, NotMirrored], TWO, Budget { faults: 1, ..NOTHING }));
    }
}

#[test]
fn two_changes_and_a_foreign_one_with_a_full_pass_converge() {
    if full() {
        holds(starts(&LINKED_WORLDS, TWO_AND_ONE_OUTSIDE, ONE_PASS));
    } else {
        holds(starts(&[Empty, Active, NotMirrored], &TWO_AND_ONE_OUTSIDE[1..], ONE_PASS));
    }
}

#[test]
fn two_changes_with_a_users_hand_converge() {
    let writers = if full() { TWO_AND_ONE_OUTSIDE } else { TWO };
    holds(starts(&LINKED_WORLDS, writers, Budget { hands: 1, takes: 1, activations: 1, ..NOTHING }));
}

#[test]
fn rows_that_are_not_clouddrivers_stay_as_they_are() {
    holds(starts(&UNLINKED_WORLDS, TWO, ONE_PASS));
}

/// The larger bounds, for `make storm`.
mod larger {
    use super::*;

    #[test]
    fn two_changes_with_one_fault_and_a_full_pass_converge() {
        if full() {
            holds(starts(&LINKED_WORLDS, TWO, Budget { faults: 1, passes: 1, ..NOTHING }));
        }
    }

    #[test]
    fn two_changes_with_one_fault_and_a_users_hand_converge() {
        if full() {
            holds(starts(&LINKED_WORLDS, TWO, Budget { faults: 1, hands: 1, activations: 1, ..NOTHING }));
        }
    }

    #[test]
    fn one_change_with_two_faults_and_a_full_pass_converges() {
        if full() {
            holds(starts(&LINKED_WORLDS, &[&[R1, OUTSIDE]], Budget { faults: 2, passes: 1, ..NOTHING }));
        }
    }
}

/// The protocol without one clause is refused, for this property.
#[track_caller]
fn refused(mutant: Mutant, starts: Vec<State>, property: u16) {
    let name = properties::name(property);
    let found = violations(starts, mutant, property, HasDiscoveries::AnyFailures);
    let Some((_, trace)) = found.first() else { panic!("{mutant:?} passes: {name:?} was not violated") };
    // Read with `--nocapture` by whoever wants to see the trace.
    if std::env::var_os("FAIRLEAD_MODEL_TRACES").is_some() {
        let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{mutant:?} violates: {name}\n{trace}\n"));
    }
}

const ONE_FAULT: Budget = Budget { faults: 1, ..NOTHING };

const ONE_PASS: Budget = Budget { passes: 1, ..NOTHING };
const ONE_FAULT_AND_A_PASS: Budget = Budget { passes: 1, ..ONE_FAULT };

macro_rules! mutants {
    ($($name:ident: $mutant:ident, $worlds:expr, $writers:expr, $budget:expr, $property:ident;)*) => {
        $(#[test]
        fn $name() {
            refused(Mutant::$mutant, starts($worlds, $writers, $budget), properties::$property);
        })*
    };
}

use bounds::World::{Active, Empty, Inactive, NotMirrored};

mutants! {
    trace_1_no_generation_lets_an_old_read_be_written: NoGeneration, &LINKED_WORLDS, TWO, NOTHING, BACK;
    trace_1_no_generation_leaves_a_row_that_clouddriver_deleted: NoGeneration, &LINKED_WORLDS, TWO, NOTHING, ORPHAN;
    trace_1_no_generation_leaves_a_stale_row: NoGeneration, &LINKED_WORLDS, TWO, NOTHING, STALE;
    trace_2_a_generation_on_the_mirrors_row_goes_with_it: GenerationOnTheMirrorsRow, &[Empty], THREE, NOTHING, ORPHAN;
    trace_3_a_read_before_the_generation_is_old: ReadBeforeTheGeneration, &LINKED_WORLDS, TWO, NOTHING, BACK;
    trace_4_one_read_cannot_end_what_came_after_it: OneReadEndsAll, &LINKED_WORLDS, TWO, NOTHING, LOST;
    trace_5_an_unknown_outcome_is_not_over_with_the_first_read: UnknownEndsAtOnce, &LINKED_WORLDS, TWO, ONE_FAULT, LOST;
    trace_6_a_stopped_replica_must_not_forward_when_it_wakes: ForwardsWithoutLooking, &LINKED_WORLDS, TWO, ONE_FAULT, LOST;
    trace_7_an_error_is_no_refusal: ErrorsAreRefusals, &LINKED_WORLDS, TWO, ONE_FAULT, LOST;
    trace_8_an_account_that_was_there_before_is_no_claim: PreImageIsForgotten, &LINKED_WORLDS, TWO, ONE_FAULT, BEFORE;
    trace_9_a_new_account_does_not_inherit_active: RowAndMirrorMeanUpdate, &[Active], TWO, NOTHING, CARRIED;
    trace_10_a_dying_row_does_not_take_a_new_account_with_it: DyingRowIsUpdated, &[Active], TWO, NOTHING, LOST;
    trace_11_an_old_page_is_not_written: OldPages, &LINKED_WORLDS, TWO, Budget { takes: 1, ..NOTHING }, ORPHAN;
    trace_12_what_a_user_took_out_is_not_claimed_again: ClaimedIsForgotten, &[Empty, Inactive], TWO, Budget { hands: 1, ..ONE_FAULT }, BY_HAND;
    trace_13_a_lagging_read_explains_nothing: LaggingRead, &LINKED_WORLDS, TWO, NOTHING, LOST;
    trace_14_a_client_that_leaves_does_not_take_the_handler_with_it: HandlerDiesWithItsClient, &LINKED_WORLDS, TWO, ONE_FAULT, STUCK;
    trace_15_a_late_intent_belongs_to_its_replica: LateIntentBelongsToNobody, &LINKED_WORLDS, TWO, ONE_FAULT, STUCK;
    trace_16_absence_from_a_list_is_not_deletion: AbsentFromTheListIsDeleted, &LINKED_WORLDS, TWO, ONE_FAULT, LOST;
    other_intents_are_looked_for_in_the_transaction: OthersAsInTheSnapshot, &[Active], THREE, NOTHING, CARRIED;
    removal_does_not_end_the_post_that_it_makes_place_for: RemovalEndsThePost, &[Active], TWO, NOTHING, LOST;
    the_window_is_judged_before_the_read: WindowJudgedAtTheEnd, &[Empty], TWO, ONE_FAULT, LOST;
    a_gap_is_not_closed_by_a_pass_that_had_to_leave_the_name_alone: OnePassClosesTheGap, &[Empty], TWO, ONE_FAULT_AND_A_PASS, LOST;
    a_late_pre_image_proves_nothing: LatePreImageIsBelieved, &[Empty], TWO, Budget { faults: 2, ..NOTHING }, LOST;
    seen_during_a_gap_is_not_seen_before_it: SeenDuringTheGap, &LINKED_WORLDS, TWO, ONE_FAULT, LOST;
    that_a_put_was_near_in_time_explains_no_row: NearnessExplains, &[Empty], TWO, ONE_FAULT, LOST;
}
