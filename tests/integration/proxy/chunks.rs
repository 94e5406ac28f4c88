//! Bodies in chunks, as clients may write them, and as they must not.

use super::rig::{Case, Fate, case, check, passes};

fn chunked(body: impl AsRef<[u8]>) -> Vec<u8> {
    [&b"POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"[..], body.as_ref()].concat()
}

fn broken(name: impl Into<String>, body: impl AsRef<[u8]>) -> Case {
    case(name, chunked(body), &[Fate::Broken, Fate::Refused(&[400])])
}

#[test]
fn a_body_with_a_chunk_that_is_none_never_ends_for_clouddriver() {
    let mut cases = Vec::new();
    for size in [
        "", " ", "x", "g", "0x5", "5x", "+5", "-5", " 5", "5 ", "\t5", "5\t", "5 5", "5,5", "5.0", "\u{665}", "5\0", "\x005", "5\u{b}",
        ";", ";a", "--1", "0x", "00x0", "5\r", "5\r\r",
    ] {
        cases.push(broken(format!("size {size:?}"), format!("{size}\r\nhello\r\n0\r\n\r\n")));
    }
    for size in [
        "10000000000000005",
        "fffffffffffffffb",
        "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5",
        "7fffffffffffffff",
        "80000000000000000000000000000005",
    ] {
        cases.push(broken(format!("size {size}"), format!("{size}\r\nhello\r\n0\r\n\r\n")));
    }
    for (name, body) in [
        ("bare LF behind the size", "5\nhello\r\n0\r\n\r\n"),
        ("bare LF behind the data", "5\r\nhello\n0\r\n\r\n"),
        ("bare LF behind the last size", "5\r\nhello\r\n0\n\r\n"),
        ("bare LF at the end", "5\r\nhello\r\n0\r\n\n"),
        ("bare LF throughout", "5\nhello\n0\n\n"),
        ("bare CR behind the size", "5\rhello\r\n0\r\n\r\n"),
        ("nothing behind the data", "5\r\nhello0\r\n\r\n"),
        ("more data than said", "5\r\nhello!\r\n0\r\n\r\n"),
        ("less data than said", "6\r\nhello\r\n0\r\n\r\n"),
        ("a blank behind the data", "5\r\nhello \r\n0\r\n\r\n"),
        ("bare CR behind the data", "5\r\nhello\r\r\n0\r\n\r\n"),
        ("bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        ("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("bare LF in the last extension", "0;a\nX: 1\r\n\r\n"),
        ("a folded trailer", "0\r\nX: 1\r\n y\r\n\r\n"),
        ("a trailer without colon", "0\r\nX\r\n\r\n"),
        ("a trailer without name", "0\r\n: 1\r\n\r\n"),
        ("a blank before a trailer's colon", "0\r\nX : 1\r\n\r\n"),
        ("a blank before a trailer", "0\r\n X: 1\r\n\r\n"),
        ("bare LF behind a trailer", "0\r\nX: 1\n\r\n"),
        ("bare CR in a trailer", "0\r\nX: 1\r2\r\n\r\n"),
        ("NUL in a trailer", "0\r\nX: \0\r\n\r\n"),
        ("a request for a trailer", "0\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"),
    ] {
        cases.push(broken(name, body));
    }
    check(&cases);
}

#[test]
fn chunks_pass_as_they_were_cut() {
    let mut cases = Vec::new();
    for (name, body) in [
        ("one", "5\r\nhello\r\n0\r\n\r\n"),
        ("nothing", "0\r\n\r\n"),
        ("a request in the data", "27\r\nGET /hidden HTTP/1.1\r\nHost: h\r\nX: 1\r\n\r\n\r\n0\r\n\r\n"),
        ("the end in the data", "7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"),
        ("capitals", "A\r\nhelloworld\r\n0\r\n\r\n"),
        ("small letters", "a\r\nhelloworld\r\n0\r\n\r\n"),
        ("leading zeros", "00000005\r\nhello\r\n000\r\n\r\n"),
        ("extensions", "5;a;b=c;d=\"e f\"\r\nhello\r\n1;x\r\n!\r\n0;last=1\r\n\r\n"),
        ("trailers", "5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-other:\r\n\r\n"),
        ("a trailer that looks like framing", "5\r\nhello\r\n0\r\nX-Content-Length: 7\r\n\r\n"),
    ] {
        cases.push(passes(name, chunked(body)));
    }
    cases.push(passes("one byte at a time", chunked("1\r\nx\r\n".repeat(5000) + "0\r\n\r\n")));
    cases.push(passes("one byte at a time, each with an extension", chunked("1;ext=abcdefgh\r\nx\r\n".repeat(2000) + "0\r\n\r\n")));
    cases.push(passes("a large one", chunked(format!("{:x}\r\n{}\r\n0\r\n\r\n", 3_000_000, "y".repeat(3_000_000)))));
    check(&cases);
}

#[test]
fn what_a_chunk_says_beside_its_size_is_bounded_or_passes_and_never_hides_anything() {
    let mut cases = Vec::new();
    for (name, body) in [
        ("a long extension", format!("5;{}\r\nhello\r\n0\r\n\r\n", "e".repeat(300_000))),
        ("a long size", format!("{}5\r\nhello\r\n0\r\n\r\n", "0".repeat(300_000))),
        ("a long trailer", format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "t".repeat(600_000))),
        ("many trailers", format!("5\r\nhello\r\n0\r\n{}\r\n", "X-Trailer: 1\r\n".repeat(50_000))),
        ("a length for a trailer", "5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n".to_owned()),
        ("a coding for a trailer", "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
        ("a control character in an extension", "5;a=\u{1}\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("NUL in an extension", "5;a=\0\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("an extension without name", "5;\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a blank before an extension", "5 ;a\r\nhello\r\n0\r\n\r\n".to_owned()),
        ("a quote that never ends", "5;a=\"\r\nhello\r\n0\r\n\r\n".to_owned()),
    ] {
        let whole = chunked(body);
        cases.push(case(name, whole.clone(), &[Fate::Passes(whole), Fate::Broken, Fate::Refused(&[400, 431])]));
    }
    check(&cases);
}
