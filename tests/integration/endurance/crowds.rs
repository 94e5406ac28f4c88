//! More connections than anybody wanted.

use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use tokio::net::{TcpSocket, TcpStream};

use super::origin::{GET, NEVER, Origin, before, until};
use crate::support::http::{self, Connection, Request};
use crate::support::process::Fairlead;

/// Connections that say nothing.
const MANY: usize = 10_000;
/// Bytes of memory that each of them may cost, in a build that is not optimized. The kernel's share is not in it.
const EACH: u64 = 12 << 10;
/// Descriptors beside them: of the other tests in this process, or of Fairlead itself.
const OTHERS: usize = 1_000;

/// Raises the limit of this process, and so of those that it starts from now on; how many connections that leaves room for.
fn room_for(connections: usize) -> usize {
    let own = std::process::id().to_string();
    let limit = |what: &str| -> usize {
        let out = Command::new("prlimit").args(["--pid", &own, "--nofile", "--noheadings", "--raw", "--output", what]).output();
        let out = out.expect("prlimit (util-linux)");
        String::from_utf8_lossy(&out.stdout).trim().parse().unwrap_or(usize::MAX)
    };
    let wanted = (connections + OTHERS).min(limit("HARD"));
    if limit("SOFT") < wanted {
        let raised = Command::new("prlimit").args(["--pid", &own, &format!("--nofile={wanted}:")]).status();
        assert!(raised.is_ok_and(|s| s.success()), "the limit of descriptors cannot be raised to {wanted}");
    }
    connections.min(limit("SOFT").saturating_sub(OTHERS)).max(100)
}

/// A connection from an address of this run's own, so that the ports of others last.
async fn idle(to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let [_, _, high, low] = std::process::id().to_be_bytes();
    socket.bind((Ipv4Addr::new(127, 9, high, low.max(1)), 0).into()).unwrap();
    tokio::time::timeout(NEVER, socket.connect(to)).await.expect("a connection in time").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_idle_connections_cost_little_each_and_nobody_else_notices() {
    let many = room_for(MANY);
    let origin = Origin::saying((Ipv4Addr::LOCALHOST, 0).into(), "ok").await;
    let fairlead = Fairlead::start(before(origin.address, "idle").with("fairlead.proxy.headerTimeout: 10m")).await;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, fairlead.setup.port));
    for _ in 0..20 {
        assert_eq!(http::get(address.port(), "/warm").await.unwrap().text(), "ok");
    }
    let before = fairlead.memory();

    let crowd: Vec<TcpStream> = stream::iter(0..many).map(|_| idle(address)).buffer_unordered(64).collect().await;
    until("all are accepted", || async { fairlead.metric("fairlead_proxy_connections").await >= Some(many as f64) }).await;
    let each = fairlead.memory().saturating_sub(before) / many as u64;
    println!("{many} idle connections: {each} bytes of memory each");
    assert!(each < EACH, "{each} bytes for each of {many} idle connections");

    let mut kept = Connection::open(address.port()).await.unwrap();
    for _ in 0..100 {
        assert_eq!(kept.call(&Request::new("GET", "/kept")).await.unwrap().text(), "ok");
        assert_eq!(http::get(address.port(), "/new").await.unwrap().text(), "ok");
    }
    drop(crowd);
    until("all are gone", || async { fairlead.metric("fairlead_proxy_connections").await < Some(100.0) }).await;
    assert_eq!(kept.call(&Request::new("GET", "/kept")).await.unwrap().text(), "ok");
}

#[tokio::test]
async fn without_a_free_descriptor_it_waits_serves_whom_it_has_and_recovers() {
    const LIMIT: usize = 64;
    let origin = Origin::saying((Ipv4Addr::LOCALHOST, 0).into(), "ok").await;
    let setup =
        before(origin.address, "descriptors").with("fairlead.proxy.threads: 1").through(&["prlimit", &format!("--nofile={LIMIT}:{LIMIT}")]);
    let mut fairlead = Fairlead::start(setup).await;
    let port = fairlead.setup.port;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut steady = Connection::open(port).await.unwrap();
    let again = Request::new("GET", "/steady");
    assert_eq!(steady.call(&again).await.unwrap().text(), "ok");

    let start = Instant::now();
    let mut crowd = Vec::new();
    while fairlead.descriptors() < LIMIT {
        assert!(start.elapsed() < NEVER, "{} descriptors are taken by {} clients", fairlead.descriptors(), crowd.len());
        if crowd.len() < 4 * LIMIT {
            crowd.push(idle(address).await);
        }
        // Accepting is another thread's work.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // More than there will be room for: in the queue of the kernel until somebody leaves.
    for _ in 0..20 {
        crowd.push(idle(address).await);
        assert_eq!(steady.call(&again).await.unwrap().text(), "ok");
        // Time in which a loop that does not wait would fail to accept a hundred thousand times.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut waiting = Connection::open(port).await.unwrap();
    waiting.send(GET).await.unwrap();
    assert!(!fairlead.has_ended(), "it ended: {}", fairlead.log_tail());
    drop(crowd);
    let without = start.elapsed();

    assert_eq!(waiting.answer("GET").await.unwrap().text(), "ok");
    assert_eq!(http::get(port, "/again").await.unwrap().text(), "ok");
    assert_eq!(steady.call(&again).await.unwrap().text(), "ok");
    let failed = fairlead.metric("fairlead_proxy_accept_errors_total").await.expect("the metric");
    println!("{failed} failures to accept within {} ms without descriptors", without.as_millis());
    // A bound on how often it may try in the time that it had, so the more of it a slow machine took, the more.
    let bound = 20.0 + without.as_millis() as f64 / 10.0;
    assert!((1.0..bound).contains(&failed), "{failed} failures to accept in {without:?}");
}
