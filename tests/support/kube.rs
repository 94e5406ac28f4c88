//! Real Kubernetes API servers: kube-apiserver and etcd as `scripts/kube.sh` has built them. `FAIRLEAD_E2E_KUBE` is their folder.
//!
//! Clusters of one call share an etcd, each with a prefix of its own; CA, tokens and port are each cluster's alone. Nothing else of a
//! cluster runs: no controller manager (a new namespace has no ServiceAccount until it is made), no kubelet.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use super::process::{Process, folder, free_port};

/// A server on a busy machine takes a few seconds.
const START: Duration = Duration::from_secs(120);

/// A name that servers have certificates for, and that no resolver knows.
pub const HOST_BY_PROXY: &str = "cluster.invalid";

/// The folder of the programs, if there is one.
pub fn programs() -> Option<PathBuf> {
    std::env::var_os("FAIRLEAD_E2E_KUBE").map(PathBuf::from).filter(|f| f.join("kube-apiserver").exists() && f.join("etcd").exists())
}

/// What a kubeconfig proves its user with.
#[derive(Clone, Debug)]
pub enum User {
    Token(String),
    /// Certificate and key, PEM.
    Certificate(String, String),
}

struct Etcd {
    _process: Process,
    home: tempfile::TempDir,
}

/// A cluster: an API server with its own CA and users. Killed when it is dropped.
pub struct Cluster {
    pub name: String,
    pub port: u16,
    /// Sees everything; may do anything.
    pub admin: User,
    /// The same rights, by a client certificate.
    pub certificate: User,
    /// Known, and may do nothing but what everybody may.
    pub restricted: User,
    /// PEM of its CA.
    pub ca: String,
    authority: CertifiedIssuer<'static, KeyPair>,
    /// Of the certificate that it shows now.
    serving: Vec<u8>,
    folder: PathBuf,
    process: Option<Process>,
    etcd: Arc<Etcd>,
    client: Client,
}

/// Starts so many clusters and waits until all are ready.
pub async fn clusters(n: usize) -> Vec<Cluster> {
    let etcd = Arc::new(Etcd::start());
    let mut clusters = Vec::new();
    for _ in 0..n {
        clusters.push(Cluster::launch(etcd.clone()).await);
    }
    for cluster in &mut clusters {
        cluster.ready().await;
    }
    clusters
}

impl Etcd {
    fn start() -> Self {
        // Not below target/: a unix socket's path has 108 bytes at most.
        let home = tempfile::Builder::new().prefix("etcd-").tempdir().expect("a temporary folder");
        let path = |name: &str| home.path().join(name).display().to_string();
        let mut command = Command::new(programs().expect("a folder of programs").join("etcd"));
        // A single member never dials its peers, but it insists on advertising host:port. Nothing listens there.
        command
            .args(["--name", "t", "--data-dir", &path("data"), "--unsafe-no-fsync", "--log-level", "warn"])
            .args(["--listen-client-urls", &format!("unix://{}", path("sock")), "--advertise-client-urls", "http://127.0.0.1:1"])
            .args(["--listen-peer-urls", &format!("unix://{}", path("peer")), "--initial-advertise-peer-urls", "http://127.0.0.1:1"])
            .args(["--initial-cluster", "t=http://127.0.0.1:1"]);
        let process = Process::spawn("etcd", command, &home.path().join("log"));
        Self { _process: process, home }
    }
}

impl Cluster {
    async fn launch(etcd: Arc<Etcd>) -> Self {
        let port = free_port();
        let name = format!("kube-{port}");
        let folder = folder(&name);
        let authority = authority(&name);
        let token = || User::Token(format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)));
        let (admin, restricted) = (token(), token());
        let certificate = issue(&authority, &["cert-admin"], |params| {
            params.distinguished_name.push(DnType::CommonName, "cert-admin");
            params.distinguished_name.push(DnType::OrganizationName, "system:masters");
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        });
        let (User::Token(a), User::Token(r)) = (&admin, &restricted) else { unreachable!("both are tokens") };
        let tokens = format!("{a},token-admin,u-admin,\"system:masters\"\n{r},restricted,u-restricted,\"test:restricted\"\n");
        std::fs::write(folder.join("tokens.csv"), tokens).expect("a file");
        std::fs::write(folder.join("ca.crt"), authority.pem()).expect("a file");
        let signs = KeyPair::generate().expect("a key");
        std::fs::write(folder.join("accounts.key"), signs.serialize_pem()).expect("a file");
        std::fs::write(folder.join("accounts.pub"), signs.public_key_pem()).expect("a file");
        let ca = authority.pem();
        let client = client(&kubeconfig(&format!("https://127.0.0.1:{port}"), &ca, &admin)).await;
        let certificate = User::Certificate(certificate.0.pem(), certificate.1.serialize_pem());
        let mut cluster =
            Self { name, port, admin, certificate, restricted, ca, authority, serving: Vec::new(), folder, process: None, etcd, client };
        cluster.renew_certificate();
        cluster.spawn();
        cluster
    }

    fn spawn(&mut self) {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let (port, home) = (self.port.to_string(), self.etcd.home.path().join("sock").display().to_string());
        let mut command = Command::new(programs().expect("a folder of programs").join("kube-apiserver"));
        command
            .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .args(["--secure-port", &port, "--etcd-servers", &format!("unix://{home}"), "--etcd-prefix", &format!("/{}", self.name)])
            .args(["--tls-cert-file", &file("serving.crt"), "--tls-private-key-file", &file("serving.key")])
            .args(["--client-ca-file", &file("ca.crt"), "--token-auth-file", &file("tokens.csv")])
            .args(["--service-account-issuer", "https://kubernetes.default.svc"])
            .args(["--service-account-signing-key-file", &file("accounts.key"), "--service-account-key-file", &file("accounts.pub")])
            .args(["--authorization-mode=RBAC", "--service-cluster-ip-range=10.96.0.0/16", "--profiling=false"]);
        self.process = Some(Process::spawn(&self.name, command, &self.folder.join("apiserver.log")));
    }

    /// Waits until it is ready and has made the namespaces of its own.
    pub async fn ready(&mut self) {
        let start = Instant::now();
        loop {
            if self.call(Method::GET, "/readyz", None).await.is_ok()
                && self.call(Method::GET, "/api/v1/namespaces/kube-system", None).await.is_ok()
            {
                return;
            }
            let process = self.process.as_mut().expect("it was started");
            if let Some(status) = process.ended() {
                panic!("{} ended at start ({status}):\n{}", self.name, process.log_tail(4000));
            }
            assert!(start.elapsed() < START, "{} is not ready:\n{}", self.name, process.log_tail(4000));
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Its URL.
    pub fn host(&self) -> String {
        format!("https://127.0.0.1:{}", self.port)
    }

    /// A kubeconfig for it.
    pub fn kubeconfig(&self, user: &User) -> String {
        kubeconfig(&self.host(), &self.ca, user)
    }

    /// As [`Cluster::kubeconfig`], by a name that only a proxy leads to.
    pub fn kubeconfig_by_proxy(&self, user: &User) -> String {
        kubeconfig(&format!("https://{HOST_BY_PROXY}:{}", self.port), &self.ca, user)
    }

    /// MD5 of the certificate that it shows, in hexadecimal: by a program of the system, so that nothing is held against itself.
    pub fn fingerprint(&self) -> String {
        let file = self.folder.join("serving.der");
        std::fs::write(&file, &self.serving).expect("a file");
        let out = Command::new("md5sum").arg(&file).output().expect("md5sum runs").stdout;
        String::from_utf8_lossy(&out[..32]).into_owned()
    }

    /// The UID of its namespace kube-system.
    pub async fn identity(&self) -> String {
        let namespace = self.call(Method::GET, "/api/v1/namespaces/kube-system", None).await.expect("it answers");
        namespace["metadata"]["uid"].as_str().expect("a UID").to_owned()
    }

    /// Asks the server as its administrator.
    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, kube::Error> {
        let request = http::Request::builder().method(method).uri(path).header("Content-Type", "application/json");
        let request = request.body(body.map(|b| b.to_string().into_bytes()).unwrap_or_default()).expect("a request");
        let ask = self.client.request_text(request);
        // A server that is stopped answers nothing.
        match tokio::time::timeout(Duration::from_secs(10), ask).await {
            Ok(text) => text.map(|t| serde_json::from_str(&t).unwrap_or(Value::String(t))),
            Err(_) => Err(kube::Error::Service("no answer in time".into())),
        }
    }

    /// Asks whether the server would take a manifest, strictly; nothing is stored.
    pub async fn try_manifest(&self, path: &str, yaml: &str) -> Result<String, kube::Error> {
        let path = format!("{path}?dryRun=All&fieldValidation=Strict");
        let request = http::Request::post(path).header("Content-Type", "application/yaml");
        self.client.request_text(request.body(yaml.as_bytes().to_vec()).expect("a request")).await
    }

    /// Makes a namespace and, in it, a ServiceAccount with these rights in that namespace alone (`None`: no rights at all).
    pub async fn service_account(&self, namespace: &str, name: &str, rules: Option<Value>) -> User {
        let post =
            async |path: String, body: Value| self.call(Method::POST, &path, Some(body)).await.unwrap_or_else(|e| panic!("{path}: {e}"));
        if self.call(Method::GET, &format!("/api/v1/namespaces/{namespace}"), None).await.is_err() {
            post("/api/v1/namespaces".into(), json!({"metadata": {"name": namespace}})).await;
        }
        let accounts = format!("/api/v1/namespaces/{namespace}/serviceaccounts");
        post(accounts.clone(), json!({"metadata": {"name": name}})).await;
        if let Some(rules) = rules {
            let rbac = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}");
            post(format!("{rbac}/roles"), json!({"metadata": {"name": name}, "rules": rules})).await;
            let subject = json!({"kind": "ServiceAccount", "name": name, "namespace": namespace});
            let role = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
            post(format!("{rbac}/rolebindings"), json!({"metadata": {"name": name}, "subjects": [subject], "roleRef": role})).await;
        }
        let token = post(format!("{accounts}/{name}/token"), json!({"spec": {"expirationSeconds": 3600}})).await;
        User::Token(token["status"]["token"].as_str().expect("a token").to_owned())
    }

    /// As a pod sees it: the variables of a container, and a folder with a token of this user, the CA and the namespace.
    pub fn inside(&self, namespace: &str, user: &User) -> (Vec<(&'static str, String)>, tempfile::TempDir) {
        let User::Token(token) = user else { panic!("a pod has a token") };
        let folder = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in [("token", token.as_str()), ("ca.crt", self.ca.as_str()), ("namespace", namespace)] {
            std::fs::write(folder.path().join(name), text).expect("a file");
        }
        (vec![("KUBERNETES_SERVICE_HOST", "127.0.0.1".to_owned()), ("KUBERNETES_SERVICE_PORT", self.port.to_string())], folder)
    }

    /// Takes a ServiceAccount away, and waits until its token is refused: the server remembers for some seconds that it was good.
    pub async fn revoke(&self, namespace: &str, name: &str, user: &User) {
        self.call(Method::DELETE, &format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}"), None).await.expect("deleted");
        let theirs = client(&self.kubeconfig(user)).await;
        let start = Instant::now();
        loop {
            let request = http::Request::get("/api").body(Vec::new()).expect("a request");
            match theirs.request_text(request).await {
                Err(kube::Error::Api(status)) if status.code == 401 => return,
                other => assert!(start.elapsed() < Duration::from_secs(60), "the token is not refused: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        self.process.take().expect("it runs").kill();
    }

    /// Starts it again on its port with its data, and waits until it is ready.
    pub async fn start_again(&mut self) {
        self.spawn();
        self.ready().await;
    }

    /// It accepts connections and answers nothing from now on (`SIGSTOP`).
    pub async fn pause(&self) {
        self.process.as_ref().expect("it runs").stop().await;
    }

    /// It goes on.
    pub fn resume(&self) {
        self.process.as_ref().expect("it runs").signal("CONT");
    }

    /// A new certificate and key from its CA, shown after the next start.
    pub fn renew_certificate(&mut self) {
        let (serving, key) = issue(&self.authority, &["127.0.0.1", "localhost", HOST_BY_PROXY], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        });
        std::fs::write(self.folder.join("serving.crt"), serving.pem()).expect("a file");
        std::fs::write(self.folder.join("serving.key"), key.serialize_pem()).expect("a file");
        self.serving = serving.der().to_vec();
    }
}

/// A CA that has signed nothing.
pub fn other_ca() -> String {
    authority("somebody else").pem()
}

/// A kubeconfig for this server, believed by this CA.
pub fn kubeconfig(server: &str, ca: &str, user: &User) -> String {
    use base64::Engine as _;
    let data = |pem: &str| base64::engine::general_purpose::STANDARD.encode(pem);
    let user = match user {
        User::Token(token) => format!("token: {token}"),
        User::Certificate(certificate, key) => {
            format!("client-certificate-data: {}\n    client-key-data: {}", data(certificate), data(key))
        }
    };
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: it\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {}\nusers:\n- name: user\n  user:\n    {user}\ncontexts:\n- name: it\n  context: {{cluster: it, user: \
         user}}\ncurrent-context: it\n",
        data(ca)
    )
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    params.distinguished_name.push(DnType::CommonName, format!("CA of {name}"));
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a CA")
}

fn issue(
    ca: &CertifiedIssuer<'static, KeyPair>,
    names: &[&str],
    change: impl FnOnce(&mut CertificateParams),
) -> (rcgen::Certificate, KeyPair) {
    let mut params = CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>()).expect("names");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    (params.signed_by(&key, ca).expect("a certificate"), key)
}

/// A client of it.
pub async fn client(kubeconfig: &str) -> Client {
    // Somebody else in this process may have installed it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).expect("a kubeconfig");
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.expect("a usable kubeconfig");
    Client::try_from(config).expect("a client")
}
