//! The accounts of an agent: which there are, how they stand, and what was asked of them.
//!
//! Operations are taken in the order of their arrival and each takes effect at once in the table; reaching a cluster is the work of one
//! task for each account, which ends when the account is let go of or replaced. What an operation came to is kept for a while under its
//! id and repeated; nothing is done twice.

mod keeper;
mod operations;
mod places;
mod reach;
mod table;
mod tend;
#[cfg(test)]
mod tests;

pub(crate) use keeper::{Keeper, Shown};
pub(crate) use operations::{AccountOutcome, NewAccount, Order, Outcome};
pub(crate) use reach::{BoxFuture, Clusters};
pub(crate) use table::Standing;
