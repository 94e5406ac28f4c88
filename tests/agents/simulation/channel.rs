//! Orders under partitions, delays and restarts: each ends, by its deadline, with its own outcome or with none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::channel::{Agents, NewAccount, Order, Outcome, SessionId, Unanswered};
use tokio::time::Instant;
use ulid::Ulid;

use super::agent::{Character, Shared, look};
use super::{each_seed, world};

const TICK: Duration = Duration::from_millis(20);
const DEADLINE: Duration = Duration::from_secs(30);
/// How long faults come.
const CHAOS: Duration = Duration::from_secs(300);
/// A lost connection is missed, a pause is waited for, a connection is tried: then all are back.
const RECOVERY: Duration = Duration::from_secs(120);

/// What became of the orders.
#[derive(Default)]
struct Record {
    asked: u64,
    /// How they ended, in words, and how often.
    ended: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
    /// The present Fairlead's view.
    agents: Option<Arc<dyn Agents>>,
}

type Shown = Arc<Mutex<Record>>;

#[test]
fn under_partitions_delays_and_restarts_each_order_ends_by_its_deadline_with_its_own_outcome_or_none() {
    each_seed(4, simulate);
}

fn simulate(seed: u64) {
    let mut chance = fastrand::Rng::with_seed(seed);
    let mut sim = world::sim(seed, TICK, Duration::from_millis(200));
    let shown = Shown::default();
    let record = shown.clone();
    let fork = chance.u64(..);
    sim.host("fairlead", move || fairlead(record.clone(), fork));
    let characters: Vec<Character> = (0..4)
        .map(|n| Character {
            name: format!("agent{n}"),
            zone: "any".into(),
            slowness: Duration::from_secs(4),
            pause: Duration::from_secs(5),
            patience: Duration::from_secs(20),
        })
        .collect();
    let minds = world::agents(&mut sim, &characters, seed);
    world::pass(&mut sim, Duration::from_secs(10));

    let mut repairs: Vec<(Duration, String, bool)> = Vec::new();
    let until = sim.elapsed() + CHAOS;
    while sim.elapsed() < until {
        world::pass(&mut sim, Duration::from_millis(chance.u64(200..6_000)));
        let now = sim.elapsed();
        let who = characters[chance.usize(..characters.len())].name.clone();
        // Shorter than a death, longer, or in between.
        let lasts = Duration::from_secs(chance.u64(1..45));
        match chance.u8(0..8) {
            0 | 1 => {
                sim.partition("fairlead", who.as_str());
                repairs.push((now + lasts, who, false));
            }
            2 => {
                sim.partition_oneway("fairlead", who.as_str());
                repairs.push((now + lasts, who, false));
            }
            3 => {
                sim.partition_oneway(who.as_str(), "fairlead");
                repairs.push((now + lasts, who, false));
            }
            4 | 5 => {
                sim.hold("fairlead", who.as_str());
                repairs.push((now + lasts, who, true));
            }
            6 => {
                sim.crash(who.as_str());
                sim.bounce(who.as_str());
            }
            _ => {
                sim.crash("fairlead");
                world::pass(&mut sim, Duration::from_millis(chance.u64(0..10_000)));
                sim.bounce("fairlead");
            }
        }
        repairs.retain(|(at, who, held)| {
            let due = *at <= sim.elapsed();
            if due {
                repair(&sim, who, *held);
            }
            !due
        });
    }
    for (_, who, held) in repairs {
        repair(&sim, &who, held);
    }
    world::pass(&mut sim, RECOVERY);
    check(&shown, &minds, seed);
}

fn repair(sim: &turmoil::Sim<'static>, who: &str, held: bool) {
    if held {
        sim.release("fairlead", who);
    }
    sim.repair("fairlead", who);
}

fn check(shown: &Shown, minds: &BTreeMap<String, Shared>, seed: u64) {
    let record = shown.lock().unwrap();
    for (agent, mind) in minds {
        assert_eq!(look(mind).accused, Vec::<String>::new(), "seed {seed}: {agent}");
    }
    assert_eq!(record.faults, Vec::<String>::new(), "seed {seed}");
    let agents = record.agents.as_ref().expect("a Fairlead that lives").all();
    let there: BTreeMap<String, u64> = agents.iter().map(|a| (a.session.agent.to_string(), a.session.epoch)).collect();
    let believed: BTreeMap<String, u64> = minds.iter().filter_map(|(name, mind)| Some((name.clone(), look(mind).epoch?))).collect();
    assert_eq!(there, believed, "seed {seed}: both sides have to hold the same sessions");
    assert_eq!(there.len(), minds.len(), "seed {seed}: not all are back");
    let answered = record.ended.get("answered").copied().unwrap_or(0);
    assert!(answered > 20, "seed {seed}: a simulation in which nothing is answered shows nothing: {:?} of {}", record.ended, record.asked);
    println!("seed {seed}: {} orders, {:?}", record.asked, record.ended);
}

/// A Fairlead that asks something of somebody all the time. A crash takes the orders with it that are under way.
async fn fairlead(record: Shown, seed: u64) -> turmoil::Result {
    let channel = world::channel(&world::config("")).await;
    let agents = channel.agents();
    record.lock().unwrap().agents = Some(agents.clone());
    tokio::spawn(world::listen(channel));
    let mut chance = fastrand::Rng::with_seed(seed);
    loop {
        tokio::time::sleep(Duration::from_millis(chance.u64(10..1_500))).await;
        let all = agents.all();
        let Some(agent) = chance.choice(all.iter()) else { continue };
        let number = {
            let mut record = record.lock().unwrap();
            record.asked += 1;
            record.asked
        };
        let generation = i64::try_from(number).unwrap();
        let name = format!("any-{}", number % 3);
        let account = NewAccount { name: name.as_str().into(), generation, definition: Arc::from(*b"{}"), watch: true };
        let (session, agents, record) = (agent.session.clone(), agents.clone(), record.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            let ended = tokio::select! {
                ended = agents.execute(&session, Ulid::generate(), Order::Add(vec![account]), DEADLINE) => ended,
                () = outlived(&session, &*agents) => {
                    record.lock().unwrap().faults.push(format!("order {generation} of {} outlives its session", session.agent));
                    return;
                }
            };
            let took = began.elapsed();
            let fault = judge(&session, &name, generation, &ended, took, &*agents);
            let word = match ended {
                Ok(_) => "answered",
                Err(Unanswered::Lost) => "lost",
                Err(Unanswered::TimedOut(_)) => "timed out",
                Err(Unanswered::Busy) => "busy",
                Err(Unanswered::Refused(_)) => "refused",
            };
            let mut record = record.lock().unwrap();
            *record.ended.entry(word).or_default() += 1;
            record.faults.extend(fault);
        });
    }
}

/// A session has been gone for a while.
async fn outlived(session: &SessionId, agents: &dyn Agents) {
    while agents.get(&session.agent).is_some_and(|agent| agent.session == *session) {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// What is wrong with an end.
fn judge(
    session: &SessionId,
    name: &str,
    generation: i64,
    ended: &Result<Vec<Outcome>, Unanswered>,
    took: Duration,
    agents: &dyn Agents,
) -> Option<String> {
    let order = format!("order {generation} of {} ({})", session.agent, session.epoch);
    let lives = agents.get(&session.agent).is_some_and(|agent| agent.session == *session);
    if took > DEADLINE + TICK * 2 {
        return Some(format!("{order} ended {took:?} after it was given: {ended:?}"));
    }
    match ended {
        Ok(outcomes) => {
            let version = format!("{generation}-by-{}", session.agent);
            let own = |o: &Outcome| {
                &*o.name == name && o.generation == generation && matches!(&o.result, Ok(Some(facts)) if facts.version == version)
            };
            (outcomes.len() != 1 || !own(&outcomes[0])).then(|| format!("{order} has the outcome of another: {outcomes:?}"))
        }
        Err(Unanswered::Lost) => lives.then(|| format!("{order} is lost, and the session is there")),
        Err(Unanswered::TimedOut(_)) => (took < DEADLINE).then(|| format!("{order} timed out after {took:?}")),
        Err(e) => Some(format!("{order}: {e}")),
    }
}
