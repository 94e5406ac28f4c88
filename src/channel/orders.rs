//! Operations of one session that have no outcome yet. Each ends as an outcome, lost, or timed out; nothing else, and once.
//!
//! Who no longer waits for an operation leaves it among the late ones: what its outcome says of the agent's accounts still counts.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use ulid::Ulid;

use super::convert::outcome;
use super::{Facts, Failure, Held, HeldState, Order, Outcome, Reason, Unanswered};
use crate::wire;

/// Operations that somebody waits for.
const OPEN: usize = 4_096;
/// Operations that nobody waits for any more, and whose outcome may still come.
const LATE: usize = 1_024;

/// What an operation asks of one account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Add { generation: i64, watch: bool },
    Delete { generation: i64 },
    Role { watch: bool },
}

/// An operation, without what is secret in it.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    /// In the words of the log.
    pub(super) kind: &'static str,
    wishes: BTreeMap<Arc<str>, Wish>,
    /// Accounts of which later operations have asked something: what those make of them, and not this one, is what the agent has then.
    overtaken: BTreeMap<Arc<str>, Overtaken>,
}

/// Which operations have overtaken another, as far as one account goes: the last of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Overtaken {
    deletes: Option<Ulid>,
    adds: Option<(Ulid, i64)>,
    role: Option<(Ulid, bool)>,
}

impl Overtaken {
    /// Whatever an earlier order to add it came to, what a later one comes to is so.
    const fn is_settled_by_later(&self) -> bool {
        self.deletes.is_some() || self.adds.is_some()
    }

    /// This one was refused as a whole: nothing of it was done.
    fn forget(&mut self, id: Ulid) {
        self.deletes = self.deletes.filter(|by| *by != id);
        self.adds = self.adds.filter(|(by, _)| *by != id);
        self.role = self.role.filter(|(by, _)| *by != id);
    }

    /// What is left to be told of an earlier operation's effect.
    fn leaves(&self, wish: Wish, effect: Effect) -> Option<Effect> {
        match (wish, effect) {
            (Wish::Add { .. }, _) if self.is_settled_by_later() => None,
            (Wish::Add { .. }, Effect::Has(held)) => {
                let state = self.role.map_or(held.state.clone(), |(_, watch)| HeldState::reached(watch));
                Some(Effect::Has(Held { state, ..held }))
            }
            (Wish::Delete { .. }, Effect::Gone { generation }) => match self.adds {
                Some((_, added)) if generation == 0 => Some(Effect::GoneBefore { generation: added }),
                Some((_, added)) if generation == added => None,
                _ => Some(Effect::Gone { generation }),
            },
            (Wish::Role { .. }, _) if self.adds.is_some() || self.role.is_some() => None,
            (_, effect) => Some(effect),
        }
    }
}

impl Asked {
    pub(super) fn of(order: &Order) -> Self {
        let (kind, wishes) = match order {
            Order::Add(accounts) => {
                let wish = |a: &super::NewAccount| (a.name.clone(), Wish::Add { generation: a.generation, watch: a.watch });
                ("AddAccounts", accounts.iter().map(wish).collect())
            }
            Order::Delete(accounts) => (
                "DeleteAccounts",
                accounts.iter().map(|(name, generation)| (name.clone(), Wish::Delete { generation: *generation })).collect(),
            ),
            Order::Roles(roles) => ("SetRoles", roles.iter().map(|(name, watch)| (name.clone(), Wish::Role { watch: *watch })).collect()),
        };
        Self { kind, wishes, overtaken: BTreeMap::new() }
    }

    /// A later operation is sent: an agent carries out what concerns one account in the order in which it came, and answers when all of an
    /// operation is done, so this one's outcome may come after the later one's.
    ///
    /// Of two orders to add one generation the later one's outcome is what became of it: the agent that has it (or reaches it) takes the later
    /// order's role, and one that had failed tries anew. One to add another generation tells nothing of this one: it may be refused for what
    /// its definition says, and the agent keeps what it has.
    fn is_overtaken(&mut self, by: Ulid, later: &Self) {
        for (name, wish) in &self.wishes {
            let Some(after) = later.wishes.get(name) else { continue };
            let overtaken = self.overtaken.entry(name.clone()).or_default();
            match (*wish, *after) {
                (Wish::Add { generation, .. }, Wish::Delete { generation: gone }) if [0, generation].contains(&gone) => {
                    overtaken.deletes = Some(by);
                }
                (Wish::Add { generation, .. }, Wish::Add { generation: again, .. }) if generation == again => {
                    overtaken.adds = Some((by, again));
                }
                (Wish::Delete { .. } | Wish::Role { .. }, Wish::Add { generation, .. }) => overtaken.adds = Some((by, generation)),
                (Wish::Add { .. } | Wish::Role { .. }, Wish::Role { watch }) => overtaken.role = Some((by, watch)),
                _ => {}
            }
        }
    }

    /// The account, where it is only one: for the log.
    pub(super) fn account(&self) -> Option<&Arc<str>> {
        self.wishes.keys().next().filter(|_| self.wishes.len() == 1)
    }
}

/// What an outcome makes of an account that an agent has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It has it now, so.
    Has(Held),
    /// It has let go of it; 0: whichever it was.
    Gone { generation: i64 },
    /// It has let go of what it had, but was given this generation since.
    GoneBefore { generation: i64 },
    /// It watches, or stands by.
    Role { watch: bool },
}

/// An outcome that was taken.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) asked: Asked,
    pub(super) effects: Vec<(Arc<str>, Effect)>,
    answer: Option<(Answer, Result<Vec<Outcome>, Unanswered>)>,
}

impl Taken {
    /// Nobody waited any more.
    pub(super) fn is_late(&self) -> bool {
        self.answer.is_none()
    }

    /// Tells who waits. To be called when the effects are there to be seen.
    pub(super) fn tell(self) {
        if let Some((to, answer)) = self.answer {
            let _ = to.send(answer);
        }
    }
}

/// Why an outcome was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// No such operation was asked for in this session, or it has had its outcome.
    Unknown,
    /// It speaks of an account that the operation does not.
    Foreign(String),
}

type Answer = oneshot::Sender<Result<Vec<Outcome>, Unanswered>>;

#[derive(Debug, Default)]
struct State {
    open: HashMap<Ulid, (Asked, Answer)>,
    late: VecDeque<(Ulid, Asked)>,
    closed: bool,
}

impl State {
    fn all(&mut self) -> impl Iterator<Item = &mut Asked> {
        self.open.values_mut().map(|(asked, _)| asked).chain(self.late.iter_mut().map(|(_, asked)| asked))
    }
}

/// The operations of one session.
#[derive(Debug, Default)]
pub(super) struct Orders(Mutex<State>);

impl Orders {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins one; `send` is called while nothing else can begin or end, so that the order of calls is the order of the wire.
    pub(super) fn begin(
        &self,
        id: Ulid,
        asked: Asked,
        send: impl FnOnce() -> Result<(), Unanswered>,
    ) -> Result<oneshot::Receiver<Result<Vec<Outcome>, Unanswered>>, Unanswered> {
        let mut state = self.state();
        if state.closed {
            return Err(Unanswered::Lost);
        }
        if state.open.len() >= OPEN || state.open.contains_key(&id) {
            return Err(Unanswered::Busy);
        }
        send()?;
        let (answer, receiver) = oneshot::channel();
        state.late.retain(|(late, _)| *late != id);
        state.all().for_each(|earlier| earlier.is_overtaken(id, &asked));
        state.open.insert(id, (asked, answer));
        Ok(receiver)
    }

    /// Nobody waits for it any more.
    pub(super) fn give_up(&self, id: Ulid) {
        let mut state = self.state();
        if let Some((asked, _)) = state.open.remove(&id) {
            if state.late.len() >= LATE {
                state.late.pop_front();
            }
            state.late.push_back((id, asked));
        }
    }

    /// Takes what an agent says of one.
    pub(super) fn outcome(&self, id: Ulid, said: wire::Outcome) -> Result<Taken, NotTaken> {
        let mut state = self.state();
        let asked = match state.open.get(&id) {
            Some((asked, _)) => asked,
            None => state.late.iter().find(|(late, _)| *late == id).map(|(_, asked)| asked).ok_or(NotTaken::Unknown)?,
        };
        if let Some(foreign) = said.accounts.iter().find(|a| !asked.wishes.contains_key(a.name.as_str())) {
            return Err(NotTaken::Foreign(foreign.name.clone()));
        }
        let (asked, answer) = match state.open.remove(&id) {
            Some((asked, answer)) => (asked, Some(answer)),
            None => {
                let at = state.late.iter().position(|(late, _)| *late == id).ok_or(NotTaken::Unknown)?;
                (state.late.remove(at).ok_or(NotTaken::Unknown)?.1, None)
            }
        };
        if said.failure.is_some() {
            // Nothing of it was done.
            state.all().for_each(|earlier| earlier.overtaken.values_mut().for_each(|o| o.forget(id)));
        }
        drop(state);
        if let Some(failed) = said.failure {
            let refused = Err(Unanswered::Refused(super::convert::failure(failed)));
            return Ok(Taken { asked, effects: Vec::new(), answer: answer.map(|a| (a, refused)) });
        }
        let outcomes = outcomes(&asked, said.accounts);
        let effect = |o: &Outcome| {
            let wish = *asked.wishes.get(&o.name)?;
            let effect = effect(wish, o)?;
            match asked.overtaken.get(&o.name) {
                Some(overtaken) => overtaken.leaves(wish, effect),
                None => Some(effect),
            }
        };
        let effects = outcomes.iter().filter_map(|o| Some((o.name.clone(), effect(o)?))).collect();
        Ok(Taken { asked, effects, answer: answer.map(|a| (a, Ok(outcomes))) })
    }

    /// The generation of an account that is being added.
    pub(super) fn is_being_added(&self, name: &str, generation: i64) -> bool {
        let state = self.state();
        let adds = |asked: &Asked| {
            let wish = asked.wishes.get(name).filter(|_| !asked.overtaken.get(name).is_some_and(Overtaken::is_settled_by_later));
            matches!(wish, Some(Wish::Add { generation: g, .. }) if *g == generation)
        };
        state.open.values().any(|(asked, _)| adds(asked)) || state.late.iter().any(|(_, asked)| adds(asked))
    }

    /// Operations that somebody waits for.
    pub(super) fn open(&self) -> usize {
        self.state().open.len()
    }

    /// The session has ended: who waits is told that it is lost.
    pub(super) fn close(&self) -> usize {
        let mut state = self.state();
        state.closed = true;
        state.late.clear();
        let open = std::mem::take(&mut state.open);
        drop(state);
        let lost = open.len();
        for (_, answer) in open.into_values() {
            let _ = answer.send(Err(Unanswered::Lost));
        }
        lost
    }
}

/// One outcome for each account that was asked for; the first that is said of it counts.
fn outcomes(asked: &Asked, said: Vec<wire::AccountOutcome>) -> Vec<Outcome> {
    let mut by_name: BTreeMap<Arc<str>, Outcome> = BTreeMap::new();
    for one in said {
        let Some((name, _)) = asked.wishes.get_key_value(one.name.as_str()) else { continue };
        if let (false, Some(one)) = (by_name.contains_key(name), outcome(one, name.clone())) {
            by_name.insert(name.clone(), one);
        }
    }
    let silent = |(name, wish): (&Arc<str>, &Wish)| Outcome {
        name: name.clone(),
        generation: match wish {
            Wish::Add { generation, .. } | Wish::Delete { generation } => *generation,
            Wish::Role { .. } => 0,
        },
        result: Err(Failure {
            reason: Reason::Internal,
            message: "the agent's outcome says nothing of this account".to_owned(),
            host: None,
        }),
    };
    asked.wishes.iter().map(|one| by_name.remove(one.0).unwrap_or_else(|| silent(one))).collect()
}

fn effect(wish: Wish, outcome: &Outcome) -> Option<Effect> {
    let facts: Option<Arc<Facts>> = match &outcome.result {
        Ok(facts) => facts.clone(),
        // It does not have what it could not reach. Of an older definition it says itself whether that is still there.
        Err(_) => match wish {
            Wish::Add { generation, .. } if generation != 0 => return Some(Effect::Gone { generation }),
            _ => return None,
        },
    };
    match wish {
        Wish::Add { generation, watch } if outcome.generation == generation => {
            Some(Effect::Has(Held { generation, properties: None, state: HeldState::reached(watch), facts }))
        }
        // The agent has another one than was asked for, and says itself which.
        Wish::Add { .. } => None,
        Wish::Delete { generation } => Some(Effect::Gone { generation }),
        Wish::Role { watch } => Some(Effect::Role { watch }),
    }
}

#[cfg(test)]
#[path = "orders_tests.rs"]
mod tests;
