//! The desk: what users ask for, one account at a time, becomes rows.
//!
//! Each call first settles what is open of the name (bounded), so that a PATCH right after a POST through the proxy finds its account. What is
//! written goes along the table of [`crate::lifecycle`] by compare-and-set; then the loop's bell is rung. Nothing here talks to an agent.
//!
//! What a user did by hand is remembered by name ([`crate::store::hand`]): PATCH INACTIVE and DELETE until a POST or PATCH to ACTIVE.

mod rows;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Ask, Bell, Zone};
use crate::account::{Origin, Status};
use crate::lifecycle::{Event, Wanted};
use crate::mirror::{Engine, Take, Taken, settle};
use crate::store::db::Error as StoreError;
use crate::store::states::{self, Applied, Extra, Hand, Message, NewState, StateRow};
use crate::store::{OpenError, Store, UnstorableError, journal};
use rows::Change;

/// Settling before a call takes no longer than this; then the call sees what is there.
const SETTLE_BOUND: Duration = Duration::from_secs(2);
/// A name that cannot be taken over by then is not: Clouddriver's side is slow or gone.
const TAKE_BOUND: Duration = Duration::from_secs(10);
/// How often a row is read again while others are faster.
const TRIES: u32 = 16;

/// What came of one account of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is done, or noted and will be.
    Done,
    /// There is no such account here (for [`Desk::take`]: nor in Clouddriver).
    Unknown,
    /// It was not done, and why, in words for the user.
    Not(String),
}

/// Why nothing can be said of an account's request.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Our own database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The mirror: our database or Clouddriver's accounts.
    #[error(transparent)]
    Settle(#[from] settle::Error),
    /// Others were always faster.
    #[error("the account is being changed by others all the time")]
    Busy,
    /// Clouddriver's accounts were not read in time.
    #[error("Clouddriver's accounts were not read in time")]
    Slow,
}

impl Error {
    /// Will trying later help?
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(e) => e.is_transient(),
            Self::Settle(settle::Error::Store(e)) => e.is_transient(),
            Self::Settle(settle::Error::Source(e)) => e.is_transient(),
            Self::Settle(settle::Error::Definition(_)) => false,
            Self::Settle(settle::Error::Stopped | settle::Error::Busy) | Self::Busy | Self::Slow => true,
        }
    }
}

/// Makes rows of what users ask for. Clones share everything.
#[derive(Clone)]
pub struct Desk {
    engine: Arc<Engine>,
    bell: Bell,
}

impl Desk {
    /// On the mirror's store; `bell` is the dispatch loop's.
    pub fn new(engine: Arc<Engine>, bell: Bell) -> Self {
        Self { engine, bell }
    }

    fn store(&self) -> &Store {
        self.engine.store()
    }

    /// Asks the loop for a look. One ring serves all rows that were changed before it.
    pub fn ring(&self) {
        self.bell.ring();
    }

    /// Takes an account over from Clouddriver: INACTIVE, with what was said of it. One that a user deactivated is taken again: no longer by hand.
    ///
    /// # Errors
    /// [`Error`]: it is not known whether it was done.
    pub async fn take(&self, ask: &Ask) -> Result<Outcome, Error> {
        self.settled(&ask.name).await;
        let mut take = Take::new(Origin::Migrated, Status::Inactive);
        if let Zone::Only(zone) = &ask.zone {
            take.zone = Some(zone.clone());
        }
        if !ask.properties.is_empty() {
            take.overlay = Some(Value::Object(ask.properties.clone()));
        }
        let taken = tokio::time::timeout(TAKE_BOUND, self.engine.take(&ask.name, &take)).await;
        Ok(match taken.map_err(|_| Error::Slow)?? {
            Taken::Entered => Outcome::Done,
            Taken::There => self.take_again(ask).await?,
            Taken::Absent => Outcome::Unknown,
            Taken::Unreadable => Outcome::Not("Clouddriver's definition of it cannot be read; the log says why".to_owned()),
        })
    }

    async fn take_again(&self, ask: &Ask) -> Result<Outcome, Error> {
        let by_hand = !crate::store::hand::of(self.store(), &[&ask.name]).await?.is_empty();
        self.each(&ask.name, |row| async move {
            if !row.state.dynamic {
                return Ok(Try::Not("it is in an agent's own configuration"));
            }
            match row.state.status {
                Status::Deleting | Status::DeleteFailed => Ok(Try::Not("it is being deleted")),
                _ if !by_hand || row.state.wanted != Wanted::Inactive => Ok(Try::Not("it has been taken over before")),
                _ => self.write(&row, ask, None, Some(Hand::Forget)).await,
            }
        })
        .await
    }

    /// Makes an account that Clouddriver never had: INACTIVE.
    ///
    /// # Errors
    /// As [`Desk::take`].
    pub async fn create(&self, ask: &Ask) -> Result<Outcome, Error> {
        self.settled(&ask.name).await;
        let mut definition = Map::new();
        definition.insert("name".to_owned(), ask.name.as_str().into());
        definition.insert("type".to_owned(), "kubernetes".into());
        definition.extend(ask.properties.clone());
        let definition = match self.store().seal_definition(&ask.name, &Value::Object(definition)) {
            Ok(sealed) => sealed,
            Err(e) => return Ok(Outcome::Not(e.to_string())),
        };
        let new = NewState {
            name: &ask.name,
            origin: Origin::Created,
            status: Status::Inactive,
            wanted: Wanted::Inactive,
            zone: if let Zone::Only(zone) = &ask.zone { Some(zone.clone()) } else { None },
            definition: Some(definition),
            overlay: None,
            props: None,
            learned: None,
        };
        for _ in 0..TRIES {
            match self.insert(&new).await {
                Ok(Some(true)) => return Ok(Outcome::Done),
                Ok(Some(false)) => return Ok(Outcome::Not("there is an account of this name already".to_owned())),
                Ok(None) => {}
                Err(e) if e.is_contention() => {}
                Err(e) => return Err(e.into()),
            }
            pause().await;
        }
        Err(Error::Busy)
    }

    /// Under the name's generation, as settling does it: of a settling that is under way beside it, one sees the other. `None`: start again.
    async fn insert(&self, new: &NewState<'_>) -> Result<Option<bool>, StoreError> {
        let db = self.store().main();
        let snapshot = journal::snapshot(db, new.name).await?;
        let mut tx = db.begin().await?;
        if journal::take_name(db, &mut tx, new.name, snapshot.generation).await?.is_none() {
            tx.rollback().await;
            return Ok(None);
        }
        if !states::insert(self.store(), &mut tx, new).await? {
            tx.rollback().await;
            return Ok(Some(false));
        }
        crate::store::hand::forget(&mut tx, new.name).await?;
        tx.commit().await?;
        Ok(Some(true))
    }

    /// Changes what lies over an account's definition (or, for one that was made here, the definition), and its zone. An agent that has it
    /// hears of it.
    ///
    /// # Errors
    /// As [`Desk::take`].
    pub async fn update(&self, ask: &Ask) -> Result<Outcome, Error> {
        self.settled(&ask.name).await;
        self.each(&ask.name, |row| async move {
            if !row.state.dynamic {
                return Ok(Try::Not("it is in an agent's own configuration: change it there"));
            }
            match row.state.status {
                Status::Deleting | Status::DeleteFailed => Ok(Try::Not("it is being deleted")),
                _ => self.write(&row, ask, None, None).await,
            }
        })
        .await
    }

    /// Wants an account managed, or let go of, and changes its zone and kubeconfig along with that. What cannot be is noted in the row's message.
    ///
    /// # Errors
    /// As [`Desk::take`].
    pub async fn want(&self, ask: &Ask, wanted: Wanted) -> Result<Outcome, Error> {
        self.settled(&ask.name).await;
        let (event, hand) = match wanted {
            Wanted::Active => (Event::Activate, Hand::Forget),
            Wanted::Inactive => (Event::Deactivate, Hand::Note(Wanted::Inactive)),
            Wanted::Deleted => (Event::Delete, Hand::Note(Wanted::Deleted)),
        };
        let outcome = self.each(&ask.name, |row| async move { self.write(&row, ask, Some(event), Some(hand)).await }).await?;
        if let Outcome::Not(why) = &outcome {
            tracing::warn!(account = ask.name, wanted = wanted.as_str(), why, "a user's wish is passed over");
            self.tell(&ask.name, why).await?;
        }
        Ok(outcome)
    }

    /// Wants an account gone, from its agents first. Clouddriver's own is untouched.
    ///
    /// # Errors
    /// As [`Desk::take`].
    pub async fn delete(&self, name: &str) -> Result<Outcome, Error> {
        let ask = Ask { name: name.to_owned(), zone: Zone::Keep, properties: Map::new() };
        self.want(&ask, Wanted::Deleted).await
    }

    /// Asks the loop to look at an account: who of its agents watches it is decided anew.
    ///
    /// # Errors
    /// As [`Desk::take`].
    pub async fn look(&self, name: &str) -> Result<Outcome, Error> {
        self.each(name, |row| async move { Ok(Try::of(states::apply(self.store(), &row, row.stay(), &Extra::default()).await?)) }).await
    }

    async fn settled(&self, name: &str) {
        self.engine.settle_open(name, SETTLE_BOUND).await;
    }

    /// Writes to the row's message why a wish was passed over.
    async fn tell(&self, name: &str, why: &str) -> Result<(), Error> {
        let extra = Extra { message: Message::Set(why.to_owned()), due: states::Due::Keep, ..Extra::default() };
        // What comes from an agent's file has nothing wrong with it.
        states::change(self.store(), name, |row| row.state.dynamic.then(|| (None, extra.clone()))).await?;
        Ok(())
    }

    /// Reads the row and tries, again while others are faster.
    async fn each<F: Future<Output = Result<Try, Error>>>(
        &self,
        name: &str,
        mut attempt: impl FnMut(StateRow) -> F,
    ) -> Result<Outcome, Error> {
        for _ in 0..TRIES {
            let Some(row) = states::load(self.store(), name).await? else { return Ok(Outcome::Unknown) };
            match attempt(row).await {
                Ok(Try::Done) => return Ok(Outcome::Done),
                Ok(Try::Not(why)) => return Ok(Outcome::Not(why.to_owned())),
                Ok(Try::Said(why)) => return Ok(Outcome::Not(why)),
                Ok(Try::Again) => {}
                Err(Error::Store(e)) if e.is_contention() => {}
                Err(e) => return Err(e),
            }
            pause().await;
        }
        Err(Error::Busy)
    }

    /// One try to write what is asked, and the event that goes with it.
    async fn write(&self, row: &StateRow, ask: &Ask, event: Option<Event>, hand: Option<Hand>) -> Result<Try, Error> {
        let sealed = if row.origin == Origin::Created && !ask.properties.is_empty() {
            states::payloads(self.store(), &[&row.name]).await?.into_iter().next().map(|p| p.definition)
        } else {
            None
        };
        let change = match Change::of(self.store(), row, sealed.as_ref(), ask) {
            Ok(change) => change,
            Err(e) => return Ok(Try::Said(e.to_string())),
        };
        let step = match change.step(&row.state, event) {
            Ok(Some(step)) => step,
            Ok(None) if hand.is_none() && !change.writes() => return Ok(Try::Done),
            Ok(None) => row.stay(),
            Err(why) => return Ok(Try::Not(why)),
        };
        Ok(Try::of(states::apply(self.store(), row, step, &change.extra(hand)).await?))
    }
}

/// What one try came to.
enum Try {
    Done,
    Not(&'static str),
    Said(String),
    Again,
}

impl Try {
    fn of(applied: Applied) -> Self {
        match applied {
            Applied::Won => Self::Done,
            Applied::Lost => Self::Again,
        }
    }
}

async fn pause() {
    tokio::time::sleep(Duration::from_micros(fastrand::u64(500..8_000))).await;
}

/// Why what is asked for cannot be laid over a row. Never any of the text.
#[derive(Debug, thiserror::Error)]
enum LayError {
    #[error("what is stored of it cannot be opened: {0}")]
    Open(#[from] OpenError),
    #[error(transparent)]
    Unstorable(#[from] UnstorableError),
    #[error("it would be left with no way to its cluster: give one of kubeconfigFile, kubeconfigContents and serviceAccount")]
    NoKubeconfig,
}
