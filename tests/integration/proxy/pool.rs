//! Kept connections to Clouddriver: a request goes out once, and an answer is that of its request.

use std::collections::HashMap;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use super::raw::{GET, NEVER, OK, Origin, Proxy, Wire, json};

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
fn a_connection_is_used_again_until_it_is_old_and_ends_between_two_requests() {
    const AGE: Duration = Duration::from_millis(200);
    let seen = Arc::new(Mutex::new(Vec::<usize>::new()));
    let counts = seen.clone();
    let origin = Origin::start(move |mut wire| {
        let mut count = 0;
        while let Ok(request) = wire.message() {
            count += 1;
            if request.contains(" /slow ") {
                std::thread::sleep(AGE * 2);
            }
            wire.write(OK);
        }
        assert_eq!(wire.unread(), 0, "a connection ended within a request");
        counts.lock().unwrap().push(count);
    });
    let proxy = Proxy::with(origin.address, |config| config.pool_max_age = Some(AGE));
    let mut client = proxy.client();
    let begun = Instant::now();
    let mut asked = 0;
    while origin.connections() < 4 {
        assert!(begun.elapsed() < NEVER, "a connection is used for ever");
        client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
        client.expect(OK);
        asked += 1;
    }
    // One that comes of age meanwhile is heard out.
    client.write(GET.replace("/x", "/slow"));
    client.expect(OK);
    drop(proxy);
    let begun = Instant::now();
    while seen.lock().unwrap().len() < origin.connections() {
        assert!(begun.elapsed() < NEVER, "a connection stays open");
        std::thread::yield_now();
    }
    let seen = seen.lock().unwrap();
    assert_eq!(seen.iter().sum::<usize>(), asked + 1);
    assert!(seen.iter().any(|count| *count > 1), "no connection is used again: {seen:?}");
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

/// An origin that answers the first request and then does as told; what it read of each connection from the second one on.
fn after_one(script: impl Fn(usize, String, Wire) + Send + Sync + 'static) -> Origin {
    let connections = AtomicUsize::new(0);
    Origin::start(move |mut wire| {
        let number = connections.fetch_add(1, SeqCst);
        if number == 0 {
            wire.message().unwrap();
            wire.write(OK);
        }
        if let Ok(request) = wire.message() {
            script(number, request, wire);
        }
    })
}

const SAFE: [&str; 4] = [
    "GET /again HTTP/1.1\r\nHost: h\r\n\r\n",
    "HEAD /again HTTP/1.1\r\nHost: h\r\nX-A:1\r\n\r\n",
    "OPTIONS /again HTTP/1.1\r\nHost: h\r\n\r\n",
    "TRACE /again HTTP/1.1\r\nHost: h\r\n\r\n",
];

#[test]
fn a_safe_request_that_meets_a_dying_connection_is_sent_once_again() {
    for request in SAFE {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = after_one(move |number, request, mut wire| {
            saw.send(request).unwrap();
            if number > 0 {
                wire.write("HTTP/1.1 204 \r\n\r\n");
                let _ = wire.rest();
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(GET);
        client.expect(OK);
        client.write(request);
        client.expect("HTTP/1.1 204 \r\n\r\n");
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [request, request]);
    }
}

#[test]
fn nothing_is_sent_a_third_time() {
    for request in SAFE {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = after_one(move |_, request, _| saw.send(request).unwrap());
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(GET);
        client.expect(OK);
        client.write(request);
        assert!(client.until("\r\n\r\n").unwrap().starts_with("HTTP/1.1 502 "));
        drop(proxy);
        assert_eq!(seen.try_iter().count(), 2);
    }
}

#[test]
fn nothing_else_is_ever_sent_twice() {
    for request in [
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        "PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "get /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx",
        "GET /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = after_one(move |_, request, _| saw.send(request).unwrap());
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(GET);
        client.expect(OK);
        client.write(request);
        let answer = client.message().unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{request}: {answer}");
        drop(proxy);
        assert_eq!(seen.try_iter().count(), 1, "{request}");
    }
}

#[test]
fn a_get_that_may_have_been_answered_is_not_sent_again() {
    // One byte of an answer, and a request that was the first on its connection: neither is a kept connection's race.
    for (kept, begun) in [(true, "H"), (true, "HTTP/1.1 100 Continue\r\n\r\n"), (true, "HTTP/1.1 200 OK\r\n"), (false, "")] {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| {
            while let Ok(request) = wire.message() {
                if request == GET {
                    wire.write(OK);
                } else {
                    saw.send(request).unwrap();
                    wire.write(begun);
                    return;
                }
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        if kept {
            client.write(GET);
            client.expect(OK);
        }
        client.write(SAFE[0]);
        while !client.message().unwrap().starts_with("HTTP/1.1 502 ") {}
        drop(proxy);
        assert_eq!(seen.try_iter().count(), 1, "{begun:?}");
    }
}

#[test]
fn an_early_answer_passes_though_clouddriver_hangs_up_on_the_rest_of_the_request() {
    const REFUSAL: &str = "HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno";
    let origin = Origin::start(|mut wire| {
        wire.until("\r\n\r\n").unwrap();
        wire.write(REFUSAL);
        // What it leaves unread makes this a reset.
    });
    let proxy = Proxy::before(origin.address);
    for _ in 0..20 {
        let mut client = proxy.client();
        client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n{}", "x".repeat(100_000)));
        let answer = client.message().unwrap();
        assert!(answer.starts_with("HTTP/1.1 413 Too Large\r\n") && answer.ends_with("\r\n\r\nno"), "{answer}");
    }
}

#[test]
fn a_connection_that_clouddriver_ends_or_cannot_keep_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nconnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        // And what it sends behind its last answer is nobody's.
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison",
    ] {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| {
            wire.message().unwrap();
            wire.write(answer);
            // It says so and stays: whoever closes is the proxy.
            saw.send(wire.rest().0).unwrap();
        });
        let proxy = Proxy::before(origin.address);
        for _ in 0..3 {
            assert_eq!(proxy.ask(GET).replace("HTTP/1.0", "HTTP/1.1"), OK, "{answer}");
            assert_eq!(seen.recv_timeout(NEVER).unwrap(), "", "{answer}");
        }
        assert_eq!(origin.connections(), 3);
    }
}

#[test]
fn bytes_that_come_while_a_connection_is_idle_are_nobodys_answer() {
    for request in [GET, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"] {
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let (spoke, spoken) = mpsc::sync_channel(1);
        let gate = Mutex::new(gate);
        let first = AtomicBool::new(true);
        let origin = Origin::start(move |mut wire| {
            while wire.message().is_ok() {
                wire.write(OK);
                if first.swap(false, SeqCst) {
                    gate.lock().unwrap().recv_timeout(NEVER).unwrap();
                    wire.write("HTTP/1.1 408 Request Timeout\r\nContent-Length: 6\r\n\r\npoison");
                    spoke.send(()).unwrap();
                }
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(GET);
        client.expect(OK);
        go.send(()).unwrap();
        spoken.recv_timeout(NEVER).unwrap();
        for _ in 0..3 {
            client.write(request);
            client.expect(OK);
        }
    }
}

#[test]
fn what_a_client_sends_behind_an_early_answer_is_a_body_and_poisons_nothing() {
    const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";
    for status in ["413 Too Large", "200 OK"] {
        // It takes each head for a request, whatever length the last one told.
        let origin = Origin::start(move |mut wire| {
            while let Ok(head) = wire.until("\r\n\r\n") {
                let answer = match head.split(' ').nth(1) {
                    Some("/hidden") => "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison".to_owned(),
                    Some("/early") => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
                    _ => OK.to_owned(),
                };
                let _ = wire.stream().write_all(answer.as_bytes());
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(format!("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", 100 * HIDDEN.len()));
        assert!(client.until("\r\n\r\n").unwrap().starts_with(&format!("HTTP/1.1 {status}\r\n")));
        // The rest of its body, while others are served.
        for _ in 0..100 {
            let _ = client.stream().write_all(HIDDEN.as_bytes());
            assert_eq!(proxy.ask(GET), OK);
        }
        let _ = client.stream().write_all(GET.as_bytes());
        let next = client.message();
        assert!(next.as_deref().is_ok_and(|next| next == OK) || next.is_err(), "{next:?}");
    }
}
