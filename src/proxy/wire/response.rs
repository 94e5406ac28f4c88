//! An answer's head.

use http::StatusCode;
use httparse::{Response, Status};

use super::Framing;
use super::head::{Known, Lines, Options, known, length, with_lines};

/// What decides how an answer is read and passed on.
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct Asked {
    /// The request was a `HEAD`.
    pub(in crate::proxy) head_only: bool,
    /// The client speaks HTTP/1.1.
    pub(in crate::proxy) modern: bool,
    /// It asked for another protocol.
    pub(in crate::proxy) upgrade: bool,
    /// The client's connection ends after this answer.
    pub(in crate::proxy) close: bool,
    /// Part of the request's body has not been sent yet.
    pub(in crate::proxy) unfinished: bool,
}

/// What a proxy has to know of an answer.
#[derive(Debug)]
pub(in crate::proxy) struct ResponseHead {
    pub(in crate::proxy) length: usize,
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) framing: Framing,
    /// The connection to Clouddriver can be used again.
    pub(in crate::proxy) persistent: bool,
    /// The client was told that its connection ends.
    pub(in crate::proxy) close: bool,
}

/// Reads a head and writes the one for the client to the end of `out`. An interim answer (1xx) goes on with all its lines.
/// `Err`: it cannot be passed on.
pub(in crate::proxy) fn parse(buffer: &[u8], out: &mut Vec<u8>, asked: Asked) -> Result<Option<ResponseHead>, &'static str> {
    // Empty lines may stand before a request, where some readers pass over them, and not before an answer.
    if matches!(buffer.first(), Some(b'\r' | b'\n')) {
        return Err("an empty line stands before it");
    }
    let parsed = with_lines(|headers| {
        let mut response = Response::new(headers);
        Ok(match response.parse(buffer)? {
            Status::Partial => None,
            Status::Complete(length) => Some(read(buffer, &response, length, out, asked)),
        })
    });
    match parsed {
        Ok(read) => read.transpose(),
        Err(_) => Err("its head is malformed"),
    }
}

fn read(buffer: &[u8], response: &Response<'_, '_>, size: usize, out: &mut Vec<u8>, asked: Asked) -> Result<ResponseHead, &'static str> {
    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or("its status is none")?;
    let modern = response.version == Some(1);
    let lines = Lines::new(buffer, response.headers, size);
    if !lines.end_properly() {
        return Err("a line of its head does not end with CR LF");
    }
    let (mut options, mut coding, mut told, mut lengths) = (Options::default(), None, None, 0);
    for header in response.headers.iter() {
        match known(header.name) {
            Known::Connection => options.add(header.value),
            Known::TransferEncoding if coding.replace(header.value).is_some() => return Err("more than one Transfer-Encoding"),
            Known::ContentLength => {
                told = Some(header.value);
                lengths += 1;
            }
            _ => {}
        }
    }
    let switches = status == StatusCode::SWITCHING_PROTOCOLS;
    if switches {
        let to = response.headers.iter().find(|h| known(h.name) == Known::Upgrade).map(|h| h.value.trim_ascii());
        if !asked.upgrade || to.is_none_or(|to| to.len() >= 3 && to[..3].eq_ignore_ascii_case(b"h2c")) {
            return Err("101 to a request that asked for no such upgrade");
        }
    }
    let empty = status.is_informational() || asked.head_only || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED;
    let framing = match (coding, told) {
        _ if empty => Framing::Empty,
        (Some(_), Some(_)) => return Err("both Content-Length and Transfer-Encoding"),
        (Some(coding), None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") && modern => {
            if !asked.modern {
                return Err("chunks to a request of HTTP/1.0");
            }
            Framing::Chunked
        }
        (Some(_), None) => return Err("a Transfer-Encoding other than chunked"),
        (None, Some(_)) if lengths > 1 => return Err("more than one Content-Length"),
        (None, Some(value)) => match length(value).ok_or("its Content-Length is no number")? {
            0 => Framing::Empty,
            n => Framing::Length(n),
        },
        (None, None) => Framing::UntilClose,
    };
    let persistent = modern && asked.modern && !options.close && framing != Framing::UntilClose && !switches;
    // A body that nobody will read to its end keeps a connection from being used again.
    let close = !status.is_informational() && (asked.close || framing == Framing::UntilClose || (asked.unfinished && !persistent));
    let first = &buffer[..lines.span(0).start];
    out.extend_from_slice(b"HTTP/1.1");
    out.extend_from_slice(&first[8..]);
    if status.is_informational() {
        lines.copy(out, |_, _| true);
    } else {
        lines.copy(out, |_, header| match known(header.name) {
            Known::Connection | Known::KeepAlive | Known::ProxyConnection | Known::Upgrade => false,
            _ => !options.nominates(header.name),
        });
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(ResponseHead { length: size, status, framing, persistent, close })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked { head_only: false, modern: true, upgrade: false, close: false, unfinished: false };

    fn passed(head: &str, asked: Asked) -> Result<(String, Framing, bool), &'static str> {
        let mut out = Vec::new();
        let head = parse(head.as_bytes(), &mut out, asked)?.unwrap();
        Ok((String::from_utf8(out).unwrap(), head.framing, head.persistent))
    }

    #[test]
    fn a_head_is_passed_on_as_it_came() {
        let head = "HTTP/1.1 200 Fine by me\r\nx-A: 1\r\nContent-LENGTH: 5\r\nX-a: 2\r\n\r\n";
        assert_eq!(passed(head, GET), Ok((head.to_owned(), Framing::Length(5), true)));
        let head = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n";
        assert_eq!(passed(head, GET), Ok((head.to_owned(), Framing::Empty, true)));
    }

    #[test]
    fn the_connections_own_lines_are_the_hops() {
        let head = "HTTP/1.1 200 OK\r\nConnection: close, X-H\r\nX-H: 1\r\nKeep-Alive: 3\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(passed(head, GET), Ok(("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n".to_owned(), Framing::Empty, false)));
        let closing = Asked { close: true, ..GET };
        assert!(passed(head, closing).unwrap().0.ends_with("\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn an_answer_without_length_ends_with_its_connection_and_says_so() {
        let (head, framing, persistent) = passed("HTTP/1.0 200 OK\r\nA: b\r\n\r\n", GET).unwrap();
        assert_eq!(
            (head.as_str(), framing, persistent),
            ("HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n", Framing::UntilClose, false)
        );
    }

    #[test]
    fn an_answer_after_an_empty_line_is_not_passed_on() {
        for blank in ["\r\n", "\n\n"] {
            assert!(passed(&format!("{blank}HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), GET).is_err());
        }
    }

    #[test]
    fn heads_that_can_be_read_in_two_ways_are_not_passed_on() {
        for lines in [
            "Content-Length: 1\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: gzip",
            "Content-Length: 1\r\nContent-Length: 2",
            "Content-Length: x",
        ] {
            assert!(passed(&format!("HTTP/1.1 200 OK\r\n{lines}\r\n\r\n"), GET).is_err(), "{lines}");
        }
        assert!(passed("HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n", GET).is_err());
    }
}
