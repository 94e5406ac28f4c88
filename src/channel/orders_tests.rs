use super::*;
use crate::channel::NewAccount;
use crate::wire::account_outcome::Result as Said;
use crate::wire::{AccountOutcome, Done};

fn add(names: &[&str]) -> Asked {
    let account = |name: &&str| NewAccount { name: (*name).into(), generation: 7, definition: Arc::from(*b"{}"), watch: true };
    Asked::of(&Order::Add(names.iter().map(account).collect()))
}

fn done(name: &str, generation: i64) -> AccountOutcome {
    AccountOutcome { name: name.to_owned(), generation, result: Some(Said::Done(Done::default())) }
}

fn failed(name: &str) -> AccountOutcome {
    AccountOutcome { name: name.to_owned(), generation: 7, result: Some(Said::Failure(wire::Failure::default())) }
}

fn said(accounts: Vec<AccountOutcome>) -> wire::Outcome {
    wire::Outcome { accounts, ..wire::Outcome::default() }
}

fn begun(orders: &Orders, asked: Asked) -> (Ulid, oneshot::Receiver<Result<Vec<Outcome>, Unanswered>>) {
    let id = Ulid::generate();
    (id, orders.begin(id, asked, || Ok(())).unwrap())
}

#[test]
fn each_account_has_one_outcome_in_whatever_order_and_number_the_agent_speaks() {
    let orders = Orders::default();
    let (id, mut answer) = begun(&orders, add(&["a", "b", "c"]));
    let taken = orders.outcome(id, said(vec![failed("c"), done("a", 7), failed("a")])).unwrap();
    assert_eq!(taken.effects.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert!(matches!(&taken.effects[0].1, Effect::Has(held) if held.state == HeldState::Watching));
    taken.tell();
    let outcomes = answer.try_recv().unwrap().unwrap();
    let told: Vec<_> = outcomes.iter().map(|o| (&*o.name, o.result.is_ok())).collect();
    assert_eq!(told, [("a", true), ("b", false), ("c", false)]);
    assert!(matches!(orders.outcome(id, said(vec![done("a", 7)])), Err(NotTaken::Unknown)));
}

#[test]
fn an_outcome_for_an_account_of_another_operation_is_not_taken_and_the_operation_stays_open() {
    let orders = Orders::default();
    let (id, mut answer) = begun(&orders, add(&["a"]));
    assert_eq!(orders.outcome(id, said(vec![done("a", 7), done("b", 7)])).unwrap_err(), NotTaken::Foreign("b".to_owned()));
    assert!(answer.try_recv().is_err());
    assert_eq!((orders.open(), orders.close()), (1, 1));
    assert_eq!(answer.try_recv(), Ok(Err(Unanswered::Lost)));
}

#[test]
fn what_comes_after_the_wait_still_counts_for_what_the_agent_has() {
    let orders = Orders::default();
    let (id, _answer) = begun(&orders, add(&["a"]));
    orders.give_up(id);
    assert_eq!(orders.open(), 0);
    assert!(orders.is_being_added("a", 7) && !orders.is_being_added("a", 8));
    let taken = orders.outcome(id, said(vec![done("a", 7)])).unwrap();
    assert!(taken.is_late() && taken.effects.len() == 1);
    assert!(matches!(orders.outcome(id, said(vec![done("a", 7)])), Err(NotTaken::Unknown)));
}

#[test]
fn nothing_begins_in_a_session_that_has_ended_and_nothing_twice() {
    let orders = Orders::default();
    let (id, _answer) = begun(&orders, add(&["a"]));
    assert_eq!(orders.begin(id, add(&["a"]), || Ok(())).unwrap_err(), Unanswered::Busy);
    assert_eq!(orders.begin(Ulid::generate(), add(&["a"]), || Err(Unanswered::Lost)).unwrap_err(), Unanswered::Lost);
    assert_eq!(orders.open(), 1);
    orders.close();
    let sent = std::cell::Cell::new(false);
    let began = orders.begin(Ulid::generate(), add(&["a"]), || {
        sent.set(true);
        Ok(())
    });
    assert_eq!((began.unwrap_err(), sent.get()), (Unanswered::Lost, false));
}

#[test]
fn operations_that_nobody_waits_for_are_bounded() {
    let orders = Orders::default();
    let ids: Vec<Ulid> = (0..LATE + 1).map(|_| begun(&orders, add(&["a"])).0).collect();
    ids.iter().for_each(|id| orders.give_up(*id));
    assert!(matches!(orders.outcome(ids[0], said(vec![])), Err(NotTaken::Unknown)));
    assert!(orders.outcome(ids[1], said(vec![])).is_ok());
}

#[test]
fn an_operation_that_failed_as_a_whole_says_why() {
    let orders = Orders::default();
    let (id, mut answer) = begun(&orders, add(&["a"]));
    let whole = wire::Outcome { failure: Some(wire::Failure { message: "unknown kind".to_owned(), ..Default::default() }), ..said(vec![]) };
    let taken = orders.outcome(id, whole).unwrap();
    assert!(taken.effects.is_empty());
    taken.tell();
    assert!(matches!(answer.try_recv(), Ok(Err(Unanswered::Refused(f))) if f.message == "unknown kind"));
}

#[test]
fn another_generation_than_the_one_asked_for_is_not_taken_for_it() {
    let orders = Orders::default();
    let (id, _answer) = begun(&orders, add(&["a"]));
    assert!(orders.outcome(id, said(vec![done("a", 8)])).unwrap().effects.is_empty());
}

#[test]
fn a_later_order_tells_what_the_agent_has_though_the_earlier_ones_outcome_comes_last() {
    let orders = Orders::default();
    let delete = |generation| Asked::of(&Order::Delete(vec![("a".into(), generation)]));
    let effects = |id, account| orders.outcome(id, said(vec![account])).unwrap().effects;
    let gone = Effect::Gone { generation: 0 };
    // Answered together with others that were slow, long after the agent has let go.
    let (added, _waits) = begun(&orders, add(&["a"]));
    let (deleted, _waits) = begun(&orders, delete(0));
    assert!(!orders.is_being_added("a", 7));
    assert_eq!(effects(deleted, done("a", 0)), [("a".into(), gone.clone())]);
    assert_eq!(effects(added, done("a", 7)), []);
    // The other way round: only what was there before has gone.
    let (deleted, _waits) = begun(&orders, delete(0));
    let (added, _waits) = begun(&orders, add(&["a"]));
    assert_eq!(effects(added, done("a", 7)).len(), 1);
    assert_eq!(effects(deleted, done("a", 0)), [("a".into(), Effect::GoneBefore { generation: 7 })]);
    // What does not concern the generation, or was refused as a whole, overtakes nothing.
    let (added, _waits) = begun(&orders, add(&["a"]));
    let (_other, _waits) = begun(&orders, delete(8));
    let (refused, _waits) = begun(&orders, delete(0));
    drop(orders.outcome(refused, wire::Outcome { failure: Some(wire::Failure::default()), ..wire::Outcome::default() }).unwrap());
    assert_eq!(effects(added, done("a", 7)).len(), 1);
}

fn added(orders: &Orders, generation: i64, watch: bool) -> Ulid {
    let account = NewAccount { name: "a".into(), generation, definition: Arc::from(*b"{}"), watch };
    begun(orders, Asked::of(&Order::Add(vec![account]))).0
}

fn role(orders: &Orders, watch: bool) -> Ulid {
    begun(orders, Asked::of(&Order::Roles(vec![("a".into(), watch)]))).0
}

/// What an outcome came to: whether the agent has it, in which state, or nothing is told.
fn effect_of(orders: &Orders, id: Ulid, account: AccountOutcome) -> Option<Effect> {
    orders.outcome(id, said(vec![account])).unwrap().effects.pop().map(|(_, effect)| effect)
}

fn has(effect: Option<Effect>) -> Option<HeldState> {
    if let Some(Effect::Has(held)) = effect { Some(held.state) } else { None }
}

#[test]
fn of_two_orders_to_add_one_generation_the_later_one_tells() {
    let orders = Orders::default();
    // The first is given up; the agent is to stand by, as another one has it meanwhile.
    let first = added(&orders, 7, true);
    orders.give_up(first);
    let again = added(&orders, 7, false);
    assert!(orders.is_being_added("a", 7));
    assert_eq!(has(effect_of(&orders, again, done("a", 7))), Some(HeldState::Standby));
    assert_eq!(effect_of(&orders, first, done("a", 7)), None, "it does not watch");
    // It could not have it at first, and can now; in the other order of outcomes too.
    let (first, again) = (added(&orders, 7, true), added(&orders, 7, true));
    assert_eq!(has(effect_of(&orders, again, done("a", 7))), Some(HeldState::Watching));
    assert_eq!(effect_of(&orders, first, failed("a")), None, "it has it");
    // It has had it, and cannot have it any more.
    let (first, again) = (added(&orders, 7, true), added(&orders, 7, true));
    assert_eq!(effect_of(&orders, first, done("a", 7)), None);
    assert_eq!(effect_of(&orders, again, failed("a")), Some(Effect::Gone { generation: 7 }));
}

#[test]
fn an_order_to_add_another_generation_tells_nothing_of_the_earlier_one() {
    let orders = Orders::default();
    let (old, new) = (added(&orders, 6, true), added(&orders, 7, true));
    // What cannot be read replaces nothing.
    assert_eq!(effect_of(&orders, new, failed("a")), Some(Effect::Gone { generation: 7 }));
    assert_eq!(has(effect_of(&orders, old, done("a", 6))), Some(HeldState::Watching));
}

#[test]
fn a_later_order_to_add_that_was_refused_as_a_whole_overtakes_nothing() {
    let orders = Orders::default();
    let refuse =
        |id| drop(orders.outcome(id, wire::Outcome { failure: Some(wire::Failure::default()), ..wire::Outcome::default() }).unwrap());
    let (first, again) = (added(&orders, 7, true), added(&orders, 7, false));
    refuse(again);
    assert_eq!(has(effect_of(&orders, first, done("a", 7))), Some(HeldState::Watching));
    // That it was to be let go of in between stands.
    let first = added(&orders, 7, true);
    let (_deleted, _waits) = begun(&orders, Asked::of(&Order::Delete(vec![("a".into(), 0)])));
    let again = added(&orders, 7, true);
    refuse(again);
    assert_eq!(effect_of(&orders, first, done("a", 7)), None);
}

#[test]
fn who_watches_the_last_order_says_though_earlier_outcomes_come_after_its_own() {
    let orders = Orders::default();
    // Given to stand by, and told to watch before it has answered.
    let (given, told) = (added(&orders, 7, false), role(&orders, true));
    assert_eq!(effect_of(&orders, told, done("a", 7)), Some(Effect::Role { watch: true }));
    assert!(orders.is_being_added("a", 7), "it is still on its way");
    assert_eq!(has(effect_of(&orders, given, done("a", 7))), Some(HeldState::Watching));
    let (told, given) = (role(&orders, true), added(&orders, 7, false));
    assert_eq!(has(effect_of(&orders, given, done("a", 7))), Some(HeldState::Standby));
    assert_eq!(effect_of(&orders, told, done("a", 7)), None);
    let (first, second) = (role(&orders, true), role(&orders, false));
    assert_eq!(effect_of(&orders, second, done("a", 7)), Some(Effect::Role { watch: false }));
    assert_eq!(effect_of(&orders, first, done("a", 7)), None);
}
