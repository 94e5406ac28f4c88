//! Clouddriver by HTTP/2, where `services.clouddriver.http2.enabled` says so: connections that many requests share.
//!
//! The same promises as over HTTP/1.1: at most one delivery, a broken body never ends cleanly, bounded memory. Nothing is asked before
//! Clouddriver's first word (its SETTINGS) has come, so what does not speak HTTP/2 has seen no request. What HTTP/2 cannot say (an
//! upgrade, a request of HTTP/1.0, a target that is no path) goes over a connection of HTTP/1.1.
//!
//! | file | |
//! |---|---|
//! | `pool` | who gets a place on which connection, and who waits for one |
//! | `connection` | one connection from its first word to its end |
//! | `exchange` | one request and the head of its answer |
//! | `sending` | the body of that request |
//! | `message` | heads between the two versions |
//! | `answer` | the body that comes back |

mod answer;
mod connection;
mod exchange;
mod message;
mod pool;
mod sending;

pub(super) use exchange::{Sent, send};
pub(super) use pool::Streams;
