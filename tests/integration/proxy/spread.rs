//! Clients keep few connections for long: they are spread over the threads by count, not by chance.

use fairlead::proxy::{Body, Metrics, Stack, serve};
use http::{Request, Response};

use super::raw::{Wire, listen};

const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn no_thread_has_two_connections_while_another_has_none() {
    // By the kernel's hash alone, two connections would meet on one of two threads in every second round.
    for _ in 0..12 {
        let mut config = listen();
        config.threads = 2;
        let metrics = Metrics::default();
        let handle = serve(&config, &metrics, || {
            Stack::looking_into_everything(tower::service_fn(|_: Request<Body>| async {
                Ok::<_, std::convert::Infallible>(Response::new(Body::from_bytes("fine")))
            }))
        })
        .unwrap();
        let mut clients = Vec::new();
        for count in 1..=6 {
            let mut client = Wire::connect(handle.local_addr());
            client.write(GET);
            assert!(client.message().unwrap().ends_with("fine"));
            clients.push(client);
            let spread = metrics.spread();
            assert_eq!(spread.iter().sum::<i64>(), count);
            assert!(spread.iter().max().unwrap() - spread.iter().min().unwrap() <= 1, "{spread:?}");
        }
    }
}
