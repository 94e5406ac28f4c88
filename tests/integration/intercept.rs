//! Claims about intercept, on real sockets: a data plane with the interceptor in it between a raw client and a scripted Clouddriver.
//! The mirror is a list of what it was told.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use fairlead::config::load_text;
use fairlead::intercept::{InterceptLayer, Metrics};
use fairlead::mirror::{Announced, Change, Journal, Method, Outcome, Ticket, Verdict};
use fairlead::proxy::respond::Respond;
use fairlead::proxy::{Handle, Selector, Stack, Upstream, serve, upstream};
use tower::Layer as _;

/// Long enough for anything that will ever come; a test that waits so long has failed.
const NEVER: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Announced(Method, Option<String>),
    /// Clouddriver has read a request as far as its script reads.
    Arrived,
    Finished(Outcome, Option<String>),
    Unfinished,
}
use Event::{Arrived, Finished};

fn announced(method: Method, name: &str) -> Event {
    Event::Announced(method, Some(name.to_owned()))
}

#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Event>>>);

impl Notes {
    fn note(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }

    fn all(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until there are so many.
    fn when(&self, count: usize) -> Vec<Event> {
        let until = Instant::now() + NEVER;
        while self.all().len() < count {
            assert!(Instant::now() < until, "only {:?}", self.all());
            std::thread::sleep(Duration::from_millis(2));
        }
        self.all()
    }
}

impl Journal for Notes {
    type Ticket = Slip;
    async fn announce(&self, change: Change) -> Announced<Slip> {
        self.note(Event::Announced(change.method, change.name));
        Ok(Slip(Some(self.clone())))
    }
    fn sweep_soon(&self, _: &'static str) {}
}

struct Slip(Option<Notes>);

impl Ticket for Slip {
    fn may_forward(&self) -> bool {
        true
    }
    fn finish(mut self, verdict: Verdict) {
        self.0.take().unwrap().note(Finished(verdict.outcome, verdict.name));
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if let Some(notes) = self.0.take() {
            notes.note(Event::Unfinished);
        }
    }
}

/// One end of a connection.
struct Wire(TcpStream);

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(NEVER)).unwrap();
        Self(stream)
    }

    fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Reads up to and with `end`; what there was where the other side ended before.
    fn until(&mut self, end: &str) -> Result<String, String> {
        let mut read = Vec::new();
        let mut byte = [0];
        while !read.ends_with(end.as_bytes()) {
            match self.0.read(&mut byte) {
                Ok(0) => return Err(String::from_utf8_lossy(&read).into_owned()),
                Ok(_) => read.push(byte[0]),
                Err(e) if e.kind() == ErrorKind::ConnectionReset => return Err(String::from_utf8_lossy(&read).into_owned()),
                Err(e) => panic!("nothing came: {e}; so far {:?}", String::from_utf8_lossy(&read)),
            }
        }
        Ok(String::from_utf8(read).unwrap())
    }

    fn expect(&mut self, message: &str) {
        assert_eq!(self.until(&message[message.len().saturating_sub(12)..]).as_deref(), Ok(message));
    }
}

/// A Clouddriver that does with each connection what its script says.
fn clouddriver(script: impl Fn(Wire) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let script = Arc::new(script);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let script = script.clone();
            std::thread::spawn(move || script(Wire::new(stream)));
        }
    });
    address
}

struct Plane {
    handle: Handle,
    runtime: tokio::runtime::Runtime,
}

impl Plane {
    fn start(clouddriver: SocketAddr, notes: &Notes) -> Self {
        let yaml = format!(
            "server: {{ address: 127.0.0.1, port: 0 }}\nservices.clouddriver.baseUrl: http://{clouddriver}\nfairlead.proxy.threads: 1\n"
        );
        let settings = Arc::new(load_text(&yaml, &[]).unwrap_or_else(|e| panic!("{e:?}")).settings);
        let metrics = fairlead::proxy::Metrics::default();
        let (counted, for_threads, notes) = (metrics.clone(), settings.clone(), notes.clone());
        let factory = move || {
            let upstream = Upstream::new(upstream::Config::new(&for_threads.clouddriver, &for_threads.proxy, None), counted.thread());
            let service = Respond::new(InterceptLayer::new(&for_threads, notes, Metrics::default()).layer(upstream.clone()));
            Stack { upstream, selector: Selector::new("".into()), service }
        };
        let handle = serve(&serve::Config::new(&settings, None), &metrics, factory).unwrap();
        Self { handle, runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap() }
    }

    fn client(&self) -> Wire {
        Wire::new(TcpStream::connect(self.handle.local_addr()).unwrap())
    }

    fn drain(self) -> usize {
        self.runtime.block_on(self.handle.drain(NEVER)).unfinished
    }
}

const SENT: &str = "POST /credentials HTTP/1.1\r\nHost: c\r\nX-SPINNAKER-USER: u\r\ncontent-type: application/json\r\nContent-Length: 14\r\n\r\n{\"name\":\"acc\"}";
const ANSWER: &str = "HTTP/1.1 200 \r\nETag: \"x\"\r\ncontent-type: application/json\r\nContent-Length: 17\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\n{\"name\":\"stored\"}";

#[test]
fn a_change_and_its_answer_pass_byte_for_byte_with_the_announcement_before_and_the_verdict_after() {
    let notes = Notes::default();
    let heard = notes.clone();
    let origin = clouddriver(move |mut wire| {
        wire.expect(SENT);
        heard.note(Arrived);
        wire.write(ANSWER);
    });
    let plane = Plane::start(origin, &notes);
    let mut client = plane.client();
    client.write(SENT);
    client.expect(ANSWER);
    assert_eq!(notes.all(), [announced(Method::Post, "acc"), Arrived, Finished(Outcome::Ok, Some("stored".to_owned()))]);
}

#[test]
fn chunks_and_trailers_stay_chunks_and_trailers() {
    let notes = Notes::default();
    let (to, from) = mpsc::channel();
    let origin = clouddriver(move |mut wire| {
        let head = wire.until("\r\n\r\n").unwrap();
        to.send((head, wire.until("\r\n\r\n").unwrap())).unwrap();
        wire.write(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-t\r\n\r\n3\r\n{\"n\r\n7\r\name\":1}\r\n0\r\nx-t: 1\r\n\r\n",
        );
    });
    let plane = Plane::start(origin, &notes);
    let mut client = plane.client();
    let head = "PUT /credentials HTTP/1.1\r\nHost: c\r\nTE: trailers\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    client.write(format!("{head}7;ext=1\r\n{{\"name\"\r\n7\r\n:\"acc\"}}\r\n0\r\nX-Sum: 1\r\n\r\n"));
    let (got_head, got_body) = from.recv_timeout(NEVER).unwrap();
    assert!(
        got_head.to_ascii_lowercase().contains("transfer-encoding: chunked") && !got_head.to_ascii_lowercase().contains("content-length")
    );
    // Pieces may be cut anew; what they carry may not.
    assert!(got_body.contains("{\"name\":\"acc\"}") && got_body.to_ascii_lowercase().ends_with("0\r\nx-sum: 1\r\n\r\n"), "{got_body}");
    let answer = client.until("x-t: 1\r\n\r\n").unwrap();
    assert!(answer.to_ascii_lowercase().contains("transfer-encoding: chunked"), "{answer}");
    assert_eq!(notes.when(2), [announced(Method::Put, "acc"), Finished(Outcome::Ok, Some("1".to_owned()))]);
}

#[test]
fn a_client_that_hangs_up_while_clouddriver_works_does_not_take_the_change_with_it() {
    let notes = Notes::default();
    let heard = notes.clone();
    let (go, wait) = mpsc::channel::<()>();
    let wait = Mutex::new(wait);
    let origin = clouddriver(move |mut wire| {
        wire.expect(SENT);
        heard.note(Arrived);
        wait.lock().unwrap().recv_timeout(NEVER).unwrap();
        wire.write(ANSWER);
        assert!(wire.until("never").is_err());
    });
    let plane = Plane::start(origin, &notes);
    let mut client = plane.client();
    client.write(SENT);
    notes.when(2);
    drop(client);
    // The answer comes after everything of the client has gone, and the drain waits for it.
    let drained = std::thread::spawn(move || plane.drain());
    std::thread::sleep(Duration::from_millis(50));
    go.send(()).unwrap();
    assert_eq!(drained.join().unwrap(), 0, "changes cut");
    assert_eq!(notes.all()[2..], [Finished(Outcome::Ok, Some("stored".to_owned()))]);
}

#[test]
fn a_client_that_hangs_up_in_its_body_has_changed_nothing() {
    let notes = Notes::default();
    let heard = notes.clone();
    let origin = clouddriver(move |mut wire| {
        heard.note(Arrived);
        wire.expect("GET / HTTP/1.1\r\nHost: c\r\n\r\n");
        wire.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let plane = Plane::start(origin, &notes);
    for sent in
        [&SENT[..SENT.len() - 1], "POST /credentials HTTP/1.1\r\nHost: c\r\nTransfer-Encoding: chunked\r\n\r\ne\r\n{\"name\":\"acc\"}\r\n"]
    {
        let mut client = plane.client();
        client.write(sent);
        drop(client);
    }
    // Connections are taken in order: who has this answer knows that the others were heard.
    let mut client = plane.client();
    client.write("GET / HTTP/1.1\r\nHost: c\r\n\r\n");
    client.until("\r\n\r\n").unwrap();
    drop(client);
    plane.drain();
    assert_eq!(notes.all(), [Arrived], "the last client's");
}

#[test]
fn a_client_that_hangs_up_in_a_body_beyond_the_limit_leaves_clouddriver_a_broken_message_and_the_mirror_a_doubt() {
    let piece = "x".repeat(64 * 1024);
    for chunked in [false, true] {
        let notes = Notes::default();
        let (to, from) = mpsc::channel();
        let heard = notes.clone();
        let origin = clouddriver(move |mut wire| {
            wire.until("\r\n\r\n").unwrap();
            heard.note(Arrived);
            let mut rest = Vec::new();
            let _ = wire.0.read_to_end(&mut rest);
            to.send(rest.ends_with(b"0\r\n\r\n")).unwrap();
        });
        let plane = Plane::start(origin, &notes);
        let mut client = plane.client();
        let framing = if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {}", 64 * piece.len()) };
        client.write(format!("POST /credentials HTTP/1.1\r\nHost: c\r\n{framing}\r\n\r\n"));
        for _ in 0..32 {
            client.write(if chunked { format!("10000\r\n{piece}\r\n") } else { piece.clone() });
        }
        notes.when(2);
        drop(client);
        assert!(!from.recv_timeout(NEVER).unwrap(), "the message ended as if it were whole");
        assert_eq!(notes.when(3), [Event::Announced(Method::Post, None), Arrived, Finished(Outcome::Unknown, None)], "{framing}");
    }
}

#[test]
fn pipelined_changes_are_seen_each_and_in_order() {
    let notes = Notes::default();
    let heard = notes.clone();
    let origin = clouddriver(move |mut wire| {
        while wire.until("\r\n\r\n").is_ok() {
            heard.note(Arrived);
            wire.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let plane = Plane::start(origin, &notes);
    let mut client = plane.client();
    let delete = |name: &str| format!("DELETE /credentials/{name} HTTP/1.1\r\nHost: c\r\n\r\n");
    client.write(delete("a") + "GET /credentials HTTP/1.1\r\nHost: c\r\n\r\n" + &delete("%62") + &delete("c/"));
    for _ in 0..4 {
        client.until("Content-Length: 0\r\n\r\n").unwrap();
    }
    let one = |name| [announced(Method::Delete, name), Arrived, Finished(Outcome::Ok, None)];
    assert_eq!(notes.all(), [&one("a")[..], &[Arrived], &one("b"), &one("c")].concat());
}

#[test]
fn a_clouddriver_that_is_down_has_changed_nothing_and_one_that_dies_may_have() {
    let notes = Notes::default();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plane = Plane::start(gone, &notes);
    let mut client = plane.client();
    client.write(SENT);
    assert!(client.until("\r\n\r\n").unwrap().starts_with("HTTP/1.1 502"));
    assert_eq!(notes.all(), [announced(Method::Post, "acc"), Finished(Outcome::Refused, None)]);

    let notes = Notes::default();
    let origin = clouddriver(|mut wire| {
        wire.expect(SENT);
    });
    let plane = Plane::start(origin, &notes);
    let mut client = plane.client();
    client.write(SENT);
    assert!(client.until("\r\n\r\n").unwrap().starts_with("HTTP/1.1 502"));
    assert_eq!(notes.all(), [announced(Method::Post, "acc"), Finished(Outcome::Unknown, None)]);
}

#[test]
fn an_answer_that_breaks_off_is_broken_for_the_client_and_its_status_counts() {
    let notes = Notes::default();
    let origin = clouddriver(|mut wire| {
        wire.expect(SENT);
        wire.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"nam\r\n");
    });
    let plane = Plane::start(origin, &notes);
    let mut client = plane.client();
    client.write(SENT);
    let got = client.until("0\r\n\r\n").unwrap_err();
    assert!(got.ends_with("5\r\n{\"nam\r\n"), "{got}");
    assert_eq!(notes.all(), [announced(Method::Post, "acc"), Finished(Outcome::Ok, None)]);
}
