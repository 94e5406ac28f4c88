//! Kept connections to Clouddriver: a request goes out once, and an answer is that of its request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};

use super::raw::{GET, NEVER, OK, Origin, Proxy, json};

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
