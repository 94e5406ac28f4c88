//! What many accounts in one request take: POST, PATCH and DELETE with 1, 100, 1,000 and 10,000 entries, on each kind of database.

use std::time::Instant;

use serde_json::{Value, json};

use crate::accounts::definition;
use crate::http;
use crate::plan::Plan;
use crate::proc::seconds_of_tree;
use crate::report::{Goal, Report};
use crate::target::{Database, Target};

/// One entry is asked for so often, and the median counts: what one request takes varies more than what a thousand entries take.
const SINGLES: usize = 21;

pub fn run(plan: &Plan, report: &mut Report) {
    on(plan, report, Database::Embedded);
    let name = || format!("fairlead_batch_{}", std::process::id());
    match &plan.mariadb {
        Some(url) => on(plan, report, Database::MariaDb { url: url.clone(), name: name() }),
        None => println!("\nMariaDB is left out: FAIRLEAD_TEST_MARIADB names none"),
    }
    match &plan.postgres {
        Some(url) => on(plan, report, Database::Postgres { url: url.clone(), name: name() }),
        None => println!("\nPostgreSQL is left out: FAIRLEAD_TEST_POSTGRES names none"),
    }
}

fn on(plan: &Plan, report: &mut Report, database: Database) {
    let word = database.word();
    let sizes: Vec<usize> = [1, 100, 1_000, 10_000].into_iter().filter(|size| *size <= plan.batch).collect();
    let target = Target::start(&plan.fairlead, database);
    let names = |size: usize, round: usize| -> Vec<String> { (0..size).map(|n| format!("batch-{size}-{round}-{n:05}")).collect() };
    // Where Clouddriver's table can be beside Fairlead's, accounts are taken over too.
    let beside = target.clouddrivers_table();
    if beside {
        for size in &sizes {
            let rounds = if *size == 1 { SINGLES } else { 1 };
            let taken: Vec<String> = (0..rounds).flat_map(|round| names(*size, round)).map(|name| format!("taken-{name}")).collect();
            target.put_into_clouddrivers_table(&taken);
        }
    }
    let mut one: Vec<f64> = Vec::new();
    for size in sizes {
        report.part(&format!("{size} entries in one request, {word}"));
        let rounds = if size == 1 { SINGLES } else { 1 };
        let mut times: Vec<Vec<f64>> = vec![Vec::new(); STEPS.len()];
        let (cpu, mut reading) = (seconds_of_tree(target.pid()), 0.0);
        for round in 0..rounds {
            let names = names(size, round);
            for (step, times) in STEPS.iter().zip(&mut times) {
                if step.taken && !beside {
                    continue;
                }
                let body = (step.body)(&names);
                let began = Instant::now();
                let answer = http::call(target.port, step.method, step.path, Some(&body));
                let (status, text) = answer.unwrap_or_else(|e| panic!("{}: {e}\n{}", step.name, target.log()));
                match status {
                    status if status == step.status => times.push(began.elapsed().as_secs_f64()),
                    504 => println!("  {:<62} no answer in 60 s", step.name),
                    _ => panic!("{}: {status}: {}", step.name, String::from_utf8_lossy(&text).chars().take(2_000).collect::<String>()),
                }
                if step.path == MADE {
                    reading = read_all(&target);
                }
            }
        }
        for (i, (step, times)) in STEPS.iter().zip(&mut times).enumerate() {
            times.sort_unstable_by(f64::total_cmp);
            let Some(median) = times.get(times.len() / 2).copied() else {
                one.push(f64::NAN);
                continue;
            };
            match size {
                1 => {
                    one.push(median);
                    report.figure(step.name, median * 1e3, "ms");
                    continue;
                }
                1_000 => report.held(&format!("{size} entries, {word}"), step.name, median, "s", Goal(1.0)),
                _ => report.figure(step.name, median, "s"),
            }
            report.figure("  times what one entry takes", median / one[i], "");
        }
        report.figure("GET of all accounts then, 1,000 in a page", reading, "s");
        report.figure("its CPU for all of these", seconds_of_tree(target.pid()) - cpu, "s");
    }
}

/// One request of a row.
struct Step {
    name: &'static str,
    method: &'static str,
    path: &'static str,
    body: fn(&[String]) -> Value,
    /// Of accounts that Clouddriver has.
    taken: bool,
    status: u16,
}

/// How long it takes to read all accounts, page by page.
fn read_all(target: &Target) -> f64 {
    let began = Instant::now();
    for page in 1.. {
        let answer = http::good(target.port, "GET", &format!("{ACCOUNTS}?limit=1000&page={page}"), None);
        if answer["total"].as_u64().expect("a number") <= page * 1_000 {
            break;
        }
    }
    began.elapsed().as_secs_f64()
}

const ACCOUNTS: &str = "/armory/accounts";
const MADE: &str = "/armory/accounts/dynamic";
const STEPS: [Step; 7] = [
    Step { name: "POST /armory/accounts", method: "POST", path: ACCOUNTS, body: |names| takes(names), taken: true, status: 202 },
    Step { name: "the same once more: 409", method: "POST", path: ACCOUNTS, body: |names| takes(names), taken: true, status: 409 },
    Step { name: "POST /armory/accounts/dynamic", method: "POST", path: MADE, body: made, taken: false, status: 202 },
    Step { name: "PATCH ACTIVE", method: "PATCH", path: ACCOUNTS, body: |names| wished(names, "ACTIVE"), taken: false, status: 202 },
    Step { name: "PATCH ACTIVE, another kubeconfig each", method: "PATCH", path: ACCOUNTS, body: another, taken: false, status: 202 },
    Step { name: "PATCH INACTIVE", method: "PATCH", path: ACCOUNTS, body: |names| wished(names, "INACTIVE"), taken: false, status: 202 },
    Step { name: "DELETE", method: "DELETE", path: ACCOUNTS, body: |names| json!(names), taken: false, status: 202 },
];

fn takes(names: &[String]) -> Value {
    names.iter().map(|name| json!({"name": format!("taken-{name}")})).collect()
}

/// A kubeconfig by a reference, as a migration of thousands has it: ten thousand with their text would be more than a body may hold.
fn made(names: &[String]) -> Value {
    names.iter().map(|name| json!({"name": name, "zoneId": "nobody", "kubeconfigFile": reference(name, 0)})).collect()
}

fn wished(names: &[String], state: &str) -> Value {
    names.iter().map(|name| json!({"name": name, "state": state})).collect()
}

fn another(names: &[String]) -> Value {
    names.iter().map(|name| json!({"name": name, "state": "ACTIVE", "kubeconfigFile": reference(name, 1)})).collect()
}

fn reference(name: &str, version: usize) -> String {
    format!("encryptedFile:k8s!n:kubeconfigs-{version}!k:{name}!ns:spinnaker")
}

/// What Clouddriver has of an account: an ordinary definition with its kubeconfig.
pub fn clouddrivers(name: &str) -> Value {
    let mut all = definition(name, 0, 0);
    all["type"] = json!("kubernetes");
    all
}
