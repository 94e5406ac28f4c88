//! Messages that break off, or can be read in two ways: nobody takes them for whole, in either direction.

use std::sync::mpsc;
use std::time::Duration;

use socket2::SockRef;

use super::raw::{End, GET, NEVER, Origin, Proxy, WAYS, whole};

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
    for (way, reset) in WAYS.into_iter().flat_map(|way| [(way, false), (way, true)]) {
        for message in [CHUNKED, SIZED] {
            let head = message.find("\r\n\r\n").unwrap() + 4;
            for at in 1..message.len() {
                let origin = cut(message[..at].to_owned(), reset);
                let proxy = way(origin.address);
                let mut client = proxy.client();
                client.write(GET);
                let (answer, end) = client.rest_or_answer();
                let of_ours = answer.starts_with("HTTP/1.1 502 ");
                assert!(of_ours || (at >= head && answer.starts_with("HTTP/1.1 200 ")), "cut at {at}: {answer} and {end:?}");
                assert!(of_ours || whole(answer.as_bytes()).is_none(), "cut at {at}: {answer}");
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
fn an_answer_that_can_be_read_in_two_ways_is_not_passed_on_and_its_connection_ends() {
    let mut answers: Vec<String> = [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: gzip\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding:\r\n",
        "Transfer-Encoding : chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: x\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: -5\r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length:\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length : 5\r\n",
        "Content-Length: 5\nX: 1\r\n",
        "X: a\r\n b\r\n",
        "X: a\rb\r\n",
        "X: \0\r\n",
        "X\r\n",
        ": x\r\n",
        "X Y: 1\r\n",
    ]
    .iter()
    .map(|lines| format!("HTTP/1.1 200 OK\r\n{lines}\r\n0\r\n\r\n"))
    .collect();
    answers.extend(
        [
            "HTTP/2.0 200 OK",
            "HTTP/1.2 200 OK",
            "http/1.1 200 OK",
            "HTTP/1.1 2000 OK",
            "HTTP/1.1 20 OK",
            "HTTP/1.1 +20 OK",
            "HTTP/1.1200 OK",
            "ICY 200 OK",
            "200 OK",
            "\0\0\0",
        ]
        .map(|line| format!("{line}\r\nContent-Length: 0\r\n\r\n")),
    );
    answers.push("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned());
    answers.push("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n".to_owned());
    for way in WAYS {
        for answer in &answers {
            let origin = cut(answer.clone(), false);
            let proxy = way(origin.address);
            for asked in 1..=2 {
                let (got, _) = {
                    let mut client = proxy.client();
                    client.write(GET);
                    client.rest_or_answer()
                };
                // Where a body is only known to be broken once it is read, what there is of it must not look whole.
                let begun = answer.contains("\r\n\r\nx") && whole(got.as_bytes()).is_none();
                assert!(got.starts_with("HTTP/1.1 502 ") || begun, "{answer}: {got}");
                assert_eq!(origin.connections(), asked, "{answer}");
            }
        }
    }
}

#[test]
fn a_request_that_breaks_off_never_ends_for_the_origin() {
    const CHUNKED: &str =
        "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5;e=1\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\n";
    const SIZED: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhelloworld";
    for message in [CHUNKED, SIZED] {
        let head = message.find("\r\n\r\n").unwrap() + 4;
        for way in WAYS {
            let (saw, seen) = mpsc::sync_channel(64);
            let origin = Origin::start(move |mut wire| saw.send(wire.rest()).unwrap());
            let proxy = way(origin.address);
            for at in head..message.len() {
                let mut client = proxy.client();
                client.write(&message[..at]);
                drop(client);
                let (got, _) = seen.recv_timeout(NEVER).unwrap();
                assert_eq!(whole(got.as_bytes()), None, "cut at {at}: {got}");
            }
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

#[test]
fn a_request_by_http_2_that_is_reset_never_ends_for_the_origin_whatever_the_reset_says() {
    for way in WAYS {
        for code in [0_u8, 2, 8] {
            let (saw, seen) = mpsc::sync_channel(64);
            let (came, arrived) = mpsc::sync_channel(64);
            let origin = Origin::start(move |mut wire| {
                let begun = wire.until("hello").unwrap();
                came.send(()).unwrap();
                saw.send(begun + &wire.rest().0).unwrap();
            });
            let proxy = way(origin.address);
            let mut client = proxy.client();
            client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
            client.write(b"\0\0\x0b\x01\x04\0\0\0\x01\x83\x86\x04\x02/x\x01\x03h:1");
            client.write(b"\0\0\x05\0\0\0\0\0\x01hello");
            arrived.recv_timeout(NEVER).unwrap();
            client.write([0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, code]);
            let got = seen.recv_timeout(NEVER).unwrap();
            assert_eq!(whole(got.as_bytes()), None, "reset with {code}: {got}");
        }
    }
}

#[test]
fn an_answer_arrives_whole_though_its_client_sends_on_behind_its_last_request() {
    /// More than a client that does not read is sent at once.
    const MUCH: usize = 300_000;
    for request in [
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n",
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {MUCH}\r\n\r\n{}", "x".repeat(MUCH));
        let origin = Origin::start(move |mut wire| {
            wire.message().unwrap();
            wire.write(&answer);
            let _ = wire.rest();
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(request);
        client.write("y".repeat(400_000));
        // It reads late: a reset would have met it by now.
        std::thread::sleep(Duration::from_millis(100));
        let (said, end) = client.rest();
        assert_eq!((said.split("\r\n\r\n").nth(1).map(str::len), end), (Some(MUCH), End::Closed), "{request}");
    }
}
