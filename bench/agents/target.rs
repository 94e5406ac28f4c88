//! The Fairlead that is measured: a release build, in a process of its own.

use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::proc::Process;
use crate::tls::Tls;
use crate::{batch, http};

/// Beyond it a start or an end has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where its rows are.
#[derive(Clone, Debug)]
pub enum Database {
    Embedded,
    /// Name of a database that was just made, and where its server is.
    MariaDb {
        url: String,
        name: String,
    },
    /// As for MariaDB.
    Postgres {
        url: String,
        name: String,
    },
}

impl Database {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Embedded => "SQLite",
            Self::MariaDb { .. } => "MariaDB",
            Self::Postgres { .. } => "PostgreSQL",
        }
    }

    /// Says it to the server, by its own client: in the database itself, or beside it.
    fn says(&self, inside: bool, text: &str) {
        match self {
            Self::Embedded => {}
            Self::MariaDb { url, name } => mariadb(url, inside.then_some(name), text),
            Self::Postgres { url, name } => psql(&format!("{url}/{}", if inside { name } else { "postgres" }), text),
        }
    }

    fn name(&self) -> &str {
        match self {
            Self::Embedded => "",
            Self::MariaDb { name, .. } | Self::Postgres { name, .. } => name,
        }
    }

    fn made(&self) {
        let name = self.name();
        self.says(false, &format!("drop database if exists {name};"));
        self.says(false, &format!("create database {name};"));
    }

    /// What Fairlead's configuration says of it.
    fn settings(&self) -> String {
        let pool = match self {
            Self::Embedded => return String::new(),
            Self::MariaDb { url, name } => {
                let server = url.strip_prefix("mysql://root@").expect("mysql://root@host:port");
                format!("jdbcUrl: 'jdbc:mariadb://{server}/{name}', user: root")
            }
            Self::Postgres { url, name } => {
                let server = url.strip_prefix("postgres://postgres@").expect("postgres://postgres@host:port");
                format!("jdbcUrl: 'jdbc:postgresql://{server}/{name}', user: postgres")
            }
        };
        format!("sql:\n  enabled: true\n  connectionPools.default: {{ default: true, {pool} }}\n")
    }
}

/// A Fairlead; gone when it is dropped, its database too.
pub struct Target {
    pub port: u16,
    pub admin: u16,
    pub grpc: u16,
    pub tls: Tls,
    program: PathBuf,
    folder: PathBuf,
    database: Database,
    process: Option<Process>,
}

impl Target {
    /// Starts one with nothing in it.
    pub fn start(program: &Path, database: Database) -> Self {
        let folder = folder("fairlead");
        let [port, admin, grpc, clouddriver] = free_ports();
        let tls = Tls::new(&folder);
        let mut text = include_str!("fairlead.yml").replace("@FOLDER@", &folder.display().to_string());
        for (key, value) in [("PORT", port), ("ADMIN", admin), ("GRPC", grpc), ("CLOUDDRIVER", clouddriver)] {
            text = text.replace(&format!("@{key}@"), &value.to_string());
        }
        database.made();
        text.push_str(&database.settings());
        std::fs::write(folder.join("fairlead.yml"), text).expect("a configuration file");
        let mut target = Self { port, admin, grpc, tls, program: program.to_owned(), folder, database, process: None };
        target.launch();
        let info = String::from_utf8(http::call(admin, "GET", "/info", None).expect("an admin listener").1).expect("text");
        assert!(info.contains(r#""failpoints":false"#), "a build for tests is not what is shipped:\n{info}");
        target
    }

    /// Starts the process, and waits until it is ready.
    pub fn launch(&mut self) {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--config"]).arg(self.folder.join("fairlead.yml")).current_dir(&self.folder);
        // The bench's own variables are no settings.
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FAIRLEAD_") || key.starts_with("KUBESVC_")) {
            command.env_remove(key);
        }
        let began = Instant::now();
        let mut process = Process::spawn(command, &self.folder.join("log")).unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        while !http::call(self.admin, "GET", "/health/ready", None).is_ok_and(|(status, _)| status == 200) {
            if let Some(status) = process.ended() {
                panic!("Fairlead ended at start ({status}):\n{}", process.said());
            }
            assert!(began.elapsed() < PATIENCE, "Fairlead is not ready:\n{}", process.said());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.process = Some(process);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// SIGTERM, and its end.
    pub fn terminate(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(PATIENCE);
        }
    }

    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Process::id).expect("a running Fairlead")
    }

    /// Makes Clouddriver's table in the same database. `false`: it has no place there.
    pub fn clouddrivers_table(&self) -> bool {
        let body = match &self.database {
            Database::Embedded => return false,
            Database::MariaDb { .. } => "longtext",
            Database::Postgres { .. } => "json",
        };
        self.database.says(
            true,
            &format!(
                "create table accounts (id varchar(255) not null primary key, type varchar(50) not null, body {body} not null, \
                 created_at bigint not null, last_modified_at bigint not null, last_modified_by varchar(255) not null);"
            ),
        );
        true
    }

    /// Ordinary accounts of these names.
    pub fn put_into_clouddrivers_table(&self, names: &[String]) {
        for names in names.chunks(500) {
            let row = |name: &String| {
                // A backslash of the JSON is one of MariaDB's texts too.
                let body = batch::clouddrivers(name).to_string();
                let body = if matches!(self.database, Database::MariaDb { .. }) { body.replace('\\', "\\\\") } else { body };
                format!("('{name}', 'kubernetes', '{body}', 1, 1, 'bench')")
            };
            let rows: Vec<String> = names.iter().map(row).collect();
            self.database.says(true, &format!("insert into accounts values {};", rows.join(", ")));
        }
    }

    /// What it said, for a look at the end.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.terminate();
        self.database.says(false, &format!("drop database if exists {};", self.database.name()));
    }
}

fn mariadb(url: &str, database: Option<&String>, text: &str) {
    let (host, port) = url.strip_prefix("mysql://root@").and_then(|at| at.split_once(':')).expect("mysql://root@host:port");
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", "root"]).args(database);
    said(client, text);
}

fn psql(url: &str, text: &str) {
    let mut client = Command::new("psql");
    client.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", url]).env("PGOPTIONS", "--client-min-messages=warning");
    said(client, text);
}

/// Runs a client on this text.
fn said(mut client: Command, text: &str) {
    let mut running =
        client.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("the client; scripts/install.sh databases installs it");
    running.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads all");
    assert!(running.wait().expect("its end").success(), "it refuses: {}", text.chars().take(500).collect::<String>());
}

/// An empty folder of this run.
pub fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.run/crowd").join(name);
    let folder = std::fs::create_dir_all(&folder).and_then(|()| folder.canonicalize()).expect("a folder below .run/");
    for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
        let _ = std::fs::remove_file(entry.path());
    }
    folder
}

/// Ports that were free a moment ago, below those that outgoing connections get: there will be ten thousand of them.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    while held.len() < N {
        held.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..32_000))));
    }
    let ports: Vec<u16> = held.iter().map(|l| l.local_addr().expect("a bound port").port()).collect();
    ports.try_into().expect("so many")
}
