//! What a row asks for is not written down here a second time: the model asks the real [`fairlead::dispatch::plan::plan`], and only
//! translates. The same question is asked once for each thread of a search.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fairlead::channel::{self, AgentId, Failure, HeldState, Reason, SessionId, ZoneId};
use fairlead::dispatch::Limits;
use fairlead::dispatch::plan::{FailedLately, Next, Sight, awaited, plan};
use fairlead::lifecycle::{Event, State as RealState};
use fairlead::store::states::{self, StateRow};

use super::state::{AGENTS, Extra, Held, Message, Missing, Owner, RETRIES, Row, Said, Standing, When, Work, Zone};

const NAME: &str = "x";
const NOW: i64 = 1_000_000;
const GRACE: Duration = Duration::from_secs(30);

/// All that a plan depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Question {
    pub row: Row,
    pub one_zone: bool,
    pub first: u8,
    pub seen: [Option<Option<Held>>; AGENTS],
    pub lately: [bool; AGENTS],
    /// Something is on its way to it, by this session or by one that is over.
    pub busy: [bool; AGENTS],
    pub busy_old: [bool; AGENTS],
    pub under_way: bool,
    pub missing: Missing,
    pub passed: Option<u8>,
}

/// The answer.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub let_go: [bool; AGENTS],
    pub give: [Option<bool>; AGENTS],
    pub roles: [Option<bool>; AGENTS],
    pub missing: bool,
    pub next: Planned,
}

#[derive(Clone, Copy, Debug)]
pub enum Planned {
    Nothing,
    Later,
    Write(Option<Event>, Extra),
    Offer([bool; AGENTS]),
    /// Who is connected, and whether one that no longer is was meant too.
    TakeBack([bool; AGENTS], bool),
}

thread_local! {
    static KNOWN: RefCell<HashMap<Question, Plan>> = RefCell::default();
}

impl Question {
    pub fn ask(&self) -> Plan {
        if let Some(plan) = KNOWN.with_borrow(|known| known.get(self).copied()) {
            return plan;
        }
        let plan = self.ask_anew();
        KNOWN.with_borrow_mut(|known| known.insert(*self, plan));
        plan
    }

    fn agent(&self, a: usize, old: bool) -> Arc<channel::Agent> {
        let held = self.seen[a].flatten().filter(|_| !old);
        Arc::new(channel::Agent {
            session: SessionId { agent: id(a), epoch: u64::from(!old) },
            zone: ZoneId(zone(if self.one_zone { 0 } else { a as u8 }).into()),
            version: "1".into(),
            since: SystemTime::UNIX_EPOCH,
            replicas: None,
            accounts: held.map(|h| (NAME.into(), real_held(h))).into_iter().collect::<BTreeMap<_, _>>(),
        })
    }

    fn ask_anew(&self) -> Plan {
        let limits = Limits {
            max_retries: RETRIES.into(),
            retry: Duration::from_secs(5),
            grace: GRACE,
            cleanup: Duration::from_secs(600),
            wait: Duration::from_secs(30),
            fan_out: 16,
            scan_batch: 572,
        };
        let row = self.real_row();
        let all: Vec<usize> = [self.first as usize, 1 - self.first as usize].into_iter().filter(|a| self.seen[*a].is_some()).collect();
        let agents: Vec<_> = all.iter().map(|a| self.agent(*a, false)).collect();
        let of_zone = |z: &str| agents.iter().filter(|a| &*a.zone.0 == z).cloned().collect::<Vec<_>>();
        let firsts: Vec<_> = ["z0", "z1"].iter().filter_map(|z| of_zone(z).into_iter().next()).collect();
        let who = |which: &[bool; AGENTS], old| (0..AGENTS).filter(|a| which[*a]).map(|a| self.agent(a, old)).collect::<Vec<_>>();
        let sight = Sight {
            zone: row.zone.as_deref().map(of_zone).unwrap_or_default(),
            holders: agents.iter().filter(|a| a.accounts.contains_key(NAME)).cloned().collect(),
            firsts: if row.zone.is_none() || row.zone_found { firsts } else { vec![] },
            passed: self.passed.map(|a| id(a.into())),
            under_way: self.under_way,
            owned_elsewhere: self.row.owner == Owner::Leased,
            busy: [who(&self.busy, false), who(&self.busy_old, true)].concat(),
            failed_lately: (0..AGENTS)
                .filter(|a| self.lately[*a])
                .map(|a| FailedLately { agent: id(a), message: "failed".into(), refused: false })
                .collect(),
            missing: match self.missing {
                Missing::No => None,
                Missing::Since => Some(Duration::ZERO),
                Missing::Over => Some(GRACE),
            },
            limits: &limits,
            row: &row,
        };
        translate(&row, plan(&sight))
    }

    fn real_row(&self) -> StateRow {
        let r = &self.row;
        let mut row = StateRow::bare(NAME, RealState { status: r.status, wanted: r.wanted, sent: r.sent, dynamic: true });
        row.generation = generation(0);
        row.zone = r.zone.map(|z| zone(z).to_owned());
        row.zone_found = r.found;
        row.failed_count = r.failed.into();
        row.error_message = match r.message {
            Message::None => None,
            Message::Awaited => Some(awaited(row.zone.as_deref())),
            Message::Other => Some("something else".into()),
        };
        row.connections = r.connections.into();
        row.now = NOW;
        row.due = match r.due {
            When::Never => None,
            When::Ahead => Some(NOW + 1_000),
            When::Now => Some(NOW),
        };
        row.since = Some(NOW);
        row.operation = (r.operation != super::state::Operation::None).then(|| "operation".into());
        row.owner = (r.owner != Owner::Nobody).then(|| "owner".into());
        row
    }
}

fn id(a: usize) -> AgentId {
    AgentId(if a == 0 { "a0" } else { "a1" }.into())
}

const fn zone(z: u8) -> &'static str {
    if z == 0 { "z0" } else { "z1" }
}

fn generation(old: u8) -> i64 {
    100 - i64::from(old)
}

fn real_held(h: Held) -> channel::Held {
    let state = match h.standing {
        Standing::Connecting => HeldState::Connecting,
        Standing::Failed => HeldState::Failed(Failure { reason: Reason::Unauthenticated, message: "401".into(), host: None }),
        Standing::Reached if h.watch => HeldState::Watching,
        Standing::Reached => HeldState::Standby,
    };
    channel::Held { generation: generation(h.generation), properties: None, state, facts: None }
}

fn index(agent: &channel::Agent) -> usize {
    usize::from(&*agent.session.agent.0 == "a1")
}

fn translate(row: &StateRow, plan: fairlead::dispatch::plan::Plan) -> Plan {
    let mut out =
        Plan { let_go: [false; AGENTS], give: [None; AGENTS], roles: [None; AGENTS], missing: plan.missing, next: Planned::Nothing };
    plan.let_go.iter().for_each(|(a, _)| out.let_go[index(a)] = true);
    plan.give.iter().for_each(|(a, watch)| out.give[index(a)] = Some(*watch));
    plan.roles.iter().for_each(|(a, watch)| out.roles[index(a)] = Some(*watch));
    let mask = |agents: &[Arc<channel::Agent>]| {
        let mut mask = [false; AGENTS];
        agents.iter().filter(|a| a.session.epoch == 1).for_each(|a| mask[index(a)] = true);
        mask
    };
    out.next = match plan.next {
        Next::Nothing => Planned::Nothing,
        Next::Later(_) => Planned::Later,
        Next::Write(event, extra) => Planned::Write(event, translate_extra(row, &extra)),
        Next::Offer(agents) => Planned::Offer(mask(&agents)),
        Next::TakeBack(agents) => Planned::TakeBack(mask(&agents), agents.iter().any(|a| a.session.epoch == 0)),
    };
    out
}

fn translate_extra(row: &StateRow, extra: &states::Extra) -> Extra {
    Extra {
        due: match extra.due {
            states::Due::Now => Said::Now,
            states::Due::In(_) => Said::In,
            states::Due::Never => Said::Never,
            states::Due::Keep => Said::Keep,
        },
        work: match extra.work {
            states::Work::Auto => Work::Auto,
            states::Work::Begin { .. } => Work::Begin,
            states::Work::Clear => Work::Clear,
        },
        message: match &extra.message {
            states::Message::Auto => None,
            states::Message::Clear => Some(Message::None),
            states::Message::Set(text) if *text == awaited(row.zone.as_deref()) => Some(Message::Awaited),
            states::Message::Set(_) => Some(Message::Other),
        },
        zone: match &extra.zone {
            states::Zone::Keep | states::Zone::Given(_) => Zone::Keep,
            states::Zone::Found(z) => Zone::Found(u8::from(z == "z1")),
            states::Zone::Forget => Zone::Forget,
        },
        connections: extra.connections.map(|n| n as u8),
        sent: extra.sent,
    }
}

/// The real rule of when a row is due.
pub fn due_of(after: &RealState, said: Said) -> Said {
    let real = match said {
        Said::Now => states::Due::Now,
        Said::In => states::Due::In(GRACE),
        Said::Never => states::Due::Never,
        Said::Keep => states::Due::Keep,
    };
    match states::due_of(after, real) {
        states::Due::Now => Said::Now,
        states::Due::In(_) => Said::In,
        states::Due::Never => Said::Never,
        states::Due::Keep => Said::Keep,
    }
}
