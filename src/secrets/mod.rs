//! Secrets that a definition only names.
//!
//! [`reference`] is the pure half: which texts are references, and what they say. [`resolve`] asks who keeps the secret, just before a
//! definition is sent.

pub mod reference;
pub mod resolve;

pub use resolve::{ResolveError, Resolver, Settings};
