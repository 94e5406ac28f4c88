//! A stand-in API server with TLS and faults: what it answers is a function of the path, which a test may change.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

pub type Answers = Box<dyn Fn(&Asked) -> (u16, Value) + Send>;

/// A request as a test judges it.
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
}

/// A CA, and certificates of it.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// PEM of a certificate and its key.
pub struct Pair {
    pub certificate: String,
    pub key: String,
    pub der: Vec<u8>,
}

impl Authority {
    pub fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn der(&self) -> Vec<u8> {
        self.issuer.der().to_vec()
    }

    /// For these names.
    pub fn server(&self, names: &[&str]) -> Pair {
        self.certificate(names, |_| {})
    }

    pub fn certificate(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Pair {
        let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Pair { certificate: certificate.pem(), key: key.serialize_pem(), der: certificate.der().to_vec() }
    }
}

/// A running stand-in.
pub struct ApiServer {
    pub address: SocketAddr,
    answers: Arc<Mutex<Answers>>,
    /// Requests that were answered.
    requests: Arc<AtomicUsize>,
    /// Connections that were accepted.
    connections: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ApiServer {
    /// With this certificate; `clients`: the CA that clients need a certificate of.
    pub async fn start(pair: &Pair, clients: Option<&Authority>) -> Self {
        Self::with(pair, clients, &[b"h2", b"http/1.1"]).await
    }

    pub async fn with(pair: &Pair, clients: Option<&Authority>, alpn: &[&[u8]]) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(CertificateDer::from(authority.der())).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
                builder.with_client_cert_verifier(verifier)
            }
        };
        use rustls::pki_types::pem::PemObject as _;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![CertificateDer::from(pair.der.clone())], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|p| p.to_vec()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers: Arc<Mutex<Answers>> = Arc::new(Mutex::new(Box::new(healthy)));
        let (requests, connections) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (shared, counted, accepted) = (Arc::clone(&answers), Arc::clone(&requests), Arc::clone(&connections));
        let task = tokio::spawn(async move {
            let mut open = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { return };
                accepted.fetch_add(1, Ordering::SeqCst);
                let (acceptor, shared, counted) = (acceptor.clone(), Arc::clone(&shared), Arc::clone(&counted));
                open.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
                        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
                        let authorization = request.headers().get("authorization").map(|v| v.to_str().unwrap().to_owned());
                        let (status, body) = (shared.lock().unwrap())(&Asked { path, authorization });
                        counted.fetch_add(1, Ordering::SeqCst);
                        async move {
                            let body = Full::new(Bytes::from(body.to_string()));
                            Ok::<_, Infallible>(
                                Response::builder().status(status).header("content-type", "application/json").body(body).unwrap(),
                            )
                        }
                    });
                    let _ = auto::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Self { address, answers, requests, connections, task }
    }

    /// From now on.
    pub fn answers(&self, answers: impl Fn(&Asked) -> (u16, Value) + Send + 'static) {
        *self.answers.lock().unwrap() = Box::new(answers);
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// A kubeconfig by a token.
    pub fn kubeconfig(&self, ca: &str, token: &str) -> String {
        kubeconfig(&format!("https://{}", self.address), ca, &format!("token: {token}"))
    }
}

/// A kubeconfig of one context. `user` is YAML in one line; an empty `ca` is left out.
pub fn kubeconfig(server: &str, ca: &str, user: &str) -> String {
    let ca = if ca.is_empty() { String::new() } else { format!(", certificate-authority-data: {}", STANDARD.encode(ca)) };
    format!(
        "apiVersion: v1\nkind: Config\nclusters: [{{ name: c, cluster: {{ server: \"{server}\"{ca} }} }}]\n\
         users: [{{ name: u, user: {{ {user} }} }}]\ncontexts: [{{ name: x, context: {{ cluster: c, user: u }} }}]\ncurrent-context: x\n"
    )
}

/// A cluster that lets everybody do everything.
pub fn healthy(asked: &Asked) -> (u16, Value) {
    let named = |name: &str| json!({ "metadata": { "name": name, "uid": format!("uid-of-{name}") } });
    match asked.path.split('?').next().unwrap_or_default() {
        "/version" => (200, json!({ "gitVersion": "v1.34.4" })),
        "/api/v1/namespaces/kube-system" => (200, named("kube-system")),
        "/api/v1/namespaces" if !asked.path.contains("continue") => {
            (200, json!({ "metadata": { "continue": "a b&c" }, "items": [named("default"), named("kube-system")] }))
        }
        "/api/v1/namespaces" if asked.path.contains("continue=a+b%26c") => (200, json!({ "metadata": {}, "items": [named("shop")] })),
        "/api" => (200, discovery("", "v1", &["Pod", "Namespace"])),
        "/apis" => (200, discovery("apps", "v1", &["Deployment"])),
        _ => (404, json!({ "kind": "Status" })),
    }
}

/// The aggregated form.
pub fn discovery(group: &str, version: &str, kinds: &[&str]) -> Value {
    let resources: Vec<Value> = kinds.iter().map(|k| json!({ "responseKind": { "group": group, "kind": k } })).collect();
    let versions = json!([{ "version": version, "freshness": "Current", "resources": resources }]);
    json!({ "kind": "APIGroupDiscoveryList", "items": [{ "metadata": { "name": group }, "versions": versions }] })
}
