//! What an [`Ask`] changes in a row. Pure but for sealing.

use serde_json::{Map, Value};

use super::LayError;
use crate::account::Origin;
use crate::dispatch::{Ask, Zone};
use crate::lifecycle::{self, Attempts, Event, State, Step};
use crate::store::mirrored::SealedText;
use crate::store::overlay::{credentials, lay};
use crate::store::states::{self, Extra, Hand, StateRow};
use crate::store::{Sealed, Store};

/// The changes.
#[derive(Debug, Default)]
pub(super) struct Change {
    zone: states::Zone,
    overlay: Option<Option<String>>,
    definition: Option<Sealed>,
    /// What an agent is to have is another thing now.
    differs: bool,
}

impl Change {
    /// What `ask` changes. An account that was made here has one layer, `sealed`; over one of Clouddriver's an overlay is laid.
    pub(super) fn of(store: &Store, row: &StateRow, sealed: Option<&SealedText>, ask: &Ask) -> Result<Self, LayError> {
        let mut change = Self::default();
        let given = |zone: Option<&String>| row.zone.as_ref() == zone && !(row.zone_found && zone.is_some());
        match &ask.zone {
            Zone::Keep => {}
            // One that was found is found again, if it has to be.
            Zone::Any if row.zone_found || row.zone.is_none() => {}
            Zone::Any => (change.zone, change.differs) = (states::Zone::Given(None), true),
            Zone::Only(zone) if given(Some(zone)) => {}
            Zone::Only(zone) => {
                change.differs = row.zone.as_ref() != Some(zone);
                change.zone = states::Zone::Given(Some(zone.clone()));
            }
        }
        if ask.properties.is_empty() {
            return Ok(change);
        }
        if let (Origin::Created, Some(text)) = (row.origin, sealed) {
            let before = object(store.open_definition(&row.name, &text.0)?);
            let mut after = before.clone();
            lay(&mut after, &ask.properties);
            if credentials(&after) == 0 {
                return Err(LayError::NoKubeconfig);
            }
            if after != before {
                change.definition = Some(store.seal_definition(&row.name, &Value::Object(after))?);
                change.differs = true;
            }
        } else {
            let before = object(row.overlay(store)?);
            let mut after = before.clone();
            lay(&mut after, &ask.properties);
            if after != before {
                let text = if after.is_empty() { None } else { Some(store.seal_overlay(&row.name, &Value::Object(after))?) };
                change.overlay = Some(text);
                change.differs = true;
            }
        }
        Ok(change)
    }

    /// Whether there is anything to write.
    pub(super) fn writes(&self) -> bool {
        self.differs || self.zone != states::Zone::Keep
    }

    /// The change and then the event, as one step. `None`: the row's state stays.
    pub(super) fn step(&self, state: &State, event: Option<Event>) -> Result<Option<Step>, &'static str> {
        let changed = if self.differs { Some(Event::Changed) } else { None };
        let (mut state, mut all) = (*state, None);
        for event in changed.into_iter().chain(event) {
            match lifecycle::next(&state, event) {
                Step::Refuse(why) => return Err(why),
                Step::Ignore => {}
                leave @ Step::Leave { .. } => return Ok(Some(leave)),
                Step::Go { to, wanted, attempts, tombstone } => {
                    (state.status, state.wanted) = (to, wanted);
                    let (before, stone) = match all {
                        Some(Step::Go { attempts, tombstone, .. }) => (attempts, tombstone),
                        _ => (Attempts::Keep, false),
                    };
                    let attempts = if attempts == Attempts::Keep { before } else { attempts };
                    all = Some(Step::Go { to, wanted, attempts, tombstone: tombstone || stone });
                }
            }
        }
        Ok(all)
    }

    /// What is written along with the step.
    pub(super) fn extra(self, hand: Option<Hand>) -> Extra {
        Extra { zone: self.zone, overlay: self.overlay, definition: self.definition, changed: self.differs, hand, ..Extra::default() }
    }
}

fn object(value: Value) -> Map<String, Value> {
    if let Value::Object(map) = value { map } else { Map::new() }
}
