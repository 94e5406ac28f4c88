//! Ten thousand agents on one process: what they take, and how they come back.

use std::time::{Duration, Instant};

use crate::crowd::Running;
use crate::plan::Plan;
use crate::proc::{Memory, seconds_of_tree};
use crate::report::{Goal, Report};
use crate::target::{Database, Target};
use crate::watch;

/// Beyond it nobody waits any longer.
const PATIENCE: Duration = Duration::from_secs(300);
/// How long they are left alone while what they cost at rest is counted.
const REST: Duration = Duration::from_secs(30);

pub fn run(plan: &Plan, report: &mut Report, cores: usize) {
    let size = plan.crowd;
    let part = format!("{size} agents, each with TLS and a zone of its own");
    report.part(&part);
    let mut target = Target::start(&plan.fairlead, Database::Embedded);
    let empty = Memory::of_tree(target.pid()).resident;
    let spread = Duration::from_secs_f64((size as f64 / 1_000.0).max(2.0));
    let running = Running::start(size, target.grpc, &target.tls.client, spread, cores);
    running.all(PATIENCE);
    // A session that lasted shorter was no good one, and pauses go on growing.
    std::thread::sleep(Duration::from_secs(12));

    let before = seconds_of_tree(target.pid());
    std::thread::sleep(REST);
    let rest = (seconds_of_tree(target.pid()) - before) / REST.as_secs_f64();
    let full = Memory::of_tree(target.pid()).resident;
    report.figure("resident memory before the first agent", mb(empty), "MB");
    report.held(&part, "resident memory with all of them at rest", mb(full), "MB", Goal(400.0));
    report.figure("for each agent", (full.saturating_sub(empty)) as f64 / size as f64 / 1e3, "kB");
    report.figure("CPU at rest (pings both ways)", rest * 100.0, "% of one");

    for word in ["SIGTERM", "kill -9"] {
        let part = format!("{size} agents, {word}");
        report.part(&format!("After {word} and an immediate start"));
        let began = Instant::now();
        match word {
            "SIGTERM" => target.terminate(),
            _ => target.kill(),
        }
        let ended = began.elapsed().as_secs_f64();
        target.launch();
        let ready = began.elapsed().as_secs_f64();
        let seen = watch::until_all(&running, target.pid(), began, PATIENCE);
        report.figure("its end took", ended, "s");
        report.figure("ready again", ready, "s");
        report.figure("half of the agents are back", seen.share(0.5), "s");
        report.figure("99 % are back", seen.share(0.99), "s");
        report.held(&part, "all are back, since the end began", seen.share(1.0), "s", Goal(60.0));
        report.figure("most handshakes in a second", seen.most_handshakes(), "");
        report.figure("handshakes for each agent", seen.handshakes_each(), "");
        report.held(&part, "time in which it took 90 % of all CPUs", seen.seconds_above(0.9 * cores as f64), "s", Goal(10.0));
        report.figure("its CPU until all were back", seen.cpu(), "s");
        report.figure("the crowd's own CPU meanwhile", seen.crowd_cpu, "s");
        std::thread::sleep(Duration::from_secs(12));
        report.figure("resident memory some seconds later", mb(Memory::of_tree(target.pid()).resident), "MB");
    }
    let lines = target.log().lines().count();
    report.figure("lines in its log (level warn) over all of this", lines as f64, "");
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
