//! Which headers belong to one hop only (RFC 9110 §7.6.1), and how they leave without disturbing the order of the rest.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

/// Takes away what belongs to the hop that a message came over. `Transfer-Encoding: chunked` stays, since it tells hyper the
/// framing (and its place among the headers); of `TE`, `trailers` stays, the one word that asks for something end-to-end.
///
/// The order of what stays is kept: `HeaderMap::remove` would move the last header into the gap.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(is_hop) {
        return;
    }
    let nominated = nominated(headers);
    let old = std::mem::take(headers);
    headers.reserve(old.len());
    let mut name = None;
    for (next, value) in old {
        if next.is_some() {
            name = next;
        }
        let Some(name) = name.as_ref() else { continue };
        if *name == header::TE {
            if !headers.contains_key(header::TE) && asks_for_trailers(&value) {
                headers.insert(header::TE, HeaderValue::from_static("trailers"));
            }
        } else if !is_hop(name) && !nominated.contains(name) {
            headers.append(name.clone(), value);
        }
    }
}

fn is_hop(name: &HeaderName) -> bool {
    *name == header::CONNECTION
        || *name == header::TE
        || *name == header::UPGRADE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The headers that `Connection` names, less those that no client may have removed by naming them: who calls
/// (`X-SPINNAKER-*`, `Authorization`, `Cookie`), and where and how much (`Host`, the framing, the type).
fn nominated(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| !option.eq_ignore_ascii_case(b"close") && !option.eq_ignore_ascii_case(b"keep-alive"))
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .filter(|name| !is_protected(name))
        .collect()
}

fn is_protected(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-spinnaker-")
        || [
            header::AUTHORIZATION,
            header::CONTENT_LENGTH,
            header::CONTENT_TYPE,
            header::CONTENT_ENCODING,
            header::COOKIE,
            header::HOST,
            header::SET_COOKIE,
            header::TRANSFER_ENCODING,
        ]
        .contains(name)
}

fn asks_for_trailers(value: &HeaderValue) -> bool {
    value.as_bytes().split(|b| *b == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// How a message says that its body is framed, as far as that can be passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransferEncoding {
    /// No such header.
    None,
    /// `chunked`, once and alone.
    Chunked,
    /// Given more than once.
    Repeated,
    /// Something that is not `chunked` alone.
    Unknown,
}

/// Reads `Transfer-Encoding`.
pub(super) fn transfer_encoding(headers: &HeaderMap) -> TransferEncoding {
    let mut values = headers.get_all(header::TRANSFER_ENCODING).iter();
    match (values.next(), values.next()) {
        (None, _) => TransferEncoding::None,
        (Some(_), Some(_)) => TransferEncoding::Repeated,
        (Some(value), None) if value.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => TransferEncoding::Chunked,
        _ => TransferEncoding::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stripped(lines: &[(&str, &str)]) -> Vec<String> {
        let mut map = HeaderMap::new();
        for (name, value) in lines {
            map.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        strip_hop_by_hop(&mut map);
        map.iter().map(|(n, v)| format!("{n}: {}", v.to_str().unwrap())).collect()
    }

    #[test]
    fn what_stays_keeps_its_order() {
        let kept = stripped(&[("host", "h"), ("connection", "Keep-Alive"), ("a", "1"), ("b", "2"), ("a", "3"), ("c", "4")]);
        assert_eq!(kept, ["host: h", "a: 1", "a: 3", "b: 2", "c: 4"]);
    }

    #[test]
    fn every_header_of_the_hop_goes_and_te_keeps_only_trailers() {
        let kept = stripped(&[
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("upgrade", "h2c"),
            ("te", "gzip;q=0.5, Trailers"),
            ("transfer-encoding", "chunked"),
            ("trailer", "x-sum"),
        ]);
        assert_eq!(kept, ["te: trailers", "transfer-encoding: chunked", "trailer: x-sum"]);
    }

    #[test]
    fn a_nominated_header_goes_unless_it_says_who_calls_or_how_long_the_body_is() {
        let kept = stripped(&[
            ("connection", "X-Mine, x-spinnaker-USER,authorization , Content-Length, host, cookie, content-type"),
            ("x-mine", "1"),
            ("x-spinnaker-user", "me"),
            ("authorization", "x"),
            ("content-length", "3"),
            ("host", "h"),
            ("cookie", "c"),
            ("content-type", "t"),
        ]);
        assert_eq!(kept, ["x-spinnaker-user: me", "authorization: x", "content-length: 3", "host: h", "cookie: c", "content-type: t"]);
    }

    #[test]
    fn only_chunked_once_and_alone_is_chunked() {
        let of = |values: &[&'static str]| {
            let mut map = HeaderMap::new();
            for value in values {
                map.append(header::TRANSFER_ENCODING, HeaderValue::from_static(value));
            }
            transfer_encoding(&map)
        };
        assert_eq!(of(&[]), TransferEncoding::None);
        assert_eq!(of(&["Chunked"]), TransferEncoding::Chunked);
        assert_eq!(of(&["chunked", "chunked"]), TransferEncoding::Repeated);
        assert_eq!(of(&["gzip, chunked"]), TransferEncoding::Unknown);
    }
}
