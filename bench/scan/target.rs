//! The Fairlead that is measured: the program as it is shipped, in a process of its own that stands still where it is told to.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::http;
use crate::link::Database;
use crate::plan::Plan;
use crate::proc::{Memory, Process};
use crate::table::PATTERN;

/// Longer than any scan here takes.
const PATIENCE: Duration = Duration::from_secs(3_600);
/// As long as a database that was written to lately may be disbelieved.
const REST: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(20);

const ROWS: &str = "fairlead_scan_rows_total";

pub struct Target {
    admin: u16,
    process: Process,
}

/// What it has counted so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub scans: f64,
    pub rows: f64,
    pub seconds: f64,
}

impl Target {
    /// Starts one on the tables that are there. `keys`: of `kubesvc.dynamicAccounts`.
    pub fn start(plan: &Plan, database: &Database, name: &str, keys: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.run/scan").join(name);
        std::fs::create_dir_all(&folder).expect("a folder below .run/");
        let [port, admin, grpc] = free_ports();
        // It stands still for longer than a lease lasts as it is shipped, and that would be another thing to look after.
        let text = format!(
            "server: {{ address: 127.0.0.1, port: {port} }}\nservices.clouddriver.baseUrl: http://127.0.0.1:1\n\
             kubesvc.grpc.server: {{ address: 127.0.0.1, port: {grpc} }}\n\
             fairlead:\n  admin: {{ address: 127.0.0.1, port: {admin} }}\n  replica: {{ lease: 1h, heartbeat: 1s }}\n  logging.level: warn\n\
             sql:\n  enabled: true\n  connectionPools.default: {{ default: true, {} }}\n\
             kubesvc:\n  dynamicAccounts: {{ namePatterns: ['{PATTERN}'], {keys} }}\n",
            database.pool()
        );
        let file = folder.join("fairlead.yml");
        std::fs::write(&file, text).expect("a configuration file");
        let mut command = Command::new(&plan.program);
        command.args(["serve", "--config"]).arg(&file).current_dir(&folder);
        // The bench's own variables are no settings.
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FAIRLEAD_") || key.starts_with("KUBESVC_")) {
            command.env_remove(key);
        }
        let process = Process::spawn(command, &folder.join("log")).unwrap_or_else(|e| panic!("{}: {e}", plan.program.display()));
        let mut target = Self { admin, process };
        let began = Instant::now();
        while !http::call(admin, "GET", "/health/ready", None).is_ok_and(|(status, _)| status == 200) {
            if let Some(status) = target.process.ended() {
                panic!("Fairlead ended at start ({status}):\n{}", target.process.said());
            }
            assert!(began.elapsed() < PATIENCE, "Fairlead is not ready:\n{}", target.process.said());
            std::thread::sleep(LOOK);
        }
        target
    }

    fn metrics(&self) -> String {
        let (_, page) = http::call(self.admin, "GET", "/metrics", None).unwrap_or_else(|e| panic!("{e}\n{}", self.process.said()));
        String::from_utf8_lossy(&page).into_owned()
    }

    fn metric(&self, name: &str) -> f64 {
        sum(&self.metrics(), name)
    }

    pub fn counts(&self) -> Counts {
        let page = self.metrics();
        let [scans, rows, seconds] = ["fairlead_scan_seconds_count", ROWS, "fairlead_scan_seconds_sum"].map(|name| sum(&page, name));
        Counts { scans, rows, seconds }
    }

    /// Rows that scans have read.
    pub fn rows(&self) -> f64 {
        self.metric(ROWS)
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let began = Instant::now();
        while !holds() {
            assert!(began.elapsed() < PATIENCE, "{what}:\n{}", self.process.said());
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until so many scans, and a pass of the mirror's, have come to their end.
    pub fn scanned(&self, scans: f64) {
        self.passed();
        self.until("no scan comes to its end", || self.counts().scans >= scans);
    }

    /// Waits until the database is believed that nothing has changed, which takes a minute or two. `false`: it is not.
    pub fn at_rest(&self) -> bool {
        let began = Instant::now();
        while self.metric("fairlead_scans_total{kind=\"skipped\"}") < 1.0 {
            if began.elapsed() > REST {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }

    /// Waits until the mirror's own pass after a start is over.
    pub fn passed(&self) {
        self.until("the mirror's pass does not end", || self.metric("fairlead_mirror_passes_total") >= 1.0);
    }

    /// It stands still, between two scans if it is between two scans.
    pub fn stop(&self) {
        self.signal("STOP");
    }

    /// It goes on; what it has counted until then.
    pub fn goes_on(&self) -> Counts {
        self.signal("CONT");
        self.counts()
    }

    /// Waits for the end of the next scan that begins; what that one counted. One that stood still in the middle is passed over.
    pub fn whole_scan(&self, mut before: Counts, rows: usize) -> Counts {
        loop {
            let scan = self.scanned_since(&before);
            if scan.scans == 1.0 && scan.rows as usize == rows {
                return scan;
            }
            before = self.counts();
        }
    }

    /// Waits for the next scan's end; what was counted until then.
    pub fn scanned_since(&self, before: &Counts) -> Counts {
        self.until("no scan comes to its end", || self.counts().scans > before.scans);
        let now = self.counts();
        Counts { scans: now.scans - before.scans, rows: now.rows - before.rows, seconds: now.seconds - before.seconds }
    }

    /// It goes on, and is in the middle of a scan; how many rows it has read until then.
    pub fn goes_on_scanning(&self) -> f64 {
        let before = self.goes_on().rows;
        self.until("it does not scan", || self.rows() > before);
        self.rows()
    }

    /// Bytes that it holds, and the most that it ever held.
    pub fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("a running process");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse::<f64>().ok());
        (Memory::of_tree(self.process.id()).resident as f64, most.expect("VmHWM") * 1024.0)
    }

    fn signal(&self, signal: &str) {
        let _ = Command::new("kill").args(["-s", signal, &self.process.id().to_string()]).status();
    }
}

/// A metric with its labels, or the sum over them.
fn sum(page: &str, name: &str) -> f64 {
    let is = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    page.lines().filter(is).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn free_ports<const N: usize>() -> [u16; N] {
    let mut held = Vec::new();
    while held.len() < N {
        held.extend(TcpListener::bind(("127.0.0.1", fastrand::u16(10_000..32_000))));
    }
    let ports: Vec<u16> = held.iter().map(|l| l.local_addr().expect("a bound port").port()).collect();
    ports.try_into().expect("so many")
}
