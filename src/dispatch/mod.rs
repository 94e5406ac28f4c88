//! From what an account should be to what its agents are told: the one reconcile loop.

mod ask;
mod bell;
pub mod desk;

pub use ask::{Ask, Zone};
pub use bell::Bell;
pub use desk::Desk;
