//! What heads of requests and answers have in common: lines that belong to one hop, and the framing they tell.

use std::ops::Range;

use http::{HeaderMap, header};
use httparse::Header;

/// Most header lines of one head.
pub(in crate::proxy) const MAX_LINES: usize = 4096;
/// So many are read without an allocation.
const FEW_LINES: usize = 48;

/// Calls `parse` with room for a head's lines: a little at first, much if that is too little.
pub(super) fn with_lines<'b, T>(mut parse: impl FnMut(&mut [Header<'b>]) -> Result<T, httparse::Error>) -> Result<T, httparse::Error> {
    match parse(&mut [httparse::EMPTY_HEADER; FEW_LINES]) {
        Err(httparse::Error::TooManyHeaders) => parse(&mut vec![httparse::EMPTY_HEADER; MAX_LINES]),
        result => result,
    }
}

/// The headers that a proxy has to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Connection,
    ContentLength,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    RequestId,
    Te,
    TransferEncoding,
    Upgrade,
    Other,
}

pub(super) fn known(name: &str) -> Known {
    let is = |other: &str, known| if name.eq_ignore_ascii_case(other) { known } else { Known::Other };
    match name.len() {
        2 => is("te", Known::Te),
        4 => is("host", Known::Host),
        6 => is("expect", Known::Expect),
        7 => is("upgrade", Known::Upgrade),
        10 => match name.as_bytes()[0] | 0x20 {
            b'c' => is("connection", Known::Connection),
            _ => is("keep-alive", Known::KeepAlive),
        },
        14 => match name.as_bytes()[0] | 0x20 {
            b'c' => is("content-length", Known::ContentLength),
            _ => is("http2-settings", Known::Http2Settings),
        },
        16 => is("proxy-connection", Known::ProxyConnection),
        17 => is("transfer-encoding", Known::TransferEncoding),
        22 => is("x-spinnaker-request-id", Known::RequestId),
        _ => Known::Other,
    }
}

/// What `Connection` says, all its lines together.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) close: bool,
    pub(super) keep_alive: bool,
    pub(super) upgrade: bool,
    /// Further headers that belong to the hop, by their names.
    nominated: Vec<Vec<u8>>,
}

impl Options {
    pub(super) fn add(&mut self, value: &[u8]) {
        for option in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.upgrade = true;
            } else if !option.is_empty() && !is_protected(option) {
                self.nominated.push(option.to_owned());
            }
        }
    }

    pub(super) fn nominates(&self, name: &str) -> bool {
        !self.nominated.is_empty() && self.nominated.iter().any(|n| n.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// Headers that nobody can have removed by naming them: who calls, where, how much, and of what type.
fn is_protected(name: &[u8]) -> bool {
    const PROTECTED: [&[u8]; 9] = [
        b"authorization",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"cookie",
        b"host",
        b"set-cookie",
        b"te",
        b"transfer-encoding",
    ];
    let spinnaker = b"x-spinnaker-";
    name.len() >= spinnaker.len() && name[..spinnaker.len()].eq_ignore_ascii_case(spinnaker)
        || PROTECTED.iter().any(|p| p.eq_ignore_ascii_case(name))
}

/// Whether everything that `answer` (a head with 101) switches to is among what `asked` (a head, and perhaps more) asked for. A version
/// counts where both tell one.
pub(in crate::proxy) fn is_switch_as_asked(asked: &[u8], answer: &[u8]) -> bool {
    let mut to = protocols(answer).peekable();
    to.peek().is_some()
        && to.all(|to| {
            protocols(asked).any(|wanted| {
                wanted.0.eq_ignore_ascii_case(to.0) && (wanted.1.is_empty() || to.1.is_empty() || wanted.1.eq_ignore_ascii_case(to.1))
            })
        })
}

/// Names and versions of a head's `Upgrade` lines.
fn protocols(head: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = head.split(|b| *b == b'\n').skip(1).take_while(|line| !matches!(*line, b"" | b"\r"));
    let upgrades = lines.filter_map(|line| {
        let colon = line.iter().position(|b| *b == b':')?;
        line[..colon].eq_ignore_ascii_case(b"upgrade").then(|| &line[colon + 1..])
    });
    upgrades.flat_map(|value| value.split(|b| *b == b',')).map(<[u8]>::trim_ascii).filter(|p| !p.is_empty()).map(|protocol| {
        let slash = protocol.iter().position(|b| *b == b'/');
        slash.map_or((protocol, &[][..]), |slash| (&protocol[..slash], &protocol[slash + 1..]))
    })
}

/// Where each line lies in the buffer that it was read from: from its name to its line end.
pub(super) struct Lines<'b, 'h> {
    base: usize,
    buffer: &'b [u8],
    headers: &'h [Header<'b>],
    end: usize,
}

impl<'b, 'h> Lines<'b, 'h> {
    /// `length`: of the head, its empty line included.
    pub(super) fn new(buffer: &'b [u8], headers: &'h [Header<'b>], length: usize) -> Self {
        Self { base: buffer.as_ptr() as usize, buffer, headers, end: length.saturating_sub(2) }
    }

    pub(super) fn offset(&self, part: &[u8]) -> usize {
        part.as_ptr() as usize - self.base
    }

    fn begin(&self, i: usize) -> usize {
        self.headers.get(i).map_or(self.end, |h| self.offset(h.name.as_bytes()))
    }

    pub(super) fn span(&self, i: usize) -> Range<usize> {
        self.begin(i)..self.begin(i + 1)
    }

    /// Whether every line, the first and the empty one included, ends with CR LF: a bare LF is an end to some readers only.
    pub(super) fn end_properly(&self) -> bool {
        let at = |end: usize| end >= 2 && self.buffer.get(end - 2..end) == Some(b"\r\n");
        (0..=self.headers.len()).all(|i| at(self.begin(i))) && self.buffer.get(self.end..self.end + 2) == Some(b"\r\n")
    }

    /// Copies the lines for which `keep` says so.
    pub(super) fn copy(&self, out: &mut Vec<u8>, mut keep: impl FnMut(usize, &Header<'b>) -> bool) {
        let mut from = self.begin(0);
        for (i, header) in self.headers.iter().enumerate() {
            if !keep(i, header) {
                let span = self.span(i);
                out.extend_from_slice(&self.buffer[from..span.start]);
                from = span.end;
            }
        }
        out.extend_from_slice(&self.buffer[from..self.end]);
    }
}

/// Whether there is at most one `Content-Length`, which is one.
pub(in crate::proxy) fn has_one_length(headers: &HeaderMap) -> bool {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    lengths.next().is_none_or(|value| length(value.as_bytes()).is_some()) && lengths.next().is_none()
}

/// A `Content-Length`: digits, and nothing else.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 18 {
        return None;
    }
    value.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
}
