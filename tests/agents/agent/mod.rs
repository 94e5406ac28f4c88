//! The agent, in this process, against a scripted Fairlead and stand-ins for API servers.

mod api_server;
mod around;
mod clusters;
mod configuration;
mod failures;
mod kubernetes;
mod process;
mod reload;
pub mod rig;
mod scripted;
mod sessions;
mod ways;
