//! When Clouddriver, the client, or one of us fails.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use fairlead::proxy::{Body, Metrics, serve};
use http::{Request, Response};
use socket2::SockRef;

use super::raw::{End, NEVER, Origin, Proxy, Wire, dead_port, listen};

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

#[test]
fn while_clouddriver_is_down_the_answer_names_the_hop_and_once_it_is_back_so_are_its_answers() {
    let listener = dead_port();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::before(address);
    let mut client = proxy.client();
    client.write(GET);
    let answer = client.message().unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 Bad Gateway\r\n"), "{answer}");
    let body = json(&answer);
    assert_eq!(body["status"], 502);
    assert_eq!(body["error"], "Bad Gateway");
    assert_eq!(body["message"], format!("Clouddriver at {address}: connection refused"));
    assert!(body["timestamp"].as_u64().unwrap() > 1_700_000_000_000);

    Origin::listen(TcpListener::bind(address).unwrap(), |mut wire| {
        while wire.message().is_ok() {
            wire.write(OK);
        }
    });
    client.write(GET);
    client.expect(OK);
}

#[test]
fn a_client_that_sends_a_body_while_clouddriver_is_down_reads_the_answer_and_is_told_of_the_close() {
    let listener = dead_port();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let proxy = Proxy::before(address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\nx");
    // By the time that this is answered, it is known of the other too that nobody will want its body.
    assert!(proxy.ask(GET).starts_with("HTTP/1.1 502 "));
    client.write("x".repeat(99_999));
    let (answer, end) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert_eq!(end, End::Closed);
}

#[test]
fn a_connect_that_hangs_ends_in_504() {
    // The queue of a listener that never accepts is full once two connections wait in it; the kernel then drops the next.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    SockRef::from(&listener).listen(0).unwrap();
    let address = listener.local_addr().unwrap();
    let _waiting: Vec<_> = (0..4)
        .map(|_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    let proxy = Proxy::with(address, |c| c.connect_timeout = Duration::from_millis(200));
    let answer = proxy.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(json(&answer)["exception"], "UpstreamConnectTimeout");
}

#[test]
fn an_origin_that_never_answers_one_request_delays_no_other_and_ends_in_504() {
    let origin = Origin::start(|mut wire| {
        while let Ok(request) = wire.message() {
            if request.starts_with("GET /stuck") {
                // Until the other side gives up.
                assert_eq!(wire.rest().0, "");
                return;
            }
            wire.write(OK);
        }
    });
    let proxy = Proxy::with(origin.address, |c| c.response_timeout = Some(Duration::from_millis(700)));
    let mut stuck = proxy.client();
    stuck.write("GET /stuck HTTP/1.1\r\nHost: h\r\n\r\n");
    // All on the one thread on which that request hangs: if they had to wait for it, they would be answered after it.
    for _ in 0..50 {
        assert_eq!(proxy.ask(GET), OK);
    }
    let answer = stuck.message().unwrap();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert_eq!(json(&answer)["exception"], "UpstreamResponseTimeout");
    // Its connection to the client goes on.
    stuck.write(GET);
    stuck.expect(OK);
}

#[test]
fn no_post_arrives_twice_though_every_kept_connection_is_closed_without_a_word() {
    const POSTS: usize = 2000;
    let seen: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let count = seen.clone();
    let connections = AtomicUsize::new(0);
    let origin = Origin::start(move |mut wire| {
        let note = |request: String| *count.lock().unwrap().entry(request.split("\r\n\r\n").nth(1).unwrap().to_owned()).or_default() += 1;
        // One answer that promises to stay, and then the end: at once, or with the next request read and left without an answer.
        let Ok(request) = wire.message() else { return };
        note(request);
        wire.write(OK);
        if connections.fetch_add(1, SeqCst).is_multiple_of(2)
            && let Ok(request) = wire.message()
        {
            note(request);
        }
    });
    let proxy = Proxy::before(origin.address);
    let answered: usize = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|c| {
                let proxy = &proxy;
                scope.spawn(move || {
                    let mut client = proxy.client();
                    let mut answered = 0;
                    for i in 0..POSTS / 4 {
                        let body = format!("{c:02}-{i:05}");
                        client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
                        let answer = client.message().unwrap();
                        if answer == OK {
                            answered += 1;
                        } else {
                            assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
                            client = proxy.client();
                        }
                    }
                    answered
                })
            })
            .collect();
        clients.into_iter().map(|c| c.join().unwrap()).sum()
    });
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|n| *n == 1), "some arrived twice");
    assert!(seen.len() >= answered, "{} arrived, {answered} were answered", seen.len());
    assert!(answered < POSTS, "none of them met a connection that died");
}

#[test]
fn a_request_on_a_kept_connection_that_dies_under_it_is_not_repeated() {
    let posts = Arc::new(AtomicUsize::new(0));
    let count = posts.clone();
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write(OK);
        // The second is read whole, and then nothing: it may have been acted on.
        if wire.message().is_ok() {
            count.fetch_add(1, SeqCst);
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(GET);
    client.expect(OK);
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
    let answer = client.message().unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(json(&answer)["message"].as_str().unwrap().ends_with("may have been acted on"), "{answer}");
    assert_eq!(posts.load(SeqCst), 1);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_kept_connection_that_clouddriver_has_closed_is_not_used_again() {
    let (told, closed) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        if wire.message().is_ok() {
            wire.write(OK);
            drop(wire);
            told.send(()).unwrap();
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    for _ in 0..200 {
        client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
        client.expect(OK);
        closed.recv_timeout(NEVER).unwrap();
    }
}

/// An origin that says only so much of an answer, and then closes or resets.
fn cut(partial: String, reset: bool) -> Origin {
    Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write(&partial);
        if reset {
            SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        }
    })
}

#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client_wherever_it_is_cut() {
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
    const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld";
    for whole in [CHUNKED, SIZED] {
        let head = whole.find("\r\n\r\n").unwrap() + 4;
        for at in 1..whole.len() {
            let origin = cut(whole[..at].to_owned(), false);
            let proxy = Proxy::before(origin.address);
            let mut client = proxy.client();
            client.write(GET);
            if at < head {
                let answer = client.message().unwrap();
                assert!(answer.starts_with("HTTP/1.1 502 "), "cut at {at}: {answer}");
            } else {
                let (answer, _) = client.rest();
                assert!(answer.len() < whole.len() && !answer.contains("\r\n0\r\n"), "cut at {at}: {answer}");
            }
        }
    }
}

#[test]
fn a_client_of_http_1_0_is_reset_when_its_answer_breaks_off() {
    let origin = cut("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n".into(), false);
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("GET /x HTTP/1.0\r\nHost: h\r\n\r\n");
    assert_eq!(client.rest().1, End::Reset);
}

#[test]
fn a_body_that_ends_by_close_and_is_reset_instead_is_broken_for_the_client() {
    let origin = cut("HTTP/1.1 200 OK\r\n\r\nhello".into(), true);
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(GET);
    assert!(!client.rest().0.ends_with("0\r\n\r\n"));
}

#[test]
fn an_answer_that_can_be_read_in_two_ways_is_not_passed_on() {
    for head in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "Content-Length: x\r\n\r\nx",
    ] {
        let origin = cut(format!("HTTP/1.1 200 OK\r\n{head}"), false);
        let answer = Proxy::before(origin.address).ask(GET);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{head}: {answer}");
    }
    let origin = cut("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n".into(), false);
    let answer = Proxy::before(origin.address).ask("GET /x HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[test]
fn bytes_behind_an_answer_are_never_taken_for_the_next_one() {
    let origin = Origin::start(|mut wire| {
        wire.message().unwrap();
        wire.write(format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"));
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    for _ in 0..20 {
        client.write(GET);
        client.expect(OK);
    }
}

#[test]
fn a_request_that_breaks_off_never_ends_for_the_origin() {
    const CHUNKED: &str = "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n";
    const SIZED: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhelloworld";
    for whole in [CHUNKED, SIZED] {
        let head = whole.find("\r\n\r\n").unwrap() + 4;
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| saw.send(wire.rest()).unwrap());
        let proxy = Proxy::before(origin.address);
        for at in head..whole.len() {
            let mut client = proxy.client();
            client.write(&whole[..at]);
            drop(client);
            let (got, _) = seen.recv_timeout(NEVER).unwrap();
            assert!(got.len() < whole.len() && !got.contains("\r\n0\r\n"), "cut at {at}: {got}");
        }
    }
}

#[test]
fn a_malformed_chunk_breaks_the_request_for_the_origin_too() {
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| saw.send(wire.rest()).unwrap());
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n");
    let (answer, _) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(!seen.recv_timeout(NEVER).unwrap().0.contains("\r\n0\r\n"));
}

#[test]
fn a_client_that_leaves_while_it_waits_ends_its_request_at_clouddriver() {
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        saw.send("waiting").unwrap();
        assert_eq!(wire.rest().0, "");
        saw.send("given up").unwrap();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(GET);
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), "waiting");
    drop(client);
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), "given up");
}

/// Writes until nobody takes any more for a while; how much went.
fn push(wire: &mut Wire, limit: usize) -> usize {
    let chunk = vec![b'x'; 64 * 1024];
    wire.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0;
    while sent < limit {
        match wire.stream().write(&chunk) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    sent
}

/// More than the buffers of the kernel and ours together, of which the kernel's (on loopback some MiB each) are the greater part.
const MUCH: usize = 256 * 1024 * 1024;
const BUFFERS: usize = 32 * 1024 * 1024;

#[test]
fn an_origin_is_paced_by_a_client_that_does_not_read() {
    let (told, pushed) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n"));
        told.send(push(&mut wire, MUCH)).unwrap();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(GET);
    let pushed = pushed.recv_timeout(NEVER).unwrap();
    assert!(pushed < BUFFERS, "{pushed} bytes were taken from the origin for a client that reads none");
}

#[test]
fn a_client_is_paced_by_an_origin_that_does_not_read() {
    let (hold, held) = mpsc::sync_channel::<()>(64);
    let held = Mutex::new(held);
    let origin = Origin::start(move |_wire| {
        let _ = held.lock().unwrap().recv();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {MUCH}\r\n\r\n"));
    let pushed = push(&mut client, MUCH);
    drop(hold);
    assert!(pushed < BUFFERS, "{pushed} bytes were taken from the client for an origin that reads none");
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    const SIZE: usize = 20_000_000;
    let origin = Origin::start(|mut wire| {
        let request = wire.message().unwrap();
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let body: String = (0..SIZE).map(|i| char::from(b'a' + (i * 31 % 25) as u8)).collect();
    let mut client = proxy.client();
    client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n{body}"));
    let answer = client.message().unwrap();
    assert!(answer.split("\r\n\r\n").nth(1) == Some(&body), "the body came back changed");
}

#[test]
fn a_panic_in_one_request_is_a_500_there_and_nowhere_else() {
    let metrics = Metrics::default();
    let handle = serve(&listen(), &metrics, || {
        tower::service_fn(|request: Request<Body>| async move {
            assert!(request.uri().path() != "/panic", "on purpose");
            Ok::<_, std::convert::Infallible>(Response::new(Body::from_bytes("fine")))
        })
    })
    .unwrap();
    let mut bystander = Wire::connect(handle.local_addr());
    bystander.write(GET);
    assert!(bystander.message().unwrap().ends_with("fine"));
    let mut client = Wire::connect(handle.local_addr());
    client.write("GET /panic HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.message().unwrap();
    assert!(answer.starts_with("HTTP/1.1 500 "), "{answer}");
    assert_eq!(json(&answer)["status"], 500);
    for wire in [&mut client, &mut bystander] {
        wire.write(GET);
        assert!(wire.message().unwrap().ends_with("fine"));
    }
    assert_eq!(metrics.panics(), 1);
}

#[test]
fn a_second_process_on_the_port_is_refused_and_not_let_in_beside_the_first() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(origin.address);
    let mut config = listen();
    config.listen = proxy.address;
    let second = serve(&config, &Metrics::default(), || {
        tower::service_fn(|_: Request<Body>| async { Ok::<_, std::convert::Infallible>(Response::new(Body::Empty)) })
    });
    let text = second.unwrap_err().to_string();
    assert!(text.contains(&proxy.address.to_string()), "{text}");
}

#[test]
fn every_address_of_a_name_is_tried() {
    // `localhost` may be ::1 first, where nothing listens.
    let origin = Origin::answering(OK);
    let proxy = Proxy::with(origin.address, |c| c.host = "localhost".into());
    assert_eq!(proxy.ask(GET), OK);
}

#[test]
fn a_name_that_is_none_is_a_502_that_says_so() {
    let proxy = Proxy::with(SocketAddr::from(([127, 0, 0, 1], 1)), |c| c.host = "no-such-host.invalid".into());
    let answer = proxy.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(json(&answer)["exception"], "UpstreamUnknownHost");
}

#[test]
fn an_answer_before_the_end_of_the_request_passes_and_poisons_nothing() {
    let first = AtomicBool::new(true);
    let origin = Origin::start(move |mut wire| {
        if first.swap(false, SeqCst) {
            wire.until("\r\n\r\n").unwrap();
            wire.write("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
            // The rest of it is read as a body, if it comes, and is no request.
            let _ = wire.rest();
        } else {
            while wire.message().is_ok() {
                wire.write(OK);
            }
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n");
    client.expect("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    // Its connection to Clouddriver is in the middle of a message: nobody else may be put on it.
    for _ in 0..10 {
        assert_eq!(proxy.ask(GET), OK);
    }
}

fn fine(config: &fairlead::proxy::serve::Config, metrics: &Metrics) -> fairlead::proxy::Handle {
    serve(config, metrics, || {
        tower::service_fn(|_: Request<Body>| async { Ok::<_, std::convert::Infallible>(Response::new(Body::from_bytes("fine"))) })
    })
    .unwrap()
}

#[test]
fn a_head_that_does_not_come_in_time_ends_the_connection_without_a_408() {
    let mut config = listen();
    config.header_timeout = Duration::from_millis(200);
    let handle = fine(&config, &Metrics::default());
    let mut client = Wire::connect(handle.local_addr());
    client.write("POST /x HTTP/1.1\r\nHost:");
    // Gate would send its POST again after a 408.
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn connections_above_the_limit_wait_until_one_ends() {
    let mut config = listen();
    config.max_connections = 1;
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
