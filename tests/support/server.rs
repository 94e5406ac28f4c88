//! A database server of a test's own, which can be taken away, and whose disk can be filled. `tests/server.sh` starts it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::databases::{Server, Sql};
use super::process::{Process, folder, free_port};

/// The database and its user (and password), made at the start.
pub const NAME: &str = "fairlead";

/// Runs until it is dropped. Its data are on a disk of its own, or lie in a folder.
pub struct OwnServer {
    pub server: Server,
    pub port: u16,
    /// The administrator, in the database.
    pub admin: Sql,
    process: Process,
    folder: tempfile::TempDir,
}

/// Whether a disk can be mounted that nobody else sees. Root may, unless it runs in a container that must not.
pub fn can_mount() -> bool {
    let try_it = ["--mount", "sh", "-c", "mount -t tmpfs -o size=1m tmpfs /mnt"];
    Command::new("unshare").args(try_it).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn url(server: Server, port: u16, database: &str) -> String {
    let (root, scheme) = match server {
        Server::MariaDb => ("root", "mysql"),
        Server::Postgres => ("postgres", "postgres"),
    };
    format!("{scheme}://{root}@127.0.0.1:{port}/{database}")
}

fn launch(server: Server, name: &str, data: &Path, port: u16, mib: Option<u32>) -> Process {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/server.sh");
    let mut command = Command::new(if mib.is_some() { "unshare" } else { "sh" });
    if mib.is_some() {
        command.args(["--mount", "sh"]);
    }
    command.arg(script).arg(server.word()).arg(data).arg(port.to_string()).arg(mib.unwrap_or(0).to_string());
    Process::spawn(name, command, &folder(name).join(format!("{}.log", server.word())))
}

impl OwnServer {
    /// Starts it and waits until it answers. `mib`: on a disk of that size.
    pub async fn start(server: Server, name: &str, mib: Option<u32>) -> Self {
        let (data, port) = (tempfile::tempdir().expect("a folder"), free_port());
        let process = launch(server, name, data.path(), port, mib);
        let admin = Sql::open(&url(server, port, NAME));
        let mut own = Self { server, port, admin, process, folder: data };
        let first = own.answers().await;
        first.exec(&format!("create database {NAME}")).await;
        match server {
            Server::MariaDb => {
                first.exec(&format!("create user {NAME}@'%' identified by '{NAME}'; grant all on {NAME}.* to {NAME}@'%'")).await
            }
            Server::Postgres => {
                first.exec(&format!("create role {NAME} login password '{NAME}'")).await;
                first.exec(&format!("alter database {NAME} owner to {NAME}")).await
            }
        };
        first.close().await;
        own
    }

    /// Waits until it answers for the first time; the administrator, outside of the database.
    async fn answers(&mut self) -> Sql {
        let first = Sql::open(&url(self.server, self.port, if self.server == Server::MariaDb { "mysql" } else { "postgres" }));
        let start = Instant::now();
        while first.try_rows("select 1").await.is_err() {
            let late = self.has_ended() || start.elapsed() > Duration::from_secs(90);
            assert!(!late, "no {:?}:\n{}", self.server, self.process.log_tail(3000));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        first
    }

    /// Its database, as its user.
    pub fn url(&self) -> String {
        let scheme = if self.server == Server::MariaDb { "mysql" } else { "postgres" };
        format!("{scheme}://{NAME}:{NAME}@127.0.0.1:{}/{NAME}", self.port)
    }

    /// Its database as a JDBC URL, by way of this port.
    pub fn jdbc_at(&self, port: u16) -> String {
        let scheme = if self.server == Server::MariaDb { "mysql" } else { "postgresql" };
        format!("jdbc:{scheme}://127.0.0.1:{port}/{NAME}")
    }

    /// Copies all tables to another server, as they are now.
    pub fn copy_to(&self, other: &Self) {
        let pipe = match self.server {
            Server::MariaDb => {
                "mariadb-dump --no-defaults -h 127.0.0.1 -P $0 -u root $2 | mariadb --no-defaults -h 127.0.0.1 -P $1 -u root $2"
            }
            Server::Postgres => "pg_dump -h 127.0.0.1 -p $0 -U postgres $2 | psql -q -v ON_ERROR_STOP=1 -h 127.0.0.1 -p $1 -U postgres $2",
        };
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-c", pipe]).args([self.port.to_string(), other.port.to_string(), NAME.to_owned()]);
        assert!(command.stdout(Stdio::null()).status().is_ok_and(|s| s.success()), "no copy from {:?}", self.server);
    }

    /// Takes no writes any more, as a primary that is to become a replica.
    pub async fn refuse_writes(&self) {
        if self.server == Server::MariaDb {
            self.admin.exec("set global read_only = 1").await;
            return;
        }
        self.admin.exec("alter system set default_transaction_read_only = on").await;
        self.admin.exec("select pg_reload_conf()").await;
        // The server hears of it after that, and tells its sessions before it takes on another one.
        let setting = async || {
            let new = Sql::open(&url(self.server, self.port, NAME));
            let rows = new.rows("show default_transaction_read_only").await;
            new.close().await;
            (rows[0][0].as_deref() == Some("on")).then_some(())
        };
        super::databases::eventually("a new session is read only", Duration::from_secs(60), setting).await;
    }

    /// Its disk, to be filled.
    pub fn disk(&self) -> Disk {
        Disk::of(self.process.id(), self.folder.path())
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// `kill -9`. What was committed lies in its files.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again after [`OwnServer::kill`], on its files and its port (not where it has a disk of its own), and waits until it answers.
    pub async fn restart(&mut self) {
        let (name, start) = (self.process.name.clone(), Instant::now());
        // PostgreSQL's children see only after a moment that their parent is gone, and until then it ends at once.
        while start.elapsed() < Duration::from_secs(60) {
            self.process = launch(self.server, &name, self.folder.path(), self.port, None);
            loop {
                tokio::time::sleep(Duration::from_millis(50)).await;
                // The pool would wait for long where nobody listens.
                let listens = std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok();
                if listens && self.admin.try_rows("select 1").await.is_ok() {
                    return;
                }
                if self.has_ended() {
                    break;
                }
            }
        }
        panic!("no {:?}:\n{}", self.server, self.process.log_tail(3000));
    }

    /// The world stands still for it (`SIGSTOP`), for each of its processes.
    pub async fn pause(&self) {
        self.process.stop().await;
        self.signal_children("STOP");
    }

    /// It goes on.
    pub fn resume(&self) {
        self.signal_children("CONT");
        self.process.signal("CONT");
    }

    /// PostgreSQL has a process for each connection. Its parent stands still now and makes no more.
    fn signal_children(&self, signal: &str) {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        if !children.trim().is_empty() {
            let _ = Command::new("kill").args(["-s", signal]).args(children.split_whitespace()).stderr(Stdio::null()).status();
        }
    }
}

/// A disk that only one process and its children see.
pub struct Disk(PathBuf);

impl Disk {
    /// The one that a process has mounted at `folder`.
    pub fn of(process: u32, folder: &Path) -> Self {
        Self(Path::new(&format!("/proc/{process}/root")).join(folder.strip_prefix("/").unwrap_or(folder)))
    }

    /// A file there, as seen from here.
    pub fn path(&self, file: &str) -> PathBuf {
        self.0.join(file)
    }

    /// Writes until nothing fits any more.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.path("filler")).expect("a file");
        for size in [1 << 20, 4096, 1] {
            while file.write(&vec![1; size]).is_ok_and(|n| n > 0) {}
        }
    }

    /// Makes room again.
    pub fn make_room(&self) {
        std::fs::remove_file(self.path("filler")).expect("it was there");
    }
}
