//! The agents' port, with scripted agents on real connections.

mod corpus;
mod floods;
#[allow(dead_code, reason = "shared with other tests, each of which uses a part")]
#[path = "../../integration/endurance/frames.rs"]
mod frames;
mod orders;
mod port;
mod process;
mod proxied;
pub mod rig;
mod sessions;
mod settings;
mod sim;
mod tls;

mod origin {
    /// Longer than anything takes.
    pub const NEVER: std::time::Duration = std::time::Duration::from_secs(60);
}
