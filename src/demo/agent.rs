//! A real agent beside the demonstration: the program `fairlead-agent`, a process of its own.

use std::fs::{File, OpenOptions};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The zone that the agent is in.
pub const ZONE: &str = "demo-zone";
/// Its name.
pub const AGENT: &str = "demo-agent";

/// The agent's process, running or not. Killed when it is dropped.
pub struct AgentProcess {
    program: PathBuf,
    folder: PathBuf,
    child: Option<Child>,
}

impl AgentProcess {
    /// Writes its configuration to `folder`; `channel` is where Fairlead waits for agents. Starts nothing yet.
    ///
    /// # Errors
    /// The program does not lie beside this one, or the file cannot be written.
    pub fn prepare(folder: &Path, channel: SocketAddr) -> io::Result<Self> {
        let program = std::env::current_exe()?.with_file_name("fairlead-agent");
        if !program.is_file() {
            let why = format!("{} is not there: cargo build --bins makes it", program.display());
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        // Free a moment ago, which is enough for a demonstration.
        let health = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let yaml = format!(
            "clouddriver: {{ grpc: \"{channel}\", insecure: true, backoff: {{ baseDelay: 200000000, maxDelay: 1000000000 }} }}\n\
             zoneId: {ZONE}\nserver: {{ host: 127.0.0.1, port: {health} }}\n"
        );
        std::fs::write(folder.join("armory-agent.yml"), yaml)?;
        Ok(Self { program, folder: folder.to_owned(), child: None })
    }

    /// Starts it. What it says goes to a file beside its configuration.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&mut self) -> io::Result<()> {
        let out: File = OpenOptions::new().create(true).append(true).open(self.folder.join("agent.log"))?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(self.folder.join("armory-agent.yml")).env("HOSTNAME", AGENT);
        self.child = Some(command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn()?);
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The end of what it said, for a story that breaks off.
    pub fn last_words(&self) -> String {
        let said = std::fs::read(self.folder.join("agent.log")).map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        self.kill();
    }
}
