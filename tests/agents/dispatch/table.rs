//! The table of states by itself, over any sequence of events.

use fairlead::account::Status;
use fairlead::lifecycle::{Attempts, Event, State, Step, Wanted, follow, is_transient, next};
use proptest::prelude::*;

fn statuses() -> impl Strategy<Value = Status> {
    proptest::sample::select(Status::ALL.to_vec())
}

fn events() -> impl Strategy<Value = Event> {
    proptest::sample::select(Event::ALL.to_vec())
}

fn states() -> impl Strategy<Value = State> {
    let wanted = proptest::sample::select(vec![Wanted::Active, Wanted::Inactive, Wanted::Deleted]);
    (statuses(), wanted, any::<bool>()).prop_map(|(status, wanted, sent)| State { status, wanted, sent, dynamic: true })
}

/// The row after an event; `None`: it has gone.
fn step(state: &State, event: Event) -> Option<State> {
    match next(state, event) {
        Step::Go { to, wanted, .. } => Some(State {
            status: to,
            wanted,
            sent: match event {
                Event::Offered if to == Status::Activating => true,
                Event::LetGo => false,
                _ => state.sent,
            },
            ..*state
        }),
        Step::Leave { .. } => None,
        Step::Ignore | Step::Refuse(_) => Some(*state),
    }
}

/// What the loop does with a row when all goes well.
fn duty(state: &State) -> Option<Event> {
    follow(state).or(match state.status {
        Status::ToMigrate | Status::ToDeactivate => Some(Event::Offered),
        Status::Activating => Some(Event::Accepted),
        Status::Deactivating | Status::Deleting => Some(Event::LetGo),
        Status::Failed | Status::DeleteFailed => Some(Event::RetryDue),
        Status::Orphaned => Some(Event::Back),
        Status::Active | Status::Inactive => None,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happened_what_was_wanted_last_comes_to_be(all in proptest::collection::vec(events(), 0..40)) {
        let mut row = Some(State { status: Status::Inactive, wanted: Wanted::Inactive, sent: false, dynamic: true });
        let mut wanted = Wanted::Inactive;
        for event in all {
            let Some(state) = row else { break };
            if !matches!(next(&state, event), Step::Ignore | Step::Refuse(_)) {
                wanted = match event {
                    Event::Activate => Wanted::Active,
                    Event::Deactivate => Wanted::Inactive,
                    Event::Delete => Wanted::Deleted,
                    _ => wanted,
                };
            }
            row = step(&state, event);
            if let Some(state) = row {
                prop_assert_eq!(state.wanted, wanted, "only a wish changes what is wanted ({:?} after {:?})", state, event);
            }
        }
        for _ in 0..12 {
            let Some(state) = row else { break };
            let Some(event) = duty(&state) else { break };
            row = step(&state, event);
        }
        match row {
            None => {}
            Some(state) => prop_assert_eq!((state.status, state.wanted), match wanted {
                Wanted::Active => (Status::Active, Wanted::Active),
                Wanted::Inactive => (Status::Inactive, Wanted::Inactive),
                Wanted::Deleted => return Err(TestCaseError::fail(format!("{state:?} is still there"))),
            }),
        }
    }

    #[test]
    fn only_users_are_refused_and_only_a_failure_is_counted(state in states(), event in events()) {
        match next(&state, event) {
            Step::Refuse(_) => prop_assert!(matches!(event, Event::Activate | Event::Deactivate | Event::Delete)),
            Step::Go { attempts: Attempts::Failed, to, .. } => {
                let failed = matches!(to, Status::Failed | Status::DeleteFailed);
                prop_assert!(failed, "{:?} {:?}", state, event);
            }
            _ => {}
        }
    }
}

#[test]
fn every_transient_state_has_a_way_out_when_agents_or_replicas_die() {
    for status in Status::ALL.into_iter().filter(|s| is_transient(*s)) {
        let wanted = Wanted::of(None, status);
        let state = State { status, wanted, sent: true, dynamic: true };
        let outs = [Event::AgentLost, Event::NoAgentLeft, Event::Expired];
        let out = outs.iter().any(|e| !matches!(next(&state, *e), Step::Ignore));
        // Waiting for an agent is no failure: the first that comes is the way out.
        let waits = status == Status::ToMigrate && !matches!(next(&state, Event::Offered), Step::Ignore);
        assert!(out || waits, "{status}");
    }
}

#[test]
fn what_a_user_does_by_hand_never_moves_a_static_account() {
    for status in Status::ALL {
        let state = State { status, wanted: Wanted::Active, sent: false, dynamic: false };
        for event in [Event::Activate, Event::Deactivate, Event::Delete] {
            assert!(matches!(next(&state, event), Step::Refuse(_)), "{status} {event:?}");
        }
    }
}
