//! The accounts API through the proxy's own listener, on real tables.

mod agents;
mod batch;
mod beside;
mod crowd;
mod hostile;
mod rig;
mod schemathesis;
mod states;
mod story;
mod take;
mod whole;
