//! Many entries of one request, some hundred in one transaction, each for itself all the same.
//!
//! A transaction that fails is tried again in halves, down to the one entry that is at fault, so that one which the database refuses takes no
//! other with it. Where it is not known whether a transaction was done, its entries are read again and told from what is there. A database
//! that is away is not asked for each of ten thousand entries: what was not begun is told as that.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::enter::New;
use super::wishes::Wish;
use super::{Desk, Error, Outcome, SETTLE_BOUND, Told};
use crate::dispatch::Ask;
use crate::mirror::Take;
use crate::store::db::Error as StoreError;

/// Entries of one transaction. Others wait for its rows, and on SQLite for all: it lasts some tens of milliseconds.
const TOGETHER: usize = 250;
/// How often one entry is tried while others are faster, and several together before each half is.
const TRIES: u32 = 16;
const TRIES_TOGETHER: u32 = 3;
/// A loss that took so long was a wait for somebody who holds a row and does not let go: one entry waits so often, and the others no more.
const LONG_WAIT: Duration = Duration::from_millis(500);
const LONG_WAITS: u32 = 2;
/// Failures in a row for which no entry is to blame, after which the database, or Clouddriver, counts as away.
const AWAY: u32 = 3;

/// What is to be done, entry by entry.
pub(super) enum Work<'a> {
    /// Rows that are there are written.
    Wishes(Vec<Wish<'a>>),
    /// Rows enter by the API.
    New(Vec<New<'a>>),
    /// Rows enter from Clouddriver.
    Takes(Vec<(&'a Ask, Take)>),
}

/// What came of an entry of a transaction that was done.
pub(super) enum Came {
    /// This.
    To(Outcome),
    /// Nothing: once more.
    Later,
    /// Nothing: once more, with no other beside it.
    Alone,
}

/// Entries that are tried together.
struct Part {
    entries: Vec<usize>,
    tries: u32,
    /// What is open of its names was settled, as far as that went.
    settled: bool,
    /// An earlier try may have been done.
    unsure: Option<Arc<Error>>,
}

impl Work<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Wishes(all) => all.len(),
            Self::New(all) => all.len(),
            Self::Takes(all) => all.len(),
        }
    }

    fn name(&self, i: usize) -> &str {
        match self {
            Self::Wishes(all) => &all[i].ask.name,
            Self::New(all) => all[i].name(),
            Self::Takes(all) => &all[i].0.name,
        }
    }
}

impl Desk {
    /// Does what can be done, and tells of each entry.
    pub(super) async fn work(&self, work: &Work<'_>, until: Instant) -> Vec<Told> {
        let mut told: Vec<Option<Told>> = (0..work.len()).map(|_| None).collect();
        let all: Vec<usize> = (0..work.len()).collect();
        // The last one is the next.
        let mut parts: Vec<Part> = all.chunks(TOGETHER).rev().map(Part::of).collect();
        let mut away = 0;
        while let Some(part) = parts.pop() {
            if Instant::now() >= until || away >= AWAY {
                let why = part.unsure.unwrap_or_else(|| Arc::new(Error::NotBegun));
                part.entries.iter().for_each(|i| told[*i] = Some(Err(why.clone())));
                continue;
            }
            if !part.settled {
                let names: Vec<&str> = part.entries.iter().map(|i| work.name(*i)).collect();
                let left = until.saturating_duration_since(Instant::now());
                self.engine.settle_open_all(&names, SETTLE_BOUND.min(left)).await;
            }
            let began = Instant::now();
            match self.attempt(work, &part).await {
                Ok(came) => {
                    away = 0;
                    part.done(came, &mut told, &mut parts);
                }
                Err(e) => {
                    away = if e.is_transient() && !e.is_contention() { away + 1 } else { 0 };
                    part.failed(Arc::new(e), began.elapsed(), &mut told, &mut parts);
                    pause().await;
                }
            }
        }
        told.into_iter().map(|t| t.unwrap_or_else(|| Err(Arc::new(Error::NotBegun)))).collect()
    }

    async fn attempt(&self, work: &Work<'_>, part: &Part) -> Result<Vec<Came>, Error> {
        let unsure = part.unsure.is_some();
        match work {
            Work::Wishes(all) => self.write_some(&part.of_all(all), unsure).await,
            Work::New(all) => self.create_some(&part.of_all(all)).await,
            Work::Takes(all) => self.take_some(&part.of_all(all), unsure).await,
        }
    }
}

impl Part {
    fn of(entries: &[usize]) -> Self {
        Self { entries: entries.to_vec(), tries: 0, settled: false, unsure: None }
    }

    fn of_all<'a, T>(&self, all: &'a [T]) -> Vec<&'a T> {
        self.entries.iter().map(|i| &all[*i]).collect()
    }

    /// The transaction was done: what came of its entries, and what is left of them, before anything that comes after.
    fn done(self, came: Vec<Came>, told: &mut [Option<Told>], parts: &mut Vec<Self>) {
        let (mut later, mut alone) = (Vec::new(), Vec::new());
        for (i, came) in self.entries.iter().zip(came) {
            match came {
                Came::To(outcome) => told[*i] = Some(Ok(outcome)),
                Came::Later => later.push(*i),
                Came::Alone => alone.push(*i),
            }
        }
        let tries = if later.len() < self.entries.len() { 0 } else { self.tries + 1 };
        if tries >= TRIES {
            later.drain(..).for_each(|i| told[i] = Some(Err(Arc::new(Error::Busy))));
        }
        if !later.is_empty() {
            parts.push(Self { entries: later, tries, settled: true, unsure: self.unsure.clone() });
        }
        parts.extend(alone.into_iter().rev().map(|i| Self { entries: vec![i], tries: 0, settled: true, unsure: self.unsure.clone() }));
    }

    /// It was not done, or that is not known.
    fn failed(self, why: Arc<Error>, took: Duration, told: &mut [Option<Told>], parts: &mut Vec<Self>) {
        let maybe =
            matches!(why.of_store(), Some(StoreError::Unreachable { .. } | StoreError::Timeout { .. })) || matches!(*why, Error::Slow);
        let unsure = if maybe { Some(why.clone()) } else { self.unsure };
        let tries = self.tries + 1;
        let waited = why.is_contention() && took >= LONG_WAIT;
        let most = match self.entries.len() {
            1 if waited => LONG_WAITS,
            1 if why.is_contention() => TRIES,
            1 if !why.is_transient() => 1,
            _ if waited || !why.is_transient() => 0,
            _ => TRIES_TOGETHER,
        };
        if tries < most {
            parts.push(Self { entries: self.entries, tries, settled: true, unsure });
        } else if let [only] = self.entries[..] {
            told[only] = Some(Err(unsure.unwrap_or(why)));
        } else if waited {
            parts.extend(self.entries.iter().rev().map(|i| Self { entries: vec![*i], tries: 0, settled: true, unsure: unsure.clone() }));
        } else {
            let (first, second) = self.entries.split_at(self.entries.len() / 2);
            parts.push(Self { entries: second.to_vec(), tries: 0, settled: true, unsure: unsure.clone() });
            parts.push(Self { entries: first.to_vec(), tries: 0, settled: true, unsure });
        }
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(500..8_000))).await;
}
