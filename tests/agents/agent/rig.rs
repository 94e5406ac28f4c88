//! An agent in this process, and what it is given.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fairlead::agent::Agent;
use fairlead::config::agent::{Sources, Surroundings, load};
use fairlead::wire::NewAccount;
use serde_json::{Value, json};

use crate::support::databases::eventually;
use crate::support::http;

/// A running agent and the folder of its configuration.
pub struct Rig {
    pub agent: Agent,
    pub folder: tempfile::TempDir,
}

/// The least configuration: where Fairlead is, short pauses, free ports.
pub fn yaml(fairlead: SocketAddr, more: &str) -> String {
    format!(
        "clouddriver: {{ grpc: \"{fairlead}\", backoff: {{ baseDelay: 20000000, maxDelay: 100000000 }} }}\n\
         kubernetes.reconnectTimeoutMs: 20\nserver: {{ host: 127.0.0.1, port: 0 }}\nprometheus: {{ enabled: true, port: 0 }}\n{more}\n"
    )
}

/// What surrounds a pod of this name, outside of any cluster.
pub fn pod(name: &str) -> Surroundings {
    Surroundings { host_name: Some(name.into()), namespace: Some("spinnaker".into()), ..Surroundings::default() }
}

impl Rig {
    pub async fn start(yaml: &str) -> Self {
        Self::surrounded(yaml, pod("agent-1-5b6d8c7f9-x2x4z")).await
    }

    pub async fn surrounded(yaml: &str, surroundings: Surroundings) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("armory-agent.yml");
        std::fs::write(&file, yaml).unwrap();
        let sources = Sources::new(vec![file], BTreeMap::new());
        let loaded = load(&sources).unwrap_or_else(|e| panic!("{e}"));
        let agent = Agent::start(sources, loaded, surroundings).await.unwrap();
        Self { agent, folder }
    }

    pub fn file(&self) -> PathBuf {
        self.folder.path().join("armory-agent.yml")
    }

    /// Asks the local listener; status and body.
    pub async fn get(&self, path: &str) -> (u16, Value) {
        let answer = http::get(self.agent.address().port(), path).await.unwrap();
        (answer.status, answer.json())
    }

    /// Asks until the answer is as wanted; the answer.
    pub async fn until(&self, path: &str, wanted: impl Fn(u16, &Value) -> bool) -> Value {
        let start = std::time::Instant::now();
        loop {
            let (status, body) = self.get(path).await;
            if wanted(status, &body) {
                return body;
            }
            assert!(start.elapsed() < super::scripted::PATIENCE, "{path} stays {status} {body}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Why the agent is not connected, once that has these words.
    pub async fn trouble(&self, words: &[&str]) -> String {
        let has = |body: &Value| body["message"].as_str().is_some_and(|m| words.iter().all(|w| m.contains(w)));
        let body = self.until("/health", |status, body| status == 503 && has(body)).await;
        body["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page of metrics has this line.
    pub async fn measures(&self, line: &str) {
        let has = || async { self.metrics().await.lines().any(|l| l == line).then_some(()) };
        eventually(line, super::scripted::PATIENCE, has).await;
    }

    pub async fn metrics(&self) -> String {
        let port = self.agent.metrics_address().unwrap().port();
        http::get(port, "/prometheus_metrics").await.unwrap().text()
    }
}

/// An account as Fairlead sends it: the kubeconfig in base64.
pub fn account(name: &str, generation: i64, kubeconfig: &str) -> NewAccount {
    with(name, generation, json!({ "kubeconfigContents": STANDARD.encode(kubeconfig) }))
}

/// An account with these properties beside its name.
pub fn with(name: &str, generation: i64, properties: Value) -> NewAccount {
    let mut definition = json!({ "type": "kubernetes", "name": name });
    for (key, value) in properties.as_object().unwrap() {
        definition[key] = value.clone();
    }
    NewAccount { name: name.into(), generation, definition_json: definition.to_string().into_bytes(), watch: false }
}
