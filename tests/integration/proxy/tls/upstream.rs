//! A Clouddriver that speaks TLS.

use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use fairlead::proxy::{Cause, Delivery as _, UpstreamError};
use fairlead::tls::upstream::{Connector, Files};
use fairlead::tls::{Role, Watched};
use rustls::ServerConfig;

use super::super::raw::{End, GET, OK, Origin, Proxy, Wire, json};
use super::{accepted, counted, server};
use crate::support::certificates::{Ca, Folder, Pair};

const POST: &str = "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";

/// Serves TLS; the script gets what is inside.
fn origin(config: Arc<ServerConfig>, script: impl Fn(Wire) + Send + Sync + 'static) -> Origin {
    Origin::start(move |wire| {
        let mut wire = wire.by(accepted(&config));
        if wire.shake().is_ok() {
            script(wire);
        }
    })
}

fn answering(config: Arc<ServerConfig>) -> Origin {
    origin(config, |mut wire| {
        while wire.message().is_ok() {
            wire.write(OK);
        }
    })
}

struct Back {
    folder: Folder,
    proxy: Proxy,
    watched: Watched<Files>,
}

/// A data plane before `origin`, whose certificate it takes from `ca`.
fn before(origin: &Origin, ca: &Ca, identity: Option<&Pair>) -> Back {
    speaking(origin, ca, identity, false)
}

fn speaking(origin: &Origin, ca: &Ca, identity: Option<&Pair>, http2: bool) -> Back {
    let folder = Folder::new();
    let files = Files {
        trust: folder.write("ca.crt", &ca.certificate()),
        identity: identity.map(|pair| (folder.write("tls.crt", &pair.certificate), folder.write("tls.key", &pair.key))),
    };
    let (connector, watched) = Connector::open(files, "localhost").unwrap();
    let proxy = Proxy::with(origin.address, |config| (config.tls, config.http2) = (Some(connector), http2));
    Back { folder, proxy, watched }
}

#[test]
fn what_a_client_sends_arrives_by_tls_byte_for_byte_and_so_does_the_answer() {
    let ca = Ca::new();
    let origin = origin(server(&ca.issue(), None), |mut wire| {
        while let Ok(request) = wire.message() {
            wire.write(format!("HTTP/1.1 200 OK\r\nX-Was: here\r\nContent-Length: {}\r\n\r\n{request}", request.len()));
        }
    });
    let back = before(&origin, &ca, None);
    let mut client = back.proxy.client();
    for body in ["", "small", &"large ".repeat(300_000)] {
        let request = format!("PUT /x HTTP/1.1\r\nHost: h\r\nx-Odd-case: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.write(&request);
        let answer = client.message().unwrap();
        assert!(answer.split_once("\r\n\r\n").unwrap().1 == request, "{}", &answer[..answer.len().min(300)]);
    }
    assert_eq!(origin.connections(), 1, "it is kept");
}

#[test]
fn only_http1_is_offered() {
    let ca = Ca::new();
    let mut config = ServerConfig::clone(&server(&ca.issue(), None));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let origin = origin(Arc::new(config), |mut wire| {
        wire.message().unwrap();
        let agreed = String::from_utf8(wire.tls().alpn_protocol().unwrap().to_vec()).unwrap();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{agreed}", agreed.len()));
    });
    let back = before(&origin, &ca, None);
    assert!(back.proxy.ask(GET).ends_with("\r\n\r\nhttp/1.1"));
}

#[test]
fn http_2_is_offered_where_it_is_wanted_and_http1_is_spoken_with_who_prefers_that() {
    let ca = Ca::new();
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let mut config = ServerConfig::clone(&server(&ca.issue(), None));
        config.alpn_protocols = protocols.iter().map(|p| p.as_bytes().to_vec()).collect();
        let (said, heard) = mpsc::channel();
        let origin = origin(Arc::new(config), move |mut wire| {
            let agreed = wire.tls().alpn_protocol().map(<[u8]>::to_vec);
            if agreed.as_deref() == Some(b"h2") {
                said.send(wire.exactly(24).unwrap()).unwrap();
                return;
            }
            while wire.message().is_ok() {
                wire.write(OK);
            }
        });
        let back = speaking(&origin, &ca, None, true);
        let mut client = back.proxy.client();
        if protocols.first() == Some(&"h2") {
            client.write(POST);
            assert!(client.message().unwrap().starts_with("HTTP/1.1 502 "));
            assert_eq!(heard.recv().unwrap(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        } else {
            for request in [POST, GET, POST] {
                client.write(request);
                client.expect(OK);
            }
            assert_eq!(origin.connections(), 1);
        }
    }
}

#[test]
fn what_tls_says_between_two_requests_does_not_cost_the_connection() {
    let ca = Ca::new();
    let turn = Arc::new(Barrier::new(2));
    let theirs = turn.clone();
    let origin = origin(server(&ca.issue(), None), move |mut wire| {
        while wire.message().is_ok() {
            wire.write(OK);
            theirs.wait();
            // A message of TLS that lies unread when the connection is asked whether it is quiet.
            if let rustls::Connection::Server(tls) = wire.tls() {
                tls.refresh_traffic_keys().unwrap();
            }
            wire.flush();
            theirs.wait();
        }
    });
    let back = before(&origin, &ca, None);
    let mut client = back.proxy.client();
    for _ in 0..5 {
        client.write(POST);
        client.expect(OK);
        turn.wait();
        turn.wait();
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn a_post_is_not_sent_on_a_connection_that_clouddriver_has_closed() {
    let ca = Ca::new();
    let (closed, closing) = mpsc::channel();
    let origin = origin(server(&ca.issue(), None), move |mut wire| {
        wire.message().unwrap();
        wire.write(OK);
        wire.farewell();
        closed.send(()).unwrap();
    });
    let back = before(&origin, &ca, None);
    let mut client = back.proxy.client();
    for _ in 0..3 {
        client.write(POST);
        client.expect(OK);
        // One that is about to be closed looks like any other.
        closing.recv_timeout(Duration::from_secs(20)).unwrap();
    }
}

#[test]
fn a_clouddriver_that_is_not_believed_gets_nothing_and_the_client_is_told_why() {
    let (ca, other, twin) = (Ca::new(), Ca::named("another CA"), Ca::new());
    let plain = Origin::start(|mut wire| {
        wire.write("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        wire.rest();
    });
    let cases = [
        (answering(server(&other.issue(), None)), "its certificate is of an unknown CA"),
        (answering(server(&twin.issue(), None)), "its certificate is of an unknown CA (one of that name"),
        (answering(server(&ca.issue_for(&["elsewhere"], |_| {}), None)), "its certificate is for another name"),
        (answering(server(&ca.issue_expired(), None)), "its certificate has expired"),
        (plain, "it does not speak TLS"),
    ];
    for (origin, why) in &cases {
        let back = before(origin, &ca, None);
        let answer = back.proxy.ask(POST);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        let message = json(&answer)["message"].as_str().unwrap().to_owned();
        assert!(message.contains(&origin.address.to_string()) && message.contains(why), "{message}");
        assert_eq!(counted(&back.proxy.metrics, "proxy_upstream_errors_total{cause=\"tls\"}"), "1");
    }
}

#[test]
fn a_failed_handshake_has_certainly_delivered_nothing_and_a_late_refusal_perhaps() {
    let error = |cause| UpstreamError { hop: "c:1".into(), cause };
    assert!(error(Cause::Tls("x".into())).certainly_not_delivered());
    assert!(!error(Cause::TlsRefused("x".into())).certainly_not_delivered());
}

#[test]
fn a_clouddriver_that_asks_for_a_certificate_gets_ours() {
    let (ca, ours) = (Ca::new(), Ca::new());
    let origin = answering(server(&ca.issue(), Some(&ours)));
    assert_eq!(before(&origin, &ca, Some(&ours.issue())).proxy.ask(GET), OK);
    let answer = before(&origin, &ca, None).proxy.ask(GET);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
}

#[test]
fn an_answer_whose_tls_breaks_off_is_broken_and_one_that_ends_is_whole() {
    let ca = Ca::new();
    for end in ["meant", "not meant"] {
        let origin = origin(server(&ca.issue(), None), move |mut wire| {
            wire.message().unwrap();
            wire.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart");
            if end == "meant" {
                wire.farewell();
            }
        });
        let back = before(&origin, &ca, None);
        let mut client = back.proxy.client();
        client.write(GET);
        let (answer, ended) = client.rest();
        if end == "meant" {
            assert!(answer.ends_with("part"), "{answer}");
            assert_eq!(ended, End::Closed);
        } else {
            assert_eq!(ended, End::Reset, "{answer}");
        }
    }
}

#[test]
fn changed_files_serve_new_connections() {
    let (first, second) = (Ca::new(), Ca::new());
    let origin = answering(server(&second.issue(), None));
    let mut back = before(&origin, &first, None);
    assert!(back.proxy.ask(GET).starts_with("HTTP/1.1 502 "));
    back.folder.write("ca.crt", &second.certificate());
    assert_eq!(back.watched.look(), Ok(true));
    assert_eq!(back.proxy.ask(GET), OK);
    back.folder.write("ca.crt", "no PEM");
    assert_eq!(back.watched.look().unwrap_err().role, Role::Trust);
    assert_eq!(back.proxy.ask(GET), OK);
}
