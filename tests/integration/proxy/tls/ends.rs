//! How long a connection by TLS is kept on which nothing happens, and that it delays no drain.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use fairlead::proxy::serve::Config;
use fairlead::proxy::{Drained, Limits};
use fairlead::tls::ClientAuth;

use super::super::frames::{self, Frames};
use super::super::raw::{NEVER, OK, Origin, Proxy, Wire, drain};
use super::front::Front;
use super::{client, connection};

/// More than any patience with a silent client.
const LONG: Duration = Duration::from_secs(20);
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

impl Front {
    fn shaken(&self, protocol: &str) -> Wire {
        let mut wire = self.proxy.client().by(connection(&client(&self.ca, None, &[protocol])));
        wire.shake().unwrap();
        wire
    }
}

#[test]
fn a_connection_by_tls_without_a_request_under_way_never_delays_the_end() {
    type Begin = fn(&Front) -> Wire;
    let ways: [(&str, Begin); 6] = [
        ("nothing", |front| front.proxy.client()),
        ("half a handshake", |front| {
            let wire = front.proxy.client();
            wire.stream().write_all(b"\x16\x03\x01\x02").unwrap();
            wire
        }),
        ("a handshake", |front| front.shaken("http/1.1")),
        ("a handshake, for HTTP/2", |front| front.shaken("h2")),
        ("half a preface", |front| {
            let mut wire = front.shaken("h2");
            wire.write(&PREFACE[..20]);
            wire
        }),
        ("a preface", |front| {
            let mut wire = front.shaken("h2");
            wire.write(PREFACE);
            wire
        }),
    ];
    let origin = Origin::answering(OK);
    for (what, begin) in ways {
        let mut front = Front::before(&origin);
        let client = begin(&front);
        while front.proxy.metrics.connections() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(drain(front.proxy.handle.take().unwrap(), LONG), Drained::default(), "{what}");
        drop(client);
    }
}

#[test]
fn a_client_that_agrees_to_http_2_and_never_begins_it_is_given_up_as_one_that_sends_no_head() {
    let origin = Origin::answering(OK);
    let soon = |limits: &mut Limits| limits.header_timeout = Duration::from_millis(500);
    let front = Front::with(&origin, soon, ClientAuth::None, None);
    for said in [&PREFACE[..0], &PREFACE[..20]] {
        let mut wire = front.shaken("h2");
        wire.write(said);
        let mut rest = Vec::new();
        let _ = wire.stream().read_to_end(&mut rest);
        let start = Instant::now();
        while front.proxy.metrics.connections() > 0 {
            assert!(start.elapsed() < NEVER, "it is kept after {} bytes", said.len());
            std::thread::yield_now();
        }
    }
}

#[test]
fn an_idle_connection_by_http_2_ends_in_time_and_its_client_is_told_before() {
    let origin = Origin::answering(OK);
    let soon = |config: &mut Config| config.limits.idle_timeout = Duration::from_millis(300);
    let proxy = Proxy::with_listen(origin.address, soon, |_| {});
    let mut wire = proxy.client();
    wire.write(frames::get());
    // `:status: 200`.
    assert_eq!(frames::status(wire.stream()), Some(0x88));
    // A client that is there all the time, and answers each PING.
    let (told, end) = mpsc::channel();
    std::thread::spawn(move || told.send(Frames::after_preface(wire, &[]).until_told()));
    assert!(end.recv_timeout(NEVER).expect("it is kept for ever"), "it ends without a word");
}
