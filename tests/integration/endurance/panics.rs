//! A fault of our own in one request: its client is told, or cannot take what it has for whole, and nobody else notices. Crash points
//! make the faults, on every way that a request and its answer can take.
//!
//! Needs the feature `failpoints`, which `make test` switches on.

use std::io;

use tokio::net::TcpStream;
use tokio::sync::{mpsc, watch};

use super::frames::{ACK, DATA, END_STREAM, Frame, H2, HEADERS, RST_STREAM, SETTINGS, frame, request};
use super::origin::{NEVER, Origin, Wire, before, header, until};
use crate::support::process::{Fairlead, Setup};

/// `:status: 500` in HPACK's own words.
const H2_500: u8 = 0x8e;
/// The versions on both sides.
const WAYS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

/// A Fairlead that fails at a crash point, what it takes for Clouddriver, and one request that waits there until it is let go.
struct World {
    fairlead: Fairlead,
    arrived: mpsc::Receiver<()>,
    go: watch::Sender<bool>,
    /// Speaks HTTP/2 with the scripted origin's HTTP/1.
    _between: Option<Fairlead>,
    _origin: Origin,
}

impl World {
    async fn start(name: &str, http2: bool, failpoints: &str) -> Self {
        let (came, arrived) = mpsc::channel(4);
        let (go, wait) = watch::channel(false);
        let origin = Origin::start(move |mut wire| {
            let (came, mut wait) = (came.clone(), wait.clone());
            async move {
                loop {
                    let head = wire.head().await?;
                    let length = header(&head, "content-length").and_then(|l| l.parse().ok()).unwrap_or(0);
                    wire.exactly(length).await?;
                    if head.contains(" /held ") {
                        came.send(()).await.map_err(io::Error::other)?;
                        wait.wait_for(|go| *go).await.map_err(io::Error::other)?;
                    }
                    if head.contains(" /endless ") {
                        wire.write(b"HTTP/1.1 200 OK\r\n\r\nsome").await?;
                        std::future::pending::<()>().await;
                    }
                    wire.answer("200 OK", "", b"ok").await?;
                }
            }
        })
        .await;
        let between = if http2 { Some(Fairlead::start(before(origin.address, &format!("{name}-between"))).await) } else { None };
        let setup = match &between {
            None => before(origin.address, name),
            Some(between) => before(([127, 0, 0, 1], between.setup.port).into(), name).with("services.clouddriver.http2.enabled: true"),
        };
        let fairlead = Fairlead::start(Setup { failpoints: Some(failpoints.to_owned()), ..setup }).await;
        Self { fairlead, arrived, go, _between: between, _origin: origin }
    }

    async fn connect(&self) -> Wire {
        Wire::new(TcpStream::connect(("127.0.0.1", self.fairlead.setup.port)).await.unwrap())
    }

    async fn http2(&self) -> H2 {
        H2::connect(self.fairlead.setup.port).await
    }

    /// It has failed once, and serves.
    async fn is_well(&self, what: &str) {
        let answer = answered(&mut self.connect().await, "GET /after HTTP/1.1\r\nHost: h\r\n\r\n").await;
        assert!(answer.0.starts_with("HTTP/1.1 200 "), "{what}: {answer:?}");
        let nothing_left = || async { self.fairlead.metric("fairlead_proxy_in_flight").await == Some(0.0) };
        until(&format!("{what}: nothing is in flight"), nothing_left).await;
    }
}

async fn answered(wire: &mut Wire, request: &str) -> (String, Vec<u8>) {
    wire.write(request.as_bytes()).await.unwrap();
    let head = tokio::time::timeout(NEVER, wire.head()).await.expect("an answer").expect("an answer, not an end");
    let length = header(&head, "content-length").expect("a length").parse().unwrap();
    (head, wire.exactly(length).await.unwrap())
}

/// The frames of one stream to its end.
async fn stream(h2: &mut H2, id: u32) -> Vec<Frame> {
    let mut frames = Vec::new();
    loop {
        let got = h2.read.next().await.expect("the connection goes on");
        if got.kind == SETTINGS && got.flags & ACK == 0 {
            h2.write.send(&frame(SETTINGS, ACK, 0, &[])).await;
        }
        if got.stream == id {
            let over = got.kind == RST_STREAM || (matches!(got.kind, HEADERS | DATA) && got.flags & END_STREAM != 0);
            frames.push(got);
            if over {
                return frames;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_before_an_answer_is_a_500_there_and_nowhere_else() {
    for (by_http2, to_http2) in WAYS {
        // The second answer's head: of a request that passes, and of an account change.
        for victim in ["POST /x", "DELETE /credentials/x", "HEAD /x"] {
            let what = format!("{victim}, by HTTP/2: {by_http2}, to HTTP/2: {to_http2}");
            let mut world = World::start("panic-head", to_http2, "answer-head=1*off->1*panic->off").await;
            let mut wire = world.connect().await;
            assert!(answered(&mut wire, "GET /first HTTP/1.1\r\nHost: h\r\n\r\n").await.0.starts_with("HTTP/1.1 200 "));
            if by_http2 {
                if victim != "POST /x" {
                    continue;
                }
                let mut h2 = world.http2().await;
                h2.write.send(&request(1, "/held")).await;
                world.arrived.recv().await.expect("it waits there");
                h2.write.send(&request(3, "/boom")).await;
                let frames = stream(&mut h2, 3).await;
                assert_eq!(frames[0].payload.first(), Some(&H2_500), "{what}: {frames:?}");
                world.go.send(true).unwrap();
                let frames = stream(&mut h2, 1).await;
                assert!(frames.iter().any(|f| f.kind == DATA && f.payload == b"ok"), "{what}: {frames:?}");
            } else {
                let mut held = world.connect().await;
                held.write(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
                world.arrived.recv().await.expect("it waits there");
                let (head, body) = if victim.starts_with("HEAD") {
                    wire.write(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
                    (wire.head().await.expect("an answer, not an end"), Vec::new())
                } else {
                    answered(&mut wire, &format!("{victim} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{{}}")).await
                };
                assert!(head.starts_with("HTTP/1.1 500 "), "{what}: {head}");
                if !victim.starts_with("HEAD") {
                    let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
                    assert!(said["message"].as_str().is_some_and(|m| m.contains("Fairlead failed")), "{what}: {said}");
                }
                // A client that keeps it must not find it closed: it would send its next POST twice.
                if header(&head, "connection") == Some("close") {
                    let rest = wire.some().await;
                    assert!(rest.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::UnexpectedEof), "{what}: {rest:?}");
                } else {
                    let (head, _) = answered(&mut wire, "GET /next HTTP/1.1\r\nHost: h\r\n\r\n").await;
                    assert!(head.starts_with("HTTP/1.1 200 "), "{what}: {head}");
                }
                world.go.send(true).unwrap();
                let head = held.head().await.expect("the answer of a bystander");
                assert!(head.starts_with("HTTP/1.1 200 "), "{what}: {head}");
            }
            world.is_well(&what).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_within_an_answer_never_ends_it_cleanly_and_touches_nothing_else() {
    for (by_http2, to_http2) in WAYS {
        let what = format!("by HTTP/2: {by_http2}, to HTTP/2: {to_http2}");
        // Its body lasts until the connection ends, so that a plain close would be its clean end.
        let mut world = World::start("panic-body", to_http2, "answer-body=1*panic->off").await;
        if by_http2 {
            let mut h2 = world.http2().await;
            h2.write.send(&request(1, "/held")).await;
            world.arrived.recv().await.expect("it waits there");
            h2.write.send(&request(3, "/endless")).await;
            let frames = stream(&mut h2, 3).await;
            assert_eq!(frames.last().map(|f| f.kind), Some(RST_STREAM), "{what}: {frames:?}");
            world.go.send(true).unwrap();
            let frames = stream(&mut h2, 1).await;
            assert!(frames.iter().any(|f| f.kind == DATA && f.payload == b"ok"), "{what}: {frames:?}");
        } else {
            let mut held = world.connect().await;
            held.write(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            world.arrived.recv().await.expect("it waits there");
            let mut wire = world.connect().await;
            wire.write(b"GET /endless HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let end = loop {
                match tokio::time::timeout(NEVER, wire.some()).await.expect("an end") {
                    Ok(_) => {}
                    Err(end) => break end.kind(),
                }
            };
            assert_eq!(end, io::ErrorKind::ConnectionReset, "{what}");
            world.go.send(true).unwrap();
            let head = held.head().await.expect("the answer of a bystander");
            assert!(head.starts_with("HTTP/1.1 200 "), "{what}: {head}");
        }
        world.is_well(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_while_clouddriver_is_reached_is_told_to_all_who_wait_for_it_and_does_not_stay() {
    for (by_http2, to_http2) in WAYS {
        let what = format!("by HTTP/2: {by_http2}, to HTTP/2: {to_http2}");
        let world = World::start("panic-connect", to_http2, "clouddriver-connect=1*panic->off").await;
        if by_http2 {
            let mut h2 = world.http2().await;
            let (one, other) = (request(1, "/one"), request(3, "/other"));
            h2.write.send(&[one, other].concat()).await;
            let mut statuses = Vec::new();
            while statuses.len() < 2 {
                let got = tokio::time::timeout(NEVER, h2.read.next()).await.expect("an answer").expect("the connection goes on");
                if got.kind == HEADERS {
                    statuses.push(got.payload.first().copied());
                }
            }
            assert!(statuses.contains(&Some(H2_500)), "{what}: {statuses:?}");
            // One connection was to be made for both.
            assert!(!to_http2 || statuses.iter().all(|s| *s == Some(H2_500)), "{what}: {statuses:?}");
        } else {
            let (head, body) = answered(&mut world.connect().await, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}").await;
            assert!(head.starts_with("HTTP/1.1 500 "), "{what}: {head}");
            let said: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(said["message"].as_str().is_some_and(|m| m.contains("Fairlead failed")), "{what}: {said}");
        }
        world.is_well(&what).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_a_connection_that_requests_share_leaves_none_of_them_unanswered_and_is_gone_with_it() {
    let world = World::start("panic-shared", true, "clouddriver-http2=1*panic->off").await;
    let (head, _) = answered(&mut world.connect().await, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}").await;
    // As it met it: refused with what may have been done, or on another connection.
    assert!(head.starts_with("HTTP/1.1 502 ") || head.starts_with("HTTP/1.1 200 "), "{head}");
    world.is_well("after").await;
    assert_eq!(world.fairlead.metric("fairlead_proxy_panics_total").await, Some(1.0));
}
