//! The loop: which rows to look at, what to write of them, what to send.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};
use ulid::Ulid;

use super::Dispatch;
use super::places::Places;
use super::plan::{self, FailedLately, Next, Plan, Sight};
use super::send::{Attempt, Back, Given, Offer, Together, Told, chunks};
use super::turns::in_turn;
use crate::account::{Origin, Status};
use crate::channel::Agent;
use crate::lifecycle::{self, Event, Step};
use crate::store::states::{self, Applied, Due, Extra, StateRow, Work, wake};
use crate::store::{Result, tombstones};

/// Rows of one look.
const BATCH: u32 = 500;
/// Longest pause between two looks.
const POLL: Duration = Duration::from_secs(1);
/// Pause after the database refused.
const AFTER_ERROR: Duration = Duration::from_millis(500);
/// How long beyond an agent's time for an answer a row is left to its owner.
const SLACK: Duration = Duration::from_secs(5);
/// Between two counts of the states, at least.
const COUNT: Duration = Duration::from_secs(5);
/// Tombstones older than this are cleared away: an agent with such a generation is told to let go without them, too.
const TOMBSTONES: Duration = Duration::from_secs(30 * 86_400);
/// How long an agent that reached another cluster is not asked again.
const REFUSED: Duration = Duration::from_secs(60);

/// What a write leads to.
enum Then {
    Nothing,
    Offer(Vec<Arc<Agent>>, String),
    TakeBack(Vec<Arc<Agent>>, String),
}

impl Then {
    fn operation(&self) -> Option<&str> {
        match self {
            Self::Nothing => None,
            Self::Offer(_, operation) | Self::TakeBack(_, operation) => Some(operation),
        }
    }
}

struct Write {
    row: StateRow,
    step: Step,
    extra: Extra,
    then: Then,
}

impl Dispatch {
    /// Runs until it is cancelled. Waits for the tables first.
    pub async fn run(self: Arc<Self>) {
        let stop = self.cancel.clone();
        self.spawn(self.clone().write_ends());
        tokio::select! {
            () = self.work() => {}
            () = stop.cancelled() => {}
        }
    }

    async fn work(self: &Arc<Self>) {
        while self.store.shape().is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        loop {
            let begun = async {
                self.life.beat(&self.store).await?;
                wake::wake_transient(&self.store).await
            };
            match begun.await {
                Ok(_) => break,
                Err(e) => self.trouble(&e).await,
            }
        }
        let (mut beat, mut counted, mut cleared) = (Instant::now(), None::<Instant>, None::<Instant>);
        // Agents have the grace period to come back after our own start; then whoever is without one is looked at, once.
        let mut everything = Some((Instant::now() + self.limits.grace, String::new()));
        let mut moved = true;
        loop {
            let pause = self.memory().pause(POLL);
            tokio::select! {
                changes = self.agents.changed() => self.agents_changed(changes),
                () = self.bell.rung() => {}
                () = tokio::time::sleep(pause) => {}
            }
            if beat.elapsed() >= self.life.rhythm() {
                beat = Instant::now();
                let taken = async {
                    let alive = self.life.beat(&self.store).await?;
                    wake::wake_orphaned_work(&self.store, &alive).await
                };
                if let Err(e) = taken.await {
                    self.trouble(&e).await;
                    continue;
                }
                self.memory().look_at_refused(BATCH as usize);
            }
            if let Some((at, after)) = &mut everything
                && Instant::now() >= *at
            {
                match wake::names_at_rest(&self.store, after, BATCH).await {
                    Ok(names) => match names.last() {
                        Some(last) => {
                            after.clone_from(last);
                            let mut memory = self.memory();
                            for name in names {
                                memory.mark(&name.into());
                            }
                        }
                        None => everything = None,
                    },
                    Err(e) => self.trouble(&e).await,
                }
            }
            match self.look().await {
                Ok(done) => moved |= done,
                Err(e) => self.trouble(&e).await,
            }
            if moved && counted.is_none_or(|at| at.elapsed() >= COUNT) {
                (moved, counted) = (false, Some(Instant::now()));
                self.count().await;
            }
            if cleared.is_none_or(|at| at.elapsed() >= TOMBSTONES / 720) {
                cleared = Some(Instant::now());
                let age = i64::try_from(TOMBSTONES.as_millis()).unwrap_or(i64::MAX);
                if let Err(e) = tombstones::clear(&self.store, age).await {
                    debug!(error = %e, "old tombstones are cleared away later");
                }
            }
        }
    }

    async fn trouble(&self, e: &crate::store::Error) {
        self.metrics.errors.inc();
        warn!(error = %e, "accounts cannot be looked at yet");
        tokio::time::sleep(AFTER_ERROR).await;
    }

    async fn count(&self) {
        match wake::count(&self.store).await {
            Ok((counts, waits)) => {
                for (status, origin) in Status::ALL.into_iter().flat_map(|s| Origin::ALL.map(|o| (s, o))) {
                    let n = counts.iter().filter(|(s, o, _)| s == status.as_str() && *o == origin).map(|(_, _, n)| n).sum();
                    let label = super::metrics::AccountLabel { status: status.as_str(), origin: origin.as_str() };
                    self.metrics.accounts.get_or_create(&label).set(n);
                }
                self.metrics.waiting.set(waits / 1_000);
            }
            Err(e) => debug!(error = %e, "the states cannot be counted now"),
        }
        self.metrics.conflicts.set(i64::try_from(self.memory().refused()).unwrap_or(i64::MAX));
    }

    /// One look. `true`: something was done.
    async fn look(self: &Arc<Self>) -> Result<bool> {
        self.compare_arrived().await?;
        let mut rows = states::due(&self.store, BATCH).await?;
        if rows.len() >= BATCH as usize {
            self.bell.ring();
        }
        let names = self.memory().take(BATCH as usize);
        let looked = self.look_at(&mut rows, &names).await;
        if looked.is_err() {
            let mut memory = self.memory();
            for name in &names {
                memory.mark(name);
            }
        }
        looked
    }

    async fn look_at(self: &Arc<Self>, rows: &mut Vec<StateRow>, names: &[Arc<str>]) -> Result<bool> {
        let asked: Vec<&str> = names.iter().map(|n| &**n).filter(|n| !rows.iter().any(|r| r.name == **n)).collect();
        let more = states::load_many(&self.store, &asked).await?;
        let absent: Vec<Arc<str>> =
            names.iter().filter(|n| asked.contains(&&***n) && !more.iter().any(|r| r.name == ***n)).cloned().collect();
        rows.extend(more);
        self.without_row(&absent).await?;
        if rows.is_empty() {
            return Ok(!absent.is_empty());
        }
        // Asked for once a look, where a row has no zone of its own.
        let firsts = std::cell::OnceCell::new();
        let mut places = self.places(rows).await?;
        let (mut writes, mut postponed) = (Vec::new(), Vec::new());
        let mut given: Vec<Given> = Vec::new();
        let mut strays: HashMap<_, Told<i64>> = HashMap::new();
        let mut roles: HashMap<_, Told<bool>> = HashMap::new();
        let mut backs = Together::default();
        for row in rows.drain(..) {
            let plan = self.plan(&row, || self.in_turn(&row.name, firsts.get_or_init(|| self.zones())));
            let name: Arc<str> = row.name.as_str().into();
            self.remember(&name, &row, &plan);
            for (agent, generation) in plan.let_go {
                strays.entry(agent.session.clone()).or_insert_with(|| (agent, vec![])).1.push((name.clone(), generation));
            }
            for (agent, watch) in plan.roles {
                roles.entry(agent.session.clone()).or_insert_with(|| (agent, vec![])).1.push((name.clone(), watch));
            }
            for (agent, watch) in plan.give {
                let operation = Ulid::generate().to_string();
                given.push(Given { agent, attempt: Attempt { name: name.clone(), operation, row: row.clone(), watch, turn: 0 } });
            }
            let was_due = row.due.is_some_and(|due| due <= row.now);
            match plan.next {
                Next::Nothing if was_due => postponed.push((row, Due::Never)),
                Next::Nothing => {}
                Next::Later(after) => postponed.push((row, Due::In(after))),
                Next::Write(event, extra) => {
                    let step = event.map_or_else(|| row.stay(), |event| lifecycle::next(&row.state, event));
                    writes.push(Write { row, step, extra: *extra, then: Then::Nothing });
                }
                Next::Offer(_) if row.origin == Origin::Scanner && !places.take() => postponed.push((row, Due::In(places.pause()))),
                Next::Offer(agents) => {
                    let operation = Ulid::generate().to_string();
                    let extra = self.begun(&operation);
                    let step = lifecycle::next(&row.state, Event::Offered);
                    let extra = Extra { sent: Some(true), message: states::Message::Clear, ..extra };
                    writes.push(Write { row, step, extra, then: Then::Offer(agents, operation) });
                }
                Next::TakeBack(agents) => {
                    let operation = backs.of(&agents);
                    let extra = self.begun(&operation);
                    let step = match lifecycle::next(&row.state, Event::Offered) {
                        // DELETING stays what it is while its agents are asked.
                        Step::Ignore => row.stay(),
                        step => step,
                    };
                    writes.push(Write { row, step, extra, then: Then::TakeBack(agents, operation) });
                }
            }
        }
        if !postponed.is_empty() {
            let rows: Vec<_> = postponed.iter().map(|(row, due)| (row, *due)).collect();
            wake::postpone(&self.store, &rows).await?;
        }
        let did = !writes.is_empty() || !strays.is_empty() || !given.is_empty() || !roles.is_empty();
        self.let_strays_go(strays.into_values());
        self.set_roles(roles.into_values());
        self.give(given);
        self.write(writes).await?;
        Ok(did)
    }

    /// What is free for the scanner's accounts; asked for where one of them may need it.
    async fn places(&self, rows: &[StateRow]) -> Result<Places> {
        let all = self.limits.scan_batch;
        if !rows.iter().any(|r| r.origin == Origin::Scanner && r.state.status == Status::ToMigrate) {
            return Ok(Places::new(all, 0, 0));
        }
        let (taken, waiting) = wake::count_scanned(&self.store).await?;
        Ok(Places::new(all, taken, waiting))
    }

    /// All zones that have agents.
    fn zones(&self) -> Vec<Vec<Arc<Agent>>> {
        self.agents.zones().iter().map(|zone| self.agents.of_zone(zone)).collect()
    }

    /// The agent of each zone whose turn it is.
    fn in_turn(&self, name: &str, zones: &[Vec<Arc<Agent>>]) -> Vec<Arc<Agent>> {
        let memory = self.memory();
        let one = |zone: &Vec<Arc<Agent>>| in_turn(zone, memory.passed(name, &zone.first()?.zone).as_ref()).cloned();
        zones.iter().filter_map(one).collect()
    }

    fn plan(&self, row: &StateRow, firsts: impl FnOnce() -> Vec<Arc<Agent>>) -> Plan {
        let zone = row.zone.as_ref().map(|z| self.agents.of_zone(&crate::channel::ZoneId(z.as_str().into()))).unwrap_or_default();
        let holders = self.agents.holders(&row.name);
        let firsts = if row.zone.is_none() || row.zone_found { firsts() } else { vec![] };
        let memory = self.memory();
        let sight = Sight {
            row,
            zone,
            holders,
            firsts,
            passed: row.zone.as_ref().and_then(|z| memory.passed(&row.name, &crate::channel::ZoneId(z.as_str().into()))),
            under_way: memory.is_under_way(row.operation.as_deref()),
            owned_elsewhere: self.life.is_another(row.owner.as_deref()),
            busy: memory.busy(&row.name),
            failed_lately: memory.failed_lately(&row.name, row.generation),
            missing: memory.missing(&row.name),
            limits: &self.limits,
        };
        plan::plan(&sight)
    }

    fn remember(&self, name: &Arc<str>, row: &StateRow, plan: &Plan) {
        let mut memory = self.memory();
        memory.note_missing(name, plan.missing, self.limits.grace);
        for (agent, why) in memory.refuse(name, &plan.refused) {
            warn!(account = row.name, agentId = %agent, "{why}");
            if plan.let_go.iter().any(|(a, _)| a.session.agent == agent) {
                let how = FailedLately { agent, message: why, refused: true };
                let pause = memory.failed(name, row.generation, how, REFUSED);
                memory.alarm(name, pause);
            }
        }
    }

    fn begun(&self, operation: &str) -> Extra {
        Extra {
            due: Due::In(self.limits.wait + SLACK),
            work: Work::Begin { operation: operation.to_owned(), owner: self.life.id().to_owned() },
            ..Extra::default()
        }
    }

    /// Writes steps, tells what they were, and does what they lead to.
    async fn write(self: &Arc<Self>, writes: Vec<Write>) -> Result<()> {
        let (mut offers, mut backs) = (Vec::new(), Vec::new());
        let mut failed = Ok(());
        for some in chunks(writes, 100) {
            if failed.is_err() {
                break;
            }
            {
                // Before it is written, so that nobody here takes a row for one whose owner forgot it.
                let mut memory = self.memory();
                some.iter().filter_map(|w| w.then.operation()).for_each(|operation| memory.begin(operation));
            }
            let list: Vec<_> = some.iter().map(|w| (&w.row, w.step, w.extra.clone())).collect();
            let applied = states::apply_all(&self.store, &list).await;
            // Where that failed, it was done or not: the rows tell, and an operation that nobody sends is found not to be under way.
            let all = applied.as_ref().map_or_else(|_| vec![Applied::Lost; some.len()], Clone::clone);
            if let Err(e) = applied
                && !e.is_contention()
            {
                failed = Err(e);
            }
            for (mut w, applied) in some.into_iter().zip(all) {
                let name: Arc<str> = w.row.name.as_str().into();
                if applied == Applied::Lost {
                    self.metrics.lost_races.inc();
                    let mut memory = self.memory();
                    memory.mark(&name);
                    if let Some(operation) = w.then.operation() {
                        memory.end(operation);
                    }
                    continue;
                }
                self.tell(&w.row, w.step, &w.extra);
                if let Step::Go { to, wanted, .. } = w.step {
                    w.row.rev += 1;
                    (w.row.state.status, w.row.state.wanted) = (to, wanted);
                    w.row.state.sent = w.extra.sent.unwrap_or(w.row.state.sent);
                }
                match w.then {
                    Then::Nothing if w.extra.due == Due::Now => self.bell.ring(),
                    Then::Nothing => {}
                    Then::Offer(agents, operation) => {
                        w.row.operation = Some(operation.clone());
                        offers.push(Offer { agents, attempt: Attempt { name, operation, row: w.row, watch: true, turn: 0 } });
                    }
                    Then::TakeBack(agents, operation) => {
                        w.row.operation = Some(operation.clone());
                        backs.push(Back { agents, operation, name, row: w.row });
                    }
                }
            }
        }
        self.offer(offers);
        self.take_back(backs);
        failed
    }

    /// What happened, for the log and the figures.
    pub(super) fn tell(&self, row: &StateRow, step: Step, extra: &Extra) {
        let message = if let states::Message::Set(text) = &extra.message { text.as_str() } else { "" };
        let operation = match &extra.work {
            Work::Begin { operation, .. } => operation.as_str(),
            _ => row.operation.as_deref().unwrap_or(""),
        };
        match step {
            Step::Go { to, .. } if to != row.state.status => {
                self.metrics.transitions.get_or_create(&super::metrics::StatusLabel { status: to.as_str() }).inc();
                if matches!(to, Status::Failed | Status::DeleteFailed | Status::Orphaned) {
                    warn!(account = row.name, operationId = operation, from = %row.state.status, to = %to, message, "account");
                } else {
                    info!(account = row.name, operationId = operation, from = %row.state.status, to = %to, message, "account");
                }
            }
            Step::Go { .. } if !message.is_empty() => info!(account = row.name, status = %row.state.status, message, "account"),
            Step::Leave { tombstone } => {
                info!(account = row.name, operationId = operation, from = %row.state.status, tombstone, "account left");
                self.memory().forget(&row.name);
                (self.gone)(&row.name);
            }
            Step::Go { .. } | Step::Ignore | Step::Refuse(_) => {}
        }
    }
}
