//! What passed, what failed, what was left out, and how long each part took.

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

/// The longest that one case may take: longer than every bound inside it.
const CASE_BOUND: Duration = Duration::from_secs(40 * 60);

/// Collects results; prints each as it comes.
pub struct Report {
    words: Vec<String>,
    long_storm: bool,
    state: Mutex<State>,
    started: Instant,
}

#[derive(Default)]
struct State {
    passed: u32,
    failed: Vec<String>,
    left_out: Vec<String>,
    suites: Vec<(String, Duration)>,
}

impl Report {
    /// Arguments that are not words of ours (such as cargo's) are ignored.
    pub fn from_arguments() -> Self {
        let words = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
        // What a failed assertion says is printed with its case; here only its place. A backtrace of the runtime says nothing.
        std::panic::set_hook(Box::new(|info| {
            if let Some(place) = info.location() {
                println!("        at {place}");
            }
        }));
        Self {
            words,
            long_storm: std::env::var_os("FAIRLEAD_E2E_STORM").is_some_and(|v| v == "long"),
            state: Mutex::default(),
            started: Instant::now(),
        }
    }

    /// Only the long storm is asked for (`make storm`).
    pub fn long_storm(&self) -> bool {
        self.long_storm
    }

    /// Words of one kind are alternatives; of each kind that is given, one has to be in the title.
    fn wants(&self, title: &str) -> bool {
        [Kind::Generation, Kind::Server, Kind::Suite].iter().all(|kind| self.has_word(*kind, title))
    }

    fn has_word(&self, kind: Kind, title: &str) -> bool {
        let mut words = self.words.iter().filter(|w| Kind::of(w) == kind).peekable();
        words.peek().is_none() || words.any(|w| title.contains(w.as_str()))
    }

    /// Whether any suite of this place is wanted.
    pub fn wants_place(&self, place: &str) -> bool {
        self.has_word(Kind::Generation, place) && self.has_word(Kind::Server, place)
    }

    /// Whether a suite of this name is wanted anywhere.
    pub fn wants_any(&self, suite: &str) -> bool {
        self.has_word(Kind::Suite, suite)
    }

    /// Runs one case, if it is wanted; a panic in it is its failure and nobody else's.
    pub async fn case(&self, title: &str, case: impl Future<Output = ()>) {
        if !self.wants(title) {
            return;
        }
        let started = Instant::now();
        let outcome = tokio::time::timeout(CASE_BOUND, AssertUnwindSafe(case).catch_unwind()).await;
        let took = started.elapsed();
        let mut state = self.state.lock().expect("no panic while it is held");
        state.suites.push((title.to_owned(), took));
        let problem = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(panic)) => Some(
                panic
                    .downcast_ref::<String>()
                    .cloned()
                    .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                    .unwrap_or_else(|| "a panic without words".to_owned()),
            ),
            Err(_) => Some(format!("no end after {CASE_BOUND:?}")),
        };
        match problem {
            None => {
                state.passed += 1;
                println!("ok      {title} ({:.1} s)", took.as_secs_f64());
            }
            Some(problem) => {
                println!("FAILED  {title} ({:.1} s)\n{problem}", took.as_secs_f64());
                state.failed.push(title.to_owned());
            }
        }
    }

    /// Notes something that was not run.
    pub fn left_out(&self, what: &str) {
        self.state.lock().expect("no panic while it is held").left_out.push(what.to_owned());
    }

    /// Prints the sums; the exit code.
    pub fn end(&self) -> i32 {
        let state = self.state.lock().expect("no panic while it is held");
        if state.suites.len() > 1 {
            println!("---- durations");
            for (title, took) in &state.suites {
                println!("{:7.1} s  {title}", took.as_secs_f64());
            }
        }
        for what in &state.left_out {
            println!("left out: {what}");
        }
        for title in &state.failed {
            println!("failed: {title}");
        }
        println!("{} passed, {} failed in {:.0} s", state.passed, state.failed.len(), self.started.elapsed().as_secs_f64());
        i32::from(!state.failed.is_empty())
    }
}

/// What an argument chooses.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Generation,
    Server,
    Suite,
}

impl Kind {
    fn of(word: &str) -> Self {
        match word {
            "mariadb" | "postgres" | "strict" | "tls" => Self::Server,
            _ if word.starts_with(|c: char| c.is_ascii_digit()) => Self::Generation,
            _ => Self::Suite,
        }
    }
}
