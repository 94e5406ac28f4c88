//! Where the searches begin: which worlds, which changes by which writers, how much may go wrong.

use crate::protocol::start;
use crate::state::{Budget, CHANGES, Change, Fate, Link, Method, Mirror, Row, State, Status, Writer};

const METHODS: [Method; 3] = [Method::Post, Method::Put, Method::Delete];

pub const R1: Writer = Writer::Replica(0);
pub const R2: Writer = Writer::Replica(1);
pub const OUTSIDE: Writer = Writer::Foreign;

pub const NOTHING: Budget = Budget { faults: 0, passes: 0, hands: 0, takes: 0, activations: 0 };

/// A change that never comes.
const NO_CHANGE: Change = Change { fate: Fate::Dropped, ..Change::new(Method::Put, Writer::Foreign) };

/// What Clouddriver and the mirror hold in the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    Empty,
    Inactive,
    Active,
    /// An account of Clouddriver that was never mirrored.
    NotMirrored,
    /// An agent's own row of the name, and an account of Clouddriver.
    Static,
    /// A row made by `POST /armory/accounts/dynamic`.
    Created,
}

pub const LINKED_WORLDS: [World; 4] = [World::Empty, World::Inactive, World::Active, World::NotMirrored];
pub const UNLINKED_WORLDS: [World; 2] = [World::Static, World::Created];

impl World {
    pub fn start(self, changes: [Change; CHANGES], budget: Budget) -> State {
        let row = Some(Row { inc: 1, val: 0 });
        let mirror = |link, status| Some(Mirror { link, val: 0, status, rev: 1 });
        let mut s = match self {
            Self::Empty => start(None, None, changes, budget),
            Self::Inactive => start(row, mirror(Link::To(1), Status::Inactive), changes, budget),
            Self::Active => start(row, mirror(Link::To(1), Status::Active), changes, budget),
            Self::NotMirrored => start(row, None, changes, budget),
            Self::Static => start(row, mirror(Link::Static, Status::Active), changes, budget),
            Self::Created => start(None, mirror(Link::Created, Status::Active), changes, budget),
        };
        if matches!(self, Self::Inactive | Self::Active) {
            s.name.claimed = 1;
            s.name.seen = 1;
            s.history.claimed = 2;
        }
        s
    }
}

/// Every choice of methods for these writers, where equal writers' changes come in one order only.
pub fn changes(writers: &[Writer]) -> Vec<[Change; CHANGES]> {
    let mut all = vec![Vec::new()];
    for w in writers {
        all = all.into_iter().flat_map(|before: Vec<(Method, Writer)>| METHODS.map(|m| [before.clone(), vec![(m, *w)]].concat())).collect();
    }
    all.retain(|list| list.windows(2).all(|w| w[0].1 != w[1].1 || w[0].0 <= w[1].0));
    all.into_iter()
        .map(|list| {
            let mut out = [NO_CHANGE; CHANGES];
            for (slot, (m, w)) in out.iter_mut().zip(list) {
                *slot = Change::new(m, w);
            }
            out
        })
        .collect()
}

/// All starts of these worlds, writers and budget.
pub fn starts(worlds: &[World], writers: &[&[Writer]], budget: Budget) -> Vec<State> {
    let mut out = Vec::new();
    for world in worlds {
        for list in writers {
            out.extend(changes(list).into_iter().map(|c| world.start(c, budget)));
        }
    }
    out
}
