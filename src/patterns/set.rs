//! All patterns together: which names they take. One pass over a name, however many patterns there are.

use regex::{RegexBuilder, RegexSet, RegexSetBuilder};

use super::translate::{Fault, translate};

/// Bytes of one pattern as compiled: `(a{1000}){1000}` is refused, not tried.
const ONE: usize = 1 << 20;
/// Bytes of all of them together.
const ALL: usize = 16 << 20;
/// Bytes that matching may hold for what it has learned, for each thread.
const CACHE: usize = 2 << 20;

/// What `namePatterns` and `credentialScanNamePatterns` say. Empty: nothing matches.
#[derive(Clone, Debug)]
pub struct Patterns {
    set: RegexSet,
    texts: Vec<String>,
}

/// A pattern that was read; [`Patterns::new`] takes them.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: String,
    translated: String,
}

impl Pattern {
    /// Reads one, in Java's syntax.
    ///
    /// # Errors
    /// [`Fault`]: what is wrong, and where.
    pub fn read(text: &str) -> Result<Self, Fault> {
        let translated = translate(text)?;
        match RegexBuilder::new(&translated).size_limit(ONE).build() {
            Ok(_) => Ok(Self { text: text.to_owned(), translated }),
            Err(regex::Error::CompiledTooBig(_)) => {
                Err(Fault { at: 0, why: format!("takes more than {} KiB: write fewer or smaller repetitions", ONE / 1024) })
            }
            // Never the error's own words, which hold what the pattern was rewritten to.
            Err(_) => Err(Fault { at: 0, why: "cannot be used".to_owned() }),
        }
    }
}

impl Patterns {
    /// Puts them together.
    ///
    /// # Errors
    /// [`Fault`]: together they are too large.
    pub fn new(patterns: Vec<Pattern>) -> Result<Self, Fault> {
        let set = RegexSetBuilder::new(patterns.iter().map(|p| &p.translated)).size_limit(ALL).dfa_size_limit(CACHE).build();
        match set {
            Ok(set) => Ok(Self { set, texts: patterns.into_iter().map(|p| p.text).collect() }),
            Err(_) => Err(Fault { at: 0, why: format!("all patterns together take more than {} MiB: write fewer", ALL >> 20) }),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether one of them matches the whole name.
    pub fn take(&self, name: &str) -> bool {
        self.set.is_match(name)
    }

    /// The first of them that does, as it was written.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.set.matches(name).iter().next().map(|i| self.texts[i].as_str())
    }
}
