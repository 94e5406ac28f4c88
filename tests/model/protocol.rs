//! What Clouddriver, the replicas, the agents, users and chance may do in a [`State`]. What it does to the state is in `steps`.

use crate::mutants::Mutant;
use crate::properties;
use crate::rest;
use crate::state::{
    Budget, CHANGES, Change, Fate, History, Intent, Known, Life, Link, Method, Mirror, Name, Purpose, RUNS, Read, Replica, Row, Run, Said,
    State, Status, Writer,
};
use crate::steps::{can_expire, known};

/// One search: where it begins, what may happen, and which clause is turned off.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub starts: Vec<State>,
    pub mutant: Mutant,
    /// The properties that are asked about; a state that breaks one of them is a search's end.
    pub watched: u16,
    /// Whether agents hold sent rows, so that a removal waits for them.
    pub agent: bool,
}

/// How Clouddriver carries out a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// As asked, and the answer says so.
    Plain,
    /// Committed, and the answer is an error that reads like a refusal (only a mutant believes it; to the protocol it is no answer).
    CommitThenError,
    /// 200, and nothing was done.
    OkOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The intent is written, with its pre-image.
    Announce(usize),
    /// The journal is slow or down: forwarded without it, the write goes on.
    AnnounceLate(usize),
    /// The intent is written, and its pre-image could not be read.
    AnnounceBlind(usize),
    LateCommit(usize),
    LateFails(usize),
    /// Forwarded and carried out.
    Execute(usize, How),
    /// Nothing is carried out: the call was lost on its way.
    Lose(usize),
    /// The owner waits no longer; the call is still on its way, or its answer was lost or says nothing.
    TimeOut(usize),
    Hear(usize),
    /// The client leaves and its handler is dropped (a mutant's).
    ClientLeaves(usize),
    GPassed(usize),
    /// The owner finds its intent ended by another and writes it again.
    Rewrite(usize),
    /// A run begins: the generation is read, and after it the snapshot.
    Begin(u8, Purpose),
    /// As the second step (a mutant's).
    Snapshot,
    Read(usize),
    /// A read that cannot tell absence (API-only mode).
    ReadInVain(usize),
    /// A read of a server that lags (a mutant's).
    ReadStale(usize),
    Apply(usize),
    /// The agent let go of a row in DELETING.
    AgentConfirms,
    /// The row is activated: an agent has it.
    Activate,
    /// A user takes the row out of the mirror.
    TakeOut,
    /// The replica dies. Its calls may have left or not.
    Crash(u8),
    /// The replica is stopped, and its lease ends; of its unsent calls those in the mask had left.
    Pause(u8, u8),
    Wake(u8),
    RenewLease(u8),
}

impl Protocol {
    /// All that may happen next.
    pub fn list(&self, s: &State, actions: &mut Vec<Action>) {
        if s.history.broken != 0 {
            return;
        }
        for i in 0..CHANGES {
            self.list_change(s, i, actions);
        }
        for r in 0..2 {
            self.list_replica(s, r, actions);
        }
        for k in 0..RUNS {
            match s.runs[k] {
                Run::Idle => {}
                Run::Going(g) if !can_run(s, g.replica) => {}
                Run::Going(g) if !g.snapped => actions.push(Action::Snapshot),
                Run::Going(g) if g.read == Read::NotYet => {
                    actions.push(Action::Read(k));
                    if self.mutant == Mutant::LaggingRead {
                        actions.push(Action::ReadStale(k));
                    }
                    if self.mutant == Mutant::AbsentFromTheListIsDeleted && s.budget.faults > 0 && s.row.is_some() {
                        actions.push(Action::ReadInVain(k));
                    }
                }
                Run::Going(_) => actions.push(Action::Apply(k)),
            }
        }
        if let Some(m) = s.mirror {
            match m.status {
                Status::Deleting => actions.push(Action::AgentConfirms),
                Status::Inactive if s.budget.activations > 0 && matches!(m.link, Link::To(_)) => actions.push(Action::Activate),
                Status::Inactive | Status::Active => {}
            }
            if s.budget.hands > 0 && m.status != Status::Deleting && matches!(m.link, Link::To(_)) {
                actions.push(Action::TakeOut);
            }
        }
    }

    fn list_change(&self, s: &State, i: usize, actions: &mut Vec<Action>) {
        let c = &s.changes[i];
        // Equal changes begin in their order: the other orders are the same search.
        let begins = c.fate == Fate::Idle && (i == 0 || s.changes[i - 1].fate != Fate::Idle || key(&s.changes[i - 1]) != key(c));
        let Some(owner) = c.owner() else {
            if begins {
                actions.push(Action::Execute(i, How::Plain));
            }
            return;
        };
        let life = s.replicas[owner as usize].life;
        let alive = matches!(life, Life::Up | Life::Waking);
        let faults = s.budget.faults > 0;
        if begins && alive {
            actions.push(Action::Announce(i));
            if faults {
                actions.push(Action::AnnounceLate(i));
                actions.push(Action::AnnounceBlind(i));
            }
        }
        match c.fate {
            Fate::Unsent if alive => {
                actions.push(Action::Execute(i, How::Plain));
                if faults {
                    if self.mutant == Mutant::ErrorsAreRefusals {
                        actions.push(Action::Execute(i, How::CommitThenError));
                    }
                    if c.method == Method::Delete && s.row.is_some() {
                        actions.push(Action::Execute(i, How::OkOnly));
                    }
                    actions.push(Action::TimeOut(i));
                }
            }
            Fate::Done if alive && faults && c.answer != Said::Nothing && c.heard == Said::Nothing => actions.push(Action::TimeOut(i)),
            Fate::InFlight => {
                actions.push(Action::Execute(i, How::Plain));
                actions.push(Action::Lose(i));
            }
            _ => {}
        }
        if c.intent == Intent::Writing {
            actions.push(Action::LateCommit(i));
            actions.push(Action::LateFails(i));
        }
        if alive && c.answer != Said::Nothing && c.heard == Said::Nothing && !c.lost {
            actions.push(Action::Hear(i));
            if faults && self.mutant == Mutant::HandlerDiesWithItsClient {
                actions.push(Action::ClientLeaves(i));
            }
        }
        if can_expire(s, i) {
            actions.push(Action::GPassed(i));
        }
        if alive && c.intent == Intent::TakenAway && c.heard == Said::Ok {
            actions.push(Action::Rewrite(i));
        }
    }

    fn list_replica(&self, s: &State, r: u8, actions: &mut Vec<Action>) {
        let life = s.replicas[r as usize].life;
        match life {
            Life::Down => return,
            Life::Paused => {
                actions.push(Action::Wake(r));
                return;
            }
            Life::Waking => actions.push(Action::RenewLease(r)),
            Life::Up => {}
        }
        if s.budget.faults > 0 && s.changes.iter().any(|c| c.owner() == Some(r) && c.fate != Fate::Idle) {
            let unsent =
                (0..CHANGES).filter(|i| s.changes[*i].fate == Fate::Unsent && s.changes[*i].owner() == Some(r)).fold(0, |m, i| m | 1 << i);
            actions.push(Action::Crash(r));
            for mask in 0..(1 << CHANGES) {
                if mask & unsent == mask {
                    actions.push(Action::Pause(r, mask));
                }
            }
        }
        if s.runs.contains(&Run::Idle) {
            if (0..CHANGES).any(|i| !matches!(known(s, r, i), Known::Absent | Known::Pending)) {
                actions.push(Action::Begin(r, Purpose::Intents));
            }
            if s.budget.passes > 0 {
                let gap = s.replicas.iter().any(|r| r.gap);
                actions.push(Action::Begin(r, if gap { Purpose::GapPass } else { Purpose::Pass }));
            }
            if s.budget.takes > 0 {
                actions.push(Action::Begin(r, Purpose::Take));
            }
        }
    }
}

const fn key(c: &Change) -> (Method, Writer) {
    (c.method, c.writer)
}

/// Whether a replica's runs go on.
fn can_run(s: &State, r: u8) -> bool {
    matches!(s.replicas[r as usize].life, Life::Up | Life::Waking)
}

/// An empty world with these changes to come.
pub fn start(row: Option<Row>, mirror: Option<Mirror>, changes: [Change; CHANGES], budget: Budget) -> State {
    let up = Replica { life: Life::Up, gap: false };
    State {
        row,
        stale: None,
        next_inc: 2,
        mirror,
        name: Name { claimed: 0, seen: 0 },
        changes,
        runs: [Run::Idle; RUNS],
        replicas: [up; 2],
        budget,
        history: History::default(),
    }
}

impl stateright::Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.starts.clone()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.list(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = self.step(last, action);
        if rest::is_calm(&next) {
            next.history.broken |= rest::judge(self, &next) & self.watched;
        }
        Some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        properties::all()
    }
}
