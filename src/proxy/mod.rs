//! The client side and the way to Clouddriver: accept, forward, answer, drain.
//!
//! One OS thread for each core, each with a runtime, a listener (`SO_REUSEPORT`) and an upstream pool of its own, so that nothing
//! is shared on the way of a request. What it changes: hop-by-hop headers (RFC 9110 §7.6.1), and HTTP/1.0 becomes 1.1 towards
//! Clouddriver. What it never changes: method, target, end-to-end headers with their case and order, framing and bytes of bodies,
//! status and reason. Bodies stream with bounded buffers; one that breaks off on one side never ends cleanly on the other. A
//! request that may have arrived is never sent a second time.

mod accept;
mod answer;
mod balance;
pub mod body;
mod call;
mod client;
mod connect;
mod error;
mod feed;
mod http2;
mod link;
mod listen;
pub mod metrics;
mod pass;
pub mod path;
mod pool;
pub mod respond;
pub mod select;
pub mod serve;
mod tunnel;
pub mod upstream;
mod wire;

pub use body::{Body, BodyError};
pub use error::{Cause, Delivery, UpstreamError};
pub use metrics::{Counters, Metrics};
pub use select::Selector;
pub use serve::{Drained, Handle, Limits, ServeError, Stack, serve};
pub use upstream::Upstream;
