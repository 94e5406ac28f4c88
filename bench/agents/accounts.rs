//! Ten thousand accounts, from the first PATCH to the last ACTIVE.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::zone;
use crate::crowd::Running;
use crate::http;
use crate::plan::Plan;
use crate::proc::{Memory, seconds_of_tree};
use crate::report::{Goal, Report};
use crate::target::{Database, Target};

const PATIENCE: Duration = Duration::from_secs(300);
/// Accounts in one body.
const BATCH: usize = 500;
/// The API's longest page.
const PAGE: usize = 1_000;

pub fn run(plan: &Plan, report: &mut Report, cores: usize) {
    on(plan, report, cores, Database::Embedded, "SQLite");
    match &plan.mariadb {
        Some(url) => {
            let database = Database::MariaDb { url: url.clone(), name: format!("fairlead_crowd_{}", std::process::id()) };
            on(plan, report, cores, database, "MariaDB");
        }
        None => println!("\nMariaDB is left out: FAIRLEAD_TEST_MARIADB names none"),
    }
}

fn on(plan: &Plan, report: &mut Report, cores: usize, database: Database, word: &str) {
    let part = format!("{} accounts for {} agents, {word}", plan.accounts, plan.account_agents);
    report.part(&part);
    let target = Target::start(&plan.fairlead, database);
    let names: Vec<String> = (0..plan.accounts).map(|n| format!("account-{n:05}")).collect();
    let began = Instant::now();
    create(&target, &names, plan.account_agents);
    report.figure("made by POST /armory/accounts/dynamic, 500 in a body", began.elapsed().as_secs_f64(), "s");
    report.figure("in TO_MIGRATE by PATCH, 500 in a body", all(&target, &names, "ACTIVE").as_secs_f64(), "s");

    // They wait for agents, and now all of these come.
    let (began, before) = (Instant::now(), seconds_of_tree(target.pid()));
    let running = Running::start(plan.account_agents, target.grpc, &target.tls.client, Duration::ZERO, cores);
    let active = wait(&target, Some(&running), &names, "ACTIVE", began);
    report.figure("the last agent had answered after", active.answered, "s");
    report.held(&part, "all are ACTIVE, since the agents began to connect", active.done, "s", Goal(10.0));
    report.figure("its CPU for that", seconds_of_tree(target.pid()) - before, "s");
    report.figure("resident memory then", Memory::of_tree(target.pid()).resident as f64 / 1e6, "MB");

    for state in ["INACTIVE", "ACTIVE"] {
        let began = Instant::now();
        let patched = all(&target, &names, state).as_secs_f64();
        let done = wait(&target, None, &names, state, began).done;
        report.figure(&format!("all are {state} again, since the first PATCH was sent"), done, "s");
        report.figure("  of which the PATCHes took", patched, "s");
    }
}

/// Makes accounts for the agents in turn.
pub fn create(target: &Target, names: &[String], agents: usize) {
    for (batch, names) in names.chunks(BATCH).enumerate() {
        let account = |(i, name): (usize, &String)| definition(name, (batch * BATCH + i) % agents, 0);
        let body = Value::Array(names.iter().enumerate().map(account).collect());
        http::good(target.port, "POST", "/armory/accounts/dynamic", Some(&body));
    }
}

/// An account as a user writes it; another `version` is another definition.
pub fn definition(name: &str, agent: usize, version: usize) -> Value {
    let kubeconfig = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: \"https://{name}.example:6443\", certificate-authority-data: {}}}\n\
         users:\n- name: u\n  user: {{token: {:0>900}}}\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\n",
        "QQ==", version
    );
    json!({"name": name, "zoneId": zone(agent), "kubeconfigContents": kubeconfig})
}

/// Asks for a state of all.
pub fn all(target: &Target, names: &[String], state: &str) -> Duration {
    let began = Instant::now();
    for names in names.chunks(BATCH) {
        let body = Value::Array(names.iter().map(|name| json!({"name": name, "state": state})).collect());
        http::good(target.port, "PATCH", "/armory/accounts", Some(&body));
    }
    began.elapsed()
}

/// When a state was reached.
pub struct Reached {
    /// The last agent had answered.
    pub answered: f64,
    /// The API showed the last one in its state. It is asked four times a second.
    pub done: f64,
}

/// Waits until the API shows them all in this state.
pub fn wait(target: &Target, running: Option<&Running>, names: &[String], state: &str, began: Instant) -> Reached {
    let answers = || running.map_or(0, |running| running.crowd.operations.load(Relaxed));
    let before = answers();
    let mut answered = None;
    let mut page = 1;
    loop {
        if answered.is_none() && answers() >= before + names.len() as u64 {
            answered = Some(began.elapsed().as_secs_f64());
        }
        let list = http::good(target.port, "GET", &format!("/armory/accounts?page={page}&limit={PAGE}"), None);
        let items = list["items"].as_array().map_or(&[][..], Vec::as_slice);
        match items.iter().find(|item| item["status"] != state) {
            None if page * PAGE >= names.len() => {
                let done = began.elapsed().as_secs_f64();
                return Reached { answered: answered.unwrap_or(done), done };
            }
            None => page += 1,
            Some(item) => {
                assert!(began.elapsed() < PATIENCE, "not {state} after {PATIENCE:?}: {item}\n{}", target.log());
                std::thread::sleep(Duration::from_millis(250));
            }
        }
    }
}
