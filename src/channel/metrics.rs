//! What the channel counts. No label is of an agent's choosing.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A word out of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Word(pub &'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

/// Labels of counters that are told apart by a reason.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Reason {
    /// The reason.
    pub reason: Word,
}

/// Labels of `channel_operations`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Operation {
    /// `AddAccounts`, `DeleteAccounts`, `SetRoles`.
    pub kind: Word,
    /// `outcome`, `refused`, `lost`, `timed_out`, `busy`.
    pub ended: Word,
}

type Reasons = Family<Reason, Counter>;

/// Counters and gauges of the channel; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) agents: Gauge,
    pub(super) connections: Gauge,
    connections_refused: Reasons,
    registrations: Reasons,
    sessions_ended: Reasons,
    operations: Family<Operation, Counter>,
    pub(super) in_flight: Gauge,
    outcomes_dropped: Reasons,
    pub(super) pings_missed: Counter,
    pub(super) reports_dropped: Counter,
    pub(super) bytes_received: Counter,
    pub(super) bytes_sent: Counter,
    pub(super) panics: Counter,
}

impl Metrics {
    /// Registers them, without prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("channel_agents", "Agents that are connected and registered", m.agents.clone());
        registry.register("channel_connections", "Connections on the agents' port", m.connections.clone());
        registry.register(
            "channel_connections_refused",
            "Connections on the agents' port that did not come to speak gRPC, by reason",
            m.connections_refused.clone(),
        );
        registry.register("channel_registrations", "Registrations, by what became of them", m.registrations.clone());
        registry.register("channel_sessions_ended", "Sessions of agents that ended, by reason", m.sessions_ended.clone());
        registry.register("channel_operations", "Operations that ended, by kind and by how", m.operations.clone());
        registry.register("channel_operations_in_flight", "Operations that somebody waits for", m.in_flight.clone());
        registry.register("channel_outcomes_dropped", "Outcomes that nobody waits for, by reason", m.outcomes_dropped.clone());
        registry.register("channel_pings_missed", "Agents that were silent until they were taken for dead", m.pings_missed.clone());
        registry.register(
            "channel_reports_dropped",
            "Accounts in reports that the agent does not have in that generation",
            m.reports_dropped.clone(),
        );
        registry.register("channel_received_bytes", "Bytes of messages from agents", m.bytes_received.clone());
        registry.register("channel_sent_bytes", "Bytes of operations to agents", m.bytes_sent.clone());
        registry.register("channel_panics", "Sessions that ended by a fault of Fairlead's own", m.panics.clone());
        m
    }

    pub(super) fn connection_refused(&self, reason: &'static str) {
        self.connections_refused.get_or_create(&Reason { reason: Word(reason) }).inc();
    }

    pub(super) fn registration(&self, became: &'static str) {
        self.registrations.get_or_create(&Reason { reason: Word(became) }).inc();
    }

    pub(super) fn session_ended(&self, reason: &'static str) {
        self.sessions_ended.get_or_create(&Reason { reason: Word(reason) }).inc();
    }

    pub(super) fn outcome_dropped(&self, reason: &'static str) {
        self.outcomes_dropped.get_or_create(&Reason { reason: Word(reason) }).inc();
    }

    pub(super) fn operation(&self, kind: &'static str, ended: &'static str) {
        self.operations.get_or_create(&Operation { kind: Word(kind), ended: Word(ended) }).inc();
    }
}
