//! The `fairlead` binary as an operator runs it: a process with a configuration file, which can be killed, paused and drained.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::http::{self, Answer, Request};

/// Where logs and configurations of a run go: `target/e2e/NAME`.
pub fn folder(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/").join("e2e").join(name);
    std::fs::create_dir_all(&path).expect("a folder below target/");
    path
}

/// Ports that were given out.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that was free a moment ago, and that no client comes to have: it lies below those that Linux gives to outgoing connections,
/// so a process that is killed finds it free when it starts again.
pub fn free_port() -> u16 {
    loop {
        let port = fastrand::u16(10_000..32_000);
        let new = GIVEN.lock().expect("no panic while it is held").insert(port);
        if new && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A child process with a log file, killed at the latest when the value is dropped.
pub struct Process {
    pub name: String,
    pub log: PathBuf,
    child: Child,
}

impl Process {
    /// Starts `command`; its output is appended to `log`.
    pub fn spawn(name: &str, mut command: Command, log: &Path) -> Self {
        let out = OpenOptions::new().create(true).append(true).open(log).expect("a log file");
        let err = out.try_clone().expect("a second handle");
        let child = command.stdin(Stdio::null()).stdout(out).stderr(err).spawn().unwrap_or_else(|e| panic!("{name} does not start: {e}"));
        Self { name: name.to_owned(), log: log.to_owned(), child }
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by its name (`STOP`, `CONT`, `TERM`).
    pub fn signal(&self, signal: &str) {
        // A child that was not waited for keeps its number, so this can hit no other process.
        let _ = Command::new("kill").args(["-s", signal, &self.child.id().to_string()]).status();
    }

    /// Stops it, and waits until no thread of it runs: the signal alone only says that they will stop soon.
    pub async fn stop(&self) {
        self.signal("STOP");
        let stopped = |stat: String| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'));
        let start = Instant::now();
        loop {
            let threads = std::fs::read_dir(format!("/proc/{}/task", self.id())).expect("the threads of a process");
            if threads.flatten().all(|t| std::fs::read_to_string(t.path().join("stat")).is_ok_and(stopped)) {
                return;
            }
            assert!(start.elapsed() < Duration::from_secs(20), "{} does not stop", self.name);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Waits for its end, without holding up the runtime.
    pub async fn end(&mut self, bound: Duration) -> Option<ExitStatus> {
        let start = Instant::now();
        while start.elapsed() < bound {
            if let Some(status) = self.ended() {
                return Some(status);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }

    /// The end of its log.
    pub fn log_tail(&self, bytes: u64) -> String {
        let Ok(mut file) = File::open(&self.log) else { return String::new() };
        let length = file.metadata().map_or(0, |m| m.len());
        let _ = file.seek(SeekFrom::Start(length.saturating_sub(bytes)));
        let mut tail = Vec::new();
        let _ = file.read_to_end(&mut tail);
        String::from_utf8_lossy(&tail).into_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a `fairlead serve` is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Folder and log are named by it.
    pub name: String,
    pub port: u16,
    pub admin_port: u16,
    /// Where agents connect.
    pub grpc_port: u16,
    /// Where it believes Clouddriver to be.
    pub clouddriver_port: u16,
    /// JDBC URL and user (its password is its name) of the default pool; none: the embedded SQLite.
    pub database: Option<(String, String)>,
    /// More YAML, laid over the rest.
    pub more: String,
    /// `interceptor.unknownOutcomeWindow`.
    pub window: Duration,
    /// `fairlead.replica.lease`; the heartbeat is a fraction of it.
    pub lease: Duration,
    /// `window` and `lease` are set; otherwise they are as shipped.
    pub scaled: bool,
    /// `FAILPOINTS`, for a build that has them.
    pub failpoints: Option<String>,
    /// A folder where the process sees a disk of its own, of so many MiB, that goes with it.
    pub disk: Option<(PathBuf, u32)>,
    /// A program and its arguments that put their process into some state and then become Fairlead (`prlimit`, `unshare`).
    pub through: Vec<String>,
}

/// What storms use in place of minutes: how long a change of unknown outcome is looked after.
pub const UNKNOWN_WINDOW: Duration = Duration::from_secs(8);

impl Setup {
    pub fn new(name: &str, clouddriver_port: u16) -> Self {
        Self {
            name: name.to_owned(),
            port: free_port(),
            admin_port: free_port(),
            grpc_port: free_port(),
            clouddriver_port,
            database: None,
            more: String::new(),
            window: UNKNOWN_WINDOW,
            lease: Duration::from_secs(2),
            scaled: true,
            failpoints: None,
            disk: None,
            through: Vec::new(),
        }
    }

    /// An embedded database of its own, empty at the start.
    pub fn embedded(self) -> Self {
        let file = folder(&self.name).join("fairlead.db");
        for ending in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{ending}", file.display()));
        }
        self.with(&format!("fairlead.sqlite.path: {}", file.display()))
    }

    /// Starts it by another program, which has to become it.
    pub fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|w| (*w).to_owned()).collect();
        self
    }

    /// Sets the default pool.
    pub fn database(mut self, jdbc: &str, user: &str) -> Self {
        self.database = Some((jdbc.to_owned(), user.to_owned()));
        self
    }

    /// For suites without crashes: a lease that a busy machine does not miss, and a short wait for unknown outcomes.
    pub fn calm(mut self) -> Self {
        (self.window, self.lease) = (Duration::from_secs(3), Duration::from_secs(10));
        self
    }

    /// For storms: room for a row that comes seconds late, and crashes that are soon seen.
    pub fn stormy(mut self) -> Self {
        (self.window, self.lease) = (UNKNOWN_WINDOW, Duration::from_secs(2));
        self
    }

    /// With every time as it is shipped.
    pub fn unscaled(mut self) -> Self {
        self.scaled = false;
        self
    }

    /// A change can be stopped at this crash point; see [`Fairlead::stopped_at_a_change`].
    pub fn holding(self, point: &str) -> Self {
        self.holding_after(0, point)
    }

    /// As [`Setup::holding`], when the point has been met so often.
    pub fn holding_after(mut self, meetings: u32, point: &str) -> Self {
        let hold = folder(&self.name).join("hold");
        for left in [&hold, &hold.with_extension("held")] {
            let _ = std::fs::remove_file(left);
        }
        let skip = if meetings > 0 { format!("{meetings}*off->") } else { String::new() };
        self.failpoints = Some(format!("{point}={skip}return({})", hold.display()));
        self
    }

    /// Sets how soon a silent replica is taken for dead.
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// Adds a file that is laid over the others.
    pub fn with(mut self, yaml: &str) -> Self {
        self.more.push_str(yaml);
        self.more.push('\n');
        self
    }

    fn yaml(&self) -> String {
        let mut yaml = format!(
            "server: {{ address: 127.0.0.1, port: {} }}\n\
             fairlead:\n  admin: {{ address: 127.0.0.1, port: {} }}\n  replica.id: {}\n\
             services.clouddriver.baseUrl: http://127.0.0.1:{}\n\
             kubesvc.grpc.server: {{ address: 127.0.0.1, port: {} }}\n",
            self.port, self.admin_port, self.name, self.clouddriver_port, self.grpc_port
        );
        if self.scaled {
            yaml.push_str(&format!(
                "fairlead.replica: {{ lease: {}ms, heartbeat: {}ms }}\n\
                 kubesvc.dynamicAccounts.interceptor.unknownOutcomeWindow: {}ms\n",
                self.lease.as_millis(),
                self.lease.as_millis() / 7,
                self.window.as_millis()
            ));
        }
        if let Some((jdbc, user)) = &self.database {
            yaml.push_str(&format!(
                "sql:\n  enabled: true\n  connectionPools:\n    default:\n      default: true\n      jdbcUrl: {jdbc}\n      user: {user}\n      password: {user}\n"
            ));
        }
        yaml
    }
}

/// A running `fairlead serve`.
pub struct Fairlead {
    pub setup: Setup,
    pub folder: PathBuf,
    process: Process,
}

impl Fairlead {
    /// Writes the configuration, starts the process, waits until it is ready.
    pub async fn start(setup: Setup) -> Self {
        let mut fairlead = Self::spawn(setup);
        fairlead.ready().await;
        fairlead
    }

    /// As [`Fairlead::start`], without waiting.
    pub fn spawn(setup: Setup) -> Self {
        let folder = folder(&setup.name);
        std::fs::write(folder.join("fairlead.yml"), setup.yaml()).expect("a configuration file");
        std::fs::write(folder.join("more.yml"), &setup.more).expect("a configuration file");
        let process = launch(&setup, &folder);
        Self { setup, folder, process }
    }

    /// Waits until the admin listener says ready and the database was reached (without which account changes are refused).
    pub async fn ready(&mut self) {
        let start = Instant::now();
        loop {
            if let Ok(answer) = http::get(self.setup.admin_port, "/health/ready").await
                && answer.status == 200
                && http::get(self.setup.admin_port, "/info").await.is_ok_and(|info| info.json()["live"]["database"] == "up")
            {
                return;
            }
            if let Some(status) = self.process.ended() {
                panic!("{} ended at start ({status}):\n{}", self.setup.name, self.process.log_tail(4000));
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{} is not ready:\n{}", self.setup.name, self.process.log_tail(4000));
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts again after [`Fairlead::kill`], with the same configuration and ports; does not wait.
    pub fn launch_again(&mut self) {
        self.process = launch(&self.setup, &self.folder);
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the world for it (`SIGSTOP`).
    pub async fn pause(&self) {
        self.process.stop().await;
    }

    /// Sends a change, and stops the whole process where [`Setup::holding`] says. The answer comes after [`Fairlead::resume`].
    pub async fn stopped_at_a_change(&self, request: Request) -> tokio::task::JoinHandle<std::io::Result<Answer>> {
        let hold = self.folder.join("hold");
        std::fs::write(&hold, "").expect("a file");
        let port = self.setup.port;
        let call = tokio::spawn(async move { http::call(port, &request).await });
        let held = hold.with_extension("held");
        let start = Instant::now();
        while !held.exists() {
            assert!(start.elapsed() < Duration::from_secs(60), "no change is held:\n{}", self.log_tail());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.pause().await;
        // It will not see that before it goes on.
        std::fs::remove_file(&held).expect("it was there");
        call
    }

    /// Whether the process has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Lets it go on.
    pub fn resume(&self) {
        self.process.signal("CONT");
    }

    /// SIGTERM, and waits for an orderly end.
    pub async fn drain(&mut self) -> ExitStatus {
        self.process.signal("TERM");
        match self.process.end(Duration::from_secs(40)).await {
            Some(status) => status,
            None => panic!("{} does not end after SIGTERM:\n{}", self.setup.name, self.process.log_tail(4000)),
        }
    }

    /// The value of a metric without labels, or the sum over its labels; `None` while it is not there.
    pub async fn metric(&self, name: &str) -> Option<f64> {
        let text = http::get(self.setup.admin_port, "/metrics").await.ok()?.text();
        let values: Vec<f64> = text
            .lines()
            .filter(|l| !l.starts_with('#'))
            .filter_map(|l| l.split_once([' ', '{']).filter(|(n, _)| *n == name).and_then(|_| l.rsplit(' ').next()?.parse().ok()))
            .collect();
        if values.is_empty() { None } else { Some(values.iter().sum()) }
    }

    /// A level of `/info`; `None` while it is not there.
    pub async fn level(&self, name: &str) -> Option<u64> {
        http::get(self.setup.admin_port, "/info").await.ok()?.json()["live"]["mirror"][name].as_u64()
    }

    /// Everything this process has told anybody but its clients: the log of all its lives, metrics, info.
    pub async fn told(&self) -> String {
        let mut told = std::fs::read(&self.process.log).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        for page in ["/metrics", "/info", "/health/ready"] {
            told.push_str(&http::get(self.setup.admin_port, page).await.map(|a| a.text()).unwrap_or_default());
        }
        told
    }

    /// The end of the log, for a failure's message.
    pub fn log_tail(&self) -> String {
        self.process.log_tail(6000)
    }

    /// Bytes of memory that it holds.
    pub fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    /// The most bytes of memory that it ever held, or held since [`Fairlead::forget_peak`].
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    /// From here on, [`Fairlead::peak_memory`] counts anew.
    pub fn forget_peak(&self) {
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").expect("a process of our own");
    }

    fn status(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a running process");
        let kib = status.lines().find_map(|l| l.strip_prefix(line)?.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        kib.unwrap_or_else(|| panic!("{line} is not in {status}")) << 10
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("a running process").count()
    }
}

fn launch(setup: &Setup, folder: &Path) -> Process {
    let mut words: Vec<&OsStr> = setup.through.iter().map(OsStr::new).chain([OsStr::new(env!("CARGO_BIN_EXE_fairlead"))]).collect();
    let mount;
    if let Some((disk, mib)) = &setup.disk {
        mount = format!("mount -t tmpfs -o size={mib}m tmpfs \"$0\" && exec \"$@\"");
        let before = ["unshare", "--mount", "sh", "-c", &mount].map(OsStr::new);
        words.splice(..0, before.into_iter().chain([disk.as_os_str()]));
    }
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("serve").arg("--config").arg(folder.join("fairlead.yml")).arg("--config").arg(folder.join("more.yml"));
    command.current_dir(folder);
    // The tests' own variables are no settings.
    for (key, _) in std::env::vars().filter(|(k, _)| k.starts_with("FAIRLEAD_") || k.starts_with("KUBESVC_")) {
        command.env_remove(key);
    }
    // What it notes there is for its own next life.
    command.env("TMPDIR", folder);
    if let Some(points) = &setup.failpoints {
        command.env("FAILPOINTS", points);
    }
    Process::spawn(&setup.name, command, &folder.join("fairlead.log"))
}
