//! Bounds on what one side may take from us: bytes and time for a head, connections.

use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use bytes::Bytes;
use fairlead::proxy::{Body, Metrics, Stack, serve};
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::fidelity::passes_unchanged;
use super::raw::{End, GET, NEVER, OK, Origin, Proxy, Wire, json, listen, whole};

fn fine(config: &fairlead::proxy::serve::Config, metrics: &Metrics) -> fairlead::proxy::Handle {
    serve(config, metrics, || {
        Stack::looking_into_everything(tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::from_bytes("fine")))
        }))
    })
    .unwrap()
}

#[test]
fn a_head_that_does_not_come_in_time_ends_the_connection_without_a_408() {
    let mut config = listen();
    config.limits.header_timeout = Duration::from_millis(200);
    let handle = fine(&config, &Metrics::default());
    let mut client = Wire::connect(handle.local_addr());
    client.write("POST /x HTTP/1.1\r\nHost:");
    // Gate would send its POST again after a 408.
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn connections_above_the_limit_wait_until_one_ends() {
    let mut config = listen();
    config.limits.max_connections = 1;
    let metrics = Metrics::default();
    let handle = fine(&config, &metrics);
    let mut first = Wire::connect(handle.local_addr());
    first.write(GET);
    first.message().unwrap();
    let mut second = Wire::connect(handle.local_addr());
    second.write(GET);
    for _ in 0..20 {
        first.write(GET);
        first.message().unwrap();
    }
    assert_eq!(metrics.connections(), 1);
    drop(first);
    assert!(second.message().unwrap().ends_with("fine"));
}

#[test]
fn a_head_above_the_limit_is_refused_in_words_and_its_connection_ends() {
    const MUCH: usize = 1 << 20;
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(origin.address);
    let much = "y".repeat(MUCH);
    for (name, head) in [
        ("a long target", format!("GET /{much} HTTP/1.1\r\nHost: h\r\n\r\n")),
        ("a target without end", format!("GET /{much}")),
        ("a method without end", much.clone()),
        ("a long header", format!("GET /x HTTP/1.1\r\nHost: h\r\nX: {much}\r\n\r\n")),
        ("a long name", format!("GET /x HTTP/1.1\r\nHost: h\r\n{much}: 1\r\n\r\n")),
        ("a header without end", format!("GET /x HTTP/1.1\r\nHost: h\r\nX: {much}")),
        ("headers without end", format!("GET /x HTTP/1.1\r\nHost: h\r\n{}", "X-Header: 1\r\n".repeat(MUCH / 13))),
    ] {
        let mut client = proxy.client();
        let _ = client.stream().write_all(head.as_bytes());
        let answer = client.message().unwrap_or_else(|end| panic!("{name}: {end:?} and no answer"));
        assert!(["400 ", "414 ", "431 "].iter().any(|status| answer[9..].starts_with(status)), "{name}: {answer}");
        assert!(json(&answer)["message"].as_str().is_some_and(|message| !message.is_empty()), "{name}: {answer}");
        assert_eq!(client.rest().0, "", "{name}");
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(proxy.ask(GET), OK);
}

#[test]
fn an_answers_head_above_the_limit_is_a_502() {
    for head in [
        format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "y".repeat(1 << 20)),
        format!("HTTP/1.1 200 OK\r\n{}", "X-Header: 1\r\n".repeat(100_000)),
        format!("HTTP/1.1 200 {}", "y".repeat(1 << 20)),
    ] {
        let origin = Origin::start(move |mut wire| {
            wire.message().unwrap();
            let _ = wire.stream().write_all(head.as_bytes());
            let _ = wire.rest();
        });
        let answer = Proxy::before(origin.address).ask(GET);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer:.200}");
        assert_eq!(json(&answer)["exception"], "UpstreamBadAnswer");
    }
}

#[test]
fn many_headers_pass_in_both_directions() {
    for count in [101, 500, 2000] {
        let many: String = (0..count).map(|i| format!("X-Header-{i}: {i}\r\n")).collect();
        passes_unchanged(
            &format!("GET /x HTTP/1.1\r\nHost: h\r\n{many}\r\n"),
            format!("HTTP/1.1 200 OK\r\n{many}Content-Length: 0\r\n\r\n"),
        );
    }
}

fn hurried(timeout: Duration) -> (Origin, Proxy) {
    let origin = Origin::answering(OK);
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.header_timeout = timeout, |_| {});
    (origin, proxy)
}

#[test]
fn a_head_that_trickles_ends_as_one_that_stops_does() {
    let (origin, proxy) = hurried(Duration::from_millis(200));
    let mut client = proxy.client();
    let ended = (0..1000).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        client.stream().write_all(b"X").is_err()
    });
    assert!(ended, "a byte now and then kept it open for {:?}", Duration::from_secs(20));
    assert!(!client.rest().0.contains(" 408 "));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_kept_connection_may_be_idle_for_so_long_and_then_ends_without_a_word() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.idle_timeout = Duration::from_millis(100), |_| {});
    let mut client = proxy.client();
    client.write(GET);
    client.expect(OK);
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn a_body_may_take_its_time() {
    // Ample for the head, which comes at once, and less than the body takes.
    let (_origin, proxy) = hurried(Duration::from_secs(1));
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    for byte in ["h", "e", "l", "l", "o"] {
        std::thread::sleep(Duration::from_millis(300));
        client.write(byte);
    }
    client.expect(OK);
}

#[test]
fn an_answer_may_take_its_time() {
    let origin = Origin::start(|mut wire| {
        wire.message().unwrap();
        std::thread::sleep(Duration::from_millis(1_200));
        wire.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
        std::thread::sleep(Duration::from_millis(1_200));
        wire.write("k");
        let _ = wire.rest();
    });
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.header_timeout = Duration::from_secs(1), |_| {});
    assert_eq!(proxy.ask(GET), OK);
}

#[test]
fn trailers_without_end_are_cut() {
    let origin = Origin::start(|mut wire| {
        let _ = wire.message();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
    let line = "X-Trailer: 1\r\n".repeat(1000);
    let ended = (0..1000).any(|_| client.stream().write_all(line.as_bytes()).is_err());
    assert!(ended, "{} bytes of trailers were taken", 1000 * line.len());
}

#[test]
fn more_requests_than_may_be_in_progress_are_told_to_come_later_and_not_at_once() {
    let (came, arrived) = mpsc::sync_channel(64);
    let (go, gate) = mpsc::sync_channel::<()>(64);
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |mut wire| {
        while wire.message().is_ok() {
            came.send(()).unwrap();
            gate.lock().unwrap().recv_timeout(NEVER).unwrap();
            wire.write(OK);
        }
    });
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.max_in_flight = 2, |_| {});
    let mut busy: Vec<_> = (0..2)
        .map(|_| {
            let mut client = proxy.client();
            client.write(GET);
            arrived.recv_timeout(NEVER).unwrap();
            client
        })
        .collect();
    let mut client = proxy.client();
    for request in [GET, "POST /credentials HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"] {
        client.write(request);
        let answer = client.message().unwrap();
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        let after =
            answer.to_ascii_lowercase().split("\r\nretry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next()?.parse::<u32>().ok());
        assert!(after.is_some_and(|seconds| seconds >= 1), "Gate repeats a POST at once where it is 0: {answer}");
        assert!(json(&answer)["message"].as_str().unwrap().contains("not forwarded"), "{answer}");
    }
    go.send(()).unwrap();
    go.send(()).unwrap();
    for client in &mut busy {
        client.expect(OK);
    }
    go.send(()).unwrap();
    assert_eq!(proxy.ask(GET), OK);
    assert_eq!(arrived.try_iter().count(), 1, "what was told to come later had been forwarded");
}

/// Below those that the system gives to connections and to listeners that ask for any.
fn port_that_nobody_is_given() -> u16 {
    let first = 20_000 + u16::try_from(std::process::id() % 8_000).unwrap();
    (first..).find(|port| TcpListener::bind(("0.0.0.0", *port)).is_ok()).unwrap()
}

#[test]
fn a_proxy_that_is_set_before_itself_says_so_in_the_first_round() {
    for (listen_at, reached_at) in [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "localhost")] {
        let port = port_that_nobody_is_given();
        let address = format!("{listen_at}:{port}").parse().unwrap();
        let proxy = Proxy::with_listen(address, |listen| listen.listen = address, |config| config.host = reached_at.into());
        for request in [GET, "POST /credentials HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"] {
            let mut client = Wire::connect(format!("127.0.0.1:{port}").parse().unwrap());
            client.write(request);
            let answer = client.message().unwrap();
            assert!(answer.starts_with("HTTP/1.1 508 "), "{answer}");
            assert!(!json(&answer)["message"].as_str().unwrap().is_empty());
        }
        assert!(proxy.metrics.in_flight() <= 1, "a request goes round");
    }
}

#[test]
fn a_client_that_stalls_within_its_request_is_given_up() {
    let soon = |listen: &mut fairlead::proxy::serve::Config| listen.limits.stall_timeout = Duration::from_millis(200);
    for body in ["Content-Length: 5\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n5\r\nhe"] {
        for looked_into in [false, true] {
            let (saw, seen) = mpsc::sync_channel(1);
            let origin = Origin::start(move |mut wire| saw.send(wire.rest().0).unwrap());
            let proxy =
                if looked_into { Proxy::looking_with(origin.address, soon) } else { Proxy::with_listen(origin.address, soon, |_| {}) };
            let mut client = proxy.client();
            client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\n{body}"));
            let (answer, _) = client.rest();
            // Not 408, and not nothing: Gate would send it again on either.
            assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("onnection: close"), "{answer}");
            assert_eq!(proxy.metrics.given_up(), 1);
            assert_eq!(whole(seen.recv_timeout(NEVER).unwrap().as_bytes()), None);
        }
    }
}

#[test]
fn a_client_that_stalls_behind_an_early_answer_is_given_up() {
    for looked_into in [false, true] {
        let (saw, seen) = mpsc::sync_channel(1);
        let origin = Origin::start(move |mut wire| {
            wire.until("\r\n\r\n").unwrap();
            // It has begun to answer and reads on.
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
            saw.send(wire.rest().0).unwrap();
        });
        let soon = |listen: &mut fairlead::proxy::serve::Config| listen.limits.stall_timeout = Duration::from_secs(1);
        let proxy = if looked_into { Proxy::looking_with(origin.address, soon) } else { Proxy::with_listen(origin.address, soon, |_| {}) };
        let mut client = proxy.client();
        client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhe");
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), "he");
        assert!(client.rest().0.ends_with("\r\n\r\no"));
    }
}

#[test]
fn a_client_that_stalls_within_its_request_by_http_2_is_given_up() {
    let (saw, seen) = mpsc::sync_channel(1);
    let origin = Origin::start(move |mut wire| saw.send(wire.rest().0).unwrap());
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.stall_timeout = Duration::from_millis(200), |_| {});
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let answer = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(proxy.address).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let begun = stream::iter([Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(b"he")))]);
        let body = StreamBody::new(begun.chain(stream::pending()));
        let request = Request::post("http://h/x").body(body).unwrap();
        tokio::time::timeout(NEVER, sender.send_request(request)).await.expect("it is given up").unwrap()
    });
    assert_eq!(answer.status(), 400);
    assert_eq!(whole(seen.recv_timeout(NEVER).unwrap().as_bytes()), None);
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_is_given_up() {
    let (saw, seen) = mpsc::sync_channel(1);
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while wire.stream().write_all(chunk.as_bytes()).is_ok() {}
        saw.send(()).unwrap();
    });
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.stall_timeout = Duration::from_millis(200), |_| {});
    let mut client = proxy.client();
    client.write(GET);
    seen.recv_timeout(NEVER).expect("Clouddriver writes to somebody who is not there for ever");
}

/// A place is kept for a second without anything, or for as long as more than 50 bytes move in it.
fn strict(listen: &mut fairlead::proxy::serve::Config) {
    (listen.limits.stall_timeout, listen.limits.min_rate) = (Duration::from_secs(1), 50);
}

#[test]
fn a_body_that_dribbles_is_given_up_in_words_and_never_ends_for_clouddriver() {
    for looked_into in [false, true] {
        let (saw, seen) = mpsc::sync_channel(1);
        let origin = Origin::start(move |mut wire| saw.send(wire.rest().0).unwrap());
        let proxy =
            if looked_into { Proxy::looking_with(origin.address, strict) } else { Proxy::with_listen(origin.address, strict, |_| {}) };
        let mut client = proxy.client();
        client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
        let mut dribble = client.stream().try_clone().unwrap();
        std::thread::spawn(move || {
            while dribble.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let (answer, _) = client.rest();
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("onnection: close"), "{answer}");
        assert_eq!(whole(seen.recv_timeout(NEVER).unwrap().as_bytes()), None);
        assert_eq!(proxy.metrics.given_up(), 1);
    }
}

#[test]
fn a_body_that_is_slow_because_clouddriver_is_passes() {
    const MUCH: usize = 4 << 20;
    for looked_into in [false, true] {
        let origin = Origin::start(|mut wire| {
            wire.until("\r\n\r\n").unwrap();
            // Longer than a client could be.
            std::thread::sleep(Duration::from_millis(2_500));
            wire.exactly(MUCH).unwrap();
            wire.write(OK);
        });
        let proxy =
            if looked_into { Proxy::looking_with(origin.address, strict) } else { Proxy::with_listen(origin.address, strict, |_| {}) };
        let mut client = proxy.client();
        client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {MUCH}\r\n\r\n{}", "x".repeat(MUCH)));
        client.expect(OK);
        assert_eq!(proxy.metrics.given_up(), 0);
    }
}

#[test]
fn a_client_that_takes_nothing_of_its_answer_by_http_2_is_given_up() {
    // Whether the body comes with its head or later.
    for later in [false, true] {
        let (saw, seen) = mpsc::sync_channel(4);
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let gate = Mutex::new(gate);
        let origin = Origin::start(move |mut wire| {
            wire.until("\r\n\r\n").unwrap();
            wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            gate.lock().unwrap().recv_timeout(NEVER).unwrap();
            let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
            while wire.stream().write_all(chunk.as_bytes()).is_ok() {}
            saw.send(()).unwrap();
        });
        let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.stall_timeout = Duration::from_secs(1), |_| {});
        let mut client = proxy.client();
        // It speaks on, and opens no window.
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0");
        client.write(b"\0\0\x0b\x01\x05\0\0\0\x01\x82\x86\x04\x02/x\x01\x03h:1");
        if later {
            assert_eq!(super::frames::status(client.stream()), Some(0x88));
        }
        go.send(()).unwrap();
        seen.recv_timeout(NEVER).expect("Clouddriver writes to somebody who is not there for ever");
        let end = std::time::Instant::now() + NEVER;
        while proxy.metrics.given_up() == 0 {
            assert!(std::time::Instant::now() < end, "it is not counted");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[test]
fn the_time_for_all_of_a_request_holds_by_http_2_too() {
    // `:status: 504` is no word of HPACK's own, but begins with the name.
    const OTHER: u8 = 0x48;
    let soon = Duration::from_secs(1);
    for begins in [false, true] {
        let origin = Origin::start(move |mut wire| {
            wire.message().unwrap();
            if begins {
                wire.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
            }
            let _ = wire.rest();
        });
        let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.total_timeout = Some(soon), |_| {});
        let mut client = proxy.client();
        client.write(super::frames::get());
        if begins {
            assert_eq!(super::frames::ending(client.stream()).map(|end| end.0), Some(super::frames::RST_STREAM));
        } else {
            assert_eq!(super::frames::status(client.stream()), Some(OTHER));
        }
    }
}
