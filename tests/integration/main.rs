//! What users would notice, with real databases and a stand-in for Clouddriver. `docs/testing.md` says how to run it.

mod admin;
mod api;
mod commands;
mod config;
#[cfg(feature = "failpoints")]
mod crash;
mod demo;
mod docs;
mod endurance;
#[allow(clippy::print_stdout, reason = "what is left out, and why, is said")]
mod full_disk;
#[allow(clippy::disallowed_methods, reason = "threads of the test's own play client and origin here")]
mod intercept;
mod layers;
mod lost;
mod manifests;
mod mirror;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod order;
#[allow(clippy::disallowed_methods, reason = "threads of the test's own play client and origin here")]
mod proxy;
mod scan;
mod source;
#[cfg(feature = "failpoints")]
mod stopped;
mod store;
#[path = "../support/mod.rs"]
mod support;
mod swap;
mod unjournalled;
