//! Channel and dispatch together, on SQLite: accounts, users' wishes, agents, and everything that can happen between them.
//!
//! Deadlines of rows are the database's time, which is the machine's. So here simulated time is kept at its pace, all times are short, and
//! what is asserted of them is generous. The seed fixes what happens when; which statement comes first within a moment it does not.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fairlead::account::{Origin, Status};
use fairlead::config::{Database, Replica, SourceConfig};
use fairlead::dispatch::{Bell, Dispatch, Limits, Metrics};
use fairlead::lifecycle::{Event, Wanted};
use fairlead::secrets::{Resolver, Settings};
use fairlead::store::Store;
use fairlead::store::states::{self, Changed, Extra, NewState, StateRow};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use turmoil::Sim;

use super::agent::{Character, STALE, Shared, look};
use super::{each_seed, world};
use crate::support::databases::pool_config;

const TICK: Duration = Duration::from_millis(5);
/// How long faults and wishes come.
const CHAOS: Duration = Duration::from_secs(9);
/// After that everything has to come to rest, and stay there for a while.
const RECOVERY: Duration = Duration::from_secs(40);
const REST: Duration = Duration::from_millis(1_500);
/// No transition stands still for so long, whatever became of the agent that was asked and of the Fairlead that asked it: an agent has 2 s
/// for an answer, and what is given up is taken up again 5 s later at the latest.
const LONGEST: Duration = Duration::from_secs(12);

/// Agents and their zones.
const AGENTS: [(&str, &str); 4] = [("a1", "a"), ("a2", "a"), ("b1", "b"), ("b2", "b")];
/// Accounts; the first letter is the zone that reaches them. Those of the second row were given no zone.
const GIVEN: [&str; 5] = ["a-1", "a-2", "a-3", "b-1", "b-2"];
const FREE: [&str; 3] = ["a-free", "b-free1", "b-free2"];

fn limits() -> Limits {
    Limits {
        max_retries: 1_000,
        retry: Duration::from_millis(200),
        grace: Duration::from_millis(1_500),
        cleanup: Duration::from_secs(60),
        wait: Duration::from_secs(2),
        fan_out: 16,
        scan_batch: 572,
    }
}

#[test]
fn whatever_happens_every_account_comes_to_rest_as_it_was_wanted_with_one_agent_that_watches_it() {
    each_seed(4, |seed| Run::new(seed).all());
}

struct Run {
    seed: u64,
    chance: fastrand::Rng,
    sim: Sim<'static>,
    minds: BTreeMap<String, Shared>,
    /// What a user last asked for.
    wanted: BTreeMap<&'static str, Wanted>,
    /// Partitions and delays that end.
    repairs: Vec<(Duration, &'static str)>,
    /// Rows that are in a transition: as which revision, since when.
    under_way: BTreeMap<String, (i64, Duration)>,
    /// Users and the test look at the rows from outside, as another replica's API does.
    outside: tokio::runtime::Runtime,
    store: Store,
    began: Instant,
    _folder: tempfile::TempDir,
}

impl Run {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fairlead.db");
        let outside = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = outside.block_on(async {
            let store = open(&path);
            store.migrate().await.unwrap();
            for name in GIVEN.iter().chain(&FREE) {
                enter(&store, name).await;
            }
            store
        });
        let mut sim = world::sim(seed, TICK, Duration::from_millis(20));
        sim.host("fairlead", move || {
            // Not in the host's own local tasks: those are dropped when the runtime is gone, and connections need it to go.
            let served = tokio::spawn(fairlead(path.clone()));
            async move { Ok(served.await??) }
        });
        let character = |(name, zone): (&str, &str)| Character {
            name: name.into(),
            zone: zone.into(),
            slowness: Duration::from_millis(300),
            pause: Duration::from_millis(300),
            patience: Duration::from_secs(1),
        };
        let minds = world::agents(&mut sim, &AGENTS.map(character), seed);
        let wanted = GIVEN.iter().chain(&FREE).map(|name| (*name, Wanted::Active)).collect();
        let chance = fastrand::Rng::with_seed(seed);
        Self {
            seed,
            chance,
            sim,
            minds,
            wanted,
            repairs: Vec::new(),
            under_way: BTreeMap::new(),
            outside,
            store,
            began: Instant::now(),
            _folder: folder,
        }
    }

    fn all(mut self) {
        let until = self.sim.elapsed() + CHAOS;
        let (mut wishes, mut faults) = (0, 0);
        while self.sim.elapsed() < until {
            let time = Duration::from_millis(self.chance.u64(20..400));
            self.pass(time);
            if self.chance.u8(0..3) == 0 {
                self.wish();
                wishes += 1;
            } else {
                self.fault();
                faults += 1;
            }
            self.look();
        }
        for (_, who) in std::mem::take(&mut self.repairs) {
            self.repair(who);
        }
        self.minds.values().for_each(|mind| look(mind).unreachable.clear());
        let calm = self.sim.elapsed();
        let mut since = None::<Duration>;
        loop {
            self.pass(Duration::from_millis(100));
            let rows = self.look();
            match self.wrong(&rows) {
                None if since.is_some_and(|since| self.sim.elapsed() - since >= REST) => break,
                None => since = since.or(Some(self.sim.elapsed())),
                Some(wrong) => {
                    since = None;
                    assert!(self.sim.elapsed() - calm < RECOVERY, "seed {}: not at rest: {wrong}", self.seed);
                }
            }
        }
        let took = self.sim.elapsed() - calm - REST;
        let before = revisions(&self.look());
        self.pass(REST);
        assert_eq!(revisions(&self.look()), before, "seed {}: rows at rest are written", self.seed);
        println!("seed {}: {faults} faults, {wishes} wishes, at rest {took:?} after the last", self.seed);
    }

    /// Simulated time passes, and no faster than the database's.
    fn pass(&mut self, time: Duration) {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim.step().unwrap_or_else(|e| panic!("seed {}: {e}", self.seed));
            if let Some(ahead) = self.sim.elapsed().checked_sub(self.began.elapsed()) {
                self.outside.block_on(async move { tokio::time::sleep(ahead).await });
            }
        }
        // Who was behind does not hurry to make up for it.
        self.began = Instant::now().checked_sub(self.sim.elapsed()).unwrap_or(self.began);
        let now = self.sim.elapsed();
        let due: Vec<_> = self.repairs.iter().filter(|(at, _)| *at <= now).map(|(_, who)| *who).collect();
        self.repairs.retain(|(at, _)| *at > now);
        due.into_iter().for_each(|who| self.repair(who));
    }

    /// Does something with the rows from outside. The simulation goes on: it may hold the lock that this waits for.
    fn meanwhile<T: Send + 'static>(&mut self, work: impl Future<Output = T> + Send + 'static) -> T {
        let task = self.outside.spawn(work);
        while !task.is_finished() {
            self.pass(TICK);
        }
        self.outside.block_on(task).unwrap()
    }

    fn repair(&mut self, who: &'static str) {
        self.sim.release("fairlead", who);
        self.sim.repair("fairlead", who);
    }

    fn fault(&mut self) {
        let (who, _) = *self.chance.choice(&AGENTS).unwrap();
        let until = self.sim.elapsed() + Duration::from_millis(self.chance.u64(50..2_500));
        match self.chance.u8(0..10) {
            0 | 1 => self.sim.partition("fairlead", who),
            2 => self.sim.partition_oneway("fairlead", who),
            3 => self.sim.partition_oneway(who, "fairlead"),
            4 | 5 => self.sim.hold("fairlead", who),
            6 => {
                self.sim.crash(who);
                self.sim.bounce(who);
                return;
            }
            7 => {
                self.sim.crash("fairlead");
                let gone = Duration::from_millis(self.chance.u64(0..800));
                self.pass(gone);
                self.sim.bounce("fairlead");
                return;
            }
            // A cluster that one agent does not reach for the time being, or does again.
            _ => {
                let names = [&GIVEN[..], &FREE].concat();
                let name = (*self.chance.choice(&names).unwrap()).to_owned();
                let mut mind = look(&self.minds[who]);
                match mind.unreachable.iter().position(|n| *n == name) {
                    Some(at) => drop(mind.unreachable.remove(at)),
                    None => mind.unreachable.push(name),
                }
                return;
            }
        }
        self.repairs.push((until, who));
    }

    /// A user asks for something, and is answered that it was taken.
    fn wish(&mut self) {
        let names: Vec<_> = self.wanted.keys().copied().collect();
        let name = *self.chance.choice(&names).unwrap();
        let (event, wanted) = match self.chance.u8(0..10) {
            0..4 => (Event::Activate, Some(Wanted::Active)),
            4..6 => (Event::Deactivate, Some(Wanted::Inactive)),
            // Some are left for the rest of the time.
            6 if name.ends_with('2') => (Event::Delete, Some(Wanted::Deleted)),
            _ => (Event::Changed, None),
        };
        let extra = Extra { changed: event == Event::Changed, ..Extra::default() };
        let store = self.store.clone();
        let changed = self.meanwhile(async move { states::change(&store, name, |_| Some((Some(event), extra.clone()))).await });
        match changed {
            Ok(Changed::Done { .. }) => {
                if let Some(wanted) = wanted {
                    self.wanted.insert(name, wanted);
                }
            }
            // It is on its way out, or gone: nobody can want it otherwise.
            Ok(Changed::Refused(..) | Changed::Absent) => assert_eq!(self.wanted[name], Wanted::Deleted, "seed {}: {name}", self.seed),
            Ok(Changed::Ignored(row)) => panic!("seed {}: {event:?} of {name} in {} means nothing", self.seed, row.state.status),
            // Others were faster: the user is told so.
            Ok(Changed::Busy) => {}
            // The lock was held, or the commit's answer was lost: it was done or it was not, and the row tells.
            Err(e) => {
                println!("seed {}: {event:?} of {name}: {e}", self.seed);
                let wanted = self.look().get(name).map_or(Wanted::Deleted, |row| row.state.wanted);
                self.wanted.insert(name, wanted);
            }
        }
    }

    /// All rows, after a look at what must not be at any time.
    fn look(&mut self) -> BTreeMap<String, StateRow> {
        let names: Vec<&str> = self.wanted.keys().copied().collect();
        let store = self.store.clone();
        let rows = self.meanwhile(async move {
            loop {
                match states::load_many(&store, &names).await {
                    Ok(rows) => return rows,
                    Err(e) => println!("looked at again: {e}"),
                }
            }
        });
        for (agent, mind) in &self.minds {
            assert_eq!(look(mind).accused, Vec::<String>::new(), "seed {}: {agent}", self.seed);
        }
        for row in &rows {
            let told = format!("{} {} {:?}", row.learned.host, row.learned.identity, row.error_message);
            assert!(!told.contains(STALE), "seed {}: {} has the outcome of an older session: {told}", self.seed, row.name);
            let status = row.state.status;
            if matches!(status, Status::Activating | Status::Deactivating | Status::Deleting) {
                let now = self.sim.elapsed();
                let (rev, since) = self.under_way.entry(row.name.clone()).or_insert((row.rev, now));
                if *rev != row.rev {
                    (*rev, *since) = (row.rev, now);
                }
                assert!(now - *since < LONGEST, "seed {}: {} is in {status} for ever: {told}", self.seed, row.name);
            } else {
                self.under_way.remove(&row.name);
            }
        }
        rows.into_iter().map(|row| (row.name.clone(), row)).collect()
    }

    /// What is not yet as it should be at rest.
    fn wrong(&self, rows: &BTreeMap<String, StateRow>) -> Option<String> {
        self.wanted.iter().find_map(|(name, wanted)| {
            let row = rows.get(*name);
            let has: BTreeMap<&str, (i64, bool)> =
                self.minds.iter().filter_map(|(agent, mind)| Some((agent.as_str(), *look(mind).accounts.get(*name)?))).collect();
            let told = || {
                let row = row.map(|r| {
                    let due = r.due.map(|due| due - r.now);
                    (r.state, r.generation, r.zone.as_deref(), r.operation.as_deref(), r.owner.as_deref(), due, r.error_message.as_deref())
                });
                Some(format!("{name}, wanted {wanted:?}: {row:?}; agents have {has:?}"))
            };
            match (wanted, row) {
                (Wanted::Deleted, None) if has.is_empty() => None,
                (Wanted::Inactive, Some(row)) if row.state.status == Status::Inactive && has.is_empty() => None,
                (Wanted::Active, Some(row)) if row.state.status == Status::Active => {
                    let zone = AGENTS.iter().filter(|(_, zone)| name.starts_with(zone)).map(|(agent, _)| *agent).collect::<BTreeSet<_>>();
                    let holders: BTreeSet<&str> = has.keys().copied().collect();
                    let current = has.values().all(|(generation, _)| *generation == row.generation);
                    let watchers = has.values().filter(|(_, watches)| *watches).count();
                    if holders == zone && current && watchers == 1 { None } else { told() }
                }
                _ => told(),
            }
        })
    }
}

fn revisions(rows: &BTreeMap<String, StateRow>) -> Vec<(String, i64)> {
    rows.values().map(|row| (row.name.clone(), row.rev)).collect()
}

fn open(path: &Path) -> Store {
    let pool = pool_config(&format!("sqlite:{}", path.display()));
    Store::open(&Database { main: pool.clone(), intents: pool, source: SourceConfig::SameDatabase }, None).unwrap()
}

async fn enter(store: &Store, name: &str) {
    let definition = json!({"name": name, "kubeconfigContents": "encrypted:noop!v:kubeconfig"});
    let mut tx = store.main().begin().await.unwrap();
    let new = NewState {
        name,
        origin: Origin::Created,
        status: Status::ToMigrate,
        wanted: Wanted::Active,
        zone: GIVEN.contains(&name).then(|| name[..1].to_owned()),
        definition: Some(store.seal_definition(name, &definition).unwrap()),
        overlay: None,
        props: None,
        learned: None,
    };
    assert!(states::insert(store, &mut tx, &new).await.unwrap());
    tx.commit().await.unwrap();
}

/// A Fairlead's process, as far as agents are concerned.
async fn fairlead(path: PathBuf) -> Result<(), std::io::Error> {
    let yaml = "fairlead.channel: { pingInterval: 200ms, deadAfter: 700ms, handshakeTimeout: 2s }";
    let store = open(&path);
    while let Err(e) = store.migrate().await {
        println!("tables: {e}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let channel = world::channel(&world::config(yaml)).await;
    let dispatch = Dispatch::new(
        store,
        channel.agents(),
        limits(),
        Resolver::new(Settings { kubeconfig: Some("/nowhere".into()), timeout: Duration::from_secs(2) }),
        &Replica { id: "simulated".into(), heartbeat: Duration::from_millis(100), lease: Duration::from_secs(1) },
        Bell::default(),
        Metrics::default(),
        |_| {},
        CancellationToken::new(),
    );
    tokio::spawn(dispatch.run());
    world::listen(channel).await
}
