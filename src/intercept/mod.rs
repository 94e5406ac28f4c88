//! The tower layer that looks for account changes among everything that passes.
//!
//! Its place: over `proxy::Upstream`, under the API's own paths. What it changes: nothing in a request or an answer that passes;
//! a change waits (bounded) for its announcement, and a small body for its end. What it never changes: status, headers, bytes,
//! framing and trailers, in both directions. When the mirror fails, [`crate::mirror::Journal::announce`] decides between going on and
//! a 503. When the client leaves, the call to Clouddriver is heard out all the same.
//!
//! Path, body and answer only *hint* at what changed: Clouddriver reads more than any parser here. Whatever is said to the mirror
//! is checked there against the row that Clouddriver stored.
//!
//! | file | |
//! |---|---|
//! | [`route`] | which requests count |
//! | [`hints`] | the name in a body, read as leniently as Clouddriver would |
//! | [`outcome`] | what an answer proves |
//! | [`deny`] | properties that may not pass |
//! | `capture`, `relay` | bodies on their way in and out |
//! | `change`, [`layer`] | the life of one change, and the service around it |

mod capture;
mod change;
pub mod deny;
pub mod hints;
pub mod layer;
pub mod metrics;
pub mod outcome;
mod relay;
pub mod route;

pub use layer::{Intercept, InterceptLayer};
pub use metrics::Metrics;
