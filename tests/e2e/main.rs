//! The main job on real Clouddrivers. `docs/testing.md` says how to run it.
fn main() {}
