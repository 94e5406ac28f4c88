//! The agent, in this process, against a scripted Fairlead and stand-ins for API servers.

#[allow(dead_code)]
mod api_server;
mod clusters;
#[allow(dead_code)]
mod rig;
#[allow(dead_code)]
mod scripted;
mod sessions;
