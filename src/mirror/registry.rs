//! This replica's own open changes, in memory: what became of each is known here and nowhere else.
//!
//! Bounded: past the limit a change is forwarded without being remembered (under `Ignore`), which is a gap.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ulid::Ulid;

use super::decide::Known;
use super::{Change, Method, Outcome, Verdict};

/// Most changes of one replica that are open at the same time.
pub const MAX_OPEN: usize = 10_000;

/// One of our own changes.
#[derive(Clone, Debug)]
pub struct Own {
    /// Which call.
    pub method: Method,
    /// The account's name: the answer's word for it, else the request's.
    pub name: Option<String>,
    /// Whether the name came from Clouddriver's answer, so that it is no guess.
    pub confirmed: bool,
    /// What is known of the outcome.
    pub known: Known,
    /// The intent was not journalled when the change was forwarded, so its pre-image tells nothing.
    pub late: bool,
    /// The intent is known to be in the journal.
    pub journalled: bool,
    /// When it was announced.
    pub announced: Instant,
    /// When its outcome became known.
    pub finished: Option<Instant>,
    /// Readings applied since then that did not explain it.
    pub attempts: u32,
    /// A sweep has come by since then.
    pub swept: bool,
}

/// The open changes of this replica.
#[derive(Default)]
pub struct Registry {
    open: Mutex<HashMap<Ulid, Own>>,
}

impl Registry {
    fn lock(&self) -> MutexGuard<'_, HashMap<Ulid, Own>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a change. `false`: the limit is reached.
    pub fn insert(&self, change: &Change) -> bool {
        let mut open = self.lock();
        if open.len() >= MAX_OPEN {
            return false;
        }
        open.insert(
            change.id,
            Own {
                method: change.method,
                name: change.name.clone(),
                confirmed: false,
                known: Known::Pending,
                late: false,
                journalled: false,
                announced: Instant::now(),
                finished: None,
                attempts: 0,
                swept: false,
            },
        );
        true
    }

    /// A copy of one.
    pub fn get(&self, id: &Ulid) -> Option<Own> {
        self.lock().get(id).cloned()
    }

    /// Changes one in place and gives a copy of what became of it.
    pub fn update(&self, id: &Ulid, f: impl FnOnce(&mut Own)) -> Option<Own> {
        let mut open = self.lock();
        let own = open.get_mut(id)?;
        f(own);
        Some(own.clone())
    }

    /// Forgets one.
    pub fn remove(&self, id: &Ulid) -> Option<Own> {
        self.lock().remove(id)
    }

    /// Notes what became of a change.
    pub fn finish(&self, id: &Ulid, verdict: &Verdict) -> Option<Own> {
        self.update(id, |own| {
            own.known = match verdict.outcome {
                Outcome::Ok => Known::Ok,
                Outcome::Refused => Known::Refused,
                Outcome::Unknown => Known::Unknown,
            };
            own.finished = Some(Instant::now());
            // A definite success names the account; an error's body may name anything.
            if verdict.outcome == Outcome::Ok && verdict.name.is_some() {
                own.name.clone_from(&verdict.name);
                own.confirmed = true;
            }
        })
    }

    /// Own open changes of a name, spelled like this.
    pub fn of_name(&self, name: &str) -> Vec<(Ulid, Own)> {
        self.lock().iter().filter(|(_, o)| o.name.as_deref() == Some(name)).map(|(id, o)| (*id, o.clone())).collect()
    }

    /// Those of these names, spelled like this, of which such a change is open.
    pub fn among(&self, names: &[&str], such: impl Fn(&Own) -> bool) -> Vec<String> {
        let open: HashSet<String> = self.lock().values().filter(|own| such(own)).filter_map(|own| own.name.clone()).collect();
        names.iter().filter(|name| open.contains(**name)).map(|name| (*name).to_owned()).collect()
    }

    /// Own changes that name no account, or whose name did not explain them, and whose outcome is known.
    pub fn waiting_for_sweep(&self) -> Vec<(Ulid, Own)> {
        self.lock()
            .iter()
            .filter(|(_, o)| {
                matches!(o.known, Known::Ok | Known::Unknown) && !o.swept && (o.name.is_none() || o.attempts >= super::LADDER_STEPS)
            })
            .map(|(id, o)| (*id, o.clone()))
            .collect()
    }

    /// How many are open.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether none is open.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Registry {
    /// Whether all that is open is journalled and of unknown outcome, so that another replica can look after it as well.
    pub fn all_journalled_unknown(&self) -> bool {
        self.lock().values().all(|o| o.journalled && o.known == Known::Unknown)
    }
}

impl Registry {
    /// Whether all that is open is in the journal.
    pub fn all_journalled(&self) -> bool {
        self.lock().values().all(|o| o.journalled)
    }
}
