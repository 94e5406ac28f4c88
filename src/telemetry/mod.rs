//! What an operator sees of a running Fairlead: logs, metrics, and the admin listener with health and facts.
//!
//! It lies beside the flow: every module may log and register metrics, and nothing of the flow waits for it. It promises that
//! no secret is part of what it shows, and that the admin listener answers while the data plane is overloaded (it lives on the
//! control runtime and takes nothing from the data plane's threads). What is worth counting is each module's own matter.

pub mod admin;
mod health;
mod info;
pub mod logs;
pub mod metrics;
mod process;

pub use health::{Readiness, ServingState};
pub use info::{BuildFacts, DatabaseState, Facts, InterceptorFacts, Live, SealingFacts};
