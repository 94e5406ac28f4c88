//! What the scanner counts. A name is in the log, never in a metric.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// What a scan read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct KindLabel {
    /// As [`super::Kind`] says.
    pub kind: &'static str,
}

/// The scanner's metrics; clones share them.
#[derive(Clone)]
pub struct Metrics {
    pub(super) scans: Family<KindLabel, Counter>,
    pub(super) seconds: Histogram,
    pub(super) rows: Counter,
    pub(super) errors: Counter,
    pub(super) migrated: Counter,
    pub(super) refreshed: Counter,
    pub(super) matched: Gauge,
    pub(super) failed: Gauge,
    pub(super) held_back: Gauge,
    pub(super) last: Gauge<f64, AtomicU64>,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self {
            scans: Family::default(),
            // From an empty table to a million rows.
            seconds: Histogram::new([0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0]),
            rows: Counter::default(),
            errors: Counter::default(),
            migrated: Counter::default(),
            refreshed: Counter::default(),
            matched: Gauge::default(),
            failed: Gauge::default(),
            held_back: Gauge::default(),
            last: Gauge::default(),
        };
        registry.register("scans", "Scans that were finished, by what they read of Clouddriver's accounts", m.scans.clone());
        registry.register("scan_seconds", "How long a scan took", m.seconds.clone());
        registry.register("scan_rows", "Rows of Clouddriver's that scans have read", m.rows.clone());
        registry.register("scan_errors", "Scans that broke off and are tried again", m.errors.clone());
        registry.register("scan_migrated", "Accounts that scans have taken over or activated", m.migrated.clone());
        registry.register("scan_refreshed", "Mirrored accounts that scans found changed", m.refreshed.clone());
        registry.register("scan_matched_accounts", "Accounts that a pattern took, at the last full scan", m.matched.clone());
        registry.register(
            "scan_failed_accounts",
            "Accounts that could not be read or taken over, at the last full scan or since",
            m.failed.clone(),
        );
        registry.register("scan_held_back_accounts", "Accounts that a limit keeps for a later scan, at the last scan", m.held_back.clone());
        registry.register("scan_last_success_timestamp_seconds", "When this replica last finished a scan", m.last.clone());
        m
    }
}
