//! Operations a second, and how long one takes from the API to its agent.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::accounts;
use crate::crowd::Running;
use crate::http;
use crate::plan::Plan;
use crate::proc::seconds_of_tree;
use crate::report::{Report, quantile};
use crate::target::{Database, Target};

const PATIENCE: Duration = Duration::from_secs(120);

pub fn run(plan: &Plan, report: &mut Report, cores: usize) {
    let agents = plan.operation_agents;
    report.part(&format!("Operations at {agents} agents with an account each, {} at a time, SQLite", plan.under_way));
    let target = Target::start(&plan.fairlead, Database::Embedded);
    let running = Running::start(agents, target.grpc, &target.tls.client, Duration::from_secs(2), cores);
    running.all(PATIENCE);
    let names: Vec<String> = (0..agents).map(|n| format!("account-{n:05}")).collect();
    accounts::create(&target, &names, agents);
    let began = Instant::now();
    accounts::all(&target, &names, "ACTIVE");
    accounts::wait(&target, Some(&running), &names, "ACTIVE", began);

    // Each change is a PUT with a new definition, and over when the definition is at its agent. No account has two under way.
    let (next, before) = (AtomicUsize::new(0), seconds_of_tree(target.pid()));
    let began = Instant::now();
    let mut took: Vec<[f64; 2]> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..plan.under_way)
            .map(|worker| {
                let (next, names, target, running) = (&next, &names, &target, &running);
                scope.spawn(move || {
                    let mut took = Vec::new();
                    let mut turn = 0;
                    while next.fetch_add(1, Relaxed) < plan.operations {
                        // A worker has accounts of its own.
                        let own = (names.len() - worker).div_ceil(plan.under_way);
                        let number = worker + (turn % own) * plan.under_way;
                        turn += 1;
                        let name = &names[number];
                        let told = running.crowd.await_arrival(name);
                        let asked = Instant::now();
                        let body = accounts::definition(name, number, turn);
                        http::good(target.port, "PUT", "/armory/accounts/dynamic", Some(&body));
                        let answered = asked.elapsed().as_secs_f64();
                        let arrived = told.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{name}: it never arrived\n{}", target.log()));
                        took.push([(arrived - asked).as_secs_f64(), answered]);
                    }
                    took
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker")).collect()
    });
    let seconds = began.elapsed().as_secs_f64();
    report.figure("operations a second", took.len() as f64 / seconds, "");
    let mut column = |i: usize| took.iter_mut().map(|t| t[i] * 1e3).collect::<Vec<f64>>();
    let (mut arrived, mut answered) = (column(0), column(1));
    report.figure("from the PUT to its agent, p50", quantile(&mut arrived, 0.5), "ms");
    report.figure("from the PUT to its agent, p99", quantile(&mut arrived, 0.99), "ms");
    report.figure("from the PUT to its answer, p99", quantile(&mut answered, 0.99), "ms");
    report.figure("Fairlead's CPU for one", (seconds_of_tree(target.pid()) - before) / took.len() as f64 * 1e3, "ms");
}
