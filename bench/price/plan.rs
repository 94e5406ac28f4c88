//! What is measured and for how long, as the environment says.

use std::path::PathBuf;
use std::time::Duration;

/// A group of figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Latency,
    Throughput,
    Bodies,
    Spread,
    Start,
    Memory,
}

const PARTS: [(&str, Part); 6] = [
    ("latency", Part::Latency),
    ("throughput", Part::Throughput),
    ("bodies", Part::Bodies),
    ("spread", Part::Spread),
    ("start", Part::Start),
    ("memory", Part::Memory),
];

/// The whole run.
pub struct Plan {
    pub parts: Vec<Part>,
    /// Rounds of all figures but spread, which has half as many.
    pub rounds: usize,
    /// Requests a second at the constant rate.
    pub rate: u32,
    /// How long one target has the constant rate in one round.
    pub constant: Duration,
    /// The same for one request after the other.
    pub closed: Duration,
    /// The same for 64 at a time.
    pub busy: Duration,
    /// Bodies in a row, each way.
    pub transfers: usize,
    /// How often each proxy is started for its time to ready.
    pub starts: usize,
    /// How often each proxy is started for its memory.
    pub memories: usize,
    /// What is measured as `fairlead`, and others to hold against it.
    pub fairleads: Vec<(String, PathBuf)>,
}

impl Plan {
    /// `FAIRLEAD_BENCH_LENGTH` (`full` or `quick`), `_ROUNDS`, `_RATE`, `_PARTS`, `_PROGRAM`, `_ALSO`.
    pub fn from_environment() -> Self {
        let millis = Duration::from_millis;
        let mut plan = Self {
            parts: PARTS.map(|(_, part)| part).to_vec(),
            rounds: 15,
            rate: 1000,
            constant: millis(2000),
            closed: millis(600),
            busy: millis(1200),
            transfers: 4,
            starts: 10,
            memories: 3,
            fairleads: vec![("fairlead".to_owned(), variable("PROGRAM").expect("FAIRLEAD_BENCH_PROGRAM, the Fairlead to measure").into())],
        };
        match variable("LENGTH").as_deref() {
            None | Some("full") => {}
            Some("quick") => {
                (plan.rounds, plan.constant, plan.closed, plan.busy) = (5, millis(1200), millis(400), millis(800));
                (plan.transfers, plan.starts, plan.memories) = (2, 3, 1);
            }
            Some(other) => panic!("FAIRLEAD_BENCH_LENGTH: {other} is neither full nor quick"),
        }
        if let Some(rounds) = number("ROUNDS") {
            plan.rounds = rounds as usize;
        }
        if let Some(rate) = number("RATE") {
            plan.rate = rate;
        }
        if let Some(words) = variable("PARTS") {
            let part = |word: &str| PARTS.iter().find(|(name, _)| *name == word).map(|(_, part)| *part);
            plan.parts = words
                .split_whitespace()
                .map(|word| {
                    part(word).unwrap_or_else(|| panic!("FAIRLEAD_BENCH_PARTS: {word} is none of {:?}", PARTS.map(|(name, _)| name)))
                })
                .collect();
        }
        for also in variable("ALSO").unwrap_or_default().split_whitespace() {
            let (name, path) = also.split_once('=').unwrap_or_else(|| panic!("FAIRLEAD_BENCH_ALSO: {also} is not NAME=PROGRAM"));
            plan.fairleads.push((name.to_owned(), path.into()));
        }
        plan
    }
}

fn variable(name: &str) -> Option<String> {
    std::env::var(format!("FAIRLEAD_BENCH_{name}")).ok().filter(|text| !text.is_empty())
}

fn number(name: &str) -> Option<u32> {
    variable(name)
        .map(|text| text.parse().ok().filter(|n| *n > 0).unwrap_or_else(|| panic!("FAIRLEAD_BENCH_{name}: {text} is no number above 0")))
}
