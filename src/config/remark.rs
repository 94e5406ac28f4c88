//! What there is to say about a configuration: where, which key, what is wrong, and what would be right.

use std::fmt;
use std::sync::Arc;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// A place in a file.
    File {
        /// The file as it was named.
        file: Arc<str>,
        /// Line, from 1; 0 where the file as a whole is meant.
        line: usize,
    },
    /// An environment variable.
    Env(Arc<str>),
    /// Nobody gave it.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { file, line: 0 } => f.write_str(file),
            Self::File { file, line } => write!(f, "{file}:{line}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One thing to say about one key. Never holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// Where.
    pub origin: Origin,
    /// The key as the operator wrote it, with its parents; empty where a whole file is meant.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl Remark {
    pub(super) fn new(origin: &Origin, key: impl Into<String>, text: impl Into<String>) -> Self {
        Self { origin: origin.clone(), key: key.into(), text: text.into() }
    }

    pub(super) fn file(file: &str, line: usize, text: impl Into<String>) -> Self {
        Self { origin: Origin::File { file: file.into(), line }, key: String::new(), text: text.into() }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.text)
    }
}

/// Everything that parsing found, in the order of its finding.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    pub(super) mistakes: Vec<Remark>,
    pub(super) warnings: Vec<Remark>,
    pub(super) notes: Vec<Remark>,
}

/// One line of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The key in its documented spelling.
    pub key: String,
    /// Its value in words; `(hidden)` for a secret, `(none)` where there is none.
    pub value: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Why a configuration cannot be used: all mistakes at once, and what else was found on the way.
#[derive(Clone, Debug)]
pub struct Mistakes {
    /// At least one.
    pub mistakes: Vec<Remark>,
    /// What would have been warned of.
    pub warnings: Vec<Remark>,
    /// What only [`super::check`] tells.
    pub notes: Vec<Remark>,
    /// The keys as far as they could be read.
    pub effective: Vec<Effective>,
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.mistakes.len();
        write!(f, "the configuration has {n} mistake{}", if n == 1 { "" } else { "s" })?;
        self.mistakes.iter().try_for_each(|m| write!(f, "\n  {m}"))
    }
}

impl std::error::Error for Mistakes {}
