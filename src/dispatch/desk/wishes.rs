//! What users ask of rows that are there: read, decided and written in one transaction, with the rows locked meanwhile.

use std::collections::{HashMap, HashSet};

use super::batch::Came;
use super::rows::Change;
use super::{Desk, Error, Outcome};
use crate::account::{Origin, Status};
use crate::dispatch::Ask;
use crate::lifecycle::{Event, Step, Wanted};
use crate::store::db::Dialect;
use crate::store::hand;
use crate::store::mirrored::SealedText;
use crate::store::states::{Due, Extra, Hand, Message, StateRow, many};

/// One entry.
pub(super) struct Wish<'a> {
    pub ask: &'a Ask,
    pub kind: Kind,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It is to be managed, let go of, or gone.
    Want(Wanted),
    /// Its definition or zone changes, and nothing else.
    Update,
    /// It was taken over before, and is asked for again.
    TakeAgain,
    /// The loop is to look at it.
    Look,
}

/// What is done about one entry.
enum Plan {
    Write(Step, Box<Extra>, Outcome),
    Nothing(Outcome),
}

/// Where an entry's row is.
#[derive(Clone, Copy)]
enum Place<'r> {
    Here(&'r StateRow),
    Nowhere,
    /// By another spelling: which row it is, the database says of one name only.
    Unclear,
}

impl Desk {
    /// One transaction. `unsure`: an earlier one of the same entries may have been done.
    pub(super) async fn write_some(&self, wishes: &[&Wish<'_>], unsure: bool) -> Result<Vec<Came>, Error> {
        if wishes.is_empty() {
            return Ok(Vec::new());
        }
        let store = self.store();
        let names: Vec<&str> = wishes.iter().map(|wish| wish.ask.name.as_str()).collect();
        let mut tx = store.main().begin().await?;
        let rows = many::lock(store, &mut tx, &names).await?;
        let by_name: HashMap<&str, &StateRow> = rows.iter().map(|row| (row.name.as_str(), row)).collect();
        let missing: Vec<&str> = names.iter().copied().filter(|name| !by_name.contains_key(name)).collect();
        // Only there are two spellings one name.
        let others = if store.main().dialect() == Dialect::MySql { many::lock(store, &mut tx, &missing).await? } else { Vec::new() };
        let place = |name: &str| match (by_name.get(name), &others[..]) {
            (Some(row), _) => Place::Here(row),
            (None, []) => Place::Nowhere,
            (None, [row]) if names.len() == 1 => Place::Here(row),
            (None, _) => Place::Unclear,
        };

        let layered = |wish: &&&Wish<'_>| matches!(place(&wish.ask.name), Place::Here(row) if needs_definition(row, wish.ask));
        let layered: Vec<&str> = wishes.iter().filter(layered).map(|wish| stored(place(&wish.ask.name), wish.ask)).collect();
        let definitions = many::definitions(store, &mut tx, &layered).await?;
        let remembered = |wish: &&&Wish<'_>| match place(&wish.ask.name) {
            Place::Here(_) => wish.kind == Kind::TakeAgain,
            Place::Nowhere => unsure && wish.kind == Kind::Want(Wanted::Deleted),
            Place::Unclear => false,
        };
        let remembered: Vec<&str> = wishes.iter().filter(remembered).map(|wish| stored(place(&wish.ask.name), wish.ask)).collect();
        let by_hand: HashMap<String, Wanted> =
            hand::of_in(store, &mut tx, &remembered).await?.into_iter().map(|hand| (hand.name, hand.wanted)).collect();

        let (mut came, mut writes, mut seen) = (Vec::with_capacity(wishes.len()), Vec::new(), HashSet::new());
        for wish in wishes {
            came.push(match place(&wish.ask.name) {
                Place::Unclear => Came::Alone,
                // By the try that is not known to have been done: it was there then, and nobody else notes this.
                Place::Nowhere if by_hand.get(&wish.ask.name) == Some(&Wanted::Deleted) => Came::To(Outcome::Done),
                Place::Nowhere => Came::To(Outcome::Unknown),
                Place::Here(row) if !seen.insert(row.name.as_str()) => Came::Later,
                Place::Here(row) => match self.plan(wish, row, definitions.get(&row.name), by_hand.contains_key(&row.name), unsure) {
                    Plan::Nothing(outcome) => Came::To(outcome),
                    Plan::Write(step, extra, outcome) => {
                        writes.push((row, step, extra));
                        Came::To(outcome)
                    }
                },
            });
        }
        if writes.is_empty() {
            tx.rollback().await;
            return Ok(came);
        }
        let writes: Vec<(&StateRow, Step, &Extra)> = writes.iter().map(|(row, step, extra)| (*row, *step, &**extra)).collect();
        many::write(store, &mut tx, &writes).await?;
        tx.commit().await?;
        Ok(came)
    }

    fn plan(&self, wish: &Wish<'_>, row: &StateRow, sealed: Option<&SealedText>, by_hand: bool, unsure: bool) -> Plan {
        let not = |why: &str| Plan::Nothing(Outcome::Not(why.to_owned()));
        let deleting = matches!(row.state.status, Status::Deleting | Status::DeleteFailed);
        let (event, hand) = match wish.kind {
            Kind::Look => return Plan::Write(row.stay(), Box::default(), Outcome::Done),
            Kind::Update | Kind::TakeAgain if !row.state.dynamic => return not(&belongs_to_an_agent(row)),
            Kind::Update | Kind::TakeAgain if deleting => return not("it is being deleted"),
            Kind::TakeAgain if !by_hand || row.state.wanted != Wanted::Inactive => {
                return not(if unsure {
                    "it is taken over; whether by this request cannot be told"
                } else {
                    "it has been taken over before"
                });
            }
            Kind::Update => (None, None),
            Kind::TakeAgain => (None, Some(Hand::Forget)),
            Kind::Want(Wanted::Active) => (Some(Event::Activate), Some(Hand::Forget)),
            Kind::Want(Wanted::Inactive) => (Some(Event::Deactivate), Some(Hand::Note(Wanted::Inactive))),
            Kind::Want(Wanted::Deleted) => (Some(Event::Delete), Some(Hand::Note(Wanted::Deleted))),
        };
        let change = match Change::of(self.store(), row, sealed, wish.ask) {
            Ok(change) => change,
            Err(e) => return passed_over(wish, row, e.to_string()),
        };
        match change.step(&row.state, event) {
            Ok(Some(step)) => Plan::Write(step, Box::new(change.extra(hand)), Outcome::Done),
            Ok(None) if hand.is_none() && !change.writes() => Plan::Nothing(Outcome::Done),
            Ok(None) => Plan::Write(row.stay(), Box::new(change.extra(hand)), Outcome::Done),
            Err(why) => passed_over(wish, row, why.to_owned()),
        }
    }
}

/// Only an account that was made here has one layer, which what is asked for goes into.
fn needs_definition(row: &StateRow, ask: &Ask) -> bool {
    row.origin == Origin::Created && !ask.properties.is_empty()
}

/// The name as its row has it.
fn stored<'a>(place: Place<'a>, ask: &'a Ask) -> &'a str {
    if let Place::Here(row) = place { &row.name } else { &ask.name }
}

/// Whose it is, and where it is changed.
fn belongs_to_an_agent(row: &StateRow) -> String {
    let of = row.zone.as_deref().map_or_else(String::new, |zone| format!(" (zone {zone})"));
    format!("it is in an agent's own configuration{of}: change it there, below kubernetes.accounts")
}

/// A wish is answered before it is followed, so the row's message says why it was not.
fn passed_over(wish: &Wish<'_>, row: &StateRow, why: String) -> Plan {
    let Kind::Want(wanted) = wish.kind else { return Plan::Nothing(Outcome::Not(why)) };
    let why = if row.state.dynamic { why } else { format!("{} was passed over: {}", wanted.as_str(), belongs_to_an_agent(row)) };
    tracing::warn!(account = row.name, wanted = wanted.as_str(), why, "a user's wish is passed over");
    let told = match row.error_message.as_deref() {
        // Why its cluster is not reached goes on to be told: nobody says it again.
        Some(told) if !row.state.dynamic && row.state.status != Status::Active => {
            let told = told.split(PASSED_OVER).next().unwrap_or_default();
            format!("{told}{PASSED_OVER}{why}")
        }
        _ => why.clone(),
    };
    let extra = Extra { message: Message::Set(told), due: Due::Keep, ..Extra::default() };
    Plan::Write(row.stay(), Box::new(extra), Outcome::Not(why))
}

/// Between the message of an account that an agent owns and the wish that was passed over.
const PASSED_OVER: &str = "; a user's wish: ";
