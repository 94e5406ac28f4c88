//! What is measured and how large, as the environment says.

use std::path::PathBuf;

/// A group of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A full scan beside a plain client.
    Read,
    /// What the process holds.
    Memory,
    /// A writer on the same table.
    Writer,
    /// A scan when nothing has changed.
    Steady,
}

const PARTS: [(&str, Part); 4] = [("read", Part::Read), ("memory", Part::Memory), ("writer", Part::Writer), ("steady", Part::Steady)];

/// The whole run.
pub struct Plan {
    parts: Vec<Part>,
    /// The Fairlead to measure.
    pub program: PathBuf,
    /// Rows of Clouddriver's table.
    pub rows: usize,
    /// Bytes of each definition's kubeconfig.
    pub body: usize,
    /// Pairs that count.
    pub rounds: usize,
    /// Changes of one round of the writer's.
    pub writes: usize,
}

impl Plan {
    /// `FAIRLEAD_BENCH_*`; docs/performance.md has them.
    pub fn from_environment() -> Self {
        let (rows, rounds) = match variable("LENGTH").as_deref() {
            None | Some("full") => (1_000_000, 5),
            Some("quick") => (100_000, 5),
            Some(other) => panic!("FAIRLEAD_BENCH_LENGTH: {other} is neither full nor quick"),
        };
        let words = variable("PARTS").unwrap_or_else(|| PARTS.map(|(word, _)| word).join(" "));
        let part = |word: &str| PARTS.iter().find(|(name, _)| *name == word).map(|(_, part)| *part);
        let parts = words
            .split_whitespace()
            .map(|word| part(word).unwrap_or_else(|| panic!("FAIRLEAD_BENCH_PARTS: {word} is none of {:?}", PARTS.map(|(name, _)| name))))
            .collect();
        Self {
            parts,
            program: PathBuf::from(variable("PROGRAM").expect("FAIRLEAD_BENCH_PROGRAM, the Fairlead to measure")),
            rows: number("ROWS", rows),
            body: number("BODY", 1_000),
            rounds: number("ROUNDS", rounds),
            writes: number("WRITES", 2_000),
        }
    }

    pub fn does(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn number(name: &str, default: usize) -> usize {
    variable(name).map_or(default, |text| {
        text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("FAIRLEAD_BENCH_{name}: {text} is no number above 0"))
    })
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("FAIRLEAD_BENCH_{name}")).ok().filter(|text| !text.is_empty())
}
