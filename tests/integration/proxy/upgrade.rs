//! Upgrades: a tunnel after a 101, and nothing like one before it, without it, or by another name.

use std::net::Shutdown;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use super::raw::{End, GET, NEVER, OK, Origin, Proxy, Wire, drain, json};
use super::rig::less_close;

const ASKS: &str = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n\r\n";
const SWITCHES: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: y\r\n\r\n";

/// The lines of a head, in any order and any case of the names that belong to the hop.
fn lines(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = head
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| match line.to_ascii_lowercase() {
            hop if hop.starts_with("connection:") || hop.starts_with("upgrade:") => hop,
            _ => line.to_owned(),
        })
        .collect();
    lines.sort();
    lines
}

/// A proxy whose origin switches on each request and then does as the script says.
fn switching(script: impl Fn(Wire) + Send + Sync + 'static) -> Proxy {
    let origin = Origin::start(move |mut wire| {
        let head = wire.until("\r\n\r\n").unwrap();
        assert_eq!(lines(&head), lines(ASKS));
        wire.write(SWITCHES);
        script(wire);
    });
    Proxy::before(origin.address)
}

fn tunnel(proxy: &Proxy) -> Wire {
    let mut client = proxy.client();
    client.write(ASKS);
    assert_eq!(lines(&client.until("\r\n\r\n").unwrap()), lines(SWITCHES));
    client
}

#[test]
fn after_a_101_bytes_pass_both_ways_whatever_they_look_like() {
    let proxy = switching(|mut wire| {
        wire.write("first words");
        wire.expect("GET /x HTTP/1.1\r\n\r\n");
        wire.write("HTTP/1.1 200 OK\r\n\r\n");
        assert_eq!(wire.exactly(1_000_000).unwrap(), "a".repeat(1_000_000));
        wire.write("b".repeat(1_000_000));
        let _ = wire.rest();
    });
    let mut client = tunnel(&proxy);
    client.expect("first words");
    client.write("GET /x HTTP/1.1\r\n\r\n");
    client.expect("HTTP/1.1 200 OK\r\n\r\n");
    client.write("a".repeat(1_000_000));
    assert_eq!(client.exactly(1_000_000).unwrap(), "b".repeat(1_000_000));
}

#[test]
fn each_side_of_a_tunnel_ends_by_itself() {
    // The client's first.
    let proxy = switching(|mut wire| {
        assert_eq!(wire.rest(), ("question".into(), End::Closed));
        wire.write("answer");
    });
    let mut client = tunnel(&proxy);
    client.write("question");
    client.end_writing();
    assert_eq!(client.rest(), ("answer".into(), End::Closed));
    // The origin's first.
    let (saw, seen) = mpsc::sync_channel(1);
    let proxy = switching(move |mut wire| {
        wire.write("greeting");
        wire.end_writing();
        saw.send(wire.rest()).unwrap();
    });
    let mut client = tunnel(&proxy);
    assert_eq!(client.rest(), ("greeting".into(), End::Closed));
    client.write("farewell");
    client.stream().shutdown(Shutdown::Both).unwrap();
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), ("farewell".into(), End::Closed));
}

#[test]
fn a_tunnel_that_breaks_on_one_side_ends_on_the_other() {
    fn reset(wire: &Wire) {
        socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    }
    let proxy = switching(|wire| reset(&wire));
    assert_eq!(tunnel(&proxy).rest().0, "");
    let (saw, seen) = mpsc::sync_channel(1);
    let proxy = switching(move |mut wire| saw.send(wire.rest().0).unwrap());
    reset(&tunnel(&proxy));
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), "");
}

/// What a client may send before it knows whether there is a tunnel; not a byte of it is a request.
const EARLY: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

#[test]
fn bytes_sent_before_a_101_wait_for_it() {
    let (go, gate) = mpsc::sync_channel::<()>(1);
    let gate = Mutex::new(gate);
    let (saw, seen) = mpsc::sync_channel(1);
    let origin = Origin::start(move |mut wire| {
        wire.until("\r\n\r\n").unwrap();
        gate.lock().unwrap().recv_timeout(NEVER).unwrap();
        // Whatever was sent on would have overtaken this long ago.
        wire.stream().set_nonblocking(true).unwrap();
        let early = wire.stream().peek(&mut [0; 64]);
        wire.stream().set_nonblocking(false).unwrap();
        saw.send(early.ok()).unwrap();
        wire.write(SWITCHES);
        wire.expect(EARLY);
        wire.write("done");
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(format!("{ASKS}{EARLY}"));
    // All on one thread: once another request has been refused, these bytes have been looked at.
    assert!(proxy.ask("CONNECT h:1 HTTP/1.1\r\nHost: h\r\n\r\n").contains(" 50"));
    go.send(()).unwrap();
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), None);
    client.until("\r\n\r\n").unwrap();
    client.expect("done");
}

#[test]
fn any_other_answer_makes_no_tunnel_and_what_was_sent_early_reaches_nobody() {
    for refusal in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
        // As if it were one, and is none.
        "HTTP/1.1 200 OK\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
    ] {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| {
            let head = wire.until("\r\n\r\n").unwrap();
            wire.write(if head.contains(" /hidden ") { OK } else { refusal });
            saw.send(wire.rest().0).unwrap();
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(format!("{ASKS}{EARLY}"));
        let (answer, _) = client.rest();
        assert!(answer.starts_with(&refusal[..16]), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
        drop(proxy);
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), "", "after {refusal}");
        assert_eq!(origin.connections(), 1);
    }
}

#[test]
fn a_change_of_an_account_is_no_tunnel_whatever_is_answered() {
    let account = ASKS.replace("GET /ws", "POST /credentials").replace("\r\n\r\n", "\r\nContent-Length: 2\r\n\r\n{}");
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        wire.message().unwrap();
        wire.write(SWITCHES);
        saw.send(wire.rest().0).unwrap();
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(format!("{account}{EARLY}"));
    let (answer, _) = client.rest();
    // A tunnel would do no harm to what was announced; today there is none.
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(seen.recv_timeout(NEVER).unwrap(), "");
}

#[test]
fn a_client_that_waited_for_the_refusal_goes_on_or_was_told_to_connect_again() {
    let refusal = "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno";
    let origin = Origin::start(move |mut wire| {
        while let Ok(request) = wire.message() {
            wire.write(if request.contains(" /ws ") { refusal } else { OK });
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(ASKS);
    let answer = client.message().unwrap();
    assert_eq!(less_close(&answer), refusal);
    if answer == refusal {
        client.write(GET);
        client.expect(OK);
    } else {
        assert_eq!(client.rest(), (String::new(), End::Closed));
    }
}

/// The request that reaches the origin, without what belongs to an upgrade.
fn stripped(request: &str) -> (String, String) {
    let (saw, seen) = mpsc::sync_channel(1);
    let origin = Origin::start(move |mut wire| {
        saw.send(wire.message().unwrap()).unwrap();
        wire.write(OK);
        let _ = wire.rest();
    });
    let proxy = Proxy::before(origin.address);
    let answer = proxy.ask(request);
    (seen.recv_timeout(NEVER).unwrap(), answer)
}

#[test]
fn an_upgrade_to_h2c_is_not_passed_on_and_the_request_is() {
    for lines in [
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "connection: http2-settings, UPGRADE\r\nupgrade: H2C\r\nhttp2-settings: AAMAAABkAAQAAP__\r\n",
        "Connection: Upgrade\r\nConnection: HTTP2-Settings\r\nUpgrade:h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "Upgrade: h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c, h2c\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c/1\r\n",
        "Connection: Upgrade\r\nUpgrade: h2c\r\nUpgrade: h2c\r\n",
    ] {
        let (seen, answer) = stripped(&format!("GET /x HTTP/1.1\r\nHost: h\r\n{lines}X-A: 1\r\n\r\n"));
        assert_eq!(seen, "GET /x HTTP/1.1\r\nHost: h\r\nX-A: 1\r\n\r\n", "{lines}");
        assert_eq!(less_close(&answer), OK);
    }
    for lines in ["Connection: Upgrade\r\nUpgrade: h2c, websocket\r\n", "Connection: Upgrade\r\nUpgrade: websocket\r\nUpgrade: h2c\r\n"] {
        let (seen, _) = stripped(&format!("GET /x HTTP/1.1\r\nHost: h\r\n{lines}X-A: 1\r\n\r\n"));
        assert!(!seen.contains("h2c"), "{seen}");
    }
}

#[test]
fn an_upgrade_that_is_no_upgrade_is_not_passed_on() {
    for request in [
        // Not named by Connection, so it was another hop's; and HTTP/1.0 has none.
        "GET /x HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n",
        "GET /x HTTP/1.0\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\n\r\n",
    ] {
        let (seen, _) = stripped(request);
        let seen = seen.to_ascii_lowercase();
        assert!(!seen.contains("upgrade"), "{request}: {seen}");
    }
}

#[test]
fn an_answer_that_switches_unasked_or_to_something_else_is_no_answer() {
    let h2c = ASKS.replace("websocket\r\n", "h2c\r\n");
    let several = ASKS.replace("websocket\r\n", "first, second/2\r\nUpgrade: third/3\r\n");
    for (request, switched) in [
        (GET, "Upgrade: websocket\r\nConnection: Upgrade\r\n"),
        (GET, ""),
        (h2c.as_str(), "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        (ASKS, "Upgrade: h2c\r\nConnection: Upgrade\r\n"),
        (ASKS, "Upgrade: other\r\nConnection: Upgrade\r\n"),
        (ASKS, "Upgrade:\r\nConnection: Upgrade\r\n"),
        (ASKS, "Upgrade: websocket, other\r\nConnection: Upgrade\r\n"),
        (ASKS, "Upgrade: websocket\r\nUpgrade: other\r\nConnection: Upgrade\r\n"),
        (several.as_str(), "Upgrade: third/1\r\nConnection: Upgrade\r\n"),
    ] {
        let (saw, seen) = mpsc::sync_channel(64);
        let origin = Origin::start(move |mut wire| {
            wire.until("\r\n\r\n").unwrap();
            wire.write(format!("HTTP/1.1 101 Switching Protocols\r\n{switched}\r\n{OK}"));
            saw.send(wire.rest().0).unwrap();
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(request);
        let answer = client.message().unwrap();
        assert!(answer.starts_with("HTTP/1.1 502 "), "{request}{switched}: {answer}");
        assert!(!json(&answer)["message"].as_str().unwrap().is_empty());
        // Whatever follows is not for that connection.
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), "");
    }
}

#[test]
fn an_answer_may_switch_to_any_protocol_that_was_asked_for() {
    let several = ASKS.replace("websocket\r\n", "first, second/2\r\nUpgrade: third\r\n");
    for to in ["first", "FIRST", "second/2", "second", "third/3", "second/2, first"] {
        let switches = SWITCHES.replace("websocket", to);
        let answer = switches.clone();
        let origin = Origin::start(move |mut wire| {
            wire.until("\r\n\r\n").unwrap();
            wire.write(&answer);
            wire.expect("tunnel");
            wire.write("done");
        });
        let proxy = Proxy::before(origin.address);
        let mut client = proxy.client();
        client.write(&several);
        assert_eq!(lines(&client.until("\r\n\r\n").unwrap()), lines(&switches), "{to}");
        client.write("tunnel");
        assert_eq!(client.rest(), ("done".into(), End::Closed), "{to}");
    }
}

#[test]
fn a_body_before_the_101_is_the_requests() {
    let origin = Origin::start(|mut wire| {
        assert!(wire.message().unwrap().ends_with("\r\n\r\nhello"));
        wire.write(SWITCHES);
        wire.expect("tunnel");
        wire.write("done");
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write("POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nhello");
    assert_eq!(lines(&client.until("\r\n\r\n").unwrap()), lines(SWITCHES));
    client.write("tunnel");
    assert_eq!(client.rest(), ("done".into(), End::Closed));
}

#[test]
fn interim_answers_before_a_101_switch_nothing() {
    let origin = Origin::start(|mut wire| {
        wire.until("\r\n\r\n").unwrap();
        wire.write("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
        wire.write(SWITCHES);
        wire.expect("tunnel");
        wire.write("done");
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(ASKS);
    client.expect("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(lines(&client.until("\r\n\r\n").unwrap()), lines(SWITCHES));
    client.write("tunnel");
    assert_eq!(client.rest(), ("done".into(), End::Closed));
}

#[test]
fn a_connection_that_became_a_tunnel_is_never_used_for_another_request() {
    let origin = Origin::start(|mut wire| {
        while let Ok(head) = wire.until("\r\n\r\n") {
            if head.contains(" /ws ") {
                wire.write(SWITCHES);
                assert_eq!(wire.rest().0, "");
                return;
            }
            wire.write(OK);
        }
    });
    let proxy = Proxy::before(origin.address);
    for ended in [true, false] {
        let client = tunnel(&proxy);
        if ended {
            drop(client);
        }
        for _ in 0..3 {
            assert_eq!(proxy.ask(GET), OK);
        }
    }
}

#[test]
fn an_open_tunnel_holds_a_drain_up_to_its_bound_and_no_longer() {
    let mut proxy = switching(|mut wire| {
        let _ = wire.rest();
    });
    let mut client = tunnel(&proxy);
    let drained = drain(proxy.handle.take().unwrap(), Duration::from_millis(100));
    assert_eq!(drained.aborted, 1);
    assert_eq!(client.rest().0, "");
}

#[test]
fn what_is_sent_early_behind_a_change_of_an_account_is_no_request_either() {
    // A change is looked into on its way, all others pass as bytes.
    let account = ASKS.replace("GET /ws", "POST /credentials");
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        while let Ok(request) = wire.message() {
            saw.send(request).unwrap();
            wire.write(OK);
        }
    });
    let proxy = Proxy::before(origin.address);
    let mut client = proxy.client();
    client.write(format!("{account}{EARLY}"));
    assert!(client.message().unwrap().starts_with("HTTP/1.1 200 "));
    assert!(client.message().is_err(), "it was read as a request");
    assert_eq!(seen.try_iter().filter(|request| request.contains("/hidden")).count(), 0);
}
