//! An empty database of its own, on each of the three.

use fairlead::config::{Database, SealKey, SealKeys, SourceConfig};
use fairlead::store::Store;
use fairlead::store::db::PoolConfig;

use crate::support::databases::{SERVERS, Sql, TestDatabase, pool_config};

pub struct Place {
    server: Option<TestDatabase>,
    folder: Option<tempfile::TempDir>,
    pub sql: Sql,
}

impl Place {
    pub fn config(&self) -> PoolConfig {
        match (&self.server, &self.folder) {
            (Some(s), _) => s.pool_config(),
            (None, Some(f)) => pool_config(&format!("sqlite:{}", f.path().join("fairlead.db").display())),
            _ => unreachable!("one of the two"),
        }
    }

    pub async fn ready(&self) -> Store {
        self.sealed(None).await
    }

    /// A store with its tables; with a seal key where one is given.
    pub async fn sealed(&self, key: Option<(&str, u8)>) -> Store {
        self.sealed_by(self.config(), key).await
    }

    /// As [`Place::sealed`], its server by way of another port. Not for SQLite.
    pub async fn sealed_through(&self, port: u16, key: Option<(&str, u8)>) -> Store {
        let server = self.server.as_ref().expect("a server");
        let url = server.url();
        let (own, through) = (format!(":{}/", server.server.address().1), format!(":{port}/"));
        assert!(url.contains(&own), "{url}");
        self.sealed_by(pool_config(&url.replace(&own, &through)), key).await
    }

    async fn sealed_by(&self, config: PoolConfig, key: Option<(&str, u8)>) -> Store {
        use base64::Engine as _;
        let key = key.map(|(id, byte)| {
            let text = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
            SealKeys(vec![SealKey { id: id.to_owned(), key: text.into() }])
        });
        let database = Database { main: config.clone(), intents: config, source: SourceConfig::SameDatabase };
        let store = Store::open(&database, key.as_ref()).expect("keys that can be used");
        store.migrate().await.unwrap_or_else(|e| panic!("{}: {e}", self.word()));
        store
    }

    /// Where its server is; `None`: it is a file.
    pub fn address(&self) -> Option<(String, u16)> {
        self.server.as_ref().map(|s| s.server.address())
    }

    pub fn word(&self) -> &'static str {
        self.server.as_ref().map_or("sqlite", |s| s.server.word())
    }

    pub async fn done(self) {
        self.sql.close().await;
        if let Some(server) = self.server {
            server.drop_now().await;
        }
    }
}

pub async fn sqlite() -> Place {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("fairlead.db").display());
    Place { server: None, folder: Some(folder), sql: Sql::open(&url) }
}

pub async fn all(purpose: &str) -> Vec<Place> {
    let mut all = vec![sqlite().await];
    for server in SERVERS {
        let database = TestDatabase::create(server, purpose).await;
        let sql = database.admin.clone();
        all.push(Place { server: Some(database), folder: None, sql });
    }
    all
}
