//! Bounds on what a client may take: time for its head, connections.

use std::time::Duration;

use fairlead::proxy::{Body, Metrics, Stack, serve};
use http::{Request, Response};

use super::raw::{End, GET, Wire, listen};

fn fine(config: &fairlead::proxy::serve::Config, metrics: &Metrics) -> fairlead::proxy::Handle {
    serve(config, metrics, || {
        Stack::looking_into_everything(tower::service_fn(|_: Request<Body>| async {
            Ok::<_, std::convert::Infallible>(Response::new(Body::from_bytes("fine")))
        }))
    })
    .unwrap()
}

#[test]
fn a_head_that_does_not_come_in_time_ends_the_connection_without_a_408() {
    let mut config = listen();
    config.limits.header_timeout = Duration::from_millis(200);
    let handle = fine(&config, &Metrics::default());
    let mut client = Wire::connect(handle.local_addr());
    client.write("POST /x HTTP/1.1\r\nHost:");
    // Gate would send its POST again after a 408.
    assert_eq!(client.rest(), (String::new(), End::Closed));
}

#[test]
fn connections_above_the_limit_wait_until_one_ends() {
    let mut config = listen();
    config.limits.max_connections = 1;
    let metrics = Metrics::default();
    let handle = fine(&config, &metrics);
    let mut first = Wire::connect(handle.local_addr());
    first.write(GET);
    first.message().unwrap();
    let mut second = Wire::connect(handle.local_addr());
    second.write(GET);
    for _ in 0..20 {
        first.write(GET);
        first.message().unwrap();
    }
    assert_eq!(metrics.connections(), 1);
    drop(first);
    assert!(second.message().unwrap().ends_with("fine"));
}
