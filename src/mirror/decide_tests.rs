//! The table's lines one by one, and what holds whatever is read.

use proptest::prelude::*;

use super::*;

fn id(n: u128) -> Ulid {
    Ulid(n)
}

fn row(incarnation: i64) -> RowFacts {
    RowFacts { incarnation: Incarnation(incarnation), modified: Some(incarnation), kubernetes: true, differs: false }
}

fn linked(incarnation: i64) -> MirrorFacts {
    MirrorFacts { origin: Origin::Interceptor, incarnation: Some(Incarnation(incarnation)), sent: false, deleting: false }
}

fn intent(n: u128, method: Method, known: Known, pre: PreImage) -> IntentFacts {
    IntentFacts { id: id(n), method, pre, late: false, known, past_window: false, created: 0 }
}

fn was(incarnation: i64) -> PreImage {
    PreImage::Row { incarnation: Incarnation(incarnation), modified: Some(incarnation) }
}

fn settle(r: Option<RowFacts>, m: Option<MirrorFacts>, intents: &[IntentFacts]) -> Decision {
    let open: Vec<(Ulid, Method)> = intents.iter().map(|i| (i.id, i.method)).collect();
    decide(r.as_ref(), m.as_ref(), &NameFacts::default(), intents, &open, Trigger::Intents)
}

#[test]
fn an_acknowledged_post_brings_its_row_in_and_ends() {
    let d = settle(Some(row(5)), None, &[intent(1, Method::Post, Known::Ok, PreImage::None)]);
    assert_eq!((d.action, d.claims, d.ended), (Action::Insert { after_gap: false }, true, vec![id(1)]));
}

#[test]
fn a_put_alone_brings_nothing_in() {
    let d = settle(Some(row(5)), None, &[intent(1, Method::Put, Known::Ok, PreImage::None)]);
    assert_eq!((d.action, d.put_made_it, d.ended), (Action::Keep, true, vec![id(1)]));
}

#[test]
fn a_row_that_was_there_before_a_post_is_not_its_work() {
    for known in [Known::Ok, Known::Unknown] {
        assert_eq!(settle(Some(row(5)), None, &[intent(1, Method::Post, known, was(5))]).action, Action::Keep, "{known:?}");
    }
}

#[test]
fn a_late_pre_image_that_shows_todays_row_proves_nothing_and_any_other_does() {
    let late = |known, pre| IntentFacts { late: true, ..intent(1, Method::Post, known, pre) };
    assert_eq!(settle(Some(row(5)), None, &[late(Known::Ok, was(5))]).action, Action::Insert { after_gap: false });
    assert_eq!(settle(Some(row(5)), None, &[late(Known::Unknown, was(4))]).action, Action::Insert { after_gap: false });
}

#[test]
fn an_unknown_post_without_a_pre_image_has_the_rows_near_its_time_only() {
    let post = |created| IntentFacts { created, ..intent(1, Method::Post, Known::Unknown, PreImage::Unknown) };
    assert_eq!(settle(Some(row(100_000)), None, &[post(100_000 + CLOCK_SKEW_MS)]).action, Action::Insert { after_gap: false });
    assert_eq!(settle(Some(row(100_000)), None, &[post(100_001 + CLOCK_SKEW_MS)]).action, Action::Keep);
}

#[test]
fn what_was_claimed_once_is_not_brought_in_again() {
    let name = NameFacts { claimed: Some(Incarnation(5)), ..NameFacts::default() };
    let post = [intent(1, Method::Post, Known::Unknown, PreImage::None)];
    assert_eq!(decide(Some(&row(5)), None, &name, &post, &[(id(1), Method::Post)], Trigger::Intents).action, Action::Keep);
}

#[test]
fn another_type_counts_as_no_row() {
    let aws = RowFacts { kubernetes: false, ..row(5) };
    assert_eq!(settle(Some(aws), None, &[intent(1, Method::Post, Known::Ok, PreImage::None)]).action, Action::Keep);
    assert_eq!(settle(Some(aws), Some(linked(4)), &[intent(1, Method::Put, Known::Ok, was(4))]).action, Action::Remove);
}

#[test]
fn the_next_life_of_a_row_that_agents_know_waits_until_they_are_told_to_let_go() {
    let sent = MirrorFacts { sent: true, ..linked(4) };
    let post = [intent(1, Method::Post, Known::Ok, was(4))];
    let d = settle(Some(row(5)), Some(sent), &post);
    assert_eq!((d.action, d.again, d.ended), (Action::Remove, true, vec![]));
    assert_eq!(settle(Some(row(5)), Some(linked(4)), &post).action, Action::Replace);
}

#[test]
fn relinking_waits_for_every_open_post_and_delete_and_for_no_put() {
    let puts = [intent(1, Method::Put, Known::Ok, was(4)), intent(2, Method::Put, Known::Unknown, was(4))];
    let name = NameFacts::default();
    let with = |open: &[(Ulid, Method)]| decide(Some(&row(5)), Some(&linked(4)), &name, &puts, open, Trigger::Intents);
    assert_eq!((with(&[]).action, with(&[]).ended), (Action::Relink, vec![id(1)]));
    // Announced after the snapshot, seen in the transaction.
    let later = with(&[(id(9), Method::Delete)]);
    assert_eq!((later.action, later.ended, later.held), (Action::Keep, vec![], vec![id(1)]));
    assert_eq!(with(&[(id(9), Method::Put)]).action, Action::Relink);
    let deleting = MirrorFacts { deleting: true, ..linked(4) };
    assert_eq!(decide(Some(&row(5)), Some(&deleting), &name, &puts, &[], Trigger::Intents).action, Action::Keep);
}

#[test]
fn a_vanished_row_goes_with_a_change_of_ours_or_after_a_gap_and_is_drift_otherwise() {
    let put = [intent(1, Method::Put, Known::Ok, was(4))];
    assert_eq!(settle(None, Some(linked(4)), &put).action, Action::Remove);
    let pass = |may_remove| decide(None, Some(&linked(4)), &NameFacts::default(), &[], &[], Trigger::Pass { gap: None, may_remove });
    assert_eq!((pass(false).action, pass(false).drift), (Action::Keep, true));
    assert_eq!(pass(true).action, Action::Remove);
}

#[test]
fn after_a_gap_a_young_row_enters_unless_it_was_settled_before_the_gap_or_a_put_explains_it() {
    let gap = Trigger::Pass { gap: Some(Gap { since: 3, ok_until: 100 }), may_remove: true };
    let seen = |at| NameFacts { seen: Some(Incarnation(5)), seen_at: at, claimed: None };
    let of = |name: NameFacts, intents: &[IntentFacts]| decide(Some(&row(5)), None, &name, intents, &[], gap).action;
    assert_eq!(of(NameFacts::default(), &[]), Action::Insert { after_gap: true });
    assert_eq!(of(seen(100), &[]), Action::Keep);
    assert_eq!(of(seen(101), &[]), Action::Insert { after_gap: true });
    assert_eq!(of(seen(0), &[]), Action::Keep);
    assert_eq!(of(NameFacts::default(), &[intent(1, Method::Put, Known::Unknown, PreImage::None)]), Action::Keep);
    // One that changed the row only does not explain where it came from.
    assert_eq!(of(NameFacts::default(), &[intent(1, Method::Put, Known::Unknown, was(5))]), Action::Insert { after_gap: true });
    assert_eq!(decide(Some(&row(2)), None, &NameFacts::default(), &[], &[], gap).action, Action::Keep);
}

#[test]
fn after_a_gap_a_put_that_does_not_know_what_was_before_it_hides_no_unjournalled_post() {
    let gap = Trigger::Pass { gap: Some(Gap { since: 3, ok_until: 100 }), may_remove: true };
    let found = |put: IntentFacts| {
        let d = decide(Some(&row(5)), None, &NameFacts::default(), &[put], &[], gap);
        (d.action, d.put_made_it)
    };
    let enters = (Action::Insert { after_gap: true }, false);
    for known in [Known::Pending, Known::Ok, Known::Unknown] {
        // Journalled a moment after the POST was carried out, and after it was itself: the row that it shows may be either's.
        assert_eq!(found(IntentFacts { late: true, ..intent(1, Method::Put, known, was(5)) }), enters, "{known:?}");
        assert_eq!(found(IntentFacts { created: 5, ..intent(1, Method::Put, known, PreImage::Unknown) }), enters, "{known:?}");
        // What updates only made nothing, whatever it found.
        assert_eq!(found(intent(1, Method::PutNamed, known, PreImage::None)), enters, "{known:?}");
        assert_eq!(found(intent(1, Method::PutNamed, known, was(4))), enters, "{known:?}");
    }
}

#[test]
fn a_row_of_fairleads_own_goes_with_a_deletion_and_makes_place_for_what_came_after() {
    let created = MirrorFacts { origin: Origin::Created, incarnation: None, sent: false, deleting: false };
    let both = [intent(1, Method::Delete, Known::Ok, was(4)), intent(2, Method::Post, Known::Ok, PreImage::None)];
    let d = settle(Some(row(5)), Some(created), &both);
    assert_eq!((d.action, d.again, d.ended), (Action::Remove, true, vec![id(1)]));
    let agent = MirrorFacts { origin: Origin::Agent, ..created };
    let d = settle(Some(row(5)), Some(agent), &both);
    assert_eq!((d.action, d.conflict), (Action::Keep, true));
}

#[test]
fn after_a_gap_a_put_that_was_announced_since_the_snapshot_is_waited_for() {
    let gap = Trigger::Pass { gap: Some(Gap { since: 3, ok_until: 4 }), may_remove: true };
    let d = decide(Some(&row(5)), None, &NameFacts::default(), &[], &[(id(1), Method::Put)], gap);
    assert_eq!((d.action, d.undecided), (Action::Keep, true));
}

#[test]
fn after_a_gap_what_an_open_change_keeps_from_being_decided_is_said_to_be_undecided() {
    let gap = Trigger::Pass { gap: Some(Gap { since: 3, ok_until: 4 }), may_remove: true };
    let name = NameFacts::default();
    let pending = [intent(1, Method::Delete, Known::Pending, was(4))];
    let d = decide(Some(&row(5)), Some(&linked(4)), &name, &pending, &[(id(1), Method::Delete)], gap);
    assert_eq!((d.action, d.undecided), (Action::Keep, true));
    let done = [intent(1, Method::Delete, Known::Ok, was(4))];
    let d = decide(Some(&row(5)), Some(&linked(4)), &name, &done, &[(id(1), Method::Delete)], gap);
    assert_eq!((d.action, d.again), (Action::Remove, true));
}

#[test]
fn a_post_waits_while_a_deletion_of_fairleads_own_row_is_open() {
    let created = MirrorFacts { origin: Origin::Created, incarnation: None, sent: false, deleting: false };
    let both = [intent(1, Method::Delete, Known::Pending, was(4)), intent(2, Method::Post, Known::Ok, was(4))];
    assert_eq!(settle(Some(row(5)), Some(created), &both).ended, vec![]);
}

fn any_pre() -> impl Strategy<Value = PreImage> {
    prop_oneof![Just(PreImage::None), Just(PreImage::Unknown), (1_i64..4).prop_map(was)]
}

fn any_intent() -> impl Strategy<Value = IntentFacts> {
    let method = prop_oneof![Just(Method::Post), Just(Method::Put), Just(Method::PutNamed), Just(Method::Delete)];
    let known = prop_oneof![Just(Known::Pending), Just(Known::Ok), Just(Known::Refused), Just(Known::Unknown)];
    (0_u128..50, method, known, any_pre(), any::<bool>(), any::<bool>())
        .prop_map(|(n, method, known, pre, past_window, late)| IntentFacts { past_window, late, ..intent(n, method, known, pre) })
}

fn any_mirror() -> impl Strategy<Value = MirrorFacts> {
    let origin =
        prop_oneof![Just(Origin::Interceptor), Just(Origin::Scanner), Just(Origin::Migrated), Just(Origin::Created), Just(Origin::Agent)];
    (origin, proptest::option::of((1_i64..4).prop_map(Incarnation)), any::<bool>(), any::<bool>())
        .prop_map(|(origin, incarnation, sent, deleting)| MirrorFacts { origin, incarnation, sent, deleting })
}

fn any_trigger() -> impl Strategy<Value = Trigger> {
    let gap = proptest::option::of((0_i64..5, 0_i64..5).prop_map(|(since, ok_until)| Gap { since, ok_until }));
    prop_oneof![Just(Trigger::Intents), (gap, any::<bool>()).prop_map(|(gap, may_remove)| Trigger::Pass { gap, may_remove })]
}

proptest! {
    #[test]
    fn whatever_is_read(
        r in proptest::option::of((1_i64..4, any::<bool>(), any::<bool>())),
        m in proptest::option::of(any_mirror()),
        claimed in proptest::option::of((1_i64..4).prop_map(Incarnation)),
        intents in proptest::collection::vec(any_intent(), 0..4),
        trigger in any_trigger(),
    ) {
        let r = r.map(|(i, kubernetes, differs)| RowFacts { kubernetes, differs: differs && m.is_some(), ..row(i) });
        let name = NameFacts { claimed, ..NameFacts::default() };
        let d = decide(r.as_ref(), m.as_ref(), &name, &intents, &[], trigger);
        let known: Vec<&IntentFacts> = intents.iter().filter(|i| d.ended.contains(&i.id)).collect();
        // Nothing that may still happen is ended, and nothing is brought in twice or without a row.
        prop_assert!(known.iter().all(|i| intents.iter().any(|j| j.id == i.id && j.known != Known::Pending)));
        if let Action::Insert { .. } = d.action {
            prop_assert!(m.is_none() && r.is_some_and(|r| r.kubernetes && claimed != Some(r.incarnation)));
        }
        match m {
            // What is not Clouddriver's is Clouddriver's to touch by one way only.
            Some(m) if m.origin == Origin::Agent => prop_assert_eq!(d.action, Action::Keep),
            Some(m) if m.origin == Origin::Created => prop_assert!(matches!(d.action, Action::Keep | Action::Remove)),
            // The state of one life is carried to the next by relinking only, and never out of a deletion.
            Some(m) if d.action == Action::Update => prop_assert_eq!(m.incarnation, r.map(|r| r.incarnation)),
            Some(m) if d.action == Action::Relink => prop_assert!(!m.deleting || m.incarnation.is_none()),
            _ => {}
        }
        if d.action == Action::Remove {
            prop_assert!(!intents.iter().any(|i| i.method == Method::Post && i.known == Known::Ok && d.ended.contains(&i.id)
                && r.is_some_and(|r| r.kubernetes && claims(i, &r, &name))), "a POST ended with the removal of what it should bring in");
        }
    }
}
