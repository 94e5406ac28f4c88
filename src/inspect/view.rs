//! What both databases say of some names, read only.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};

use crate::source::{self, Reading, Source};
use crate::store::mirrored::{self, PassRow};
use crate::store::{self, Store, Tables, hand, journal, names};

/// Both sides, to be looked at. Nothing that can be had from here writes.
pub struct View {
    pub(super) store: Store,
    pub(super) source: Source,
    pub(super) tables: Tables,
}

/// Names that a user took out by hand.
#[derive(Default)]
pub(super) struct Noted {
    /// By this spelling.
    pub(super) exactly: HashSet<String>,
    /// By another that the database takes for the same.
    pub(super) otherwise: HashSet<String>,
}

impl View {
    /// Looks which tables there are. `store` is one of [`Store::open_to_look`].
    ///
    /// # Errors
    /// The database's.
    pub async fn new(store: Store, source: Source) -> store::Result<Self> {
        let tables = store.look().await?;
        Ok(Self { store, source, tables })
    }

    /// Which of Fairlead's tables there are.
    pub const fn tables(&self) -> Tables {
        self.tables
    }

    /// The mirror's rows of these names, by the names that were asked for. The row's own name may be another spelling.
    pub(super) async fn mirrored(&self, asked: &[&str]) -> store::Result<HashMap<String, PassRow>> {
        if !self.tables.mirror.is_there() || asked.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = mirrored::of_names(&self.store, asked).await?;
        let known: HashSet<&str> = asked.iter().copied().collect();
        let strange = rows.iter().any(|m| !known.contains(m.name.as_str()));
        let mut found: HashMap<String, PassRow> =
            rows.into_iter().filter(|m| known.contains(m.name.as_str())).map(|m| (m.name.clone(), m)).collect();
        if strange {
            for name in asked {
                if !found.contains_key(*name)
                    && let Some(m) = mirrored::of_names(&self.store, &[name]).await?.into_iter().next()
                {
                    found.insert((*name).to_owned(), m);
                }
            }
        }
        Ok(found)
    }

    /// The next mirrored rows, in the database's order of names.
    pub(super) async fn mirror_page(&self, after: Option<&str>, limit: u32) -> store::Result<Vec<PassRow>> {
        if self.tables.mirror.is_there() { mirrored::page(&self.store, after, limit).await } else { Ok(Vec::new()) }
    }

    /// Which of these names a user took out by hand.
    pub(super) async fn noted(&self, asked: &[&str]) -> store::Result<Noted> {
        let mut noted = Noted::default();
        if !self.tables.hand.is_there() || asked.is_empty() {
            return Ok(noted);
        }
        let known: HashSet<&str> = asked.iter().copied().collect();
        let mut strange = false;
        for by_hand in hand::of(&self.store, asked).await? {
            if known.contains(by_hand.name.as_str()) {
                noted.exactly.insert(by_hand.name);
            } else {
                strange = true;
            }
        }
        if strange {
            for name in asked {
                if !noted.exactly.contains(*name) && !hand::of(&self.store, &[name]).await?.is_empty() {
                    noted.otherwise.insert((*name).to_owned());
                }
            }
        }
        Ok(noted)
    }

    /// The lives that were brought into the mirror last under these names.
    pub(super) async fn claimed(&self, asked: &[&str]) -> store::Result<HashMap<String, i64>> {
        if self.tables.names.is_there() { names::claimed(self.store.main(), asked).await } else { Ok(HashMap::new()) }
    }

    /// Which of these names an open change is about, as asked for.
    pub(super) async fn open(&self, asked: &[&str]) -> store::Result<HashSet<String>> {
        if !self.tables.intents.is_there() || asked.is_empty() {
            return Ok(HashSet::new());
        }
        let known: HashSet<&str> = asked.iter().copied().collect();
        let found = names::open(self.store.main(), asked).await?;
        let strange = found.iter().any(|name| !known.contains(name.as_str()));
        let mut open: HashSet<String> = found.into_iter().filter(|name| known.contains(name.as_str())).collect();
        if strange {
            for name in asked {
                if !open.contains(*name) && !journal::intents_of(self.store.main(), name).await?.is_empty() {
                    open.insert((*name).to_owned());
                }
            }
        }
        Ok(open)
    }

    /// Whether a change is open of which no name is known.
    pub(super) async fn is_any_nameless(&self) -> store::Result<bool> {
        Ok(self.tables.intents.is_there() && !journal::nameless_intents(self.store.main()).await?.is_empty())
    }

    /// Clouddriver's rows of these names, each at a moment of its own after the call. `None`: this one is large, and to be read alone.
    pub(super) async fn read(&self, asked: &[&str]) -> Result<Vec<Option<Reading>>, source::Error> {
        if asked.is_empty() { Ok(Vec::new()) } else { self.source.read_all(asked).await }
    }

    /// By what each of these names' rows is known again, at a moment of its own after the call.
    pub(super) async fn marks(&self, asked: &[&str], hasher: &RandomState) -> Result<Vec<u64>, source::Error> {
        let mut marks = Vec::with_capacity(asked.len());
        for (name, reading) in asked.iter().zip(self.read(asked).await?) {
            marks.push(mark(&self.or_alone(name, reading).await?, hasher));
        }
        Ok(marks)
    }

    /// What was read, or else is read now.
    pub(super) async fn or_alone(&self, name: &str, reading: Option<Reading>) -> Result<Reading, source::Error> {
        match reading {
            Some(reading) => Ok(reading),
            None => self.source.read(name).await,
        }
    }
}

/// By what a row is known again.
pub(super) fn mark(reading: &Reading, hasher: &RandomState) -> u64 {
    match reading {
        Reading::Present(row) => hasher.hash_one((1, &row.id, &row.kind, row.incarnation.0, &row.body)),
        Reading::Absent => 0,
        Reading::Unknown(_) => 1,
    }
}
