//! Very many names in little room.

use std::hash::{BuildHasher as _, RandomState};

/// Names as eight bytes each: first all are put in, then it can be asked which.
///
/// Two names may come to the same eight bytes, as likely as it is that a million names have any such pair: one in some thirty millions.
#[derive(Debug, Default)]
pub struct Names {
    hasher: RandomState,
    hashes: Vec<u64>,
}

/// [`Names`] that can be asked.
#[derive(Debug)]
pub struct SortedNames(Names);

impl Names {
    /// One more; the same name may be put in as often as one likes, and takes its room each time.
    pub fn put(&mut self, name: &str) {
        self.hashes.push(self.hasher.hash_one(name));
    }

    /// That was all.
    pub fn sorted(mut self) -> SortedNames {
        self.hashes.sort_unstable();
        self.hashes.dedup();
        SortedNames(self)
    }
}

impl SortedNames {
    /// Whether this name, to the letter, was put in.
    pub fn has(&self, name: &str) -> bool {
        self.0.hashes.binary_search(&self.0.hasher.hash_one(name)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_there_and_nothing_else_however_often_and_in_whatever_order() {
        let mut names = Names::default();
        for n in (0..1_000).rev().chain(500..600) {
            names.put(&format!("n{n}"));
        }
        let names = names.sorted();
        for n in 0..1_000 {
            assert!(names.has(&format!("n{n}")) && !names.has(&format!("N{n}")) && !names.has(&format!("n{n} ")));
        }
        assert!(!Names::default().sorted().has(""));
    }
}
