//! A real Gate as the client. `FAIRLEAD_E2E_GATE` is the command that starts it, called with a folder that holds the `gate.yml`
//! which we write; it has to stay in the foreground.

use std::path::Path;
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
        Self::spawn_in("gate", command, (port, clouddriver_port), &format!("http://127.0.0.1:{clouddriver_port}"), &[])
    }

    /// As [`Gate::spawn`], with a Clouddriver at `https://localhost` whose certificate is one that `trust` (a PKCS #12 file and its
    /// password) believes.
    pub fn spawn_with_tls(command: &str, trust: (&Path, &str)) -> Self {
        let (port, clouddriver_port) = (free_port(), free_port());
        let options = format!(
            "-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStoreType=PKCS12 -Djavax.net.ssl.trustStorePassword={}",
            trust.0.display(),
            trust.1
        );
        let at = format!("https://localhost:{clouddriver_port}");
        Self::spawn_in("gate-tls", command, (port, clouddriver_port), &at, &[("JAVA_TOOL_OPTIONS", &options)])
    }

    fn spawn_in(name: &str, command: &str, (port, clouddriver_port): (u16, u16), clouddriver: &str, variables: &[(&str, &str)]) -> Self {
        let folder = folder(name);
        std::fs::write(folder.join("gate.yml"), yaml(port, clouddriver)).expect("a configuration file");
        let mut shell = Command::new("sh");
        shell.arg("-c").arg(format!("exec {command} \"$0\"")).arg(&folder).envs(variables.iter().copied());
        let process = Process::spawn(name, shell, &folder.join("gate.log"));
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

fn yaml(port: u16, clouddriver: &str) -> String {
    format!(
        r#"server: {{ port: {port}, address: 127.0.0.1 }}
services:
  clouddriver.baseUrl: {clouddriver}
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
