//! Claims about the store: each on MariaDB and PostgreSQL, most on SQLite too.

#[path = "store/adopt.rs"]
mod adopt;
#[path = "store/database.rs"]
mod database;
#[path = "store/migrate.rs"]
mod migrate;
#[path = "store/rights.rs"]
mod rights;
#[path = "store/rows.rs"]
mod rows;

use base64::Engine as _;
use fairlead::config::{Database, SealKey, SealKeys, SourceConfig};
use fairlead::store::Store;
use fairlead::store::db::PoolConfig;
use secrecy::SecretString;

use crate::support::databases::{SERVERS, Sql, TestDatabase, pool_config};

/// An empty database of its own.
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

    pub fn store(&self) -> Store {
        store(self.config(), None)
    }

    pub fn sealing(&self, keys: &[(&str, u8)]) -> Store {
        store(self.config(), Some(&seal_keys(keys)))
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

pub fn seal_keys(keys: &[(&str, u8)]) -> SealKeys {
    let encode = |byte: u8| SecretString::from(base64::engine::general_purpose::STANDARD.encode([byte; 32]));
    SealKeys(keys.iter().map(|(id, byte)| SealKey { id: (*id).to_owned(), key: encode(*byte) }).collect())
}

pub fn store(config: PoolConfig, seal: Option<&SealKeys>) -> Store {
    let database = Database { main: config.clone(), intents: config, source: SourceConfig::SameDatabase };
    Store::open(&database, seal).expect("keys that can be used")
}

/// An empty database on each of the three.
pub async fn places(purpose: &str) -> Vec<Place> {
    let mut all = Vec::new();
    for server in SERVERS {
        let database = TestDatabase::create(server, purpose).await;
        let sql = database.admin.clone();
        all.push(Place { server: Some(database), folder: None, sql });
    }
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:{}?mode=rwc", folder.path().join("fairlead.db").display());
    all.push(Place { server: None, folder: Some(folder), sql: Sql::open(&url) });
    all
}

/// Places on the two servers only.
pub async fn servers(purpose: &str) -> Vec<Place> {
    places(purpose).await.into_iter().filter(|p| p.server.is_some()).collect()
}
