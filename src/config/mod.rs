//! From the operator's YAML files and environment to typed [`Settings`].
//!
//! Everything is parsed before anything is reported, so that one run shows all mistakes. Past this module there are
//! types only: no other part reads a file's text, an environment variable or a key by its name.

mod settings;

pub use settings::*;
