//! From what an account should be to what its agents are told, with agents that follow a script.

pub mod places;
mod rows;
