//! A real Gate as the client. `FAIRLEAD_E2E_GATE` is the command that starts it, called with a folder that holds the `gate.yml`
//! which we write; it has to stay in the foreground.

use std::process::Command;
use std::time::{Duration, Instant};

use super::http;
use super::process::{Process, folder, free_port};

/// A running Gate.
pub struct Gate {
    pub port: u16,
    /// Where it believes Clouddriver to be: a `fairlead` has to listen here.
    pub clouddriver_port: u16,
    process: Process,
}

impl Gate {
    /// The command of the environment.
    pub fn command() -> Option<String> {
        std::env::var("FAIRLEAD_E2E_GATE").ok().filter(|c| !c.trim().is_empty())
    }

    /// Starts it; [`Gate::answering`] waits for it.
    pub fn spawn(command: &str) -> Self {
        let (port, clouddriver_port) = (free_port(), free_port());
        let folder = folder("gate");
        std::fs::write(folder.join("gate.yml"), yaml(port, clouddriver_port)).expect("a configuration file");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec {command} \"$0\"")).arg(&folder);
        let process = Process::spawn("gate", shell, &folder.join("gate.log"));
        Self { port, clouddriver_port, process }
    }

    /// Waits until it answers. It needs its Clouddriver for that.
    pub async fn answering(&mut self) {
        let start = Instant::now();
        loop {
            if let Ok(answer) = http::get(self.port, "/health").await
                && answer.status == 200
            {
                return;
            }
            if let Some(status) = self.process.ended() {
                panic!("Gate ended at start ({status}):\n{}", self.process.log_tail(4000));
            }
            assert!(start.elapsed() < Duration::from_secs(600), "Gate does not answer; log: {}", self.process.log.display());
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
    }
}

fn yaml(port: u16, clouddriver_port: u16) -> String {
    format!(
        r#"server: {{ port: {port}, address: 127.0.0.1 }}
services:
  clouddriver.baseUrl: http://127.0.0.1:{clouddriver_port}
  # No other service runs: what is needed to start has an address where nothing listens.
  orca.baseUrl: http://127.0.0.1:1
  front50.baseUrl: http://127.0.0.1:1
  deck.baseUrl: http://127.0.0.1:1
  fiat: {{ enabled: false, baseUrl: "http://127.0.0.1:1" }}
  rosco.enabled: false
  echo.enabled: false
  igor.enabled: false
  keel.enabled: false
  kayenta.enabled: false
redis.connection: redis://127.0.0.1:1
swagger.enabled: false
logging.config: classpath:logback-defaults.xml
spinnaker.extensibility.enable-default-repositories: false
"#
    )
}
