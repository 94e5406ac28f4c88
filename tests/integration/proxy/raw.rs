//! Raw sockets on both sides of a real data plane. Blocking, on threads: a script reads like what is on the wire.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use fairlead::proxy::{Drained, Handle, Limits, Metrics, Selector, Stack, Upstream, respond::Respond, serve, upstream};

pub use crate::support::http::whole;

/// Long enough for anything that will ever come; a test that waits so long has failed.
pub const NEVER: Duration = Duration::from_secs(30);

/// The plainest request.
pub const GET: &str = "GET /x HTTP/1.1\r\nHost: h\r\n\r\n";

/// The plainest answer.
pub const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// The body of an answer of ours.
pub fn json(answer: &str) -> serde_json::Value {
    serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap()
}

/// One end of a connection.
pub struct Wire {
    stream: TcpStream,
    tls: Option<rustls::Connection>,
    buffer: Vec<u8>,
}

/// How a stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
    /// By TLS: with no word that this is the end.
    Truncated,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(NEVER)).unwrap();
        stream.set_write_timeout(Some(NEVER)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, tls: None, buffer: Vec::new() }
    }

    pub fn connect(address: SocketAddr) -> Self {
        Self::new(TcpStream::connect(address).unwrap())
    }

    /// The same by TLS; the handshake happens with the first read or write.
    pub fn by(self, tls: impl Into<rustls::Connection>) -> Self {
        Self { tls: Some(tls.into()), ..self }
    }

    pub fn tls(&mut self) -> &mut rustls::Connection {
        self.tls.as_mut().unwrap()
    }

    /// Handshakes to its end.
    pub fn shake(&mut self) -> std::io::Result<()> {
        let Self { stream, tls, .. } = self;
        tls.as_mut().unwrap().complete_io(stream).map(drop)
    }

    /// Sends what TLS has to say besides.
    pub fn flush(&mut self) {
        let Self { stream, tls: Some(tls), .. } = self else { return };
        while tls.wants_write() {
            tls.write_tls(stream).unwrap();
        }
    }

    /// A request and its answer, unless the other side does not want to.
    pub fn try_ask(&mut self, request: &str) -> Option<String> {
        write_inside(self.tls.as_mut()?, &mut self.stream, request.as_bytes()).ok()?;
        let mut chunk = [0; 4096];
        while whole(&self.buffer).is_none() {
            let n = read_inside(self.tls.as_mut()?, &mut self.stream, &mut chunk).ok().filter(|n| *n > 0)?;
            self.buffer.extend_from_slice(&chunk[..n]);
        }
        self.message().ok()
    }

    /// The end, as TLS tells it.
    pub fn farewell(mut self) {
        self.tls().send_close_notify();
        self.flush();
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn write(&mut self, bytes: impl AsRef<[u8]>) {
        match &mut self.tls {
            None => self.stream.write_all(bytes.as_ref()).unwrap(),
            Some(tls) => write_inside(tls, &mut self.stream, bytes.as_ref()).unwrap(),
        }
    }

    fn more(&mut self) -> Result<(), End> {
        let mut chunk = [0; 16 * 1024];
        let read = match &mut self.tls {
            None => self.stream.read(&mut chunk),
            Some(tls) => read_inside(tls, &mut self.stream, &mut chunk),
        };
        match read {
            Ok(0) => Err(End::Closed),
            Ok(n) => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
            Err(e) if matches!(e.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => Err(End::Reset),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(End::Truncated),
            Err(e) => panic!("nothing came: {e}; so far: {}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Reads up to and with `end`.
    pub fn until(&mut self, end: &str) -> Result<String, End> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|w| w == end.as_bytes()) {
                return Ok(text(self.buffer.drain(..at + end.len())));
            }
            self.more()?;
        }
    }

    pub fn exactly(&mut self, length: usize) -> Result<String, End> {
        while self.buffer.len() < length {
            self.more()?;
        }
        Ok(text(self.buffer.drain(..length)))
    }

    /// A message that has just `length` bytes on the wire.
    pub fn expect(&mut self, message: &str) {
        let got = self.exactly(message.len());
        assert_eq!(got.as_deref().unwrap_or("<ended>"), message);
    }

    /// Everything until the other side is done, and how it was.
    pub fn rest(&mut self) -> (String, End) {
        loop {
            if let Err(end) = self.more() {
                return (text(self.buffer.drain(..)), end);
            }
        }
    }

    /// A whole message: its head, and a body of known length or in chunks.
    pub fn message(&mut self) -> Result<String, End> {
        loop {
            if let Some(length) = whole(&self.buffer) {
                return Ok(text(self.buffer.drain(..length)));
            }
            self.more()?;
        }
    }

    /// A whole message, or what there is of one that breaks off, and how.
    pub fn rest_or_answer(&mut self) -> (String, Option<End>) {
        match self.message() {
            Ok(message) => (message, None),
            Err(end) => (text(self.buffer.drain(..)), Some(end)),
        }
    }

    /// What was read and not asked for, which need not be text.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// How much was read of a message that has not ended.
    pub fn unread(&self) -> usize {
        self.buffer.len()
    }

    pub fn end_writing(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

fn write_inside(tls: &mut rustls::Connection, stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<()> {
    match tls {
        rustls::Connection::Client(tls) => rustls::Stream::new(tls, stream).write_all(bytes),
        rustls::Connection::Server(tls) => rustls::Stream::new(tls, stream).write_all(bytes),
    }
}

fn read_inside(tls: &mut rustls::Connection, stream: &mut TcpStream, room: &mut [u8]) -> std::io::Result<usize> {
    match tls {
        rustls::Connection::Client(tls) => rustls::Stream::new(tls, stream).read(room),
        rustls::Connection::Server(tls) => rustls::Stream::new(tls, stream).read(room),
    }
}

fn text(bytes: impl Iterator<Item = u8>) -> String {
    String::from_utf8(bytes.collect()).unwrap()
}

/// A server that does with each connection what its script says.
pub struct Origin {
    pub address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Origin {
    pub fn start(script: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    /// Each request gets `answer`, for as long as the connection lives.
    pub fn answering(answer: &'static str) -> Self {
        Self::start(move |mut wire| {
            while wire.message().is_ok() {
                wire.write(answer);
            }
        })
    }

    pub fn listen(listener: TcpListener, script: impl Fn(Wire) + Send + Sync + 'static) -> Self {
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, script) = (connections.clone(), Arc::new(script));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                count.fetch_add(1, SeqCst);
                let script = script.clone();
                std::thread::spawn(move || script(Wire::new(stream.unwrap())));
            }
        });
        Self { address, connections }
    }

    pub fn connections(&self) -> usize {
        self.connections.load(SeqCst)
    }
}

/// A port where nothing listens, and which nobody else is given: connected sockets hold it.
pub fn dead_port() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

/// The two ways through a data plane, which read and write HTTP each by itself: as bytes, and by way of those who look into requests.
pub const WAYS: [fn(SocketAddr) -> Proxy; 2] = [Proxy::before, Proxy::looking];

/// A data plane of one thread before `origin`.
pub struct Proxy {
    pub handle: Option<Handle>,
    pub address: SocketAddr,
    pub metrics: Metrics,
}

impl Proxy {
    pub fn before(origin: SocketAddr) -> Self {
        Self::with(origin, |_| {})
    }

    pub fn with(origin: SocketAddr, change: impl FnOnce(&mut upstream::Config)) -> Self {
        Self::with_listen(origin, |_| {}, change)
    }

    pub fn with_listen(
        origin: SocketAddr,
        change_listen: impl FnOnce(&mut fairlead::proxy::serve::Config),
        change: impl FnOnce(&mut upstream::Config),
    ) -> Self {
        let mut listen = listen();
        change_listen(&mut listen);
        Self::start(origin, &listen, Selector::new("".into()), change)
    }

    /// Nothing passes as bytes: each request goes the way of those that somebody looks into.
    pub fn looking(origin: SocketAddr) -> Self {
        Self::looking_with(origin, |_| {})
    }

    pub fn looking_with(origin: SocketAddr, change_listen: impl FnOnce(&mut fairlead::proxy::serve::Config)) -> Self {
        let mut listen = listen();
        change_listen(&mut listen);
        Self::start(origin, &listen, Selector::everything(), |_| {})
    }

    fn start(
        origin: SocketAddr,
        listen: &fairlead::proxy::serve::Config,
        selector: Selector,
        change: impl FnOnce(&mut upstream::Config),
    ) -> Self {
        let mut config = upstream::Config {
            host: origin.ip().to_string().into(),
            port: origin.port(),
            tls: None,
            http2: false,
            connect_timeout: Duration::from_secs(5),
            response_timeout: None,
            pool_idle_timeout: Duration::from_secs(15),
            pool_max_idle: 64,
            pool_max_age: None,
        };
        change(&mut config);
        let metrics = Metrics::default();
        let counters = metrics.clone();
        let handle = serve(listen, &metrics, move || {
            let upstream = Upstream::new(config, counters.thread());
            Stack { upstream: upstream.clone(), selector, service: Respond::new(upstream) }
        })
        .unwrap();
        Self { address: handle.local_addr(), handle: Some(handle), metrics }
    }

    pub fn client(&self) -> Wire {
        Wire::connect(self.address)
    }

    /// One request on a connection of its own; the answer with its body.
    pub fn ask(&self, request: &str) -> String {
        let mut client = self.client();
        client.write(request);
        client.message().unwrap()
    }
}

/// One thread: what a test says of "the" pool is then true.
pub fn listen() -> fairlead::proxy::serve::Config {
    fairlead::proxy::serve::Config {
        listen: "127.0.0.1:0".parse().unwrap(),
        threads: 1,
        limits: Limits { max_connections: 1000, ..Limits::default() },
        tls: None,
    }
}

/// Drains, and waits until it is over.
pub fn drain(handle: Handle, timeout: Duration) -> Drained {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(NEVER, handle.drain(timeout)).await }).expect("a drain has a bound")
}
