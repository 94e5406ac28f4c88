//! The channel's messages as they stand on the wire: generated from `proto/fairlead/agent/v1/agent.proto`, which documents each field.
//!
//! Used by `channel` and `agent` only; everything else speaks in their own types.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

tonic::include_proto!("fairlead.agent.v1");

/// The descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));
