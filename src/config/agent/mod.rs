//! The agent's configuration: the original's `armory-agent.yml` to typed [`Settings`].
//!
//! Read by the machinery of the server's: all mistakes at once, each with its file and line. The environment sets no keys here, as it
//! set none in the original; what it tells (name, proxies, the cluster around) is in [`Surroundings`].

mod accounts;
mod build;
mod keys;
mod load;
mod settings;
mod surroundings;

pub use keys::{documented, not_built};
pub(crate) use load::read_text;
pub use load::{Loaded, Sources, load, load_text};
pub use settings::*;
pub use surroundings::{ProxyUrl, Surroundings};
