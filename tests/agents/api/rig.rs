//! A data plane before the API, with nothing behind it that any request of these tests may reach.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fairlead::api::front::{self, FrontLayer};
use fairlead::api::{Api, NoSettler};
use fairlead::config::{Database, SourceConfig};
use fairlead::proxy::{self, Body};
use fairlead::source::{Source, Sql};
use fairlead::store::Store;
use http::{Request, Response};
use prometheus_client::registry::Registry;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use super::crowd::Crowd;
use crate::support::databases::pool_config;
use crate::support::http::{Answer, Request as Raw, call};

/// A value that no answer may hold.
pub const CANARY: &str = "canary-of-a-secret";

pub struct Rig {
    pub port: u16,
    pub store: Store,
    pub crowd: Arc<Crowd>,
    proxy: proxy::Handle,
    stop: CancellationToken,
    reached: Arc<AtomicU32>,
    _folder: tempfile::TempDir,
}

impl Rig {
    pub async fn sqlite(enabled: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let config = pool_config(&format!("sqlite:{}?mode=rwc", folder.path().join("fairlead.db").display()));
        let database = Database { main: config.clone(), intents: config, source: SourceConfig::SameDatabase };
        let store = Store::open(&database, None).expect("no keys");
        store.migrate().await.expect("migrated");
        let (calls, queue) = front::queue();
        let (stop, reached, crowd) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)), Arc::new(Crowd::default()));
        let api = Api {
            store: store.clone(),
            settler: Arc::new(NoSettler),
            lookup: Arc::new(Source::Sql(Sql::new(store.main().clone()))),
            agents: crowd.clone(),
            replica: "replica-1".into(),
            enabled,
        };
        tokio::spawn(front::serve(queue, api.router(), front::Metrics::default(), stop.clone()));
        let layer = FrontLayer::new(calls, "".into(), front::Metrics::default());
        let counter = reached.clone();
        let config = proxy::serve::Config {
            listen: "127.0.0.1:0".parse().expect("an address"),
            threads: 1,
            limits: proxy::Limits { header_timeout: Duration::from_secs(10), max_connections: 64, ..proxy::Limits::default() },
            tls: None,
        };
        let metrics = proxy::Metrics::register(&mut Registry::default());
        let proxy = proxy::serve(&config, &metrics, move || {
            proxy::Stack::looking_into_everything(layer.layer(tower::service_fn(move |_: Request<Body>| {
                counter.fetch_add(1, Ordering::Relaxed);
                std::future::ready(Ok(Response::new(Body::from_bytes("clouddriver"))))
            })))
        })
        .expect("started");
        Self { port: proxy.local_addr().port(), store, crowd, proxy, stop, reached, _folder: folder }
    }

    /// One request; whatever is answered holds no secret.
    pub async fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let request = Raw::new(method, target);
        let request = if let Some(body) = body { request.json(body) } else { request };
        let answer = call(self.port, &request).await.unwrap_or_else(|e| panic!("{method} {target}: {e}"));
        assert!(!answer.text().contains(CANARY), "{method} {target}: {}", answer.text());
        answer
    }

    pub async fn json(&self, target: &str) -> (u16, Value) {
        let answer = self.ask("GET", target, None).await;
        (answer.status, answer.json())
    }

    pub async fn end(self) {
        assert_eq!(self.reached.load(Ordering::Relaxed), 0, "nothing below our paths is ever forwarded");
        self.stop.cancel();
        self.proxy.drain(Duration::from_secs(5)).await;
        self.store.close().await;
    }
}
