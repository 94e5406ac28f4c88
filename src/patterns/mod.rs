//! Patterns of account names, as the plugin has them: Java's regular expressions, matched against whole names in linear time.
//!
//! [`Pattern::read`] takes one or refuses it with its place; [`Patterns`] asks all of them at once. Which names are asked is the scanner's to
//! say.

mod set;
mod translate;

pub use set::{Pattern, Patterns};
pub use translate::Fault;
