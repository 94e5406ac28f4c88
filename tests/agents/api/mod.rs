//! The accounts API through the proxy's own listener, on real tables.

mod agents;
mod crowd;
mod rig;
