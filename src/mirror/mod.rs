//! The mirror's protocol: what was announced, what became of it, and `settle`, the one way from Clouddriver's table into ours.
//!
//! A change is announced by the interceptor ([`change`]) and journalled before its body leaves ([`handle`]). Its outcome is known
//! only in this process's memory ([`registry`]); from then on its name is settled ([`settle`], by the table in [`decide`]) until
//! Clouddriver's row explains it ([`engine`]). What dies with a process is taken over by the others ([`recover`]), and what no
//! journal tells is found by passes over everything ([`pass`]), because the database knows since when something may be missing
//! ([`epoch`]). `docs/adr/0004-mirror-protocol.md` has the reasons.

pub mod change;
pub mod decide;
pub mod engine;
mod epoch;
pub mod handle;
mod many;
pub mod metrics;
mod pass;
mod recover;
pub mod registry;
pub mod settle;
mod spool;
pub mod take;
mod unsettled;

pub use change::{Announced, Change, Journal, Method, Outcome, Refusal, Ticket, Verdict};
pub use engine::{Engine, MirrorStatus};
pub use handle::Handle;
pub use metrics::Metrics;
pub use take::{Take, Taken};

/// The file in `interceptor.stateDir` that remembers a gap while no database does.
pub const MARKER: &str = "fairlead-gap";

/// Readings after which an acknowledged change that nothing explains waits for a sweep.
pub const LADDER_STEPS: u32 = engine::LADDER.len() as u32;

/// The names of all crash points of the mirror, in the order in which a change meets them.
pub const CRASH_POINTS: [&str; 7] =
    ["intent-journalled", "before-forward", "outcome-known", "settle-snapshot", "settle-read", "settle-before-commit", "settle-committed"];
