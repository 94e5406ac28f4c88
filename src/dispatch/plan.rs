//! What a row asks for, given who is connected. Pure: everything it looks at is in [`Sight`], and nothing happens here.
//!
//! Level-triggered: the same question may be asked at any time, and asked twice it has the same answer. A plan is worth something only
//! while the row is as it was read: what is written of it is written by compare-and-set.

mod own;

use std::sync::Arc;
use std::time::Duration;

use super::identity;
use super::turns::in_turn;
use crate::account::Status;
use crate::channel::{Agent, AgentId, Held, HeldState, SessionId};
use crate::config::Limits;
use crate::lifecycle::{Event, follow};
use crate::store::states::{Due, Extra, Message, StateRow, Zone};

/// All that a plan is made from.
pub struct Sight<'a> {
    /// The row.
    pub row: &'a StateRow,
    /// Agents of its zone, the first to connect first.
    pub zone: Vec<Arc<Agent>>,
    /// Who has an account of this name, the first to connect first.
    pub holders: Vec<Arc<Agent>>,
    /// The agent of each zone whose turn it is, where the row has no zone or only one that was found.
    pub firsts: Vec<Arc<Agent>>,
    /// The last agent of its zone that could not have it, since one had it.
    pub passed: Option<AgentId>,
    /// The operation that the row names is under way in this process.
    pub under_way: bool,
    /// The owner that the row names lives, and is not this process.
    pub owned_elsewhere: bool,
    /// Agents to which something about this account is on its way.
    pub busy: Vec<Arc<Agent>>,
    /// Agents that failed with this generation lately.
    pub failed_lately: Vec<FailedLately>,
    /// For how long it has been without an agent.
    pub missing: Option<Duration>,
    /// How often and how long.
    pub limits: &'a Limits,
}

/// An agent that could not have an account, and does not get it again before some time has passed.
#[derive(Clone, Debug)]
pub struct FailedLately {
    /// Who.
    pub agent: AgentId,
    /// How it says it.
    pub message: String,
    /// It reached another cluster.
    pub refused: bool,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    /// Who is to let go of it, of this generation (0: whichever).
    pub let_go: Vec<(Arc<Agent>, i64)>,
    /// Who is to get it as it is, to watch or to stand by.
    pub give: Vec<(Arc<Agent>, bool)>,
    /// Who is to watch, and who no longer.
    pub roles: Vec<(Arc<Agent>, bool)>,
    /// It has no agent: the grace period runs.
    pub missing: bool,
    /// Accounts that are refused, and why.
    pub refused: Vec<(AgentId, String)>,
    /// What is written.
    pub next: Next,
}

/// What becomes of the row.
#[derive(Debug, Default)]
pub enum Next {
    /// Nothing: it is as it should be, or under way. Its due time goes unless it lies ahead.
    #[default]
    Nothing,
    /// It is looked at again after this time.
    Later(Duration),
    /// Something of it is written.
    Write(Option<Event>, Box<Extra>),
    /// It is handed to these agents: one of its zone, or one of each zone.
    Offer(Vec<Arc<Agent>>),
    /// These are to let go before it may go on.
    TakeBack(Vec<Arc<Agent>>),
}

fn write(event: Event, extra: Extra) -> Next {
    Next::Write(Some(event), Box::new(extra))
}

/// Plans.
pub fn plan(s: &Sight<'_>) -> Plan {
    let mut plan = plan_status(s);
    if s.row.state.dynamic && plan.refused.is_empty() {
        plan.refused = namesakes(s);
    }
    plan
}

/// Of such an agent, to follow its name.
const NAMESAKE: &str =
    "has an account of this name in its own configuration: it is refused, the name belongs to an account of Clouddriver or of the API";

/// Says of an account at rest that an agent's own is refused because of it, and no more when that is gone. Of others it is told with what
/// else there is to tell.
fn tell_namesakes(s: &Sight<'_>) -> Next {
    let told = s.row.error_message.as_deref();
    let message = match namesakes(s).into_iter().next() {
        Some((_, why)) if told != Some(why.as_str()) => Message::Set(why),
        None if told.is_some_and(|told| told.ends_with(NAMESAKE)) => Message::Clear,
        _ => return Next::Nothing,
    };
    Next::Write(None, Box::new(Extra { due: Due::Never, message, ..Extra::default() }))
}

/// Agents that have an account of this dynamic one's name in their own configuration.
fn namesakes(s: &Sight<'_>) -> Vec<(AgentId, String)> {
    let told = |agent: &Arc<Agent>| {
        let why = format!("agent {} (zone {}) {NAMESAKE}", agent.session.agent, agent.zone);
        (agent.session.agent.clone(), why)
    };
    s.holders.iter().filter(|a| is_static(a, &s.row.name)).map(told).collect()
}

fn is_static(agent: &Agent, name: &str) -> bool {
    held(agent, name).is_some_and(|h| h.properties.is_some())
}

fn plan_status(s: &Sight<'_>) -> Plan {
    let state = &s.row.state;
    if let Some(event) = follow(state) {
        return Plan { next: write(event, Extra::default()), ..Plan::default() };
    }
    if !state.dynamic {
        return own::plan(s);
    }
    match state.status {
        Status::Inactive => Plan { let_go: strays(s, |_| true), next: tell_namesakes(s), ..Plan::default() },
        Status::Failed => Plan { let_go: strays(s, |_| true), next: retry(s), ..Plan::default() },
        Status::ToMigrate => offer(s),
        Status::Activating | Status::Deactivating => Plan { next: under_way(s).unwrap_or_else(lost), ..Plan::default() },
        Status::Active | Status::Orphaned => tend(s),
        Status::ToDeactivate | Status::Deleting => {
            let next = match (under_way(s), targets(s)) {
                (Some(next), _) => next,
                (None, agents) if agents.is_empty() => write(Event::NoAgentLeft, gone(state.status)),
                (None, agents) => Next::TakeBack(agents),
            };
            Plan { next, ..Plan::default() }
        }
        Status::DeleteFailed if targets(s).is_empty() => Plan { next: write(Event::NoAgentLeft, Extra::default()), ..Plan::default() },
        Status::DeleteFailed => Plan { next: retry(s), ..Plan::default() },
    }
}

/// What is written when it came to rest with no agent that could be asked.
fn gone(status: Status) -> Extra {
    match status {
        Status::Deleting => Extra::default(),
        _ => Extra { due: Due::Never, connections: Some(0), ..Extra::default() },
    }
}

/// Whether it is due now.
fn due(row: &StateRow) -> bool {
    row.due.is_some_and(|due| due <= row.now)
}

fn after(row: &StateRow) -> Option<Duration> {
    row.due.and_then(|due| u64::try_from(due - row.now).ok()).filter(|ms| *ms > 0).map(Duration::from_millis)
}

/// An operation that somebody lives for is left alone.
fn under_way(s: &Sight<'_>) -> Option<Next> {
    if s.under_way || (s.owned_elsewhere && s.row.operation.is_some()) {
        return Some(if due(s.row) { Next::Later(s.limits.wait) } else { Next::Nothing });
    }
    None
}

fn lost() -> Next {
    let text = "the replica of Fairlead that had asked an agent is gone, and its answer with it: it is asked again";
    write(Event::AgentLost, Extra { message: Message::Set(text.into()), ..Extra::default() })
}

fn retry(s: &Sight<'_>) -> Next {
    if s.row.failed_count > i64::from(s.limits.max_retries) {
        return Next::Nothing;
    }
    match (due(s.row), s.row.due) {
        (true, _) => write(Event::RetryDue, Extra::default()),
        (false, Some(_)) => Next::Nothing,
        // Written by somebody who did not know of retries.
        (false, None) if s.row.state.status == Status::DeleteFailed => Next::Later(s.limits.retry),
        (false, None) => Next::Nothing,
    }
}

/// Holders of a dynamic account of this name that are to let go of it, unless something is on its way to them.
fn strays(s: &Sight<'_>, which: impl Fn(&Agent) -> bool) -> Vec<(Arc<Agent>, i64)> {
    s.holders
        .iter()
        .filter(|a| which(a) && !is_busy(s, &a.session))
        .filter_map(|a| held(a, &s.row.name).filter(|h| h.properties.is_none()).map(|_| (a.clone(), 0)))
        .collect()
}

fn held<'a>(agent: &'a Agent, name: &str) -> Option<&'a Held> {
    agent.accounts.get(name)
}

fn is_busy(s: &Sight<'_>, session: &SessionId) -> bool {
    s.busy.iter().any(|a| a.session == *session)
}

/// Everyone who may have it: who says so, its zone, and those to whom it is on its way.
fn targets(s: &Sight<'_>) -> Vec<Arc<Agent>> {
    let mut all: Vec<Arc<Agent>> = Vec::new();
    for agent in s.holders.iter().chain(&s.zone).chain(&s.busy) {
        if !is_static(agent, &s.row.name) && !all.iter().any(|a| a.session == agent.session) {
            all.push(agent.clone());
        }
    }
    all
}

fn offer(s: &Sight<'_>) -> Plan {
    let row = s.row;
    let let_go = match &row.zone {
        Some(zone) => strays(s, |a| *a.zone.0 != **zone),
        None => Vec::new(),
    };
    if after(row).is_some() {
        return Plan { let_go, ..Plan::default() };
    }
    let agents = if row.zone.is_some() { in_turn(&s.zone, s.passed.as_ref()).cloned().into_iter().collect() } else { s.firsts.clone() };
    if !agents.is_empty() {
        return Plan { let_go, next: Next::Offer(agents), ..Plan::default() };
    }
    // A zone that was only found is waited for as long as an agent of an ACTIVE account is; then any other will do.
    let missing = row.zone_found && row.zone.is_some();
    if missing && !s.firsts.is_empty() && s.missing.is_some_and(|since| since >= s.limits.grace) {
        let extra = Extra { zone: Zone::Forget, message: Message::Clear, ..Extra::default() };
        return Plan { let_go, missing, next: Next::Write(None, Box::new(extra)), ..Plan::default() };
    }
    let awaited = awaited(row.zone.as_deref());
    // Said once; an agent that comes wakes it.
    let next = if row.error_message.as_deref() == Some(awaited.as_str()) {
        Next::Nothing
    } else {
        Next::Write(None, Box::new(Extra { due: Due::Never, message: Message::Set(awaited), ..Extra::default() }))
    };
    Plan { let_go, missing, next, ..Plan::default() }
}

/// How the agents stand that may have it.
struct Standing<'a> {
    /// Has this generation, and has reached its cluster.
    good: Vec<&'a Arc<Agent>>,
    /// Something is on its way, or the cluster is being reached.
    coming: bool,
    /// The cluster no longer lets these in, and how they say it.
    failed: Vec<(&'a Arc<Agent>, String)>,
    refused: Vec<(&'a Arc<Agent>, String)>,
}

fn standing<'a>(s: &Sight<'a>, agents: &'a [Arc<Agent>]) -> Standing<'a> {
    let mut all = Standing { good: vec![], coming: false, failed: vec![], refused: vec![] };
    for agent in agents {
        let busy = is_busy(s, &agent.session);
        all.coming |= busy;
        let Some(h) = held(agent, &s.row.name) else { continue };
        if s.row.state.dynamic && (h.properties.is_some() || h.generation != s.row.generation) {
            continue;
        }
        if let Some(facts) = &h.facts
            && identity::differ(&s.row.learned.identity, &identity::of(facts))
        {
            let why = format!(
                "agent {} (zone {}) has an account of this name for another cluster, at {}: it is refused, the account stays that of {}",
                agent.session.agent, agent.zone, facts.host, s.row.learned.host
            );
            all.refused.push((agent, why));
            continue;
        }
        match &h.state {
            HeldState::Connecting => all.coming = true,
            HeldState::Standby | HeldState::Watching => all.good.push(agent),
            HeldState::Failed(f) => {
                all.failed.push((agent, format!("agent {} (zone {}): {}", agent.session.agent, agent.zone, f.message)));
            }
        }
    }
    all
}

/// Exactly one watches: the first of those that do, or the first to connect.
fn roles(s: &Sight<'_>, good: &[&Arc<Agent>]) -> Vec<(Arc<Agent>, bool)> {
    let watches = |a: &Arc<Agent>| held(a, &s.row.name).is_some_and(|h| h.state == HeldState::Watching);
    let chosen = good.iter().find(|a| watches(a)).or_else(|| good.first());
    good.iter()
        .filter(|a| !is_busy(s, &a.session))
        .filter_map(|a| {
            let is_chosen = chosen.is_some_and(|c| c.session == a.session);
            (is_chosen != watches(a)).then(|| ((*a).clone(), is_chosen))
        })
        .collect()
}

/// ACTIVE, ORPHANED: each agent of the zone has it, one watches it.
fn tend(s: &Sight<'_>) -> Plan {
    let (row, limits) = (s.row, s.limits);
    let zone = row.zone.clone().unwrap_or_default();
    let all = standing(s, &s.zone);
    let orphaned = row.state.status == Status::Orphaned;
    let mut plan = Plan { let_go: strays(s, |a| *a.zone.0 != *zone), roles: roles(s, &all.good), ..Plan::default() };
    plan.refused = namesakes(s);
    for (agent, why) in &all.refused {
        if !is_busy(s, &agent.session) {
            plan.let_go.push(((*agent).clone(), 0));
        }
        plan.refused.push((agent.session.agent.clone(), why.clone()));
    }
    // It has let go and is not asked again for a while: it stays refused, and told.
    for f in s.failed_lately.iter().filter(|f| f.refused) {
        if !plan.refused.iter().any(|(a, _)| *a == f.agent) {
            plan.refused.push((f.agent.clone(), f.message.clone()));
        }
    }
    let watching = |a: &Agent| held(a, &row.name).is_some_and(|h| h.state == HeldState::Watching);
    let somebody_watches = s.zone.iter().any(|a| watching(a));
    for agent in &s.zone {
        let h = held(agent, &row.name);
        let has = h.is_some_and(|h| h.properties.is_some() || h.generation == row.generation);
        let not_now = all.refused.iter().any(|(a, _)| a.session == agent.session)
            || s.failed_lately.iter().any(|f| f.agent == agent.session.agent)
            || is_busy(s, &agent.session);
        if !has && !not_now {
            let first = !somebody_watches && !all.coming && all.good.is_empty() && plan.give.is_empty();
            plan.give.push((agent.clone(), watching(agent) || first));
        }
    }
    let connections = i64::try_from(all.good.len()).unwrap_or(i64::MAX);
    let facts = all.good.iter().find_map(|a| held(a, &row.name).and_then(|h| h.facts.as_deref())).map(identity::learned);
    if let Some(good) = all.good.first() {
        let learned = facts.filter(|l| *l != row.learned && !l.host.is_empty());
        plan.next = if orphaned {
            let extra = Extra { due: Due::Never, connections: Some(connections), learned, ..Extra::default() };
            tracing::debug!(account = row.name, agentId = %good.session.agent, "it has an agent again");
            write(Event::Back, extra)
        } else {
            upkeep(row, connections, learned, plan.refused.first().map(|(_, why)| why.clone()))
        };
        return plan;
    }
    // Where the one that had it is gone, and others could not have it before, it may come back.
    let over = s.missing.is_some_and(|since| since >= limits.grace);
    if all.coming || !plan.give.is_empty() {
        // What is on its way tells how it went; the grace period runs meanwhile, so that nobody waits unseen.
    } else if !all.failed.is_empty() || (!s.failed_lately.is_empty() && (orphaned || over)) {
        let said = all.failed.iter().map(|(_, m)| m).chain(s.failed_lately.iter().map(|f| &f.message));
        let text = said.map(String::as_str).collect::<Vec<_>>().join("; ");
        let extra = Extra { message: Message::Set(text), due: next_try(row, limits), connections: Some(0), ..Extra::default() };
        plan.next = write(Event::ClusterLost, extra);
        return plan;
    }
    if orphaned {
        let found = row.zone_found || row.zone.is_none();
        let elsewhere = s.zone.is_empty() && !s.firsts.is_empty();
        plan.next = match (found, due(row)) {
            (true, true) if elsewhere => write(Event::ZoneGone, Extra { zone: Zone::Forget, ..Extra::default() }),
            (true, true) => Next::Later(limits.grace.max(Duration::from_secs(1))),
            _ => Next::Nothing,
        };
        return plan;
    }
    plan.missing = true;
    if over {
        let found = row.zone_found || row.zone.is_none();
        let text = match &row.zone {
            Some(zone) if s.zone.is_empty() => format!("no agent of the zone {zone} is connected"),
            _ => "no agent has it".to_owned(),
        };
        let due = if found { Due::In(limits.grace) } else { Due::Never };
        plan.next = write(Event::NoAgentLeft, Extra { message: Message::Set(text), due, connections: Some(0), ..Extra::default() });
    } else if row.connections != 0 {
        plan.next = Next::Write(None, Box::new(Extra { due: Due::Never, connections: Some(0), ..Extra::default() }));
    }
    plan
}

/// What an account that is well has to have written of it.
fn upkeep(row: &StateRow, connections: i64, learned: Option<crate::store::states::Learned>, refused: Option<String>) -> Next {
    let message = match (refused, &row.error_message) {
        (Some(why), told) if told.as_deref() != Some(why.as_str()) => Message::Set(why),
        (None, Some(_)) => Message::Clear,
        _ => Message::Auto,
    };
    if row.connections == connections && learned.is_none() && message == Message::Auto {
        return Next::Nothing;
    }
    Next::Write(None, Box::new(Extra { due: Due::Never, connections: Some(connections), learned, message, ..Extra::default() }))
}

/// Whether a definition that was planned for a row in one state is still to be sent, now that the row may be in another: of the same
/// generation, that is known already.
pub fn is_still_wanted(planned: Status, same_operation: bool, now: Option<Status>) -> bool {
    match planned {
        Status::Activating => same_operation && now == Some(Status::Activating),
        _ => matches!(now, Some(Status::Active | Status::Orphaned)),
    }
}

/// What is said of a row that waits for an agent.
pub fn awaited(zone: Option<&str>) -> String {
    match zone {
        Some(zone) => format!("waiting for an agent of the zone {zone} to connect"),
        None => "waiting for an agent to connect: it has no zone, so any may have it".to_owned(),
    }
}

/// When one more that failed is tried again: jitter only lengthens, and after the last there is none.
pub fn next_try(row: &StateRow, limits: &Limits) -> Due {
    if row.failed_count + 1 > i64::from(limits.max_retries) {
        return Due::Never;
    }
    Due::In(limits.retry.mul_f64(1.0 + fastrand::f64() / 5.0))
}
