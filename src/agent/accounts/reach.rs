//! How clusters are reached: a seam, so that the table's own tests need none.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::watch;

use crate::agent::cluster::{Access, Cluster, Definition, Facts, Ways, check, learn};
use crate::agent::failure::{Failure, Reason};
use crate::agent::metrics::Requests;
use crate::config::agent::{Kubernetes, Settings, Surroundings};

/// A boxed future that may move between threads.
pub(crate) type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Finds the way to a cluster.
pub(crate) trait Reach: Send + Sync + 'static {
    /// Judges a definition; nothing is connected to yet.
    fn open(&self, definition: Arc<Definition>) -> BoxFuture<'_, Result<Box<dyn Way>, Failure>>;
}

/// The way to one cluster. Dropping it closes its connections.
pub(crate) trait Way: Send + Sync {
    /// Learns everything, within the time that the settings give.
    fn learn(&self) -> BoxFuture<'_, Result<Facts, Failure>>;
    /// Sees that the credentials are still accepted, and says the cluster's version.
    fn check(&self) -> BoxFuture<'_, Result<String, Failure>>;
}

/// Real clusters.
pub(crate) struct Clusters {
    pub(crate) settings: watch::Receiver<Arc<Settings>>,
    pub(crate) surroundings: Arc<Surroundings>,
    pub(crate) requests: Requests,
}

impl Reach for Clusters {
    fn open(&self, definition: Arc<Definition>) -> BoxFuture<'_, Result<Box<dyn Way>, Failure>> {
        let kubernetes = self.settings.borrow().kubernetes.clone();
        let surroundings = Arc::clone(&self.surroundings);
        let requests = self.requests.clone();
        Box::pin(async move {
            let judged = tokio::task::spawn_blocking(move || {
                let ways = Ways { kubernetes: &kubernetes, surroundings: &surroundings };
                Access::of(&definition, ways).map(|access| (access, kubernetes))
            });
            let (access, kubernetes) = judged
                .await
                .map_err(|_| Failure::new(Reason::Internal, "reading the definition broke off: this is a bug in the agent"))??;
            Ok(Box::new(Real { cluster: Cluster::new(access, requests), kubernetes }) as Box<dyn Way>)
        })
    }
}

struct Real {
    cluster: Cluster,
    kubernetes: Kubernetes,
}

impl Way for Real {
    fn learn(&self) -> BoxFuture<'_, Result<Facts, Failure>> {
        Box::pin(learn(&self.cluster, self.kubernetes.connect_timeout))
    }

    fn check(&self) -> BoxFuture<'_, Result<String, Failure>> {
        Box::pin(check(&self.cluster, self.kubernetes.request_timeout))
    }
}
