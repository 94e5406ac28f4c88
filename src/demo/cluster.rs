//! A stand-in for a Kubernetes API server: enough for an agent to reach it and to learn what it is.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, SERVER};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::serve::serve;

/// What the stand-in says about itself wherever it speaks.
pub const CLUSTER_NOTICE: &str = "stand-in for a Kubernetes API server, not Kubernetes";
/// Its version, which says so too. Clients want `v` and three numbers in front.
pub const CLUSTER_VERSION: &str = "v1.34.0-fairlead-stand-in";

/// Its namespaces.
const NAMESPACES: [&str; 4] = ["billing", "default", "kube-system", "shop"];

/// A running stand-in. **Not Kubernetes**: it stores nothing, runs nothing, and refuses all but a few reads. It speaks HTTP without TLS, since
/// nobody but this machine reaches it. It ends, connections included, when the last clone is dropped.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
    address: SocketAddr,
    _end: Arc<DropGuard>,
}

struct Shared {
    /// The one token that is let in.
    token: Mutex<String>,
    uid: String,
}

impl Cluster {
    /// Binds a free port of this machine and serves on the runtime of the caller. `token` is let in, all else is 401.
    ///
    /// # Errors
    /// No port can be bound.
    pub async fn start(token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let end = CancellationToken::new();
        let random = ulid::Ulid::generate().0;
        let uid = format!("{:08x}-0000-4000-8000-{:012x}", random >> 96, random & 0xffff_ffff_ffff);
        let shared = Arc::new(Shared { token: Mutex::new(token.to_owned()), uid });
        tracing::info!(%address, "{CLUSTER_NOTICE}");
        let answering = shared.clone();
        let answer = move |request: Request<Incoming>| {
            let answer = answering.answer(&request);
            async move { Ok::<_, Infallible>(answer) }
        };
        tokio::spawn(serve(listener, end.clone(), answer));
        Ok(Self { shared, address, _end: Arc::new(end.drop_guard()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Another token is let in from now on, and the one before no more.
    pub fn let_in(&self, token: &str) {
        token.clone_into(&mut self.shared.token());
    }

    /// A kubeconfig that leads here with this token.
    pub fn kubeconfig(&self, token: &str) -> String {
        format!(
            "apiVersion: v1\nkind: Config\nclusters:\n- name: stand-in\n  cluster: {{server: \"http://{}\"}}\nusers:\n- name: agent\n  \
             user: {{token: {token}}}\ncontexts:\n- name: stand-in\n  context: {{cluster: stand-in, user: agent}}\ncurrent-context: stand-in\n",
            self.address
        )
    }
}

impl Shared {
    fn token(&self) -> std::sync::MutexGuard<'_, String> {
        self.token.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let given = request.headers().get(AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
        if given != Some(self.token().as_str()) {
            return refusal(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized");
        }
        if request.method() != Method::GET {
            return refusal(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", CLUSTER_NOTICE);
        }
        match self.resource(request.uri().path().trim_end_matches('/')) {
            Some(resource) => response(StatusCode::OK, &resource),
            None => refusal(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource"),
        }
    }

    fn resource(&self, path: &str) -> Option<Value> {
        if let Some(name) = path.strip_prefix("/api/v1/namespaces/") {
            return NAMESPACES.contains(&name).then(|| {
                let mut namespace = self.namespace(name);
                (namespace["kind"], namespace["apiVersion"]) = ("Namespace".into(), "v1".into());
                namespace
            });
        }
        Some(match path {
            "" => json!({"paths": ["/api", "/api/v1", "/apis", "/apis/apps/v1", "/version"], "notice": CLUSTER_NOTICE}),
            "/healthz" | "/livez" | "/readyz" => json!("ok"),
            "/version" => json!({
                "major": "1", "minor": "34", "gitVersion": CLUSTER_VERSION, "gitCommit": "", "gitTreeState": CLUSTER_NOTICE, "buildDate": "",
                "goVersion": "", "compiler": "", "platform": "",
            }),
            "/api" => json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}),
            "/apis" => {
                let version = json!({"groupVersion": "apps/v1", "version": "v1"});
                json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [{"name": "apps", "versions": [version], "preferredVersion": version}]})
            }
            "/api/v1" => resources(
                "v1",
                &[
                    ("configmaps", "ConfigMap", true),
                    ("namespaces", "Namespace", false),
                    ("pods", "Pod", true),
                    ("services", "Service", true),
                ],
            ),
            "/apis/apps/v1" => resources("apps/v1", &[("deployments", "Deployment", true), ("replicasets", "ReplicaSet", true)]),
            "/api/v1/namespaces" => {
                let items: Vec<Value> = NAMESPACES.iter().map(|name| self.namespace(name)).collect();
                json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": items})
            }
            _ => return None,
        })
    }

    fn namespace(&self, name: &str) -> Value {
        // Each namespace has a UID; that of kube-system is the cluster's identity.
        let uid = if name == "kube-system" { self.uid.clone() } else { format!("{}{}", &self.uid[..24], "000000000000") };
        json!({"metadata": {"name": name, "uid": uid}, "spec": {}, "status": {"phase": "Active"}})
    }
}

fn resources(version: &str, kinds: &[(&str, &str, bool)]) -> Value {
    let list: Vec<Value> = kinds
        .iter()
        .map(|(name, kind, namespaced)| {
            json!({"name": name, "singularName": kind.to_lowercase(), "kind": kind, "namespaced": namespaced, "verbs": ["get", "list", "watch"]})
        })
        .collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": list})
}

fn refusal(status: StatusCode, reason: &str, message: &str) -> Response<Full<Bytes>> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": status.as_u16(),
    });
    response(status, &body)
}

fn response(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body.to_string())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(SERVER, HeaderValue::from_static("fairlead-stand-in"));
    answer
}
