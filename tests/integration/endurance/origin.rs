//! Scripted servers in Clouddriver's place, and what the tests of this folder share.

use std::future::Future;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::support::process::{Setup, free_port};

/// Long enough for anything that will ever come; a test that waits so long has failed.
pub const NEVER: Duration = Duration::from_secs(60);

pub const GET: &[u8] = b"GET /applications HTTP/1.1\r\nHost: clouddriver\r\n\r\n";

/// A server that does with each connection what its script says. Dropped, it is gone with all its connections.
pub struct Origin {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Origin {
    pub async fn start<F: Future<Output = io::Result<()>> + Send + 'static>(script: impl Fn(Wire) -> F + Send + 'static) -> Self {
        Self::listen((Ipv4Addr::LOCALHOST, 0).into(), script).await
    }

    pub async fn listen<F: Future<Output = io::Result<()>> + Send + 'static>(
        address: SocketAddr,
        script: impl Fn(Wire) -> F + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let Ok((stream, _)) = listener.accept().await else { continue };
                while connections.try_join_next().is_some() {}
                connections.spawn(script(Wire::new(stream)));
            }
        });
        Self { address, task }
    }

    /// Each request gets an answer with this body, for as long as the connection lives.
    pub async fn saying(address: SocketAddr, body: &'static str) -> Self {
        Self::listen(address, move |mut wire| async move {
            loop {
                wire.head().await?;
                wire.answer("200 OK", "", body.as_bytes()).await?;
            }
        })
        .await
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One end of a connection.
pub struct Wire {
    pub stream: TcpStream,
    read: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, read: Vec::new() }
    }

    /// The head of a message, with its empty line.
    pub async fn head(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|w| w == b"\r\n\r\n") {
                return Ok(String::from_utf8_lossy(&self.read.drain(..end + 4).collect::<Vec<_>>()).into_owned());
            }
            let piece = self.piece().await?;
            self.read.extend_from_slice(&piece);
        }
    }

    /// Some bytes of a body: what was read with the head first.
    pub async fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.read.is_empty() { self.piece().await } else { Ok(std::mem::take(&mut self.read)) }
    }

    /// So many bytes of a body.
    pub async fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.read.len() < length {
            let piece = self.piece().await?;
            self.read.extend_from_slice(&piece);
        }
        Ok(self.read.drain(..length).collect())
    }

    async fn piece(&mut self) -> io::Result<Vec<u8>> {
        let mut piece = vec![0; 64 << 10];
        match self.stream.read(&mut piece).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            n => {
                piece.truncate(n);
                Ok(piece)
            }
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes).await
    }

    /// A whole answer; each of the `headers` ends with a line break.
    pub async fn answer(&mut self, status: &str, headers: &str, body: &[u8]) -> io::Result<()> {
        let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.write(&[head.as_bytes(), body].concat()).await
    }
}

/// The value of a header in a head, in whatever case.
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().filter_map(|line| line.split_once(':')).find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.trim())
}

/// A Fairlead of this test's own before an origin, with a database of its own.
pub fn before(origin: SocketAddr, what: &str) -> Setup {
    Setup::new(&format!("{what}-{}", free_port()), origin.port()).embedded().calm()
}

/// Asks again until it is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut probe: impl FnMut() -> F) {
    let start = std::time::Instant::now();
    while !probe().await {
        assert!(start.elapsed() < NEVER, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
