//! The network between Fairlead and its agents, simulated: partitions, delays, agents that come back. Time is the simulation's, so
//! bounds can be asserted. Each run prints its seed; `FAIRLEAD_SIM_SEED` runs one again, `FAIRLEAD_SIM_RUNS` runs so many.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fairlead::channel::{AgentId, Agents, Channel, Metrics, Unanswered};
use fairlead::wire::agent_service_client::AgentServiceClient;
use fairlead::wire::operate_request::Message as Said;
use fairlead::wire::operate_response::Message as Heard;
use hyper_util::rt::TokioIo;
use prometheus_client::registry::Registry;
use tonic::transport::Endpoint;
use turmoil::{Builder, Sim};
use ulid::Ulid;

use super::rig::{add, config};
use crate::scripted_agent::{ScriptedAgent, register};

const PORT: u16 = 9091;
type Shared = Rc<RefCell<Option<Arc<dyn Agents>>>>;

/// A host that is Fairlead's port; who is connected can be seen from outside.
fn fairlead(sim: &mut Sim<'_>) -> Shared {
    let shared: Shared = Rc::default();
    let out = shared.clone();
    sim.host("fairlead", move || {
        let out = out.clone();
        async move {
            let metrics = Metrics::register(&mut Registry::default());
            let channel = Channel::new(&config(), None, "simulated", metrics).await;
            *out.borrow_mut() = Some(channel.agents());
            let listener = turmoil::net::TcpListener::bind((IpAddr::from(Ipv4Addr::UNSPECIFIED), PORT)).await?;
            loop {
                let (stream, peer) = listener.accept().await?;
                tokio::spawn(channel.clone().connection(stream, peer));
            }
        }
    });
    shared
}

fn agents(shared: &Shared) -> Arc<dyn Agents> {
    shared.borrow().clone().expect("the host has started")
}

/// A connection in the simulation; it is given up like an agent would.
async fn connect() -> Result<AgentServiceClient<tonic::transport::Channel>, tonic::transport::Error> {
    let endpoint = Endpoint::from_static("http://fairlead:9091")
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(10));
    let connector = tower::service_fn(|_| async {
        let address = SocketAddr::new(turmoil::lookup("fairlead"), PORT);
        Ok::<_, std::io::Error>(TokioIo::new(turmoil::net::TcpStream::connect(address).await?))
    });
    Ok(AgentServiceClient::new(endpoint.connect_with_connector(connector).await?))
}

fn builder() -> Builder {
    let mut builder = Builder::new();
    builder.simulation_duration(Duration::from_secs(600)).tick_duration(Duration::from_millis(20)).tcp_capacity(4_096);
    builder
}

#[test]
fn an_agent_whose_host_vanishes_is_noticed_within_25_seconds_and_not_before_it_missed_a_ping() {
    let mut sim = builder().build();
    let shared = fairlead(&mut sim);
    sim.client("agent", async move {
        let _agent = ScriptedAgent::with(connect().await?, register("a", "z", &["x"])).await;
        let there = agents(&shared);
        let at = tokio::time::Instant::now();
        turmoil::partition("agent", "fairlead");
        while there.get(&AgentId("a".into())).is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let noticed = at.elapsed();
        println!("noticed after {noticed:?}");
        assert!(noticed <= Duration::from_secs(26) && noticed > Duration::from_secs(10), "{noticed:?}");
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn an_agent_that_comes_back_before_its_old_connection_is_known_dead_stays_there() {
    let mut sim = builder().build();
    let shared = fairlead(&mut sim);
    sim.client("agent", async move {
        let old = ScriptedAgent::with(connect().await?, register("a", "z", &["x"])).await;
        let there = agents(&shared);
        there.changed().await;
        // Nothing of the old connection arrives any more, not even its end.
        turmoil::hold("agent", "fairlead");
        std::mem::forget(old);
        tokio::time::sleep(Duration::from_secs(2)).await;
        turmoil::partition("agent", "fairlead");
        tokio::time::sleep(Duration::from_secs(1)).await;
        turmoil::repair("agent", "fairlead");
        turmoil::release("agent", "fairlead");
        let mut new = ScriptedAgent::with(connect().await?, register("a", "z", &["x"])).await;
        let epoch = new.registered.epoch;
        let watched = async {
            let until = tokio::time::Instant::now() + Duration::from_secs(120);
            while let Ok(changes) = tokio::time::timeout_at(until, there.changed()).await {
                assert!(changes.iter().all(|c| c.connected), "{changes:?}");
            }
        };
        // It answers pings while it waits.
        tokio::select! {
            () = watched => {}
            heard = new.hear() => panic!("{heard:?}"),
        }
        assert_eq!(there.get(&AgentId("a".into())).unwrap().session.epoch, epoch);
        Ok(())
    });
    sim.run().unwrap();
}

/// An agent that comes back whenever it lost its connection, and does what it is asked once for each operation.
async fn tireless(name: &'static str, done: Rc<RefCell<BTreeMap<String, u32>>>) -> turmoil::Result {
    loop {
        let session = async {
            let client = connect().await.ok()?;
            let mut agent = tokio::time::timeout(Duration::from_secs(10), ScriptedAgent::try_open(client)).await.ok()?.ok()?;
            agent.say(Said::Register(register(name, "z", &["x"]))).await;
            loop {
                match agent.try_hear(Duration::from_secs(25)).await? {
                    Heard::Registered(registered) => agent.registered = registered,
                    Heard::Operation(operation) => {
                        *done.borrow_mut().entry(operation.id.clone()).or_default() += 1;
                        agent.done(&operation).await;
                    }
                    Heard::Farewell(_) => return Some(()),
                    _ => {}
                }
            }
        };
        let _: Option<()> = session.await;
        tokio::time::sleep(Duration::from_millis(fastrand::u64(100..2_000))).await;
    }
}

const NAMES: [&str; 4] = ["agent0", "agent1", "agent2", "agent3"];

fn storm(seed: u64) {
    println!("seed {seed}");
    fastrand::seed(seed);
    let mut sim = builder()
        .rng_seed(seed)
        .min_message_latency(Duration::from_millis(1))
        .max_message_latency(Duration::from_millis(200))
        .simulation_duration(Duration::from_secs(1_000))
        .build();
    let shared = fairlead(&mut sim);
    let done: Rc<RefCell<BTreeMap<String, u32>>> = Rc::default();
    for name in NAMES {
        let done = done.clone();
        sim.host(name, move || tireless(name, done.clone()));
    }
    sim.client("world", async move {
        let there = agents(&shared);
        // Who follows the changes only.
        let mirror: Rc<RefCell<BTreeMap<AgentId, u64>>> = Rc::default();
        let (followed, follower) = (mirror.clone(), there.clone());
        tokio::task::spawn_local(async move {
            loop {
                for change in follower.changed().await {
                    match follower.get(&change.agent) {
                        Some(agent) => drop(followed.borrow_mut().insert(change.agent, agent.session.epoch)),
                        None => drop(followed.borrow_mut().remove(&change.agent)),
                    }
                }
            }
        });
        let mut epochs: BTreeMap<AgentId, u64> = BTreeMap::new();
        let mut ended = BTreeMap::<&str, u32>::new();
        for _ in 0..40 {
            let name = NAMES[fastrand::usize(..NAMES.len())];
            match fastrand::u8(..4) {
                0 => turmoil::partition(name, "fairlead"),
                1 => turmoil::partition_oneway(name, "fairlead"),
                2 => turmoil::partition_oneway("fairlead", name),
                _ => turmoil::repair(name, "fairlead"),
            }
            for agent in there.all() {
                let epoch = epochs.entry(agent.session.agent.clone()).or_default();
                assert!(agent.session.epoch >= *epoch, "an epoch went back");
                *epoch = agent.session.epoch;
                let (id, deadline, begun) = (Ulid::generate(), Duration::from_secs(8), tokio::time::Instant::now());
                let outcome = there.execute(&agent.session, id, add(&["y"], 1), deadline).await;
                assert!(begun.elapsed() <= deadline + Duration::from_millis(100), "an operation had no end in time");
                let word = match outcome {
                    Ok(outcomes) => {
                        assert!(done.borrow().get(&id.to_string()) == Some(&1) && outcomes[0].result.is_ok());
                        "outcome"
                    }
                    Err(Unanswered::Lost) => "lost",
                    Err(Unanswered::TimedOut(_)) => "timed out",
                    Err(e) => panic!("{e}"),
                };
                *ended.entry(word).or_default() += 1;
            }
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..3_000))).await;
        }
        for name in NAMES {
            turmoil::repair(name, "fairlead");
        }
        // Connections from before the repair die first.
        tokio::time::sleep(Duration::from_secs(60)).await;
        println!("{ended:?}");
        let all: BTreeMap<AgentId, u64> = there.all().iter().map(|a| (a.session.agent.clone(), a.session.epoch)).collect();
        assert_eq!(all.keys().map(|a| &*a.0).collect::<Vec<_>>(), NAMES, "not all came back");
        assert_eq!(*mirror.borrow(), all, "who follows the changes knows something else");
        assert!(done.borrow().values().all(|times| *times == 1), "an operation arrived twice");
        for agent in there.all() {
            let outcome = there.execute(&agent.session, Ulid::generate(), add(&["y"], 2), Duration::from_secs(8)).await;
            assert!(outcome.is_ok(), "{outcome:?}");
        }
        Ok(())
    });
    sim.run().unwrap();
}

#[test]
fn whatever_the_network_does_operations_end_once_and_in_time_and_all_agents_come_back() {
    let number = |name: &str| std::env::var(name).ok().and_then(|n| n.parse::<u64>().ok());
    if let Some(seed) = number("FAIRLEAD_SIM_SEED") {
        return storm(seed);
    }
    let first = fastrand::u64(..1 << 32);
    (first..first + number("FAIRLEAD_SIM_RUNS").unwrap_or(2)).for_each(storm);
}
