//! The agents' port, with scripted agents on real connections.

mod orders;
mod rig;
mod sessions;
