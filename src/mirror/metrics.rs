//! The mirror's counters. No label is chosen by a client.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// The mirror's metrics; clones share them.
#[derive(Clone)]
pub struct Metrics {
    pub(super) journal_wait: Histogram,
    pub(super) late: Counter,
    pub(super) forgotten: Counter,
    pub(super) refused: Counter,
    pub(super) journal_errors: Counter,
    pub(super) settles: Counter,
    pub(super) settle_errors: Counter,
    pub(super) lost_races: Counter,
    pub(super) lag: Histogram,
    pub(super) inserted: Counter,
    pub(super) updated: Counter,
    pub(super) removed: Counter,
    pub(super) unexplained: Counter,
    pub(super) poison: Counter,
    pub(super) passes: Counter,
    pub(super) gaps: Counter,
    pub(super) drift: Gauge,
    pub(super) conflicts: Gauge,
    pub(super) deletes_held_back: Counter,
    pub(super) open_intents: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        // From a tenth of a millisecond (one statement on a near server) to the slowest wait that is allowed.
        let seconds = || Histogram::new([0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0]);
        let m = Self {
            journal_wait: seconds(),
            late: Counter::default(),
            forgotten: Counter::default(),
            refused: Counter::default(),
            journal_errors: Counter::default(),
            settles: Counter::default(),
            settle_errors: Counter::default(),
            lost_races: Counter::default(),
            lag: seconds(),
            inserted: Counter::default(),
            updated: Counter::default(),
            removed: Counter::default(),
            unexplained: Counter::default(),
            poison: Counter::default(),
            passes: Counter::default(),
            gaps: Counter::default(),
            drift: Gauge::default(),
            conflicts: Gauge::default(),
            deletes_held_back: Counter::default(),
            open_intents: Gauge::default(),
        };
        registry.register("mirror_journal_wait_seconds", "What an account change waited for the journal", m.journal_wait.clone());
        registry.register("mirror_journal_late", "Changes forwarded before their intent was journalled", m.late.clone());
        registry.register("mirror_changes_forgotten", "Changes forwarded that only a pass can find", m.forgotten.clone());
        registry.register("mirror_changes_refused", "Changes refused with 503 because they could not be journalled", m.refused.clone());
        registry.register("mirror_journal_errors", "Failed writes to the journal", m.journal_errors.clone());
        registry.register("mirror_settles", "Readings of Clouddriver applied to the mirror", m.settles.clone());
        registry.register("mirror_settle_errors", "Settlings that failed and are tried again", m.settle_errors.clone());
        registry.register("mirror_settle_races", "Settlings started again because another was faster", m.lost_races.clone());
        registry.register("mirror_lag_seconds", "From Clouddriver's answer to the mirror's commit", m.lag.clone());
        registry.register("mirror_rows_inserted", "Rows that entered the mirror", m.inserted.clone());
        registry.register("mirror_rows_updated", "Rows whose definition changed", m.updated.clone());
        registry.register("mirror_rows_removed", "Rows that left the mirror", m.removed.clone());
        registry.register("mirror_unexplained", "Acknowledged changes that Clouddriver's table never showed", m.unexplained.clone());
        registry.register("mirror_poison_rows", "Readings of rows that cannot be mirrored", m.poison.clone());
        registry.register("mirror_passes", "Passes over everything", m.passes.clone());
        registry.register("mirror_gaps", "Times in which changes may have passed unjournalled", m.gaps.clone());
        registry.register("mirror_drift_rows", "Mirrored rows that Clouddriver does not have, at the last pass", m.drift.clone());
        registry.register(
            "mirror_conflict_rows",
            "Names that Fairlead or an agent owns and Clouddriver has too, at the last pass",
            m.conflicts.clone(),
        );
        registry.register(
            "mirror_deletes_held_back",
            "Deletions beyond maxDeletesPerPass that a pass did not make",
            m.deletes_held_back.clone(),
        );
        registry.register("mirror_intents_open", "Open intents, of all replicas", m.open_intents.clone());
        m
    }
}
