//! The origin and what stands before it: configuration, start, end.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::load::PATH;
use crate::plan::Plan;
use crate::proc::Process;
use crate::wire;

/// Beyond it a start or an end has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// What a target is.
#[derive(Clone, Debug)]
enum Kind {
    Origin,
    Nginx,
    Haproxy,
    Fairlead { program: PathBuf, admin: u16 },
}

/// Something that answers requests; gone when it is dropped.
pub struct Target {
    pub name: String,
    pub port: u16,
    kind: Kind,
    /// What it runs in; its logs and files are there.
    folder: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl Target {
    /// The origin, which is "direct", then nginx, HAProxy, and each Fairlead. None of them is started.
    pub fn all(plan: &Plan, cores: usize, files: usize) -> Vec<Self> {
        let origin = free_port();
        let mut kinds = vec![("direct", Kind::Origin), ("nginx", Kind::Nginx), ("haproxy", Kind::Haproxy)];
        kinds.extend(
            plan.fairleads.iter().map(|(name, program)| (&**name, Kind::Fairlead { program: program.clone(), admin: free_port() })),
        );
        kinds
            .into_iter()
            .map(|(name, kind)| {
                let port = if matches!(kind, Kind::Origin) { origin } else { free_port() };
                let values = [
                    ("CORES", cores.to_string()),
                    ("FILES", files.to_string()),
                    ("PORT", port.to_string()),
                    ("ORIGIN", origin.to_string()),
                ];
                Self::prepare(name, kind, port, &values)
            })
            .collect()
    }

    fn prepare(name: &str, kind: Kind, port: u16, values: &[(&str, String)]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.run/price").join(name);
        let folder = std::fs::create_dir_all(&folder).and_then(|()| folder.canonicalize()).expect("a folder below .run/");
        for entry in std::fs::read_dir(&folder).expect("a folder").flatten() {
            // What an earlier run left: logs, and Fairlead's database.
            let _ = std::fs::remove_file(entry.path());
        }
        let place = folder.display().to_string();
        let write = |file: &str, template: &str| {
            let mut text = template.replace("@FOLDER@", &place);
            for (key, value) in values {
                text = text.replace(&format!("@{key}@"), value);
            }
            let path = folder.join(file);
            std::fs::write(&path, text).expect("a configuration file");
            path.display().to_string()
        };
        let (program, arguments) = match &kind {
            Kind::Origin => (compile_origin(&folder), vec![port.to_string(), values[0].1.clone()]),
            Kind::Nginx => {
                let config = write("nginx.conf", include_str!("nginx.conf"));
                (find("nginx"), ["-p", &place, "-c", &config, "-e", &format!("{place}/error.log")].map(str::to_owned).to_vec())
            }
            Kind::Haproxy => {
                (find("haproxy"), ["-db", "-f", &write("haproxy.cfg", include_str!("haproxy.cfg"))].map(str::to_owned).to_vec())
            }
            Kind::Fairlead { program, admin } => {
                let config = write("fairlead.yml", &include_str!("fairlead.yml").replace("@ADMIN@", &admin.to_string()));
                (program.clone(), ["serve", "--config", &config].map(str::to_owned).to_vec())
            }
        };
        Self { name: name.to_owned(), port, kind, folder, program, arguments, process: None }
    }

    /// Starts it. From just before its process to the last byte of its first answer to a request that went all the way.
    pub fn start(&mut self) -> Duration {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).current_dir(&self.folder);
        // The bench's own variables are no settings.
        for (key, _) in std::env::vars().filter(|(key, _)| key.starts_with("FAIRLEAD_") || key.starts_with("KUBESVC_")) {
            command.env_remove(key);
        }
        let (request, mut buffer) = (wire::get(self.port, PATH), vec![0; wire::CHUNK]);
        let began = Instant::now();
        let mut process = Process::spawn(command, &self.folder.join("log")).unwrap_or_else(|e| panic!("{}: {e}", self.program.display()));
        loop {
            if wire::connect(self.port).is_ok_and(|stream| wire::call(&stream, &request, &mut buffer).is_ok()) {
                break;
            }
            if let Some(status) = process.ended() {
                panic!("{} ended at start ({status}):\n{}", self.name, process.said());
            }
            assert!(began.elapsed() < PATIENCE, "{} does not answer:\n{}", self.name, process.said());
            std::thread::sleep(Duration::from_micros(200));
        }
        self.process = Some(process);
        began.elapsed()
    }

    /// Ends it, if it runs, as its operator would.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(PATIENCE);
        }
    }

    /// The process that was started; others may be its children.
    pub fn pid(&self) -> u32 {
        self.process.as_ref().map(Process::id).expect("a running target")
    }

    /// The first line of what it says of its version.
    pub fn version(&self) -> String {
        let flag = match &self.kind {
            Kind::Origin => return "(the origin itself, bench/price/origin.c)".to_owned(),
            Kind::Nginx | Kind::Haproxy => "-v",
            Kind::Fairlead { .. } => "--version",
        };
        let output = Command::new(&self.program).arg(flag).output().expect("a version");
        let text = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&text).lines().next().unwrap_or_default().to_owned()
    }

    /// That the origin gets the request through it, and that a Fairlead is set up as in production.
    pub fn check(&self) {
        let request = wire::get(self.port, "/echo");
        let arrived = wire::text(self.port, &request).expect("an echo").to_ascii_lowercase();
        for line in String::from_utf8_lossy(&request).to_ascii_lowercase().lines() {
            // The connection's own header is each hop's own.
            assert!(line.starts_with("connection:") || arrived.contains(line), "{} does not pass on: {line}\n{arrived}", self.name);
        }
        let Kind::Fairlead { admin, .. } = &self.kind else { return };
        let info = wire::text(*admin, &wire::get(*admin, "/info")).expect("an admin listener");
        for fact in [r#""interceptor":{"enabled":true"#, r#""database":"up""#, r#""failpoints":false"#] {
            assert!(info.contains(fact), "{}: {fact} is not so:\n{info}", self.name);
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// Debian's servers are where only root's PATH leads.
fn find(program: &str) -> PathBuf {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path.split(':').chain(["/usr/sbin"]).map(Path::new);
    let found = folders.map(|folder| folder.join(program)).find(|file| file.is_file());
    found.unwrap_or_else(|| panic!("no {program}; scripts/install.sh proxies installs it"))
}

fn compile_origin(folder: &Path) -> PathBuf {
    let (source, program) = (Path::new(env!("CARGO_MANIFEST_DIR")).join("origin.c"), folder.join("origin"));
    let status = Command::new("cc").args(["-O2", "-Wall", "-pthread", "-o"]).args([&program, &source]).status().expect("a C compiler");
    assert!(status.success(), "{} does not compile", source.display());
    program
}
