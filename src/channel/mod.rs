//! The agents' channel: who is connected, and how something is asked of them.
//!
//! `dispatch` sees this page only: [`Agents`] and plain types. What stands on the wire is [`crate::wire`]'s.

mod admit;
mod ask;
mod begin;
pub mod chunks;
mod convert;
mod index;
mod listen;
mod metrics;
mod nobody;
mod orders;
mod outbox;
mod quiet;
mod registry;
mod report;
mod serve;
mod service;
mod session;

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ulid::Ulid;

pub use listen::{Channel, bind};
pub use metrics::Metrics;
pub use nobody::Nobody;
pub use registry::{Limits, Registry};

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The name of an agent: its pod's.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AgentId(pub Arc<str>);

/// The group of agents that can reach the same clusters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ZoneId(pub Arc<str>);

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for ZoneId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One connection of an agent, as long as it lasts. What is meant for one never reaches a later one of the same agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    /// Whose.
    pub agent: AgentId,
    /// Grows with each session of that agent, over restarts of ours too.
    pub epoch: u64,
}

/// An agent that is connected and registered, as it was when it was asked for.
#[derive(Clone, Debug)]
pub struct Agent {
    /// This connection.
    pub session: SessionId,
    /// Its zone.
    pub zone: ZoneId,
    /// Its version, as it says.
    pub version: Arc<str>,
    /// When this session was registered.
    pub since: SystemTime,
    /// Agents of its deployment, itself included, where it knows.
    pub replicas: Option<u32>,
    /// What it has, by account name exactly as it says it.
    pub accounts: BTreeMap<Arc<str>, Held>,
}

/// An account at an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// As AddAccounts gave it; 0 for a static one.
    pub generation: i64,
    /// From the agent's own configuration: its properties, JSON without credentials.
    pub properties: Option<Arc<str>>,
    /// How it stands there.
    pub state: HeldState,
    /// What the agent knows of the cluster.
    pub facts: Option<Arc<Facts>>,
}

/// How an account stands at an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldState {
    /// Its cluster is being reached.
    Connecting,
    /// Reached; another agent watches it.
    Standby,
    /// Reached; this one watches it.
    Watching,
    /// The cluster no longer lets the agent in, after the agent's own retries.
    Failed(Failure),
}

impl HeldState {
    /// Reached, and it watches or stands by.
    pub(crate) const fn reached(watch: bool) -> Self {
        if watch { Self::Watching } else { Self::Standby }
    }
}

/// What an agent learned of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The API server's URL.
    pub host: String,
    /// Its version.
    pub version: String,
    /// MD5 of its certificate, in hexadecimal; empty without TLS.
    pub cert_fingerprint: String,
    /// UID of the namespace kube-system; empty where it may not be read.
    pub identity: String,
    /// SHA-256 of the CA, in hexadecimal.
    pub ca_fingerprint: String,
    /// Namespaces; `None`: they may not be listed.
    pub namespaces: Option<Vec<String>>,
    /// Kinds of the server, as `Kind.group`.
    pub kinds: Vec<String>,
    /// What could not be learned, in words.
    pub remarks: Vec<String>,
}

/// Why an agent does not have an account. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Its class.
    pub reason: Reason,
    /// In words for an operator.
    pub message: String,
    /// The host that was tried.
    pub host: Option<String>,
}

/// The class of a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The definition or its kubeconfig cannot be used.
    Definition,
    /// The host's name is not known.
    Dns,
    /// Nobody listens there.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// The certificate is not believed.
    Tls,
    /// 401.
    Unauthenticated,
    /// 403 on everything.
    Forbidden,
    /// No API server, or a broken one.
    Server,
    /// The agent does not do such a thing.
    Unsupported,
    /// The agent's own fault.
    Internal,
    /// Nothing was tried: the agent had too much else to do, or is about to end.
    Busy,
}

/// An account on its way to an agent. `Debug` shows no definition.
#[derive(Clone)]
pub struct NewAccount {
    /// Its name.
    pub name: Arc<str>,
    /// The generation of the definition.
    pub generation: i64,
    /// JSON with its references resolved: holds credentials.
    pub definition: Arc<[u8]>,
    /// Watch it, or stand by.
    pub watch: bool,
}

impl fmt::Debug for NewAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewAccount").field("name", &self.name).field("generation", &self.generation).finish_non_exhaustive()
    }
}

/// What is asked of an agent.
#[derive(Clone, Debug)]
pub enum Order {
    /// Reach these clusters.
    Add(Vec<NewAccount>),
    /// Let go of these accounts (name, generation; 0: whichever).
    Delete(Vec<(Arc<str>, i64)>),
    /// Watch (`true`) or stand by.
    Roles(Vec<(Arc<str>, bool)>),
}

/// What became of one account of an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub name: Arc<str>,
    /// Its generation, as the agent says.
    pub generation: i64,
    /// What was learned; nothing for a deletion.
    pub result: Result<Option<Arc<Facts>>, Failure>,
}

/// Why there is no outcome.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unanswered {
    /// The session is not there (any more). It may have been done.
    #[error("the agent is not connected any more")]
    Lost,
    /// The agent is there and did not answer in time. It may be done later.
    #[error("the agent did not answer within {0:?}")]
    TimedOut(Duration),
    /// Too much is under way with this agent; nothing was sent.
    #[error("too many operations are under way with this agent")]
    Busy,
    /// The agent could not do the order as a whole.
    #[error("{}", .0.message)]
    Refused(Failure),
}

/// Who is connected, and the way to them. One for each replica.
pub trait Agents: Send + Sync + 'static {
    /// The agent of this name, if it is connected now.
    fn get(&self, agent: &AgentId) -> Option<Arc<Agent>>;

    /// Everyone who is connected, in no order. Costs in proportion to their number, not to their accounts.
    fn all(&self) -> Vec<Arc<Agent>>;

    /// Those of a zone, the first to connect first.
    fn of_zone(&self, zone: &ZoneId) -> Vec<Arc<Agent>>;

    /// Zones with an agent, in the order of their names.
    fn zones(&self) -> Vec<ZoneId>;

    /// Those who have an account of this name, the first to connect first.
    fn holders(&self, account: &str) -> Vec<Arc<Agent>>;

    /// Waits until an agent has come, gone or said something else of its accounts, and names all of which that holds since the last call.
    /// One caller. Nothing is lost when the future is dropped.
    fn changed(&self) -> BoxFuture<'_, Vec<AgentChange>>;

    /// Sends an order and waits for its outcome: at most `deadline`, and no longer than the session lasts. Orders to one session arrive in
    /// the order of the calls. Dropping the future forgets the outcome, not the order.
    fn execute(
        &self,
        session: &SessionId,
        id: Ulid,
        order: Order,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Vec<Outcome>, Unanswered>>;

    /// Ends a session. `false`: it is not there.
    fn disconnect(&self, session: &SessionId, reason: &str) -> bool;
}

/// Something has changed with an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentChange {
    /// With whom.
    pub agent: AgentId,
    /// Its zone, also when it is gone.
    pub zone: ZoneId,
    /// It is connected now.
    pub connected: bool,
    /// It has registered since the last call, so all that it has is to be compared; else only these accounts have changed.
    pub registered: bool,
    /// Accounts of which it said something new, and those that went with it.
    pub accounts: Vec<Arc<str>>,
}
