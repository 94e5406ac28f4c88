//! When Clouddriver is not there or does not answer, or one of us fails.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use fairlead::proxy::{Body, Metrics, Stack, serve};
use http::{Request, Response};
use socket2::SockRef;

use super::raw::{End, GET, OK, Origin, Proxy, Wire, dead_port, json, listen};

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
    let proxy = Proxy::with(origin.address, |c| c.response_timeout = Some(Duration::from_secs(3)));
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
fn a_panic_in_one_request_is_a_500_there_and_nowhere_else() {
    let metrics = Metrics::default();
    let handle = serve(&listen(), &metrics, || {
        Stack::looking_into_everything(tower::service_fn(|request: Request<Body>| async move {
            assert!(request.uri().path() != "/panic", "on purpose");
            Ok::<_, std::convert::Infallible>(Response::new(Body::from_bytes("fine")))
        }))
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
        Stack::looking_into_everything(tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::Empty))
        }))
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
