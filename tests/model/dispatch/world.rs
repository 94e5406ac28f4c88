//! What the replica, the agents, users, time and chance may do in a [`State`].

use fairlead::lifecycle::{Event, Wanted};

use super::mutants::Mutant;
use super::rows::{self, Commit};
use super::state::{AGENTS, Ask, Look, Missing, Operation, Owner, Standing, State, TASKS, When};
use super::{agents, properties, rest};

/// One search: where it begins, and which clause is turned off.
#[derive(Clone, Debug)]
pub struct Dispatch {
    pub starts: Vec<State>,
    pub mutant: Mutant,
    /// The properties that are asked about; a state that breaks one of them is a search's end.
    pub watched: u16,
    /// Things happen between the reading of a row and what is planned or sent because of it, too.
    pub fine: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// The loop reads what is to be looked at.
    Look,
    Plan,
    Write(Commit),
    /// What is about to be sent is read once more.
    Check(usize, usize),
    Send(usize, usize),
    /// An agent's first attempt ends.
    Reach(usize),
    Deliver(usize, usize),
    Conclude(usize, Commit),
    Report(usize),
    Register(usize),
    Connect(usize),
    LeaseEnds,
    Everything,
    Alarm,
    /// An agent that could not have the account may be asked again.
    Pause(usize),
    Due,
    Grace,
    // From outside.
    Wish(Event),
    Enter,
    Crash,
    /// Its session ends, and it comes back by itself.
    Cut(usize),
    /// It goes, and takes what it has with it (`true`), or keeps it for its return.
    Leave(usize, bool),
    Return(usize),
    TimeOut(usize, usize),
    /// Its cluster lets it in no more, or again.
    Turn(usize),
}

impl Dispatch {
    /// Nothing breaks in this search.
    pub fn is_unbroken(&self) -> bool {
        self.starts.iter().all(|s| s.budget.faults == 0 && s.budget.crashes == 0)
    }

    /// What goes on by itself: work first, then who comes back, then time. A fair order takes the first each time.
    pub fn internal(&self, s: &State, actions: &mut Vec<Action>) {
        let m = &s.memory;
        match m.look {
            Look::Idle => {}
            Look::Read { .. } => actions.push(Action::Plan),
            Look::Planned { .. } => actions.push(Action::Write(Commit::Plain)),
        }
        for (slot, task) in m.tasks.iter().enumerate() {
            let Some(task) = task else { continue };
            if agents::is_answered(task) {
                actions.push(Action::Conclude(slot, Commit::Plain));
            }
            for a in 0..AGENTS {
                match task.asks[a] {
                    Ask::Queued => actions.push(Action::Check(slot, a)),
                    Ask::Checked => actions.push(Action::Send(slot, a)),
                    Ask::Outcome(_) => actions.push(Action::Deliver(slot, a)),
                    Ask::Nobody | Ask::Sent | Ask::Answered(_) => {}
                }
            }
        }
        for (a, agent) in s.agents.iter().enumerate() {
            if agent.has.is_some_and(|h| h.standing == Standing::Connecting) {
                actions.push(Action::Reach(a));
            }
            if agent.connected && agent.unlisted {
                actions.push(Action::Register(a));
            }
            if agent.connected && agent.news && !agents::is_early(s, a) {
                actions.push(Action::Report(a));
            }
        }
        if rows::has_work(s) {
            actions.push(Action::Look);
        }
        for (a, agent) in s.agents.iter().enumerate() {
            if !agent.connected && !agent.away {
                actions.push(Action::Connect(a));
            }
        }
        if s.row.is_some_and(|r| r.owner == Owner::Leased) {
            actions.push(Action::LeaseEnds);
        }
        if m.everything {
            actions.push(Action::Everything);
        }
        if m.alarm {
            actions.push(Action::Alarm);
        }
        // Before pauses, which come again and again.
        if m.missing == Missing::Since {
            actions.push(Action::Grace);
        }
        for (a, agent) in s.agents.iter().enumerate() {
            if agent.lately {
                actions.push(Action::Pause(a));
            }
        }
        if s.row.is_some_and(|r| r.due == When::Ahead) {
            actions.push(Action::Due);
        }
    }

    fn external(s: &State, actions: &mut Vec<Action>) {
        let b = s.budget;
        if b.wishes > 0 {
            match s.row {
                Some(_) => {
                    let all = [(Event::Activate, Wanted::Active), (Event::Deactivate, Wanted::Inactive), (Event::Delete, Wanted::Deleted)];
                    actions.extend(all.iter().filter(|(_, w)| *w != s.wish).map(|(event, _)| Action::Wish(*event)));
                }
                None => actions.push(Action::Enter),
            }
        }
        if b.changes > 0 && s.row.is_some() {
            actions.push(Action::Wish(Event::Changed));
        }
        if b.crashes > 0 {
            actions.push(Action::Crash);
        }
        for (a, agent) in s.agents.iter().enumerate() {
            if agent.away {
                actions.push(Action::Return(a));
            }
        }
        if b.faults == 0 {
            return;
        }
        if let Look::Planned { .. } = s.memory.look {
            actions.push(Action::Write(Commit::UnknownDone));
            actions.push(Action::Write(Commit::UnknownNot));
        }
        for (slot, task) in s.memory.tasks.iter().enumerate() {
            let Some(task) = task else { continue };
            if agents::is_answered(task) && s.row.is_some_and(|r| r.operation == Operation::Of(slot as u8)) {
                actions.push(Action::Conclude(slot, Commit::UnknownDone));
                actions.push(Action::Conclude(slot, Commit::UnknownNot));
            }
            for a in (0..AGENTS).filter(|a| !task.late && matches!(task.asks[*a], Ask::Sent | Ask::Outcome(_))) {
                actions.push(Action::TimeOut(slot, a));
            }
        }
        for (a, agent) in s.agents.iter().enumerate() {
            if agent.connected {
                actions.extend([Action::Cut(a), Action::Leave(a, false), Action::Leave(a, true)]);
            }
            actions.push(Action::Turn(a));
        }
    }

    /// What an action makes of a state. `None`: more at once than is searched.
    pub fn step(&self, last: &State, action: Action) -> Option<State> {
        let mut s = *last;
        let m = self.mutant;
        match action {
            Action::Look => {
                rows::look(&mut s, m)?;
                if !self.fine && s.memory.look != Look::Idle {
                    rows::plan(&mut s, m)?;
                }
            }
            Action::Plan => rows::plan(&mut s, m)?,
            Action::Write(commit) => rows::write(&mut s, commit, m)?,
            Action::Check(slot, a) => {
                agents::check(&mut s, slot, a);
                if !self.fine && s.memory.tasks[slot].is_some_and(|t| t.asks[a] == Ask::Checked) {
                    agents::send(&mut s, slot, a, m);
                }
            }
            Action::Send(slot, a) => agents::send(&mut s, slot, a, m),
            Action::Reach(a) => agents::reach(&mut s, a),
            Action::Deliver(slot, a) => agents::deliver(&mut s, slot, a),
            Action::Conclude(slot, commit) => agents::conclude(&mut s, slot, commit, m)?,
            Action::Report(a) => agents::report(&mut s, a),
            Action::Register(a) => agents::register(&mut s, a),
            Action::Connect(a) | Action::Return(a) => agents::connect(&mut s, a),
            Action::LeaseEnds => rows::lease_ends(&mut s),
            Action::Everything => rows::everything(&mut s),
            Action::Alarm => (s.memory.alarm, s.memory.dirty) = (false, true),
            Action::Pause(a) => (s.agents[a].lately, s.memory.dirty) = (false, true),
            Action::Grace => (s.memory.missing, s.memory.dirty) = (Missing::Over, true),
            Action::Due => agents::passes(&mut s),
            Action::Wish(event) => {
                if event == Event::Changed {
                    s.budget.changes -= 1;
                } else {
                    s.budget.wishes -= 1;
                }
                rows::wish(&mut s, event);
            }
            Action::Enter => {
                s.budget.wishes -= 1;
                rows::enter(&mut s, None);
            }
            Action::Crash => {
                s.budget.crashes -= 1;
                rows::crash(&mut s, m);
            }
            Action::Cut(a) => agents::disconnect(&mut s, a),
            Action::Leave(a, takes) => {
                agents::disconnect(&mut s, a);
                s.agents[a].away = true;
                if takes {
                    s.agents[a].has = None;
                }
            }
            Action::TimeOut(slot, a) => agents::time_out(&mut s, slot, a)?,
            Action::Turn(a) => agents::turn(&mut s, a),
        }
        let fault = match action {
            Action::Write(commit) | Action::Conclude(_, commit) => commit != Commit::Plain,
            Action::Cut(_) | Action::Leave(..) | Action::TimeOut(..) | Action::Turn(_) => true,
            _ => false,
        };
        s.budget.faults -= u8::from(fault);
        debug_assert!(s.memory.tasks.len() == TASKS, "as many tasks as there is room for");
        Some(s)
    }
}

impl stateright::Model for Dispatch {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        self.starts.clone()
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.broken == 0 {
            self.internal(state, actions);
            Self::external(state, actions);
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut next = self.step(last, action)?;
        if rest::is_calm(&next) {
            next.broken |= rest::judge(self, &next);
        }
        next.broken &= self.watched;
        Some(next)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        properties::all()
    }
}
