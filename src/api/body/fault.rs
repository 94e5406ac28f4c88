//! What is wrong with a body, and where. Nothing here repeats what a client sent, but names that look like a field's.

use std::borrow::Cow;
use std::fmt;

/// Most faults that one answer names.
const NAMED: usize = 20;

/// A place in a body, as RFC 6901 writes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pointer(Vec<String>);

impl Pointer {
    pub(super) fn root() -> Self {
        Self::default()
    }

    /// The entry at this index of a batch; `None`: the body is the one entry.
    pub(super) fn entry(index: Option<usize>) -> Self {
        Self(index.map(|i| i.to_string()).into_iter().collect())
    }

    pub(super) fn field(&self, name: &str) -> Self {
        let mut at = self.clone();
        at.push_key(name);
        at
    }

    pub(super) fn push_key(&mut self, key: &str) {
        // What looks like no field's name may be anything: a secret that slipped to the left of its colon.
        let plain = key.len() <= 48 && key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
        self.0.push(if plain && !key.is_empty() { key.to_owned() } else { "…".to_owned() });
    }

    pub(super) fn push_index(&mut self, index: usize) {
        self.0.push(index.to_string());
    }

    pub(super) fn pop(&mut self) {
        self.0.pop();
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("the body");
        }
        self.0.iter().try_for_each(|step| write!(f, "/{step}"))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::api) struct Fault {
    at: Pointer,
    problem: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(at: Pointer, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { at, problem: problem.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.problem)
    }
}

/// Everything that is wrong with a body, at least one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::api) struct Faults {
    named: Vec<Fault>,
    more: usize,
}

impl Faults {
    pub(super) fn add(&mut self, fault: Fault) {
        if self.named.len() < NAMED { self.named.push(fault) } else { self.more += 1 }
    }

    pub(super) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.named.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        Self { named: vec![fault], more: 0 }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, fault) in self.named.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "; and {} more", self.more)?;
        }
        Ok(())
    }
}
