//! What vanishes without a word is missed on both sides, and what is only slow is not.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use fairlead::channel::{AgentId, Agents};
use turmoil::Sim;

use super::agent::{Character, Shared, look};
use super::world;

const TICK: Duration = Duration::from_millis(20);

/// What the one Fairlead holds for connected, to be looked at from outside.
type Seen = Arc<Mutex<Option<Arc<dyn Agents>>>>;

struct Scene {
    sim: Sim<'static>,
    seen: Seen,
    mind: Shared,
}

impl Scene {
    /// One agent, registered, with all times as they are shipped.
    fn new() -> Self {
        let mut sim = world::sim(7, TICK, Duration::from_millis(100));
        let seen = Seen::default();
        let shown = seen.clone();
        sim.host("fairlead", move || {
            let shown = shown.clone();
            async move {
                let channel = world::channel(&world::config("")).await;
                *shown.lock().unwrap() = Some(channel.agents());
                Ok(world::listen(channel).await?)
            }
        });
        let (pause, patience) = (Duration::from_secs(1), Duration::from_secs(20));
        let who = Character { name: "one".into(), zone: "a".into(), slowness: Duration::ZERO, pause, patience };
        let mind = world::agents(&mut sim, &[who], 7).remove("one").unwrap();
        let mut scene = Self { sim, seen, mind };
        scene.until("it registers", Duration::from_secs(60), |s| s.there().is_some() && s.believed().is_some());
        scene
    }

    /// The session's epoch, as Fairlead has it.
    fn there(&self) -> Option<u64> {
        let agents = self.seen.lock().unwrap();
        agents.as_ref()?.get(&AgentId("one".into())).map(|agent| agent.session.epoch)
    }

    /// As the agent has it.
    fn believed(&self) -> Option<u64> {
        look(&self.mind).epoch
    }

    fn until(&mut self, what: &str, bound: Duration, is: impl Fn(&Self) -> bool) -> Duration {
        let began = self.sim.elapsed();
        while !is(self) {
            assert!(self.sim.elapsed() - began < bound, "{what}: not within {bound:?}");
            world::pass(&mut self.sim, TICK);
        }
        self.sim.elapsed() - began
    }
}

#[test]
fn an_agent_whose_packets_vanish_is_missed_on_both_sides_within_25_seconds_and_comes_back() {
    for ways in [["fairlead", "one"], ["one", "fairlead"]] {
        for oneway in [false, true] {
            let mut scene = Scene::new();
            let epoch = scene.there();
            if oneway {
                scene.sim.partition_oneway(ways[0], ways[1]);
            } else {
                scene.sim.partition(ways[0], ways[1]);
            }
            // What was on its way when it happened counts from its arrival.
            let bound = Duration::from_secs(25) + Duration::from_millis(500);
            let word = format!("{ways:?}, one way only: {oneway}");
            scene.until(&format!("both sides miss it ({word})"), bound, |s| s.there() != epoch && s.believed() != epoch);
            scene.sim.repair(ways[0], ways[1]);
            scene.until("it is back", Duration::from_secs(60), |s| s.there().is_some() && s.there() == s.believed());
            assert!(scene.there() > epoch, "a session has the number of an older one");
        }
    }
}

#[test]
fn a_pause_of_ten_seconds_costs_no_session() {
    let mut scene = Scene::new();
    let epoch = scene.there();
    for _ in 0..5 {
        scene.sim.hold("fairlead", "one");
        world::pass(&mut scene.sim, Duration::from_secs(10));
        scene.sim.release("fairlead", "one");
        world::pass(&mut scene.sim, Duration::from_secs(15));
        assert_eq!((scene.there(), scene.believed()), (epoch, epoch));
    }
}
