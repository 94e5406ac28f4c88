//! The client side and the way to Clouddriver: accept, forward, answer, drain.
//!
//! One OS thread for each core, each with a runtime, a listener (`SO_REUSEPORT`) and an upstream pool of its own, so that nothing
//! is shared on the way of a request. What it changes: hop-by-hop headers (RFC 9110 §7.6.1). What it never changes: method, target,
//! version, end-to-end headers with their case and order, framing and bytes of bodies, status and reason. What two readers could
//! read in two ways is refused. Bodies stream with bounded buffers; one that breaks off on one side never ends cleanly on the other.
//! A request that may have arrived is never sent a second time, unless it is safe and has no body.
//!
//! | file | |
//! |---|---|
//! | `serve`, `accept`, `balance`, `listen` | threads and connections, and how they end |
//! | `handshake` | how a connection by TLS begins |
//! | `client` | one client's connection; [`select`] says which way a request goes |
//! | `pass`, `tunnel` | what passes as bytes |
//! | `feed`, `call`, `interim`, `answer` | what goes through tower services |
//! | `http2`, `visit` | clients that speak HTTP/2, and when their connections end |
//! | `pace`, `watch` | clients that are too slow |
//! | `wire` | heads and bodies of HTTP/1, without input and output |
//! | [`upstream`], `pool`, `connect`, `link`, `stream` | connections to Clouddriver, and of all sorts |
//! | `streams` | Clouddriver by HTTP/2 |
//! | [`path`], `media` | whose a request is; what the headers say of a body, for those who look into one |

mod accept;
mod answer;
mod balance;
pub mod body;
mod call;
mod client;
mod connect;
mod error;
mod feed;
mod handshake;
mod http2;
mod interim;
mod link;
mod listen;
pub(crate) mod media;
pub mod metrics;
mod pace;
mod pass;
pub mod path;
mod pool;
pub mod respond;
pub mod select;
pub mod serve;
mod stream;
mod streams;
mod tunnel;
pub mod upstream;
mod visit;
mod watch;
mod wire;

pub use body::{Body, BodyError};
pub use error::{Cause, Delivery, UpstreamError};
pub use metrics::{Counters, Metrics};
pub use select::Selector;
pub use serve::{Drained, Handle, Limits, ServeError, Stack, serve};
pub use upstream::Upstream;
