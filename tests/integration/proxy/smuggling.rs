//! Requests that two servers could read in two ways: what the origin sees is what the client sent, or nothing, and a connection on
//! which something was refused carries no more requests.

use super::rig::{Case, Fate, case, check, never_repaired, passes, refused};

/// What hides in bodies here; the origin must never see it where a request can begin.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n";
const BAD: &[u16] = &[400];
/// Unknown codings are 501 for Clouddriver's server, nonsense is 400: where the line runs is not ours to judge.
const NO_CODING: &[u16] = &[400, 501];
const NO_VERSION: &[u16] = &[400, 505];

fn post(lines: &str, body: &str) -> String {
    format!("POST /x HTTP/1.1\r\nHost: h\r\n{lines}\r\n{body}")
}

fn get(lines: &str) -> String {
    format!("GET /x HTTP/1.1\r\nHost: h\r\n{lines}\r\n")
}

fn target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn a_length_that_is_none_or_is_given_twice_is_refused() {
    let length = HIDDEN.len();
    let odd = [
        format!("{length}, {length}"),
        format!("{length},{length}"),
        format!("{length}, 0"),
        format!("+{length}"),
        format!("-{length}"),
        "-1".into(),
        format!("0x{length:x}"),
        format!("{length:x}h"),
        String::new(),
        " ".into(),
        ",".into(),
        format!("{length} {length}"),
        format!("{length};"),
        format!("{length}.0"),
        format!("\"{length}\""),
        format!("{length}_0"),
        "1e1".into(),
        "\u{b2}".into(),
        "NaN".into(),
        "18446744073709551616".into(),
        format!("18446744073709551616{length}"),
        "9".repeat(400),
    ];
    let mut cases: Vec<Case> =
        odd.iter().map(|value| refused(format!("length {value:?}"), post(&format!("Content-Length: {value}\r\n"), HIDDEN), BAD)).collect();
    for (name, lines) in [
        ("two equal", format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")),
        ("two that differ", format!("Content-Length: 0\r\nContent-Length: {length}\r\n")),
        ("two in other letters", format!("Content-Length: {length}\r\nX: 1\r\ncontent-LENGTH: {length}\r\n")),
        ("a good and an empty one", format!("Content-Length: {length}\r\nContent-Length:\r\n")),
        ("a blank before the colon", format!("Content-Length : {length}\r\n")),
        ("a tab before the colon", format!("Content-Length\t: {length}\r\n")),
        ("a folded one", format!("Content-Length:\r\n {length}\r\n")),
        ("a name with NUL", format!("Content-Length\0: {length}\r\n")),
        ("a value with NUL", format!("Content-Length: {length}\0\r\n")),
        ("a value with CR", format!("Content-Length: {length}\rX: 1\r\n")),
        ("a vertical tab before the value", format!("Content-Length: \u{b}{length}\r\n")),
    ] {
        cases.push(refused(format!("length, {name}"), post(&lines, HIDDEN), BAD));
    }
    cases.push(refused("length, twice on a GET", get("Content-Length: 0\r\nContent-Length: 0\r\n"), BAD));
    check(&cases);
}

#[test]
fn a_length_in_any_good_spelling_passes_with_just_so_many_bytes() {
    let length = HIDDEN.len();
    check(&[
        passes("a request in a body", post(&format!("Content-Length: {length}\r\n"), HIDDEN)),
        passes("no blank", post(&format!("Content-Length:{length}\r\n"), HIDDEN)),
        passes("blanks and tabs around", post(&format!("content-length: \t {length} \t\r\n"), HIDDEN)),
        passes("nothing", post("Content-Length: 0\r\n", "")),
        passes("a body on GET", format!("GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n{HIDDEN}")),
        passes("a body on DELETE", format!("DELETE /x HTTP/1.1\r\nContent-Length: {length}\r\nHost: h\r\n\r\n{HIDDEN}")),
        // A name that only looks like it says nothing of the length.
        passes("another name", get(&format!("Content_Length: {length}\r\nX-Content-Length: {length}\r\n"))),
        never_repaired("leading zeros", post(&format!("Content-Length: 00{length}\r\n"), HIDDEN)),
    ]);
}

#[test]
fn a_coding_that_is_not_chunked_alone_is_refused() {
    let body = format!("0\r\n\r\n{HIDDEN}");
    let mut cases = vec![refused("gzip, chunked", post("Transfer-Encoding: gzip, chunked\r\n", &body), &[501])];
    for value in [
        "gzip",
        "identity",
        "chunked, gzip",
        "chunked, identity",
        "identity, chunked",
        "xchunked",
        "chunkedx",
        "chunked;q=1",
        "\"chunked\"",
        "'chunked'",
        "chunked,",
        ",chunked",
        "",
        " ",
        "chun ked",
        "c\u{212a}unked",
        "\u{b}chunked",
        "chunked\u{b}",
        "chunked\0",
        "\0chunked",
        "chunked\u{a0}",
    ] {
        cases.push(refused(format!("coding {value:?}"), post(&format!("Transfer-Encoding: {value}\r\n"), &body), NO_CODING));
    }
    for (name, lines, statuses) in [
        ("twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BAD),
        ("twice in one line", "Transfer-Encoding: chunked, chunked\r\n", NO_CODING),
        ("a second that is none", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", NO_CODING),
        ("a first that is none", "Transfer-Encoding: x\r\ntransfer-encoding: chunked\r\n", NO_CODING),
        ("a second that is empty", "Transfer-Encoding: chunked\r\nTransfer-Encoding:\r\n", NO_CODING),
        ("a blank before the colon", "Transfer-Encoding : chunked\r\n", BAD),
        ("a folded one", "Transfer-Encoding:\r\n chunked\r\n", BAD),
        ("a folded one with a length", "Transfer-Encoding:\r\n\tchunked\r\nContent-Length: 5\r\n", BAD),
        ("a bare CR", "X: 1\rTransfer-Encoding: chunked\r\n", BAD),
        ("a bare LF", "X: 1\nTransfer-Encoding: chunked\r\n", BAD),
    ] {
        cases.push(refused(format!("coding, {name}"), post(lines, &body), statuses));
    }
    for version in ["1.0", "1.0\r\nConnection: keep-alive"] {
        let request = format!("POST /x HTTP/{version}\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        cases.push(refused(format!("chunked in HTTP/{version:?}"), request, BAD));
    }
    check(&cases);
}

#[test]
fn chunked_in_any_good_spelling_passes() {
    let body = format!("{:x}\r\n{HIDDEN}\r\n0\r\n\r\n", HIDDEN.len());
    check(&[
        passes("a request in a chunk", post("Transfer-Encoding: chunked\r\n", &body)),
        passes("no blank", post("Transfer-Encoding:chunked\r\n", &body)),
        passes("a tab", post("transfer-encoding:\tchunked \r\n", &body)),
        passes("in capitals", post("TRANSFER-ENCODING: CHUNKED\r\n", &body)),
        // A name that only looks like it says nothing of the framing.
        passes("another name", get("Transfer_Encoding: chunked\r\n")),
    ]);
}

#[test]
fn of_length_and_chunks_never_both_reach_clouddriver() {
    let alone = Fate::PassesAlone(post("Transfer-Encoding: chunked\r\n", "0\r\n\r\n").into_bytes());
    let fates = [Fate::Refused(BAD), alone];
    let length = HIDDEN.len() + 5;
    let mut cases = Vec::new();
    for (name, lines) in [
        ("length first", format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
        ("chunks first", format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n")),
        ("a short length", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n".into()),
        ("no length at all", "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n".into()),
    ] {
        cases.push(case(name, post(&lines, &format!("0\r\n\r\n{HIDDEN}")), &fates));
    }
    for lines in ["Content-Length: x\r\nTransfer-Encoding: chunked\r\n", "Transfer-Encoding: x\r\nContent-Length: 5\r\n"] {
        cases.push(refused(lines.escape_default().to_string(), post(lines, "0\r\n\r\n"), NO_CODING));
    }
    check(&cases);
}

#[test]
fn a_host_that_is_missing_double_or_another_than_the_targets_is_refused() {
    let line = |lines: &str| format!("GET /x HTTP/1.1\r\n{lines}\r\n");
    check(&[
        refused("none", line("X: 1\r\n"), BAD),
        refused("two equal", line("Host: h\r\nHost: h\r\n"), BAD),
        refused("two that differ", line("Host: h\r\nhOST: other\r\n"), BAD),
        refused("an empty second", line("Host: h\r\nHost:\r\n"), BAD),
        refused("a blank before the colon", line("Host : h\r\n"), BAD),
        refused("none, with an absolute target", "GET http://h/x HTTP/1.1\r\nX: 1\r\n\r\n", BAD),
        refused("another authority", target("http://other/x"), BAD),
        refused("another port", target("http://h:81/x"), BAD),
        refused("another authority, https", target("https://other/x"), BAD),
        refused("another authority in capitals", target("HTTP://OTHER/x"), BAD),
        refused("another authority and no path", target("http://other"), BAD),
        refused("another authority and a query", target("http://other?/x"), BAD),
        refused("another authority behind a user", target("http://h@other/x"), BAD),
        refused("another authority before HTTP/1.0's missing host", "GET http://other/x HTTP/1.0\r\nHost: h\r\n\r\n", BAD),
        passes("the same authority", target("http://h/x")),
        passes("the same authority, https", target("https://h/x?q")),
        passes("the same authority and port", "GET http://h:7002/x HTTP/1.1\r\nHost: h:7002\r\n\r\n"),
        never_repaired("the same authority in capitals", target("http://H/x")),
        never_repaired("the default port, told once", target("http://h:80/x")),
        never_repaired("a user", target("http://me@h/x")),
        never_repaired("no authority", target("http:///x")),
        never_repaired("another scheme", target("ftp://h/x")),
        never_repaired("a list", line("Host: h, other\r\n")),
        never_repaired("nothing", line("Host:\r\n")),
        never_repaired("a path", line("Host: h/x\r\n")),
        never_repaired("a user in it", line("Host: me@h\r\n")),
        never_repaired("a port that is none", line("Host: h:x\r\n")),
        never_repaired("a blank within", line("Host: h h\r\n")),
    ]);
}

#[test]
fn a_request_line_that_is_not_one_is_refused() {
    let line = |line: &str| format!("{line}\r\nHost: h\r\n\r\n");
    let mut cases = Vec::new();
    for odd in [
        "GET  /x HTTP/1.1",
        "GET\t/x HTTP/1.1",
        "GET /x\tHTTP/1.1",
        "GET /x  HTTP/1.1",
        "GET /x \tHTTP/1.1",
        "GET /x ",
        "GET /x HTTP/1.1 ",
        "GET /x HTTP/1.1\t",
        " GET /x HTTP/1.1",
        "GET /x",
        "GET",
        "GET HTTP/1.1",
        "GET  HTTP/1.1",
        " /x HTTP/1.1",
        "GET\u{b}/x\u{b}HTTP/1.1",
        "GET\0 /x HTTP/1.1",
        "G\u{e9}T /x HTTP/1.1",
        "GET /x\rHTTP/1.1",
    ] {
        cases.push(refused(format!("{odd:?}"), line(odd), BAD));
    }
    cases.push(refused("two targets", line("GET /x y HTTP/1.1"), NO_VERSION));
    for version in [
        "http/1.1",
        "Http/1.1",
        "HTTP/1.2",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3.0",
        "HTTP/0.9",
        "HTTP/11",
        "HTTP/1.1.1",
        "HTTP/01.1",
        "HTTP/1.10",
    ] {
        cases.push(refused(version, line(&format!("GET /x {version}")), NO_VERSION));
    }
    for version in ["HTP/1.1", "HTTP/1,1", "HTTP 1.1", "HTTP/", "HTTP/1", "HTTP/1.", "HTTP/1.x", "HTTP/-1.1", "HTTP/1.1\0"] {
        cases.push(refused(version, line(&format!("GET /x {version}")), NO_VERSION));
    }
    cases.push(case("the preface of HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[Fate::Nothing, Fate::Refused(NO_VERSION)]));
    cases.push(case("a client of TLS", &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], &[Fate::Nothing, Fate::Refused(BAD)]));
    cases.push(case("HTTP/0.9", "GET /x\r\n", &[Fate::Nothing, Fate::Refused(BAD)]));
    check(&cases);
}

#[test]
fn connect_is_refused_whatever_it_names() {
    check(&[
        refused("an authority", "CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\n\r\n", &[405, 501]),
        refused("another authority", "CONNECT other:1 HTTP/1.1\r\nHost: h\r\n\r\n", &[400, 405, 501]),
        refused("a path", "CONNECT /x HTTP/1.1\r\nHost: h\r\n\r\n", &[400, 405, 501]),
        refused("a body", format!("CONNECT h:1 HTTP/1.1\r\nHost: h:1\r\nContent-Length: 3\r\n\r\nabc{HIDDEN}"), &[400, 405, 501]),
    ]);
}

#[test]
fn a_target_passes_as_it_came_but_for_a_fragment() {
    let mut cases = Vec::new();
    for fragment in ["/x#y", "/x#", "#", "/#/x", "/x?q#f", "http://h/x#y", "/%63redentials#"] {
        cases.push(refused(format!("{fragment:?}"), target(fragment), BAD));
    }
    // What of this Clouddriver's server refuses, it refuses itself.
    for odd in [
        "/x\"y",
        "/x<y>",
        "/x^y",
        "/x{y}",
        "/x|y",
        "/x`y",
        "/x\\y",
        "/x[y]",
        "/x%",
        "/x%zz",
        "/x%2",
        "/x%00",
        "/x%2Fy",
        "/x%5cy",
        "/x%0a",
        "/x%c0%af",
        "/x%E9",
        "/x\u{e9}",
        "/\u{2028}",
        "//x",
        "/x//",
        "/./x",
        "/x/..",
        "/;x",
        "/x?a=\"<>\\^`{|}",
        "/x??",
        "/x?",
    ] {
        cases.push(passes(format!("{odd:?}"), target(odd)));
    }
    cases.push(never_repaired("Latin-1", &b"GET /x\xe9?\xff HTTP/1.1\r\nHost: h\r\n\r\n"[..]));
    cases.push(passes("everything", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"));
    for odd in ["x", "x/y", "\\x", "h:80", "?x", "*", "/x\u{1}", "/x\u{7f}", "/x\u{b}y", "/x\0"] {
        cases.push(never_repaired(format!("{odd:?}"), target(odd)));
    }
    check(&cases);
}

#[test]
fn a_head_that_is_not_one_is_refused() {
    let mut cases = Vec::new();
    for lines in [
        " X: 1\r\n",
        "X: 1\r\n y\r\n",
        "X: 1\r\n\ty\r\n",
        "X: 1\r\n \r\n",
        "X\r\n",
        ": x\r\n",
        " : x\r\n",
        "X Y: 1\r\n",
        "X : 1\r\n",
        "X\t: 1\r\n",
        "X(Y): 1\r\n",
        "X[0]: 1\r\n",
        "X\0: 1\r\n",
        "X\u{1}: 1\r\n",
        "X\u{e9}: 1\r\n",
        "X: \0\r\n",
        "X: a\0b\r\n",
        "X: a\rb\r\n",
        "X: a\r\r\n",
        "X: a\nY: b\r\n",
        "X: a\n\r\n",
        "\rX: 1\r\n",
        "\nX: 1\r\n",
        "GET /hidden HTTP/1.1\r\n",
    ] {
        cases.push(refused(format!("{lines:?}"), get(lines), BAD));
    }
    cases.push(refused("bare LF throughout", "GET /x HTTP/1.1\nHost: h\n\n", BAD));
    cases.push(refused("bare LF behind the request line", "GET /x HTTP/1.1\nHost: h\r\n\r\n", BAD));
    cases.push(refused("a blank before the first header", "GET /x HTTP/1.1\r\n Host: h\r\n\r\n", BAD));
    cases.push(refused("bare LF at the end", format!("GET /x HTTP/1.1\r\nHost: h\r\n\n{HIDDEN}"), BAD));
    cases.push(refused("bare CR at the end", "GET /x HTTP/1.1\r\nHost: h\r\r\n\r\n", BAD));
    for lines in ["X: \u{1}\r\n", "X: \u{7f}\r\n", "X: a\u{b}b\r\n", "X: \u{8}\r\n"] {
        cases.push(never_repaired(format!("{lines:?}"), get(lines)));
    }
    check(&cases);
}

#[test]
fn a_head_that_is_odd_and_allowed_passes_as_it_came() {
    let mut cases = Vec::new();
    for lines in
        ["X:\r\n", "X: \r\n", "X:a\r\n", "X:\t a\tb \t\r\n", "X: \u{e9}\r\n", "!#$%&'*+-.^_`|~9: 1\r\n", "X: 1\r\nX: 1\r\nx: 1\r\n"]
    {
        cases.push(passes(format!("{lines:?}"), get(lines)));
    }
    cases.push(passes("Latin-1", &b"GET /x HTTP/1.1\r\nHost: h\r\nX: \xe9\xff\r\n\r\n"[..]));
    cases.push(passes("host last", "GET /x HTTP/1.1\r\nX: 1\r\nhOsT:   h  \r\n\r\n"));
    for method in ["get", "G", "M-SEARCH", "X!#$%&'*+-.^_`|~9"] {
        cases.push(passes(method, format!("{method} /x HTTP/1.1\r\nHost: h\r\n\r\n")));
    }
    // An empty line or two from a client that ended its last body with one: no part of a request.
    let plain = get("");
    let fates = [Fate::Passes(plain.clone().into_bytes()), Fate::Refused(BAD)];
    for lines in ["\r\n", "\r\n\r\n"] {
        cases.push(case(format!("{lines:?} before"), format!("{lines}{plain}"), &fates));
    }
    check(&cases);
}

#[test]
fn by_http_2_too_a_request_names_one_host_and_one_length() {
    const HOST: &[u8] = b"\0\x04host\x01h";
    const OTHER: &[u8] = b"\0\x04host\x01g";
    const LENGTH: &[u8] = b"\0\x0econtent-length\x010";
    // As HPACK has it, an authority and the statuses.
    const AUTHORITY: &[u8] = b"\x01\x01h";
    const OK: u8 = 0x88;
    const BAD: u8 = 0x8c;
    for (name, lines, status) in [
        ("an authority", &[AUTHORITY][..], OK),
        ("a host", &[HOST], OK),
        ("both, and the same", &[AUTHORITY, HOST, LENGTH], OK),
        ("neither", &[], BAD),
        ("two hosts", &[HOST, OTHER], BAD),
        ("the same twice", &[HOST, HOST], BAD),
        ("another than the authority", &[AUTHORITY, OTHER], BAD),
        ("two lengths", &[AUTHORITY, LENGTH, LENGTH], BAD),
        ("a length that is none", &[AUTHORITY, b"\0\x0econtent-length\0"], BAD),
    ] {
        let rig = super::rig::Rig::start(super::raw::Proxy::before);
        let mut client = rig.client();
        let block = [&[0x83, 0x86, 0x04, 2, b'/', b'x'], &lines.concat()[..]].concat();
        client.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
        client.write([&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1], &block[..]].concat());
        assert_eq!(super::frames::status(client.stream()), Some(status), "{name}");
        drop(client);
        assert_eq!(rig.end().is_empty(), status == BAD, "{name}");
    }
}
