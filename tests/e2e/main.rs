//! The main job on real Clouddrivers of several generations, on MariaDB and PostgreSQL, with a real Gate as a client.
//!
//! What is started is named by `FAIRLEAD_E2E_CLOUDDRIVER` and `FAIRLEAD_E2E_GATE`; without them the suites that need them are
//! left out, which is said. `docs/testing.md` tells more. Arguments are words: only suites whose title has one of them run.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

mod api_mode;
mod bodies;
mod corpus;
mod differential;
mod outages;
mod paths;
mod plain;
mod replicas;
mod report;
mod rights;
mod storm;
#[path = "../support/mod.rs"]
mod support;
mod through_gate;
mod world;

use report::Report;
use support::clouddriver::{Clouddriver, Generation};
use support::databases::{SERVERS, Server};
use support::gate::Gate;
use world::World;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let code = runtime.block_on(run());
    // Whatever a failed suite has left behind is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    std::process::exit(code);
}

async fn run() -> i32 {
    let report = Report::from_arguments();
    let generations = Generation::from_environment();
    if generations.is_empty() {
        report.left_out("every suite: FAIRLEAD_E2E_CLOUDDRIVER names no Clouddriver");
        return report.end();
    }
    let mut gate = match Gate::command() {
        Some(command) if report.wants_any("gate") => Some(Gate::spawn(&command)),
        Some(_) => None,
        None => {
            report.left_out("the cases through Gate: FAIRLEAD_E2E_GATE names no Gate");
            None
        }
    };
    for generation in &generations {
        for server in SERVERS {
            let place = format!("{} {}", generation.name, server.word());
            if !report.wants_place(&place) {
                continue;
            }
            let started = std::time::Instant::now();
            let clouddriver = Clouddriver::start(generation, server, "").await;
            println!("---- {place}: Clouddriver answers after {:.0} s", started.elapsed().as_secs_f64());
            let mut world = World::new(clouddriver, place).await;
            if report.long_storm() {
                storm::long(&report, &mut world).await;
            } else {
                suites(&report, &mut world, gate.as_mut()).await;
            }
            world.end().await;
        }
    }
    // The strict path rules of late 2025 to mid 2026, which the newest server has behind a setting.
    if let Some(newest) = generations.iter().find(|g| !g.is_old())
        && report.wants_place(&format!("{} strict paths", newest.name))
        && !report.long_storm()
    {
        let clouddriver = Clouddriver::start(newest, Server::MariaDb, "url-handler.trailing-slash.enabled: false").await;
        let mut world = World::new(clouddriver, format!("{} strict paths", newest.name)).await;
        paths::run(&report, &mut world).await;
        world.end().await;
    }
    report.end()
}

async fn suites(report: &Report, world: &mut World, gate: Option<&mut Gate>) {
    plain::run(report, world).await;
    if let Some(gate) = gate {
        through_gate::run(report, world, gate).await;
    }
    paths::run(report, world).await;
    bodies::run(report, world).await;
    rights::run(report, world).await;
    outages::run(report, world).await;
    replicas::run(report, world).await;
    api_mode::run(report, world).await;
    storm::short(report, world).await;
}
