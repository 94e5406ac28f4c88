//! Fairlead and its agents: the channel, the lifecycle, the agent itself.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

mod agent;
mod api;
mod channel;
mod dispatch;
mod scripted_agent;
mod simulation;
mod stand_in;
#[path = "../support/mod.rs"]
mod support;
mod whole;
