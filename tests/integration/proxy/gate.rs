//! Gate's HTTP client sends a POST a second time by itself, silently: when a kept connection closes without an answer, on 408, and on
//! 503 with `Retry-After: 0`. So it must never be given one of the three for a request that Clouddriver may have seen.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use fairlead::proxy::Drained;

use super::raw::{End, GET, NEVER, OK, Origin, Proxy, Wire, drain, json};

/// What Gate's client does with its connections, less its patience: it looks at none before it uses it.
struct Gate {
    /// Where the replicas listen; a new connection goes to the first that takes it.
    replicas: Arc<Mutex<Vec<SocketAddr>>>,
    kept: Option<Wire>,
    repeated: usize,
}

impl Gate {
    fn new(replicas: &Arc<Mutex<Vec<SocketAddr>>>) -> Self {
        Self { replicas: replicas.clone(), kept: None, repeated: 0 }
    }

    fn of(proxy: &Proxy) -> Self {
        Self::new(&Arc::new(Mutex::new(vec![proxy.address])))
    }

    fn connect(&self) -> Option<Wire> {
        let replicas = self.replicas.lock().unwrap().clone();
        replicas.iter().find_map(|address| TcpStream::connect(address).ok()).map(Wire::new)
    }

    /// The final answer, or how it broke off half-way.
    fn post(&mut self, body: &str) -> Result<String, End> {
        let request = format!(
            "POST /credentials HTTP/1.1\r\nX-SPINNAKER-USER: me\r\nContent-Type: application/json; charset=UTF-8\r\nContent-Length: {}\r\n\
             Host: h\r\nConnection: Keep-Alive\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.9.3\r\n\r\n{body}",
            body.len()
        );
        for attempt in 0..20 {
            let kept = self.kept.is_some();
            let mut wire = self.kept.take().or_else(|| self.connect()).ok_or(End::Closed)?;
            let sent = std::io::Write::write_all(&mut wire.stream(), request.as_bytes());
            let answer = match sent {
                Ok(()) => std::iter::repeat_with(|| wire.message())
                    .find(|answer| !answer.as_ref().is_ok_and(|answer| answer.starts_with("HTTP/1.1 1")))
                    .expect("it reads until there is one"),
                Err(_) => Err(End::Reset),
            };
            let again = match &answer {
                Err(_) => kept && wire.unread() == 0,
                Ok(answer) => {
                    let head = answer.to_ascii_lowercase();
                    if !head.contains("\r\nconnection: close\r\n") {
                        self.kept = Some(wire);
                    }
                    head.starts_with("http/1.1 408 ") && attempt == 0
                        || head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: 0\r\n")
                }
            };
            if !again {
                return answer;
            }
            self.repeated += 1;
        }
        panic!("it would never end");
    }
}

/// An origin that counts how often each body came, and takes its time for some.
fn counting() -> (Origin, Arc<Mutex<HashMap<String, usize>>>) {
    let seen = Arc::<Mutex<HashMap<String, usize>>>::default();
    let counts = seen.clone();
    let origin = Origin::start(move |mut wire| {
        while let Ok(request) = wire.message() {
            let body = request.split("\r\n\r\n").nth(1).unwrap().to_owned();
            if body.ends_with('7') {
                std::thread::sleep(Duration::from_millis(15));
            }
            *counts.lock().unwrap().entry(body).or_default() += 1;
            if std::io::Write::write_all(&mut wire.stream(), OK.as_bytes()).is_err() {
                return;
            }
        }
    });
    (origin, seen)
}

#[test]
fn under_rolling_restarts_every_post_is_answered_and_none_comes_twice() {
    const CLIENTS: usize = 4;
    const POSTS: usize = 400;
    let (origin, seen) = counting();
    let mut running = vec![Proxy::before(origin.address), Proxy::before(origin.address)];
    let replicas = Arc::new(Mutex::new(running.iter().map(|proxy| proxy.address).collect::<Vec<_>>()));
    let done = AtomicBool::new(false);
    let restarts = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|c| {
                let mut gate = Gate::new(&replicas);
                scope.spawn(move || {
                    for i in 0..POSTS {
                        assert_eq!(super::rig::less_close(&gate.post(&format!("{c}-{i}")).expect("an answer")), OK);
                    }
                })
            })
            .collect();
        let roller = scope.spawn(|| {
            let mut restarts = 0;
            while !done.load(SeqCst) {
                let mut old = running.remove(0);
                running.push(Proxy::before(origin.address));
                // No new connections to the one that goes, and those that it has are served to their end.
                *replicas.lock().unwrap() = running.iter().map(|proxy| proxy.address).collect();
                assert_eq!(drain(old.handle.take().unwrap(), NEVER), Drained::default());
                restarts += 1;
            }
            restarts
        });
        let ended: Vec<_> = clients.into_iter().map(|client| client.join()).collect();
        done.store(true, SeqCst);
        let restarts = roller.join().unwrap();
        ended.into_iter().for_each(|end| end.unwrap());
        restarts
    });
    assert!(restarts > 2, "it was over after {restarts} restarts");
    let seen = seen.lock().unwrap();
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "came twice: {twice:?}");
    assert_eq!(seen.len(), CLIENTS * POSTS);
}

#[test]
fn where_idle_connections_are_closed_no_post_comes_twice() {
    const POSTS: usize = 60;
    let (origin, seen) = counting();
    let proxy = Proxy::with_listen(origin.address, |listen| listen.limits.idle_timeout = Duration::from_millis(40), |_| {});
    std::thread::scope(|scope| {
        for c in 0..4 {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut gate = Gate::of(proxy);
                for i in 0..POSTS {
                    assert_eq!(super::rig::less_close(&gate.post(&format!("{c}-{i}")).expect("an answer")), OK);
                    // Just when the other side has waited long enough.
                    std::thread::sleep(Duration::from_millis(36 + (i % 9) as u64));
                }
            });
        }
    });
    let seen = seen.lock().unwrap();
    assert!(seen.values().all(|count| *count == 1), "some came twice");
    assert_eq!(seen.len(), 4 * POSTS);
}

#[test]
fn whoever_ends_the_connections_to_clouddriver_no_post_comes_twice() {
    const CLIENTS: usize = 4;
    const POSTS: usize = 100;
    type Change = fn(&mut fairlead::proxy::upstream::Config);
    let old: Change = |config| config.pool_max_age = Some(Duration::from_millis(20));
    let idle: Change = |config| config.pool_idle_timeout = Duration::from_millis(5);
    for (who, change, answers) in [("we, of the old", old, usize::MAX), ("we, of the idle", idle, usize::MAX), ("Clouddriver", |_| {}, 3)] {
        let seen = Arc::<Mutex<HashMap<String, usize>>>::default();
        let counts = seen.clone();
        let origin = Origin::start(move |mut wire| {
            // Then it ends without a word, when the next request may be on its way.
            for _ in 0..answers {
                let Ok(request) = wire.message() else { return };
                let body = request.split("\r\n\r\n").nth(1).unwrap().to_owned();
                *counts.lock().unwrap().entry(body).or_default() += 1;
                if std::io::Write::write_all(&mut wire.stream(), OK.as_bytes()).is_err() {
                    return;
                }
            }
        });
        let proxy = Proxy::with(origin.address, change);
        let answered: usize = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|c| {
                    let mut gate = Gate::of(&proxy);
                    scope.spawn(move || {
                        let mut answered = 0;
                        for i in 0..POSTS {
                            let answer = gate.post(&format!("{c}-{i}")).expect("an answer, not an end");
                            if super::rig::less_close(&answer) == OK {
                                answered += 1;
                            } else {
                                assert!(who == "Clouddriver" && answer.starts_with("HTTP/1.1 502 "), "{who}: {answer}");
                            }
                            std::thread::sleep(Duration::from_millis((i % 9) as u64));
                        }
                        assert_eq!(gate.repeated, 0, "{who}");
                        answered
                    })
                })
                .collect();
            clients.into_iter().map(|client| client.join().unwrap()).sum()
        });
        let seen = seen.lock().unwrap();
        assert!(seen.values().all(|count| *count == 1), "{who}: some came twice");
        assert!(seen.len() >= answered && (who == "Clouddriver" || answered == CLIENTS * POSTS), "{who}: {answered} answered");
        assert!(origin.connections() > CLIENTS, "{who}: no connection ended");
    }
}

#[test]
fn a_post_that_outlasts_a_drain_is_answered_all_the_same() {
    let (came, arrived) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        while let Ok(request) = wire.message() {
            if request.ends_with("stuck") {
                came.send(()).unwrap();
                let _ = wire.rest();
                return;
            }
            wire.write(OK);
        }
    });
    let mut proxy = Proxy::before(origin.address);
    let mut gate = Gate::of(&proxy);
    assert_eq!(gate.post("first").unwrap(), OK);
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| gate.post("stuck"));
        arrived.recv_timeout(NEVER).unwrap();
        drain(proxy.handle.take().unwrap(), Duration::from_millis(100));
        let answer = stuck.join().unwrap().expect("an answer, not an end");
        assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
        assert!(json(&answer)["message"].as_str().unwrap().contains("may have been acted on"), "{answer}");
    });
    assert_eq!(gate.repeated, 0);
    assert!(arrived.try_recv().is_err(), "it came twice");
}

#[test]
fn whatever_goes_wrong_behind_us_gate_is_given_no_reason_to_send_a_post_again() {
    type Ending = fn(&mut Wire);
    let endings: [(&str, Ending); 8] = [
        ("closes", |_| {}),
        ("resets", |wire| socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap()),
        ("half a head", |wire| wire.write("HTTP/1.1 200 OK\r\nContent-")),
        ("no HTTP", |wire| wire.write("SSH-2.0-OpenSSH_9.2\r\n\r\n")),
        ("an interim answer and no other", |wire| wire.write("HTTP/1.1 103 Early Hints\r\n\r\n")),
        ("half a body", |wire| wire.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")),
        ("408 of its own", |wire| wire.write("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n")),
        ("silence", |wire| assert_eq!(wire.rest().0, "")),
    ];
    for (name, ending) in endings {
        // What is Clouddriver's own word is Clouddriver's own doing.
        let its_word = name == "408 of its own";
        let count = Arc::new(Mutex::new(0));
        let posts = count.clone();
        let origin = Origin::start(move |mut wire| {
            while let Ok(request) = wire.message() {
                if request.ends_with("doomed") {
                    *posts.lock().unwrap() += 1;
                    ending(&mut wire);
                    return;
                }
                wire.write(OK);
            }
        });
        let proxy = Proxy::with(origin.address, |c| c.response_timeout = Some(Duration::from_secs(2)));
        let mut gate = Gate::of(&proxy);
        assert_eq!(gate.post("first").unwrap(), OK);
        let answer = gate.post("doomed");
        if !its_word {
            assert_eq!((gate.repeated, *count.lock().unwrap()), (0, 1), "{name}: {answer:?}");
            if let Ok(answer) = &answer {
                assert!(json(answer)["message"].as_str().is_some_and(|message| !message.is_empty()), "{name}: {answer}");
            }
        }
        // And the next one is served.
        assert_eq!(gate.post("after").unwrap(), OK, "{name}");
    }
}

#[test]
fn a_head_of_60_kb_passes_and_the_400_of_a_server_that_reads_8_of_them_comes_back() {
    const REFUSAL: &str = "HTTP/1.1 400 \r\nContent-Type: text/html;charset=utf-8\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno!";
    let (saw, seen) = mpsc::sync_channel(64);
    let origin = Origin::start(move |mut wire| {
        saw.send(wire.exactly(8 * 1024).unwrap()).unwrap();
        wire.write(REFUSAL);
        // The rest is left unread, so that the end of this connection is a reset.
    });
    let proxy = Proxy::before(origin.address);
    let request =
        format!("GET /credentials HTTP/1.1\r\nX-SPINNAKER-ACCOUNTS: {}\r\nHost: h\r\n\r\n", "kubernetes-account-01234567890,".repeat(2000));
    let mut client = proxy.client();
    for _ in 0..20 {
        client.write(&request);
        let answer = client.message().unwrap();
        assert_eq!(super::rig::less_close(&answer), super::rig::less_close(REFUSAL));
        assert_eq!(seen.recv_timeout(NEVER).unwrap(), request[..8 * 1024]);
        if answer.contains("lose\r\n") {
            client = proxy.client();
        }
    }
}

#[test]
fn every_answer_of_ours_says_in_its_message_what_was_wrong() {
    let origin = Origin::start(|mut wire| {
        let _ = wire.rest();
    });
    let proxy = Proxy::with(origin.address, |c| c.response_timeout = Some(Duration::from_millis(100)));
    for (request, status, said) in [
        (GET, 504, "no answer within"),
        ("GET /x HTTP/1.1\r\n\r\n", 400, "Host"),
        ("GET /x#y HTTP/1.1\r\nHost: h\r\n\r\n", 400, "fragment"),
        ("GET http://other/x HTTP/1.1\r\nHost: h\r\n\r\n", 400, "Host"),
        ("POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400, "Content-Length"),
        ("POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501, "Transfer-Encoding"),
        ("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 501, "tunnel"),
    ] {
        let answer = proxy.ask(request);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        let body = json(&answer);
        assert_eq!(body["status"], status, "{answer}");
        let message = body["message"].as_str().unwrap();
        assert!(message.to_ascii_lowercase().contains(&said.to_ascii_lowercase()), "{request}: {message}");
        assert!(!message.contains("/x"), "nothing of the request is in it: {message}");
    }
}
