//! One request after the other, a constant rate, and large bodies: load from threads that block.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::wire::{self, BODY, CHUNK};

/// What Gate asks for most.
pub const PATH: &str = "/applications/x/serverGroups?expand=false";

/// As Gate keeps at most.
const CONNECTIONS: u32 = 16;

/// Before this much of a time slice nothing is counted: connections are new, caches are cold.
const WARM_UP: Duration = Duration::from_millis(150);

/// A sleep ends this much before the time to send, and the rest is spun away: the kernel wakes a sleeper 50 µs late and more.
const SPIN: Duration = Duration::from_micros(120);

/// A connection with what is needed to use it again and again.
struct Client {
    port: u16,
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    fn open(port: u16, request: Vec<u8>) -> Self {
        let stream = wire::connect(port).unwrap_or_else(|e| panic!("port {port}: {e}"));
        Self { port, stream, request, buffer: vec![0; CHUNK] }
    }

    fn call(&mut self, length: usize) {
        let head = wire::call(&self.stream, &self.request, &mut self.buffer).unwrap_or_else(|e| panic!("port {}: {e}", self.port));
        assert_eq!(head.length, length, "port {}: the length of a body", self.port);
    }

    fn upload(&mut self, body: &[u8], length: usize) {
        let mut send = |bytes: &[u8]| self.stream.write_all(bytes).unwrap_or_else(|e| panic!("port {}: {e}", self.port));
        send(&self.request);
        for start in (0..length).step_by(body.len()) {
            send(&body[..body.len().min(length - start)]);
        }
        let head = wire::answer(&self.stream, &mut self.buffer).unwrap_or_else(|e| panic!("port {}: {e}", self.port));
        assert_eq!(head.length, BODY, "port {}: the length of a body", self.port);
    }
}

/// One request at a time on one connection. Seconds from the first byte sent to the last one read.
pub fn closed(port: u16, slice: Duration) -> Vec<f64> {
    let mut client = Client::open(port, wire::get(port, PATH));
    let start = Instant::now();
    let mut took = Vec::with_capacity(20_000);
    loop {
        let sent = Instant::now();
        client.call(BODY);
        if start.elapsed() > slice + WARM_UP {
            return took;
        }
        if sent - start > WARM_UP {
            took.push(sent.elapsed().as_secs_f64());
        }
    }
}

/// Two new connections, both busy for a moment.
pub fn pair(port: u16) {
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| closed(port, Duration::ZERO));
        }
    });
}

/// `rate` requests a second, whatever becomes of the answers: each is due at a time that was fixed before, the connections take turns,
/// and the clock starts when a request was due. So one that had to wait for the answer before it is as late as its user would say.
pub fn constant(port: u16, rate: u32, slice: Duration) -> Vec<f64> {
    // All threads are there by then, each with a connection that has served once.
    let start = Instant::now() + Duration::from_millis(30);
    let interval = Duration::from_secs(1) / rate;
    let connection = |turn: u32| {
        let mut client = Client::open(port, wire::get(port, PATH));
        client.call(BODY);
        let mut took = Vec::with_capacity(4096);
        for n in (turn..).step_by(CONNECTIONS as usize) {
            let after = interval * n;
            if after > slice + WARM_UP {
                break;
            }
            let due = start + after;
            wait_until(due);
            client.call(BODY);
            if after > WARM_UP {
                took.push(due.elapsed().as_secs_f64());
            }
        }
        took
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CONNECTIONS).map(|turn| scope.spawn(move || connection(turn))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a connection's thread")).collect()
    })
}

fn wait_until(due: Instant) {
    if let Some(rest) = due.checked_duration_since(Instant::now() + SPIN) {
        std::thread::sleep(rest);
    }
    while Instant::now() < due {
        std::hint::spin_loop();
    }
}

/// Which way a body goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Up,
    Down,
}

/// Bodies of that length in a row on one connection.
pub fn bodies(port: u16, way: Way, length: usize, times: usize) {
    let request = match way {
        Way::Up => wire::post(port, length),
        Way::Down => wire::get(port, &format!("/bytes/{length}")),
    };
    let mut client = Client::open(port, request);
    let body = vec![b'x'; CHUNK];
    for _ in 0..times {
        match way {
            Way::Up => client.upload(&body, length),
            Way::Down => client.call(length),
        }
    }
}

/// Opens connections, each of which has had one answer, until there are `count`.
pub fn keep(port: u16, idle: &mut Vec<TcpStream>, count: usize) {
    let (request, mut buffer) = (wire::get(port, PATH), vec![0; CHUNK]);
    while idle.len() < count {
        let stream = wire::connect(port).unwrap_or_else(|e| panic!("port {port}, connection {}: {e}", idle.len()));
        wire::call(&stream, &request, &mut buffer).unwrap_or_else(|e| panic!("port {port}, connection {}: {e}", idle.len()));
        idle.push(stream);
    }
}
