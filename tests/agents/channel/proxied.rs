//! Proxies that look into HTTP, between agents and the port: HAProxy and nginx as Debian has them.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use fairlead::config::ChannelConfig;
use fairlead::wire::{Account, ReportRequest};
use prost::Message as _;
use tokio_stream::wrappers::ReceiverStream;
use ulid::Ulid;

use super::rig::{Rig, add, config};
use crate::scripted_agent::{ScriptedAgent, register};
use crate::support::process::{Process, folder, free_port};
use crate::support::proxies::Other;

const LONG: Duration = Duration::from_secs(30);

/// Silent streams are ended after so long by each of them.
const CUT: Duration = Duration::from_secs(4);

struct Proxied {
    rig: Rig,
    address: SocketAddr,
    _process: Process,
}

/// `None`, and why is said, where it is not installed.
async fn proxied(other: Other) -> Option<Proxied> {
    let Some(program) = other.program() else {
        println!("{} is not installed: left out", other.name());
        return None;
    };
    let times = ChannelConfig { ping_interval: Duration::from_millis(300), dead_after: Duration::from_secs(20), ..config() };
    let rig = Rig::with(times, None).await;
    let (port, to, seconds) = (free_port(), rig.address.port(), CUT.as_secs());
    let name = format!("channel-{}-{port}", other.name());
    let folder = folder(&name);
    let file = folder.join("proxy.conf");
    let mut command = Command::new(program);
    let text = match other {
        Other::HaProxy => {
            command.arg("-db").arg("-f").arg(&file);
            format!(
                "global\n  maxconn 1000\ndefaults\n  mode http\n  timeout connect 5s\n  timeout client {seconds}s\n  timeout server {seconds}s\n\
                 frontend f\n  bind 127.0.0.1:{port} proto h2\n  default_backend b\nbackend b\n  server s 127.0.0.1:{to} proto h2\n"
            )
        }
        Other::Nginx => {
            command.arg("-p").arg(&folder).arg("-e").arg(folder.join("error.log")).arg("-c").arg(&file);
            format!(
                "daemon off;\nmaster_process off;\npid {0}/pid;\nevents {{}}\nhttp {{\n  access_log off;\n  client_body_temp_path {0}/b;\n  proxy_temp_path {0}/p;\n  \
                 fastcgi_temp_path {0}/f;\n  uwsgi_temp_path {0}/u;\n  scgi_temp_path {0}/s;\n  client_max_body_size 0;\n  \
                 client_body_timeout {seconds}s;\n  server {{\n    listen 127.0.0.1:{port} http2;\n    location / {{\n      \
                 grpc_pass grpc://127.0.0.1:{to};\n      grpc_read_timeout {seconds}s;\n      grpc_send_timeout {seconds}s;\n    }}\n  }}\n}}\n",
                folder.display()
            )
        }
    };
    std::fs::write(&file, text).unwrap();
    let process = Process::spawn(&name, command, &folder.join("proxy.log"));
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    let start = std::time::Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(start.elapsed() < LONG, "{name} does not listen:\n{}", process.log_tail(2_000));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Some(Proxied { rig, address, _process: process })
}

/// Pings keep the stream where silence would not, and an order has its outcome after it.
async fn lasts(other: Other) {
    let Some(proxied) = proxied(other).await else { return };
    let rig = &proxied.rig;
    let mut agent = ScriptedAgent::start(proxied.address, register("a", "z", &["x"])).await;
    tokio::select! {
        () = tokio::time::sleep(CUT * 3) => {}
        heard = agent.hear() => panic!("{heard:?}"),
    }
    assert_eq!(rig.session("a").epoch, agent.registered.epoch);
    let outcome = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&["y"], 1), LONG);
    let operation = agent.order().await;
    agent.done(&operation).await;
    assert!(outcome.await.unwrap()[0].result.is_ok());
}

/// Many reports, within their credits, and orders at the same time, all on one connection.
async fn bulk(other: Other) {
    let Some(proxied) = proxied(other).await else { return };
    let rig = &proxied.rig;
    let mut agent = ScriptedAgent::start(proxied.address, register("a", "z", &["x"])).await;
    let (say, said) = tokio::sync::mpsc::channel(1);
    let epoch = agent.registered.epoch;
    let mut client = agent.client.clone();
    let reporting = tokio::spawn(async move {
        let account = Account { name: "x".into(), properties_json: "x".repeat(60 << 10), ..Account::default() };
        let report = ReportRequest { epoch, accounts: vec![account] };
        let size = report.encoded_len() as u64;
        say.send(ReportRequest { epoch, accounts: vec![] }).await.unwrap();
        let mut granted = client.report(ReceiverStream::new(said)).await.unwrap().into_inner();
        let (mut credits, mut sent) = (0_u64, 0_u64);
        while sent < 32 << 20 {
            while credits < size {
                credits += granted.message().await.unwrap().expect("the stream goes on").credit_bytes;
            }
            say.send(report.clone()).await.unwrap();
            (credits, sent) = (credits - size, sent + size);
        }
    });
    let mut served = 0;
    while !reporting.is_finished() || served < 20 {
        let outcome = rig.agents.execute(&rig.session("a"), Ulid::generate(), add(&["y"], 1), LONG);
        let operation = agent.order().await;
        agent.done(&operation).await;
        outcome.await.expect("an outcome beside many reports");
        served += 1;
    }
    reporting.await.unwrap();
    assert_eq!(rig.session("a").epoch, epoch);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_haproxy_pings_keep_the_session_beyond_the_limits_of_silence() {
    lasts(Other::HaProxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_pings_keep_the_session_beyond_the_limits_of_silence() {
    lasts(Other::Nginx).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_haproxy_many_reports_hold_up_no_order() {
    bulk(Other::HaProxy).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn behind_nginx_many_reports_hold_up_no_order() {
    bulk(Other::Nginx).await;
}
