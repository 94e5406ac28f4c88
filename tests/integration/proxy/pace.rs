//! Large bodies: whole, and no faster than the other side takes them.

use std::io::Write as _;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::raw::{GET, NEVER, Origin, Proxy, Wire};

/// Writes until nobody takes any more for a while; how much went.
fn push(wire: &mut Wire, limit: usize) -> usize {
    let chunk = vec![b'x'; 64 * 1024];
    wire.stream().set_write_timeout(Some(Duration::from_secs(2))).unwrap();
    let mut sent = 0;
    while sent < limit {
        match wire.stream().write(&chunk) {
            Ok(n) => sent += n,
            Err(_) => break,
        }
    }
    sent
}

/// What the buffers of two connections may take in all: the kernel's, up to what this system lets them grow to as they are used, and
/// ours.
fn buffers() -> usize {
    let most = |name: &str| {
        let limits = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
        limits.split_whitespace().next_back().unwrap().parse::<usize>().unwrap()
    };
    2 * (most("tcp_rmem") + most("tcp_wmem")) + 1024 * 1024
}

#[test]
fn an_origin_is_paced_by_a_client_that_does_not_read() {
    let (told, pushed) = mpsc::sync_channel(64);
    let much = 2 * buffers();
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {much}\r\n\r\n"));
        told.send(push(&mut wire, much)).unwrap();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(GET);
    let pushed = pushed.recv_timeout(NEVER).unwrap();
    assert!(pushed < buffers(), "{pushed} bytes were taken from the origin for a client that reads none");
}

#[test]
fn a_client_is_paced_by_an_origin_that_does_not_read() {
    let (hold, held) = mpsc::sync_channel::<()>(64);
    let held = Mutex::new(held);
    let origin = Origin::start(move |_wire| {
        let _ = held.lock().unwrap().recv();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    let much = 2 * buffers();
    client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {much}\r\n\r\n"));
    let pushed = push(&mut client, much);
    drop(hold);
    assert!(pushed < buffers(), "{pushed} bytes were taken from the client for an origin that reads none");
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    const SIZE: usize = 20_000_000;
    let origin = Origin::start(|mut wire| {
        let request = wire.message().unwrap();
        let body = request.split("\r\n\r\n").nth(1).unwrap();
        wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let body: String = (0..SIZE).map(|i| char::from(b'a' + (i * 31 % 25) as u8)).collect();
    let mut client = proxy.client();
    client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {SIZE}\r\n\r\n{body}"));
    let answer = client.message().unwrap();
    assert!(answer.split("\r\n\r\n").nth(1) == Some(&body), "the body came back changed");
}
