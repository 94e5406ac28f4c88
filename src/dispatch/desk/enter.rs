//! Accounts that enter: made by a user, or taken over from Clouddriver.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::batch::Came;
use super::wishes::{Kind, Wish};
use super::{Desk, Error, Outcome, TAKE_BOUND};
use crate::account::{Origin, Status};
use crate::dispatch::{Ask, Zone};
use crate::lifecycle::Wanted;
use crate::mirror::{Take, Taken};
use crate::store::journal::{self, NameNotes, fresh_generation};
use crate::store::states::{NewState, many};
use crate::store::{Sealed, Store, hand, names};

const THERE: &str = "there is an account of this name already";

/// An account that a user makes.
pub(super) struct New<'a> {
    ask: &'a Ask,
    /// Its definition, or why it cannot be stored.
    sealed: Result<Sealed, String>,
    /// By which its row is known for ours when a commit's answer was lost.
    generation: i64,
}

/// How an account is taken over.
pub(super) fn take(ask: &Ask) -> Take {
    let mut take = Take::new(Origin::Migrated, Status::Inactive);
    if let Zone::Only(zone) = &ask.zone {
        take.zone = Some(zone.clone());
    }
    if !ask.properties.is_empty() {
        take.overlay = Some(Value::Object(ask.properties.clone()));
    }
    take
}

impl<'a> New<'a> {
    /// Seals its definition.
    pub(super) fn of(store: &Store, ask: &'a Ask) -> Self {
        let mut definition = Map::new();
        definition.insert("name".to_owned(), ask.name.as_str().into());
        definition.insert("type".to_owned(), "kubernetes".into());
        definition.extend(ask.properties.clone());
        let sealed = store.seal_definition(&ask.name, &Value::Object(definition)).map_err(|e| e.to_string());
        Self { ask, sealed, generation: fresh_generation() }
    }

    pub(super) fn name(&self) -> &str {
        &self.ask.name
    }

    fn row(&self) -> Option<NewState<'_>> {
        Some(NewState {
            name: &self.ask.name,
            origin: Origin::Created,
            status: Status::Inactive,
            wanted: Wanted::Inactive,
            zone: if let Zone::Only(zone) = &self.ask.zone { Some(zone.clone()) } else { None },
            definition: Some(self.sealed.as_ref().ok()?.clone()),
            overlay: None,
            props: None,
            learned: None,
        })
    }

    /// It is there: ours, of a try that is not known to have been done, or another.
    fn there(&self, generation: i64) -> Came {
        Came::To(if generation == self.generation { Outcome::Done } else { Outcome::Not(THERE.to_owned()) })
    }
}

impl Desk {
    /// One transaction, under the names' generations, as settling does it: of a settling that is under way beside it, one sees the other.
    pub(super) async fn create_some(&self, all: &[&New<'_>]) -> Result<Vec<Came>, Error> {
        if let [new] = all {
            return Ok(vec![self.create_alone(new).await?]);
        }
        let (store, db) = (self.store(), self.store().main());
        let asked: Vec<&str> = all.iter().map(|new| new.name()).collect();
        let generations = names::generations(db, &asked).await?;
        let expected: HashMap<&str, i64> = asked.iter().filter_map(|name| Some((*name, *generations.get(*name)?))).collect();
        let mut tx = db.begin().await?;
        let noted = names::take(db, &mut tx, &expected).await?;
        let rows = many::lock(store, &mut tx, &asked).await?;
        let rows: HashMap<&str, i64> = rows.iter().map(|row| (row.name.as_str(), row.generation)).collect();
        if rows.keys().any(|name| !expected.contains_key(name)) {
            // By another spelling: which of these it is, the database says of one name only.
            tx.rollback().await;
            return Ok(all.iter().map(|_| Came::Alone).collect());
        }
        let (mut came, mut entering, mut notes) = (Vec::with_capacity(all.len()), Vec::new(), Vec::new());
        for new in all {
            came.push(match (&new.sealed, rows.get(new.name()), noted.get(new.name()), new.row()) {
                (Err(why), ..) => Came::To(Outcome::Not(why.clone())),
                (_, Some(generation), ..) => new.there(*generation),
                (_, None, Some((name, _)), Some(row)) => {
                    notes.push((new.name(), NameNotes::clone(name)));
                    entering.push((row, new.generation));
                    Came::To(Outcome::Done)
                }
                _ => Came::Alone,
            });
        }
        if entering.is_empty() {
            tx.rollback().await;
            return Ok(came);
        }
        let entering: Vec<(&NewState<'_>, i64)> = entering.iter().map(|(row, generation)| (row, *generation)).collect();
        many::insert(store, &mut tx, &entering).await?;
        hand::forget_all(&mut tx, &notes.iter().map(|(name, _)| *name).collect::<Vec<_>>()).await?;
        names::note(db, &mut tx, &notes).await?;
        tx.commit().await?;
        Ok(came)
    }

    async fn create_alone(&self, new: &New<'_>) -> Result<Came, Error> {
        let row = match (&new.sealed, new.row()) {
            (Ok(_), Some(row)) => row,
            (Err(why), _) => return Ok(Came::To(Outcome::Not(why.clone()))),
            (Ok(_), None) => return Ok(Came::Later),
        };
        let (store, db) = (self.store(), self.store().main());
        let snapshot = journal::snapshot(db, new.name()).await?;
        let mut tx = db.begin().await?;
        if journal::take_name(db, &mut tx, new.name(), snapshot.generation).await?.is_none() {
            tx.rollback().await;
            return Ok(Came::Later);
        }
        if let Some(there) = many::lock(store, &mut tx, &[new.name()]).await?.first() {
            tx.rollback().await;
            return Ok(new.there(there.generation));
        }
        match many::insert(store, &mut tx, &[(&row, new.generation)]).await {
            Ok(()) => {}
            // In a state that is none of ours.
            Err(e) if e.says_duplicate() => return Ok(Came::To(Outcome::Not(THERE.to_owned()))),
            Err(e) => return Err(e.into()),
        }
        hand::forget(&mut tx, new.name()).await?;
        tx.commit().await?;
        Ok(Came::To(Outcome::Done))
    }

    /// One transaction for those that enter, and one for those that were taken over before.
    pub(super) async fn take_some(&self, all: &[&(&Ask, Take)], unsure: bool) -> Result<Vec<Came>, Error> {
        let asked: Vec<(&str, &Take)> = all.iter().map(|(ask, take)| (ask.name.as_str(), take)).collect();
        let taken = async {
            match asked[..] {
                [(name, take)] => self.engine.take(name, take).await.map(|taken| vec![Some(taken)]),
                _ => self.engine.take_all(&asked).await,
            }
        };
        let taken = tokio::time::timeout(TAKE_BOUND, taken).await.map_err(|_| Error::Slow)??;
        let there = all.iter().zip(&taken).filter(|(_, taken)| **taken == Some(Taken::There));
        let again: Vec<Wish<'_>> = there.map(|((ask, _), _)| Wish { ask, kind: Kind::TakeAgain }).collect();
        let mut again = self.write_some(&again.iter().collect::<Vec<_>>(), unsure).await?.into_iter();
        let came = taken.into_iter().map(|taken| match taken {
            Some(Taken::Entered) => Came::To(Outcome::Done),
            Some(Taken::There) => again.next().unwrap_or(Came::Later),
            Some(Taken::Absent | Taken::ByHand) => Came::To(Outcome::Unknown),
            Some(Taken::Unreadable) => Came::To(Outcome::Not("Clouddriver's definition of it cannot be read; the log says why".to_owned())),
            None => Came::Alone,
        });
        Ok(came.collect())
    }
}
