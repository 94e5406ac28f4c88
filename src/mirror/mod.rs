//! The mirror's protocol: what was announced, what became of it, and `settle`, the one way from Clouddriver's table into ours.

pub mod change;

pub use change::{Announced, Change, Journal, Method, Outcome, Refusal, Ticket, Verdict};
