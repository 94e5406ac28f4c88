//! A database of its own for each test, on the servers that `tests/databases.sh up` started.
//!
//! `FAIRLEAD_TEST_MARIADB` and `FAIRLEAD_TEST_POSTGRES` name other servers (URLs of an administrator, without a database).

use std::str::FromStr as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use fairlead::store::db::{PoolConfig, Target};
use sqlx::mysql::{MySqlConnectOptions, MySqlPool, MySqlPoolOptions};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{AssertSqlSafe, Row as _};

/// The two servers that real use knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Server {
    MariaDb,
    Postgres,
}

/// Both, for tests that run on each.
pub const SERVERS: [Server; 2] = [Server::MariaDb, Server::Postgres];

impl Server {
    /// The word in names of tests and databases.
    pub fn word(self) -> &'static str {
        match self {
            Self::MariaDb => "mariadb",
            Self::Postgres => "postgres",
        }
    }

    /// The administrator's URL, without a database.
    pub fn url(self) -> String {
        let (key, default) = match self {
            Self::MariaDb => ("FAIRLEAD_TEST_MARIADB", "mysql://root@127.0.0.1:23306"),
            Self::Postgres => ("FAIRLEAD_TEST_POSTGRES", "postgres://postgres@127.0.0.1:25432"),
        };
        std::env::var(key).ok().filter(|v| !v.is_empty()).unwrap_or_else(|| default.to_owned()).trim_end_matches('/').to_owned()
    }

    /// `(host, port)` of the server.
    pub fn address(self) -> (String, u16) {
        let url = self.url();
        let host = url.rsplit('@').next().unwrap_or_default().trim_start_matches("mysql://").trim_start_matches("postgres://");
        let default = if self == Self::MariaDb { 3306 } else { 5432 };
        match host.split_once(':') {
            Some((h, p)) => (h.to_owned(), p.parse().unwrap_or(default)),
            None => (host.to_owned(), default),
        }
    }
}

/// Statements as text, answers as text: enough for an oracle, and nothing of the code under test in between.
#[derive(Clone)]
pub enum Sql {
    MariaDb(MySqlPool),
    Postgres(PgPool),
    Sqlite(SqlitePool),
}

/// One row: each column as the server would print it.
pub type TextRow = Vec<Option<String>>;

impl Sql {
    /// Opens (lazily) as the URL's user.
    pub fn open(url: &str) -> Self {
        let wait = Duration::from_secs(20);
        if url.starts_with("mysql:") {
            let options = MySqlConnectOptions::from_str(url).expect("URL of a MariaDB");
            Self::MariaDb(MySqlPoolOptions::new().max_connections(8).acquire_timeout(wait).connect_lazy_with(options))
        } else if url.starts_with("postgres:") {
            let options = PgConnectOptions::from_str(url).expect("URL of a PostgreSQL");
            Self::Postgres(PgPoolOptions::new().max_connections(8).acquire_timeout(wait).connect_lazy_with(options))
        } else {
            let options = SqliteConnectOptions::from_str(url).expect("URL of a SQLite file").busy_timeout(wait);
            Self::Sqlite(SqlitePoolOptions::new().max_connections(2).acquire_timeout(wait).connect_lazy_with(options))
        }
    }

    /// Runs one statement or several; says how many rows were touched.
    pub async fn try_exec(&self, sql: &str) -> Result<u64, sqlx::Error> {
        Ok(match self {
            Self::MariaDb(p) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(p).await?.rows_affected(),
            Self::Postgres(p) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(p).await?.rows_affected(),
            Self::Sqlite(p) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(p).await?.rows_affected(),
        })
    }

    /// As [`Sql::try_exec`]; a failure fails the test.
    pub async fn exec(&self, sql: &str) -> u64 {
        self.try_exec(sql).await.unwrap_or_else(|e| panic!("{e}\nin: {sql}"))
    }

    /// Reads rows. On SQLite every column has to be text (cast it).
    pub async fn try_rows(&self, sql: &str) -> Result<Vec<TextRow>, sqlx::Error> {
        // The text protocols of both servers send each value as it would be printed, so bytes are text here.
        Ok(match self {
            Self::MariaDb(p) => {
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(p).await?;
                rows.iter().map(|r| (0..r.len()).map(|i| r.get_unchecked::<Option<Vec<u8>>, _>(i).map(lossy)).collect()).collect()
            }
            Self::Postgres(p) => {
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(p).await?;
                rows.iter().map(|r| (0..r.len()).map(|i| r.get_unchecked::<Option<String>, _>(i)).collect()).collect()
            }
            Self::Sqlite(p) => {
                let rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(p).await?;
                rows.iter().map(|r| (0..r.len()).map(|i| r.get_unchecked::<Option<String>, _>(i)).collect()).collect()
            }
        })
    }

    /// As [`Sql::try_rows`]; a failure fails the test.
    pub async fn rows(&self, sql: &str) -> Vec<TextRow> {
        self.try_rows(sql).await.unwrap_or_else(|e| panic!("{e}\nin: {sql}"))
    }

    /// The first column of the first row as a number; 0 for NULL and for no row.
    pub async fn number(&self, sql: &str) -> i64 {
        let rows = self.rows(sql).await;
        rows.first()
            .and_then(|r| r.first().cloned().flatten())
            .map_or(0, |t| t.parse().unwrap_or_else(|_| panic!("{t} is no number\nin: {sql}")))
    }

    /// A text as a literal of this server's SQL (a backslash is an escape on MariaDB only).
    pub fn quoted(&self, text: &str) -> String {
        let text = text.replace('\'', "''");
        if matches!(self, Self::MariaDb(_)) { format!("'{}'", text.replace('\\', "\\\\")) } else { format!("'{text}'") }
    }

    /// Ends all connections.
    pub async fn close(&self) {
        match self {
            Self::MariaDb(p) => p.close().await,
            Self::Postgres(p) => p.close().await,
            Self::Sqlite(p) => p.close().await,
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // used as a function in map()
fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8_lossy(&bytes).into_owned()
}

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A word that no other test, run or machine user of the same server has.
pub fn unique(prefix: &str) -> String {
    let n = COUNTER.fetch_add(1, Ordering::Relaxed);
    format!("{prefix}_{}_{n}_{:05x}", std::process::id(), fastrand::u32(..0x10_0000))
}

/// A database that goes when the test does (by [`TestDatabase::drop_now`], or at the latest when the value is dropped).
pub struct TestDatabase {
    pub server: Server,
    pub name: String,
    /// The administrator, in this database.
    pub admin: Sql,
    users: Vec<String>,
    gone: bool,
}

/// Fairlead's own tables: its user may do everything with these, and with nothing else.
///
/// Kept as a list because MySQL's grants know no pattern for table names.
pub const OWN_TABLES: [&str; 9] = [
    "kubesvc_accounts",
    "fairlead_intents",
    "fairlead_names",
    "fairlead_epochs",
    "fairlead_tombstones",
    "fairlead_hand",
    "fairlead_lives",
    "fairlead_meta",
    "fairlead_migrations",
];

impl TestDatabase {
    /// Makes an empty database with the collation that Clouddriver's installation guide asks for.
    pub async fn create(server: Server, purpose: &str) -> Self {
        let options = if server == Server::MariaDb { "character set utf8mb4 collate utf8mb4_unicode_ci" } else { "" };
        Self::create_with(server, purpose, options).await
    }

    /// As [`TestDatabase::create`], of another character set.
    pub async fn create_with(server: Server, purpose: &str, options: &str) -> Self {
        let name = unique(&format!("t_{purpose}"));
        let root = Sql::open(&match server {
            Server::MariaDb => format!("{}/mysql", server.url()),
            Server::Postgres => format!("{}/postgres", server.url()),
        });
        if let Err(e) = root.try_exec(&format!("create database {name} {options}")).await {
            panic!("no {} for tests at {} (tests/databases.sh up): {e}", server.word(), server.url());
        }
        root.close().await;
        let admin = Sql::open(&format!("{}/{name}", server.url()));
        Self { server, name, admin, users: Vec::new(), gone: false }
    }

    /// The administrator's URL of this database.
    pub fn url(&self) -> String {
        format!("{}/{}", self.server.url(), self.name)
    }

    /// `user`'s URL (the password is the name).
    pub fn url_as(&self, user: &str) -> String {
        let (host, port) = self.server.address();
        self.url_at(user, &host, port)
    }

    /// As [`TestDatabase::url_as`] by way of another address (a relay that can fail).
    pub fn url_at(&self, user: &str, host: &str, port: u16) -> String {
        let scheme = if self.server == Server::MariaDb { "mysql" } else { "postgres" };
        format!("{scheme}://{user}:{user}@{host}:{port}/{}", self.name)
    }

    /// The same as a JDBC URL, as Spinnaker's configuration has it.
    pub fn jdbc_at(&self, host: &str, port: u16) -> String {
        let scheme = if self.server == Server::MariaDb { "mysql" } else { "postgresql" };
        format!("jdbc:{scheme}://{host}:{port}/{}", self.name)
    }

    /// JDBC URL of the server itself.
    pub fn jdbc(&self) -> String {
        let (host, port) = self.server.address();
        self.jdbc_at(&host, port)
    }

    /// A pool's settings for code under test, as the administrator.
    pub fn pool_config(&self) -> PoolConfig {
        pool_config(&self.url())
    }

    /// A pool's settings for code under test, as one of the users.
    pub fn pool_config_as(&self, user: &str) -> PoolConfig {
        pool_config(&self.url_as(user))
    }

    /// The user Clouddriver runs as: all rights in this database.
    pub async fn clouddriver_user(&mut self) -> String {
        let user = self.new_user("cd").await;
        match self.server {
            Server::MariaDb => self.admin.exec(&format!("grant all on {}.* to '{user}'@'%'", self.name)).await,
            Server::Postgres => {
                self.admin.exec(&format!("grant all on database {} to {user}; grant all on schema public to {user}", self.name)).await
            }
        };
        user
    }

    /// The user Fairlead runs as: SELECT on `accounts`, everything on its own tables ([`OWN_TABLES`]), nothing else.
    /// `accounts` has to be there already. This is the list of grants that the documentation gives.
    pub async fn fairlead_user(&mut self) -> String {
        let user = self.new_user("fl").await;
        match self.server {
            Server::MariaDb => {
                self.admin.exec(&format!("grant select on {}.accounts to '{user}'@'%'", self.name)).await;
                for table in OWN_TABLES {
                    self.admin
                        .exec(&format!("grant select, insert, update, delete, create, alter on {}.{table} to '{user}'@'%'", self.name))
                        .await;
                }
            }
            Server::Postgres => {
                self.admin.exec(&format!("grant usage, create on schema public to {user}; grant select on accounts to {user}")).await;
            }
        }
        user
    }

    /// A user with no rights at all beyond connecting; its password is its name.
    pub async fn new_user(&mut self, prefix: &str) -> String {
        let user = unique(prefix);
        match self.server {
            Server::MariaDb => self.admin.exec(&format!("create user '{user}'@'%' identified by '{user}'")).await,
            Server::Postgres => self.admin.exec(&format!("create role {user} login password '{user}'")).await,
        };
        self.users.push(user.clone());
        user
    }

    /// A stand-in for Clouddriver's table, as its Liquibase makes it on this server, for tests without a Clouddriver.
    pub async fn make_accounts_table(&self) {
        match self.server {
            Server::MariaDb => {
                self.admin
                    .exec(
                        "create table accounts (id varchar(255) not null primary key, type varchar(50) not null, \
                         body longtext character set utf8mb4 collate utf8mb4_bin not null check (json_valid(body)), \
                         created_at bigint not null, last_modified_at bigint not null, last_modified_by varchar(255) not null, \
                         key accounts_type_index (type)) character set utf8mb4 collate utf8mb4_unicode_ci",
                    )
                    .await
            }
            Server::Postgres => {
                self.admin
                    .exec(
                        "create table accounts (id varchar(255) not null primary key, type varchar(50) not null, body json not null, \
                         created_at bigint not null, last_modified_at bigint not null, last_modified_by varchar(255) not null); \
                         create index accounts_type_index on accounts (type)",
                    )
                    .await
            }
        };
    }

    /// Drops database and users now. Without this call `Drop` does it in a thread of its own.
    pub async fn drop_now(mut self) {
        self.admin.close().await;
        self.gone = true;
        drop_all(self.server, &self.name, &self.users).await;
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        if self.gone || std::env::var_os("FAIRLEAD_KEEP_DATABASES").is_some() {
            return;
        }
        let (server, name, users) = (self.server, self.name.clone(), std::mem::take(&mut self.users));
        // A test that failed unwinds here, perhaps inside its runtime; so the clean-up has a thread and a runtime to itself.
        let _ = std::thread::spawn(move || {
            if let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() {
                let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(20), drop_all(server, &name, &users)).await });
            }
        })
        .join();
    }
}

async fn drop_all(server: Server, name: &str, users: &[String]) {
    let root = Sql::open(&match server {
        Server::MariaDb => format!("{}/mysql", server.url()),
        Server::Postgres => format!("{}/postgres", server.url()),
    });
    match server {
        Server::MariaDb => {
            let _ = root.try_exec(&format!("drop database if exists {name}")).await;
            for user in users {
                let _ = root.try_exec(&format!("drop user if exists '{user}'@'%'")).await;
            }
        }
        Server::Postgres => {
            let _ = root.try_exec(&format!("drop database if exists {name} with (force)")).await;
            for user in users {
                let _ = root.try_exec(&format!("drop role if exists {user}")).await;
            }
        }
    }
    root.close().await;
}

/// Pool settings for a URL (`mysql:`, `postgres:`, `sqlite:`).
pub fn pool_config(url: &str) -> PoolConfig {
    let target = if url.starts_with("mysql:") {
        Target::MySql(Box::new(MySqlConnectOptions::from_str(url).expect("URL of a MariaDB")))
    } else if url.starts_with("postgres:") {
        Target::Postgres(Box::new(PgConnectOptions::from_str(url).expect("URL of a PostgreSQL")))
    } else {
        Target::Sqlite(Box::new(SqliteConnectOptions::from_str(url).expect("URL of a SQLite file").create_if_missing(true)))
    };
    PoolConfig {
        label: Arc::from("test"),
        target,
        max_connections: 8,
        acquire_timeout: Duration::from_secs(5),
        statement_timeout: Duration::from_secs(5),
    }
}

/// Asks again until `probe` gives a value; after `bound` the test fails with `what`.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, bound: Duration, mut probe: impl FnMut() -> F) -> T {
    let start = Instant::now();
    loop {
        if let Some(value) = probe().await {
            return value;
        }
        assert!(start.elapsed() < bound, "not within {bound:?}: {what}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
