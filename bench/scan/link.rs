//! The two servers, a database of the bench's own on each, and single connections to it.

use sqlx::mysql::MySqlConnection;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection as _};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    MariaDb,
    Postgres,
}

pub const SERVERS: [Server; 2] = [Server::MariaDb, Server::Postgres];

impl Server {
    pub fn word(self) -> &'static str {
        match self {
            Self::MariaDb => "MariaDB",
            Self::Postgres => "PostgreSQL",
        }
    }

    /// The administrator's URL, without a database; `None`: there is none to measure.
    fn url(self) -> Option<String> {
        let key = match self {
            Self::MariaDb => "FAIRLEAD_TEST_MARIADB",
            Self::Postgres => "FAIRLEAD_TEST_POSTGRES",
        };
        let url = std::env::var(key).ok().filter(|url| !url.is_empty());
        if url.is_none() {
            println!("\n{} is left out: {key} names none", self.word());
        }
        url
    }
}

/// One connection.
pub enum Link {
    MariaDb(MySqlConnection),
    Postgres(PgConnection),
}

impl Link {
    async fn to(server: Server, url: &str) -> Self {
        let error = |e: sqlx::Error| -> ! { panic!("{}: {e}", server.word()) };
        match server {
            Server::MariaDb => Self::MariaDb(MySqlConnection::connect(url).await.unwrap_or_else(|e| error(e))),
            Server::Postgres => Self::Postgres(PgConnection::connect(url).await.unwrap_or_else(|e| error(e))),
        }
    }

    /// Runs a statement.
    pub async fn exec(&mut self, sql: &str) {
        let done = match self {
            Self::MariaDb(link) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(link).await.map(drop),
            Self::Postgres(link) => sqlx::raw_sql(AssertSqlSafe(sql)).execute(link).await.map(drop),
        };
        done.unwrap_or_else(|e| panic!("{e}\nin: {sql}"));
    }
}

/// A database that was just made.
#[derive(Clone, Debug)]
pub struct Database {
    pub server: Server,
    url: String,
    name: String,
}

impl Database {
    /// Makes it; `None`: no such server is named.
    pub async fn make(server: Server) -> Option<Self> {
        let database = Self { server, url: server.url()?, name: format!("fairlead_scan_{}", std::process::id()) };
        let end = if server == Server::MariaDb { " character set utf8mb4 collate utf8mb4_unicode_ci" } else { "" };
        database.beside(&format!("create database {}{end}", database.name)).await;
        Some(database)
    }

    /// A new connection.
    pub async fn link(&self) -> Link {
        Link::to(self.server, &format!("{}/{}", self.url, self.name)).await
    }

    async fn beside(&self, sql: &str) {
        let own = if self.server == Server::MariaDb { "mysql" } else { "postgres" };
        Link::to(self.server, &format!("{}/{own}", self.url)).await.exec(sql).await;
    }

    pub async fn drop_now(self) {
        let force = if self.server == Server::Postgres { " with (force)" } else { "" };
        self.beside(&format!("drop database {}{force}", self.name)).await;
    }

    /// As Fairlead's configuration has it: user and JDBC URL.
    pub fn pool(&self) -> String {
        let (scheme, start) = match self.server {
            Server::MariaDb => ("mariadb", "mysql://"),
            Server::Postgres => ("postgresql", "postgres://"),
        };
        let (user, at) = self.url.strip_prefix(start).and_then(|rest| rest.split_once('@')).expect("scheme://user@host:port");
        format!("jdbcUrl: 'jdbc:{scheme}://{at}/{}', user: {user}", self.name)
    }
}
