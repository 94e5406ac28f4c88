//! Replicas of Fairlead as the API needs them: a data plane, the mirror, the desk; no dispatch loop, and behind the data plane nothing that any
//! request of these tests may reach. Clouddriver is its table.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use fairlead::api::front::{self, FrontLayer};
use fairlead::api::{Api, BoxFuture, Settler};
use fairlead::channel::Agents;
use fairlead::config::Replica;
use fairlead::dispatch::{Bell, Desk};
use fairlead::mirror::{Engine, Metrics};
use fairlead::proxy::{self, Body};
use fairlead::source::{Source, Sql};
use fairlead::store::Store;
use http::{Request, Response};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tower::Layer as _;

use super::crowd::Crowd;
use crate::dispatch::places::{self, Place};
use crate::support::http::{Answer, Request as Raw, call};
use crate::support::settings::interceptor;

/// A value that no answer may hold.
pub const CANARY: &str = "canary-of-a-secret";

/// The seed's own requests, word for word.
pub const SEED_POST: &str = r#"[
 {
 "name": "account-01"
 },
 {
 "name": "account-02",
 "zoneId": "agent-1_namespace1",
 "kubeconfigFile": "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker"
 }
 ]"#;
pub const SEED_PATCH: &str = r#"[
 {
 "name": "account-01",
 "state": "ACTIVE"
 },
 {
 "name": "account-02",
 "state": "ACTIVE",
 "zoneId": "agent-1_namespace1",
 "kubeconfigFile": "encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker"
 }
]"#;

/// One database, with Clouddriver's table in it.
pub struct World {
    pub place: Place,
}

impl World {
    pub async fn sqlite() -> Self {
        Self::at(places::sqlite().await).await
    }

    /// One on each kind of database.
    pub async fn all(purpose: &str) -> Vec<Self> {
        let mut all = Vec::new();
        for place in places::all(purpose).await {
            all.push(Self::at(place).await);
        }
        all
    }

    async fn at(place: Place) -> Self {
        let store = place.ready().await;
        fairlead::demo::create_accounts_table(store.main()).await.expect("Clouddriver's table");
        store.close().await;
        Self { place }
    }

    /// What Clouddriver stores under a name from now on.
    pub async fn put(&self, name: &str, kind: &str, definition: &Value) {
        let sql = &self.place.sql;
        let (name, kind, body) = (sql.quoted(name), sql.quoted(kind), sql.quoted(&definition.to_string()));
        let created = fastrand::i64(1..1_000_000_000);
        sql.exec(&format!("delete from accounts where id = {name}")).await;
        sql.exec(&format!("insert into accounts values ({name}, {kind}, {body}, {created}, {created}, 'someone')")).await;
    }

    /// Ordinary Kubernetes accounts.
    pub async fn put_all(&self, names: &[&str]) {
        for name in names {
            self.put(name, "kubernetes", &definition(name)).await;
        }
    }

    /// Clouddriver's table, byte for byte.
    pub async fn clouddrivers(&self) -> Vec<Vec<Option<String>>> {
        let columns = "id, type, cast(body as char(10000)), cast(created_at as char(30)), cast(last_modified_at as char(30))";
        self.place.sql.rows(&format!("select {columns} from accounts order by id")).await
    }

    /// `name status zone` of each row, in the order of names.
    pub async fn rows(&self) -> Vec<String> {
        let rows = self.place.sql.rows("select name, status, coalesce(zone_id, '-') from kubesvc_accounts order by name").await;
        rows.into_iter().map(|r| r.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(" ")).collect()
    }

    /// One text of one row; empty where it is null.
    pub async fn text(&self, name: &str, column: &str) -> String {
        let sql = format!("select cast({column} as char(10000)) from kubesvc_accounts where name = {}", self.place.sql.quoted(name));
        self.place.sql.rows(&sql).await.into_iter().next().and_then(|r| r[0].clone()).unwrap_or_default().trim_end().to_owned()
    }

    pub async fn set(&self, name: &str, assignments: &str) {
        let sql = format!("update kubesvc_accounts set {assignments} where name = {}", self.place.sql.quoted(name));
        assert_eq!(self.place.sql.exec(&sql).await, 1, "{name}");
    }

    /// What is remembered by hand: `name wanted`.
    pub async fn by_hand(&self) -> Vec<String> {
        let rows = self.place.sql.rows("select name_key, wanted from fairlead_hand order by name_key").await;
        rows.into_iter().map(|r| r.into_iter().map(Option::unwrap_or_default).collect::<Vec<_>>().join(" ")).collect()
    }

    pub async fn replica(&self, id: &str) -> Rig {
        let crowd = Arc::new(Crowd::default());
        Rig::start(&self.place, id, true, crowd.clone(), crowd).await
    }

    /// One that reaches the database by way of this port.
    pub async fn replica_through(&self, port: u16, id: &str) -> Rig {
        let crowd = Arc::new(Crowd::default());
        let store = self.place.sealed_through(port, Some(("k1", 1))).await;
        Rig::on(store, id, true, crowd.clone(), crowd).await
    }

    /// One whose API shows these agents.
    pub async fn replica_of(&self, id: &str, agents: Arc<dyn Agents>) -> Rig {
        Rig::start(&self.place, id, true, Arc::default(), agents).await
    }

    pub async fn switched_off(&self) -> Rig {
        let crowd = Arc::new(Crowd::default());
        Rig::start(&self.place, "off", false, crowd.clone(), crowd).await
    }

    pub async fn done(self) {
        self.place.done().await;
    }
}

pub fn definition(name: &str) -> Value {
    json!({"type": "kubernetes", "name": name, "kubeconfigContents": CANARY, "namespaces": ["n"]})
}

struct OpenIntents(Arc<Engine>);

impl Settler for OpenIntents {
    fn settle_open<'a>(&'a self, name: &'a str) -> BoxFuture<'a, ()> {
        Box::pin(self.0.settle_open(name, Duration::from_secs(2)))
    }
}

pub struct Rig {
    pub port: u16,
    pub store: Store,
    pub crowd: Arc<Crowd>,
    pub bell: Bell,
    pub desk: Desk,
    proxy: proxy::Handle,
    stop: CancellationToken,
    reached: Arc<AtomicU32>,
}

impl Rig {
    async fn start(place: &Place, id: &str, enabled: bool, crowd: Arc<Crowd>, agents: Arc<dyn Agents>) -> Self {
        Self::on(place.sealed(Some(("k1", 1))).await, id, enabled, crowd, agents).await
    }

    async fn on(store: Store, id: &str, enabled: bool, crowd: Arc<Crowd>, agents: Arc<dyn Agents>) -> Self {
        let stop = CancellationToken::new();
        let source = Source::Sql(Sql::new(store.main().clone()));
        let replica = Replica { id: id.to_owned(), heartbeat: Duration::from_millis(100), lease: Duration::from_secs(10) };
        let metrics = Metrics::register(&mut Registry::default());
        let control = tokio::runtime::Handle::current();
        let engine = Engine::new(store.clone(), source.clone(), true, interceptor(), 50, replica, metrics, control, stop.child_token());
        engine.register_now().await.expect("registered");
        let (calls, queue) = front::queue();
        let (reached, bell) = (Arc::new(AtomicU32::new(0)), Bell::default());
        let desk = Desk::new(engine.clone(), bell.clone());
        let api = Api {
            store: store.clone(),
            settler: Arc::new(OpenIntents(engine.clone())),
            lookup: Arc::new(source),
            desk: Some(desk.clone()),
            agents,
            replica: id.into(),
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
        Self { port: proxy.local_addr().port(), store, crowd, bell, desk, proxy, stop, reached }
    }

    /// One request; whatever is answered holds no secret.
    pub async fn ask(&self, method: &str, target: &str, body: Option<&str>) -> Answer {
        let request = Raw::new(method, target);
        self.send(&if let Some(body) = body { request.json(body) } else { request }).await
    }

    pub async fn send(&self, request: &Raw) -> Answer {
        let answer = call(self.port, request).await.unwrap_or_else(|e| panic!("{request:?}: {e}"));
        assert!(!answer.text().contains("canary"), "{request:?}: {}", answer.text());
        answer
    }

    pub async fn json(&self, target: &str) -> (u16, Value) {
        let answer = self.ask("GET", target, None).await;
        (answer.status, answer.json())
    }

    /// Status and body of a change.
    pub async fn change(&self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let answer = self.ask(method, target, Some(&body.to_string())).await;
        (answer.status, answer.json())
    }

    pub async fn end(self) {
        assert_eq!(self.reached.load(Ordering::Relaxed), 0, "nothing below our paths is ever forwarded");
        self.proxy.drain(Duration::from_secs(5)).await;
        self.stop.cancel();
        self.store.close().await;
    }
}
