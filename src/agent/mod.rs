//! The agent: the far end of the channel, near the clusters.
//!
//! It connects out to Fairlead and never listens for it (`connect`, `session` on one `link`), is asked to reach clusters and keeps what
//! it has reached (`accounts`, `cluster`), and tells what it sees of them by itself (`reports`). Its own health, accounts and metrics are
//! for whoever is near (`local`). It watches nothing and changes nothing in a cluster: that is not built.
//!
//! It promises that an operation is done once and has one outcome, which is repeated when it is asked again; that a failure says what
//! was tried, where, why not and what to do; that no secret is in a message, a log or an answer; and that a configuration that cannot be
//! used changes nothing.

mod accounts;
mod chunks;
mod cluster;
mod connect;
mod dial;
mod failure;
mod link;
mod local;
mod metrics;
mod reload;
mod reports;
mod run;
mod session;
mod status;
mod wire;
mod zone;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::agent::{Settings, Surroundings};

pub use failure::{Failure, Reason};
pub use run::{Agent, StartError};

pub(crate) use accounts::BoxFuture;
use accounts::Keeper;
use metrics::Metrics;
use status::Status;
use zone::Identity;

/// What the parts of an agent share.
struct Context {
    settings: watch::Receiver<Arc<Settings>>,
    surroundings: Arc<Surroundings>,
    keeper: Keeper,
    status: Status,
    metrics: Metrics,
    /// The agent's id: its pod's name.
    agent: Arc<str>,
    /// Chosen when the process starts.
    instance: String,
    /// The agent is to end.
    stop: CancellationToken,
}
