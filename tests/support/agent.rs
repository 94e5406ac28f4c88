//! The `fairlead-agent` binary as an operator runs it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::http;
use super::process::{Process, folder, free_port};

/// A running agent, killed when it is dropped.
pub struct Agent {
    pub id: String,
    /// Health and accounts.
    pub port: u16,
    yaml: String,
    variables: Vec<(String, String)>,
    folder: PathBuf,
    process: Option<Process>,
}

impl Agent {
    /// Starts one and waits until it answers for itself; whether it is connected is the other side's to say. `more`: YAML of its own.
    pub async fn start(id: &str, zone: &str, grpc_port: u16, more: &str) -> Self {
        Self::start_with(id, zone, grpc_port, more, &[]).await
    }

    /// As [`Agent::start`], with variables of the environment.
    pub async fn start_with(id: &str, zone: &str, grpc_port: u16, more: &str, variables: &[(&str, String)]) -> Self {
        Self::start_as(id, zone, (grpc_port, "insecure: true"), more, variables).await
    }

    /// As [`Agent::start`], by TLS; `tls`: what is below `clouddriver.tls`.
    pub async fn start_by_tls(id: &str, zone: &str, grpc_port: u16, tls: &str) -> Self {
        Self::start_as(id, zone, (grpc_port, &format!("insecure: false, tls: {tls}")), "", &[]).await
    }

    async fn start_as(id: &str, zone: &str, (grpc_port, way): (u16, &str), more: &str, variables: &[(&str, String)]) -> Self {
        let port = free_port();
        let yaml = format!(
            "clouddriver: {{ grpc: \"127.0.0.1:{grpc_port}\", {way}, backoff: {{ baseDelay: 200000000, maxDelay: 1000000000 }} }}\n\
             kubernetes.reconnectTimeoutMs: 100\nzoneId: \"{zone}\"\nserver: {{ host: 127.0.0.1, port: {port} }}\n{more}\n"
        );
        let variables = variables.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let mut agent = Self { id: id.to_owned(), port, yaml, variables, folder: folder(&format!("agent-{id}-{port}")), process: None };
        agent.launch().await;
        agent
    }

    async fn launch(&mut self) {
        let file = self.folder.join("armory-agent.yml");
        std::fs::write(&file, &self.yaml).expect("a configuration file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_fairlead-agent"));
        // The machine's own cluster and proxies are none of the test's.
        command.arg("--config").arg(&file).current_dir(&self.folder).env("HOSTNAME", &self.id);
        for key in ["HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "KUBERNETES_SERVICE_HOST"] {
            command.env_remove(key);
        }
        command.envs(self.variables.iter().map(|(k, v)| (k, v)));
        self.process = Some(Process::spawn(&self.id, command, &self.folder.join("agent.log")));
        let start = Instant::now();
        while http::get(self.port, "/health").await.is_err() {
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.ended() {
                panic!("{} ended at start ({status}):\n{}", self.id, process.log_tail(4000));
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{} does not answer:\n{}", self.id, process.log_tail(4000));
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Starts it again under its name, with the same configuration.
    pub async fn start_again(&mut self) {
        self.launch().await;
    }

    /// SIGTERM, and waits for an orderly end.
    pub async fn drain(&mut self) -> std::process::ExitStatus {
        let mut process = self.process.take().expect("it runs");
        process.signal("TERM");
        match process.end(Duration::from_secs(40)).await {
            Some(status) => status,
            None => panic!("{} does not end after SIGTERM:\n{}", self.id, process.log_tail(4000)),
        }
    }

    /// The world stands still for it (`SIGSTOP`).
    pub async fn pause(&self) {
        self.process().stop().await;
    }

    /// It goes on.
    pub fn resume(&self) {
        self.process().signal("CONT");
    }

    /// What it says of its accounts.
    pub async fn accounts(&self) -> Value {
        http::get(self.port, "/accounts").await.map(|a| a.json()).unwrap_or_default()
    }

    /// Whether it has an account of this name.
    pub async fn has(&self, name: &str) -> bool {
        // As a whole word, wherever its JSON has it.
        self.accounts().await.to_string().contains(&format!("\"{name}\""))
    }

    /// The whole log of all its lives.
    pub fn log(&self) -> String {
        std::fs::read(self.folder.join("agent.log")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// The end of the log, for a failure's message.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        log.chars().skip(log.chars().count().saturating_sub(4000)).collect()
    }

    /// Local ports that it listens on.
    pub fn listens_on(&self) -> BTreeSet<u16> {
        self.sockets().into_iter().filter(|s| s.state == LISTEN).map(|s| s.local).collect()
    }

    /// How many connections it has to this port of this machine.
    pub fn connections_to(&self, port: u16) -> usize {
        self.sockets().iter().filter(|s| s.state == ESTABLISHED && s.remote == port).count()
    }

    fn sockets(&self) -> Vec<Socket> {
        let id = self.process().id();
        let links = std::fs::read_dir(format!("/proc/{id}/fd")).expect("a running process").flatten();
        let inodes: BTreeSet<String> = links
            .filter_map(|l| std::fs::read_link(l.path()).ok()?.to_str()?.strip_prefix("socket:[")?.strip_suffix(']').map(str::to_owned))
            .collect();
        let mut sockets = Vec::new();
        for table in ["tcp", "tcp6"] {
            let text = std::fs::read_to_string(format!("/proc/{id}/net/{table}")).unwrap_or_default();
            for line in text.lines().skip(1) {
                let words: Vec<&str> = line.split_whitespace().collect();
                let port = |word: &str| u16::from_str_radix(word.rsplit(':').next().unwrap_or_default(), 16).unwrap_or_default();
                if words.get(9).is_some_and(|inode| inodes.contains(*inode)) {
                    sockets.push(Socket { local: port(words[1]), remote: port(words[2]), state: words[3].to_owned() });
                }
            }
        }
        sockets
    }
}

/// As `/proc/net/tcp` has it.
struct Socket {
    local: u16,
    remote: u16,
    state: String,
}

const ESTABLISHED: &str = "01";
const LISTEN: &str = "0A";
