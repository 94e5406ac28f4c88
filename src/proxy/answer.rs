//! Heads and trailers between the bytes of HTTP/1 and the maps of the `http` crate.

use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::wire::head::MAX_LINES;

/// The headers of a head that was checked before. A line that cannot be one is left out.
pub(super) fn headers_of(head: &[u8]) -> HeaderMap {
    let lines = head.iter().position(|b| *b == b'\n').map_or(&head[..0], |end| &head[end + 1..]);
    trailers_of(lines)
}

/// As [`headers_of`], of lines alone.
pub(super) fn trailers_of(lines: &[u8]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for line in lines.split(|b| *b == b'\n').take(MAX_LINES) {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let (name, value) = (HeaderName::from_bytes(&line[..colon]), HeaderValue::from_bytes(line[colon + 1..].trim_ascii()));
        if let (Ok(name), Ok(value)) = (name, value) {
            map.append(name, value);
        }
    }
    map
}

/// Trailers as HTTP/2 can carry them: without what speaks of a connection of HTTP/1, with which it would refuse them all.
pub(super) fn of_no_hop(mut trailers: HeaderMap) -> HeaderMap {
    const THE_HOPS: [&str; 7] = ["connection", "http2-settings", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];
    for name in THE_HOPS {
        trailers.remove(name);
    }
    trailers
}

/// The end of a chunked body.
pub(super) fn last_chunk(trailers: &HeaderMap) -> Bytes {
    if trailers.is_empty() {
        return Bytes::from_static(b"0\r\n\r\n");
    }
    let mut out = b"0\r\n".to_vec();
    write_lines(&mut out, trailers, |_| true);
    out.extend_from_slice(b"\r\n");
    out.into()
}

/// The head of a request that did not come over HTTP/1, as it goes to Clouddriver. `exact`: the length of its body, if known.
pub(super) fn request_head(parts: &Parts, exact: Option<u64>) -> Bytes {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    let target = parts.uri.path_and_query().map_or("/", |t| t.as_str());
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !parts.headers.contains_key(header::HOST) {
        let host = parts.uri.authority().map_or("", |a| a.as_str());
        push_line(&mut out, b"host", host.as_bytes());
    }
    write_lines(&mut out, &parts.headers, |name| {
        !matches!(
            name.as_str(),
            "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "http2-settings" | "cookie"
        )
    });
    let mut cookies = parts.headers.get_all(header::COOKIE).iter();
    if let Some(first) = cookies.next() {
        // RFC 9113 §8.2.3: HTTP/2 may split them, HTTP/1.1 may not.
        let mut all = first.as_bytes().to_vec();
        for cookie in cookies {
            all.extend_from_slice(b"; ");
            all.extend_from_slice(cookie.as_bytes());
        }
        push_line(&mut out, b"cookie", &all);
    }
    match exact {
        Some(n) if n > 0 && !parts.headers.contains_key(header::CONTENT_LENGTH) => {
            push_line(&mut out, b"content-length", n.to_string().as_bytes())
        }
        None => push_line(&mut out, b"transfer-encoding", b"chunked"),
        _ => {}
    }
    out.extend_from_slice(b"\r\n");
    out.into()
}

/// How a body of ours is framed over HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// Its length is in the head, or it has none.
    Plain,
    Chunked,
}

/// Writes the head of an answer of our own. `exact`: the length of its body, if known. `close`: the connection ends after it.
pub(super) fn answer_head(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap, exact: Option<u64>, close: bool) -> Coding {
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    write_lines(out, headers, |name| name != header::CONNECTION && name != header::TRANSFER_ENCODING);
    let bare = status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED || headers.contains_key(header::CONTENT_LENGTH);
    let coding = match exact {
        _ if bare => Coding::Plain,
        Some(n) => {
            push_line(out, b"content-length", n.to_string().as_bytes());
            Coding::Plain
        }
        None => {
            push_line(out, b"transfer-encoding", b"chunked");
            Coding::Chunked
        }
    };
    if close {
        push_line(out, b"connection", b"close");
    }
    out.extend_from_slice(b"\r\n");
    coding
}

fn write_lines(out: &mut Vec<u8>, headers: &HeaderMap, keep: impl Fn(&HeaderName) -> bool) {
    for (name, value) in headers {
        if keep(name) {
            push_line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
}

fn push_line(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
