//! Heads, from one version to the other.

use bytes::Bytes;
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version, header, response};

use super::super::call::RawHead;
use super::super::wire::Framing;

/// Lines that belong to a connection of HTTP/1.
fn is_the_hops(name: &HeaderName) -> bool {
    matches!(name.as_str(), "connection" | "keep-alive" | "proxy-connection" | "transfer-encoding" | "upgrade" | "http2-settings")
}

/// A head that is larger goes over HTTP/1.1, where Clouddriver's server refuses it with an answer; by HTTP/2 it resets the stream, or ends
/// the connection with the requests of others on it. Counted as RFC 9113 §6.5.2 does.
const MAX_SIZE: usize = 8 * 1024;
const LINE: usize = 32;
/// The same for its lines, those that stand for the first one included.
const MAX_LINES: usize = 96;

/// The head as HTTP/2 says it. `None`: it cannot say just this.
pub(super) fn request(parts: &Parts, https: bool) -> Option<Request<()>> {
    if parts.version == Version::HTTP_10 || parts.headers.contains_key(header::UPGRADE) || parts.method == Method::CONNECT {
        return None;
    }
    let path = parts.uri.path_and_query()?;
    if let Some(RawHead(head)) = parts.extensions.get() {
        let target = head.split(|b| *b == b' ').nth(1)?;
        // Another form of target, or one that the services were shown in another spelling.
        if target != path.as_str().as_bytes() || !(target.starts_with(b"/") || (target == b"*" && parts.method == Method::OPTIONS)) {
            return None;
        }
    }
    let authority = match (parts.headers.get(header::HOST), parts.uri.authority()) {
        (Some(host), _) => Authority::try_from(host.as_bytes()).ok()?,
        (None, Some(authority)) => authority.clone(),
        (None, None) => return None,
    };
    let size: usize = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + LINE).sum();
    if parts.headers.len() > MAX_LINES || size + path.as_str().len() + 4 * LINE > MAX_SIZE {
        return None;
    }
    let mut headers = HeaderMap::with_capacity(parts.headers.len());
    for (name, value) in &parts.headers {
        if name == header::TE {
            headers.insert(name, HeaderValue::from_static("trailers"));
        } else if name != header::HOST && !is_the_hops(name) {
            headers.append(name, value.clone());
        }
    }
    let mut request = Request::new(());
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri(if https { Scheme::HTTPS } else { Scheme::HTTP }, authority, path.clone())?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = headers;
    Some(request)
}

fn uri(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Option<Uri> {
    let mut parts = http::uri::Parts::default();
    (parts.scheme, parts.authority, parts.path_and_query) = (Some(scheme), Some(authority), Some(path));
    Uri::from_parts(parts).ok()
}

/// How an answer's body is framed for a client of HTTP/1, and the head that says so.
pub(super) fn answer(parts: &response::Parts, head_only: bool, ended: bool) -> (Bytes, Framing) {
    let mut out = line(parts.status);
    lines(&mut out, &parts.headers);
    let bare = head_only || matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let framing = match parts.headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()?.parse().ok()) {
        _ if bare => Framing::Empty,
        Some(0) => Framing::Empty,
        Some(length) => Framing::Length(length),
        None if ended => {
            out.extend_from_slice(b"content-length: 0\r\n");
            Framing::Empty
        }
        None => {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
            Framing::Chunked
        }
    };
    out.extend_from_slice(b"\r\n");
    (out.into(), framing)
}

/// An interim answer (1xx), as a client of HTTP/1 is told it.
pub(super) fn interim(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut out = line(status);
    lines(&mut out, headers);
    out.extend_from_slice(b"\r\n");
    out
}

fn line(status: StatusCode) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
    out
}

fn lines(out: &mut Vec<u8>, headers: &HeaderMap) {
    for (name, value) in headers.iter().filter(|(name, _)| !is_the_hops(name)) {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(head: &str) -> Option<Request<()>> {
        let head = head.replace('\n', "\r\n");
        let mut words = head.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let mut request = Request::new(());
        *request.method_mut() = Method::from_bytes(method.as_bytes()).unwrap();
        *request.uri_mut() = Uri::try_from(target).unwrap_or_else(|_| Uri::from_static("//credentials"));
        *request.headers_mut() = super::super::super::answer::headers_of(head.as_bytes());
        request.extensions_mut().insert(RawHead(Bytes::from(head.clone())));
        super::request(&request.into_parts().0, false)
    }

    #[test]
    fn a_head_is_said_with_its_path_as_it_came_and_without_what_is_the_hops() {
        for path in ["/", "/%63redentials?x=%zz", "//x", "/a/../b;c", "/\u{e9}"] {
            let said = said(&format!("GET {path} HTTP/1.1\nHost: h:1\nX: 1\nTE: Trailers\nTransfer-Encoding: chunked\n\n")).unwrap();
            assert_eq!(said.uri().path_and_query().unwrap().as_str(), path);
            assert_eq!(said.uri().authority().unwrap(), "h:1");
            let headers: Vec<_> = said.headers().iter().map(|(n, v)| (n.as_str(), v.to_str().unwrap())).collect();
            assert_eq!(headers, [("x", "1"), ("te", "trailers")]);
        }
        assert!(said("OPTIONS * HTTP/1.1\nHost: h\n\n").is_some());
    }

    #[test]
    fn what_http_2_cannot_say_just_so_is_not_said() {
        for head in [
            "GET http://h/x HTTP/1.1\nHost: h\n\n",
            "GET /a<b HTTP/1.1\nHost: h\n\n",
            "GET x HTTP/1.1\nHost: h\n\n",
            "GET * HTTP/1.1\nHost: h\n\n",
            "GET /x HTTP/1.1\nHost:\n\n",
            "GET /x HTTP/1.1\nHost: a b\n\n",
            "GET /x HTTP/1.1\nHost: h\nUpgrade: websocket\n\n",
        ] {
            assert!(said(head).is_none(), "{head:?}");
        }
        // As Gate sends them.
        let accounts = format!("GET /x HTTP/1.1\nHost: h\nX-SPINNAKER-ACCOUNTS: {}\n\n", "a".repeat(60_000));
        let lines = format!("GET /x HTTP/1.1\nHost: h\n{}\n", "X: 1\n".repeat(150));
        assert!(said(&accounts).is_none() && said(&lines).is_none());
    }

    #[test]
    fn an_answer_says_how_long_it_is_and_nothing_of_a_body_that_it_does_not_have() {
        let head = |status: u16, length: Option<&str>, head_only, ended| {
            let mut parts = http::Response::new(()).into_parts().0;
            parts.status = StatusCode::from_u16(status).unwrap();
            length.map(|length| parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from_str(length).unwrap()));
            let (head, framing) = answer(&parts, head_only, ended);
            (String::from_utf8(head.to_vec()).unwrap(), framing)
        };
        assert_eq!(head(200, Some("2"), false, false), ("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n".into(), Framing::Length(2)));
        assert_eq!(head(200, None, false, false), ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".into(), Framing::Chunked));
        assert_eq!(head(200, None, false, true), ("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".into(), Framing::Empty));
        assert_eq!(head(200, None, true, true), ("HTTP/1.1 200 OK\r\n\r\n".into(), Framing::Empty));
        assert_eq!(head(200, Some("9"), true, true), ("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n".into(), Framing::Empty));
        assert_eq!(head(204, None, false, true), ("HTTP/1.1 204 No Content\r\n\r\n".into(), Framing::Empty));
        assert_eq!(head(304, Some("9"), false, true), ("HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n".into(), Framing::Empty));
    }
}
