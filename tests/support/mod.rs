//! What the tests stand on: databases, real Clouddrivers and Gates, our own processes, and faults between any two of them.
//!
//! The test binaries share this folder, and each uses a part of it, hence:
#![allow(dead_code, missing_docs, clippy::print_stdout, clippy::print_stderr)]

pub mod agent;
pub mod certificates;
pub mod clouddriver;
pub mod connect;
pub mod databases;
pub mod gate;
pub mod http;
pub mod kube;
pub mod process;
pub mod proxies;
pub mod relay;
pub mod rest;
pub mod server;
pub mod settings;
pub mod wire;
