use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

fn held(generation: i64) -> Held {
    Held { generation, properties: None, state: HeldState::Watching, facts: None }
}

fn agent(name: &str, epoch: u64, zone: &str, accounts: &[(&str, i64)]) -> Agent {
    Agent {
        session: SessionId { agent: AgentId(name.into()), epoch },
        zone: ZoneId(zone.into()),
        version: "1".into(),
        since: SystemTime::UNIX_EPOCH,
        replicas: None,
        accounts: accounts.iter().map(|(name, generation)| ((*name).into(), held(*generation))).collect(),
    }
}

fn session(name: &str, epoch: u64) -> SessionId {
    SessionId { agent: AgentId(name.into()), epoch }
}

fn names(agents: &[Arc<Agent>]) -> Vec<&str> {
    agents.iter().map(|a| &*a.session.agent.0).collect()
}

fn change(index: &mut Index<()>) -> (bool, bool, Vec<String>) {
    let changes = index.changes();
    assert_eq!(changes.len(), 1, "{changes:?}");
    (changes[0].connected, changes[0].registered, changes[0].accounts.iter().map(|a| a.to_string()).collect())
}

#[test]
fn a_newer_session_takes_over_and_the_end_of_the_older_changes_nothing() {
    let mut index = Index::default();
    assert!(index.register(agent("a", 1, "z", &[("x", 1), ("y", 1)]), ()).is_none());
    index.changes();
    let before = index.register(agent("a", 2, "z2", &[("y", 1)]), ()).unwrap().0;
    assert_eq!(before.session.epoch, 1);
    assert_eq!(change(&mut index), (true, true, vec!["x".to_owned()]));
    assert!(index.remove(&session("a", 1)).is_none());
    assert!(!index.apply(&session("a", 1), vec![("y".into(), Effect::Gone { generation: 0 })]));
    assert!(!index.has_changes());
    assert_eq!((names(&index.holders("y")), names(&index.holders("x"))), (vec!["a"], vec![]));
    assert_eq!(index.zones(), [ZoneId("z2".into())]);
}

#[test]
fn who_connected_first_comes_first() {
    let mut index = Index::default();
    for (epoch, name) in [(5, "c"), (2, "b"), (9, "a")] {
        index.register(agent(name, epoch, "z", &[("x", 1)]), ());
    }
    assert_eq!((names(&index.of_zone(&ZoneId("z".into()))), names(&index.holders("x"))), (vec!["b", "c", "a"], vec!["b", "c", "a"]));
}

#[test]
fn changes_of_an_agent_are_told_once_together() {
    let mut index = Index::default();
    index.register(agent("a", 1, "z", &[("x", 1)]), ());
    index.changes();
    let s = session("a", 1);
    assert!(index.apply(&s, vec![("y".into(), Effect::Has(held(2)))]));
    assert!(index.apply(&s, vec![("x".into(), Effect::Gone { generation: 1 }), ("y".into(), Effect::Role { watch: false })]));
    assert_eq!(change(&mut index), (true, false, vec!["x".to_owned(), "y".to_owned()]));
    // What changes nothing is no change.
    assert!(index.apply(&s, vec![("y".into(), Effect::Role { watch: false }), ("y".into(), Effect::Gone { generation: 9 })]));
    assert!(!index.has_changes());
    index.remove(&s).unwrap();
    assert_eq!(change(&mut index), (false, false, vec!["y".to_owned()]));
    assert_eq!(index.zones(), []);
}

#[test]
fn a_static_account_goes_with_its_agents_own_word_only() {
    let mut index = Index::default();
    let mut one = agent("a", 1, "z", &[("x", 0)]);
    one.accounts.get_mut("x").unwrap().properties = Some("{}".into());
    index.register(one, ());
    index.apply(&session("a", 1), vec![("x".into(), Effect::Gone { generation: 0 })]);
    assert_eq!(names(&index.holders("x")), ["a"]);
}

#[test]
fn changes_that_nobody_asks_for_have_a_bound() {
    let mut index = Index::default();
    let crowded = |index: &Index<()>, name: &str| index.is_crowded(&AgentId(name.into()), 2, 3);
    index.register(agent("a", 1, "z", &[("x", 1), ("y", 1), ("w", 1)]), ());
    index.register(agent("b", 2, "z", &[]), ());
    assert!(!crowded(&index, "a") && crowded(&index, "c"));
    index.register(agent("a", 3, "z", &[]), ());
    assert!(crowded(&index, "a"));
    index.changes();
    assert!(!crowded(&index, "a") && !crowded(&index, "c"));
}

#[test]
fn what_has_gone_before_a_generation_came_is_not_that_generation() {
    let mut index = Index::default();
    index.register(agent("a", 1, "z", &[("old", 1), ("new", 2)]), ());
    let gone = |name: &str| (Arc::from(name), Effect::GoneBefore { generation: 2 });
    assert!(index.apply(&session("a", 1), vec![gone("old"), gone("new"), gone("none")]));
    assert_eq!((index.holders("old").len(), index.holders("new").len()), (0, 1));
}

proptest! {
    /// The indexes say what the agents say, whatever happened.
    #[test]
    fn indexes_agree_with_the_agents(steps in proptest::collection::vec((0_u8..4, 0_u8..4, 0_u8..3, proptest::collection::vec(0_u8..5, 0..4)), 0..60)) {
        let mut index = Index::default();
        let mut epoch = 0;
        for (what, who, zone, accounts) in steps {
            let name = format!("agent{who}");
            let present = index.get(&AgentId(name.as_str().into())).map_or(0, |a| a.session.epoch);
            let texts: Vec<String> = accounts.iter().map(|a| format!("x{a}")).collect();
            match what {
                0 => {
                    epoch += 1;
                    let has: Vec<_> = texts.iter().map(|t| (t.as_str(), 1)).collect();
                    index.register(agent(&name, epoch, &format!("z{zone}"), &has), ());
                }
                1 => drop(index.remove(&session(&name, present))),
                2 => drop(index.apply(&session(&name, present), texts.iter().map(|t| (t.as_str().into(), Effect::Has(held(2)))).collect())),
                _ => drop(index.apply(&session(&name, present), texts.iter().map(|t| (t.as_str().into(), Effect::Gone { generation: 0 })).collect())),
            }
            let agents: Vec<Arc<Agent>> = index.all().map(|(a, ())| a.clone()).collect();
            for zone in 0..3 {
                let zone = ZoneId(format!("z{zone}").as_str().into());
                prop_assert_eq!(index.of_zone(&zone).len(), agents.iter().filter(|a| a.zone == zone).count());
                prop_assert_eq!(index.zones().contains(&zone), agents.iter().any(|a| a.zone == zone));
            }
            for account in 0..5 {
                let account = format!("x{account}");
                let holders = index.holders(&account);
                prop_assert_eq!(holders.len(), agents.iter().filter(|a| a.accounts.contains_key(account.as_str())).count());
                prop_assert!(holders.iter().all(|a| a.accounts.contains_key(account.as_str())));
            }
        }
    }
}
