//! The loop and the row: reading, planning, writing by compare-and-set. `next` and `plan` are the real ones.

use fairlead::account::Status;
use fairlead::lifecycle::{self, Attempts, Event, State as RealState, Step, Wanted};
use fairlead::store::states::wake;

use super::mutants::Mutant;
use super::properties::{TWICE, UNREACHED, UNTOLD};
use super::real::{self, Plan, Planned, Question};
use super::state::{
    AGENTS, Ask, Extra, Kind, Look, Memory, Message, Missing, Operation, Owner, RETRIES, Row, Said, State, TASKS, Task, Then, When, Work,
    Write, Zone,
};

/// What becomes of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Commit {
    Plain,
    /// The database did not say: it was done.
    UnknownDone,
    /// The database did not say: it was not done.
    UnknownNot,
}

pub const fn real(row: &Row) -> RealState {
    RealState { status: row.status, wanted: row.wanted, sent: row.sent, dynamic: true }
}

/// Writes a step. The row is as it was read, or nobody cares.
pub fn apply(s: &mut State, step: Step, extra: &Extra, by_dispatch: bool, mutant: Mutant) {
    let Some(mut row) = s.row else { return };
    let (to, wanted, attempts) = match step {
        Step::Ignore | Step::Refuse(_) => return,
        Step::Leave { .. } => {
            // Gone though somebody has it, who was not told, and nobody is about to look. What is sent to somebody after he was told has a
            // task that looks.
            let told = |a: usize| {
                let tells = |t: &Task| !t.adds() && !matches!(t.kind, Kind::Role { .. }) && t.asks[a] != Ask::Nobody;
                s.memory.dirty || s.agents[a].arrived || s.memory.tasks.iter().flatten().any(tells)
            };
            if by_dispatch && (0..AGENTS).any(|a| s.agents[a].connected && s.agents[a].has.is_some() && !told(a)) {
                s.broken |= UNTOLD;
            }
            s.row = None;
            s.written();
            (s.memory.missing, s.memory.passed) = (Missing::No, None);
            s.agents.iter_mut().for_each(|a| a.lately = false);
            return;
        }
        Step::Go { to, wanted, attempts, .. } => (to, wanted, attempts),
    };
    let moved = to != row.status;
    if moved && to == Status::Active && !s.reached {
        s.broken |= UNREACHED;
    }
    (row.status, row.wanted) = (to, wanted);
    match attempts {
        Attempts::Keep => {}
        Attempts::Reset => row.failed = 0,
        Attempts::Failed => row.failed = (row.failed + 1).min(RETRIES + 1),
    }
    match (extra.message, attempts) {
        (Some(message), _) => row.message = message,
        (None, Attempts::Reset) => row.message = Message::None,
        (None, _) => {}
    }
    match extra.zone {
        Zone::Keep => {}
        Zone::Found(zone) => (row.zone, row.found) = (Some(zone), true),
        Zone::Forget if row.found => {
            (row.zone, row.found) = (None, false);
            if row.message == Message::Awaited && extra.message.is_none() {
                row.message = Message::Other;
            }
        }
        Zone::Forget => {}
    }
    match extra.work {
        Work::Auto if !moved => {}
        Work::Auto | Work::Clear => (row.operation, row.owner) = (Operation::None, Owner::Nobody),
        // Which task it is comes with the sending.
        Work::Begin => (row.operation, row.owner) = (Operation::Lost, Owner::Mine),
    }
    row.connections = extra.connections.unwrap_or(row.connections);
    row.sent = extra.sent.unwrap_or(row.sent);
    let said = if mutant == Mutant::WishesWaitForTheWriter { extra.due } else { real::due_of(&real(&row), extra.due) };
    match said {
        Said::Now => row.due = When::Now,
        Said::In if mutant == Mutant::NoDeadlineAndNoWake && extra.work == Work::Begin => row.due = When::Never,
        Said::In => row.due = When::Ahead,
        Said::Never => row.due = When::Never,
        Said::Keep => {}
    }
    s.row = Some(row);
    s.written();
}

/// A user's wish, or Clouddriver's: read and written by compare-and-set, again until it wins, so in one step.
pub fn wish(s: &mut State, event: Event) {
    let Some(row) = s.row else { return };
    let step = lifecycle::next(&real(&row), event);
    if let Step::Refuse(_) = step {
        return;
    }
    match event {
        Event::Activate => s.wish = Wanted::Active,
        Event::Deactivate => s.wish = Wanted::Inactive,
        Event::Delete => s.wish = Wanted::Deleted,
        _ => s.new_generation(),
    }
    apply(s, step, &Extra::PLAIN, false, Mutant::None);
}

/// A new account of the name.
pub fn enter(s: &mut State, zone: Option<u8>) {
    s.new_generation();
    s.wish = Wanted::Inactive;
    s.row = Some(row(Status::Inactive, zone));
}

pub const fn row(status: Status, zone: Option<u8>) -> Row {
    Row {
        status,
        wanted: Wanted::Inactive,
        sent: false,
        zone,
        found: false,
        failed: 0,
        message: Message::None,
        connections: 0,
        due: When::Now,
        operation: Operation::None,
        owner: Owner::Nobody,
    }
}

/// Whether there is something to look at.
pub fn has_work(s: &State) -> bool {
    s.memory.look == Look::Idle && (s.memory.dirty || s.agents.iter().any(|a| a.arrived) || s.row.is_some_and(|r| r.due == When::Now))
}

/// Compares who has registered, and reads.
pub fn look(s: &mut State, mutant: Mutant) -> Option<()> {
    let arrived: Vec<usize> = (0..AGENTS).filter(|a| s.agents[*a].arrived && s.agents[*a].connected).collect();
    let any = arrived.iter().any(|a| s.in_zone(s.zone_of(*a)).all(|b| arrived.contains(&b)));
    let zones: Vec<u8> = arrived.iter().map(|a| s.zone_of(*a)).collect();
    s.agents.iter_mut().for_each(|a| a.arrived = false);
    if mutant != Mutant::RegistrationsAreNotCompared {
        s.memory.dirty |= arrived.iter().any(|a| s.agents[*a].seen.is_some());
        if let Some(row) = &mut s.row {
            let mine = row.zone.is_some_and(|z| zones.contains(&z)) || (any && (row.zone.is_none() || row.found));
            if row.due == When::Never && row.status == Status::ToMigrate && mine && mutant != Mutant::RegistrationsWakeNothing {
                row.due = When::Now;
            }
            s.memory.dirty |= row.zone.is_some_and(|z| zones.contains(&z)) && wake::OF_AGENTS.contains(&row.status);
        }
    }
    let dirty = std::mem::take(&mut s.memory.dirty);
    match s.row {
        Some(row) if dirty || row.due == When::Now => s.memory.look = Look::Read { row, fresh: true },
        Some(_) => {}
        None if dirty && mutant != Mutant::NoRowMeansNothing => {
            s.memory.missing = Missing::No;
            for a in 0..AGENTS {
                if s.agents[a].seen.is_some() && !busy(s, a, false) {
                    tell(s, a, Kind::LetGo { exact: false }, 0, mutant)?;
                }
            }
        }
        None => {}
    }
    Some(())
}

/// Whether something is on its way to an agent, in this session or (`old`) in one that is over.
fn busy(s: &State, a: usize, old: bool) -> bool {
    s.memory.tasks.iter().flatten().any(|t| !t.late && t.kind != Kind::Back && t.asks[a] != Ask::Nobody && t.old[a] == old)
}

fn tell(s: &mut State, a: usize, kind: Kind, generation: u8, mutant: Mutant) -> Option<()> {
    let mut task = Task::new(kind, generation, true);
    task.asks[a] = if task.adds() { Ask::Queued } else { Ask::Checked };
    s.spawn(task, mutant == Mutant::OlderOrdersAreSent).map(drop)
}

/// Plans what was read, with the agents as they are now, and does what needs no write.
pub fn plan(s: &mut State, mutant: Mutant) -> Option<()> {
    let Look::Read { row, fresh } = s.memory.look else { return None };
    let in_memory = matches!(row.operation, Operation::Of(_)) && mutant != Mutant::OperationsAreForgotten;
    let named = mutant == Mutant::NamedIsUnderWay && row.operation != Operation::None;
    let forgets = mutant == Mutant::OnItsWayIsNobody;
    let question = Question {
        row,
        one_zone: s.one_zone,
        first: s.first,
        seen: std::array::from_fn(|a| s.agents[a].connected.then_some(s.agents[a].seen)),
        lately: s.agents.map(|a| a.lately),
        busy: std::array::from_fn(|a| s.agents[a].connected && busy(s, a, false) && !forgets),
        busy_old: std::array::from_fn(|a| busy(s, a, true) && !forgets),
        under_way: in_memory || named,
        // What is planned when the grace period is over is turned off.
        passed: s.memory.passed,
        missing: if mutant == Mutant::FoundZonesAreKept && row.status == Status::ToMigrate { Missing::No } else { s.memory.missing },
    };
    let plan: Plan = question.ask();
    s.memory.missing = match (plan.missing, s.memory.missing) {
        (false, _) => Missing::No,
        (true, Missing::No) => Missing::Since,
        (true, since) => since,
    };
    s.memory.look = Look::Idle;
    for a in 0..AGENTS {
        if plan.let_go[a] && mutant != Mutant::StraysStay {
            tell(s, a, Kind::LetGo { exact: false }, 0, mutant)?;
        }
        if let Some(watch) = plan.roles[a].filter(|_| mutant != Mutant::NoRoles) {
            tell(s, a, Kind::Role { watch }, 0, mutant)?;
        }
        if let Some(watch) = plan.give[a].filter(|_| mutant != Mutant::NobodyIsGiven) {
            tell(s, a, Kind::Give { watch }, 0, mutant)?;
        }
    }
    let begun = Extra { due: Said::In, work: Work::Begin, ..Extra::PLAIN };
    let offered = lifecycle::next(&real(&row), Event::Offered);
    let stays = Step::Go { to: row.status, wanted: row.wanted, attempts: Attempts::Keep, tombstone: false };
    let write = match plan.next {
        Planned::Nothing | Planned::Later => {
            let due = match (plan.next, row.due) {
                (Planned::Later, _) => When::Ahead,
                (_, When::Now) => When::Never,
                (_, due) => due,
            };
            if let (Some(now), true) = (&mut s.row, fresh)
                && now.due == row.due
            {
                now.due = due;
            }
            return Some(());
        }
        Planned::Write(event, extra) => {
            if event == Some(Event::AgentLost) && fresh && matches!(row.operation, Operation::Of(_)) {
                s.broken |= TWICE;
            }
            Write { step: event.map_or(stays, |event| lifecycle::next(&real(&row), event)), extra, then: Then::Nothing }
        }
        Planned::Offer(agents) => {
            Write { step: offered, extra: Extra { sent: Some(true), message: Some(Message::None), ..begun }, then: Then::Offer(agents) }
        }
        Planned::TakeBack(agents, lost) => {
            let step = if offered == Step::Ignore { stays } else { offered };
            Write { step, extra: begun, then: Then::TakeBack(agents, lost) }
        }
    };
    s.memory.look = Look::Planned { write, fresh };
    Some(())
}

/// Writes what was planned, and begins what it leads to.
pub fn write(s: &mut State, commit: Commit, mutant: Mutant) -> Option<()> {
    let Look::Planned { write, fresh } = s.memory.look else { return None };
    s.memory.look = Look::Idle;
    let wins = (fresh || mutant == Mutant::NoCompareAndSet) && s.row.is_some();
    if wins && commit != Commit::UnknownNot {
        apply(s, write.step, &write.extra, true, mutant);
    }
    if !wins || commit != Commit::Plain {
        s.memory.dirty |= mutant != Mutant::LostWritesAreNotMarked;
        return Some(());
    }
    let (kind, agents, lost) = match write.then {
        Then::Nothing => return Some(()),
        Then::Offer(agents) if agents == [true; AGENTS] => (Kind::Round, agents, false),
        Then::Offer(agents) => (Kind::Offer, agents, false),
        Then::TakeBack(agents, lost) => (Kind::Back, agents, lost),
    };
    let mut task = Task::new(kind, 0, true);
    task.lost = lost;
    for a in (0..AGENTS).filter(|a| agents[*a]) {
        task.asks[a] = if task.adds() { Ask::Queued } else { Ask::Checked };
        // Gone since it was planned.
        if !s.agents[a].connected {
            (task.asks[a], task.old[a]) = (Ask::Answered(super::state::Answer::Lost), true);
        }
    }
    let slot = s.spawn(task, mutant == Mutant::OlderOrdersAreSent)?;
    if let Some(row) = &mut s.row {
        row.operation = Operation::Of(slot as u8);
    }
    Some(())
}

/// The process dies, and another one starts. Agents go on, and connect again.
pub fn crash(s: &mut State, mutant: Mutant) {
    for a in 0..AGENTS {
        super::agents::disconnect(s, a);
        s.agents[a].lately = false;
    }
    let everything = mutant != Mutant::NoLookAtEverything;
    s.memory =
        Memory { look: Look::Idle, dirty: false, alarm: false, missing: Missing::No, passed: None, everything, tasks: [None; TASKS] };
    if let Some(row) = &mut s.row {
        if let Operation::Of(_) = row.operation {
            row.operation = Operation::Lost;
        }
        if row.owner == Owner::Mine {
            row.owner = Owner::Leased;
        }
        if row.due == When::Never && wake::wakes_at_start(row.status, row.wanted) && mutant != Mutant::NoDeadlineAndNoWake {
            row.due = When::Now;
        }
    }
}

/// The lease of the one that died is over: what it was about is looked at.
pub fn lease_ends(s: &mut State) {
    if let Some(row) = &mut s.row {
        row.owner = Owner::Dead;
        if row.due == When::Ahead && row.operation != Operation::None {
            row.due = When::Now;
        }
    }
}

/// The look at everything, when agents had the grace period to come back.
pub fn everything(s: &mut State) {
    s.memory.everything = false;
    s.memory.dirty |= s.row.is_some_and(|r| wake::AT_REST.contains(&r.status));
}
