//! The Fairlead that is measured: a release build, in a process of its own.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::http;
use crate::proc::Process;
use crate::tls::Tls;

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
        if let Database::MariaDb { url, name } = &database {
            let server = url.strip_prefix("mysql://root@").expect("mysql://root@host:port");
            sql(url, &format!("drop database if exists {name}; create database {name}"));
            text.push_str(&format!(
                "sql:\n  enabled: true\n  connectionPools.default: {{ default: true, jdbcUrl: 'jdbc:mariadb://{server}/{name}', user: root }}\n"
            ));
        }
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

    /// What it said, for a look at the end.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.terminate();
        if let Database::MariaDb { url, name } = &self.database {
            sql(url, &format!("drop database if exists {name}"));
        }
    }
}

/// Says it to a MariaDB, by its own client.
fn sql(url: &str, text: &str) {
    let (host, port) = url.strip_prefix("mysql://root@").and_then(|at| at.split_once(':')).expect("mysql://root@host:port");
    let status = Command::new("mariadb")
        .args(["--no-defaults", "--protocol=tcp", "-h", host, "-P", port, "-u", "root", "-e", text])
        .status()
        .expect("the mariadb client; scripts/install.sh databases installs it");
    assert!(status.success(), "MariaDB refuses: {text}");
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
