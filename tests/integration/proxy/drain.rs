//! The end: what is in flight finishes, nothing new begins, and it does not take for ever.

use std::net::TcpStream;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use fairlead::proxy::Drained;

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
