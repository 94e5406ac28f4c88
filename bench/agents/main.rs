//! What do agents cost? Thousands of simulated ones on one Fairlead, over the real protocol with TLS, in one command.
//!
//! Fairlead and the crowd share the machine's cores, so times are those of both together; what is Fairlead's own is its CPU and its
//! memory. `docs/performance.md` says how to read what is printed; `make bench-agents` runs it.

mod accounts;
mod agent;
mod batch;
mod cluster;
mod crowd;
#[path = "../price/figures.rs"]
mod figures;
mod http;
mod link;
mod operations;
mod plan;
#[allow(dead_code, reason = "the price bench's, which has more use for it")]
#[path = "../price/proc.rs"]
mod proc;
mod real_agent;
mod report;
mod restarts;
mod target;
mod tls;
mod watch;

/// Generated from `proto/fairlead/agent/v1/agent.proto`.
#[allow(clippy::all)]
mod wire {
    tonic::include_proto!("fairlead.agent.v1");
}

use std::time::Instant;

use plan::{Part, Plan};
use proc::Machine;

/// Of the CPUs' time; what others take above it makes the figures doubtful.
const OTHERS_BOUND: f64 = 0.05;

fn main() {
    rustls::crypto::aws_lc_rs::default_provider().install_default().expect("the first one");
    let plan = Plan::from_environment();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let files = proc::open_files_limit();
    println!("{cores} cores, {files} open files, load {}", proc::load_average());
    assert!(files > plan.crowd + 1_000, "{} agents need as many open files, and {files} are allowed: ulimit -n", plan.crowd);

    let mut report = report::Report::default();
    let (began, machine) = (Instant::now(), Machine::now());
    for part in &plan.parts {
        match part {
            Part::Crowd => restarts::run(&plan, &mut report, cores),
            Part::Accounts => accounts::run(&plan, &mut report, cores),
            Part::Operations => operations::run(&plan, &mut report, cores),
            Part::Agent => real_agent::run(&plan, &mut report),
            Part::Batch => batch::run(&plan, &mut report),
        }
    }
    report.goals();
    let elapsed = began.elapsed().as_secs_f64();
    let others = (machine.busy_since() - own_seconds()) / (elapsed * cores as f64);
    println!(
        "\nIn {elapsed:.0} s other processes (MariaDB is one) took {:.1} % of the CPUs{}, the hypervisor {:.1} %.",
        others * 100.0,
        if others > OTHERS_BOUND { ": what takes time is doubtful, what counts CPU and memory is not" } else { "" },
        machine.stolen_since() * 100.0
    );
}

/// Seconds on a CPU of this process and of its children that have ended.
fn own_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let times = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(4);
    times.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
