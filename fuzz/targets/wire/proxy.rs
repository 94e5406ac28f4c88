//! The oracles. They lie in a module of this name because the parsers are visible in one only.

#[path = "../../../src/proxy/wire/mod.rs"]
mod wire;

use wire::chunked::{Chunks, Piece};
use wire::response::Asked;
use wire::{Framing, request as requests, response as answers};

pub fn request(bytes: &[u8], cut: usize) {
    let mut out = Vec::new();
    let Ok(Some(head)) = requests::parse(bytes, &mut out) else { return };
    // What comes behind it, and how it came, changes nothing.
    let mut again = Vec::new();
    let alone = requests::parse(&bytes[..head.length], &mut again);
    assert!(matches!(&alone, Ok(Some(h)) if h.length == head.length && h.framing == head.framing) && again == out, "{alone:?}");
    if cut < head.length {
        assert!(matches!(requests::parse(&bytes[..cut], &mut again), Ok(None)), "a part of a head is more than a part");
    }
    // The next reader sees the same request, whole, and passes it on in the same words.
    let next = requests::parse(&out, &mut again);
    let Ok(Some(next)) = next else { panic!("what goes on is refused: {next:?}: {}", String::from_utf8_lossy(&out)) };
    assert_eq!((next.length, next.framing, next.modern, next.upgrade), (out.len(), head.framing, head.modern, head.upgrade));
    assert_eq!((&out[next.method.clone()], &out[next.path.clone()]), (&out[head.method.clone()], &out[head.path.clone()]));
    assert!(again == out, "{}\n{}", String::from_utf8_lossy(&again), String::from_utf8_lossy(&out));
    let naive = Naive::read(&out);
    naive.is_unambiguous(head.modern, head.framing);
    let target = naive.first.split(|b| *b == b' ').nth(1).expect("a target");
    let path = &out[head.path.clone()];
    assert!(!path.iter().any(|b| matches!(b, b'?' | b'#' | b' ')), "{}", String::from_utf8_lossy(path));
    if target.starts_with(b"/") {
        assert_eq!(path, target.split(|b| *b == b'?').next().expect("a first part"));
    } else if let Ok(uri) = http::Uri::try_from(target)
        // It takes more for a scheme than there is in one.
        && uri.scheme_str().is_some_and(|s| s.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)))
    {
        assert_eq!(if path.is_empty() { b"/" } else { path }, uri.path().as_bytes(), "{uri}");
    }
}

pub fn answer(bytes: &[u8], cut: usize, asked: u8) {
    let bit = |n: u8| asked >> n & 1 == 1;
    let asked = Asked { head_only: bit(0), modern: bit(1), upgrade: bit(2), close: bit(3), unfinished: bit(4) };
    let mut out = Vec::new();
    let Ok(Some(head)) = answers::parse(bytes, &mut out, asked) else { return };
    let mut again = Vec::new();
    let alone = answers::parse(&bytes[..head.length], &mut again, asked);
    assert!(matches!(&alone, Ok(Some(h)) if h.length == head.length && h.framing == head.framing) && again == out, "{alone:?}");
    if cut < head.length {
        again.clear();
        assert!(matches!(answers::parse(&bytes[..cut], &mut again, asked), Ok(None)), "a part of a head is more than a part");
    }
    again.clear();
    let plain = Asked { close: false, unfinished: false, ..asked };
    let next = answers::parse(&out, &mut again, plain);
    let Ok(Some(next)) = next else { panic!("what goes on is refused: {next:?}: {}", String::from_utf8_lossy(&out)) };
    assert_eq!((next.length, next.status, next.framing), (out.len(), head.status, head.framing));
    let naive = Naive::read(&out);
    if !asked.head_only && !head.status.is_informational() && !matches!(head.status.as_u16(), 204 | 304) {
        let framing = if head.framing == Framing::UntilClose { Framing::Empty } else { head.framing };
        naive.is_unambiguous(true, framing);
    }
    if head.framing == Framing::UntilClose {
        assert!(head.close && !head.persistent, "an answer that ends with its connection is told of");
    }
}

/// A head read in the most naive way, which is enough where it is well-formed; where it is not, this panics.
struct Naive<'a> {
    first: &'a [u8],
    headers: Vec<(String, &'a [u8])>,
}

impl<'a> Naive<'a> {
    fn read(head: &'a [u8]) -> Self {
        let head = head.strip_suffix(b"\r\n\r\n").expect("an empty line at the end, and before it another");
        assert!(!head.windows(4).any(|w| w == b"\r\n\r\n"), "two heads in one");
        let mut lines = Vec::new();
        let mut rest = head;
        while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
            lines.push(&rest[..end]);
            rest = &rest[end + 2..];
        }
        lines.push(rest);
        assert!(!lines.iter().any(|l| l.iter().any(|b| matches!(b, b'\r' | b'\n' | 0))), "a bare line end");
        let header = |line: &&'a [u8]| {
            let colon = line.iter().position(|b| *b == b':').expect("a colon");
            let name = std::str::from_utf8(&line[..colon]).expect("a name in ASCII");
            assert!(!name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic()), "{name:?}");
            (name.to_ascii_lowercase(), line[colon + 1..].trim_ascii())
        };
        Self { first: lines[0], headers: lines[1..].iter().map(header).collect() }
    }

    fn all(&self, name: &str) -> Vec<&'a [u8]> {
        self.headers.iter().filter(|(n, _)| n == name).map(|(_, v)| *v).collect()
    }

    fn is_unambiguous(&self, modern: bool, framing: Framing) {
        let (lengths, codings) = (self.all("content-length"), self.all("transfer-encoding"));
        match (&lengths[..], &codings[..]) {
            ([], []) => assert_eq!(framing, Framing::Empty),
            ([], [coding]) => assert!(framing == Framing::Chunked && coding.eq_ignore_ascii_case(b"chunked") && modern),
            ([length], []) => {
                let length: u64 = std::str::from_utf8(length).expect("digits").parse().expect("a number");
                assert_eq!(framing, if length == 0 { Framing::Empty } else { Framing::Length(length) });
            }
            _ => panic!("told twice how long it is: {lengths:?} {codings:?}"),
        }
    }
}

pub fn chunks(bytes: &[u8], cut: usize) {
    let (mut whole, mut in_one) = (Chunks::default(), (Vec::new(), Vec::new()));
    let taken = whole.scan(bytes, |piece| collect(&mut in_one, piece));
    let (mut parts, mut in_two) = (Chunks::default(), (Vec::new(), Vec::new()));
    let first = parts.scan(&bytes[..cut], |piece| collect(&mut in_two, piece));
    let both = first.and_then(|first| {
        let second = parts.scan(&bytes[cut..], |piece| collect(&mut in_two, piece))?;
        assert!(second == 0 || first == cut, "bytes between were passed over");
        Ok(first + second)
    });
    assert_eq!(taken.is_ok(), both.is_ok());
    let Ok(taken) = taken else { return };
    assert_eq!((Ok(taken), &in_one), (both, &in_two), "cut at {cut}");
    assert_eq!(whole.is_done(), parts.is_done());
    match decoded(bytes) {
        Some((data, length)) => assert!(whole.is_done() && (taken, &in_one.0) == (length, &data), "{taken} of {length} bytes"),
        None => assert!(!whole.is_done(), "ended, and a naive reader sees no end"),
    }
}

fn collect(into: &mut (Vec<u8>, Vec<u8>), piece: Piece<'_>) {
    match piece {
        Piece::Data(data) => into.0.extend_from_slice(data),
        Piece::Trailer(trailer) => into.1.extend_from_slice(trailer),
    }
}

/// The body of a whole and well-formed chunked coding, and how many bytes that took.
fn decoded(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |from: usize| bytes[from..].windows(2).position(|w| w == b"\r\n").map(|end| &bytes[from..from + end]);
    let (mut data, mut at) = (Vec::new(), 0);
    loop {
        let size = line(at)?;
        at += size.len() + 2;
        let digits = std::str::from_utf8(size.split(|b| *b == b';').next()?).ok()?;
        let size = usize::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))?;
        if size == 0 {
            break;
        }
        data.extend_from_slice(bytes.get(at..at.checked_add(size)?)?);
        at += size;
        if bytes.get(at..at + 2)? != b"\r\n" {
            return None;
        }
        at += 2;
    }
    loop {
        let trailer = line(at)?;
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Some((data, at));
        }
    }
}
