//! Secrets that a definition only names.
//!
//! [`reference`] is the pure half: which texts are references, and what they say. Resolving them is left to who sends definitions.

pub mod reference;
