//! Claims about the program itself under strain, seen from outside: what its process holds (memory, descriptors), what its clients
//! and its Clouddriver see. Nothing here knows how the data plane is made.

#![allow(clippy::print_stdout, reason = "figures, for who runs them with --nocapture")]

mod addresses;
mod attacks;
mod bodies;
mod crowds;
mod floods;
mod frames;
mod origin;
#[cfg(feature = "failpoints")]
mod panics;
