//! Real Clouddrivers, started by the commands that the environment names.
//!
//! `FAIRLEAD_E2E_CLOUDDRIVER` is a list of lines `name=command`; each command is called with one more argument, a folder that
//! holds the `clouddriver.yml` which we write, and has to stay in the foreground. A name that begins with `5.` is taken for the
//! older generation (Spring Boot 2), which wants no dialect for MariaDB.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use super::databases::{Server, Sql, TestDatabase};
use super::http;
use super::process::{Process, folder, free_port};
use super::relay::Relay;

/// A Clouddriver that can be started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generation {
    pub name: String,
    command: String,
}

impl Generation {
    /// Those that the environment names.
    pub fn from_environment() -> Vec<Self> {
        std::env::var("FAIRLEAD_E2E_CLOUDDRIVER")
            .unwrap_or_default()
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .map(|line| {
                let (name, command) = line.split_once('=').unwrap_or_else(|| panic!("FAIRLEAD_E2E_CLOUDDRIVER: no `name=command`: {line}"));
                Self { name: name.trim().to_owned(), command: command.trim().to_owned() }
            })
            .collect()
    }

    /// Spring Boot 2 with Tomcat 9 (release lines up to 2025).
    pub fn is_old(&self) -> bool {
        self.name.starts_with("5.")
    }
}

/// A running Clouddriver with a database of its own.
pub struct Clouddriver {
    pub generation: Generation,
    pub port: u16,
    pub database: TestDatabase,
    /// The database user it runs as.
    pub user: String,
    /// Between it and its database.
    pub before_database: Relay,
    process: Process,
}

/// The first start fetches libraries.
const START: Duration = Duration::from_secs(600);

impl Clouddriver {
    /// Starts it on a new database and waits until it answers. `more`: YAML laid over the configuration.
    pub async fn start(generation: &Generation, server: Server, more: &str) -> Self {
        let port = free_port();
        Self::start_at(generation, server, port, port, more).await
    }

    /// As [`Clouddriver::start`], with TLS at the second port of its answer; `ssl` is what it has of `server.ssl`. What tests ask
    /// it themselves they ask without.
    pub async fn start_with_tls(generation: &Generation, server: Server, ssl: &str) -> (Self, u16) {
        let (port, tls_port) = (free_port(), free_port());
        let more = format!("server.ssl: {ssl}\ndefault.legacyServerPort: {port}");
        (Self::start_at(generation, server, port, tls_port, &more).await, tls_port)
    }

    async fn start_at(generation: &Generation, server: Server, port: u16, server_port: u16, more: &str) -> Self {
        let mut database = TestDatabase::create(server, "cd").await;
        let user = database.clouddriver_user().await;
        let (database_host, database_port) = server.address();
        let before_database = Relay::start(&database_host, database_port).await;
        let jdbc = database.jdbc_at("127.0.0.1", before_database.port);
        let name = format!("clouddriver-{}-{}-{port}", generation.name, server.word());
        let folder = folder(&name);
        let kubectl = folder.join("kubectl");
        std::fs::write(&kubectl, "#!/bin/sh\nsleep 0.05\necho '{\"kind\":\"List\",\"items\":[]}'\n").expect("a script");
        std::fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).expect("a script that runs");
        std::fs::write(folder.join("clouddriver.yml"), yaml(generation, server, &jdbc, &user, server_port, &kubectl, more))
            .expect("a configuration file");
        let mut command = Command::new("sh");
        // exec: so that the process we kill is Clouddriver itself.
        command.arg("-c").arg(format!("exec {} \"$0\"", generation.command)).arg(&folder);
        if std::env::var_os("CLOUDDRIVER_JAVA_OPTS").is_none() {
            command.env("CLOUDDRIVER_JAVA_OPTS", "-Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC");
        }
        let process = Process::spawn(&name, command, &folder.join("clouddriver.log"));
        let mut clouddriver = Self { generation: generation.clone(), port, database, user, before_database, process };
        clouddriver.answering().await;
        clouddriver
    }

    /// What names this Clouddriver in the output.
    pub fn title(&self) -> String {
        format!("{} on {}", self.generation.name, self.database.server.word())
    }

    async fn answering(&mut self) {
        let start = Instant::now();
        loop {
            if let Ok(answer) = http::get(self.port, "/credentials/type/kubernetes?limit=1").await
                && answer.status == 200
            {
                return;
            }
            if let Some(status) = self.process.ended() {
                panic!("{} ended at start ({status}):\n{}", self.title(), self.process.log_tail(4000));
            }
            assert!(start.elapsed() < START, "{} does not answer; log: {}", self.title(), self.process.log.display());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }

    /// Its table, as it is: `(id, type, body, created_at)` in order of ids.
    pub async fn accounts(&self) -> Vec<StoredAccount> {
        accounts(&self.database.admin).await
    }

    /// The ids and creation times of its table: what tells one life of an account from another.
    pub async fn ids(&self) -> Vec<(String, i64)> {
        let rows = self.database.admin.rows("select id, created_at from accounts").await;
        rows.into_iter()
            .map(|mut r| (r[0].take().unwrap_or_default(), r[1].take().and_then(|t| t.parse().ok()).unwrap_or_default()))
            .collect()
    }

    /// Empties Clouddriver's tables behind its back, so that the next suite starts with nothing.
    pub async fn forget_accounts(&self) {
        self.database.admin.exec("delete from accounts").await;
        self.database.admin.exec("delete from accounts_history").await;
    }

    /// Cuts its connections to the database, as a failover would.
    pub async fn cut_database_connections(&self) {
        let admin = &self.database.admin;
        match self.database.server {
            Server::MariaDb => {
                let rows =
                    admin.rows(&format!("select cast(id as char) from information_schema.processlist where user = '{}'", self.user)).await;
                for id in rows.into_iter().flatten().flatten() {
                    // It may have gone by itself in between.
                    let _ = admin.try_exec(&format!("kill connection {id}")).await;
                }
            }
            Server::Postgres => {
                let _ = admin
                    .try_exec(&format!("select pg_terminate_backend(pid) from pg_stat_activity where usename = '{}'", self.user))
                    .await;
            }
        }
    }

    /// The end of the log, for a failure's message.
    pub fn log_tail(&self) -> String {
        self.process.log_tail(4000)
    }
}

/// A row of Clouddriver's table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccount {
    pub id: String,
    pub type_: String,
    pub body: String,
    pub created_at: i64,
}

/// Reads Clouddriver's table.
pub async fn accounts(sql: &Sql) -> Vec<StoredAccount> {
    sql.rows("select id, type, body, created_at from accounts order by id")
        .await
        .into_iter()
        .map(|mut row| {
            let mut take = |i: usize| row[i].take().unwrap_or_default();
            StoredAccount { id: take(0), type_: take(1), body: take(2), created_at: take(3).parse().unwrap_or_default() }
        })
        .collect()
}

fn yaml(generation: &Generation, server: Server, jdbc: &str, user: &str, port: u16, kubectl: &Path, more: &str) -> String {
    let dialect = match (server, generation.is_old()) {
        (Server::Postgres, _) => "      dialect: POSTGRES\n",
        // Without it, it starts and every write is 500; the older one takes it for an unknown dialect.
        (Server::MariaDb, false) => "      dialect: MARIADB\n",
        (Server::MariaDb, true) => "",
    };
    format!(
        r#"server: {{ port: {port}, address: 127.0.0.1, http2: {{ enabled: true }} }}
redis: {{ enabled: false, cache.enabled: false, scheduler.enabled: false, taskRepository.enabled: false }}
services:
  fiat: {{ enabled: false, baseUrl: "http://127.0.0.1:1" }}
  # Nothing is there, but without it the application does not start.
  front50: {{ enabled: true, baseUrl: "http://127.0.0.1:1" }}
fiat.enabled: false
sql:
  enabled: true
  taskRepository.enabled: true
  cache.enabled: true
  scheduler.enabled: true
  connectionPools:
    default:
      default: true
{dialect}      jdbcUrl: {jdbc}
      user: {user}
      password: {user}
  migration: {{ jdbcUrl: "{jdbc}", user: {user}, password: {user} }}
kubernetes:
  enabled: true
  # There is no cluster: a script answers for it. (Clouddriver's loader hangs for ever on a program that ends at once.)
  kubectl.executable: {kubectl}
  cache.enabled: false
  verifyAccountHealth: false
  loadNamespacesInAccount: false
account.storage: {{ enabled: true, kubernetes.enabled: true }}
credentials.poller:
  enabled: true
  types.kubernetes.reloadFrequencyMs: 1000
swagger.enabled: false
spinnaker.extensibility: {{ default-repositories.enabled: false, enable-default-repositories: false }}
logging:
  config: classpath:logback-defaults.xml
  level.root: ERROR
{more}
"#,
        kubectl = kubectl.display()
    )
}
