//! nginx and HAProxy as Debian has them: to be compared with, and to stand before us.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use super::process::{Process, folder, free_port};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    Nginx,
    HaProxy,
}

impl Other {
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::HaProxy => "HAProxy",
        }
    }

    /// Where its program is, if it is installed.
    pub fn program(self) -> Option<PathBuf> {
        let name = self.name().to_ascii_lowercase();
        ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"].iter().map(|dir| PathBuf::from(dir).join(&name)).find(|p| p.exists())
    }

    /// Starts it before the local ports `to`, as an ordinary reverse proxy of HTTP, and waits until it listens.
    pub async fn start(self, name: &str, to: &[u16]) -> OtherProxy {
        let (folder, port) = (folder(name), free_port());
        let program = self.program().unwrap_or_else(|| panic!("{} is not installed", self.name()));
        let config = folder.join("proxy.conf");
        let mut command = Command::new(program);
        match self {
            Self::Nginx => {
                std::fs::write(&config, nginx(port, to, &folder.display().to_string())).expect("a configuration file");
                command.arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&config);
            }
            Self::HaProxy => {
                let servers: String = to.iter().map(|port| format!("  server s{port} 127.0.0.1:{port}\n")).collect();
                std::fs::write(&config, haproxy(port, "http", &servers)).expect("a configuration file");
                command.arg("-db").arg("-f").arg(&config);
            }
        }
        OtherProxy::up(self, port, Process::spawn(name, command, &folder.join("proxy.log"))).await
    }
}

/// How long the connections of a reloaded proxy's old process last.
const OLD: &str = "300ms";

impl Other {
    /// Starts it before an agents' port, as a reverse proxy of HTTP/2 that can be reloaded.
    pub async fn before_agents(self, name: &str, to: u16) -> OtherProxy {
        let (folder, port) = (folder(name), free_port());
        let config = folder.join("proxy.conf");
        let mut command = Command::new(self.program().unwrap_or_else(|| panic!("{} is not installed", self.name())));
        match self {
            Self::HaProxy => {
                let text = format!(
                    "global\n  maxconn 1000\n  hard-stop-after {OLD}\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
                     timeout server 60s\nfrontend f\n  bind 127.0.0.1:{port} proto h2\n  default_backend b\nbackend b\n  \
                     server s 127.0.0.1:{to} proto h2\n"
                );
                std::fs::write(&config, text).expect("a configuration file");
                command.args(["-W", "-db", "-f"]).arg(&config);
            }
            Self::Nginx => {
                let at = folder.display();
                let text = format!(
                    "daemon off;\npid {at}/pid;\nworker_shutdown_timeout {OLD};\nevents {{}}\nhttp {{\n  access_log off;\n  \
                     client_body_temp_path {at}/b;\n  proxy_temp_path {at}/p;\n  fastcgi_temp_path {at}/f;\n  uwsgi_temp_path {at}/u;\n  \
                     scgi_temp_path {at}/s;\n  client_max_body_size 0;\n  server {{\n    listen 127.0.0.1:{port} http2;\n    \
                     location / {{ grpc_pass grpc://127.0.0.1:{to}; }}\n  }}\n}}\n"
                );
                std::fs::write(&config, text).expect("a configuration file");
                command.arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&config);
            }
        }
        OtherProxy::up(self, port, Process::spawn(name, command, &folder.join("proxy.log"))).await
    }
}

/// A HAProxy that hands whole connections at `port` to those of `to` (a port, and the one of its admin listener) that are ready, as
/// a Service of Kubernetes does.
pub async fn balancer(name: &str, port: u16, to: &[(u16, u16)]) -> OtherProxy {
    let folder = folder(name);
    let config = folder.join("proxy.conf");
    let servers: String =
        to.iter().map(|(port, admin)| format!("  server s{port} 127.0.0.1:{port} check port {admin} inter 50ms fall 1 rise 1\n")).collect();
    // A check that takes long on a busy machine is no replica that is away: without this each may take as long as the pause between two.
    let check = "  timeout check 10s\n  option httpchk GET /health/ready\n  http-check expect status 200\n";
    std::fs::write(&config, haproxy(port, "tcp", &format!("{check}{servers}"))).expect("a configuration file");
    let program = Other::HaProxy.program().expect("HAProxy is installed");
    let mut command = Command::new(program);
    command.arg("-db").arg("-f").arg(&config);
    OtherProxy::up(Other::HaProxy, port, Process::spawn(name, command, &folder.join("proxy.log"))).await
}

/// A running one; it ends with the value.
pub struct OtherProxy {
    pub port: u16,
    other: Other,
    process: Process,
}

impl OtherProxy {
    async fn up(other: Other, port: u16, mut process: Process) -> Self {
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if let Some(status) = process.ended() {
                panic!("{} ended at start ({status}):\n{}", other.name(), process.log_tail(2000));
            }
            assert!(start.elapsed() < Duration::from_secs(30), "{} does not listen:\n{}", other.name(), process.log_tail(2000));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self { port, other, process }
    }

    /// Its configuration is read again: new processes take over, and soon the connections of the old ones end.
    pub fn reload(&self) {
        self.process.signal(if self.other == Other::HaProxy { "USR2" } else { "HUP" });
    }
}

impl Drop for OtherProxy {
    fn drop(&mut self) {
        // By its own way out: nginx has children.
        self.process.signal("TERM");
        let start = Instant::now();
        while self.process.ended().is_none() && start.elapsed() < Duration::from_secs(3) {
            std::thread::yield_now();
        }
    }
}

fn nginx(port: u16, to: &[u16], folder: &str) -> String {
    let servers: String = to.iter().map(|port| format!("    server 127.0.0.1:{port};\n")).collect();
    format!(
        r#"daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
events {{ }}
http {{
  access_log off;
  client_max_body_size 0;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream origin {{
{servers}    keepalive 16;
  }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://origin;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_request_buffering off;
      proxy_buffering off;
    }}
  }}
}}
"#
    )
}

fn haproxy(port: u16, mode: &str, servers: &str) -> String {
    format!(
        "defaults\n  mode {mode}\n  timeout connect 5s\n  timeout client 300s\n  timeout server 300s\n  option redispatch\n\n\
         frontend in\n  bind 127.0.0.1:{port}\n  default_backend origin\n\nbackend origin\n{servers}"
    )
}
