//! An origin that keeps every byte it reads, with a data plane before it, and what becomes of a request between the two.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::raw::{OK, Proxy, WAYS, Wire, drain, whole};

/// The request behind the one that a case is about, on the same connection.
pub const SECOND: &str = "GET /second HTTP/1.1\r\nHost: h\r\n\r\n";

/// An origin that answers each whole request with [`OK`] and waits in vain for the rest of a broken one.
pub struct Rig {
    proxy: Proxy,
    listener: TcpListener,
    /// Who connects last, and is not the proxy.
    last: Arc<Mutex<Option<SocketAddr>>>,
    /// Gives the threads of its connections once it is over.
    accepting: JoinHandle<Vec<JoinHandle<()>>>,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Rig {
    pub fn start(way: fn(SocketAddr) -> Proxy) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (seen, last) = (Arc::<Mutex<Vec<u8>>>::default(), Arc::<Mutex<Option<SocketAddr>>>::default());
        let (incoming, log, ours) = (listener.try_clone().unwrap(), seen.clone(), last.clone());
        let accepting = std::thread::spawn(move || {
            let mut threads = Vec::new();
            while let Ok((stream, from)) = incoming.accept() {
                if *ours.lock().unwrap() == Some(from) {
                    break;
                }
                let log = log.clone();
                threads.push(std::thread::spawn(move || record(stream, &log)));
            }
            threads
        });
        Self { proxy: way(listener.local_addr().unwrap()), listener, last, accepting, seen }
    }

    pub fn client(&self) -> Wire {
        self.proxy.client()
    }

    /// Ends the proxy, and with it its connections. Every byte that reached the origin, in order.
    pub fn end(mut self) -> Vec<u8> {
        drain(self.proxy.handle.take().unwrap(), Duration::from_secs(1));
        // Behind everything that the proxy ever opened.
        {
            let mut last = self.last.lock().unwrap();
            *last = TcpStream::connect(self.listener.local_addr().unwrap()).unwrap().local_addr().ok();
        }
        for thread in self.accepting.join().unwrap() {
            thread.join().unwrap();
        }
        let seen = self.seen.lock().unwrap();
        seen.clone()
    }
}

fn record(mut stream: TcpStream, log: &Mutex<Vec<u8>>) {
    let mut open = Vec::new();
    let mut chunk = [0; 16 * 1024];
    while let Ok(n @ 1..) = stream.read(&mut chunk) {
        log.lock().unwrap().extend_from_slice(&chunk[..n]);
        open.extend_from_slice(&chunk[..n]);
        while let Some(length) = whole(&open) {
            open.drain(..length);
            if stream.write_all(OK.as_bytes()).is_err() {
                return;
            }
        }
    }
}

/// An answer without the line that says that its connection ends.
pub fn less_close(answer: &str) -> String {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let lines: Vec<&str> = head.split("\r\n").filter(|line| !line.eq_ignore_ascii_case("connection: close")).collect();
    format!("{}\r\n\r\n{body}", lines.join("\r\n"))
}

/// What may become of a request.
#[derive(Clone, Debug)]
pub enum Fate {
    /// Answered by us with one of these, and the connection is closed; the origin sees nothing.
    Refused(&'static [u16]),
    /// Nothing reaches the origin, and the connection ends.
    Nothing,
    /// It reaches the origin just so, and so does the next one.
    Passes(Vec<u8>),
    /// It reaches the origin just so; the connection ends after its answer.
    PassesAlone(Vec<u8>),
    /// It never ends for the origin, the client is told at most 400, and the connection ends.
    Broken,
}

/// A request on the wire, and what may become of it.
pub struct Case {
    name: String,
    bytes: Vec<u8>,
    fates: Vec<Fate>,
}

/// A request with one of several fates.
pub fn case(name: impl Into<String>, bytes: impl Into<Vec<u8>>, fates: &[Fate]) -> Case {
    Case { name: name.into(), bytes: bytes.into(), fates: fates.to_vec() }
}

/// A request that we refuse.
pub fn refused(name: impl Into<String>, bytes: impl Into<Vec<u8>>, statuses: &'static [u16]) -> Case {
    case(name, bytes, &[Fate::Refused(statuses)])
}

/// A request that passes as it came.
pub fn passes(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    let bytes = bytes.into();
    case(name, bytes.clone(), &[Fate::Passes(bytes)])
}

/// A request that is not ours to judge: it passes as it came or is refused with 400, and is never repaired.
pub fn never_repaired(name: impl Into<String>, bytes: impl Into<Vec<u8>>) -> Case {
    let bytes = bytes.into();
    case(name, bytes.clone(), &[Fate::Passes(bytes), Fate::Refused(&[400])])
}

/// Sends each case with [`SECOND`] right behind it, on a connection of its own and to an origin of its own.
pub fn check(cases: &[Case]) {
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, SeqCst)) {
                    for (name, way) in ["as bytes", "looked into"].iter().zip(WAYS) {
                        if let Err(failure) = case.run(way) {
                            failures.lock().unwrap().push(format!("{}, {name}: {failure}", case.name));
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// What was seen of a case.
struct Seen {
    /// The bytes are to be those that were sent, not just the messages.
    exact: bool,
    origin: Vec<u8>,
    answers: Vec<String>,
    closed: bool,
}

impl Case {
    fn run(&self, way: fn(SocketAddr) -> Proxy) -> Result<(), String> {
        let rig = Rig::start(way);
        let mut client = rig.client();
        client.stream().set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // A proxy that has seen enough may be gone before all is written.
        let _ = client.stream().write_all(&[&self.bytes, SECOND.as_bytes()].concat());
        let (mut answers, mut closed) = (Vec::new(), false);
        while answers.len() < 2 && !closed {
            match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| client.message())) {
                Ok(Ok(answer)) => answers.push(answer),
                Ok(Err(_)) => closed = true,
                Err(_) => break,
            }
        }
        drop(client);
        let seen = Seen { exact: std::ptr::fn_addr_eq(way, WAYS[0]), origin: rig.end(), answers, closed };
        if self.fates.iter().any(|fate| fate.is(&seen)) {
            return Ok(());
        }
        let origin = seen.origin.escape_ascii().to_string();
        Err(format!("closed: {}, answers: {:?}, the origin saw: {origin:.300}", seen.closed, seen.answers))
    }
}

impl Seen {
    fn is(&self, sent: &[u8]) -> bool {
        if self.exact { self.origin == sent } else { messages(&self.origin) == messages(sent) }
    }
}

/// Messages as they are meant, however their chunks were cut: heads, bodies, trailers.
fn messages(mut bytes: &[u8]) -> Vec<(Vec<u8>, Vec<u8>, Vec<String>)> {
    let mut messages = Vec::new();
    while !bytes.is_empty() {
        let (message, rest) = bytes.split_at(whole(bytes).unwrap_or(bytes.len()));
        bytes = rest;
        let head = message.windows(4).position(|w| w == b"\r\n\r\n").map_or(message.len(), |at| at + 4);
        let (head, mut body) = message.split_at(head);
        let (mut data, mut trailers) = (Vec::new(), Vec::new());
        if String::from_utf8_lossy(head).to_ascii_lowercase().contains("\r\ntransfer-encoding:") {
            loop {
                let line = body.windows(2).position(|w| w == b"\r\n").unwrap_or(0);
                let size = String::from_utf8_lossy(&body[..line]).into_owned();
                let Ok(size) = usize::from_str_radix(size.split(';').next().unwrap_or_default(), 16) else { break };
                body = &body[line + 2..];
                if size == 0 {
                    let lines = String::from_utf8_lossy(body).to_ascii_lowercase();
                    trailers = lines.split("\r\n").map(|l| l.replace(": ", ":")).collect();
                    break;
                }
                data.extend_from_slice(&body[..size]);
                body = &body[size + 2..];
            }
        } else {
            data.extend_from_slice(body);
        }
        messages.push((head.to_vec(), data, trailers));
    }
    messages
}

impl Fate {
    fn is(&self, seen: &Seen) -> bool {
        match self {
            Self::Refused(statuses) => {
                seen.closed
                    && seen.origin.is_empty()
                    && seen.answers.len() == 1
                    && statuses.iter().any(|status| seen.answers[0].starts_with(&format!("HTTP/1.1 {status} ")))
                    && seen.answers[0].contains("\"message\":\"")
            }
            Self::Nothing => seen.closed && seen.origin.is_empty() && seen.answers.len() < 2,
            Self::Passes(bytes) => seen.answers == [OK, OK] && seen.is(&[bytes, SECOND.as_bytes()].concat()),
            Self::PassesAlone(bytes) => seen.closed && seen.answers.len() == 1 && seen.is(bytes),
            Self::Broken => {
                let told = seen.answers.iter().all(|answer| answer.starts_with("HTTP/1.1 400 "));
                let second = seen.origin.windows(7).any(|w| w == b"/second");
                seen.closed && told && seen.answers.len() < 2 && whole(&seen.origin).is_none() && !second
            }
        }
    }
}
