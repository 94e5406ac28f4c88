//! What dispatch counts. No label is chosen by a client or an agent.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// A state's word.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StatusLabel {
    /// As in the table.
    pub status: &'static str,
}

/// A state's word, and which way an account came in.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct AccountLabel {
    /// As in the table.
    pub status: &'static str,
    /// As in the table: `interceptor`, `scanner`, `migrated`, `created`, `agent`.
    pub origin: &'static str,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OutcomeLabel {
    /// `add` or `delete`.
    pub operation: &'static str,
    /// `done`, `failed`, `lost`, `timeout`, `busy`.
    pub outcome: &'static str,
}

/// Dispatch's metrics; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) accounts: Family<AccountLabel, Gauge>,
    pub(super) waiting: Gauge,
    pub(super) outcomes: Family<OutcomeLabel, Counter>,
    pub(super) transitions: Family<StatusLabel, Counter>,
    pub(super) lost_races: Counter,
    pub(super) stale: Counter,
    pub(super) errors: Counter,
    pub(super) conflicts: Gauge,
    pub(super) strays: Counter,
    pub(super) secrets: Counter,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("dispatch_accounts", "Accounts by state, and by the way they came in", m.accounts.clone());
        registry.register("dispatch_waiting_seconds", "How long the account has waited that waits longest for an agent", m.waiting.clone());
        registry.register("dispatch_outcomes", "What became of what agents were asked, by account", m.outcomes.clone());
        registry.register("dispatch_transitions", "Accounts that came into a state", m.transitions.clone());
        registry.register("dispatch_races", "Writes that another writer of the row was faster than", m.lost_races.clone());
        registry.register("dispatch_stale_outcomes", "Outcomes that came when something else was wanted already", m.stale.clone());
        registry.register("dispatch_errors", "Looks at the rows that the database did not let end", m.errors.clone());
        registry.register(
            "dispatch_conflicts",
            "Accounts of agents that are refused: the name stands for another cluster",
            m.conflicts.clone(),
        );
        registry.register("dispatch_strays", "Accounts that an agent had and was told to let go of", m.strays.clone());
        registry.register(
            "dispatch_unresolved",
            "Accounts that were not sent because a secret or definition could not be had",
            m.secrets.clone(),
        );
        m
    }
}
