//! The main job on real Clouddrivers of several generations, on MariaDB and PostgreSQL, with a real Gate as a client.
//!
//! What is started is named by `FAIRLEAD_E2E_CLOUDDRIVER` and `FAIRLEAD_E2E_GATE`; without them the suites that need them are
//! left out, which is said. `docs/testing.md` tells more. Arguments are words: only suites whose title has one of them run.
#![allow(missing_docs, clippy::print_stdout, clippy::print_stderr)]

mod agents;
mod api_mode;
mod beside;
mod bodies;
mod corpus;
mod differential;
mod late;
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
mod tls;
mod unknown;
mod world;

use std::time::Instant;

use report::Report;
use support::clouddriver::{Clouddriver, Generation};
use support::databases::Server;
use support::gate::Gate;
use tokio::sync::Mutex;
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
    let gate = Mutex::new(match Gate::command() {
        Some(command) if report.wants_any("gate") && !report.long_storm() => Some(Gate::spawn(&command)),
        Some(_) => None,
        None => {
            report.left_out("the cases through Gate: FAIRLEAD_E2E_GATE names no Gate");
            None
        }
    });
    for generation in &generations {
        // Two at a time: most of the time is spent waiting for windows and leases to end.
        tokio::join!(place(&report, generation, Server::MariaDb, &gate), place(&report, generation, Server::Postgres, &gate));
    }
    // The strict path rules of late 2025 to mid 2026, which the newest server has behind a setting.
    if let Some(newest) = generations.iter().find(|g| !g.is_old())
        && !report.long_storm()
    {
        let place = format!("{} strict paths", newest.name);
        if report.wants_place(&place) && report.wants_any("paths") {
            let clouddriver = Clouddriver::start(newest, Server::MariaDb, "url-handler.trailing-slash.enabled: false").await;
            let world = World::new(clouddriver, place).await;
            paths::run(&report, &world).await;
        }
        tls::suite(&report, newest).await;
    }
    report.end()
}

/// All suites on one generation and one database.
async fn place(report: &Report, generation: &Generation, server: Server, gate: &Mutex<Option<Gate>>) {
    let place = format!("{} {}", generation.name, server.word());
    if !report.wants_place(&place) {
        return;
    }
    let started = Instant::now();
    let clouddriver = Clouddriver::start(generation, server, "").await;
    println!("---- {place}: Clouddriver answers after {:.0} s", started.elapsed().as_secs_f64());
    let world = World::new(clouddriver, place).await;
    if report.long_storm() {
        storm::long(report, &world).await;
        agents::long(report, &world).await;
    } else {
        suites(report, &world, gate).await;
    }
}

async fn suites(report: &Report, world: &World, gate: &Mutex<Option<Gate>>) {
    plain::run(report, world).await;
    through_gate::run(report, world, gate).await;
    paths::run(report, world).await;
    if world.server() == Server::MariaDb {
        // No database is in question here.
        beside::run(report, world).await;
    }
    unknown::run(report, world).await;
    late::run(report, world).await;
    rights::run(report, world).await;
    outages::run(report, world).await;
    replicas::run(report, world).await;
    agents::run(report, world, gate).await;
    api_mode::run(report, world).await;
    storm::short(report, world).await;
    // Last: after some of these bodies Clouddriver keeps accounts in memory that its table has no more.
    bodies::run(report, world).await;
}
