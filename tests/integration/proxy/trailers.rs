//! Where bodies end: trailers, chunks, heads without bodies, and bodies that last until the connection ends.

use std::sync::{Mutex, mpsc};

use super::fidelity::passes_unchanged;
use super::frames::{self, Frames};
use super::raw::{End, GET, NEVER, OK, Origin, Proxy};
use super::rig::less_close;

#[test]
fn trailers_pass_in_both_directions_announced_or_not() {
    for (announced, trailers) in [
        ("", ""),
        ("", "x-sum: 7\r\n"),
        ("Trailer: X-Sum\r\n", "x-sum: 7\r\n"),
        ("TE: trailers\r\nTrailer: X-Sum, X-Two\r\n", "X-SUM:7\r\nx-two: a\tb\r\nX-Two:\r\n"),
        ("Trailer: X-Other\r\n", "X-Sum: 7\r\n"),
    ] {
        let body = format!("5\r\nhello\r\n0\r\n{trailers}\r\n");
        let answered = announced.replace("TE: trailers\r\n", "");
        passes_unchanged(
            &format!("PUT /x HTTP/1.1\r\nHost: h\r\n{announced}Transfer-Encoding: chunked\r\n\r\n{body}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n{answered}X-A: 1\r\n\r\n{body}"),
        );
    }
}

/// Lines that HTTP/2 refuses to carry, and one that it does carry.
const OF_A_HOP: &str = "Connection: X-A\r\nTE: gzip\r\nKeep-Alive: 5\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\nX-Sum: 7\r\n";

#[test]
fn what_trailers_say_of_a_hop_does_not_keep_a_message_from_its_end_by_http_2() {
    for trailers in [OF_A_HOP, "Connection: close\r\n"] {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[]);
            while let Some(asked) = h2.request() {
                saw.send((asked.ended, asked.body)).unwrap();
                h2.answer(asked.stream, b"ok");
            }
        });
        let proxy = Proxy::with(origin.address, |config| config.http2 = true);
        let answer =
            proxy.ask(&format!("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n{trailers}\r\n"));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), (true, b"hello".to_vec()), "{trailers}");
    }
    // The same for an answer whose client speaks it.
    let origin = Origin::start(|mut wire| {
        while wire.message().is_ok() {
            wire.write(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n{OF_A_HOP}\r\n"));
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(frames::get());
    let (kind, trailers) = frames::ending(client.stream()).expect("an end");
    assert_eq!(kind, frames::HEADERS, "{trailers:?}");
    assert!(!trailers.is_empty());
}

#[test]
fn an_answers_chunks_pass_as_they_were_cut() {
    for body in [
        "0\r\n\r\n".to_owned(),
        "A\r\nhelloworld\r\n0\r\n\r\n".to_owned(),
        "a\r\nhelloworld\r\n0\r\n\r\n".to_owned(),
        "00000005\r\nhello\r\n000\r\n\r\n".to_owned(),
        "5;a;b=c;d=\"e f\"\r\nhello\r\n1;x\r\n!\r\n0;last=1\r\n\r\n".to_owned(),
        "1\r\nx\r\n".repeat(5000) + "0\r\n\r\n",
        format!("{:x}\r\n{}\r\n0\r\n\r\n", 3_000_000, "y".repeat(3_000_000)),
    ] {
        passes_unchanged(GET, format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    }
}

#[test]
fn an_answer_that_has_no_body_is_over_with_its_head_whatever_that_says() {
    let heads = [
        ("HEAD", "200 OK\r\nContent-Length: 12345\r\n"),
        ("HEAD", "200 OK\r\nTransfer-Encoding: chunked\r\n"),
        ("HEAD", "200 OK\r\nX-A: 1\r\n"),
        ("HEAD", "404 \r\nContent-Length: 7\r\n"),
        ("GET", "204 No Content\r\nX-A: 1\r\n"),
        ("GET", "304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 77\r\n"),
        ("GET", "304 Not Modified\r\nTransfer-Encoding: chunked\r\n"),
        ("GET", "304 \r\n"),
        ("POST", "204 \r\n"),
    ];
    for (method, head) in heads {
        let head = format!("HTTP/1.1 {head}\r\n");
        let answer = head.clone();
        let origin = Origin::start(move |mut wire| {
            while let Ok(request) = wire.message() {
                wire.write(if request.contains(" /next ") { OK } else { &answer });
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(format!("{method} /x HTTP/1.1\r\nHost: h\r\n\r\n"));
        client.expect(&head);
        client.write("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
        client.expect(OK);
        assert_eq!(origin.connections(), 1, "{method}: {head}");
    }
}

#[test]
fn a_length_on_an_answer_that_may_have_none_takes_nothing_from_the_next() {
    for line in ["Content-Length: 2\r\n", "Content-Length: 0\r\n", "Transfer-Encoding: chunked\r\n"] {
        let answer = format!("HTTP/1.1 204 No Content\r\n{line}\r\n");
        let head = answer.clone();
        let origin = Origin::start(move |mut wire| {
            while let Ok(request) = wire.message() {
                wire.write(if request.contains(" /next ") { OK } else { &head });
            }
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(GET);
        let got = client.until("\r\n\r\n").unwrap();
        // As it came, without the line that it must not have, or as none at all.
        let fine = [answer.clone(), answer.replace(line, "")].contains(&got);
        assert!(fine || got.starts_with("HTTP/1.1 502 "), "{got}");
        if fine {
            client.write("GET /next HTTP/1.1\r\nHost: h\r\n\r\n");
            client.expect(OK);
        }
    }
}

/// How an HTTP/1.0 client and one of 1.1 ask.
const ASKING: [&str; 3] = ["GET /x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x HTTP/1.0\r\nHost: h\r\n\r\n", "GET /x HTTP/1.0\r\n\r\n"];

#[test]
fn a_body_that_lasts_until_the_connection_ends_does_so_for_the_client_and_is_streamed() {
    for request in ASKING {
        for line in ["", "Connection: close\r\n"] {
            let (go, gate) = mpsc::sync_channel::<()>(1);
            let gate = Mutex::new(gate);
            let origin = Origin::start(move |mut wire| {
                wire.message().unwrap();
                wire.write(format!("HTTP/1.1 200 OK\r\nX-A: 1\r\n{line}\r\nhello"));
                gate.lock().unwrap().recv_timeout(NEVER).unwrap();
                wire.write("world");
            });
            let proxy = Proxy::before(origin.address);
            let mut client = proxy.client();
            client.write(request);
            let head = client.until("\r\n\r\n").unwrap();
            assert_eq!(client.exactly(5).unwrap(), "hello");
            go.send(()).unwrap();
            assert_eq!(client.rest(), ("world".into(), End::Closed));
            // A client that keeps its connections may be told in so many words that this one ends.
            let head = less_close(&head).replace("HTTP/1.0 ", "HTTP/1.1 ");
            assert_eq!(head, "HTTP/1.1 200 OK\r\nX-A: 1\r\n\r\n");
        }
    }
}

#[test]
fn a_body_that_lasts_until_the_connection_ends_may_be_empty_or_large() {
    for length in [0, 1, 3_000_000] {
        let origin = Origin::start(move |mut wire| {
            wire.message().unwrap();
            wire.write("HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(length));
        });
        let proxy = Proxy::before(origin.address);
        for request in ASKING {
            let mut client = proxy.client();
            client.write(request);
            client.until("\r\n\r\n").unwrap();
            let (body, end) = client.rest();
            assert_eq!((body.len(), end), (length, End::Closed));
        }
    }
}

#[test]
fn a_body_that_lasts_until_the_end_of_a_connection_that_breaks_is_broken_for_the_client() {
    for request in ASKING {
        for cut in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nhello"] {
            let origin = Origin::start(move |mut wire| {
                wire.message().unwrap();
                wire.write(cut);
                socket2::SockRef::from(wire.stream()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
            });
            let proxy = Proxy::before(origin.address);
            let mut client = proxy.client();
            client.write(request);
            // Never nothing at all: after that a client sends its request again.
            let (answer, end) = client.rest();
            let broken = end == End::Reset && answer.contains(" 200 OK\r\n");
            assert!(broken || answer.contains(" 502 "), "{request}: {end:?} after {answer}");
        }
    }
}

#[test]
fn chunks_and_trailers_never_reach_a_client_of_http_1_0() {
    let origin = Origin::start(|mut wire| {
        wire.message().unwrap();
        wire.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2;e=1\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 1\r\n\r\n",
        );
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("GET /x HTTP/1.0\r\nHost: h\r\n\r\n");
    let (answer, end) = client.rest();
    // No server that knows HTTP/1.0 answers it so: the answer is undone, or is none.
    assert!(answer.ends_with("\r\n\r\nhello") || answer.contains(" 502 "), "{answer}");
    assert!(!answer.to_ascii_lowercase().contains("transfer-encoding"), "{answer}");
    assert_eq!(end, End::Closed);
}

#[test]
fn a_client_of_http_1_0_that_keeps_its_connection_can_tell_where_an_answer_ends() {
    let origin = Origin::start(|mut wire| {
        while let Ok(request) = wire.message() {
            wire.write(if request.contains(" /sized ") {
                OK
            } else {
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
            });
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("GET /sized HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    let answer = client.message().unwrap();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    if answer.to_ascii_lowercase().contains("connection: keep-alive\r\n") {
        client.write("GET /chunked HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
        let (answer, end) = client.rest();
        assert!(answer.ends_with("\r\n\r\nok") || answer.contains(" 502 "), "{answer}");
        assert_eq!(end, End::Closed);
    } else {
        assert_eq!(client.rest(), (String::new(), End::Closed));
    }
}
