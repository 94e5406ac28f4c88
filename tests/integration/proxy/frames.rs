//! The server's side of HTTP/2, by hand.

use std::collections::HashMap;
use std::io::{Cursor, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::raw::{NEVER, Wire};

const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// A connection after its preface.
pub struct Frames {
    wire: Wire,
    /// What was read of it before.
    before: Cursor<Vec<u8>>,
    /// Requests that have begun, and what of their bodies came.
    begun: HashMap<u32, Vec<u8>>,
    /// Pieces of bodies that came, those that are empty too.
    pub pieces: usize,
    /// GOAWAY came.
    told: bool,
}

/// A request as it came.
pub struct Asked {
    pub stream: u32,
    pub body: Vec<u8>,
    /// To its end; else it was reset.
    pub ended: bool,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn read(mut from: impl Read) -> Option<Frame> {
    let mut head = [0; 9];
    from.read_exact(&mut head).ok()?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    from.read_exact(&mut payload).ok()?;
    let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
    Some(Frame { kind: head[3], flags: head[4], stream: id, payload })
}

/// The kinds of all frames to the end.
pub fn kinds(wire: &mut Wire) -> Vec<u8> {
    let mut from = Cursor::new(wire.take()).chain(wire.stream());
    std::iter::from_fn(|| read(&mut from)).map(|frame| frame.kind).collect()
}

/// What the first answer says first: a status, in HPACK's own words.
pub fn status(stream: &TcpStream) -> Option<u8> {
    std::iter::from_fn(|| read(stream)).find(|frame| frame.kind == HEADERS)?.payload.first().copied()
}

/// What ends stream 1, from the server: a head, data, trailers, or a reset, with what is in it.
pub fn ending(stream: &TcpStream) -> Option<(u8, Vec<u8>)> {
    let ends = |frame: &Frame| {
        frame.stream == 1 && (frame.kind == RST_STREAM || (matches!(frame.kind, HEADERS | DATA) && frame.flags & END_STREAM != 0))
    };
    std::iter::from_fn(|| read(stream)).find(ends).map(|frame| (frame.kind, frame.payload))
}

/// The first piece of a body.
pub fn first_of_body(stream: &TcpStream) -> Option<Vec<u8>> {
    std::iter::from_fn(|| read(stream)).find(|frame| frame.kind == DATA).map(|frame| frame.payload)
}

/// A GET by HTTP/2, as the first words of a connection.
pub fn get() -> Vec<u8> {
    let block = [&[0x82, 0x86, 0x04, 2, b'/', b'x'][..], b"\x01\x01h"].concat();
    let head = [0, 0, u8::try_from(block.len()).unwrap(), HEADERS, END_STREAM | END_HEADERS, 0, 0, 0, 1];
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0"[..], &head, &block].concat()
}

impl Frames {
    pub fn begin(mut wire: Wire, settings: &[(u16, u32)]) -> Self {
        assert_eq!(wire.exactly(24).unwrap(), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        Self::after_preface(wire, settings)
    }

    pub fn after_preface(mut wire: Wire, settings: &[(u16, u32)]) -> Self {
        let before = Cursor::new(wire.take());
        let mut frames = Self { wire, before, begun: HashMap::new(), pieces: 0, told: false };
        let payload: Vec<u8> = settings.iter().flat_map(|(id, value)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()).collect();
        frames.send(SETTINGS, 0, 0, &payload);
        frames
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat();
        // Who has gone reads nothing.
        let _ = self.wire.stream().write_all(&frame);
    }

    fn next(&mut self) -> Option<Frame> {
        loop {
            let frame = read((&mut self.before).chain(self.wire.stream()))?;
            match frame.kind {
                SETTINGS if frame.flags & ACK == 0 => self.send(SETTINGS, ACK, 0, &[]),
                PING if frame.flags & ACK == 0 => self.send(PING, ACK, 0, &frame.payload),
                DATA if !frame.payload.is_empty() => {
                    let size = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
                    self.send(WINDOW_UPDATE, 0, 0, &size);
                    if frame.flags & END_STREAM == 0 {
                        self.send(WINDOW_UPDATE, 0, frame.stream, &size);
                    }
                    return Some(frame);
                }
                GOAWAY => {
                    self.told = true;
                    return None;
                }
                DATA | HEADERS | RST_STREAM => return Some(frame),
                _ => {}
            }
        }
    }

    /// The head of the next request.
    pub fn begun(&mut self) -> Option<u32> {
        loop {
            let frame = self.next()?;
            if frame.kind == HEADERS {
                self.begun.insert(frame.stream, Vec::new());
                return Some(frame.stream);
            }
        }
    }

    /// The next request that comes to its end, or is reset before that. `None`: the connection has ended, or the time is over.
    pub fn request(&mut self) -> Option<Asked> {
        loop {
            let frame = self.next()?;
            match frame.kind {
                HEADERS if !self.begun.contains_key(&frame.stream) => {
                    self.begun.insert(frame.stream, Vec::new());
                }
                DATA => {
                    self.pieces += 1;
                    self.begun.entry(frame.stream).or_default().extend_from_slice(&frame.payload);
                }
                _ => {}
            }
            let reset = frame.kind == RST_STREAM;
            if (reset || frame.flags & END_STREAM != 0)
                && let Some(body) = self.begun.remove(&frame.stream)
            {
                return Some(Asked { stream: frame.stream, body, ended: !reset });
            }
        }
    }

    /// The same, if it comes so soon.
    pub fn request_within(&mut self, time: Duration) -> Option<Asked> {
        self.wire.stream().set_read_timeout(Some(time)).unwrap();
        let asked = self.request();
        self.wire.stream().set_read_timeout(Some(NEVER)).unwrap();
        asked
    }

    pub fn head(&mut self, stream: u32, block: &[u8], last: bool) {
        self.send(HEADERS, END_HEADERS | if last { END_STREAM } else { 0 }, stream, block);
    }

    pub fn data(&mut self, stream: u32, data: &[u8], last: bool) {
        self.send(DATA, if last { END_STREAM } else { 0 }, stream, data);
    }

    /// 200 with a body.
    pub fn answer(&mut self, stream: u32, body: &[u8]) {
        self.head(stream, b"\x88", false);
        self.data(stream, body, true);
    }

    pub fn reset(&mut self, stream: u32, code: u32) {
        self.send(RST_STREAM, 0, stream, &code.to_be_bytes());
    }

    pub fn go_away(&mut self, last: u32, code: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat());
    }

    /// Reads on until the other side ends the connection.
    pub fn until_closed(&mut self) {
        while self.next().is_some() {}
    }

    /// The same; whether it said so before.
    pub fn until_told(mut self) -> bool {
        self.until_closed();
        self.told
    }
}
