//! What the interceptor counts.

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::mirror;

/// Labels of `intercept_changes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChangeLabels {
    /// As in the journal.
    pub method: Text,
    /// `ok`, `refused` or `unknown`.
    pub outcome: Text,
}

/// Labels of `intercept_not_forwarded`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabels {
    /// One of the words in [`NotForwarded`].
    pub reason: NotForwarded,
}

/// A text out of a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Text(pub &'static str);

impl EncodeLabelValue for Text {
    fn encode(&self, encoder: &mut prometheus_client::encoding::LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        self.0.encode(encoder)
    }
}

/// Why a change was answered by us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum NotForwarded {
    /// The journal could not be written (`failurePolicy: Fail`), or this replica is not registered yet.
    Journal,
    /// The process was stopped between announcement and forwarding.
    Late,
    /// It has a property that `interceptor.deny` refuses.
    Denied,
    /// `interceptor.deny` refuses what cannot be read with certainty.
    Unreadable,
    /// The client broke off, or stalled, before its body was there.
    Body,
}

/// Counters of the interceptor; clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) changes: Family<ChangeLabels, Counter>,
    pub(super) not_forwarded: Family<ReasonLabels, Counter>,
    pub(super) warned: Counter,
    pub(super) suspicious: Counter,
    pub(super) above_limit: Counter,
    pub(super) clients_left: Counter,
}

impl Metrics {
    /// Registers them, without prefix.
    pub fn register(registry: &mut Registry) -> Self {
        let m = Self::default();
        registry.register("intercept_changes", "Account changes that were forwarded, by call and outcome", m.changes.clone());
        registry.register("intercept_not_forwarded", "Account changes that Fairlead answered itself, by reason", m.not_forwarded.clone());
        registry.register(
            "intercept_denied_warnings",
            "Account changes that passed with a property of interceptor.deny.fields",
            m.warned.clone(),
        );
        registry.register(
            "intercept_suspicious",
            "Requests that Clouddriver accepted though their method or path should not change accounts",
            m.suspicious.clone(),
        );
        registry.register(
            "intercept_bodies_above_limit",
            "Account changes with a body above interceptor.inspectionLimit",
            m.above_limit.clone(),
        );
        registry.register("intercept_clients_left", "Account changes whose client left before the whole answer", m.clients_left.clone());
        m
    }

    pub(super) fn change(&self, method: mirror::Method, outcome: mirror::Outcome) {
        let labels = ChangeLabels { method: Text(method.as_str()), outcome: Text(outcome_text(outcome)) };
        self.changes.get_or_create(&labels).inc();
    }

    pub(super) fn kept_back(&self, reason: NotForwarded) {
        self.not_forwarded.get_or_create(&ReasonLabels { reason }).inc();
    }
}

pub(super) const fn outcome_text(outcome: mirror::Outcome) -> &'static str {
    match outcome {
        mirror::Outcome::Ok => "ok",
        mirror::Outcome::Refused => "refused",
        mirror::Outcome::Unknown => "unknown",
    }
}
