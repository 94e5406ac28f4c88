//! Accounts of agents' own configurations: they come and go with those, and show what those say.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::{Next, Plan, Sight, held, is_static, roles, standing, upkeep, write};
use crate::account::Status;
use crate::channel::{Agent, HeldState};
use crate::dispatch::identity;
use crate::lifecycle::Event;
use crate::store::states::{Due, Extra, Message, Zone};

/// Plans.
pub(super) fn plan(s: &Sight<'_>) -> Plan {
    let mut plan = plan_state(s);
    if let Some(extra) = as_configured(s, &plan) {
        plan.next = match plan.next {
            Next::Write(event, planned) => Next::Write(event, Box::new(Extra { zone: extra.zone, props: extra.props, ..*planned })),
            Next::Nothing => Next::Write(None, Box::new(extra)),
            other => other,
        };
    }
    plan
}

/// What the configuration of the agent that has it says otherwise than the row: it was changed there.
fn as_configured(s: &Sight<'_>, plan: &Plan) -> Option<Extra> {
    let row = s.row;
    let is_known = |a: &&Arc<Agent>| {
        let refused = plan.refused.iter().any(|(agent, _)| *agent == a.session.agent);
        !refused && held(a, &row.name).is_some_and(|h| h.properties.is_some() && h.state != HeldState::Connecting)
    };
    let of_zone = |a: &&Arc<Agent>| row.zone.as_deref() == Some(&*a.zone.0);
    let agent = s.holders.iter().filter(is_known).find(of_zone).or_else(|| s.holders.iter().find(is_known))?;
    let zone = if of_zone(&agent) { Zone::Keep } else { Zone::Given(Some(agent.zone.0.to_string())) };
    let properties = held(agent, &row.name)?.properties.as_deref()?;
    // A database may write JSON in its own way.
    let same = |one: &str, other: &str| one == other || parsed(one).is_some_and(|one| Some(one) == parsed(other));
    let props = if row.props.as_deref().is_some_and(|old| same(old, properties)) { None } else { Some(properties.to_owned()) };
    (zone != Zone::Keep || props.is_some()).then(|| Extra { due: Due::Never, zone, props, ..Extra::default() })
}

fn parsed(text: &str) -> Option<Value> {
    serde_json::from_str(text).ok()
}

fn plan_state(s: &Sight<'_>) -> Plan {
    let (row, limits) = (s.row, s.limits);
    let having: Vec<Arc<Agent>> = s.holders.iter().filter(|a| is_static(a, &row.name)).cloned().collect();
    let all = standing(s, &having);
    let mut plan = Plan { roles: roles(s, &all.good), ..Plan::default() };
    plan.refused = all.refused.iter().map(|(a, why)| (a.session.agent.clone(), why.clone())).collect();
    let connections = i64::try_from(all.good.len()).unwrap_or(i64::MAX);
    if let Some(good) = all.good.first() {
        let learned = held(good, &row.name).and_then(|h| h.facts.as_deref()).map(identity::learned);
        let learned = learned.filter(|l| *l != row.learned && !l.host.is_empty());
        plan.next = if row.state.status == Status::Active {
            upkeep(row, connections, learned, plan.refused.first().map(|(_, why)| why.clone()))
        } else {
            write(Event::Back, Extra { due: Due::Never, connections: Some(connections), learned, ..Extra::default() })
        };
        return plan;
    }
    if let (Some((_, why)), false) = (all.failed.first(), all.coming) {
        if row.state.status != Status::Failed {
            let text = format!("the cluster does not let the agent in: {why}");
            let extra = Extra { message: Message::Set(text), due: Due::Never, connections: Some(0), ..Extra::default() };
            plan.next = write(Event::ClusterLost, extra);
        }
        return plan;
    }
    if row.state.status == Status::Orphaned {
        let since = u64::try_from(row.now - row.since.unwrap_or(row.now)).unwrap_or(0);
        let left = limits.cleanup.saturating_sub(Duration::from_millis(since));
        plan.next = match (left.is_zero(), row.due) {
            (true, _) => write(Event::Abandoned, Extra::default()),
            (false, Some(due)) if due > row.now => Next::Nothing,
            (false, _) => Next::Later(left),
        };
        return plan;
    }
    plan.missing = true;
    if s.missing.is_some_and(|since| since >= limits.grace) {
        let text = "no agent that has it in its configuration is connected".to_owned();
        let extra = Extra { message: Message::Set(text), due: Due::In(limits.cleanup), connections: Some(0), ..Extra::default() };
        plan.next = write(Event::NoAgentLeft, extra);
    } else if row.connections != 0 {
        plan.next = Next::Write(None, Box::new(Extra { due: Due::Never, connections: Some(0), ..Extra::default() }));
    }
    plan
}
