//! What the data plane counts. Each thread counts for itself (nothing shared on a request's way); a scrape adds up.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::{MetricType, TypedMetric};
use prometheus_client::registry::Registry;

use super::Cause;

/// The data plane's metrics: hand it to [`super::serve()`], and [`Metrics::thread`] to what a thread builds for itself.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Arc<Mutex<Vec<Arc<Counters>>>>, Arc<OnceLock<SocketAddr>>);

impl Metrics {
    /// Registers `proxy_*`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// Counters for one thread to count with; they are summed with all others.
    pub fn thread(&self) -> Arc<Counters> {
        let counters = Arc::new(Counters { listen: self.1.clone(), ..Counters::default() });
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(counters.clone());
        counters
    }

    /// Where the data plane listens: a connection to Clouddriver that ends there is a loop.
    pub(super) fn listening(&self, address: SocketAddr) {
        let _ = self.1.set(address);
    }

    fn sum(&self, read: impl Fn(&Counters) -> u64) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|c| read(c)).sum()
    }

    fn gauge(&self, read: impl Fn(&Counters) -> &AtomicI64) -> i64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|c| read(c).load(Relaxed)).sum()
    }

    /// Requests in progress, from the head of the request to the head of its answer.
    pub fn in_flight(&self) -> i64 {
        self.gauge(|c| &c.in_flight)
    }

    /// Panics that ended one request each.
    pub fn panics(&self) -> u64 {
        self.sum(|c| c.panics.load(Relaxed))
    }

    /// Requests sent on a connection that had been used before.
    pub fn pool_reused(&self) -> u64 {
        self.sum(|c| c.pool_reused.load(Relaxed))
    }

    /// Clients that were too slow.
    pub fn given_up(&self) -> u64 {
        self.sum(|c| c.given_up.load(Relaxed))
    }

    /// Connections opened to Clouddriver.
    pub fn pool_opened(&self) -> u64 {
        self.sum(|c| c.pool_opened.load(Relaxed))
    }

    /// Client connections that are open, for each thread that counts.
    pub fn spread(&self) -> Vec<i64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(|c| c.connections.load(Relaxed)).collect()
    }

    /// Client connections that are open.
    pub fn connections(&self) -> i64 {
        self.gauge(|c| &c.connections)
    }
}

/// One thread's share.
#[derive(Debug, Default)]
pub struct Counters {
    /// By the first digit of the answer's status: index 0 is 1xx.
    pub(super) answers: [AtomicU64; 5],
    pub(super) in_flight: AtomicI64,
    pub(super) panics: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) accept_errors: AtomicU64,
    pub(super) connections: AtomicI64,
    pub(super) upstream_errors: [AtomicU64; Cause::LABELS.len()],
    pub(super) pool_opened: AtomicU64,
    pub(super) pool_reused: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) overloaded: AtomicU64,
    pub(super) handshakes_failed: AtomicU64,
    pub(super) given_up: AtomicU64,
    pub(super) waiting: AtomicI64,
    pub(super) listen: Arc<OnceLock<SocketAddr>>,
}

/// Adds one to a gauge for as long as it lives.
pub(super) struct Up<'a>(&'a AtomicI64);

impl<'a> Up<'a> {
    pub(super) fn new(gauge: &'a AtomicI64) -> Self {
        gauge.fetch_add(1, Relaxed);
        Self(gauge)
    }
}

impl Drop for Up<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut answers =
            encoder.encode_descriptor("proxy_requests", "Requests answered, by the class of the status", None, MetricType::Counter)?;
        for (i, class) in CLASSES.iter().enumerate() {
            ConstCounter::new(self.sum(|c| c.answers[i].load(Relaxed))).encode(answers.encode_family(&[("class", *class)])?)?;
        }
        let mut errors = encoder.encode_descriptor(
            "proxy_upstream_errors",
            "Requests that got no answer from Clouddriver, by cause",
            None,
            MetricType::Counter,
        )?;
        for (i, cause) in Cause::LABELS.iter().enumerate() {
            ConstCounter::new(self.sum(|c| c.upstream_errors[i].load(Relaxed))).encode(errors.encode_family(&[("cause", *cause)])?)?;
        }
        let mut counter = |name, help, value: u64| {
            let value = ConstCounter::new(value);
            value.encode(encoder.encode_descriptor(name, help, None, ConstCounter::<u64>::TYPE)?)
        };
        counter("proxy_panics", "Panics, each of which ended one request with a 500", self.panics())?;
        counter("proxy_connections_accepted", "Client connections accepted", self.sum(|c| c.accepted.load(Relaxed)))?;
        counter("proxy_accept_errors", "Failures to accept a connection", self.sum(|c| c.accept_errors.load(Relaxed)))?;
        counter(
            "proxy_refused",
            "Requests not forwarded because Clouddriver's server would refuse them",
            self.sum(|c| c.refused.load(Relaxed)),
        )?;
        counter("proxy_overloaded", "Requests answered 503 because too many were in progress", self.sum(|c| c.overloaded.load(Relaxed)))?;
        counter(
            "proxy_tls_handshakes_failed",
            "Client connections that ended before TLS was agreed on",
            self.sum(|c| c.handshakes_failed.load(Relaxed)),
        )?;
        counter(
            "proxy_clients_given_up",
            "Clients that sent what they had announced, or took what was due to them, too slowly or not at all",
            self.sum(|c| c.given_up.load(Relaxed)),
        )?;
        counter("proxy_pool_opened", "Connections opened to Clouddriver", self.pool_opened())?;
        counter("proxy_pool_reused", "Requests sent on a kept connection to Clouddriver", self.pool_reused())?;
        let mut gauge = |name, help, value: i64| {
            let value = ConstGauge::new(value);
            value.encode(encoder.encode_descriptor(name, help, None, ConstGauge::<i64>::TYPE)?)
        };
        gauge("proxy_in_flight", "Requests waiting for the head of their answer", self.in_flight())?;
        gauge("proxy_http2_waiting", "Requests that wait until Clouddriver takes more at once, by HTTP/2", self.gauge(|c| &c.waiting))?;
        gauge("proxy_connections", "Client connections open", self.connections())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_adds_up_what_the_threads_counted() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.thread().answers[1].fetch_add(2, Relaxed);
        metrics.thread().answers[1].fetch_add(3, Relaxed);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("proxy_requests_total{class=\"2xx\"} 5\n"), "{text}");
        assert!(text.contains("proxy_upstream_errors_total{cause=\"broken\"} 0\n"), "{text}");
        assert!(text.contains("proxy_in_flight 0\n"), "{text}");
    }
}
