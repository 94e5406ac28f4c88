//! Clouddriver by HTTP/2, played frame by frame: what a library would not send is what is looked for here.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use super::frames::{Asked, Frames, HEADERS};
use super::raw::{End, GET, NEVER, Origin, Proxy, Wire, json};

/// A data plane that speaks HTTP/2 to its origin.
fn before(origin: SocketAddr) -> Proxy {
    Proxy::with(origin, |config| config.http2 = true)
}

fn post(body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

const ANSWERED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";

#[test]
fn many_requests_share_a_connection_and_each_gets_its_own_answer() {
    let origin = Origin::start(|wire| {
        let mut h2 = Frames::begin(wire, &[]);
        // The last first.
        let mut asked: Vec<Asked> = (0..10).map(|_| h2.request().unwrap()).collect();
        while let Some(asked) = asked.pop() {
            h2.answer(asked.stream, &asked.body);
        }
        while let Some(asked) = h2.request() {
            h2.answer(asked.stream, b"ok");
        }
    });
    let proxy = before(origin.address);
    let mut clients: Vec<_> = (0..10)
        .map(|i| {
            let mut client = proxy.client();
            client.write(post(&format!("body-{i}")));
            client
        })
        .collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.expect(&format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6\r\nbody-{i}\r\n0\r\n\r\n"));
        client.write(GET);
        client.expect(ANSWERED);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn what_clouddriver_says_it_has_not_looked_at_is_sent_once_again_and_not_twice() {
    const REFUSED: u32 = 7;
    for (refusals, answer) in [(1, "HTTP/1.1 200 "), (9, "HTTP/1.1 502 ")] {
        let (saw, seen) = mpsc::channel();
        let left = Arc::new(AtomicUsize::new(refusals));
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[]);
            while let Some(asked) = h2.request() {
                saw.send(asked.body).unwrap();
                if left.fetch_update(SeqCst, SeqCst, |n| n.checked_sub(1)).is_ok() {
                    h2.reset(asked.stream, REFUSED);
                } else {
                    h2.answer(asked.stream, b"ok");
                }
            }
        });
        let proxy = before(origin.address);
        let got = proxy.ask(&post("all of it"));
        assert!(got.starts_with(answer), "{got}");
        drop(proxy);
        let seen: Vec<_> = seen.try_iter().collect();
        assert_eq!(seen, [b"all of it", b"all of it"]);
    }
}

#[test]
fn behind_a_goaway_is_sent_again_what_lies_above_it_and_nothing_else() {
    let (saw, seen) = mpsc::channel();
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |wire| {
        let first = number.fetch_add(1, SeqCst) == 0;
        let mut h2 = Frames::begin(wire, &[]);
        if first {
            let mut asked = [h2.request().unwrap(), h2.request().unwrap()];
            asked.sort_by_key(|asked| asked.stream);
            for asked in &asked {
                saw.send((1, asked.body.clone())).unwrap();
            }
            h2.go_away(asked[0].stream, 0);
            h2.answer(asked[0].stream, b"ok");
            return h2.until_closed();
        }
        while let Some(asked) = h2.request() {
            saw.send((2, asked.body)).unwrap();
            h2.answer(asked.stream, b"ok");
        }
    });
    let proxy = before(origin.address);
    let mut clients = Vec::new();
    for body in ["one", "other"] {
        let mut client = proxy.client();
        client.write(post(body));
        clients.push(client);
    }
    for client in &mut clients {
        client.expect(ANSWERED);
    }
    let seen: Vec<_> = seen.try_iter().collect();
    let bodies = |connection| seen.iter().filter(|(at, _)| *at == connection).map(|(_, body)| body).collect::<Vec<_>>();
    // The lower one first.
    assert_eq!(bodies(1).len(), 2);
    assert_eq!(bodies(2), [bodies(1)[1]]);
}

#[test]
fn what_clouddriver_may_have_acted_on_is_not_sent_again() {
    type Ending = fn(&mut Frames, u32);
    let endings: [(&str, Ending); 6] = [
        ("the connection ends", |_, _| {}),
        ("INTERNAL_ERROR", |h2, stream| h2.reset(stream, 2)),
        ("CANCEL", |h2, stream| h2.reset(stream, 8)),
        ("HTTP_1_1_REQUIRED", |h2, stream| h2.reset(stream, 13)),
        ("a GOAWAY that has taken it", |h2, stream| h2.go_away(stream, 0)),
        ("a GOAWAY for an error that has taken it", |h2, stream| h2.go_away(stream, 11)),
    ];
    for (name, ending) in endings {
        let (saw, seen) = mpsc::channel();
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[]);
            let Some(first) = h2.request() else { return };
            h2.answer(first.stream, b"ok");
            let Some(asked) = h2.request() else { return };
            saw.send(asked.body).unwrap();
            ending(&mut h2, asked.stream);
        });
        let proxy = before(origin.address);
        // A connection that was used before.
        assert!(proxy.ask(&post("first")).starts_with("HTTP/1.1 200 "));
        let answer = proxy.ask(&post("once"));
        assert!(answer.starts_with("HTTP/1.1 502 "), "{name}: {answer}");
        assert!(json(&answer)["message"].as_str().unwrap().contains("may have been acted on"), "{name}: {answer}");
        drop(proxy);
        assert_eq!(seen.try_iter().collect::<Vec<_>>(), [b"once"], "{name}");
    }
}

#[test]
fn a_get_that_meets_a_dying_connection_is_sent_once_again() {
    let number = AtomicUsize::new(0);
    let origin = Origin::start(move |wire| {
        let first = number.fetch_add(1, SeqCst) == 0;
        let mut h2 = Frames::begin(wire, &[]);
        let asked = h2.request().unwrap();
        h2.answer(asked.stream, b"ok");
        let asked = h2.request();
        if let (false, Some(asked)) = (first, asked) {
            h2.answer(asked.stream, b"ok");
        }
    });
    let proxy = before(origin.address);
    for _ in 0..2 {
        assert_eq!(proxy.ask(GET), ANSWERED);
    }
    assert_eq!(origin.connections(), 2);
}

#[test]
fn a_request_that_breaks_off_is_reset_and_never_ends() {
    for head in ["Content-Length: 5\r\n\r\nhe", "Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n"] {
        let (saw, seen) = mpsc::sync_channel(1);
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[]);
            saw.send(h2.request().map(|asked| (asked.body, asked.ended))).unwrap();
            h2.until_closed();
        });
        let proxy = before(origin.address);
        let mut client = proxy.client();
        client.write(format!("POST /x HTTP/1.1\r\nHost: h\r\n{head}"));
        // It has arrived.
        wait(|| proxy.metrics.in_flight() == 1);
        client.end_writing();
        let (answer, _) = client.rest();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let (body, ended) = seen.recv_timeout(NEVER).unwrap().expect("a request");
        assert!(!ended && b"he".starts_with(&body), "{body:?}");
    }
}

#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client() {
    for (name, reset) in [("the end", None), ("NO_ERROR", Some(0)), ("INTERNAL_ERROR", Some(2)), ("CANCEL", Some(8))] {
        for length in [false, true] {
            let origin = Origin::start(move |wire| {
                let mut h2 = Frames::begin(wire, &[]);
                let Some(asked) = h2.request() else { return };
                h2.head(asked.stream, if length { b"\x88\x0f\x0d\x015" } else { b"\x88" }, false);
                h2.data(asked.stream, b"he", false);
                if let Some(code) = reset {
                    h2.reset(asked.stream, code);
                    h2.until_closed();
                }
            });
            let proxy = before(origin.address);
            let mut client = proxy.client();
            client.write(GET);
            let (answer, _) = client.rest();
            let body = answer.strip_prefix("HTTP/1.1 200 ").and_then(|rest| rest.split_once("\r\n\r\n")).unwrap().1;
            assert!(["", "he", "2\r\nhe\r\n"].contains(&body), "{name}: {answer}");
        }
    }
}

#[test]
fn an_answer_with_two_lengths_or_one_that_is_none_is_not_passed_on() {
    for lengths in [&b"\x0f\x0d\x012\x0f\x0d\x012"[..], b"\x0f\x0d\x012\x0f\x0d\x013", b"\x0f\x0d\0"] {
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[]);
            while let Some(asked) = h2.request() {
                h2.head(asked.stream, &[b"\x88", lengths].concat(), false);
                h2.data(asked.stream, b"ok", true);
            }
        });
        let answer = before(origin.address).ask(GET);
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!(json(&answer)["exception"], "UpstreamBadAnswer");
    }
}

#[test]
fn no_more_requests_are_at_once_than_clouddriver_allows_and_the_others_wait_or_get_another_connection() {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    for (connections, most) in [(3, 64), (1, 1)] {
        let more = Arc::new(AtomicBool::new(false));
        let (came, arrived) = mpsc::channel();
        let (go, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let too_many = more.clone();
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[(MAX_CONCURRENT_STREAMS, 2)]);
            while let Some(one) = h2.request() {
                let Some(other) = h2.request() else { return };
                // A third would come by itself.
                if h2.request_within(Duration::from_millis(200)).is_some() {
                    too_many.store(true, SeqCst);
                }
                came.send(()).unwrap();
                gate.lock().unwrap().recv_timeout(NEVER).unwrap();
                for asked in [one, other] {
                    h2.answer(asked.stream, b"ok");
                }
            }
        });
        let proxy = Proxy::with(origin.address, |config| (config.http2, config.pool_max_idle) = (true, most));
        let mut clients: Vec<_> = (0..6).map(|_| proxy.client()).collect();
        for client in &mut clients {
            client.write(post("x"));
        }
        for pair in 0..3 {
            arrived.recv_timeout(NEVER).unwrap();
            if pair + 1 == connections || connections == 1 {
                (0..connections).for_each(|_| go.send(()).unwrap());
            }
        }
        for client in &mut clients {
            client.expect(ANSWERED);
        }
        assert!(!more.load(SeqCst));
        assert_eq!(origin.connections(), connections);
    }
}

#[test]
fn what_does_not_speak_http_2_is_asked_nothing() {
    const OLD: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    for (answer, status, exception) in [(Some(OLD), "502", "UpstreamHttp2Failed"), (None, "504", "UpstreamConnectTimeout")] {
        let (saw, seen) = mpsc::channel();
        let origin = Origin::start(move |mut wire| {
            wire.exactly(24).unwrap();
            if let Some(answer) = answer {
                wire.write(answer);
            }
            saw.send(super::frames::kinds(&mut wire)).unwrap();
        });
        let change = |config: &mut fairlead::proxy::upstream::Config| {
            config.http2 = true;
            if answer.is_none() {
                config.connect_timeout = Duration::from_millis(500);
            }
        };
        let told = Proxy::with(origin.address, change).ask(&post("secret"));
        assert!(told.starts_with(&format!("HTTP/1.1 {status} ")), "{told}");
        assert_eq!(json(&told)["exception"], exception, "{told}");
        assert!(!seen.recv_timeout(NEVER).unwrap().contains(&HEADERS));
    }
}

/// An origin that speaks what it is spoken to in, as Tomcat does.
fn of_both_tongues(by_http1: impl Fn(&mut Wire, String) + Send + Sync + 'static) -> Origin {
    Origin::start(move |mut wire| {
        if wire.exactly(3).as_deref() == Ok("PRI") {
            wire.exactly(21).unwrap();
            let mut h2 = Frames::after_preface(wire, &[]);
            while let Some(asked) = h2.request() {
                h2.answer(asked.stream, b"ok");
            }
        } else {
            while let Ok(head) = wire.until("\r\n\r\n") {
                by_http1(&mut wire, head);
            }
        }
    })
}

#[test]
fn what_http_2_cannot_say_goes_over_http_1_as_it_came() {
    let origin = of_both_tongues(|wire, head| {
        if head.contains("Upgrade: echo") {
            wire.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello");
        } else {
            wire.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}", head.len()));
        }
    });
    let proxy = before(origin.address);
    assert_eq!(proxy.ask(GET), ANSWERED);
    let mut client = proxy.client();
    client.write("GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    assert!(client.until("\r\n\r\n").unwrap().starts_with("HTTP/1.1 101 "));
    client.expect("hello");
    for request in
        ["GET http://h/x HTTP/1.1\r\nHost: h\r\n\r\n", "GET /a<b HTTP/1.1\r\nHost: h\r\n\r\n", "GET /x HTTP/1.1\r\nHost:\r\n\r\n"]
    {
        // Less the three letters that told it which of the two it is.
        assert!(proxy.ask(request).ends_with(&request[3..]), "{request}");
    }
}

#[test]
fn an_answer_whose_client_has_left_is_heard_out_and_costs_nobody_the_connection() {
    let (came, arrived) = mpsc::sync_channel(8);
    let (go, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let origin = Origin::start(move |wire| {
        let mut h2 = Frames::begin(wire, &[]);
        while let Some(asked) = h2.request() {
            came.send(asked.ended).unwrap();
            gate.lock().unwrap().recv_timeout(NEVER).unwrap();
            h2.answer(asked.stream, b"ok");
        }
    });
    let proxy = before(origin.address);
    for _ in 0..5 {
        let mut client = proxy.client();
        client.write(GET);
        assert!(arrived.recv_timeout(NEVER).unwrap(), "a stream was reset");
        // An orderly end would be one of its writing side only.
        socket2::SockRef::from(client.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        wait(|| proxy.metrics.in_flight() == 0);
        go.send(()).unwrap();
    }
    go.send(()).unwrap();
    assert_eq!(proxy.ask(GET), ANSWERED);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_early_answer_passes_though_clouddriver_wants_no_more_of_the_request() {
    let origin = Origin::start(|wire| {
        let mut h2 = Frames::begin(wire, &[]);
        let stream = h2.begun().unwrap();
        h2.answer(stream, b"no");
        h2.reset(stream, 0);
        h2.until_closed();
    });
    let proxy = before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhello");
    let (answer, end) = client.rest();
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("2\r\nno\r\n0\r\n\r\n"), "{answer}");
    assert!(answer.contains("onnection: close"), "{answer}");
    assert_eq!(end, End::Closed);
}

#[test]
fn interim_answers_pass_and_a_body_waits_for_its_100() {
    let origin = Origin::start(|wire| {
        let mut h2 = Frames::begin(wire, &[]);
        let stream = h2.begun().unwrap();
        h2.head(stream, b"\x08\x03103", false);
        h2.head(stream, b"\x08\x03100", false);
        let asked = h2.request().unwrap();
        h2.answer(stream, &asked.body);
        h2.until_closed();
    });
    let proxy = before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n").unwrap(), "HTTP/1.1 103 Early Hints\r\n\r\n");
    assert_eq!(client.until("\r\n\r\n").unwrap(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write("ok");
    client.expect(ANSWERED);
}

#[test]
fn an_idle_connection_and_an_old_one_end_by_us_and_the_next_request_makes_another() {
    for age in [None, Some(Duration::from_millis(100))] {
        let (ended, end) = mpsc::channel();
        let origin = Origin::start(move |wire| {
            let mut h2 = Frames::begin(wire, &[]);
            while let Some(asked) = h2.request() {
                h2.answer(asked.stream, b"ok");
            }
            ended.send(()).unwrap();
        });
        let proxy = Proxy::with(origin.address, |config| {
            config.http2 = true;
            config.pool_max_age = age;
            if age.is_none() {
                config.pool_idle_timeout = Duration::from_millis(100);
            }
        });
        for _ in 0..2 {
            assert_eq!(proxy.ask(GET), ANSWERED);
            end.recv_timeout(NEVER).expect("it ends by itself");
        }
        assert_eq!(origin.connections(), 2);
    }
}

/// A data plane whose connection is made already, to an origin that answers what has no body; what has one waits, with half an answer
/// where `begins` says so.
fn patient_for(time: Duration, total: bool, begins: bool, streams: u32) -> Proxy {
    const MAX_CONCURRENT_STREAMS: u16 = 3;
    let origin = Origin::start(move |wire| {
        let mut h2 = Frames::begin(wire, &[(MAX_CONCURRENT_STREAMS, streams)]);
        while let Some(asked) = h2.request() {
            if asked.body.is_empty() {
                h2.answer(asked.stream, b"ok");
            } else if begins {
                h2.head(asked.stream, b"\x88", false);
                h2.data(asked.stream, b"hello", false);
            }
        }
    });
    let proxy = Proxy::with_listen(
        origin.address,
        |listen| listen.limits.total_timeout = total.then_some(time),
        |config| (config.http2, config.pool_max_idle, config.response_timeout) = (true, 1, (!total).then_some(time)),
    );
    // On a busy machine that may take longer, and is no part of what is waited for.
    while proxy.ask(GET) != ANSWERED {}
    proxy
}

#[test]
fn who_waits_for_an_answer_is_told_when_the_time_is_over() {
    for total in [false, true] {
        let answer = patient_for(Duration::from_millis(500), total, false, 100).ask(&post("x"));
        assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
        assert_eq!(json(&answer)["exception"], "UpstreamResponseTimeout");
    }
}

#[test]
fn an_answer_that_takes_longer_than_a_request_may_is_broken_for_its_client() {
    let proxy = patient_for(Duration::from_secs(2), true, true, 100);
    let mut client = proxy.client();
    // Before the origin has waited for as long as it ever does.
    client.stream().set_read_timeout(Some(NEVER / 2)).unwrap();
    client.write(post("x"));
    let (said, _) = client.rest();
    assert!(said.starts_with("HTTP/1.1 200 ") && said.ends_with("\r\nhello\r\n"), "{said}");
}

#[test]
fn who_waits_for_a_place_is_told_when_the_time_is_over_and_that_nothing_was_forwarded() {
    for total in [false, true] {
        let proxy = patient_for(Duration::from_millis(500), total, false, 1);
        let mut first = proxy.client();
        first.write(post("x"));
        while proxy.metrics.in_flight() == 0 {
            std::thread::yield_now();
        }
        let answer = proxy.ask(&post("y"));
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(json(&answer)["message"].as_str().unwrap().contains("not forwarded"), "{answer}");
        assert!(first.message().unwrap().starts_with("HTTP/1.1 504 "));
    }
}

#[test]
fn a_slow_reader_keeps_no_other_answer_back() {
    let origin = Origin::start(|wire| {
        let mut h2 = Frames::begin(wire, &[]);
        while let Some(asked) = h2.request() {
            if asked.body == b"much" {
                // As much as the stream takes.
                h2.head(asked.stream, b"\x88", false);
                for _ in 0..16 {
                    h2.data(asked.stream, &[b'x'; 16 * 1024], false);
                }
            } else {
                h2.answer(asked.stream, b"ok");
            }
        }
    });
    let proxy = before(origin.address);
    let mut slow: Vec<_> = (0..10).map(|_| proxy.client()).collect();
    for client in &mut slow {
        client.write(post("much"));
        client.until("\r\n\r\n").unwrap();
    }
    assert_eq!(proxy.ask(GET), ANSWERED);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_body_in_tiny_pieces_is_sent_in_few() {
    const TINY: usize = 300;
    let origin = Origin::start(|wire| {
        let mut h2 = Frames::begin(wire, &[]);
        while let Some(asked) = h2.request() {
            let pieces = h2.pieces.to_string();
            assert_eq!(asked.body.len(), 5 * TINY);
            h2.answer(asked.stream, pieces.as_bytes());
        }
    });
    let proxy = before(origin.address);
    let mut client = proxy.client();
    client.write("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..TINY {
        client.write("5\r\nhello\r\n");
    }
    client.write("0\r\n\r\n");
    let answer = client.message().unwrap();
    let pieces = answer.rsplit("\r\n").nth(3).unwrap().parse::<usize>().unwrap();
    assert!(pieces <= 3, "{pieces} pieces");
}

/// Until it is so.
fn wait(is_so: impl Fn() -> bool) {
    let end = std::time::Instant::now() + NEVER;
    while !is_so() {
        assert!(std::time::Instant::now() < end, "it never is");
        std::thread::sleep(Duration::from_millis(5));
    }
}
