//! A table of Clouddriver's shape on each database, and replicas of the scanner on it.

use std::sync::Arc;
use std::time::Duration;

use fairlead::config::{Database, Replica as ReplicaConfig, SourceConfig};
use fairlead::dispatch::desk::{Outcome, Told};
use fairlead::dispatch::{Ask, Bell, Desk, Zone};
use fairlead::lifecycle::Wanted;
use fairlead::mirror::{self, Engine};
use fairlead::patterns::{Pattern, Patterns};
use fairlead::scan::{Metrics, Report, Scanner, Settings};
use fairlead::source::Source;
use fairlead::store::Store;
use fairlead::store::db::PoolConfig;
use prometheus_client::registry::Registry;
use serde_json::Map;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::databases::{SERVERS, Server, Sql, TestDatabase, pool_config};
use crate::support::settings::interceptor;

pub const SOON: Duration = Duration::from_secs(60);

pub fn settings(patterns: &[&str]) -> Settings {
    let read = patterns.iter().map(|p| Pattern::read(p).expect("a pattern")).collect();
    let patterns = Patterns::new(read).expect("small enough");
    Settings {
        patterns,
        page: 500,
        batch: 572,
        every: Duration::from_secs(120),
        full: Duration::from_secs(600),
        deletes: false,
        max_migrations: None,
    }
}

/// One database with Clouddriver's table.
pub struct World {
    pub sql: Sql,
    config: PoolConfig,
    server: Option<TestDatabase>,
    _folder: Option<tempfile::TempDir>,
}

/// Writes Clouddriver's table.
pub struct Writer(Sql);

/// One replica.
pub struct Replica {
    pub store: Store,
    pub desk: Desk,
    pub scanner: Arc<Scanner>,
}

fn ask(name: &str) -> Ask {
    Ask { name: name.to_owned(), zone: Zone::Keep, properties: Map::new() }
}

fn until() -> Instant {
    Instant::now() + SOON
}

fn engine(store: &Store, source: Source, max_deletes: u32) -> Arc<Engine> {
    Engine::new(
        store.clone(),
        source,
        true,
        interceptor(),
        max_deletes,
        ReplicaConfig { id: "r".into(), heartbeat: Duration::from_millis(200), lease: Duration::from_secs(10) },
        mirror::Metrics::register(&mut Registry::default()),
        tokio::runtime::Handle::current(),
        CancellationToken::new(),
    )
}

fn scanner(engine: Arc<Engine>, settings: Settings, lease: Duration) -> Arc<Scanner> {
    Scanner::new(engine, settings, lease, Metrics::register(&mut Registry::default()), CancellationToken::new())
}

fn came(mut told: Vec<Told>) -> Outcome {
    assert_eq!(told.len(), 1, "{told:?}");
    told.remove(0).expect("the database answers")
}

fn done(told: Vec<Told>) {
    assert_eq!(came(told), Outcome::Done);
}

impl Replica {
    pub async fn scan(&self) -> Report {
        self.scanner.now().await.expect("scanned").expect("nobody else scans")
    }

    /// As the loop scans.
    pub async fn again(&self) -> Report {
        self.scanner.again().await.expect("scanned").expect("nobody else scans")
    }

    /// A user's POST.
    pub async fn takes(&self, name: &str) {
        done(self.desk.take(&[&ask(name)], until()).await);
    }

    /// A user's PATCH, or DELETE.
    pub async fn wants(&self, name: &str, wanted: Wanted) {
        done(self.desk.want(&[(&ask(name), wanted)], until()).await);
    }

    /// As [`Replica::takes`], whatever comes of it.
    pub async fn tries_to_take(&self, name: &str) -> Outcome {
        came(self.desk.take(&[&ask(name)], until()).await)
    }

    /// As [`Replica::wants`], whatever comes of it.
    pub async fn tries_to_want(&self, name: &str, wanted: Wanted) -> Outcome {
        came(self.desk.want(&[(&ask(name), wanted)], until()).await)
    }

    /// A user's POST of an account that Clouddriver never had.
    pub async fn makes(&self, name: &str) {
        assert_eq!(self.tries_to_make(name).await, Outcome::Done, "{name}");
    }

    /// As [`Replica::makes`], whatever comes of it.
    pub async fn tries_to_make(&self, name: &str) -> Outcome {
        let mut own = ask(name);
        own.properties.insert("kubeconfigContents".into(), "c".into());
        came(self.desk.create(&[&own], until()).await)
    }
}

impl Writer {
    pub async fn put(&self, id: &str, kind: &str, note: &str, created: i64) {
        let body = format!(r#"{{"type": "{kind}", "name": "{id}", "note": "{note}", "kubeconfigContents": "c"}}"#);
        self.put_body(id, kind, &body, created).await;
    }

    /// In place of what was there; the time of the last change is always the same.
    pub async fn put_body(&self, id: &str, kind: &str, body: &str, created: i64) {
        self.put_row(id, kind, body, created, 5_000).await;
    }

    /// A Kubernetes account that was made long ago and changed at this time.
    pub async fn put_at(&self, id: &str, note: &str, modified: i64) {
        let body = format!(r#"{{"type": "kubernetes", "name": "{id}", "note": "{note}", "kubeconfigContents": "c"}}"#);
        self.put_row(id, "kubernetes", &body, 1_000, modified).await;
    }

    async fn put_row(&self, id: &str, kind: &str, body: &str, created: i64, modified: i64) {
        let (id, kind, body) = (self.0.quoted(id), self.0.quoted(kind), self.0.quoted(body));
        self.0.exec(&format!("delete from accounts where id = {id}")).await;
        self.0.exec(&format!("insert into accounts values ({id}, {kind}, {body}, {created}, {modified}, 'someone')")).await;
    }

    pub async fn drop_row(&self, id: &str) {
        self.0.exec(&format!("delete from accounts where id = {}", self.0.quoted(id))).await;
    }
}

impl World {
    pub async fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite:{}", folder.path().join("fairlead.db").display());
        let sql = Sql::open(&format!("{url}?mode=rwc"));
        let columns = "id text primary key, type text not null, body text not null, created_at integer not null, \
                       last_modified_at integer not null, last_modified_by text not null";
        sql.exec(&format!("create table accounts ({columns})")).await;
        Self { sql, config: pool_config(&url), server: None, _folder: Some(folder) }
    }

    pub async fn on(server: Server, purpose: &str) -> Self {
        Self::of(TestDatabase::create(server, purpose).await).await
    }

    /// In a PostgreSQL database of another encoding.
    pub async fn encoded(encoding: &str, purpose: &str) -> Self {
        let options = format!("template template0 encoding '{encoding}' lc_collate 'C' lc_ctype 'C'");
        Self::of(TestDatabase::create_with(Server::Postgres, purpose, &options).await).await
    }

    async fn of(db: TestDatabase) -> Self {
        db.make_accounts_table().await;
        Self { sql: db.admin.clone(), config: db.pool_config(), server: Some(db), _folder: None }
    }

    pub async fn all(purpose: &str) -> Vec<Self> {
        let mut all = vec![Self::sqlite().await];
        for server in SERVERS {
            all.push(Self::on(server, purpose).await);
        }
        all
    }

    /// Replicas that wait for locks for as long as a test may take.
    pub fn patient(mut self) -> Self {
        self.config.statement_timeout = SOON;
        self
    }

    pub fn word(&self) -> &'static str {
        self.server.as_ref().map_or("sqlite", |s| s.server.word())
    }

    pub fn writer(&self) -> Writer {
        Writer(self.sql.clone())
    }

    pub async fn put(&self, id: &str, kind: &str, note: &str, created: i64) {
        self.writer().put(id, kind, note, created).await;
    }

    pub async fn put_body(&self, id: &str, kind: &str, body: &str, created: i64) {
        self.writer().put_body(id, kind, body, created).await;
    }

    pub async fn put_at(&self, id: &str, note: &str, modified: i64) {
        self.writer().put_at(id, note, modified).await;
    }

    pub async fn drop_row(&self, id: &str) {
        self.writer().drop_row(id).await;
    }

    pub async fn replica(&self, settings: Settings) -> Replica {
        self.replica_with(settings, 50, Duration::from_secs(60)).await
    }

    pub async fn replica_with(&self, settings: Settings, max_deletes: u32, lease: Duration) -> Replica {
        let source = |store: &Store| Source::Sql(fairlead::source::Sql::new(store.main().clone()));
        self.replica_of(settings, max_deletes, lease, source).await
    }

    /// Without the mirror's own tasks: nothing happens but what the scanner does.
    pub async fn replica_of(
        &self,
        settings: Settings,
        max_deletes: u32,
        lease: Duration,
        source: impl FnOnce(&Store) -> Source,
    ) -> Replica {
        let database = Database { main: self.config.clone(), intents: self.config.clone(), source: SourceConfig::SameDatabase };
        let store = Store::open(&database, None).expect("no key, nothing to refuse");
        store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", self.word()));
        let engine = engine(&store, source(&store), max_deletes);
        let scanner = scanner(engine.clone(), settings, lease);
        Replica { store, desk: Desk::new(engine, Bell::default()), scanner }
    }

    /// One more scanner on a replica's pools, as it is after a start with other settings.
    pub fn scanner(&self, store: &Store, settings: Settings, max_deletes: u32) -> Arc<Scanner> {
        let source = Source::Sql(fairlead::source::Sql::new(store.main().clone()));
        scanner(engine(store, source, max_deletes), settings, Duration::from_secs(60))
    }

    /// `name status note origin` of each mirrored row.
    pub async fn mirror(&self) -> Vec<String> {
        let rows = self.sql.rows("select name, status, definition, fl_origin from kubesvc_accounts").await;
        let mut all: Vec<String> = rows
            .iter()
            .map(|r| {
                let text = |i: usize| r[i].clone().unwrap_or_default();
                let definition: serde_json::Value = serde_json::from_str(&text(2)).expect("JSON");
                format!(
                    "{} {} {} {}",
                    text(0),
                    text(1),
                    definition["note"].as_str().or(definition["context"].as_str()).unwrap_or("-"),
                    text(3)
                )
            })
            .collect();
        all.sort();
        all
    }

    pub async fn mirror_rows(&self) -> i64 {
        self.sql.number("select concat(count(*), '') from kubesvc_accounts").await
    }

    /// Each row's revision: a write that changes nothing is seen too.
    pub async fn dump(&self) -> Vec<Vec<Option<String>>> {
        self.sql
            .rows("select name, status, definition, concat(fl_rev, ''), concat(last_updated, '') from kubesvc_accounts order by name")
            .await
    }

    pub async fn done(self, replicas: &[&Replica]) {
        for r in replicas {
            r.store.close().await;
        }
        self.sql.close().await;
        if let Some(server) = self.server {
            server.drop_now().await;
        }
    }
}
