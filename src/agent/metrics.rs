//! What is counted, under the original's names where it had one.

use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The agent's metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) connections: Gauge,
    pub(crate) disconnections: Counter,
    pub(crate) requests: Requests,
    pub(crate) accounts: Family<State, Gauge>,
    pub(crate) reloads: Family<Result, Counter>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct State {
    pub(crate) state: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub(crate) struct Result {
    pub(crate) result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

/// Requests to API servers, by how they ended. A gauge that only grows: the original's name has no `_total`, which a counter would add.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Family<Code, Gauge>);

impl Requests {
    /// One request: its status, or `None` where there was no answer.
    pub(crate) fn count(&self, status: Option<StatusCode>) {
        let code = match status.map(|s| s.as_u16()) {
            None => "none",
            Some(401) => "401",
            Some(403) => "403",
            Some(200..=299) => "2xx",
            Some(500..=599) => "5xx",
            Some(400..=499) => "4xx",
            Some(_) => "other",
        };
        self.0.get_or_create(&Code { code }).inc();
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register("kubesvc_connection_count", "Connections to Fairlead: 1 or 0", self.connections.clone());
        registry.register("kubesvc_disconnection", "Connections to Fairlead that have ended", self.disconnections.clone());
        registry.register("kubesvc_kubernetes_requests", "Requests to API servers, by status", self.requests.0.clone());
        registry.register("fairlead_agent_accounts", "Accounts, by state", self.accounts.clone());
        registry.register("fairlead_agent_configuration_reloads", "Configurations that were read again", self.reloads.clone());
    }
}
