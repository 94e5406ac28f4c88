//! A stand-in for Clouddriver's Account Management, and the main job told with it.
//!
//! [`StandIn`] is **not Clouddriver**: it holds account definitions in memory (or in a table like Clouddriver's) and answers
//! `/credentials` the way that real Clouddrivers were measured to answer. It serves `make demo` and `fairlead serve --demo`, so
//! that the main job can be seen with nothing installed, and the tests, whose faults ([`Faults`]) no real Clouddriver commits
//! on command. What it says about itself (`GET /`, its `Server` header, its log) says so.
//!
//! [`Cluster`] is the same for a Kubernetes API server, so that an agent has something to reach.
//!
//! [`story`] runs the main job against a proxy and tells what it sees; [`Stage`] goes on with a real agent process.
//!
//! Nothing else in the library uses this module: the program does, for the demonstration, and tests.

mod accounts;
mod agent;
mod answers;
mod cluster;
mod definition;
mod faults;
mod managed;
mod serve;
mod stand_in;
pub mod story;
mod table;

pub use accounts::{Live, Names, Row};
pub use agent::AgentProcess;
pub use cluster::{CLUSTER_NOTICE, CLUSTER_VERSION, Cluster};
pub use faults::{Answer, Call, Fault, Faults};
pub use managed::Stage;
pub use stand_in::{Options, StandIn};
pub use table::create_accounts_table;

/// What the stand-in says about itself wherever it speaks.
pub const NOTICE: &str = "stand-in for Clouddriver's Account Management, not Clouddriver";
