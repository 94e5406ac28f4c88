//! The metrics registry: a value, made by the application and handed to the modules to register in.
//!
//! Every metric of Fairlead begins with `fairlead_`; the standard figures of the process keep their usual names.

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use super::process::Process;

/// What `/metrics` answers with.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry while modules still register in it.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry that has `fairlead_build_info` and the figures of the process.
    pub fn new() -> Self {
        let mut metrics = Self { registry: Registry::default() };
        metrics.registry.register_collector(Box::new(Process::new()));
        metrics.register(|registry| {
            let labels = [("version", env!("CARGO_PKG_VERSION")), ("profile", if cfg!(debug_assertions) { "debug" } else { "release" })];
            registry.register("build", "Which Fairlead this is", Info::new(labels.to_vec()));
        });
        metrics
    }

    /// Lets a module register; what it registers as `mirror_settles` is served as `fairlead_mirror_settles`.
    ///
    /// ```
    /// use fairlead::telemetry::metrics::Metrics;
    /// use prometheus_client::metrics::counter::Counter;
    ///
    /// let mut metrics = Metrics::new();
    /// let settles: Counter = metrics.register(|registry| {
    ///     let settles = Counter::default();
    ///     registry.register("mirror_settles", "Settles that were applied", settles.clone());
    ///     settles
    /// });
    /// settles.inc();
    /// assert!(metrics.finish().encode().contains("fairlead_mirror_settles_total 1"));
    /// ```
    pub fn register<T>(&mut self, register: impl FnOnce(&mut Registry) -> T) -> T {
        register(self.registry.sub_registry_with_prefix("fairlead"))
    }

    /// Lets the agent register under the original's names, which operators' dashboards know.
    pub(crate) fn register_unprefixed(&mut self, register: impl FnOnce(&mut Registry)) {
        register(&mut self.registry);
    }

    /// Ends registration. What comes back is shared by whoever serves it.
    pub fn finish(self) -> Exposition {
        Exposition(Arc::new(self.registry))
    }
}

/// The registry, ready to be read.
#[derive(Clone, Debug)]
pub struct Exposition(Arc<Registry>);

impl Exposition {
    /// All metrics as OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut out = String::with_capacity(16 * 1024);
        // Writing into a String cannot fail; a collector of ours that does has a bug, and half a page is better than none.
        if text::encode(&mut out, &self.0).is_err() {
            tracing::error!("a metric could not be encoded: the page ends before it");
        }
        out
    }
}
