//! A Fairlead's process, and what users ask of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use fairlead::demo::Cluster;
use serde_json::{Value, json};

use crate::support::agent::Agent;
use crate::support::http::{self, Answer, Request};
use crate::support::process::{Fairlead, Setup};

/// As long as only a fault takes.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub struct Whole {
    pub fairlead: Fairlead,
    pub cluster: Cluster,
}

impl Whole {
    pub async fn start(setup: Setup) -> Self {
        let cluster = Cluster::start("a-token").await.expect("started");
        Self { fairlead: Fairlead::start(setup).await, cluster }
    }

    pub fn grpc_port(&self) -> u16 {
        self.fairlead.setup.grpc_port
    }

    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> std::io::Result<Answer> {
        http::call(self.fairlead.setup.port, &Request::new(method, path).json(body.to_string())).await
    }

    /// Accounts that Clouddriver never had, INACTIVE.
    pub async fn create(&self, names: &[String], zone: &str) {
        let kubeconfig = self.cluster.kubeconfig("a-token");
        let entry = |name: &String| json!({"name": name, "zoneId": zone, "kubeconfigContents": kubeconfig});
        let answer = self.ask("POST", "/armory/accounts/dynamic", &names.iter().map(entry).collect()).await.expect("an answer");
        assert_eq!(answer.status, 202, "{}", answer.text());
    }

    /// PATCH; whether it was answered that it is noted.
    pub async fn wish(&self, names: &[String], state: &str) -> bool {
        let entries = names.iter().map(|name| json!({"name": name, "state": state})).collect();
        self.ask("PATCH", "/armory/accounts", &entries).await.is_ok_and(|answer| answer.status == 202)
    }

    pub async fn create_active(&self, names: &[String], zone: &str) {
        self.create(names, zone).await;
        assert!(self.wish(names, "ACTIVE").await);
        self.become_active(names).await;
    }

    pub async fn become_active(&self, names: &[String]) {
        self.until(&format!("{names:?} are ACTIVE"), |all| names.iter().all(|name| all.get(name).is_some_and(|a| a["status"] == "ACTIVE")))
            .await;
    }

    /// Waits until the accounts, by their names, are as they should be.
    pub async fn until(&self, what: &str, is: impl Fn(&BTreeMap<String, Value>) -> bool) {
        let start = Instant::now();
        loop {
            let answer = http::get(self.fairlead.setup.port, "/armory/accounts?limit=1000").await;
            let items = answer.as_ref().map(|a| a.json()["items"].as_array().cloned().unwrap_or_default()).unwrap_or_default();
            let all = items.into_iter().map(|i| (i["name"].as_str().unwrap_or_default().to_owned(), i)).collect();
            if is(&all) {
                return;
            }
            let told = || {
                let brief = |a: &Value| format!("{} {} {} {}", a["name"], a["status"], a["errorMessage"], a["agents"]);
                all.values().map(brief).collect::<Vec<_>>().join("\n")
            };
            assert!(start.elapsed() < PATIENCE, "it never is so: {what}\n{}\n{}", told(), self.fairlead.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until these agents have each of these accounts, nobody else, and exactly one of them watches it.
    pub async fn held(&self, names: &[String], agents: &[&str]) {
        let wanted: BTreeSet<&str> = agents.iter().copied().collect();
        self.until(&format!("{agents:?} have {names:?} and one watches"), |all| {
            names.iter().all(|name| {
                let holders = all.get(name).and_then(|a| a["agents"].as_array()).cloned().unwrap_or_default();
                let ids: BTreeSet<&str> = holders.iter().filter_map(|h| h["agentId"].as_str()).collect();
                ids == wanted && holders.iter().filter(|h| h["caching"] == true).count() == 1
            })
        })
        .await;
    }

    /// Waits until these agents are connected, and no other.
    pub async fn connected(&self, agents: &[&Agent]) {
        let wanted: BTreeSet<String> = agents.iter().map(|a| a.id.clone()).collect();
        let start = Instant::now();
        loop {
            let answer = http::get(self.fairlead.setup.port, "/armory/agents").await;
            let all = answer.map(|a| a.json()).unwrap_or_default();
            let ids: BTreeSet<String> =
                all.as_array().into_iter().flatten().filter_map(|a| a["agentId"].as_str().map(str::to_owned)).collect();
            if ids == wanted {
                return;
            }
            let logs = || agents.iter().map(|a| a.log_tail()).collect::<Vec<_>>().join("\n----\n");
            assert!(start.elapsed() < PATIENCE, "{wanted:?} never are connected: {all}\n{}\n{}", self.fairlead.log_tail(), logs());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// The sum of the metric's lines that have these words.
    pub async fn metric(&self, words: &[&str]) -> f64 {
        let page = http::get(self.fairlead.setup.admin_port, "/metrics").await.expect("the metrics").text();
        let lines = page.lines().filter(|l| !l.starts_with('#') && words.iter().all(|w| l.contains(w)));
        lines.filter_map(|l| l.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// Waits until [`Whole::metric`] has come to this.
    pub async fn counts(&self, words: &[&str], at_least: f64) {
        let start = Instant::now();
        while self.metric(words).await < at_least {
            assert!(start.elapsed() < PATIENCE, "{words:?} never comes to {at_least}\n{}", self.fairlead.log_tail());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// So many names.
pub fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|i| format!("{prefix}{i}")).collect()
}
