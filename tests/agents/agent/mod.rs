//! The agent, in this process, against a scripted Fairlead and stand-ins for API servers.

mod api_server;
mod clusters;
mod rig;
mod scripted;
mod sessions;
