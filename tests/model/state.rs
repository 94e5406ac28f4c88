//! What the model remembers: one account name, Clouddriver's row, the mirror's row, the journal, two replicas and a foreign writer.
//!
//! Everything is small and `Copy`: a search visits millions of these.

/// How many changes one search may hold.
pub const CHANGES: usize = 3;
/// How many runs of settle may be on their way at once, on whichever replica.
pub const RUNS: usize = 2;

/// The incarnation of a row: one number for each creation, in place of `created_at`.
pub type Inc = u8;

/// What Clouddriver stores for the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Row {
    pub inc: Inc,
    /// Definition and time of change in one: no two writers write the same.
    pub val: u8,
}

/// The calls that change accounts. `PUT /credentials/{name}` is the upsert that finds its row, or a refusal: nothing of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Method {
    Post,
    Put,
    Delete,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Writer {
    /// Through the proxy, by the replica of this number.
    Replica(u8),
    /// Past the proxy.
    Foreign,
}

/// Where the call is, seen from Clouddriver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fate {
    Idle,
    /// Announced; may leave at any moment.
    Unsent,
    /// Left, and nobody waits for the answer any more: it may still be carried out, until G has passed.
    InFlight,
    Done,
    Dropped,
}

/// What an answer says, and what a replica keeps of it in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    Nothing,
    Ok,
    Refused,
    Unknown,
}

/// The intent's row in the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Intent {
    Absent,
    /// The write was given up by the request and goes on without it.
    Writing,
    Open,
    Gone,
    /// Ended by another replica while its owner still remembers it.
    TakenAway,
    /// Its write failed for good.
    Never,
}

/// Clouddriver's row when the intent was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Before {
    Unknown,
    None,
    Row(Row),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Change {
    pub method: Method,
    pub writer: Writer,
    pub fate: Fate,
    /// The answer that is on its way to the owner.
    pub answer: Said,
    /// What the owner heard.
    pub heard: Said,
    pub intent: Intent,
    pub before: Before,
    /// The intent was written after the change had left, so its pre-image may have been read after it.
    pub late: bool,
    /// The first incarnation that did not exist yet when the change was announced: "created near the time of forwarding".
    pub floor: Inc,
    /// G has passed since.
    pub over: bool,
    /// An answer of ok that the row did not explain was looked at again once.
    pub looked: bool,
    /// Its owner will never hear of it (mutants only).
    pub lost: bool,
}

/// What a mirrored row follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Link {
    To(Inc),
    /// An agent's own.
    Static,
    /// Made by `POST /armory/accounts/dynamic`.
    Created,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Status {
    /// Never sent to an agent.
    Inactive,
    Active,
    Deleting,
}

/// The mirror's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mirror {
    pub link: Link,
    pub val: u8,
    pub status: Status,
    /// A generation kept in the mirror's row itself, which only a mutant looks at.
    pub rev: u8,
}

/// The row of the name that outlives the mirror's. Its generation is not here: it is random and never used again, so all that
/// matters of it is whether a run's copy still holds, and that is a fact of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub claimed: Inc,
    pub seen: Inc,
}

/// What a run of settle knew of an intent when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Known {
    /// Not in the journal.
    Absent,
    /// Its owner lives and will tell; nobody else may judge it.
    Pending,
    Ok,
    /// Nobody can tell any more, but Clouddriver may still carry it out.
    Unknown,
    /// As before, and G has passed.
    Expired,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Purpose {
    /// Open intents are to be explained.
    Intents,
    /// The ordinary full pass.
    Pass,
    /// The full pass after a gap.
    GapPass,
    /// A user's `POST /armory/accounts`.
    Take,
}

/// What a run read of Clouddriver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Read {
    NotYet,
    Row(Option<Row>),
    /// The API's list cannot tell absence from a row that it could not resolve.
    CannotTell,
}

/// A run of settle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Run {
    Idle,
    Going(Going),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Going {
    pub replica: u8,
    pub purpose: Purpose,
    /// The generation and the snapshot have been read.
    pub snapped: bool,
    pub known: [Known; CHANGES],
    pub read: Read,
    /// How many writes Clouddriver's row had seen at that read.
    pub at: u8,
    /// Whether this pass, if it is one for a gap, began late enough to be its last.
    pub closes_gap: bool,
    /// What a mutant remembers of the mirror's row in place of the name's generation.
    pub rev: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Life {
    Up,
    /// Stopped, and its lease has ended.
    Paused,
    /// Running again before its lease was renewed: others still take it for dead.
    Waking,
    Down,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Replica {
    pub life: Life,
    /// Its epoch is open, and expired or behind: something may have passed unjournalled.
    pub gap: bool,
}

/// What may still happen in this search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Budget {
    pub faults: u8,
    pub passes: u8,
    pub hands: u8,
    pub takes: u8,
    pub activations: u8,
}

/// History that no part of the system sees: the properties are about it. Sets of incarnations are bit masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct History {
    /// How many writes Clouddriver's row has seen, and how many the newest applied read had seen.
    pub writes: u8,
    pub applied: u8,
    /// Made by a POST of ours, and among them those whose intent was in the journal by then.
    pub posted: u8,
    pub announced: u8,
    /// Made by a POST of ours that was not journalled, while a journalled PUT that knew what was there before it was open.
    pub beside_a_put: u8,
    /// Made by a journalled PUT of ours.
    pub put: u8,
    /// Deleted by a journalled DELETE of ours, and by a foreign writer.
    pub deleted: u8,
    pub deleted_outside: u8,
    pub claimed: u8,
    /// Taken out of the mirror by hand.
    pub by_hand: u8,
    /// A foreign write or a gap happened: only a full pass can bring the mirror to agree.
    pub needs_pass: bool,
    /// The properties that were violated, one bit each (see `properties`).
    pub broken: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub row: Option<Row>,
    /// The row before the last write; only a mutant reads it.
    pub stale: Option<Row>,
    pub next_inc: Inc,
    pub mirror: Option<Mirror>,
    pub name: Name,
    pub changes: [Change; CHANGES],
    pub runs: [Run; RUNS],
    pub replicas: [Replica; 2],
    pub budget: Budget,
    pub history: History,
}

/// The bit of an incarnation in a set.
pub const fn bit(inc: Inc) -> u8 {
    1 << inc
}

impl Change {
    pub const fn new(method: Method, writer: Writer) -> Self {
        Self {
            method,
            writer,
            fate: Fate::Idle,
            answer: Said::Nothing,
            heard: Said::Nothing,
            intent: Intent::Absent,
            before: Before::None,
            late: false,
            floor: 0,
            over: false,
            looked: false,
            lost: false,
        }
    }

    /// The replica that owns it, if one does.
    pub const fn owner(&self) -> Option<u8> {
        match self.writer {
            Writer::Replica(r) => Some(r),
            Writer::Foreign => None,
        }
    }

    /// Clouddriver will do no more about it.
    pub const fn decided(&self) -> bool {
        matches!(self.fate, Fate::Done | Fate::Dropped)
    }
}
