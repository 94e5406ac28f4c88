//! The end: what is in flight finishes, nothing new begins, and it does not take for ever.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use fairlead::proxy::Drained;

use super::frames::{self, kinds};
use super::raw::{End, GET, NEVER, OK, Origin, Proxy, drain};

const LONG: Duration = Duration::from_secs(20);

/// An origin that says when a request has come, and answers when told.
fn gated() -> (Origin, mpsc::Receiver<()>, mpsc::SyncSender<()>) {
    let (came, arrived) = mpsc::sync_channel(64);
    let (go, gate) = mpsc::sync_channel(64);
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |mut wire| {
        while wire.message().is_ok() {
            came.send(()).unwrap();
            if gate.lock().unwrap().recv().is_err() {
                let _ = wire.rest();
                return;
            }
            wire.write(OK);
        }
    });
    (origin, arrived, go)
}

#[test]
fn a_request_in_flight_is_answered_idle_connections_close_and_new_ones_are_refused() {
    let (origin, arrived, go) = gated();
    let mut proxy = Proxy::before(origin.address);
    let mut idle = proxy.client();
    idle.write(GET);
    arrived.recv_timeout(NEVER).unwrap();
    go.send(()).unwrap();
    idle.expect(OK);

    let mut busy = proxy.client();
    busy.write(GET);
    arrived.recv_timeout(NEVER).unwrap();
    let handle = proxy.handle.take().unwrap();
    let (ended, drained) = mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(drain(handle, LONG)).unwrap());
    assert_eq!(idle.rest(), (String::new(), End::Closed), "the idle connection closes while the other is still busy");
    assert!(TcpStream::connect(proxy.address).is_err());
    // A drain that does not wait would be over by then; one that does never is.
    assert!(drained.recv_timeout(Duration::from_millis(300)).is_err(), "the drain ended with a request in flight");
    go.send(()).unwrap();
    let (answer, end) = busy.rest();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"), "{answer}");
    assert!(answer.to_ascii_lowercase().contains("connection: close\r\n"), "an orderly end is announced: {answer}");
    assert_eq!(end, End::Closed);
    assert_eq!(drained.recv_timeout(NEVER).unwrap(), Drained::default());
    assert_eq!(proxy.metrics.connections(), 0);
}

#[test]
fn what_does_not_finish_in_time_is_cut_and_counted() {
    let (origin, arrived, _go) = gated();
    let mut proxy = Proxy::before(origin.address);
    let mut stuck: Vec<_> = (0..3)
        .map(|_| {
            let mut client = proxy.client();
            client.write(GET);
            client
        })
        .collect();
    arrived.recv_timeout(NEVER).unwrap();
    // The gate holds one at a time; all three are in flight as far as the proxy goes.
    while proxy.metrics.in_flight() < 3 {
        std::thread::yield_now();
    }
    let drained = drain(proxy.handle.take().unwrap(), Duration::from_millis(100));
    assert_eq!(drained, Drained { aborted: 3, unfinished: 0 });
    for client in &mut stuck {
        // Not just closed: Gate would send a POST again.
        let (answer, end) = client.rest();
        assert!(answer.starts_with("HTTP/1.1 504 ") && answer.contains("may have been acted on"), "{answer}");
        assert_eq!(end, End::Closed);
    }
    assert_eq!(proxy.metrics.in_flight(), 0);
}

#[test]
fn work_that_goes_on_without_its_client_is_waited_for() {
    let (go, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = std::sync::Arc::new(Mutex::new(Some(gate)));
    let (done, finished) = mpsc::sync_channel(64);
    let handle = fairlead::proxy::serve(&super::raw::listen(), &fairlead::proxy::Metrics::default(), move || {
        fairlead::proxy::Stack::looking_into_everything(tower::service_fn(move |_: http::Request<fairlead::proxy::Body>| {
            let (gate, done) = (gate.lock().unwrap().take().unwrap(), done.clone());
            tokio::task::spawn_local(async move {
                let _ = gate.await;
                done.send(()).unwrap();
            });
            async { Ok::<_, std::convert::Infallible>(http::Response::new(fairlead::proxy::Body::Empty)) }
        }))
    })
    .unwrap();
    let mut client = super::raw::Wire::connect(handle.local_addr());
    client.write(GET);
    client.message().unwrap();
    drop(client);
    let (ended, drained) = mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(drain(handle, LONG)).unwrap());
    assert!(drained.recv_timeout(Duration::from_millis(300)).is_err(), "the drain ended with work in flight");
    go.send(()).unwrap();
    assert_eq!(drained.recv_timeout(NEVER).unwrap(), Drained::default());
    finished.recv_timeout(NEVER).unwrap();
}

#[test]
fn a_drain_with_pooled_connections_and_nothing_to_do_ends_at_once() {
    let origin = Origin::answering(OK);
    let mut proxy = Proxy::with(origin.address, |c| c.pool_idle_timeout = 60 * LONG);
    for _ in 0..3 {
        assert_eq!(proxy.ask(GET), OK);
    }
    // Waiting for the pool's own time-out would take longer than LONG, and be reported.
    assert_eq!(drain(proxy.handle.take().unwrap(), LONG), Drained::default());
}

#[test]
fn a_handle_that_is_dropped_ends_the_threads_and_waits_for_nothing() {
    let (origin, arrived, _go) = gated();
    let mut proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(GET);
    arrived.recv_timeout(NEVER).unwrap();
    drop(proxy.handle.take());
    assert!(client.rest().0.starts_with("HTTP/1.1 504 "));
}

#[test]
fn a_connection_without_a_request_under_way_never_delays_the_end() {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
    // Of a head: its frame's beginning, and one after which more would have to follow.
    const HALF_FRAME: &[u8] = b"\0\0\x20\x01\x05\0\0\0\x01\x82";
    const NO_END: &[u8] = b"\0\0\x02\x01\x01\0\0\0\x01\x82\x86";
    let origin = Origin::answering(OK);
    for (what, said) in [
        ("nothing", Vec::new()),
        ("half a head", b"POST /x HTTP/1.1\r\nHost:".to_vec()),
        ("half of HTTP/2's preface", PREFACE[..13].to_vec()),
        ("HTTP/2's preface", PREFACE.to_vec()),
        ("the preface and SETTINGS", [PREFACE, SETTINGS].concat()),
        ("half a frame by HTTP/2", [PREFACE, SETTINGS, HALF_FRAME].concat()),
        ("a head by HTTP/2 that is not whole", [PREFACE, SETTINGS, NO_END].concat()),
    ] {
        let mut proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(said);
        // It says nothing more, not even what HTTP/2 itself asks for.
        while proxy.metrics.connections() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(drain(proxy.handle.take().unwrap(), LONG), Drained::default(), "{what}");
        kinds(&mut client);
    }
}

#[test]
fn a_client_of_http_2_that_says_nothing_more_is_answered_first_and_then_delays_the_end_no_longer() {
    let (origin, arrived, go) = gated();
    let mut proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(frames::get());
    arrived.recv_timeout(NEVER).unwrap();
    let handle = proxy.handle.take().unwrap();
    let (ended, drained) = mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(drain(handle, LONG)).unwrap());
    // Longer than who has nothing under way is given.
    assert!(drained.recv_timeout(Duration::from_millis(1_500)).is_err(), "the drain ended with a request in flight");
    go.send(()).unwrap();
    assert_eq!(drained.recv_timeout(NEVER).unwrap(), Drained::default());
    let mut said = Vec::new();
    let _ = client.stream().read_to_end(&mut said);
    assert!(said.ends_with(b"ok"), "{}", said.escape_ascii());
}

#[test]
fn who_waits_by_http_2_when_the_time_is_over_is_told_so() {
    let (origin, arrived, _go) = gated();
    let mut proxy = Proxy::before(origin.address);
    let client = proxy.client();
    client.stream().write_all(&frames::get()).unwrap();
    arrived.recv_timeout(NEVER).unwrap();
    assert_eq!(drain(proxy.handle.take().unwrap(), Duration::from_millis(300)), Drained { aborted: 1, unfinished: 0 });
    let mut said = Vec::new();
    let _ = client.stream().read_to_end(&mut said);
    assert!(String::from_utf8_lossy(&said).contains("\"ProxyShutdown\""), "{}", said.escape_ascii());
}

#[test]
fn a_head_that_begins_in_a_drain_and_never_ends_does_not_delay_the_end() {
    let origin = Origin::answering(OK);
    let mut proxy = Proxy::before(origin.address);
    let client = proxy.client();
    while proxy.metrics.connections() == 0 {
        std::thread::yield_now();
    }
    let handle = proxy.handle.take().unwrap();
    let (ended, drained) = mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(drain(handle, LONG)).unwrap());
    while TcpStream::connect(proxy.address).is_ok() {}
    // The drain has begun.
    let _ = client.stream().write_all(b"GET /x HT");
    assert_eq!(drained.recv_timeout(NEVER).unwrap(), Drained::default());
}

#[test]
fn the_rest_of_an_answer_that_its_client_has_no_room_for_yet_is_waited_for_by_http_2() {
    // Room for one byte of the answer's two, and more of it.
    const ROOM: &[u8] = b"\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\x01";
    const MORE_ROOM: &[u8] = b"\0\0\x04\x08\0\0\0\0\x01\0\0\0\x01";
    const FIRST_WORDS: usize = 24 + 9;
    let origin = Origin::answering(OK);
    let mut proxy = Proxy::before(origin.address);
    let client = proxy.client();
    let get = frames::get();
    let mut said = get[..FIRST_WORDS].to_vec();
    said.extend([ROOM, &get[FIRST_WORDS..]].concat());
    client.stream().write_all(&said).unwrap();
    assert_eq!(frames::first_of_body(client.stream()).as_deref(), Some(&b"o"[..]));
    let handle = proxy.handle.take().unwrap();
    let (ended, drained) = mpsc::sync_channel(1);
    std::thread::spawn(move || ended.send(drain(handle, LONG)).unwrap());
    // Longer than who has nothing under way is given. It does not react to GOAWAY or PING either: it is busy.
    assert!(drained.recv_timeout(Duration::from_millis(1_500)).is_err(), "the drain ended with an answer that was not taken");
    client.stream().write_all(MORE_ROOM).unwrap();
    assert_eq!(frames::ending(client.stream()), Some((0, b"k".to_vec())));
    assert_eq!(drained.recv_timeout(NEVER).unwrap(), Drained::default());
}
