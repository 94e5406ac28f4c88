//! The admin listener as probes, a scraper and a person see it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fairlead::telemetry::admin::{self, AdminState, MAX_CONNECTIONS};
use fairlead::telemetry::metrics::Metrics;
use fairlead::telemetry::{DatabaseState, Facts, Live, Readiness};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

struct Admin {
    address: SocketAddr,
    readiness: Readiness,
    database_up: Arc<AtomicBool>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Admin {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let readiness = Readiness::new();
        let database_up = Arc::new(AtomicBool::new(true));
        let stop = CancellationToken::new();
        let up = Arc::clone(&database_up);
        let live = move || {
            let up = up.load(Ordering::Relaxed);
            Live {
                database: if up { DatabaseState::Up } else { DatabaseState::Down },
                database_message: (!up).then(|| "connection refused".to_owned()),
                mirror: [("openIntents", 3)].into(),
            }
        };
        let state = AdminState::new(readiness.clone(), Metrics::new().finish(), facts(), live);
        let task = tokio::spawn(admin::serve(listener, state, stop.clone()));
        Self { address, readiness, database_up, stop, task }
    }

    async fn get(&self, path: &str) -> Answer {
        ask(self.address, "GET", path).await
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

async fn ask(address: SocketAddr, method: &str, path: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{method} {path} HTTP/1.1\r\nHost: admin\r\n\r\n").as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.to_owned() }
}

fn facts() -> Facts {
    let yaml = r#"
services.clouddriver.baseUrl: http://clouddriver.example:7002
sql.connectionPools.default: { default: true, jdbcUrl: "jdbc:mysql://db.example:3306/clouddriver", user: fairlead, password: canary-password }
fairlead:
  replica.id: replica-1
  seal.keys:
    - { id: k2, key: "Y2FuYXJ5LWtleS1vZi10aGlydHktdHdvLWJ5dGVzISE=" }
    - { id: k1, key: "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=" }
"#;
    Facts::of(&fairlead::config::load_text(yaml, &[]).unwrap().settings)
}

#[tokio::test]
async fn a_replica_is_ready_only_between_start_and_drain() {
    let admin = Admin::start().await;
    let starting = admin.get("/health/ready").await;
    assert_eq!((starting.status, &starting.json()["status"]), (503, &json!("starting")));
    assert_eq!(admin.get("/health/live").await.status, 200);

    admin.readiness.set_ready();
    assert_eq!(admin.get("/health/ready").await.status, 200);

    admin.readiness.drain();
    let draining = admin.get("/health/ready").await;
    assert_eq!((draining.status, &draining.json()["status"]), (503, &json!("draining")));
    assert_eq!(admin.get("/health/live").await.status, 200, "a draining replica must not be restarted");
}

#[tokio::test]
async fn a_lost_database_is_told_and_takes_no_replica_out_of_service() {
    let admin = Admin::start().await;
    admin.readiness.set_ready();
    admin.database_up.store(false, Ordering::Relaxed);
    let ready = admin.get("/health/ready").await;
    assert_eq!((ready.status, &ready.json()["database"]), (200, &json!("down")));
    let info = admin.get("/info").await.json();
    assert_eq!(info["live"]["databaseMessage"], "connection refused");
}

#[tokio::test]
async fn metrics_are_open_metrics_with_the_build_and_the_process() {
    let admin = Admin::start().await;
    let page = admin.get("/metrics").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"), "{}", page.head);
    for line in ["fairlead_build_info{version=\"", "process_resident_memory_bytes ", "process_open_fds ", "process_cpu_seconds_total "] {
        assert!(page.body.lines().any(|l| l.starts_with(line)), "{line} is missing in\n{}", page.body);
    }
    assert!(page.body.ends_with("# EOF\n"));
}

#[tokio::test]
async fn info_tells_how_this_replica_behaves_and_no_secret() {
    let admin = Admin::start().await;
    let page = admin.get("/info").await;
    for secret in ["canary-password", "Y2FuYXJ5", "AAAAAAAAAAAA"] {
        assert!(!page.body.contains(secret), "{secret} is in\n{}", page.body);
    }
    let info = page.json();
    assert_eq!(info["replicaId"], "replica-1");
    assert_eq!(info["clouddriver"], "clouddriver.example:7002");
    assert_eq!(info["warnings"], json!([]));
    assert_eq!(info["database"], "mysql");
    assert_eq!(info["sealing"], json!({"enabled": true, "keyIds": ["k2", "k1"]}));
    assert_eq!(info["interceptor"]["failurePolicy"], "Ignore");
    assert_eq!(info["live"], json!({"database": "up", "mirror": {"openIntents": 3}}));
}

#[tokio::test]
async fn nothing_can_be_changed_from_here_and_other_paths_are_not_found() {
    let admin = Admin::start().await;
    assert_eq!(ask(admin.address, "POST", "/info").await.status, 405);
    assert_eq!(admin.get("/credentials").await.status, 404);
}

#[tokio::test(start_paused = true)]
async fn silent_clients_hold_their_places_for_a_while_only() {
    let admin = Admin::start().await;
    let mut silent = Vec::new();
    for _ in 0..MAX_CONNECTIONS {
        silent.push(TcpStream::connect(admin.address).await.unwrap());
    }
    let asked = tokio::time::Instant::now();
    assert_eq!(admin.get("/health/live").await.status, 200);
    // The paused clock moves only when everybody waits, so this is the listener's own bound and no measurement.
    assert!(asked.elapsed() <= Duration::from_secs(30), "{:?}", asked.elapsed());
}

#[tokio::test]
async fn the_listener_ends_when_it_is_told_to() {
    let admin = Admin::start().await;
    let open = TcpStream::connect(admin.address).await.unwrap();
    assert_eq!(admin.get("/health/live").await.status, 200);
    admin.stop.cancel();
    admin.task.await.unwrap();
    assert!(TcpStream::connect(admin.address).await.is_err());
    drop(open);
}

#[test]
fn info_warns_where_secrets_lie_unsealed() {
    let facts = Facts::of(&fairlead::config::load_text("", &[("HOME", "/home/operator")]).unwrap().settings);
    assert!(!facts.sealing.enabled);
    assert!(facts.warnings.iter().any(|w| w.contains("no sealing key is configured")), "{:?}", facts.warnings);
}
