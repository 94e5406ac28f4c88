//! The agent itself, with many accounts.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::accounts;
use crate::cluster::Clusters;
use crate::http;
use crate::plan::Plan;
use crate::proc::{Memory, Process, seconds_of_tree};
use crate::report::Report;
use crate::target::{Database, Target, folder, free_ports};

const PATIENCE: Duration = Duration::from_secs(60);
const ZONE: &str = "the-agent_spinnaker";
/// How long it is left alone while what it costs at rest is counted: two rounds of its own looks at the clusters.
const REST: Duration = Duration::from_secs(65);

pub fn run(plan: &Plan, report: &mut Report) {
    let count = plan.agent_accounts;
    report.part(&format!("One fairlead-agent with {count} accounts, each a cluster of its own with TLS (a stand-in)"));
    let target = Target::start(&plan.fairlead, Database::Embedded);
    let clusters = Clusters::start();
    let folder = folder("agent");
    let [port] = free_ports();
    let ca = folder.join("ca.crt");
    std::fs::write(&ca, &target.tls.ca).expect("a file of the run");
    let yaml = format!(
        "clouddriver: {{ grpc: \"127.0.0.1:{}\", insecure: false, tls: {{ cacertFile: \"{}\", serverName: localhost }} }}\n\
         zoneId: {ZONE}\nserver: {{ host: 127.0.0.1, port: {port} }}\nlogging.level: warn\n",
        target.grpc,
        ca.display()
    );
    let config = folder.join("armory-agent.yml");
    std::fs::write(&config, yaml).expect("a configuration file");
    let mut command = Command::new(&plan.agent);
    command.arg("--config").arg(&config).current_dir(&folder).env("HOSTNAME", "the-agent");
    for (key, _) in std::env::vars().filter(|(key, _)| key.to_ascii_lowercase().ends_with("_proxy") || key.starts_with("KUBERNETES_")) {
        command.env_remove(key);
    }
    let mut process = Process::spawn(command, &folder.join("log")).unwrap_or_else(|e| panic!("{}: {e}", plan.agent.display()));
    let began = Instant::now();
    while http::good(target.port, "GET", "/armory/agents", None).as_array().is_none_or(Vec::is_empty) {
        let ended = process.ended();
        assert!(ended.is_none() && began.elapsed() < PATIENCE, "the agent does not come ({ended:?}):\n{}", process.said());
        std::thread::sleep(Duration::from_millis(50));
    }
    let empty = Memory::of_tree(process.id()).resident;

    let names: Vec<String> = (0..count).map(|n| format!("account-{n:05}")).collect();
    let account =
        |name: &String| json!({"name": name, "zoneId": ZONE, "kubeconfigContents": clusters.kubeconfig(&format!("token-{name}"))});
    let body = Value::Array(names.iter().map(account).collect());
    http::good(target.port, "POST", "/armory/accounts/dynamic", Some(&body));
    let (began, cpu) = (Instant::now(), seconds_of_tree(process.id()));
    accounts::all(&target, &names, "ACTIVE");
    let reached = accounts::wait(&target, None, &names, "ACTIVE", began);
    report.figure("all are ACTIVE, since the PATCH was sent", reached.done, "s");
    report.figure("the agent's CPU for that", seconds_of_tree(process.id()) - cpu, "s");
    let cpu = seconds_of_tree(process.id());
    std::thread::sleep(REST);
    let rest = (seconds_of_tree(process.id()) - cpu) / REST.as_secs_f64();
    let full = Memory::of_tree(process.id()).resident;
    report.figure("resident memory before the first account", empty as f64 / 1e6, "MB");
    report.figure("resident memory with all of them at rest", full as f64 / 1e6, "MB");
    report.figure("for each account", full.saturating_sub(empty) as f64 / count as f64 / 1e3, "kB");
    report.figure("CPU at rest (nothing is watched yet)", rest * 100.0, "% of one");
    process.terminate(PATIENCE);
}
