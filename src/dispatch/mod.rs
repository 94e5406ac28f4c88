//! From what an account should be to what its agents are told: the one reconcile loop.

mod bell;

pub use bell::Bell;
