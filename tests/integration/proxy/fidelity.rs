//! What passes unchanged, and the little that does not.

use std::sync::mpsc;

use super::raw::{End, NEVER, OK, Origin, Proxy, Wire};

/// Sends `request` through a proxy to an origin that answers `answer` and closes; what each side read.
fn through(request: &str, answer: impl Into<String>) -> (String, String) {
    let (saw, seen) = mpsc::sync_channel(64);
    let answer = answer.into();
    let no_body = request.starts_with("HEAD") || answer.starts_with("HTTP/1.1 204") || answer.starts_with("HTTP/1.1 304");
    let origin = Origin::start(move |mut wire| {
        saw.send(wire.message().unwrap()).unwrap();
        wire.write(&answer);
        wire.end_writing();
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(request);
    let got = if no_body {
        // No body follows, whatever the head says; another answer right behind it shows that.
        let head = client.until("\r\n\r\n").unwrap();
        client.end_writing();
        head + &client.rest().0
    } else {
        client.message().unwrap()
    };
    (seen.recv_timeout(NEVER).unwrap(), got)
}

pub fn passes_unchanged(request: &str, answer: impl Into<String>) {
    let answer = answer.into();
    let (seen, got) = through(request, answer.clone());
    assert_eq!(seen, request);
    assert_eq!(got, answer);
}

const GET: &str = "GET /applications?restricted=false&expand=true HTTP/1.1\r\nHost: clouddriver:7002\r\n\r\n";

#[test]
fn names_keep_their_case_and_headers_their_order() {
    passes_unchanged(
        "POST /credentials HTTP/1.1\r\nX-SPINNAKER-USER: me\r\nx-lower: 1\r\nContent-Type: application/json; charset=UTF-8\r\n\
         Content-Length: 2\r\nHost: h\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.9.3\r\nX-B3-TraceId: a\r\n\r\n{}",
        "HTTP/1.1 200 \r\nX-SPINNAKER-REQUEST-ID: Q\r\nvary: Origin\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Date: Sat, 21 Nov 2026 00:00:00 GMT\r\nX-Odd-CASE: 1\r\n\r\n{}",
    );
}

#[test]
fn nothing_is_added_to_a_bare_request_or_answer() {
    passes_unchanged("DELETE /credentials/a HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n");
    passes_unchanged("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n", OK);
    passes_unchanged("POST /x HTTP/1.1\r\nHost: h\r\n\r\n", OK);
}

#[test]
fn targets_pass_as_they_came() {
    for target in [
        "/credentials?",
        "/%63redentials/a%2Bb",
        "/credentials//acc;x=1",
        "/x/../credentials/.",
        "/a%252f%25",
        "/?q=%C3%A9&&=",
        "*",
        "http://h/credentials?x",
        "HTTP://H",
    ] {
        passes_unchanged(&format!("OPTIONS {target} HTTP/1.1\r\nHost: h\r\n\r\n"), OK);
    }
}

#[test]
fn methods_are_not_ours_to_judge() {
    for method in ["post", "PROPFIND", "TRACE"] {
        passes_unchanged(&format!("{method} /credentials HTTP/1.1\r\nHost: h\r\n\r\n"), OK);
    }
}

#[test]
fn chunks_stay_chunks_with_their_trailers() {
    passes_unchanged(
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nTE: trailers\r\n\r\n\
         5\r\nhello\r\n1\r\n!\r\n0\r\nx-sum: 7\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\nX-A: 1\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    passes_unchanged(
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    );
}

#[test]
fn heads_without_bodies_keep_what_they_announce() {
    passes_unchanged("HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 12345\r\nX-A: 1\r\n\r\n");
    passes_unchanged(GET, "HTTP/1.1 204 No Content\r\nX-A: 1\r\n\r\n");
    passes_unchanged(GET, "HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\nContent-Length: 77\r\nX-A: 1\r\n\r\n");
    passes_unchanged(GET, "HTTP/1.1 404 Nicht da\r\nContent-Length: 0\r\nX-A: 1\r\n\r\n");
}

#[test]
fn a_head_of_60_kb_passes() {
    let accounts = "kubernetes-account-0123456789,".repeat(2000);
    passes_unchanged(&format!("GET /credentials HTTP/1.1\r\nX-SPINNAKER-ACCOUNTS: {accounts}\r\nHost: h\r\n\r\n"), OK);
}

#[test]
fn encoded_bodies_are_not_touched() {
    // Not gzip at all: whoever tried to decode it would fail.
    passes_unchanged(
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x02\x03\x04",
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x02\x03\x04",
    );
}

#[test]
fn what_belongs_to_the_hop_stays_on_the_hop() {
    let (seen, got) = through(
        "POST /x HTTP/1.1\r\nX-SPINNAKER-USER: me\r\nHost: h\r\nConnection: Keep-Alive, X-Mine, x-spinnaker-user, AUTHORIZATION\r\n\
         Keep-Alive: 1\r\nProxy-Connection: x\r\nUpgrade: h2c\r\nTE: gzip\r\nX-Mine: 1\r\nAuthorization: Basic x\r\nX-Last: 1\r\n\r\n",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=20\r\nX-A: 1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nContent-Length: 0\r\n\
         X-B: 1\r\n\r\n",
    );
    assert_eq!(seen, "POST /x HTTP/1.1\r\nX-SPINNAKER-USER: me\r\nHost: h\r\nAuthorization: Basic x\r\nX-Last: 1\r\n\r\n");
    assert_eq!(got, "HTTP/1.1 200 OK\r\nX-A: 1\r\nContent-Length: 0\r\nX-B: 1\r\n\r\n");
}

#[test]
fn clouddrivers_close_does_not_close_the_client() {
    let origin = Origin::start(|mut wire| {
        wire.message().unwrap();
        wire.write("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    for _ in 0..3 {
        client.write(GET);
        client.expect(OK);
    }
    assert_eq!(origin.connections(), 3);
}

#[test]
fn a_client_of_http_1_0_gets_its_answer_and_its_end() {
    let origin = Origin::start(|mut wire| {
        let request = wire.message().unwrap();
        assert!(request.starts_with("GET /x HTTP/1.0\r\nHost: h\r\n"), "{request}");
        wire.write("HTTP/1.1 200 OK\r\n\r\nhello");
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("GET /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.rest(), ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello".into(), End::Closed));
}

#[test]
fn a_request_of_http_1_0_without_host_stays_a_good_one() {
    let (seen, _) = through("GET /x HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(seen, "GET /x HTTP/1.0\r\n\r\n");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::start(|mut wire| {
        while let Ok(request) = wire.message() {
            let path = request.split(' ').nth(1).unwrap().to_owned();
            wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{path}", path.len()));
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(
        "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nPOST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nxGET /3 HTTP/1.1\r\nHost: h\r\n\r\n",
    );
    for path in ["/1", "/2", "/3"] {
        client.expect(&format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{path}"));
    }
    assert_eq!(origin.connections(), 1, "a connection is kept and used again");
}

#[test]
fn framing_that_can_be_read_in_two_ways_reaches_nobody() {
    let origin = Origin::answering(OK);
    let proxy = Proxy::before(origin.address);
    for (lines, status) in [
        ("Transfer-Encoding: gzip, chunked\r\n", "501"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "400"),
        ("Content-Length: 1\r\nContent-Length: 2\r\n", ""),
        ("Content-Length: +1\r\n", ""),
        ("Content-Length: -1\r\n", ""),
    ] {
        let mut client = proxy.client();
        client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\n{lines}\r\n0\r\n\r\n"));
        let (answer, _) = client.rest();
        assert!(answer.is_empty() && status.is_empty() || answer.starts_with(&format!("HTTP/1.1 {status}")), "{lines}: {answer}");
    }
    let mut client = proxy.client();
    client.write("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(client.message().unwrap().starts_with("HTTP/1.1 501 "));
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_request_with_both_content_length_and_chunks_reaches_nobody_and_ends_its_connection() {
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire: Wire| {
        while let Ok(request) = wire.message() {
            saw.send(request).unwrap();
            wire.write(OK);
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
    let (answer, _) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.matches("HTTP/1.1 ").count() == 1, "{answer}");
    assert!(seen.try_recv().is_err());
}

#[test]
fn a_client_that_asks_before_it_sends_its_body_is_told_to_go_on() {
    let origin = Origin::start(|mut wire| {
        assert!(wire.until("\r\n\r\n").unwrap().ends_with("Expect: 100-continue\r\n\r\n"));
        wire.write("HTTP/1.1 100 Continue\r\n\r\n");
        assert_eq!(wire.exactly(5).unwrap(), "hello");
        wire.write(OK);
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    client.write("hello");
    client.expect(OK);
}
