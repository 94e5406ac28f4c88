//! Keeps the accounts: takes operations, keeps tasks, says what has changed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::operations::{AccountOutcome, NewAccount, Order, Outcome, Receipt};
use super::places::Places;
use super::reach::Reach;
use super::table::{Entry, First, Standing, Table};
use super::tend::Tended;
use crate::agent::cluster::{Definition, Facts};
use crate::agent::failure::{Failure, Reason};
use crate::agent::metrics::{self, Metrics};
use crate::config::agent::{Settings, StaticAccount};

/// Operations under way at a time.
const MAX_UNDER_WAY: usize = 4_096;

/// Keeps the accounts. Clones are the same keeper.
#[derive(Clone)]
pub(crate) struct Keeper(pub(super) Arc<Inner>);

pub(super) struct Inner {
    table: Mutex<Table>,
    pub(super) settings: watch::Receiver<Arc<Settings>>,
    pub(super) reach: Box<dyn Reach>,
    pub(super) places: Places,
    pub(super) tasks: TaskTracker,
    /// There is something to report.
    reports: Notify,
    /// The list has changed otherwise than by an outcome of the session that is.
    listed: watch::Sender<u64>,
    metrics: Metrics,
}

/// An account as it is shown to others.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub(crate) name: Arc<str>,
    pub(crate) generation: i64,
    pub(crate) definition: Arc<Definition>,
    pub(crate) watch: bool,
    pub(crate) standing: Standing,
    pub(crate) facts: Option<Arc<Facts>>,
    pub(crate) refused: Option<String>,
}

impl Shown {
    fn of((name, entry): (&Arc<str>, &Entry)) -> Self {
        Self {
            name: Arc::clone(name),
            generation: entry.generation,
            definition: Arc::clone(&entry.definition),
            watch: entry.watch,
            standing: entry.standing.clone(),
            facts: entry.facts.clone(),
            refused: entry.refused.clone(),
        }
    }
}

impl Keeper {
    /// Without accounts yet.
    pub(crate) fn new(settings: watch::Receiver<Arc<Settings>>, reach: Box<dyn Reach>, metrics: Metrics) -> Self {
        let places = Places::new(settings.borrow().kubernetes.max_concurrent_connects);
        Self(Arc::new(Inner {
            table: Mutex::default(),
            settings,
            reach,
            places,
            tasks: TaskTracker::new(),
            reports: Notify::new(),
            listed: watch::channel(0).0,
            metrics,
        }))
    }

    /// Takes an operation. What it does to the table is done when this returns; reaching clusters goes on in tasks. The same id again
    /// is the same operation, whatever it carries.
    pub(crate) fn perform(&self, id: &str, deadline: Option<Duration>, order: Order) -> Receipt {
        let begun = Instant::now();
        let mut table = self.0.table();
        if let Some(receipt) = table.operations.get(id) {
            return receipt;
        }
        let refusal = if table.leaving {
            Some(Failure::new(Reason::Busy, "the agent is about to end and takes no more operations"))
        } else if table.operations.under_way() >= MAX_UNDER_WAY {
            Some(Failure::new(Reason::Busy, format!("{MAX_UNDER_WAY} operations are under way at this agent")))
        } else if matches!(order, Order::Unknown) {
            Some(Failure::new(Reason::Unsupported, "an operation of a kind that this agent does not know: it is older than Fairlead"))
        } else {
            None
        };
        let (sender, receipt) = table.operations.begin(id);
        let pending: Vec<Pending> = match order {
            _ if refusal.is_some() => Vec::new(),
            Order::Add(accounts) => {
                let deadline = deadline.map(|d| begun + d);
                accounts.into_iter().map(|account| self.add(&mut table, account, deadline)).collect()
            }
            Order::Delete(accounts) => accounts.into_iter().map(|(name, generation)| delete(&mut table, name, generation)).collect(),
            Order::Roles(roles) => roles.into_iter().map(|(name, watch)| self.0.role(&mut table, name, watch)).collect(),
            Order::Unknown => Vec::new(),
        };
        self.0.count(&table);
        drop(table);
        let (inner, id) = (Arc::clone(&self.0), id.to_owned());
        self.0.tasks.spawn(async move {
            let mut accounts = Vec::with_capacity(pending.len());
            for one in pending {
                accounts.push(one.outcome().await);
            }
            let mut table = inner.table();
            table.operations.finished(&id);
            sender.send_replace(Some(Arc::new(Outcome { accounts, failure: refusal })));
        });
        receipt
    }

    fn add(&self, table: &mut Table, new: NewAccount, deadline: Option<Instant>) -> Pending {
        let NewAccount { name, generation, definition, watch } = new;
        let failed = |failure| Pending::known(&name, generation, Err(failure));
        if !self.0.settings.borrow().control.dynamic_accounts {
            let text = "this agent takes no accounts from Fairlead: dynamicAccountsEnabled is false in its configuration";
            return failed(Failure::new(Reason::Unsupported, text));
        }
        if let Some(held) = table.accounts.get_mut(&name) {
            if !held.definition.dynamic {
                let text = format!(
                    "this agent has a static account {name} in its own configuration: names are unique over the whole installation"
                );
                return failed(Failure::definition(text));
            }
            // What has failed is tried anew: the operation is Fairlead's retry.
            if held.generation == generation && !matches!(held.standing, Standing::Failed(_)) {
                let changed = held.watch != watch;
                held.watch = watch;
                let first = held.first.clone();
                let known = held.facts.clone();
                if changed {
                    self.0.changed(table, &name);
                }
                return match known {
                    Some(facts) => Pending::known(&name, generation, Ok(Some(facts))),
                    None => Pending { name, generation, first: Ok(first) },
                };
            }
        }
        // A definition that cannot be read replaces nothing.
        let definition = match Definition::parse(&name, &definition) {
            Ok(definition) => Arc::new(definition),
            Err(failure) => return failed(failure),
        };
        let first = self.0.tend(table, generation, definition, watch, deadline);
        Pending { name, generation, first: Ok(first) }
    }

    /// Makes the accounts of the agent's configuration what a file says. `true`: something has changed.
    pub(crate) fn set_static(&self, accounts: &[StaticAccount]) -> bool {
        let wanted: BTreeMap<&str, &StaticAccount> = accounts.iter().map(|a| (&*a.name, a)).collect();
        let mut table = self.0.table();
        let gone = |name: &str, e: &Entry| !e.definition.dynamic && wanted.get(name).is_none_or(|a| **a != e.definition.account);
        let gone: Vec<Arc<str>> = table.accounts.iter().filter(|(n, e)| gone(n, e)).map(|(n, _)| Arc::clone(n)).collect();
        for name in &gone {
            info!(account = %name, "a static account is let go of: the configuration no longer has it, or has it otherwise");
            table.let_go(name);
        }
        let mut changed = !gone.is_empty();
        for account in accounts {
            match table.accounts.get(&account.name) {
                Some(held) if !held.definition.dynamic => continue,
                Some(_) => warn!(account = %account.name, "a static account takes the place of one that came from Fairlead"),
                None => {}
            }
            let definition = Arc::new(Definition { account: account.clone(), dynamic: false });
            self.0.tend(&mut table, 0, definition, false, None);
            changed = true;
        }
        self.0.count(&table);
        drop(table);
        if changed {
            self.0.listed.send_modify(|n| *n += 1);
        }
        changed
    }

    /// All accounts, for a registration: what there was to report is said by it.
    pub(crate) fn register(&self) -> Vec<Shown> {
        let mut table = self.0.table();
        table.dirty.clear();
        table.told_connecting =
            table.accounts.iter().filter(|(_, e)| e.standing == Standing::Connecting).map(|(n, _)| Arc::clone(n)).collect();
        table.accounts.iter().map(Shown::of).collect()
    }

    /// All accounts.
    pub(crate) fn all(&self) -> Vec<Shown> {
        self.0.table().accounts.iter().map(Shown::of).collect()
    }

    /// One account.
    pub(crate) fn get(&self, name: &str) -> Option<Shown> {
        self.0.table().accounts.get_key_value(name).map(Shown::of)
    }

    /// Says again what is said of all: a registration was too large for everything.
    pub(crate) fn report_all(&self) {
        let mut table = self.0.table();
        table.dirty = table.accounts.keys().cloned().collect();
        self.0.reports.notify_one();
    }

    /// Accounts with something new, as long as `fits` takes them; the others stay.
    pub(crate) fn news(&self, mut fits: impl FnMut(Shown) -> bool) {
        let mut table = self.0.table();
        let dirty: Vec<Arc<str>> = table.dirty.iter().cloned().collect();
        for name in dirty {
            if let Some(shown) = table.accounts.get_key_value(&name).map(Shown::of)
                && !fits(shown)
            {
                return;
            }
            table.dirty.remove(&name);
        }
    }

    /// Waits until there may be something to report. One caller.
    pub(crate) async fn has_news(&self) {
        if self.0.table().dirty.is_empty() {
            self.0.reports.notified().await;
        }
    }

    /// Changes whenever the list of accounts has changed by itself.
    pub(crate) fn listed(&self) -> watch::Receiver<u64> {
        self.0.listed.subscribe()
    }

    /// Fairlead does not take these.
    pub(crate) fn refused(&self, refusals: &[(String, String)]) {
        let mut table = self.0.table();
        for entry in table.accounts.values_mut() {
            entry.refused = None;
        }
        for (name, reason) in refusals {
            warn!(account = %name, reason = %reason, "Fairlead does not take this account");
            if let Some(entry) = table.accounts.get_mut(name.as_str()) {
                entry.refused = Some(reason.clone());
            }
        }
    }

    /// Takes no more operations, and waits for those under way.
    pub(crate) async fn leave(&self) {
        self.0.table().leaving = true;
        while self.0.table().operations.under_way() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lets go of everything and waits for its tasks.
    pub(crate) async fn end(&self) {
        let names: Vec<Arc<str>> = self.0.table().accounts.keys().cloned().collect();
        for name in names {
            self.0.table().let_go(&name);
        }
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }
}

impl Inner {
    /// The table. A panic elsewhere leaves it whole: it is only changed by steps that cannot panic half-way.
    pub(super) fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an account in and starts its task.
    fn tend(
        self: &Arc<Self>,
        table: &mut Table,
        generation: i64,
        definition: Arc<Definition>,
        watch: bool,
        deadline: Option<Instant>,
    ) -> watch::Receiver<First> {
        let (serial, stop, first) = table.put(generation, Arc::clone(&definition), watch);
        let receiver = first.subscribe();
        let tended = Tended { inner: Arc::clone(self), serial, definition, stop, deadline };
        self.tasks.spawn(tended.run(first));
        receiver
    }

    fn role(&self, table: &mut Table, name: Arc<str>, watch: bool) -> Pending {
        let Some(entry) = table.accounts.get_mut(&name) else {
            return Pending::known(&name, 0, Err(Failure::definition(format!("this agent has no account {name}"))));
        };
        let generation = entry.generation;
        if entry.watch != watch {
            entry.watch = watch;
            self.changed(table, &name);
        }
        Pending::known(&name, generation, Ok(None))
    }

    /// There is something to report of an account.
    pub(super) fn changed(&self, table: &mut Table, name: &Arc<str>) {
        table.dirty.insert(Arc::clone(name));
        table.told_connecting.remove(name);
        self.reports.notify_one();
    }

    /// The list is no longer what was registered.
    pub(super) fn unlisted(&self) {
        self.listed.send_modify(|n| *n += 1);
    }

    pub(super) fn count(&self, table: &Table) {
        let mut counts = [("connecting", 0), ("standby", 0), ("watching", 0), ("failed", 0)];
        for entry in table.accounts.values() {
            let i = match entry.standing {
                Standing::Connecting => 0,
                Standing::Reached if entry.watch => 2,
                Standing::Reached => 1,
                Standing::Failed(_) => 3,
            };
            counts[i].1 += 1;
        }
        for (state, count) in counts {
            self.metrics.accounts.get_or_create(&metrics::State { state }).set(count);
        }
    }
}

/// An account that is not there has been let go of; so has one of another generation.
fn delete(table: &mut Table, name: Arc<str>, generation: i64) -> Pending {
    let held = table.accounts.get(&name).map(|e| (e.generation, e.definition.dynamic));
    match held {
        Some((_, false)) if generation == 0 => {
            let text = format!("{name} is a static account of this agent: take it out of the agent's configuration");
            return Pending::known(&name, 0, Err(Failure::new(Reason::Unsupported, text)));
        }
        Some((there, true)) if generation == 0 || there == generation => {
            table.let_go(&name);
            info!(account = %name, "let go of");
            return Pending::known(&name, there, Ok(None));
        }
        _ => {}
    }
    Pending::known(&name, generation, Ok(None))
}

/// The outcome for one account, known or awaited.
struct Pending {
    name: Arc<str>,
    generation: i64,
    first: Result<watch::Receiver<First>, Result<Option<Arc<Facts>>, Failure>>,
}

impl Pending {
    fn known(name: &Arc<str>, generation: i64, result: Result<Option<Arc<Facts>>, Failure>) -> Self {
        Self { name: Arc::clone(name), generation, first: Err(result) }
    }

    async fn outcome(self) -> AccountOutcome {
        let result = match self.first {
            Err(known) => known,
            Ok(mut first) => match first.wait_for(Option::is_some).await.ok().and_then(|f| f.clone()) {
                Some(result) => result.map(Some),
                None => Err(let_go_of(&self.name)),
            },
        };
        AccountOutcome { name: self.name, generation: self.generation, result }
    }
}

/// The account was deleted or replaced before its cluster was reached.
fn let_go_of(name: &str) -> Failure {
    Failure::new(Reason::Internal, format!("the account {name} was deleted or replaced before its cluster was reached"))
}
