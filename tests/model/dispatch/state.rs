//! What the model remembers: one account's row, one replica's memory and tasks, two agents, what a user last asked for.
//!
//! Numbers that only have to be the same or not are told that way: a generation is how many definitions ago it was, a row that was read is
//! `fresh` as long as nobody has written it since.

use fairlead::account::Status;
use fairlead::lifecycle::{Step, Wanted};

pub const AGENTS: usize = 2;
/// Tasks of one replica at once; what would take more is not searched.
pub const TASKS: usize = 4;
/// Retries after the first attempt.
pub const RETRIES: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum When {
    Never,
    Ahead,
    Now,
}

/// The operation that a row names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    None,
    /// Of this task.
    Of(u8),
    /// Nobody is about it any more.
    Lost,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner {
    Nobody,
    /// The replica that lives.
    Mine,
    /// One that died, and whose lease goes on.
    Leased,
    Dead,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    None,
    /// That an agent is waited for: of its zone, or any.
    Awaited,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Row {
    pub status: Status,
    pub wanted: Wanted,
    pub sent: bool,
    pub zone: Option<u8>,
    pub found: bool,
    pub failed: u8,
    pub message: Message,
    pub connections: u8,
    pub due: When,
    pub operation: Operation,
    pub owner: Owner,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Standing {
    Connecting,
    Reached,
    Failed,
}

/// An account at an agent: what is so (`Agent::has`), or what the replica was told (`Agent::seen`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    pub generation: u8,
    pub watch: bool,
    pub standing: Standing,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Agent {
    pub connected: bool,
    /// It does not come back by itself.
    pub away: bool,
    /// Its cluster lets it in.
    pub reaches: bool,
    pub has: Option<Held>,
    /// The replica knows of that otherwise than by an operation that is under way.
    pub told: bool,
    /// It has something to report.
    pub news: bool,
    /// Its list is no longer what it registered.
    pub unlisted: bool,
    pub seen: Option<Held>,
    /// It has registered since the last look.
    pub arrived: bool,
    /// It could not have this generation, some time ago.
    pub lately: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// To one agent, in ACTIVATING.
    Offer,
    /// To one agent of each zone, in ACTIVATING.
    Round,
    /// To one more agent of the zone.
    Give {
        watch: bool,
    },
    /// In DEACTIVATING or DELETING.
    Back,
    /// To who may not have it: of this generation, or whichever.
    LetGo {
        exact: bool,
    },
    Role {
        watch: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    Done,
    Failed,
    TimedOut,
    /// The session is over.
    Lost,
    /// Nothing was sent: the row asks for something else.
    Stale,
}

/// How one agent was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    Nobody,
    /// The row is to be looked at once more.
    Queued,
    /// About to be sent.
    Checked,
    /// At the agent.
    Sent,
    /// Its outcome is fixed, and on its way.
    Outcome(bool),
    Answered(Answer),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Task {
    pub kind: Kind,
    pub generation: u8,
    /// The row is as this task was given it.
    pub fresh: bool,
    pub asks: [Ask; AGENTS],
    /// The sessions that were asked are over.
    pub old: [bool; AGENTS],
    /// A later order has overtaken this one: its outcome tells nothing of what the agent has.
    pub overtaken: [bool; AGENTS],
    /// A later order has said whether the agent watches.
    pub roles: [Option<bool>; AGENTS],
    /// A later order has added this generation: the outcome of this one to let go does not tell of it.
    pub spares: [Option<u8>; AGENTS],
    /// Something was planned later for this agent: what is not sent yet is not sent any more.
    pub outdated: [bool; AGENTS],
    /// A session that was over already was to be asked, too.
    pub lost: bool,
    /// Nobody waits for it any more; its outcome still counts for what agents have.
    pub late: bool,
}

impl Task {
    pub const fn new(kind: Kind, generation: u8, fresh: bool) -> Self {
        Self {
            kind,
            generation,
            fresh,
            asks: [Ask::Nobody; AGENTS],
            old: [false; AGENTS],
            overtaken: [false; AGENTS],
            roles: [None; AGENTS],
            spares: [None; AGENTS],
            outdated: [false; AGENTS],
            lost: false,
            late: false,
        }
    }

    pub const fn adds(&self) -> bool {
        matches!(self.kind, Kind::Offer | Kind::Round | Kind::Give { .. })
    }

    pub fn is_open(&self) -> bool {
        self.asks.iter().any(|a| matches!(a, Ask::Queued | Ask::Checked | Ask::Sent | Ask::Outcome(_)))
    }
}

/// What is written along with a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Extra {
    pub due: Said,
    pub work: Work,
    pub message: Option<Message>,
    pub zone: Zone,
    pub connections: Option<u8>,
    pub sent: Option<bool>,
}

impl Extra {
    pub const PLAIN: Self = Self { due: Said::Now, work: Work::Auto, message: None, zone: Zone::Keep, connections: None, sent: None };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    Now,
    In,
    Never,
    Keep,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Work {
    Auto,
    Begin,
    Clear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Zone {
    Keep,
    Found(u8),
    Forget,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Then {
    Nothing,
    Offer([bool; AGENTS]),
    /// `lost`: a session that is over, too.
    TakeBack([bool; AGENTS], bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Write {
    pub step: Step,
    pub extra: Extra,
    pub then: Then,
}

/// Where the loop is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Look {
    Idle,
    Read { row: Row, fresh: bool },
    Planned { write: Write, fresh: bool },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Missing {
    No,
    Since,
    /// The grace period is over.
    Over,
}

/// What the process may lose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Memory {
    pub look: Look,
    pub dirty: bool,
    pub alarm: bool,
    pub missing: Missing,
    /// The last agent of the zone that could not have it.
    pub passed: Option<u8>,
    /// The one look at everything after a start is still to come.
    pub everything: bool,
    pub tasks: [Option<Task>; TASKS],
}

/// What may still happen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub wishes: u8,
    pub changes: u8,
    pub crashes: u8,
    pub faults: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub row: Option<Row>,
    pub memory: Memory,
    pub agents: [Agent; AGENTS],
    /// Who connected first.
    pub first: u8,
    /// Both agents are of zone 0; else each has one of its own.
    pub one_zone: bool,
    pub budget: Budget,
    /// The last wish that was taken.
    pub wish: Wanted,
    /// An agent has reached the cluster with the definition of today.
    pub reached: bool,
    /// Properties that do not hold: see `properties`.
    pub broken: u16,
}

impl State {
    pub const fn zone_of(&self, agent: usize) -> u8 {
        if self.one_zone { 0 } else { agent as u8 }
    }

    /// Those who are connected, the first to connect first.
    pub fn in_order(&self) -> impl Iterator<Item = usize> + use<> {
        let first = self.first as usize;
        let connected = self.agents.map(|a| a.connected);
        [first, 1 - first].into_iter().filter(move |a| connected[*a])
    }

    pub fn in_zone(&self, zone: u8) -> impl Iterator<Item = usize> + use<> {
        let of = [self.zone_of(0), self.zone_of(1)];
        self.in_order().filter(move |a| of[*a] == zone)
    }

    /// Whoever has read the row or works on it has an older one now.
    pub fn written(&mut self) {
        match &mut self.memory.look {
            Look::Idle => {}
            Look::Read { fresh, .. } | Look::Planned { fresh, .. } => *fresh = false,
        }
        for task in self.memory.tasks.iter_mut().flatten() {
            task.fresh = false;
        }
    }

    /// Another definition from now on: what had the one of today has an older one.
    pub fn new_generation(&mut self) {
        let older = |g: &mut u8| *g = (*g + 1).min(3);
        for a in &mut self.agents {
            a.has.iter_mut().chain(&mut a.seen).for_each(|h| older(&mut h.generation));
            a.lately = false;
        }
        for task in self.memory.tasks.iter_mut().flatten() {
            older(&mut task.generation);
            task.spares.iter_mut().flatten().for_each(older);
        }
        self.reached = false;
    }

    /// Starts a task; older ones send nothing more to the same agents, unless a mutant keeps them. `None`: there is no room.
    pub fn spawn(&mut self, task: Task, keeps: bool) -> Option<usize> {
        if !task.late && !keeps {
            self.outdate(task.asks.map(|a| a != Ask::Nobody));
        }
        let slot = self.memory.tasks.iter().position(Option::is_none)?;
        self.memory.tasks[slot] = Some(task);
        Some(slot)
    }

    /// Something is planned for these agents: what was before and is not sent yet is not sent any more.
    pub fn outdate(&mut self, agents: [bool; AGENTS]) {
        for older in self.memory.tasks.iter_mut().flatten() {
            (0..AGENTS).filter(|a| agents[*a] && !older.old[*a]).for_each(|a| older.outdated[a] = true);
        }
    }
}
