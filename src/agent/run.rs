//! From a configuration to a running agent, and to its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::accounts::{Clusters, Keeper};
use super::local::{self, Local};
use super::metrics::Metrics;
use super::reload::{Reload, with_digests};
use super::session::LEAVE_LIMIT;
use super::status::Status;
use super::{Context, connect};
use crate::config::agent::{Loaded, Sources, Surroundings};
use crate::telemetry::{self, admin};

/// After what a session may take to leave.
const END_LIMIT: Duration = Duration::from_secs(4);

/// Why the agent did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// Nobody knows what the agent is called.
    #[error("the agent has no name: set the variable HOSTNAME, which Kubernetes sets to the pod's name")]
    NoName,
    /// An address is taken.
    #[error("{key}: {address} cannot be listened on ({source})")]
    Listen {
        /// The keys that name it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
}

/// A running agent.
pub struct Agent {
    stop: CancellationToken,
    /// Ends the local listeners, last.
    end: CancellationToken,
    keeper: Keeper,
    connection: tokio::task::JoinHandle<()>,
    others: TaskTracker,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
}

impl Agent {
    /// Starts it: local listeners first, then the static accounts, then the way to Fairlead. `sources` are looked at for changes.
    ///
    /// # Errors
    /// Nothing of it runs then.
    pub async fn start(sources: Sources, loaded: Loaded, surroundings: Surroundings) -> Result<Self, StartError> {
        let agent = surroundings.host_name.clone().ok_or(StartError::NoName)?;
        let loaded = with_digests(loaded);
        for remark in &surroundings.remarks {
            warn!("{remark}");
        }
        if loaded.settings.control.tls.is_none() {
            warn!(
                "clouddriver.insecure is true, its default: what Fairlead and the agent say to each other, credentials of accounts too, goes \
                 over the network without TLS"
            );
        }
        let listener = listen("server.host, server.port", loaded.settings.server).await?;
        let address = listener.local_addr().unwrap_or(loaded.settings.server);
        let metrics_listener = match loaded.settings.prometheus {
            Some(address) => Some(listen("prometheus.port", address).await?),
            None => None,
        };
        let metrics_address = metrics_listener.as_ref().and_then(|l| l.local_addr().ok());

        let metrics = Metrics::default();
        let mut registry = telemetry::metrics::Metrics::new();
        registry.register_unprefixed(|registry| metrics.register(registry));
        let exposition = registry.finish();

        let accounts = loaded.settings.accounts.clone();
        let (sender, settings) = watch::channel(Arc::new(loaded.settings));
        let surroundings = Arc::new(surroundings);
        let requests = metrics.requests.clone();
        let clusters = Clusters { settings: settings.clone(), surroundings: Arc::clone(&surroundings), requests };
        let keeper = Keeper::new(settings.clone(), Box::new(clusters), metrics.clone());
        let status = Status::default();
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());

        let others = TaskTracker::new();
        let local = Local { keeper: keeper.clone(), status: status.clone(), agent: Arc::clone(&agent) };
        others.spawn(admin::serve_router(listener, local::router(local), end.clone()));
        if let Some(listener) = metrics_listener {
            others.spawn(admin::serve_router(listener, local::metrics(exposition), end.clone()));
        }
        keeper.set_static(&accounts);
        let seen = tokio::task::spawn_blocking({
            let sources = sources.clone();
            move || sources.digest()
        });
        let reload =
            Reload { sources, seen: seen.await.unwrap_or_default(), settings: sender, keeper: keeper.clone(), metrics: metrics.clone() };
        others.spawn(reload.run(stop.clone()));
        info!(agent = %agent, address = %address, "started");
        let context = Context {
            settings,
            surroundings,
            keeper: keeper.clone(),
            status,
            metrics,
            agent,
            instance: format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)),
            stop: stop.clone(),
        };
        let connection = tokio::spawn(async move { connect::run(&context).await });
        Ok(Self { stop, end, keeper, connection, others, address, metrics_address })
    }

    /// Where health and accounts are told.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where metrics are told, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// Says that it leaves, sends the outcomes of what is under way, and ends. Bounded.
    pub async fn drain(self) {
        info!("ending: operations under way are finished");
        self.stop.cancel();
        let mut connection = self.connection;
        if tokio::time::timeout(LEAVE_LIMIT + END_LIMIT, &mut connection).await.is_err() {
            warn!("the session did not end in time and is cut");
            connection.abort();
        }
        let _ = tokio::time::timeout(END_LIMIT, self.keeper.end()).await;
        self.end.cancel();
        self.others.close();
        let _ = tokio::time::timeout(END_LIMIT, self.others.wait()).await;
        info!("ended");
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { key, address, source })
}
