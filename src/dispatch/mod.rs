//! From what an account should be to what its agents are told: the one reconcile loop.

mod ask;
mod bell;

pub use ask::{Ask, Zone};
pub use bell::Bell;
