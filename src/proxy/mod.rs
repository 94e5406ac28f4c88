//! The client side and the way to Clouddriver: accept, forward, answer, drain.

pub mod body;

pub use body::{Body, BodyError};
