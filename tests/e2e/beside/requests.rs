//! Requests as bytes, and in what a request through Fairlead may differ from one that is sent straight. This is the whole list.

/// In what two exchanges differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// The origin saw nothing of it.
    NotForwarded,
    /// More requests at the origin, or fewer.
    Count,
    /// Method, target or version.
    Line,
    RequestHeaders,
    /// The same headers in other letters, order or blanks.
    RequestSpelling,
    RequestBody,
    Status,
    Headers,
    Spelling,
    Body,
}
use Difference::{Body, Headers, Status};

/// One request.
pub struct Case {
    pub label: String,
    pub method: &'static str,
    pub bytes: Vec<u8>,
    /// What is allowed, and has to be seen: where it is gone, the list is too long.
    pub allowed: &'static [Difference],
}

/// Each list of differences, with its reason.
mod because {
    use super::Difference::{self, Body, Headers, NotForwarded, RequestHeaders, Status};

    /// It comes as it went.
    pub const SAME: &[Difference] = &[];
    /// `Connection` and what it names, `Keep-Alive`, `TE` but for trailers, `Upgrade: h2c`: they speak of one hop.
    pub const HOP: &[Difference] = &[RequestHeaders];
    /// Two servers may read it in two ways, so that nobody is to read it: table C3, and what Clouddriver's server refuses as well.
    pub const REFUSED: &[Difference] = &[NotForwarded, Status, Headers, Body];
    /// As above, and the origin of this test would not have answered at all.
    pub const REFUSED_ALONE: &[Difference] = &[NotForwarded, Status];
    /// The answer is one that two clients may read in two ways, or none: 502.
    pub const NO_ANSWER: &[Difference] = &[Status, Headers, Body];
    /// As above, and straight from the origin it could not be read either.
    pub const NO_ANSWER_EITHER: &[Difference] = &[Status];
    /// Clouddriver takes the offer to go over to HTTP/2 (every one in these tests speaks it). Passed on, account changes would go through a
    /// tunnel in which nobody looks.
    pub const NO_TUNNEL: &[Difference] = &[Status, Headers, Body];
    /// What the answer's `Connection` names speaks of one hop.
    pub const ITS_HOP: &[Difference] = &[Headers];
}

fn case(label: &str, bytes: impl Into<Vec<u8>>, allowed: &'static [Difference]) -> Case {
    let bytes = bytes.into();
    let method = if bytes.starts_with(b"HEAD ") { "HEAD" } else { "GET" };
    Case { label: label.to_owned(), method, bytes, allowed }
}

fn get(label: &str, lines: &str, allowed: &'static [Difference]) -> Case {
    case(label, format!("GET /x HTTP/1.1\r\nHost: clouddriver:7002\r\n{lines}\r\n"), allowed)
}

fn post(label: &str, lines: &str, body: &str, allowed: &'static [Difference]) -> Case {
    case(label, format!("POST /x HTTP/1.1\r\nHost: clouddriver:7002\r\n{lines}\r\n{body}"), allowed)
}

fn target(target: &str, allowed: &'static [Difference]) -> Case {
    case(target, format!("GET {target} HTTP/1.1\r\nHost: clouddriver:7002\r\n\r\n"), allowed)
}

/// To the scripted origin.
pub fn to_an_origin() -> Vec<Case> {
    use because::{HOP, ITS_HOP, NO_ANSWER, NO_ANSWER_EITHER, REFUSED, SAME};
    let mut cases = Vec::new();
    for line in [
        "OPTIONS * HTTP/1.1",
        "OPTIONS /x HTTP/1.1",
        "HEAD /x HTTP/1.1",
        "DELETE /x HTTP/1.1",
        "post /x HTTP/1.1",
        "PROPFIND /x HTTP/1.1",
        "TRACE /x HTTP/1.1",
    ] {
        cases.push(case(line, format!("{line}\r\nHost: clouddriver:7002\r\n\r\n"), SAME));
    }
    for path in [
        "/x?",
        "/x?a=b&&c=%zz",
        "/%63redentials",
        "/a%20b",
        "/a+b",
        "/a%2Fb",
        "/a%5cb",
        "/a%00",
        "/a%zz",
        "/%",
        "//x",
        "/x//y",
        "/./x",
        "/x/../y",
        "/x/..",
        "/x/.",
        "/a;b=1",
        "/;",
        "/a:b",
        "/a@b",
        "/~a",
        "/a*",
        "/a\"b",
        "/a<b>",
        "/a^b",
        "/a`b",
        "/a{b}",
        "/a|b",
        "/a\\b",
        "/\u{e9}",
        "/%C3%A9",
        "/%c0%af",
        "/[x]",
        "/x?\"<>^`{|}",
        "http://clouddriver:7002/x",
        "http://clouddriver:7002",
        "HTTP://CLOUDDRIVER:7002/x",
    ] {
        cases.push(target(path, SAME));
    }
    for path in ["/x#y", "/x#", "http://elsewhere:1/x", "https://elsewhere/x"] {
        cases.push(target(path, REFUSED));
    }
    cases.push(target(&format!("/{}", "long".repeat(2300)), SAME));
    let many: String = (0..500).map(|i| format!("X-Header-{i}: {i}\r\n")).collect();
    let accounts = format!("X-SPINNAKER-ACCOUNTS: {}\r\n", "kubernetes-account-0123456789,".repeat(2000));
    for (label, lines) in [
        (
            "Gate's own",
            "X-SPINNAKER-USER-ORIGIN: api\r\nX-SPINNAKER-USER: me\r\nAccept-Encoding: gzip\r\nUser-Agent: okhttp/4.9.3\r\nX-B3-TraceId: 1\r\n",
        ),
        ("names in their own letters", "x-lower: 1\r\nX-UPPER: 2\r\nX-miXed: 3\r\n"),
        ("equal names", "X-A: 1\r\nx-a: 2\r\nX-A: 1\r\n"),
        ("empty and blank values", "X-A:\r\nX-B:  a\tb \r\nX-C:c\r\n"),
        ("Latin letters", "X-A: \u{e9}\r\n"),
        ("odd names", "!#$%&'*+-.^_`|~9: 1\r\nX_Y: 1\r\n"),
        ("two cookies", "Cookie: a=1\r\nCookie: b=2\r\n"),
        ("other proxies' headers", "Via: 1.1 x\r\nForwarded: for=1\r\nX-Forwarded-For: 1\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1\r\n"),
        (
            "conditions and ranges",
            "If-None-Match: \"1\"\r\nIf-Modified-Since: Sat, 21 Nov 2026 00:00:00 GMT\r\nRange: bytes=0-1\r\nIf-Range: \"1\"\r\n",
        ),
        ("overrides", "X-HTTP-Method-Override: DELETE\r\nX-Original-URL: /y\r\nX-Rewrite-URL: /y\r\n"),
        ("500 headers", many.as_str()),
        ("60 KB of accounts", accounts.as_str()),
        ("asks for trailers", "TE: trailers\r\n"),
        ("an upgrade", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: x\r\n"),
        ("an odd expectation", "Expect: something\r\n"),
    ] {
        cases.push(get(label, lines, SAME));
    }
    for (label, lines) in [
        ("Gate's connection", "Connection: Keep-Alive\r\n"),
        ("an end", "Connection: close\r\n"),
        ("nominated headers", "Connection: X-A, x-spinnaker-user\r\nX-A: 1\r\nX-SPINNAKER-USER: me\r\n"),
        ("an old proxy's", "Proxy-Connection: keep-alive\r\nKeep-Alive: 5\r\n"),
        ("other codings", "TE: gzip, trailers;q=0.5\r\n"),
        ("an upgrade to h2c", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"),
    ] {
        cases.push(get(label, lines, HOP));
    }
    for (label, lines, body) in [
        ("a body", "Content-Length: 2\r\nContent-Type: application/json; charset=UTF-8\r\n", "{}"),
        ("no body", "Content-Length: 0\r\n", ""),
        ("neither", "", ""),
        ("chunks", "Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n"),
        ("extensions", "Transfer-Encoding: chunked\r\n", "5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n"),
        ("trailers", "Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n", "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ("trailers of which nobody spoke", "Transfer-Encoding: chunked\r\n", "2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ("coded, or not", "Content-Encoding: gzip\r\nContent-Length: 3\r\n", "\x1f\x02x"),
        ("a body that comes without being asked for", "Expect: 100-continue\r\nContent-Length: 2\r\n", "{}"),
    ] {
        cases.push(post(label, lines, body, SAME));
    }
    cases.push(case("a body on GET", "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", SAME));
    cases.push(case("a body on DELETE", "DELETE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", SAME));
    cases.push(case("HTTP/1.0", "GET /x HTTP/1.0\r\nHost: h\r\n\r\n", SAME));
    cases.push(case("HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n", SAME));
    cases.push(case("HTTP/1.0 that stays", "GET /x HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n", HOP));
    cases.extend(framing());
    for (i, (label, answer)) in super::scripted::ANSWERS.iter().enumerate() {
        let allowed = match *label {
            "its hop's own" => ITS_HOP,
            "both lengths" | "two lengths" => NO_ANSWER,
            "no HTTP" => NO_ANSWER_EITHER,
            _ => SAME,
        };
        cases.push(case(&format!("answer: {label}"), format!("GET /answer/{i} HTTP/1.1\r\nHost: h\r\n\r\n"), allowed));
        if allowed == SAME && !answer.contains(" 103 ") {
            cases.push(case(&format!("answer to HEAD: {label}"), format!("HEAD /answer/{i} HTTP/1.1\r\nHost: h\r\n\r\n"), SAME));
        }
    }
    cases
}

/// What hides in a body: whoever takes it for a request was led astray.
pub const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";

/// Requests that two servers may read in two ways, with something hidden in each.
pub fn framing() -> Vec<Case> {
    use because::{REFUSED, REFUSED_ALONE, SAME};
    let length = HIDDEN.len();
    let chunks = format!("0\r\n\r\n{HIDDEN}");
    let mut cases = Vec::new();
    for (label, lines, body) in [
        ("length and chunks", format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n", length + 5), &chunks),
        ("chunks and a short length", "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n".to_owned(), &chunks),
        ("two equal lengths", format!("Content-Length: {length}\r\nContent-Length: {length}\r\n"), &HIDDEN.to_owned()),
        ("two lengths", format!("Content-Length: 0\r\nContent-Length: {length}\r\n"), &HIDDEN.to_owned()),
        ("a blank before the colon", format!("Content-Length : {length}\r\n"), &HIDDEN.to_owned()),
    ] {
        cases.push(post(label, &lines, body, REFUSED));
    }
    for (label, lines) in [
        ("a list of lengths", format!("Content-Length: {length}, {length}\r\n")),
        ("a length with a sign", format!("Content-Length: +{length}\r\n")),
        ("a hexadecimal length", format!("Content-Length: 0x{length:x}\r\n")),
        ("a negative length", "Content-Length: -1\r\n".to_owned()),
        ("an empty length", "Content-Length:\r\n".to_owned()),
    ] {
        cases.push(post(label, &lines, HIDDEN, REFUSED_ALONE));
    }
    for (label, lines) in [
        ("two codings", "Transfer-Encoding: gzip, chunked\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ("another coding", "Transfer-Encoding: xchunked\r\n"),
        ("no coding", "Transfer-Encoding: identity\r\n"),
        ("a coding with a vertical tab", "Transfer-Encoding: \u{b}chunked\r\n"),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n"),
        ("a coding behind a bare LF", "X: 1\nTransfer-Encoding: chunked\r\n"),
        ("a coding behind a bare CR", "X: 1\rTransfer-Encoding: chunked\r\n"),
    ] {
        cases.push(post(label, lines, &chunks, REFUSED));
    }
    for (label, bytes) in [
        ("chunks in HTTP/1.0", format!("POST /x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")),
        ("two blanks", "GET  /x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("a tab", "GET\t/x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("small letters", "GET /x http/1.1\r\nHost: h\r\n\r\n".to_owned()),
        ("HTTP/1.2", "GET /x HTTP/1.2\r\nHost: h\r\n\r\n".to_owned()),
        ("no Host", "GET /x HTTP/1.1\r\nX: 1\r\n\r\n".to_owned()),
        ("two Hosts", "GET /x HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n".to_owned()),
        ("a folded header", "GET /x HTTP/1.1\r\nHost: h\r\nX: 1\r\n y\r\n\r\n".to_owned()),
        ("a header without colon", "GET /x HTTP/1.1\r\nHost: h\r\nX\r\n\r\n".to_owned()),
        ("a header without name", "GET /x HTTP/1.1\r\nHost: h\r\n: 1\r\n\r\n".to_owned()),
        ("NUL in a header", "GET /x HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n".to_owned()),
        ("CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n".to_owned()),
    ] {
        cases.push(case(label, bytes, REFUSED));
    }
    cases.push(case("bare LF throughout", "GET /x HTTP/1.1\nHost: h\n\n", REFUSED_ALONE));
    cases.push(post("a request in a body", &format!("Content-Length: {length}\r\n"), HIDDEN, SAME));
    cases.push(post("a request in a chunk", "Transfer-Encoding: chunked\r\n", &format!("{length:x}\r\n{HIDDEN}\r\n0\r\n\r\n"), SAME));
    for (label, body) in [
        ("a size that is none", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("a size with a sign", "+5\r\nhello\r\n0\r\n\r\n"),
        ("a size too large", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
        ("a bare LF behind a size", "5\nhello\r\n0\r\n\r\n"),
        ("nothing behind a chunk", "5\r\nhello0\r\n\r\n"),
    ] {
        cases.push(post(label, "Transfer-Encoding: chunked\r\n", &format!("{body}{HIDDEN}"), REFUSED_ALONE));
    }
    cases
}

/// To the real Clouddriver, none of which changes anything there.
pub fn to_clouddriver() -> Vec<Case> {
    use because::{NO_TUNNEL, SAME};
    /// Its server takes what we refuse (table C3).
    const REFUSED: &[Difference] = &[Status, Headers, Body];
    /// Refused by either, each with a page of its own.
    const REFUSED_BY_BOTH: &[Difference] = &[Headers, Body];
    let mut cases = Vec::new();
    for line in [
        "GET /credentials",
        "GET /credentials?expand=true",
        "GET /credentials/nobody",
        "GET /credentials/type/kubernetes",
        "GET /credentials/nobody/history",
        "GET /applications?restricted=false&expand=true",
        "GET /health",
        "GET /nothing",
        "GET /",
        "GET /%63redentials",
        "GET /credentials/",
        "GET //credentials",
        "GET /credentials//x",
        "GET /credentials/.",
        "GET /x/../credentials",
        "GET /credentials;x=1",
        "GET /credentials%2F",
        "GET /credentials%5c",
        "GET /credentials%00",
        "GET /credentials%zz",
        "GET /credentials%",
        "GET /credentials\\",
        "GET /credentials^",
        "GET /credentials{x}",
        "GET /credentials\"",
        "GET /credentials<",
        "GET /credentials|",
        "GET /credentials\u{e9}",
        "GET /credentials%c0%af",
        "GET /credentials?x=%zz",
        "GET credentials",
        "GET http://clouddriver:7002/credentials",
        "HEAD /credentials",
        "HEAD /nothing",
        "OPTIONS /credentials",
        "OPTIONS *",
        "TRACE /credentials",
        "PROPFIND /credentials",
        "get /credentials",
        "DELETE /credentials/type/x",
        "DELETE /credentials/nobody",
        "PATCH /credentials",
    ] {
        cases.push(case(line, format!("{line} HTTP/1.1\r\nHost: clouddriver:7002\r\n\r\n"), SAME));
    }
    let many: String = (0..150).map(|i| format!("X-Header-{i}: {i}\r\n")).collect();
    let accounts = format!("X-SPINNAKER-ACCOUNTS: {}\r\n", "kubernetes-account-0123456789,".repeat(2000));
    for (label, lines) in [
        ("gzip is taken", "Accept-Encoding: gzip\r\n"),
        ("no type that there is", "Accept: image/png\r\n"),
        ("another origin", "Origin: http://elsewhere\r\nAccess-Control-Request-Method: GET\r\n"),
        ("a condition", "If-None-Match: *\r\n"),
        ("who calls", "X-SPINNAKER-USER: me\r\nX-SPINNAKER-REQUEST-ID: 1\r\nX-SPINNAKER-ACCOUNTS: a,b\r\n"),
        ("150 headers", many.as_str()),
        ("60 KB of accounts", accounts.as_str()),
        ("Latin letters", "X-A: \u{e9}\r\n"),
        ("an upgrade", "Connection: Upgrade\r\nUpgrade: websocket\r\n"),
        ("an odd expectation", "Expect: something\r\n"),
        ("an end", "Connection: close\r\n"),
    ] {
        cases.push(case(label, format!("GET /credentials HTTP/1.1\r\nHost: clouddriver:7002\r\n{lines}\r\n"), SAME));
    }
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    cases.push(case("an upgrade to h2c", format!("GET /credentials HTTP/1.1\r\nHost: clouddriver:7002\r\n{h2c}\r\n"), NO_TUNNEL));
    cases.push(case("a target of 9 KB", format!("GET /{} HTTP/1.1\r\nHost: clouddriver:7002\r\n\r\n", "long".repeat(2300)), SAME));
    for version in ["1.0", "1.0\r\nConnection: keep-alive"] {
        cases.push(case(&format!("HTTP/{version:?}"), format!("GET /credentials HTTP/{version}\r\nHost: clouddriver:7002\r\n\r\n"), SAME));
    }
    let to = |lines: &str, body: &str| {
        format!("POST /credentials HTTP/1.1\r\nHost: clouddriver:7002\r\nContent-Type: application/json\r\n{lines}\r\n{body}")
    };
    for (label, lines, body) in [
        ("no account", "Content-Length: 2\r\n", "{}"),
        ("no JSON", "Content-Length: 2\r\n", "{["),
        ("nothing", "Content-Length: 0\r\n", ""),
        ("neither", "", ""),
        ("chunks", "Transfer-Encoding: chunked\r\n", "1;e=1\r\n{\r\n1\r\n}\r\n0\r\nX-Sum: 1\r\n\r\n"),
        ("asked for", "Expect: 100-continue\r\nContent-Length: 2\r\n", "{}"),
        ("coded", "Content-Encoding: gzip\r\nContent-Length: 2\r\n", "{}"),
    ] {
        cases.push(case(label, to(lines, body), SAME));
    }
    for (label, lines, body) in [
        ("two lengths", "Content-Length: 2\r\nContent-Length: 2\r\n", "{}"),
        ("a list of lengths", "Content-Length: 2, 2\r\n", "{}"),
        ("a length with a sign", "Content-Length: +2\r\n", "{}"),
        ("an empty length", "Content-Length:\r\n", "{}"),
        ("two codings", "Transfer-Encoding: gzip, chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n"),
    ] {
        cases.push(case(label, to(lines, body), REFUSED_BY_BOTH));
    }
    for (label, lines) in [
        ("no Host", "GET /credentials HTTP/1.1\r\nX: 1\r\n\r\n"),
        ("two Hosts", "GET /credentials HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n"),
        ("another host than the target's", "GET http://elsewhere/credentials HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a fragment", "GET /credentials#x HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("chunks in HTTP/1.0", "POST /credentials HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("HTTP/1.2", "GET /credentials HTTP/1.2\r\nHost: h\r\n\r\n"),
        ("CONNECT", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n"),
        ("a blank before a colon", "GET /credentials HTTP/1.1\r\nHost: h\r\nX : 1\r\n\r\n"),
        ("a header without colon", "GET /credentials HTTP/1.1\r\nHost: h\r\nX\r\n\r\n"),
        ("NUL in a header", "GET /credentials HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n"),
    ] {
        cases.push(case(label, lines, REFUSED_BY_BOTH));
    }
    for (label, lines) in [
        ("two blanks", "GET  /credentials HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a tab", "GET\t/credentials HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("a folded header", "GET /credentials HTTP/1.1\r\nHost: h\r\nX: 1\r\n y\r\n\r\n"),
        ("bare LF", "GET /credentials HTTP/1.1\nHost: h\n\n"),
        ("length and chunks", "POST /nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 7\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ] {
        cases.push(case(label, lines, REFUSED));
    }
    cases
}
