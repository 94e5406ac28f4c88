//! Clouddriver's table with as many rows as are asked for, written by the server itself.

use crate::link::{Database, Link, Server};

/// One row in so many has a name that the pattern takes.
pub const EACH: usize = 1_000;
pub const PATTERN: &str = "^match-.*";
/// Rows of one statement.
const STEP: usize = 50_000;

pub struct Table<'d> {
    pub database: &'d Database,
    /// How many there are.
    pub rows: usize,
    body: usize,
    link: Link,
}

/// The name of a row, as the server makes it of the row's number `n`.
const NAME: &str = "concat(case when n % 1000 = 0 then 'match' when n % 3 = 0 then 'prod' when n % 3 = 1 then 'test' else 'dev' end, \
                    '-account-', lpad(concat(n, ''), 8, '0'))";

impl<'d> Table<'d> {
    /// With nothing in it.
    pub async fn make(database: &'d Database, body: usize) -> Self {
        let mut link = database.link().await;
        let (column, end) = match database.server {
            Server::MariaDb => ("longtext character set utf8mb4 collate utf8mb4_bin", " character set utf8mb4 collate utf8mb4_unicode_ci"),
            Server::Postgres => ("json", ""),
        };
        let sql = format!(
            "create table accounts (id varchar(255) not null primary key, type varchar(50) not null, body {column} not null, \
             created_at bigint not null, last_modified_at bigint not null, last_modified_by varchar(255) not null){end}"
        );
        link.exec(&sql).await;
        link.exec("create index accounts_type_index on accounts (type)").await;
        Self { database, rows: 0, body, link }
    }

    /// Writes rows until there are so many.
    pub async fn fill(&mut self, rows: usize) {
        while self.rows < rows {
            let (from, to) = (self.rows + 1, rows.min(self.rows + STEP));
            let (numbers, json) = match self.database.server {
                Server::MariaDb => (format!("(select seq as n from seq_{from}_to_{to}) numbers"), ""),
                Server::Postgres => (format!("generate_series({from}, {to}) numbers(n)"), "::json"),
            };
            let body = format!(
                "concat('{{\"type\": \"kubernetes\", \"name\": \"', {NAME}, '\", \"kubeconfigContents\": \"', repeat('kubeconfig', {}), \
                 '\", \"checkPermissionsOnStartup\": false, \"namespaces\": [\"default\", \"apps\"], \"cacheThreads\": 1}}'){json}",
                self.body / 10
            );
            let times = "1700000000000 + n, 1700000000000 + n";
            self.link.exec(&format!("insert into accounts select {NAME}, 'kubernetes', {body}, {times}, 'bench' from {numbers}")).await;
            self.rows = to;
        }
        // As it is after some days: the server knows its table.
        self.link.exec(if self.database.server == Server::Postgres { "vacuum analyze accounts" } else { "analyze table accounts" }).await;
    }
}
