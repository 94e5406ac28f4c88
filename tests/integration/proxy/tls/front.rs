//! Clients that come by TLS, and such that should.

use std::process::Command;
use std::time::Duration;

use fairlead::proxy::Limits;
use fairlead::proxy::serve::Config;
use fairlead::tls::front::{Acceptor, Files};
use fairlead::tls::{ClientAuth, Role, Watched};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use super::super::raw::{End, GET, NEVER, OK, Origin, Proxy, Wire, drain, json};
use super::{chain, client, connection, counted};
use crate::support::certificates::{Ca, Folder, Pair};

/// A data plane that speaks TLS, with its CA and its files.
pub(super) struct Front {
    pub(super) ca: Ca,
    folder: Folder,
    pub(super) proxy: Proxy,
    watched: Watched<Files>,
}

impl Front {
    pub(super) fn before(origin: &Origin) -> Self {
        Self::with(origin, |_| {}, ClientAuth::None, None)
    }

    pub(super) fn with(origin: &Origin, limits: impl FnOnce(&mut Limits), client_auth: ClientAuth, clients: Option<&Ca>) -> Self {
        let (ca, folder) = (Ca::new(), Folder::new());
        let pair = ca.issue();
        let files = Files {
            certificate: folder.write("tls.crt", &pair.certificate),
            key: folder.write("tls.key", &pair.key),
            trust: clients.map(|ca| folder.write("clients.crt", &ca.certificate())),
            client_auth,
        };
        let (acceptor, watched) = Acceptor::open(files).unwrap();
        let change = |config: &mut Config| {
            config.tls = Some(acceptor);
            limits(&mut config.limits);
        };
        let proxy = Proxy::with_listen(origin.address, change, |_| {});
        Self { ca, folder, proxy, watched }
    }

    fn client(&self) -> Wire {
        self.proxy.client().by(connection(&client(&self.ca, None, &["http/1.1"])))
    }

    fn showing(&self, identity: &Pair) -> Wire {
        self.proxy.client().by(connection(&client(&self.ca, Some(identity), &["http/1.1"])))
    }

    fn write(&self, pair: &Pair) {
        self.folder.write("tls.crt", &pair.certificate);
        self.folder.write("tls.key", &pair.key);
    }
}

/// The certificate that the other side showed.
fn shown(wire: &mut Wire) -> Vec<u8> {
    wire.shake().unwrap();
    wire.tls().peer_certificates().unwrap()[0].to_vec()
}

#[test]
fn what_a_client_sends_by_tls_arrives_byte_for_byte_and_so_does_the_answer() {
    let origin = Origin::start(|mut wire| {
        while let Ok(request) = wire.message() {
            wire.write(format!("HTTP/1.1 200 OK\r\nX-Was: here\r\nContent-Length: {}\r\n\r\n{request}", request.len()));
        }
    });
    let front = Front::before(&origin);
    let mut client = front.client();
    // Larger than all buffers on the way.
    for body in ["", "small", &"large ".repeat(300_000)] {
        let request = format!("PUT /x HTTP/1.1\r\nHost: h\r\nx-Odd-case: 1\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        client.write(&request);
        let answer = client.message().unwrap();
        assert!(answer.split_once("\r\n\r\n").unwrap().1 == request, "{}", &answer[..answer.len().min(300)]);
    }
    assert_eq!(client.tls().alpn_protocol(), Some(&b"http/1.1"[..]));
}

#[test]
fn a_connection_ends_with_the_word_that_it_ends() {
    let origin = Origin::answering(OK);
    let front = Front::before(&origin);
    let mut client = front.client();
    client.write("GET /x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let (answer, end) = client.rest();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(end, End::Closed);
}

#[test]
fn an_idle_connection_ends_with_the_word_that_it_ends_when_fairlead_drains() {
    let origin = Origin::answering(OK);
    let mut front = Front::before(&origin);
    let mut client = front.client();
    client.write(GET);
    client.expect(OK);
    drain(front.proxy.handle.take().unwrap(), NEVER);
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole_by_tls_only_if_it_was_whole_before() {
    let origin = Origin::start(|mut wire| {
        let cut = wire.message().unwrap().contains("/cut");
        wire.write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\npart");
        if cut {
            // A reset: unlike an orderly end, it cannot be meant.
            socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        }
    });
    let front = Front::before(&origin);
    let mut whole = front.client();
    whole.write(GET);
    let (answer, end) = whole.rest();
    assert!(answer.ends_with("part"), "{answer}");
    assert_eq!(end, End::Closed);
    let mut cut = front.client();
    cut.write("GET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_ne!(cut.rest().1, End::Closed);
}

#[test]
fn http2_is_spoken_with_who_asks_for_it_by_alpn() {
    let origin = Origin::answering(OK);
    let front = Front::before(&origin);
    let config = client(&front.ca, None, &["h2", "http/1.1"]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (version, body) = runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(front.proxy.address).await.unwrap();
        let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(config).connect(name, stream).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = http::Request::get("https://localhost/x").body(Empty::<bytes::Bytes>::new()).unwrap();
        let answer = sender.send_request(request).await.unwrap();
        (answer.version(), answer.into_body().collect().await.unwrap().to_bytes())
    });
    assert_eq!((version, &body[..]), (http::Version::HTTP_2, &b"ok"[..]));
}

#[test]
#[allow(clippy::print_stderr, reason = "what is left out is said")]
fn curl_is_served_by_both_protocols() {
    let origin = Origin::answering(OK);
    let front = Front::before(&origin);
    let ca = front.folder.write("ca.crt", &front.ca.certificate());
    for (option, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        let curl = Command::new("curl")
            .args(["-sS", "--max-time", "30", option, "-w", " %{http_version}", "--cacert"])
            .arg(&ca)
            .arg(format!("https://localhost:{}/x", front.proxy.address.port()))
            .args(["--resolve", &format!("localhost:{}:127.0.0.1", front.proxy.address.port())])
            .output();
        let Ok(curl) = curl else {
            eprintln!("skipped: there is no curl here");
            return;
        };
        let said = String::from_utf8_lossy(&curl.stdout);
        assert_eq!(said, format!("ok {version}"), "{}", String::from_utf8_lossy(&curl.stderr));
    }
}

#[test]
fn plain_http_is_told_that_this_port_speaks_tls_and_nothing_is_forwarded() {
    let origin = Origin::answering(OK);
    let front = Front::before(&origin);
    for request in [GET, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut client = front.proxy.client();
        client.write(request);
        let (answer, end) = client.rest();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(json(&answer)["message"].as_str().unwrap().contains("speaks TLS"), "{answer}");
        assert_eq!(end, End::Closed);
    }
    assert_eq!(origin.connections(), 0);
    assert_eq!(counted(&front.proxy.metrics, "proxy_tls_handshakes_failed_total"), "2");
}

#[test]
fn who_does_not_come_to_the_end_of_a_handshake_is_not_waited_for_longer_than_for_a_head() {
    let origin = Origin::answering(OK);
    let front = Front::with(&origin, |limits| limits.header_timeout = Duration::from_secs(2), ClientAuth::None, None);
    // Nothing at all, and the first byte of a handshake.
    for sent in [&b""[..], b"\x16"] {
        let mut client = front.proxy.client();
        client.write(sent);
        assert_eq!(client.rest().0, "");
    }
    let mut client = front.client();
    client.write(GET);
    client.expect(OK);
}

#[test]
fn needed_certificates_of_clients_are_needed_and_wanted_ones_may_lack() {
    let (origin, theirs, others) = (Origin::answering(OK), Ca::new(), Ca::new());
    let (good, bad) = (theirs.issue(), others.issue());
    for (auth, without) in [(ClientAuth::Need, false), (ClientAuth::Want, true)] {
        let front = Front::with(&origin, |_| {}, auth, Some(&theirs));
        let served = |mut client: Wire| client.shake().is_ok() && client.try_ask(GET).is_some_and(|answer| answer == OK);
        assert!(served(front.showing(&good)), "{auth:?}");
        assert!(!served(front.showing(&bad)), "{auth:?}");
        assert_eq!(served(front.client()), without, "{auth:?}");
    }
}

#[test]
fn changed_files_serve_new_connections_and_open_ones_go_on() {
    let origin = Origin::answering(OK);
    let mut front = Front::before(&origin);
    let mut before = front.client();
    let first = shown(&mut before);
    before.write(GET);
    before.expect(OK);

    assert_eq!(front.watched.look(), Ok(false), "nothing has changed");
    let second = front.ca.issue();
    front.write(&second);
    assert_eq!(front.watched.look(), Ok(true));
    let expected = chain(&second).0[0].to_vec();
    assert_ne!(first, expected);
    assert_eq!(shown(&mut front.client()), expected);
    before.write(GET);
    before.expect(OK);

    // Whatever is wrong with the next ones, the last good ones stay.
    let third = front.ca.issue();
    front.folder.write("tls.crt", &third.certificate);
    let error = front.watched.look().unwrap_err();
    assert_eq!(error.role, Role::Key, "{error}");
    front.folder.write("tls.crt", "no PEM");
    assert_eq!(front.watched.look().unwrap_err().role, Role::Certificate);
    std::fs::remove_file(front.folder.path("tls.crt")).unwrap();
    assert_eq!(front.watched.look().unwrap_err().role, Role::Certificate);
    assert_eq!(shown(&mut front.client()), expected);
    front.write(&third);
    assert_eq!(front.watched.look(), Ok(true));
    assert_eq!(shown(&mut front.client()), chain(&third).0[0].to_vec());
    before.write(GET);
    before.expect(OK);
}

#[test]
fn files_are_looked_at_by_themselves() {
    let origin = Origin::answering(OK);
    let front = Front::before(&origin);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let Front { ca, folder, proxy, watched } = front;
    let task = runtime.spawn(watched.run(stop.clone()));
    let next = ca.issue();
    folder.write("tls.crt", &next.certificate);
    folder.write("tls.key", &next.key);
    let until = std::time::Instant::now() + NEVER;
    loop {
        let mut client = proxy.client().by(connection(&client(&ca, None, &[])));
        if shown(&mut client) == chain(&next).0[0].to_vec() {
            break;
        }
        assert!(std::time::Instant::now() < until, "the new certificate is not used");
        std::thread::yield_now();
    }
    stop.cancel();
    runtime.block_on(task).unwrap();
}
