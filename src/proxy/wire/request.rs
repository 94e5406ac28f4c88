//! A request's head: what Clouddriver's server would refuse is refused here already, the rest goes on as it came.

use std::ops::Range;

use http::StatusCode;
use httparse::{Header, Request, Status};

use super::Framing;
use super::head::{Known, Lines, Options, known, length, with_lines};

/// Why a request is not forwarded. After it the connection cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(in crate::proxy) struct Refusal {
    pub(in crate::proxy) status: StatusCode,
    pub(in crate::proxy) why: &'static str,
}

const fn bad(why: &'static str) -> Refusal {
    Refusal { status: StatusCode::BAD_REQUEST, why }
}

pub(in crate::proxy) const TOO_LARGE: Refusal =
    Refusal { status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, why: "the request's head is too large" };

/// Before anything of a request was read.
pub(in crate::proxy) const PLAINTEXT: Refusal = bad("this port speaks TLS, and the request came without it: ask by https");

/// What a proxy has to know of a request. The ranges lie in the head that goes on.
#[derive(Debug)]
pub(in crate::proxy) struct RequestHead {
    /// How many bytes of the buffer it took, empty lines before it included.
    pub(in crate::proxy) length: usize,
    pub(in crate::proxy) method: Range<usize>,
    /// The target without a query, and without scheme and authority. May lack its slash.
    pub(in crate::proxy) path: Range<usize>,
    /// HTTP/1.1, not 1.0.
    pub(in crate::proxy) modern: bool,
    pub(in crate::proxy) framing: Framing,
    /// The client may send another request on this connection.
    pub(in crate::proxy) persistent: bool,
    /// The client waits for 100 before it sends its body.
    pub(in crate::proxy) expects: bool,
    /// The client asks for another protocol, and the question goes on.
    pub(in crate::proxy) upgrade: bool,
}

/// Reads a head from the beginning of `buffer` and writes the one that goes on to `out`, which it clears first. `None`: there is
/// more to come.
pub(in crate::proxy) fn parse(buffer: &[u8], out: &mut Vec<u8>) -> Result<Option<RequestHead>, Refusal> {
    out.clear();
    let blank = buffer.iter().take_while(|b| matches!(b, b'\r' | b'\n')).count();
    let buffer = &buffer[blank..];
    let parsed = with_lines(|headers| {
        let mut request = Request::new(headers);
        Ok(match request.parse(buffer)? {
            Status::Partial => None,
            Status::Complete(length) => Some(read(buffer, &request, length, out)),
        })
    });
    match parsed {
        Ok(None) => Ok(None),
        Ok(Some(Err(refusal))) => Err(refusal),
        Ok(Some(Ok(mut head))) => {
            head.length += blank;
            Ok(Some(head))
        }
        Err(httparse::Error::TooManyHeaders) => Err(TOO_LARGE),
        Err(httparse::Error::Version) if is_line_malformed(buffer) => Err(bad("the request's line is malformed")),
        Err(httparse::Error::Version) => {
            Err(Refusal { status: StatusCode::HTTP_VERSION_NOT_SUPPORTED, why: "the request is neither HTTP/1.1 nor HTTP/1.0" })
        }
        Err(_) => Err(bad("the request's head is malformed")),
    }
}

/// Where a version should begin is a blank too many, or the end of the line (HTTP/0.9).
fn is_line_malformed(buffer: &[u8]) -> bool {
    buffer.split(|b| *b == b' ').nth(2).is_some_and(|rest| rest.is_empty() || matches!(rest[0], b'\t' | b'\r' | b'\n'))
}

fn read(buffer: &[u8], request: &Request<'_, '_>, size: usize, out: &mut Vec<u8>) -> Result<RequestHead, Refusal> {
    // httparse has set all three on a complete head.
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(bad("the request's line is malformed"));
    };
    let lines = Lines::new(buffer, request.headers, size);
    if !lines.end_properly() {
        return Err(bad("a line of the request's head does not end with CR LF"));
    }
    let modern = version == 1;
    let mut facts = Facts::default();
    for header in request.headers.iter() {
        facts.add(header)?;
    }
    if method == "CONNECT" {
        return Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, why: "no tunnels" });
    }
    if target.contains('#') {
        return Err(bad("the request's target has a fragment"));
    }
    let (authority, path) = split(target.as_bytes());
    match facts.host {
        Some(host) if authority.is_some_and(|a| !a.eq_ignore_ascii_case(host.trim_ascii())) => {
            return Err(bad("the request's target names another host than its Host"));
        }
        None if modern => return Err(bad("the request has no Host")),
        _ => {}
    }
    let framing = facts.framing(modern)?;
    let h2c = facts.upgrade.is_some_and(|u| {
        u.split(|b| *b == b',').any(|p| p.trim_ascii().split(|b| *b == b'/').next().is_some_and(|p| p.eq_ignore_ascii_case(b"h2c")))
    });
    let upgrade = modern && facts.options.upgrade && facts.upgrade.is_some() && !h2c;
    let start = lines.offset(method.as_bytes());
    out.extend_from_slice(&buffer[start..lines.span(0).start]);
    let mut trailers = false;
    lines.copy(out, |_, header| match known(header.name) {
        Known::Connection => upgrade && facts.only_upgrade,
        Known::KeepAlive | Known::ProxyConnection => false,
        Known::Upgrade => upgrade,
        Known::Http2Settings => !h2c,
        Known::Te => {
            let plain = header.value.trim_ascii().eq_ignore_ascii_case(b"trailers");
            let asks = header.value.split(|b| *b == b',').any(|t| t.trim_ascii().eq_ignore_ascii_case(b"trailers"));
            trailers |= asks && !plain;
            plain
        }
        _ => !facts.options.nominates(header.name),
    });
    if trailers {
        out.extend_from_slice(b"TE: trailers\r\n");
    }
    if upgrade && !facts.only_upgrade {
        out.extend_from_slice(b"Connection: Upgrade\r\n");
    }
    out.extend_from_slice(b"\r\n");
    let path = lines.offset(path) - start;
    Ok(RequestHead {
        length: size,
        method: 0..method.len(),
        path: path..path + split(target.as_bytes()).1.len(),
        modern,
        framing,
        persistent: modern && !facts.options.close,
        expects: modern && facts.expects,
        upgrade,
    })
}

#[derive(Default)]
struct Facts<'b> {
    host: Option<&'b [u8]>,
    length: Option<u64>,
    encoding: Option<&'b [u8]>,
    upgrade: Option<&'b [u8]>,
    expects: bool,
    options: Options,
    /// The one `Connection` line names nothing of its own and can go on as it is, where an upgrade does.
    only_upgrade: bool,
    connections: usize,
}

impl<'b> Facts<'b> {
    fn add(&mut self, header: &Header<'b>) -> Result<(), Refusal> {
        let value = header.value;
        match known(header.name) {
            Known::Host if self.host.replace(value).is_some() => return Err(bad("the request has more than one Host")),
            Known::ContentLength => {
                let length = length(value).ok_or(bad("the request's Content-Length is not a number"))?;
                if self.length.replace(length).is_some() {
                    return Err(bad("the request has more than one Content-Length"));
                }
            }
            Known::TransferEncoding if self.encoding.replace(value).is_some() => {
                return Err(bad("the request has more than one Transfer-Encoding"));
            }
            Known::Connection => {
                self.options.add(value);
                self.connections += 1;
                self.only_upgrade = self.connections == 1
                    && value
                        .split(|b| *b == b',')
                        .map(<[u8]>::trim_ascii)
                        .all(|o| o.eq_ignore_ascii_case(b"upgrade") || o.eq_ignore_ascii_case(b"keep-alive"));
            }
            Known::Expect => self.expects |= value.trim_ascii().eq_ignore_ascii_case(b"100-continue"),
            Known::Upgrade => self.upgrade = Some(value),
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, modern: bool) -> Result<Framing, Refusal> {
        match (self.encoding, self.length) {
            (Some(_), Some(_)) => Err(bad("the request has both Content-Length and Transfer-Encoding")),
            (Some(_), None) if !modern => Err(bad("a request of HTTP/1.0 has no Transfer-Encoding")),
            (Some(coding), None) if coding.trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(Framing::Chunked),
            (Some(_), None) => Err(Refusal { status: StatusCode::NOT_IMPLEMENTED, why: "a Transfer-Encoding other than chunked" }),
            (None, Some(0) | None) => Ok(Framing::Empty),
            (None, Some(n)) => Ok(Framing::Length(n)),
        }
    }
}

/// The authority of a target, if it has one, and its path without the query.
fn split(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let path = |rest: &'_ [u8]| rest.iter().position(|b| *b == b'?').unwrap_or(rest.len());
    if target.first() != Some(&b'/')
        && let Some(colon) = target.windows(3).position(|w| w == b"://")
        && target[..colon].iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b))
    {
        let rest = &target[colon + 3..];
        let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at(end);
        let authority = authority.iter().rposition(|b| *b == b'@').map_or(authority, |at| &authority[at + 1..]);
        return (Some(authority), &rest[..path(rest)]);
    }
    (None, &target[..path(target)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes_on(head: &str) -> String {
        let mut out = Vec::new();
        parse(head.as_bytes(), &mut out).unwrap().unwrap();
        String::from_utf8(out).unwrap()
    }

    fn refused(head: &str) -> u16 {
        match parse(head.as_bytes(), &mut Vec::new()) {
            Err(refusal) => refusal.status.as_u16(),
            other => panic!("{head:?} is not refused: {other:?}"),
        }
    }

    #[test]
    fn a_head_goes_on_as_it_came() {
        let head = "POST /a%20b?x=#y HTTP/1.1\r\nHOST:h\r\nx-Y:  two \t\r\nX-y:\r\nContent-Length: 3\r\n\r\n".replace('#', "%23");
        assert_eq!(goes_on(&head), head);
        assert_eq!(goes_on(&format!("\r\n\r\n{head}")), head);
    }

    #[test]
    fn what_belongs_to_the_hop_does_not_go_on() {
        let head = "GET / HTTP/1.1\r\nConnection: keep-alive, X-Mine, authorization\r\nHost: h\r\nKeep-Alive: 5\r\nX-Mine: 1\r\nAuthorization: a\r\nTE: gzip, trailers\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nProxy-Connection: close\r\nLast: 1\r\n\r\n";
        assert_eq!(goes_on(head), "GET / HTTP/1.1\r\nHost: h\r\nAuthorization: a\r\nLast: 1\r\nTE: trailers\r\n\r\n");
    }

    #[test]
    fn an_upgrade_goes_on_unless_it_is_to_http_2() {
        let head = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(goes_on(head), head);
        let h2c = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
        assert_eq!(goes_on(h2c), "GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    }

    #[test]
    fn what_two_readers_could_read_in_two_ways_is_refused() {
        let table = [
            ("Content-Length: 1\r\nTransfer-Encoding: chunked", 400),
            ("Content-Length: 1\r\nContent-Length: 1", 400),
            ("Content-Length: 1, 1", 400),
            ("Content-Length: +1", 400),
            ("Content-Length: 0x1", 400),
            ("Content-Length: -1", 400),
            ("Content-Length:", 400),
            ("Content-Length: 9999999999999999999999", 400),
            ("Transfer-Encoding: gzip, chunked", 501),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", 400),
            ("Transfer-Encoding: xchunked", 501),
            ("Transfer-Encoding : chunked", 400),
            ("A: b\r\n c", 400),
            ("A: b\nB: c", 400),
            ("Host: h", 400),
            ("no colon", 400),
            (": empty", 400),
        ];
        for (lines, status) in table {
            assert_eq!(refused(&format!("POST / HTTP/1.1\r\nHost: h\r\n{lines}\r\n\r\n")), status, "{lines}");
        }
        for (head, status) in [
            ("GET / HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
            ("GET /#f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET http://other/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", 501),
            ("GET / HTTP/1.2\r\nHost: h\r\n\r\n", 505),
            ("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET / \tHTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("GET / \r\n\r\n", 400),
            ("GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
        ] {
            assert_eq!(refused(head), status, "{head:?}");
        }
    }

    #[test]
    fn the_path_of_a_target_is_told_in_every_form() {
        for (target, path) in [
            ("/a/b?c", "/a/b"),
            ("http://h/a?b", "/a"),
            ("HTTPS://u@H/a", "/a"),
            ("http://h", ""),
            ("*", "*"),
            ("/x://h/a", "/x://h/a"),
            ("//credentials", "//credentials"),
        ] {
            let mut out = Vec::new();
            let head = parse(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes(), &mut out).unwrap().unwrap();
            assert_eq!(std::str::from_utf8(&out[head.path]).unwrap(), path, "{target}");
        }
    }

    #[test]
    fn five_hundred_lines_are_not_too_many() {
        let lines: String = (0..500).map(|i| format!("X-{i}: {i}\r\n")).collect();
        let head = format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        assert_eq!(goes_on(&head), head);
    }
}
