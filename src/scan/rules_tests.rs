use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// An account of the model: what Clouddriver has, what the mirror has, what a user did.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    account: Account,
    touched: bool,
}

type World = BTreeMap<u8, Known>;

/// One scan as it is built: judged one after the other, and done at once.
fn scan(world: &mut World, max: Option<u32>, batch: u32) -> (u32, u64) {
    let (mut budget, mut done) = (Budget::new(max, batch), 0);
    for known in world.values_mut() {
        let verdict = judge(&known.account);
        if let (true, Some(m)) = (verdict.refresh, &mut known.account.mirrored) {
            m.differs = false;
            known.touched = true;
        }
        let Some(migrate) = verdict.migrate else { continue };
        if !budget.admits(migrate) {
            continue;
        }
        budget.spend(migrate);
        done += 1;
        known.touched = true;
        known.account.mirrored = Some(Mirrored { follows: true, status: Some(Status::ToMigrate), wanted: Wanted::Active, differs: false });
    }
    (done, budget.held_back)
}

/// The rules of the documents, one sentence each, and no thought given to order.
fn is_to_be_migrated(known: &Account) -> bool {
    let at_rest = |m: Mirrored| m.follows && m.status == Some(Status::Inactive) && m.wanted == Wanted::Inactive;
    known.matched && known.readable && !known.by_hand && known.mirrored.is_none_or(at_rest)
}

fn status() -> impl Strategy<Value = Option<Status>> {
    prop_oneof![3 => Just(Some(Status::Inactive)), 4 => proptest::sample::select(&Status::ALL[..]).prop_map(Some), 1 => Just(None)]
}

prop_compose! {
    fn mirrored()(follows in prop::bool::weighted(0.8), status in status(), wanted in proptest::sample::select(vec![Wanted::Active, Wanted::Inactive, Wanted::Deleted]), differs: bool) -> Mirrored {
        Mirrored { follows, status, wanted, differs }
    }
}

prop_compose! {
    fn account()(matched: bool, readable in prop::bool::weighted(0.9), by_hand in prop::bool::weighted(0.2), mirrored in prop::option::of(mirrored())) -> Known {
        Known { account: Account { matched, readable, by_hand, mirrored }, touched: false }
    }
}

fn activated(before: &World, after: &World) -> u32 {
    let was_there = |(name, known): (&u8, &Known)| before[name].account.mirrored.is_some() && before[name].account != known.account;
    let active = |known: &Known| known.account.mirrored.is_some_and(|m| m.status == Some(Status::ToMigrate));
    let was = |name: &u8| before[name].account.mirrored.is_some_and(|m| m.status == Some(Status::ToMigrate));
    u32::try_from(after.iter().filter(|(name, known)| was_there((name, known)) && active(known) && !was(name)).count()).unwrap_or(u32::MAX)
}

proptest! {
    #[test]
    fn scans_come_to_what_the_rules_say_within_their_limits_and_then_do_nothing(
        world in prop::collection::btree_map(any::<u8>(), account(), 0..24),
        max in prop::option::of(1..6_u32),
        batch in 1..6_u32,
    ) {
        let wanted: Vec<u8> = world.iter().filter(|(_, k)| is_to_be_migrated(&k.account)).map(|(name, _)| *name).collect();
        let mut now = world.clone();
        for _ in 0..world.len() + 1 {
            let before = now.clone();
            let left = before.values().filter(|k| is_to_be_migrated(&k.account)).count();
            let (done, held_back) = scan(&mut now, max, batch);
            prop_assert!(max.is_none_or(|max| done <= max));
            prop_assert!(activated(&before, &now) <= batch);
            prop_assert_eq!(done as usize + held_back as usize, left);
            prop_assert!(left == 0 || done > 0, "a scan with something to do does something");
        }
        for (name, known) in &now {
            let was = &world[name];
            let stale = was.account.mirrored.is_some_and(|m| m.follows && m.differs) && was.account.readable;
            prop_assert_eq!(known.touched, wanted.contains(name) || stale, "{:?}", was);
            if wanted.contains(name) {
                prop_assert_eq!(known.account.mirrored.and_then(|m| m.status), Some(Status::ToMigrate));
            } else {
                // Left as it is, but for its definition.
                prop_assert_eq!(known.account.mirrored.map(|m| (m.status, m.wanted)), was.account.mirrored.map(|m| (m.status, m.wanted)));
            }
        }
        let rest = now.clone();
        prop_assert_eq!(scan(&mut now, max, batch), (0, 0));
        prop_assert_eq!(now, rest);
    }
}

fn inactive() -> Mirrored {
    Mirrored { follows: true, status: Some(Status::Inactive), wanted: Wanted::Inactive, differs: false }
}

#[test]
fn what_a_user_took_out_by_hand_is_left_so_whether_its_row_is_there_or_not() {
    let account = Account { matched: true, readable: true, by_hand: true, mirrored: None };
    assert_eq!(judge(&account), Verdict { refresh: false, migrate: None, why: Why::ByHand });
    let there = Account { mirrored: Some(Mirrored { differs: true, ..inactive() }), ..account };
    assert_eq!(judge(&there), Verdict { refresh: true, migrate: None, why: Why::ByHand });
}

#[test]
fn what_failed_for_good_waits_for_a_user_and_what_no_longer_matches_stays() {
    let row = |status, wanted| Some(Mirrored { status: Some(status), wanted, ..inactive() });
    let account = Account { matched: true, readable: true, by_hand: false, mirrored: row(Status::Failed, Wanted::Active) };
    assert_eq!(judge(&account).migrate, None);
    let active = Account { matched: false, mirrored: row(Status::Active, Wanted::Active), ..account };
    assert_eq!(judge(&active), Verdict { refresh: false, migrate: None, why: Why::NotMatched });
}
