//! From what an account should be to what its agents are told, with agents that follow a script.

mod activate;
mod crash;
mod crowd;
mod document;
mod hang;
mod keep;
mod leave;
pub mod places;
pub mod rig;
mod rows;
mod scanned;
pub mod scripted;
mod table;
mod turns;
mod whole;
