//! What does the proxy cost? Direct, nginx, HAProxy and Fairlead before the same origin, on loopback, side by side in one run.
//!
//! All share the machine's cores, so only ratios say something, and only between figures that were taken in turn: each figure is
//! measured in many short rounds, one target after the other and another one first each time, and is the median of its rounds.
//! `docs/performance.md` says how to read what is printed; `make bench-proxy` runs it.

mod busy;
mod figures;
mod load;
mod plan;
mod proc;
mod report;
mod rounds;
mod targets;
mod wire;

use std::time::Instant;

use plan::{Part, Plan};
use proc::Machine;
use report::Figure;
use rounds::Rounds;
use targets::Target;

/// Of the CPUs' time; what others take above it makes the figures doubtful.
const OTHERS_BOUND: f64 = 0.05;

fn main() {
    let plan = Plan::from_environment();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let files = proc::open_files_limit();
    println!("{cores} cores, {files} open files, load {}", proc::load_average());

    let mut targets = Target::all(&plan, cores, files);
    for target in &mut targets {
        target.start();
        target.check();
        println!("  {:<10} {}", target.name, target.version());
    }
    let names: Vec<String> = targets.iter().map(|t| t.name.clone()).collect();

    let mut verdicts = Vec::new();
    let mut show = |figures: Vec<Figure>| verdicts.extend(figures.iter().flat_map(|f| f.print(&names)));
    let (began, machine, own) = (Instant::now(), Machine::now(), proc::seconds_of_tree(std::process::id()));
    {
        let rounds = Rounds { plan: &plan, targets: &targets, cores };
        for part in &plan.parts {
            match part {
                Part::Latency => show(rounds.latency()),
                Part::Throughput => show(rounds.throughput()),
                Part::Bodies => show(rounds.bodies()),
                Part::Spread => show(rounds.spread()),
                Part::Start | Part::Memory => {}
            }
        }
    }
    let others = machine.busy_since() - (proc::seconds_of_tree(std::process::id()) - own);
    let elapsed = began.elapsed().as_secs_f64();
    let (others, stolen) = (others / (elapsed * cores as f64), machine.stolen_since());
    // These two stop and start processes, whose time on the CPUs is then nobody's.
    for part in &plan.parts {
        match part {
            Part::Start => show(rounds::starts(&plan, &mut targets)),
            Part::Memory => show(rounds::memory(&plan, &mut targets, files)),
            Part::Latency | Part::Throughput | Part::Bodies | Part::Spread => {}
        }
    }

    println!("\nGoals");
    for verdict in &verdicts {
        println!("  {verdict}");
    }
    println!(
        "\nIn {:.0} s other processes took {:.1} % of the CPUs{}, the hypervisor {:.1} %.",
        elapsed,
        others * 100.0,
        if others > OTHERS_BOUND { ": TOO MUCH, run it again on a quiet machine" } else { "" },
        stolen * 100.0
    );
    // The proxies first: none of them shall see the origin go.
    while targets.pop().is_some() {}
}
