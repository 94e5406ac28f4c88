//! Whose a path is. The oracle makes every reading of a path again, in the most naive way, and knows from them what the matcher
//! must say; a plain path has one reading only; a change stays that change in every other spelling of it.

#![no_main]

use fairlead::proxy::path::{Route, Whose, of, whose};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|path: &[u8]| {
    for context in ["", "/clouddriver", "/a/b"] {
        let said = whose(path, context);
        agrees_with_naive_readings(path, context, &said);
        if is_plain(path) {
            assert!(!matches!(said, Whose::Suspicious | Whose::OursDenied), "a plain path has two readings: {said:?}");
        }
        if let Whose::Change(route) = &said {
            stays_that_change(path, context, route);
        }
    }
    if let Ok(uri) = http::Uri::try_from(path) {
        assert_eq!(of(&uri, ""), whose(uri.path().as_bytes(), ""));
    }
    takes_linear_time(path);
});

/// What every reader takes in one way: no escapes, nothing that has to be one, no empty segments, none that begins with a dot.
fn is_plain(path: &[u8]) -> bool {
    path.starts_with(b"/")
        && path.iter().all(|b| b.is_ascii_alphanumeric() || b"-_~!$&'()*+,=:@/.".contains(b))
        && !path.windows(2).any(|w| w == b"//" || w == b"/.")
}

fn agrees_with_naive_readings(path: &[u8], context: &str, said: &Whose) {
    if !path.starts_with(b"/") {
        return assert_eq!(*said, Whose::Other, "no path at all");
    }
    let readings = readings(path);
    let ours = readings.iter().filter(|r| is_ours(r, context)).count();
    let credentials = readings.iter().any(|r| is_credentials(r, context));
    match said {
        Whose::Ours => assert!(is_ours(path, context) && ours == readings.len(), "ours by some reading only"),
        Whose::OursDenied => assert!(is_ours(path, context) || ours > 0, "ours by no reading"),
        Whose::Suspicious => assert!(ours == 0 && credentials, "nothing to be suspicious of"),
        Whose::Change(_) => assert!(ours == 0 && credentials, "a change by no tolerant reading, or one of ours"),
        Whose::Other => assert!(ours == 0 && !credentials, "somebody may read a route in it"),
    }
}

/// As it stands, decoded once, and decoded until nothing is left to decode; each whole and up to what may begin a query; each with
/// and without its dots resolved.
fn readings(path: &[u8]) -> Vec<Vec<u8>> {
    let once = decode(path);
    let mut fully = once.clone();
    // Round by round costs the square of the length; this is what the one pass of the matcher is held against.
    while fully.len() < 2_000 && decode(&fully) != fully {
        fully = decode(&fully);
    }
    let mut out = Vec::new();
    for decoded in if fully.len() < 2_000 { vec![path.to_vec(), once, fully] } else { vec![path.to_vec(), once] } {
        let flat = flatten(&decoded);
        let mut texts = vec![flat.clone()];
        if let Some(cut) = flat.iter().position(|b| matches!(b, b'?' | b'#')) {
            texts.push(flat[..cut].to_vec());
        }
        for text in texts {
            let segments: Vec<&[u8]> = text.split(|b| *b == b'/').filter(|s| !s.is_empty()).collect();
            let mut resolved: Vec<&[u8]> = Vec::new();
            for segment in &segments {
                match *segment {
                    b"." => {}
                    b".." => drop(resolved.pop()),
                    other => resolved.push(other),
                }
            }
            for kept in [segments, resolved] {
                out.push(kept.iter().flat_map(|s| [b"/", *s].concat()).collect());
            }
        }
    }
    out
}

fn decode(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let hex = rest.get(1..3).and_then(|h| std::str::from_utf8(h).ok()).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &rest[3..];
            }
            _ => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// ASCII written too long becomes ASCII, backslashes become slashes, parameters and control characters go.
fn flatten(path: &[u8]) -> Vec<u8> {
    let mut ascii = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        let long = (0..0x80_u8).filter(|_| rest[0] >= 0xC0).find_map(|c| {
            let (high, low) = (c >> 6, 0x80 | (c & 0x3F));
            let forms = [&[0xC0 | high, low][..], &[0xE0, 0x80 | high, low], &[0xF0, 0x80, 0x80 | high, low]];
            forms.into_iter().find(|form| rest.starts_with(form)).map(|form| (c, form.len()))
        });
        let (byte, length) = long.unwrap_or((rest[0], 1));
        ascii.push(if byte == b'\\' { b'/' } else { byte });
        rest = &rest[length..];
    }
    let segments = ascii.split(|b| *b == b'/').map(|s| s.split(|b| *b == b';').next().unwrap_or_default());
    let kept: Vec<Vec<u8>> = segments.map(|s| s.iter().copied().filter(|b| !b.is_ascii_control()).collect()).collect();
    kept.join(&b'/')
}

fn is_ours(path: &[u8], context: &str) -> bool {
    ["/armory", "/agents/kubernetes"].into_iter().any(|ours| {
        [String::new(), context.to_owned()].iter().any(|before| {
            let whole = format!("{before}{ours}").into_bytes();
            path == whole || path.starts_with(&[&whole[..], b"/"].concat())
        })
    })
}

fn is_credentials(path: &[u8], context: &str) -> bool {
    let whole = format!("{context}/credentials").into_bytes();
    let below = path.strip_prefix(&whole[..]).and_then(|rest| rest.strip_prefix(b"/"));
    path == whole || below.is_some_and(|name| !name.strip_suffix(b"/").unwrap_or(name).contains(&b'/'))
}

fn stays_that_change(path: &[u8], context: &str, route: &Route) {
    let the_same = |spelled: &[u8], how: &str| {
        assert_eq!(whose(spelled, context), Whose::Change(route.clone()), "{how}: {}", String::from_utf8_lossy(spelled));
    };
    match path.strip_suffix(b"/") {
        Some(without) => the_same(without, "without the slash at its end"),
        None => the_same(&[path, b"/"].concat(), "with a slash at its end"),
    }
    // Every byte that may be escaped is, and none that may stand as it is.
    let (mut escaped, mut raw) = (Vec::new(), Vec::new());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        let (byte, length) = if *first == b'%' { (decode(&rest[..3])[0], 3) } else { (*first, 1) };
        if matches!(byte, b'/' | b'.') {
            escaped.push(byte)
        } else {
            escaped.extend(format!("%{byte:02x}").into_bytes())
        }
        if byte.is_ascii_alphanumeric() || b"-_~!$&'()*+,=:@/.".contains(&byte) {
            raw.push(byte);
        } else {
            raw.extend(format!("%{byte:02X}").into_bytes());
        }
        rest = if length == 3 { &rest[3..] } else { after };
    }
    the_same(&escaped, "with everything escaped");
    the_same(&raw, "with nothing escaped that need not be");
    if let Route::Named(Some(name)) = route {
        let spelled = name.bytes().map(|b| if b == b'.' { ".".to_owned() } else { format!("%{b:02X}") }).collect::<String>();
        the_same(format!("{context}/credentials/{spelled}").as_bytes(), "spelled from its name");
    }
}

/// A step that costs the square of the length would run into libFuzzer's time limit here. Now and then, as it is slow in any case.
fn takes_linear_time(path: &[u8]) {
    let sum = path.iter().fold(0_u16, |sum, b| sum.wrapping_mul(31).wrapping_add(u16::from(*b)));
    if !path.is_empty() && sum % 1024 == 7 {
        let long = path.repeat((256 << 10) / path.len() + 1);
        whose(&[b"/", &long[..]].concat(), "/clouddriver");
    }
}
