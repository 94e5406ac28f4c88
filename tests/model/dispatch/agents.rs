//! The agents' side, and the channel: what orders do to what an agent has, and what its outcomes tell.

use fairlead::account::Status;
use fairlead::dispatch::plan::is_still_wanted;
use fairlead::lifecycle::{self, Event};

use super::mutants::Mutant;
use super::rows::{self, Commit, real};
use super::state::{
    AGENTS, Agent, Answer, Ask, Extra, Held, Kind, Message, Operation, RETRIES, Said, Standing, State, Task, When, Work, Zone,
};

/// An agent comes and says what it has.
pub fn connect(s: &mut State, a: usize) {
    s.agents[a].connected = true;
    s.agents[a].away = false;
    register(s, a);
    let other = 1 - a;
    s.first = if s.agents[other].connected { other } else { a } as u8;
}

/// Its whole list, for the first time or again.
pub fn register(s: &mut State, a: usize) {
    let agent = &mut s.agents[a];
    s.memory.dirty |= agent.seen.is_some();
    agent.seen = agent.has;
    agent.told = agent.has.is_some_and(|h| h.standing == Standing::Connecting);
    (agent.news, agent.unlisted, agent.arrived) = (false, false, true);
}

/// The session ends, and all that was asked in it is lost.
pub fn disconnect(s: &mut State, a: usize) {
    let agent = &mut s.agents[a];
    s.memory.dirty |= agent.seen.is_some();
    (agent.connected, agent.seen, agent.arrived, agent.news, agent.unlisted) = (false, None, false, false, false);
    for slot in &mut s.memory.tasks {
        let Some(task) = slot else { continue };
        if task.asks[a] != Ask::Nobody {
            task.old[a] = true;
        }
        if matches!(task.asks[a], Ask::Queued | Ask::Checked | Ask::Sent | Ask::Outcome(_)) {
            task.asks[a] = if task.late { Ask::Nobody } else { Ask::Answered(Answer::Lost) };
        }
        if task.late && !task.is_open() {
            *slot = None;
        }
    }
}

/// Reads once more what is about to be sent.
pub fn check(s: &mut State, slot: usize, a: usize) {
    let Some(task) = s.memory.tasks[slot] else { return };
    let planned = if matches!(task.kind, Kind::Give { .. }) { Status::Active } else { Status::Activating };
    let same = s.row.is_some_and(|r| r.operation == Operation::Of(slot as u8));
    let wanted = task.generation == 0 && s.row.is_some() && is_still_wanted(planned, same, s.row.map(|r| r.status));
    set(s, slot, a, if wanted { Ask::Checked } else { Ask::Answered(Answer::Stale) });
}

fn set(s: &mut State, slot: usize, a: usize, ask: Ask) {
    if let Some(task) = &mut s.memory.tasks[slot] {
        task.asks[a] = ask;
    }
}

/// Whether the `slot`'s order is one to add this very generation.
fn adds(task: &Task, generation: u8) -> bool {
    task.adds() && task.generation == generation
}

/// All orders to add that wait for a first attempt which has ended, or was dropped, have their outcome.
fn ended(s: &mut State, a: usize, ok: bool, which: impl Fn(&Task) -> bool) {
    for task in s.memory.tasks.iter_mut().flatten() {
        if task.adds() && task.asks[a] == Ask::Sent && which(task) {
            task.asks[a] = Ask::Outcome(ok);
        }
    }
}

/// An order goes out, and arrives: one that does not is one that was lost with its session.
pub fn send(s: &mut State, slot: usize, a: usize, mutant: Mutant) {
    let Some(task) = s.memory.tasks[slot] else { return };
    if task.outdated[a] && task.kind != Kind::Back {
        return set(s, slot, a, Ask::Answered(Answer::Stale));
    }
    let generation = task.generation;
    let has = s.agents[a].has;
    let ask = match task.kind {
        Kind::Offer | Kind::Round | Kind::Give { .. } => {
            let adds = |t: &Task| t.generation == generation && mutant != Mutant::AddsInAnyOrder;
            overtake(s, slot, a, |t| if t.adds() { adds(t).then_some(None) } else { Some(Some(generation)) }, mutant);
            let watch = !matches!(task.kind, Kind::Round | Kind::Give { watch: false });
            match has {
                Some(h) if h.generation == generation && h.standing != Standing::Failed => {
                    s.agents[a].has = Some(Held { watch, ..h });
                    if h.watch != watch {
                        s.agents[a].news = true;
                    }
                    if h.standing == Standing::Reached { Ask::Outcome(true) } else { Ask::Sent }
                }
                before => {
                    ended(s, a, false, |_| true);
                    s.agents[a].has = Some(Held { generation, watch, standing: Standing::Connecting });
                    s.agents[a].told = before.is_some();
                    s.agents[a].news = false;
                    Ask::Sent
                }
            }
        }
        Kind::Back | Kind::LetGo { .. } => {
            let exact = matches!(task.kind, Kind::LetGo { exact: true });
            overtake(s, slot, a, |t| (t.adds() && (!exact || t.generation == generation)).then_some(None), mutant);
            if has.is_some_and(|h| !exact || h.generation == generation) {
                (s.agents[a].has, s.agents[a].news) = (None, false);
                ended(s, a, false, |_| true);
            }
            Ask::Outcome(true)
        }
        Kind::Role { watch } => {
            tell_role(s, slot, a, watch, mutant);
            if let Some(h) = &mut s.agents[a].has
                && h.watch != watch
            {
                h.watch = watch;
                s.agents[a].news = true;
            }
            Ask::Outcome(has.is_some())
        }
    };
    set(s, slot, a, ask);
}

/// What earlier orders about the account tell of it counts no more, or of this generation no more: this one will tell.
fn overtake(s: &mut State, slot: usize, a: usize, which: impl Fn(&Task) -> Option<Option<u8>>, mutant: Mutant) {
    if mutant == Mutant::OutcomesInAnyOrder {
        return;
    }
    for (i, task) in s.memory.tasks.iter_mut().enumerate() {
        let Some(task) = task.as_mut().filter(|t| i != slot && matches!(t.asks[a], Ask::Sent | Ask::Outcome(_))) else { continue };
        match (which(task), task.kind) {
            (Some(spares), Kind::Role { .. }) => task.overtaken[a] |= spares.is_some(),
            (Some(spares), _) => (task.overtaken[a], task.spares[a]) = (spares.is_none(), spares),
            (None, _) => {}
        }
    }
}

/// Whether the agent watches, a later order says.
fn tell_role(s: &mut State, slot: usize, a: usize, watch: bool, mutant: Mutant) {
    if mutant == Mutant::OutcomesInAnyOrder {
        return;
    }
    for (i, task) in s.memory.tasks.iter_mut().enumerate() {
        match task.as_mut().filter(|t| i != slot && matches!(t.asks[a], Ask::Sent | Ask::Outcome(_))) {
            Some(task) if task.adds() => task.roles[a] = Some(watch),
            Some(task) if matches!(task.kind, Kind::Role { .. }) => task.overtaken[a] = true,
            _ => {}
        }
    }
}

/// The first attempt of an agent to reach the cluster ends.
pub fn reach(s: &mut State, a: usize) {
    let Some(h) = s.agents[a].has else { return };
    if s.agents[a].reaches {
        s.agents[a].has = Some(Held { standing: Standing::Reached, ..h });
        s.agents[a].news |= s.agents[a].told;
        s.reached |= h.generation == 0;
    } else {
        s.agents[a].has = None;
        s.agents[a].unlisted = s.agents[a].told;
    }
    s.agents[a].told = false;
    let ok = s.agents[a].reaches;
    ended(s, a, ok, |t| t.generation == h.generation);
}

/// The cluster lets the agent in no more, or again.
pub fn turn(s: &mut State, a: usize) {
    let agent = &mut s.agents[a];
    agent.reaches = !agent.reaches;
    if let Some(h) = &mut agent.has
        && h.standing != Standing::Connecting
    {
        h.standing = if agent.reaches { Standing::Reached } else { Standing::Failed };
        agent.news = true;
        s.reached |= agent.reaches && h.generation == 0;
    }
}

/// Whether a report of an agent waits for the outcome that it belongs to.
pub fn is_early(s: &State, a: usize) -> bool {
    let Some(h) = s.agents[a].has else { return false };
    let seen = s.agents[a].seen.is_some_and(|seen| seen.generation == h.generation);
    let adds = |t: &Task| adds(t, h.generation) && !t.overtaken[a] && matches!(t.asks[a], Ask::Sent | Ask::Outcome(_));
    !seen && s.memory.tasks.iter().flatten().any(adds)
}

pub fn report(s: &mut State, a: usize) {
    let Agent { has, seen, .. } = s.agents[a];
    s.agents[a].news = false;
    if let (Some(h), Some(before)) = (has, seen)
        && h.generation == before.generation
        && h != before
    {
        s.agents[a].seen = has;
        s.memory.dirty = true;
    }
}

/// An outcome comes: first it tells what the agent has, then who waits for it.
pub fn deliver(s: &mut State, slot: usize, a: usize) {
    let Some(task) = s.memory.tasks[slot] else { return };
    let Ask::Outcome(ok) = task.asks[a] else { return };
    let seen = s.agents[a].seen;
    let of = |g: u8| seen.filter(|h| h.generation != g);
    let after = match task.kind {
        _ if task.overtaken[a] => seen,
        Kind::Offer | Kind::Round | Kind::Give { .. } if ok => {
            let watch = task.roles[a].unwrap_or(!matches!(task.kind, Kind::Round | Kind::Give { watch: false }));
            Some(Held { generation: task.generation, watch, standing: Standing::Reached })
        }
        Kind::Offer | Kind::Round | Kind::Give { .. } => of(task.generation),
        Kind::LetGo { exact: true } if task.spares[a] == Some(task.generation) => seen,
        Kind::LetGo { exact: true } => of(task.generation),
        Kind::Back | Kind::LetGo { exact: false } if task.spares[a].is_some() => seen.filter(|h| Some(h.generation) == task.spares[a]),
        Kind::Back | Kind::LetGo { exact: false } => None,
        Kind::Role { watch } if ok => seen.map(|h| if h.standing == Standing::Reached { Held { watch, ..h } } else { h }),
        Kind::Role { .. } => seen,
    };
    s.agents[a].seen = after;
    s.memory.dirty |= after != seen;
    if task.late {
        set(s, slot, a, Ask::Nobody);
        if !s.memory.tasks[slot].is_some_and(|t| t.is_open()) {
            s.memory.tasks[slot] = None;
        }
    } else {
        set(s, slot, a, Ask::Answered(if ok { Answer::Done } else { Answer::Failed }));
    }
}

/// Nobody waits any longer; the order is still with the agent.
pub fn time_out(s: &mut State, slot: usize, a: usize) -> Option<()> {
    let task = s.memory.tasks[slot]?;
    leave_late(s, &task, a)?;
    set(s, slot, a, Ask::Answered(Answer::TimedOut));
    Some(())
}

fn leave_late(s: &mut State, task: &Task, a: usize) -> Option<()> {
    let mut late = Task { late: true, asks: [Ask::Nobody; AGENTS], ..*task };
    late.asks[a] = task.asks[a];
    s.spawn(late, true).map(drop)
}

/// Whether a task has all that it waits for.
pub fn is_answered(task: &Task) -> bool {
    let settles = |a: &Ask| matches!(a, Ask::Answered(Answer::Done | Answer::Stale));
    !task.late && (!task.is_open() || (task.kind == Kind::Round && task.asks.iter().any(settles)))
}

/// A task writes how it ended, where the row is still as it was given it.
pub fn conclude(s: &mut State, slot: usize, commit: Commit, mutant: Mutant) -> Option<()> {
    let task = s.memory.tasks[slot]?;
    let answers: Vec<(usize, Answer)> =
        (0..AGENTS).filter_map(|a| if let Ask::Answered(answer) = task.asks[a] { Some((a, answer)) } else { None }).collect();
    let is = |answer: Answer| answers.iter().any(|(_, a)| *a == answer);
    if task.kind == Kind::Offer {
        let last = answers.iter().find(|(a, _)| answers.len() == 1 || s.memory.passed != Some(*a as u8)).copied();
        if let (true, Some((a, answer))) = (s.one_zone && mutant != Mutant::OneOfAZoneIsAsked, last) {
            match answer {
                Answer::Done => s.memory.passed = None,
                Answer::Failed | Answer::TimedOut => s.memory.passed = Some(a as u8),
                Answer::Lost | Answer::Stale => {}
            }
            let other = 1 - a;
            if answer == Answer::Failed && task.asks[other] == Ask::Nobody && s.agents[other].connected {
                if commit != Commit::Plain {
                    return None;
                }
                s.outdate(std::array::from_fn(|b| b == other));
                let task = s.memory.tasks[slot].as_mut()?;
                (task.asks[other], task.outdated[other], task.old[other]) = (Ask::Queued, false, false);
                return Some(());
            }
        }
    }
    let winner = answers.iter().find(|(_, answer)| *answer == Answer::Done).map(|(a, _)| *a);
    let tries = s.row.is_some_and(|r| r.failed < RETRIES);
    let next_try = Extra { due: if tries { Said::In } else { Said::Never }, message: Some(Message::Other), ..Extra::PLAIN };
    let again = Extra { due: Said::In, message: Some(Message::Other), ..Extra::PLAIN };
    let deactivating = s.row.is_some_and(|r| r.status == Status::Deactivating);
    let end = match task.kind {
        Kind::Offer | Kind::Round => {
            let zone = |a: usize| if s.row.is_some_and(|r| r.zone.is_some()) { Zone::Keep } else { Zone::Found(s.zone_of(a)) };
            match winner {
                Some(a) => Some((Some(Event::Accepted), Extra { due: Said::Never, zone: zone(a), connections: Some(1), ..Extra::PLAIN })),
                None if is(Answer::Stale) => None,
                // The last that was asked.
                None if is(Answer::Lost) && task.kind == Kind::Offer => Some((Some(Event::AgentLost), again)),
                None if is(Answer::Failed) => Some((Some(Event::Rejected), next_try)),
                None if is(Answer::TimedOut) && task.kind == Kind::Round => Some((Some(Event::Rejected), next_try)),
                None if is(Answer::TimedOut) => Some((Some(Event::Expired), next_try)),
                None => Some((Some(Event::AgentLost), again)),
            }
        }
        Kind::Back if is(Answer::TimedOut) => {
            let due = if deactivating { Said::Now } else { next_try.due };
            Some((Some(Event::Expired), Extra { due, connections: Some(0), ..next_try }))
        }
        Kind::Back if is(Answer::Lost) || task.lost => {
            Some((deactivating.then_some(Event::AgentLost), Extra { due: Said::In, work: Work::Clear, ..Extra::PLAIN }))
        }
        Kind::Back => Some((Some(Event::LetGo), Extra { sent: Some(false), connections: Some(0), ..Extra::PLAIN })),
        Kind::Give { .. } | Kind::LetGo { .. } | Kind::Role { .. } => None,
    };
    s.memory.dirty |= matches!(task.kind, Kind::Offer | Kind::Round | Kind::Back);
    let believed = mutant == Mutant::AnswersAreBelieved;
    if let (Some((event, extra)), Some(row)) = (end, s.row)
        && (task.fresh || believed)
        && commit != Commit::UnknownNot
    {
        let stays = lifecycle::Step::Go { to: row.status, wanted: row.wanted, attempts: lifecycle::Attempts::Keep, tombstone: false };
        rows::apply(s, event.map_or(stays, |e| lifecycle::next(&real(&row), e)), &extra, true, mutant);
    }
    s.memory.tasks[slot] = None;
    if let Some(row) = &mut s.row
        && row.operation == Operation::Of(slot as u8)
    {
        row.operation = Operation::Lost;
    }
    match task.kind {
        Kind::Offer | Kind::Back => {}
        Kind::Round => {
            for a in 0..AGENTS {
                if matches!(task.asks[a], Ask::Sent | Ask::Outcome(_)) {
                    leave_late(s, &task, a)?;
                }
                if winner != Some(a) && task.asks[a] != Ask::Nobody {
                    if s.agents[a].connected && !task.old[a] {
                        let mut tell = Task::new(Kind::LetGo { exact: true }, task.generation, true);
                        tell.asks[a] = Ask::Checked;
                        s.spawn(tell, mutant == Mutant::OlderOrdersAreSent)?;
                    } else {
                        s.memory.alarm = true;
                    }
                }
            }
        }
        Kind::Give { .. } => match answers.first() {
            Some((_, Answer::Lost)) => s.memory.alarm = true,
            Some((a, answer)) => {
                s.memory.dirty = true;
                match answer {
                    Answer::Done => s.agents[*a].lately = false,
                    Answer::Failed | Answer::TimedOut if task.generation == 0 => s.agents[*a].lately = true,
                    _ => {}
                }
            }
            None => {}
        },
        Kind::LetGo { .. } | Kind::Role { .. } => s.memory.alarm = true,
    }
    Some(())
}

/// The time of a row comes.
pub fn passes(s: &mut State) {
    if let Some(row) = &mut s.row {
        row.due = When::Now;
    }
}
