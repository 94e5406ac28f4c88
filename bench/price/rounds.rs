//! What is measured in which order: all targets in each round, one after the other, another one first each time.

use std::time::Duration;

use crate::busy::{Busy, busy};
use crate::load::{self, Way};
use crate::plan::Plan;
use crate::proc::{Cpu, Memory};
use crate::report::{Better, Figure, Goal, quantile};
use crate::targets::Target;

/// A large body.
const BODY: usize = 64 * 1024 * 1024;

/// Pairs of connections in one round.
const PAIRS: usize = 4;

/// A thread with this share of the work has both.
const ONE_THREAD: f64 = 0.8;

/// How long a process is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);

/// Files that a process has open beside its connections.
const OTHER_FILES: usize = 500;

/// What runs while all targets are up.
pub struct Rounds<'a> {
    pub plan: &'a Plan,
    /// The first is the origin.
    pub targets: &'a [Target],
    pub cores: usize,
}

impl Rounds<'_> {
    /// The positions of the targets in the order of that round.
    fn order(&self, round: usize) -> impl Iterator<Item = usize> {
        let count = self.targets.len();
        (0..count).map(move |i| (i + round) % count)
    }

    pub fn latency(&self) -> Vec<Figure> {
        let Plan { rate, constant, closed, rounds, .. } = *self.plan;
        let at_rate = self.added(&format!("at {rate}/s"), Some(Goal::ToBetter(1.2)), rounds, |port| load::constant(port, rate, constant));
        let one_by_one = self.added("one request after the other", None, rounds, |port| load::closed(port, closed));
        at_rate.into_iter().chain(one_by_one).collect()
    }

    /// What each target adds to the median and to the 99th percentile of the direct way in the same round, in µs.
    fn added(&self, how: &str, tail: Option<Goal>, rounds: usize, measure: impl Fn(u16) -> Vec<f64>) -> [Figure; 2] {
        let mut middle = Figure::new(&format!("Added p50, {how}"), "µs", Better::Low, Some(Goal::ToNginx(1.0)));
        let mut end = Figure::new(&format!("Added p99, {how}"), "µs", Better::Low, tail);
        for round in 0..rounds {
            let mut quantiles = vec![(0.0, 0.0); self.targets.len()];
            for i in self.order(round) {
                let mut took = measure(self.targets[i].port);
                quantiles[i] = (quantile(&mut took, 0.5) * 1e6, quantile(&mut took, 0.99) * 1e6);
            }
            let direct = quantiles[0];
            middle.push(0, direct.0);
            end.push(0, direct.1);
            for (i, (p50, p99)) in quantiles.into_iter().enumerate().skip(1) {
                middle.push(i, p50 - direct.0);
                end.push(i, p99 - direct.1);
            }
        }
        [middle, end]
    }

    pub fn throughput(&self) -> Vec<Figure> {
        let mut rate = Figure::new("Throughput, 64 at a time", "requests/s", Better::High, Some(Goal::ToBetter(1.1)));
        let mut thrift =
            Figure::new("Requests for a second of the proxy's CPU, 64 at a time", "requests", Better::High, Some(Goal::ToBetter(1.0)));
        let mut cost = Figure::new("CPU of the proxy for a request, 64 at a time", "µs", Better::Low, None);
        let mut origin = Figure::new("CPU of the origin for a request, 64 at a time", "µs", Better::Low, None).without_ratios();
        let mut load = Figure::new("CPU of the load for a request, 64 at a time", "µs", Better::Low, None).without_ratios();
        for round in 0..self.plan.rounds {
            for i in self.order(round) {
                let target = &self.targets[i];
                let Busy { requests, seconds, target: used, origin: behind, load: own } =
                    busy(target.port, target.pid(), self.targets[0].pid(), self.cores, self.plan.busy);
                rate.push(i, requests / seconds);
                origin.push(i, behind / requests * 1e6);
                load.push(i, own / requests * 1e6);
                if i > 0 {
                    thrift.push(i, requests / used);
                    cost.push(i, used / requests * 1e6);
                }
            }
        }
        vec![rate, thrift, cost, origin, load]
    }

    pub fn bodies(&self) -> Vec<Figure> {
        let mut figures = Vec::new();
        for (way, word) in [(Way::Up, "up"), (Way::Down, "down")] {
            let mut thrift =
                Figure::new(&format!("64 MiB {word}, for a second of the proxy's CPU"), "MB", Better::High, Some(Goal::ToNginx(0.9)));
            let mut speed = Figure::new(&format!("64 MiB {word}, speed"), "MB/s", Better::High, None);
            for round in 0..self.plan.rounds {
                for i in self.order(round) {
                    let target = &self.targets[i];
                    let (before, began) = (Cpu::of_tree(target.pid()), std::time::Instant::now());
                    load::bodies(target.port, way, BODY, self.plan.transfers);
                    let seconds = began.elapsed().as_secs_f64();
                    let used = Cpu::of_tree(target.pid()).since(&before).as_secs_f64();
                    let megabytes = (BODY * self.plan.transfers) as f64 / 1e6;
                    speed.push(i, megabytes / seconds);
                    if i > 0 {
                        thrift.push(i, megabytes / used);
                    }
                }
            }
            figures.extend([thrift, speed]);
        }
        figures
    }

    /// Whether two busy connections end on one thread while another has nothing to do.
    pub fn spread(&self) -> Vec<Figure> {
        let mut figure =
            Figure::new("Pairs of busy connections that one thread serves", "%", Better::Low, Some(Goal::AtMost(0.0))).without_ratios();
        for round in 0..self.plan.rounds.div_ceil(2) {
            for i in self.order(round).filter(|i| *i > 0) {
                let target = &self.targets[i];
                let together = (0..PAIRS).filter(|_| {
                    let before = Cpu::of_tree(target.pid());
                    load::pair(target.port);
                    Cpu::of_tree(target.pid()).busiest_since(&before) > ONE_THREAD
                });
                figure.push(i, together.count() as f64 / PAIRS as f64 * 100.0);
            }
        }
        vec![figure]
    }
}

/// Time from start to the first answer; the first start of all is the one on a new database.
pub fn starts(plan: &Plan, targets: &mut [Target]) -> Vec<Figure> {
    let mut figure = Figure::new("From start to the first answer", "ms", Better::Low, None);
    for _ in 0..plan.starts {
        for (i, target) in targets.iter_mut().enumerate().skip(1) {
            target.stop();
            figure.push(i, target.start().as_secs_f64() * 1e3);
        }
    }
    vec![figure]
}

/// Memory of processes that have just started.
pub fn memory(plan: &Plan, targets: &mut [Target], files: usize) -> Vec<Figure> {
    let steps = [
        ("idle", 0, Some(Goal::AtMost(10.0))),
        ("1,000 idle connections", 1_000, Some(Goal::AtMost(20.0))),
        ("10,000 idle connections", 10_000, None),
    ];
    let steps: Vec<_> = steps.into_iter().filter(|(_, count, _)| count + OTHER_FILES <= files).collect();
    let mut figures: Vec<Figure> = Vec::new();
    for (name, _, goal) in &steps {
        figures.push(Figure::new(&format!("Resident memory, {name}"), "MB", Better::Low, *goal));
        figures.push(Figure::new(&format!("Resident memory, {name}, shared pages counted once"), "MB", Better::Low, None));
    }
    for _ in 0..plan.memories {
        for (i, target) in targets.iter_mut().enumerate().skip(1) {
            target.stop();
            target.start();
            let mut idle = Vec::new();
            for (step, (_, count, _)) in steps.iter().enumerate() {
                load::keep(target.port, &mut idle, *count);
                std::thread::sleep(SETTLE);
                let memory = Memory::of_tree(target.pid());
                figures[2 * step].push(i, memory.resident as f64 / 1e6);
                figures[2 * step + 1].push(i, memory.proportional as f64 / 1e6);
            }
        }
    }
    if steps.len() < 3 {
        println!("\n{files} open files are too few for 10,000 connections: left out");
    }
    figures
}
