//! Which agent of a zone is asked to have an account. All of them may have it, and any may be at fault where one could not: each has its turn.

use std::sync::Arc;

use crate::channel::{Agent, AgentId};

/// Agents of a zone that one attempt asks, one after another; the next attempt goes on behind them.
pub(super) const IN_ONE_ATTEMPT: usize = 8;

/// The agent of a zone (the first to connect first) whose turn it is: the first to connect, or the one that follows the last that could not
/// have the account. By names, so that each has its turn whoever connects anew meanwhile.
pub(super) fn in_turn<'a>(zone: &'a [Arc<Agent>], passed: Option<&AgentId>) -> Option<&'a Arc<Agent>> {
    let Some(passed) = passed else { return zone.first() };
    let by_name = |a: &&Arc<Agent>| a.session.agent.clone();
    zone.iter().filter(|a| a.session.agent > *passed).min_by_key(by_name).or_else(|| zone.iter().min_by_key(by_name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::SystemTime;

    use super::*;
    use crate::channel::{SessionId, ZoneId};

    fn zone(names: &[&str]) -> Vec<Arc<Agent>> {
        let agent = |(epoch, name): (usize, &&str)| {
            Arc::new(Agent {
                session: SessionId { agent: AgentId((*name).into()), epoch: epoch as u64 },
                zone: ZoneId("z".into()),
                version: "1".into(),
                since: SystemTime::UNIX_EPOCH,
                replicas: None,
                accounts: BTreeMap::new(),
            })
        };
        names.iter().enumerate().map(agent).collect()
    }

    fn next(names: &[&str], passed: Option<&str>) -> Option<String> {
        in_turn(&zone(names), passed.map(|p| AgentId(p.into())).as_ref()).map(|a| a.session.agent.0.to_string())
    }

    #[test]
    fn the_first_to_connect_is_asked_and_after_one_that_could_not_the_next() {
        assert_eq!(next(&["b", "a", "c"], None).as_deref(), Some("b"));
        assert_eq!(next(&["b", "a", "c"], Some("b")).as_deref(), Some("c"));
        assert_eq!(next(&["b", "a", "c"], Some("c")).as_deref(), Some("a"));
        assert_eq!(next(&["b"], Some("b")).as_deref(), Some("b"), "there is no other");
        assert_eq!(next(&[], Some("b")), None);
    }

    #[test]
    fn each_has_its_turn_though_one_that_could_not_connects_anew_or_is_gone() {
        // The one at fault connects anew after each time, and is the last to have connected.
        let (mut names, mut passed, mut asked) = (vec!["a", "b", "c"], None, Vec::new());
        for _ in 0..3 {
            let now = next(&names, passed).unwrap();
            names.sort_by_key(|n| *n == now);
            passed = names.last().copied();
            asked.push(now);
        }
        assert_eq!(asked, ["a", "b", "c"]);
        assert_eq!(next(&["c", "a"], Some("b")).as_deref(), Some("c"), "it is gone");
    }
}
