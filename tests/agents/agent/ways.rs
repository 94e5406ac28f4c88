//! Ways to Fairlead and to clusters: TLS, certificates on both sides, middleboxes, proxies.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use fairlead::config::agent::{ProxyUrl, Surroundings};
use fairlead::wire::account_outcome::Result as Done;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use super::api_server::{ApiServer, Authority, Pair, kubeconfig};
use super::rig::{Rig, account, pod, yaml};
use super::scripted::Scripted;

fn written(folder: &Path, name: &str, text: &str) -> String {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    format!("file://{}", file.display())
}

fn tls(ca: &str, more: &str) -> String {
    format!("clouddriver.insecure: false\nclouddriver.tls: {{ cacertFile: \"{ca}\"{more} }}")
}

#[tokio::test]
async fn fairlead_is_believed_by_its_ca_and_name() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, other) = (Authority::new("ours"), Authority::new("inspecting box"));
    let ca = written(folder.path(), "ca.pem", &authority.pem());
    let mut fairlead = Scripted::with_tls(&authority.server(&["127.0.0.1"]), None).await;
    let _rig = Rig::start(&yaml(fairlead.address, &tls(&ca, ""))).await;
    fairlead.registered(1).await;
    // Somebody stands between and shows a certificate of its own: it is told whose.
    let between = Scripted::with_tls(&other.server(&["127.0.0.1"]), None).await;
    let rig = Rig::start(&yaml(between.address, &tls(&ca, ""))).await;
    rig.trouble(&["unknown CA", "CN=inspecting box", &between.address.to_string()]).await;
    let mut named = Scripted::with_tls(&authority.server(&["fairlead.example.com"]), None).await;
    let rig = Rig::start(&yaml(named.address, &tls(&ca, ""))).await;
    rig.trouble(&["another name"]).await;
    let _rig = Rig::start(&yaml(named.address, &tls(&ca, ", serverName: fairlead.example.com"))).await;
    named.registered(1).await;
    let plain = Scripted::start().await;
    let rig = Rig::start(&yaml(plain.address, &tls(&ca, ""))).await;
    rig.trouble(&["does not speak TLS"]).await;
}

#[tokio::test]
async fn what_offers_no_http2_is_refused_with_what_was_seen() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = written(folder.path(), "ca.pem", &authority.pem());
    let pair = authority.server(&["127.0.0.1"]);
    // Refuses the handshake; and knows nothing of ALPN.
    for (alpn, words) in [(&[&b"http/1.1"[..]][..], "none of h2 by ALPN"), (&[], "does not offer HTTP/2 by ALPN (it chose nothing)")] {
        let server = ApiServer::with(&pair, None, alpn).await;
        let rig = Rig::start(&yaml(server.address, &tls(&ca, ""))).await;
        rig.trouble(&[words]).await;
    }
}

#[tokio::test]
async fn the_agents_certificate_is_shown_and_read_again_when_it_changes() {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new("ours");
    let ca = written(folder.path(), "ca.pem", &authority.pem());
    let put = |pair: &Pair| (written(folder.path(), "agent.pem", &pair.certificate), written(folder.path(), "agent.key", &pair.key));
    let expired = authority.certificate(&["agent"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2001, 1, 1), rcgen::date_time_ymd(2002, 1, 1));
    });
    let (certificate, key) = put(&expired);
    let mut fairlead = Scripted::with_tls(&authority.server(&["127.0.0.1"]), Some(authority.pem())).await;
    let identity = format!(", clientCertFile: \"{certificate}\", clientKeyFile: \"{key}\"");
    let rig = Rig::start(&yaml(fairlead.address, &tls(&ca, &identity))).await;
    rig.trouble(&["refused our certificate", "Expired"]).await;
    put(&authority.certificate(&["agent"], |_| {}));
    fairlead.registered(1).await;
    // No restart, and a file that cannot be used is named.
    written(folder.path(), "agent.key", "nothing");
    drop(fairlead);
    rig.trouble(&["agent.key", "no private key in PEM"]).await;
}

/// A proxy that knows a user, and where names lead; what was asked of it.
pub struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    _task: tokio::task::JoinHandle<()>,
}

impl Proxy {
    pub async fn start(leads_to: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let shared = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(client.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    shared.lock().unwrap().push(head.lines().next().unwrap().to_owned());
                    // user:hunter2
                    if !head.contains("Proxy-Authorization: Basic dXNlcjpodW50ZXIy\r\n") {
                        let _ = client.write_all(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n").await;
                        return;
                    }
                    let mut server = TcpStream::connect(leads_to).await.unwrap();
                    client.write_all(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n").await.unwrap();
                    let _ = copy_bidirectional(&mut client, &mut server).await;
                });
            }
        });
        Self { address, asked, _task: task }
    }

    pub fn around(&self, user: &str) -> Surroundings {
        let proxy = ProxyUrl::parse(&format!("http://{user}{}", self.address)).unwrap();
        Surroundings { https_proxy: Some(proxy.clone()), http_proxy: Some(proxy), ..pod("agent-1") }
    }
}

#[tokio::test]
async fn a_proxy_leads_to_fairlead_by_one_connection_and_to_clusters() {
    let mut fairlead = Scripted::start().await;
    let proxy = Proxy::start(fairlead.address).await;
    let config = yaml(fairlead.address, "").replace(&fairlead.address.to_string(), "fairlead.invalid:9091");
    let rig = Rig::surrounded(&config, proxy.around("user:hunter2@")).await;
    let (mut session, _) = fairlead.registered(1).await;
    let (_reports, _) = fairlead.reports().await;
    assert_eq!(*proxy.asked.lock().unwrap(), ["CONNECT fairlead.invalid:9091 HTTP/1.1"], "both streams are on one connection");
    // The proxy knows one way only: the cluster is behind another.
    let authority = Authority::new("ca");
    let server = ApiServer::start(&authority.server(&["api.invalid"]), None).await;
    let other = Proxy::start(server.address).await;
    let allowed = yaml(fairlead.address, "kubernetes.allowProxyUrl: true");
    let _second = Rig::surrounded(&allowed, pod("agent-2")).await;
    let (mut second, _) = fairlead.registered(2).await;
    let text = kubeconfig("https://api.invalid:6443", &authority.pem(), "token: t")
        .replace("server:", &format!("proxy-url: \"http://user:hunter2@{}\", server:", other.address));
    let outcome = second.add("op-1", vec![account("prod", 7, &text)]).await;
    assert!(matches!(outcome.accounts[0].result, Some(Done::Done(_))), "{outcome:?}");
    assert_eq!(*other.asked.lock().unwrap(), ["CONNECT api.invalid:6443 HTTP/1.1"]);
    // From the environment.
    let text = kubeconfig("https://api.invalid:6443", &authority.pem(), "token: t");
    session.add("op-1", vec![account("prod", 7, &text)]).await;
    assert!(proxy.asked.lock().unwrap().contains(&"CONNECT api.invalid:6443 HTTP/1.1".to_owned()));
    drop(rig);
}

#[tokio::test]
async fn a_proxy_that_does_not_let_through_is_named_without_its_password() {
    let fairlead = Scripted::start().await;
    let proxy = Proxy::start(fairlead.address).await;
    let config = yaml(fairlead.address, "").replace(&fairlead.address.to_string(), "fairlead.invalid:9091");
    let shown = format!("the proxy http://{}", proxy.address);
    let rig = Rig::surrounded(&config, proxy.around("")).await;
    rig.trouble(&[&shown, "407", "wants a user and a password"]).await;
    let rig = Rig::surrounded(&config, proxy.around("user:wrong-canary@")).await;
    let said = rig.trouble(&[&shown, "407", "does not accept"]).await;
    assert!(!said.contains("canary"), "{said}");
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let around = Surroundings { https_proxy: Some(ProxyUrl::parse(&closed.to_string()).unwrap()), ..pod("agent-1") };
    let rig = Rig::surrounded(&config, around).await;
    rig.trouble(&[&format!("the proxy http://{closed}"), "nobody listens"]).await;
}
