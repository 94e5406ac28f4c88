//! An account change on its way, as the interceptor announces it and the mirror hears of it.
//!
//! This is the whole seam between the data plane and everything else: the interceptor awaits [`Journal::announce`]
//! before a change's body leaves (before the call, where it has none), and calls [`Ticket::finish`] once when Clouddriver has
//! answered. A ticket that is dropped unfinished means that the outcome is not known.

use std::fmt;

use ulid::Ulid;

/// Which of the four calls that change accounts this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    /// `POST /credentials`.
    Post,
    /// `PUT /credentials`, an upsert.
    Put,
    /// `PUT /credentials/{name}`, an update.
    PutNamed,
    /// `DELETE /credentials/{name}`.
    Delete,
}

impl Method {
    /// The text in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::PutNamed => "PUT_NAMED",
            Self::Delete => "DELETE",
        }
    }

    /// Reads the journal's text.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "PUT_NAMED" => Self::PutNamed,
            "DELETE" => Self::Delete,
            _ => return None,
        })
    }
}

/// A change that is about to be forwarded.
#[derive(Clone)]
pub struct Change {
    /// Its name in the journal.
    pub id: Ulid,
    /// Which call.
    pub method: Method,
    /// The account's name as path or body hint at it; `None` where they tell nothing (then a sweep finds it).
    pub name: Option<String>,
    /// `X-SPINNAKER-REQUEST-ID`, for the log.
    pub request_id: Option<String>,
}

impl fmt::Debug for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Change").field("id", &self.id.to_string()).field("method", &self.method).field("name", &self.name).finish()
    }
}

/// What Clouddriver's answer says about a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// 2xx.
    Ok,
    /// An answer of the closed list that proves that nothing was stored.
    Refused,
    /// Anything else, and no answer at all: the row will tell.
    Unknown,
}

/// What the interceptor heard.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The outcome.
    pub outcome: Outcome,
    /// The account's name as the answer's body hints at it.
    pub name: Option<String>,
}

/// Why a change is not forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// `failurePolicy: Fail` and the journal could not be written in time.
    JournalUnavailable,
    /// Under `Ignore`, before this replica has registered its first epoch, with no `stateDir` to remember the change in.
    NotRegistered,
}

/// The answer to an announcement: go on, and say what became of it.
pub type Announced<T> = Result<T, Refusal>;

/// Where changes are announced. Cheap to clone; used from the data plane's threads.
pub trait Journal: Clone + 'static {
    /// The handle of one announced change.
    type Ticket: Ticket;

    /// Journals the intent, waiting no longer than the configured bound. Dropped half-way, the intent may be journalled;
    /// it is then settled as one of unknown outcome.
    ///
    /// # Errors
    /// [`Refusal`]: nothing may be forwarded.
    fn announce(&self, change: Change) -> impl Future<Output = Announced<Self::Ticket>>;

    /// Asks for a sweep over Clouddriver's table soon: something that was not announced may have changed an account.
    fn sweep_soon(&self, reason: &'static str);
}

/// One announced change. Dropping it unfinished says [`Outcome::Unknown`].
pub trait Ticket: 'static {
    /// Says that the change's first byte is about to leave. `false`: too much time has passed since the announcement (the process
    /// was stopped in between); the change must not be forwarded, and the ticket is to be dropped.
    fn may_forward(&self) -> bool;

    /// Says what became of the change. Never waits.
    fn finish(self, verdict: Verdict);
}
