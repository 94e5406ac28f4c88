//! Messages that break off, or can be read in two ways: nobody takes them for whole, in either direction.

use std::sync::mpsc;
use std::time::Duration;

use socket2::SockRef;

use super::raw::{End, GET, NEVER, Origin, Proxy, whole};

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
    const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;e=1\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n";
    const SIZED: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhelloworld";
    for message in [CHUNKED, SIZED] {
        let head = message.find("\r\n\r\n").unwrap() + 4;
        for at in 1..message.len() {
            let origin = cut(message[..at].to_owned(), false);
            let proxy = Proxy::before(origin.address);
            let mut client = proxy.client();
            client.write(GET);
            if at < head {
                let answer = client.message().unwrap();
                assert!(answer.starts_with("HTTP/1.1 502 "), "cut at {at}: {answer}");
            } else {
                let (answer, _) = client.rest();
                assert_eq!(whole(answer.as_bytes()), None, "cut at {at}: {answer}");
            }
        }
    }
}

#[test]
fn a_client_of_http_1_0_is_reset_when_its_answer_breaks_off() {
    let origin = cut("HTTP/1.1 200 OK\r\n\r\nhello".into(), true);
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
    let answer = Proxy::before(origin.address).ask("GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[test]
fn a_request_that_breaks_off_never_ends_for_the_origin() {
    const CHUNKED: &str =
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;e=1\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n";
    const SIZED: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhelloworld";
    for message in [CHUNKED, SIZED] {
        let head = message.find("\r\n\r\n").unwrap() + 4;
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| saw.send(wire.rest()).unwrap());
        let proxy = Proxy::before(origin.address);
        for at in head..message.len() {
            let mut client = proxy.client();
            client.write(&message[..at]);
            drop(client);
            let (got, _) = seen.recv_timeout(NEVER).unwrap();
            assert_eq!(whole(got.as_bytes()), None, "cut at {at}: {got}");
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
fn a_client_whose_connection_breaks_while_it_waits_ends_its_request_at_clouddriver() {
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
    SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), "given up");
}
