//! A stand-in for API servers, with TLS: what an agent asks for, as an ordinary cluster of today answers it. **Not Kubernetes.**
//!
//! Each token leads to a cluster of its own.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_rustls::TlsAcceptor;

use crate::target;
use crate::tls::Tls;

const KINDS: usize = 60;
const NAMESPACES: usize = 20;

/// It serves until it is dropped.
pub struct Clusters {
    port: u16,
    ca: String,
    runtime: Option<Runtime>,
}

impl Clusters {
    pub fn start() -> Self {
        let tls = Tls::new(&target::folder("clusters"));
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("a port");
        let port = listener.local_addr().expect("a bound port").port();
        let acceptor = TlsAcceptor::from(tls.server);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                tokio::spawn(async move {
                    let _ = stream.set_nodelay(true);
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let _ = serve(stream).await;
                });
            }
        });
        Self { port, ca: tls.ca, runtime: Some(runtime) }
    }

    /// Leads to the cluster of this token.
    pub fn kubeconfig(&self, token: &str) -> String {
        let (port, ca) = (self.port, STANDARD.encode(&self.ca));
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: c\n  cluster: {{server: \"https://localhost:{port}\", certificate-authority-data: {ca}}}\n\
             users:\n- name: u\n  user: {{token: {token}}}\ncontexts:\n- name: x\n  context: {{cluster: c, user: u}}\ncurrent-context: x\n"
        )
    }
}

impl Drop for Clusters {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// Requests of one connection, one after the other; bodies are passed over.
async fn serve(mut stream: tokio_rustls::server::TlsStream<tokio::net::TcpStream>) -> io::Result<()> {
    let discovery: Arc<[String; 2]> = Arc::new([aggregated(0..10), aggregated(10..KINDS)]);
    let mut read = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = read.windows(4).position(|w| w == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let field = |name: &str| {
            let found = head.lines().find(|l| l.len() > name.len() && l[..name.len()].eq_ignore_ascii_case(name));
            found.map_or("", |l| l[name.len()..].trim())
        };
        let length: usize = field("content-length:").parse().unwrap_or(0);
        while read.len() < end + length {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        read.drain(..end + length);
        let path = head.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
        let (status, body) = answer(path, field("authorization:"), &discovery);
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
        stream.flush().await?;
    }
}

fn answer(path: &str, who: &str, discovery: &[String; 2]) -> (&'static str, String) {
    let body = match path {
        "/version" => json!({"major": "1", "minor": "34", "gitVersion": "v1.34.0-fairlead-stand-in"}).to_string(),
        "/api" => discovery[0].clone(),
        "/apis" => discovery[1].clone(),
        "/api/v1/namespaces" => {
            let items: Vec<Value> = (0..NAMESPACES).map(|n| namespace(&format!("namespace-{n}"), who)).collect();
            json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items}).to_string()
        }
        "/api/v1/namespaces/kube-system" => namespace("kube-system", who).to_string(),
        _ => return ("404 Not Found", json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}).to_string()),
    };
    ("200 OK", body)
}

fn namespace(name: &str, who: &str) -> Value {
    let uid = format!("{name} of {}", who.rsplit(' ').next().unwrap_or_default());
    json!({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": name, "uid": uid.replace(' ', "-")}})
}

/// Discovery in one answer, as servers since 1.27 give it.
fn aggregated(kinds: std::ops::Range<usize>) -> String {
    let core = kinds.start == 0;
    let groups: Vec<Vec<usize>> = kinds.collect::<Vec<_>>().chunks(if core { 60 } else { 5 }).map(<[usize]>::to_vec).collect();
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let resource = |n: &usize, group: &str| {
        let kind = format!("OrdinaryKind{n}");
        json!({
            "resource": format!("ordinarykind{n}s"), "responseKind": {"group": group, "version": "v1", "kind": kind}, "scope": "Namespaced",
            "singularResource": format!("ordinarykind{n}"), "verbs": verbs, "shortNames": [format!("ok{n}")], "categories": ["all"],
        })
    };
    let items: Vec<Value> = groups
        .iter()
        .enumerate()
        .map(|(i, kinds)| {
            let group = if core { String::new() } else { format!("group-{i}.example") };
            let resources: Vec<Value> = kinds.iter().map(|n| resource(n, &group)).collect();
            json!({"metadata": {"name": group}, "versions": [{"version": "v1", "freshness": "Current", "resources": resources}]})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}).to_string()
}
