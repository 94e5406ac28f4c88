//! From the operator's YAML files and environment to typed [`Settings`].
//!
//! Everything is parsed before anything is reported, so that one run shows all mistakes. Past this module there are
//! types only: no other part reads a file's text, an environment variable or a key by its name.
//!
//! The way of a value: a text becomes a tree with lines (`yaml`), the tree becomes properties, later layers over earlier
//! ones (`layers`, `profiles`), the environment over all (`names`); then each known key (`keys`) is read (`reader`,
//! `placeholders`, `references`, `values`, `jdbc`) into the settings (`build`, `pools`).

pub mod agent;
mod build;
mod channel;
pub mod check;
mod dispatch;
mod env;
mod jdbc;
mod keys;
mod layers;
mod load;
mod names;
mod placeholders;
mod places;
mod pools;
mod profiles;
mod reader;
mod references;
mod remark;
mod scan;
mod settings;
mod tls;
mod values;
mod yaml;

pub use env::{Environment, ProcessEnvironment};
pub use keys::documented;
pub use load::{Loaded, Sources, load, load_text};
pub use remark::{Effective, Mistakes, Origin, Remark};
pub use settings::*;
