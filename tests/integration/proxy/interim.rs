//! `Expect: 100-continue` and all that comes before an answer: whether a body is wanted is Clouddriver's to say, and what it says passes.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};

use super::raw::{GET, NEVER, OK, Origin, Proxy, WAYS, drain, json, whole};
use super::rig::{SECOND, less_close};

const ASKS: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
/// Nobody but the origin would say it so.
const GO_ON: &str = "HTTP/1.1 100 Go on\r\nX-Mark: 1\r\n\r\n";

#[test]
fn the_head_of_a_client_that_asks_goes_on_alone_and_clouddrivers_word_comes_back() {
    for (head, body) in [
        (ASKS, "hello"),
        ("PUT /x HTTP/1.1\r\nHost: h\r\nexpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        let (saw, seen) = mpsc::sync_channel(64);
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let gate = Mutex::new(gate);
        let origin = Origin::start(move |mut wire| {
            while let Ok(head) = wire.until("\r\n\r\n") {
                saw.send(head).unwrap();
                gate.lock().unwrap().recv_timeout(NEVER).unwrap();
                wire.write(GO_ON);
                saw.send(wire.exactly(body.len()).unwrap()).unwrap();
                wire.write(OK);
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        // Twice: the connections go on, on both sides.
        for _ in 0..2 {
            client.write(head);
            assert_eq!(seen.recv_timeout(NEVER).unwrap(), head);
            go.send(()).unwrap();
            client.expect(GO_ON);
            client.write(body);
            assert_eq!(seen.recv_timeout(NEVER).unwrap(), body);
            client.expect(OK);
        }
        assert_eq!(origin.connections(), 1);
    }
}

/// What a client may send behind a head that was refused, of which nothing is a request but the last.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";
/// The end of one of the origin's connections.
const END: &str = "end";

#[test]
fn a_refusal_comes_back_without_the_body_being_asked_for_and_what_follows_is_no_request() {
    for status in ["417 Expectation Failed", "401 Unauthorized", "413 Too Large", "200 OK"] {
        let (saw, seen) = mpsc::sync_channel(64);
        let refusal = format!("HTTP/1.1 {status}\r\nContent-Length: 3\r\nX-A: 1\r\n\r\nno!");
        let answer = refusal.clone();
        let origin = Origin::start(move |mut wire| {
            while let Ok(head) = wire.until("\r\n\r\n") {
                saw.send(head.clone()).unwrap();
                let asks = head.starts_with("POST");
                wire.write(if asks { &answer } else { OK });
                // It keeps its connection, so it reads what was announced, if that comes.
                if asks && wire.exactly(HIDDEN.len()).is_err() {
                    break;
                }
            }
            saw.send(END.to_owned()).unwrap();
        });
        let mut proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\nExpect: 100-continue\r\n\r\n", HIDDEN.len()));
        let got = client.message().unwrap();
        assert_eq!(less_close(&got), refusal);
        // The body was not asked for: a client that sends it all the same sends a body, or talks to nobody.
        let _ = client.stream().write_all(&[HIDDEN, SECOND].concat().into_bytes());
        let next = client.message();
        assert!(next.as_deref().is_ok_and(|next| next == OK) || next.is_err(), "{next:?}");
        // Nobody else is put on a connection on which Clouddriver may still wait for a body.
        for _ in 0..3 {
            assert_eq!(proxy.ask(GET), OK);
        }
        drain(proxy.handle.take().unwrap(), NEVER);
        for _ in 0..origin.connections() {
            for head in std::iter::from_fn(|| seen.recv_timeout(NEVER).ok()).take_while(|head| head != END) {
                assert!(!head.starts_with("GET /hidden"), "{status}: {head}");
            }
        }
    }
}

#[test]
fn a_client_that_stops_asking_and_sends_is_heard() {
    for way in WAYS {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| {
            saw.send(wire.until("\r\n\r\n").unwrap()).unwrap();
            // Not a word, as of a server that knows nothing of asking.
            saw.send(wire.exactly(5).unwrap()).unwrap();
            wire.write(OK);
            let _ = wire.rest();
        });
        let proxy = way(origin.address);
        let mut client = proxy.client();
        client.write(ASKS);
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), ASKS);
        client.write("hello");
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), "hello");
        // On the way of those who look into requests, the word to go on may have been ours.
        let answer = client.until("ok").unwrap();
        assert!(answer == OK || answer == format!("HTTP/1.1 100 Continue\r\n\r\n{OK}"), "{answer}");
    }
}

#[test]
fn a_body_that_comes_with_its_head_passes_asked_for_or_not() {
    for answer in [OK.to_owned(), format!("{GO_ON}{OK}")] {
        let (saw, seen) = mpsc::sync_channel(64);
        let reply = answer.clone();
        let origin = Origin::start(move |mut wire| {
            while let Ok(request) = wire.message() {
                saw.send(request).unwrap();
                wire.write(&reply);
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        for _ in 0..3 {
            client.write(format!("{ASKS}hello"));
            assert_eq!(seen.recv_timeout(NEVER).unwrap(), format!("{ASKS}hello"));
            client.expect(&answer);
        }
    }
}

#[test]
fn another_expectation_is_clouddrivers_to_judge() {
    let refusal = "HTTP/1.1 417 \r\nContent-Length: 0\r\n\r\n";
    let origin = Origin::start(move |mut wire| {
        let request = wire.message().unwrap();
        assert!(request.contains("\r\nExpect: the-unexpected\r\n"), "{request}");
        wire.write(refusal);
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    assert_eq!(proxy.ask("POST /x HTTP/1.1\r\nHost: h\r\nExpect: the-unexpected\r\nContent-Length: 1\r\n\r\nx"), refusal);
}

#[test]
fn whatever_comes_before_the_answer_passes_in_order_as_it_came_and_at_once() {
    const INTERIM: [&str; 4] = [
        "HTTP/1.1 102 Processing\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nlink:</b>\r\nX-ODD:  1 \r\n\r\n",
        "HTTP/1.1 103 \r\nLink: </c>\r\n\r\n",
        "HTTP/1.1 199 Whatever This Is\r\n\r\n",
    ];
    for way in WAYS {
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let gate = Mutex::new(gate);
        let origin = Origin::start(move |mut wire| {
            while wire.message().is_ok() {
                for interim in INTERIM {
                    wire.write(interim);
                    gate.lock().unwrap().recv_timeout(NEVER).unwrap();
                }
                // And several at once, with the answer.
                wire.write(INTERIM.concat() + OK);
            }
        });
        let proxy = way(origin.address);
        let mut client = proxy.client();
        for request in [GET, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx"] {
            client.write(request);
            for interim in INTERIM {
                client.expect(interim);
                go.send(()).unwrap();
            }
            client.expect(&INTERIM.concat());
            client.expect(OK);
        }
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn a_get_whose_interim_answer_came_is_not_sent_again() {
    const HINTS: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";
    for way in WAYS {
        let (go, gate) = mpsc::sync_channel::<()>(1);
        let gate = Mutex::new(gate);
        let origin = Origin::start(move |mut wire| {
            wire.message().unwrap();
            wire.write(OK);
            wire.message().unwrap();
            wire.write(HINTS);
            gate.lock().unwrap().recv_timeout(NEVER).unwrap();
        });
        let proxy = way(origin.address);
        let mut client = proxy.client();
        client.write(GET);
        client.expect(OK);
        client.write(GET);
        client.expect(HINTS);
        go.send(()).unwrap();
        let answer = client.message().unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn a_client_of_http_1_0_gets_the_answer_alone() {
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write(format!("{GO_ON}HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{OK}"));
        let _ = wire.rest();
    });
    for way in WAYS {
        let proxy = way(origin.address);
        for request in
            ["GET /x HTTP/1.0\r\nHost: h\r\n\r\n", "POST /x HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello"]
        {
            let mut client = proxy.client();
            client.write(request);
            let (answer, _) = client.rest();
            assert!(answer.starts_with("HTTP/1.0 200 ") || answer.starts_with("HTTP/1.1 200 "), "{answer}");
            assert!(answer.ends_with("\r\n\r\nok") && !answer.contains("Link"), "{answer}");
        }
    }
}

#[test]
fn an_origin_that_dies_between_its_interim_word_and_its_answer_is_told_and_asked_once() {
    let origin = Origin::start(move |mut wire| {
        wire.until("\r\n\r\n").unwrap();
        wire.write(GO_ON);
        wire.exactly(5).unwrap();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(ASKS);
    client.expect(GO_ON);
    client.write("hello");
    let answer = client.message().unwrap();
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(json(&answer)["message"].as_str().unwrap().contains("may have been acted on"), "{answer}");
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_client_that_leaves_without_sending_its_body_leaves_a_broken_request() {
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        let head = wire.until("\r\n\r\n").unwrap();
        wire.write(GO_ON);
        saw.send(head + &wire.rest().0).unwrap();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(ASKS);
    client.expect(GO_ON);
    client.write("he");
    drop(client);
    assert_eq!(whole(seen.recv_timeout(NEVER).unwrap().as_bytes()), None);
}
