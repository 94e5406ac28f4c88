//! A channel of its own for each test.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fairlead::channel::{Agent, AgentChange, AgentId, Agents, Channel, Metrics, NewAccount, Order, SessionId, bind};
use fairlead::config::ChannelConfig;
use fairlead::telemetry::metrics::{Exposition, Metrics as Registry};
use fairlead::tls::front::Acceptor;

/// As it is shipped, on any port.
pub fn config() -> ChannelConfig {
    fairlead::config::load_text("kubesvc.grpc.server: {address: 127.0.0.1, port: 0}", &[]).unwrap().settings.channel.unwrap()
}

pub struct Rig {
    pub channel: Arc<Channel>,
    pub agents: Arc<dyn Agents>,
    pub address: SocketAddr,
    metrics: Exposition,
}

impl Rig {
    pub async fn start() -> Self {
        Self::with(config(), None).await
    }

    pub async fn with(config: ChannelConfig, tls: Option<Acceptor>) -> Self {
        let mut registry = Registry::new();
        let metrics = registry.register(Metrics::register);
        let listener = bind(config.listen).unwrap();
        let address = listener.local_addr().unwrap();
        let channel = Channel::new(&config, tls, "replica-of-a-test", metrics).await;
        channel.listen(listener);
        Self { agents: channel.agents(), channel, address, metrics: registry.finish() }
    }

    /// A line of the metrics page.
    pub fn metric(&self, line: &str) -> f64 {
        let page = self.metrics.encode();
        let value = page.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' ')?.parse().ok());
        value.unwrap_or(0.0)
    }

    /// Waits until the metrics page has this value in this line.
    pub async fn measures(&self, line: &str, value: f64) {
        until(&format!("{line} {value}"), || self.metric(line) == value).await;
    }

    pub fn agent(&self, name: &str) -> Option<Arc<Agent>> {
        self.agents.get(&AgentId(name.into()))
    }

    pub fn session(&self, name: &str) -> SessionId {
        self.agent(name).unwrap_or_else(|| panic!("{name} is not there")).session.clone()
    }

    pub async fn changed(&self) -> Vec<AgentChange> {
        tokio::time::timeout(Duration::from_secs(20), self.agents.changed()).await.expect("nothing changed for long")
    }
}

/// Waits for something that comes to be.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what}: it did not come to be");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// An order to reach clusters.
pub fn add(names: &[&str], generation: i64) -> Order {
    let account = |name: &&str| NewAccount { name: (*name).into(), generation, definition: Arc::from(*b"{\"a\":1}"), watch: true };
    Order::Add(names.iter().map(account).collect())
}
