//! What must hold, as bits of [`State::broken`](super::state::State): some are judged with each write, some when all has come to rest.

use stateright::Property;

use super::state::State;
use super::world::Dispatch;

pub const UNREACHED: u16 = 1;
pub const UNTOLD: u16 = 1 << 1;
pub const TWICE: u16 = 1 << 2;
pub const STUCK: u16 = 1 << 3;
pub const LOST: u16 = 1 << 4;
pub const HELD: u16 = 1 << 5;
pub const LONELY: u16 = 1 << 6;
pub const WATCHED: u16 = 1 << 7;
pub const GHOST: u16 = 1 << 8;
pub const RESTLESS: u16 = 1 << 9;
pub const KEPT: u16 = 1 << 10;

const fn holds(state: &State, property: u16) -> bool {
    state.broken & property == 0
}

/// All properties, under the names that the mutants' tests use.
pub fn all() -> Vec<Property<Dispatch>> {
    vec![
        Property::always(name(UNREACHED), |_, s| holds(s, UNREACHED)),
        Property::always(name(UNTOLD), |_, s| holds(s, UNTOLD)),
        Property::always(name(TWICE), |_, s| holds(s, TWICE)),
        Property::always(name(STUCK), |_, s| holds(s, STUCK)),
        Property::always(name(LOST), |_, s| holds(s, LOST)),
        Property::always(name(HELD), |_, s| holds(s, HELD)),
        Property::always(name(LONELY), |_, s| holds(s, LONELY)),
        Property::always(name(WATCHED), |_, s| holds(s, WATCHED)),
        Property::always(name(GHOST), |_, s| holds(s, GHOST)),
        Property::always(name(RESTLESS), |_, s| holds(s, RESTLESS)),
        Property::always(name(KEPT), |_, s| holds(s, KEPT)),
    ]
}

pub const fn name(property: u16) -> &'static str {
    match property {
        UNREACHED => "ACTIVE only after an agent has reached the cluster with the definition of today",
        UNTOLD => "no row goes while an agent that is connected has it and is not told",
        TWICE => "what is under way in this process is not taken for lost",
        STUCK => "at rest no row is in transition, or waits for what is there",
        LOST => "at rest the status is what was last wished for",
        HELD => "at rest no connected agent has what it may not have",
        LONELY => "at rest each connected agent of the zone that reaches the cluster has an ACTIVE account",
        WATCHED => "at rest exactly one agent watches",
        GHOST => "at rest it is known what agents have",
        RESTLESS => "all comes to rest",
        KEPT => "at rest, where nothing broke, no account has FAILED that an agent of its zone reaches",
        _ => "?",
    }
}
