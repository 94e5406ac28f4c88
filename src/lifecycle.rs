//! The table of states: what an account may become, and why. One pure function, [`next`]; `docs/lifecycle.md` is generated from it.
//!
//! Who changes a row's status asks here and writes what comes out by compare-and-set on the row's revision (`fl_rev`), so that an answer that was
//! worked out from an older row changes nothing. What is *wanted* ([`Wanted`], column `fl_wanted`) and what *is* ([`Status`]) are two
//! things: a wish that comes while a transition is under way is noted, and followed when the transition is over ([`follow`]).
//!
//! Left to others: when an event happens (`dispatch` for agents and clocks, `api` for users, `mirror` for Clouddriver), and what is sent.

use crate::account::Status;

/// What a user, the scanner or the interceptor last asked for (column `fl_wanted`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// An agent is to manage it.
    Active,
    /// No agent is to have it.
    Inactive,
    /// It is to go, from its agents first.
    Deleted,
}

impl Wanted {
    /// The text in the column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::Deleted => "DELETED",
        }
    }

    /// What the row says; where it says nothing (an adopted row), what its status stands for.
    pub fn of(column: Option<&str>, status: Status) -> Self {
        match column {
            Some("ACTIVE") => Self::Active,
            Some("INACTIVE") => Self::Inactive,
            Some("DELETED") => Self::Deleted,
            _ => match status {
                Status::Inactive | Status::ToDeactivate | Status::Deactivating => Self::Inactive,
                Status::Deleting | Status::DeleteFailed => Self::Deleted,
                Status::ToMigrate | Status::Activating | Status::Active | Status::Failed | Status::Orphaned => Self::Active,
            },
        }
    }
}

/// What the table needs of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Its status.
    pub status: Status,
    /// What is wanted of it.
    pub wanted: Wanted,
    /// It was on its way to an agent at some time since it last was certain that none has it.
    pub sent: bool,
    /// Not from an agent's own configuration.
    pub dynamic: bool,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// A user (PATCH ACTIVE), the scanner or `interceptor.activate` wants it managed.
    Activate,
    /// A user (PATCH INACTIVE) wants it let go of.
    Deactivate,
    /// A user, or Clouddriver through the mirror, wants it gone.
    Delete,
    /// Its definition, zone or reference has changed, and its generation with it.
    Changed,
    /// The operation that its state asks for is about to be sent to an agent.
    Offered,
    /// An agent has reached its cluster.
    Accepted,
    /// No agent could: the definition or the cluster is at fault. Also when nothing could be sent.
    Rejected,
    /// The agent that it was offered to is gone, and its answer with it.
    AgentLost,
    /// The state's deadline has passed with no answer from an agent that is there.
    Expired,
    /// Each agent that may have had it has let go.
    LetGo,
    /// An agent says that it could not let go.
    NotLetGo,
    /// None of the agents that may have it is connected (for ACTIVE: and the grace period is over).
    NoAgentLeft,
    /// An agent that may have it has it, and has reached its cluster.
    Back,
    /// The zone that was found for it, not given, is gone beyond the grace period.
    ZoneGone,
    /// The agent that manages it says that the cluster no longer lets it in.
    ClusterLost,
    /// Its time to be tried again has come.
    RetryDue,
    /// Static only: no agent has had it for `cache.accountCleanupFrequencySeconds`.
    Abandoned,
}

impl Event {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 17] = [
        Self::Activate,
        Self::Deactivate,
        Self::Delete,
        Self::Changed,
        Self::Offered,
        Self::Accepted,
        Self::Rejected,
        Self::AgentLost,
        Self::Expired,
        Self::LetGo,
        Self::NotLetGo,
        Self::NoAgentLeft,
        Self::Back,
        Self::ZoneGone,
        Self::ClusterLost,
        Self::RetryDue,
        Self::Abandoned,
    ];
}

/// What becomes of `failed_count` and `error_message`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attempts {
    /// They stay.
    Keep,
    /// The count is 0 and the message gone.
    Reset,
    /// One more failed, and the message says how.
    Failed,
}

/// What an event makes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The row changes: possibly only in what is wanted.
    Go {
        /// Its status from now on.
        to: Status,
        /// What is wanted from now on.
        wanted: Wanted,
        /// Its count and message.
        attempts: Attempts,
        /// An agent that was not asked may still have it: a tombstone tells it to let go when it comes back.
        tombstone: bool,
    },
    /// The row goes.
    Leave {
        /// As above.
        tombstone: bool,
    },
    /// The event means nothing in this state; nothing changes.
    Ignore,
    /// A user asked for what cannot be; the words are for the answer.
    Refuse(&'static str),
}

/// The table.
pub fn next(state: &State, event: Event) -> Step {
    use Status as S;
    let State { status, wanted, sent, dynamic } = *state;
    let go = |to, attempts| Step::Go { to, wanted, attempts, tombstone: false };
    let wish = |to, wanted, attempts| Step::Go { to, wanted, attempts, tombstone: false };
    if !dynamic {
        return next_static(status, event);
    }
    match (event, status) {
        // Wishes.
        (Event::Activate | Event::Deactivate, S::Deleting | S::DeleteFailed) => Step::Refuse("it is being deleted"),
        (Event::Activate, S::Inactive | S::Failed | S::Orphaned) => wish(S::ToMigrate, Wanted::Active, Attempts::Reset),
        (Event::Activate, S::ToMigrate) => wish(S::ToMigrate, Wanted::Active, Attempts::Reset),
        // Under way already, or on the way back from it: followed when that is over.
        (Event::Activate, S::Activating | S::Active | S::ToDeactivate | S::Deactivating) => wish(status, Wanted::Active, Attempts::Keep),
        (Event::Deactivate, S::Active | S::Activating) => wish(S::ToDeactivate, Wanted::Inactive, Attempts::Keep),
        (Event::Deactivate, S::ToMigrate | S::Failed | S::Orphaned) => {
            Step::Go { to: S::Inactive, wanted: Wanted::Inactive, attempts: Attempts::Reset, tombstone: sent }
        }
        (Event::Deactivate, S::Inactive | S::ToDeactivate | S::Deactivating) => wish(status, Wanted::Inactive, Attempts::Keep),
        (Event::Delete, _) if !sent => Step::Leave { tombstone: false },
        (Event::Delete, S::Deleting) => wish(S::Deleting, Wanted::Deleted, Attempts::Keep),
        (Event::Delete, _) => wish(S::Deleting, Wanted::Deleted, Attempts::Reset),

        // A definition that changed. What was answered to the old one counts no more.
        (Event::Changed, S::Failed) if wanted == Wanted::Active => go(S::ToMigrate, Attempts::Reset),
        (Event::Changed, S::Activating) => go(S::ToMigrate, Attempts::Keep),
        (Event::Changed, _) => go(status, Attempts::Keep),

        // What dispatch does.
        (Event::Offered, S::ToMigrate) => go(S::Activating, Attempts::Keep),
        (Event::Offered, S::ToDeactivate) => go(S::Deactivating, Attempts::Keep),
        (Event::Accepted, S::Activating) => go(S::Active, Attempts::Reset),
        (Event::Rejected, S::ToMigrate | S::Activating | S::Active) => go(S::Failed, Attempts::Failed),
        (Event::AgentLost, S::Activating) => go(S::ToMigrate, Attempts::Keep),
        (Event::AgentLost, S::Deactivating) => go(S::ToDeactivate, Attempts::Keep),
        (Event::Expired, S::Activating) => go(S::Failed, Attempts::Failed),
        // Its agent is there and says nothing: it is told again when it registers the next time.
        (Event::Expired | Event::NotLetGo, S::Deactivating) => {
            Step::Go { to: S::Inactive, wanted, attempts: Attempts::Keep, tombstone: true }
        }
        (Event::Expired | Event::NotLetGo, S::Deleting) => go(S::DeleteFailed, Attempts::Failed),
        (Event::LetGo, S::Deactivating) => go(S::Inactive, Attempts::Reset),
        (Event::LetGo, S::Deleting) => Step::Leave { tombstone: false },
        (Event::NoAgentLeft, S::ToDeactivate | S::Deactivating) => {
            Step::Go { to: S::Inactive, wanted, attempts: Attempts::Reset, tombstone: true }
        }
        (Event::NoAgentLeft, S::Deleting | S::DeleteFailed) => Step::Leave { tombstone: true },
        (Event::NoAgentLeft, S::Active) => go(S::Orphaned, Attempts::Keep),
        (Event::Back, S::Orphaned) => go(S::Active, Attempts::Reset),
        (Event::ZoneGone, S::Orphaned) => go(S::ToMigrate, Attempts::Reset),
        (Event::ClusterLost, S::Active | S::Orphaned) => go(S::Failed, Attempts::Failed),
        (Event::RetryDue, S::Failed) => go(S::ToMigrate, Attempts::Keep),
        (Event::RetryDue, S::DeleteFailed) => go(S::Deleting, Attempts::Keep),
        _ => Step::Ignore,
    }
}

/// Static accounts come and go with their agents' registrations; users do not move them.
fn next_static(status: Status, event: Event) -> Step {
    use Status as S;
    let go = |to, attempts| Step::Go { to, wanted: Wanted::Active, attempts, tombstone: false };
    match (event, status) {
        (Event::Activate | Event::Deactivate | Event::Delete, _) => Step::Refuse("it is in an agent's own configuration: change it there"),
        (Event::Accepted | Event::Back, S::Active) => Step::Ignore,
        (Event::Accepted | Event::Back, _) => go(S::Active, Attempts::Reset),
        (Event::Rejected | Event::ClusterLost, S::Failed) => Step::Ignore,
        (Event::Rejected | Event::ClusterLost, _) => go(S::Failed, Attempts::Failed),
        (Event::NoAgentLeft, S::Active | S::Failed) => go(S::Orphaned, Attempts::Keep),
        (Event::Abandoned, S::Orphaned) => Step::Leave { tombstone: false },
        _ => Step::Ignore,
    }
}

/// What a row at rest has to become because something else is wanted of it: the wish that was noted meanwhile.
pub fn follow(state: &State) -> Option<Event> {
    match (state.status, state.wanted) {
        (Status::Inactive, Wanted::Active) if state.dynamic => Some(Event::Activate),
        (Status::Active, Wanted::Inactive) if state.dynamic => Some(Event::Deactivate),
        (status, Wanted::Deleted) if state.dynamic && !matches!(status, Status::Deleting | Status::DeleteFailed) => Some(Event::Delete),
        _ => None,
    }
}

/// Whether somebody has to do something about it in bounded time: such a state has a deadline, or an agent that is awaited.
pub const fn is_transient(status: Status) -> bool {
    matches!(status, Status::ToMigrate | Status::Activating | Status::ToDeactivate | Status::Deactivating | Status::Deleting)
}

/// Whether an agent may have the account while it is in this state: one that has it in another is told to let go.
pub const fn may_be_held(status: Status) -> bool {
    matches!(
        status,
        Status::Activating
            | Status::Active
            | Status::Orphaned
            | Status::ToDeactivate
            | Status::Deactivating
            | Status::Deleting
            | Status::DeleteFailed
    )
}
