//! HTTP/2 by hand: a library would not send what the floods are made of.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::origin::NEVER;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// How long a server that has stopped reading is given to go on.
const STALL: Duration = Duration::from_secs(2);

/// One frame as it is on the wire (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small payload").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a GET, in words of HPACK that need no state: two from its static table, two with a literal value.
pub fn get(path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| [&[name, u8::try_from(value.len()).expect("a short value")], value.as_bytes()].concat();
    [vec![0x82, 0x86], literal(0x04, path), literal(0x01, "clouddriver")].concat()
}

/// The whole of a request without a body.
pub fn request(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

/// A frame that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection after its preface.
pub struct H2 {
    pub read: Reader,
    pub write: Writer,
}

pub struct Reader(OwnedReadHalf);

pub struct Writer(OwnedWriteHalf);

/// What became of a flood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flood {
    /// The server closed the connection.
    Closed,
    /// The server stopped reading: what came after waits at its sender.
    Held,
    /// All of it was taken.
    Taken,
}

impl H2 {
    pub async fn connect(port: u16) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        let mut h2 = Self { read: Reader(read), write: Writer(write) };
        h2.write.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        h2.write.0.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        h2
    }

    /// A GET and its answer's body; the status has to be 200.
    pub async fn get(&mut self, stream: u32, path: &str) -> Vec<u8> {
        self.write.0.write_all(&request(stream, path)).await.unwrap();
        let mut body = Vec::new();
        loop {
            let frame = self.read.next().await.expect("an answer");
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.write.0.write_all(&super::frames::frame(SETTINGS, ACK, 0, &[])).await.unwrap(),
                GOAWAY | RST_STREAM => panic!("{frame:?} in place of an answer"),
                // 0x88 is `:status: 200`.
                HEADERS if frame.stream == stream => assert!(frame.payload.contains(&0x88), "{frame:?}"),
                DATA if frame.stream == stream => body.extend_from_slice(&frame.payload),
                _ => {}
            }
            if frame.stream == stream && frame.flags & END_STREAM != 0 && matches!(frame.kind, HEADERS | DATA) {
                return body;
            }
        }
    }
}

impl Reader {
    /// The next frame, or how it ended.
    pub async fn next(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        tokio::time::timeout(NEVER, self.0.read_exact(&mut head)).await.map_err(|_| io::ErrorKind::TimedOut)??;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7FFF_FFFF;
        Ok(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads on to the end. The error code of the last GOAWAY, if there was one.
    pub async fn until_the_end(mut self) -> Option<u32> {
        let mut code = None;
        while let Ok(frame) = self.next().await {
            if frame.kind == GOAWAY {
                code = frame.payload.get(4..8).and_then(|c| c.try_into().ok()).map(u32::from_be_bytes);
            }
        }
        code
    }
}

impl Writer {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    /// Writes as fast as the server takes it.
    pub async fn flood(&mut self, pieces: impl Iterator<Item = Vec<u8>>) -> Flood {
        for piece in pieces {
            match tokio::time::timeout(STALL, self.0.write_all(&piece)).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Flood::Closed,
                Err(_) => return Flood::Held,
            }
        }
        Flood::Taken
    }
}
