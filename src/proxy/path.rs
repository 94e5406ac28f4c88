//! Whose a request path is: one decoder for every spelling of it.
//!
//! Clouddriver's server has its own idea of which spellings mean `/credentials`, and Fairlead must have the same one: a
//! spelling that is missed is a way round the interceptor, one that is taken by mistake a false announcement. Two readings
//! are made of a path:
//!
//! - **strict**: as Tomcat's connector, Spring Security's firewall and Spring's path patterns of the three known generations
//!   of Clouddriver read it (the union of what any of them takes). Percent escapes are decoded once, `+` stays plus, one
//!   slash at the end is allowed, letters keep their case.
//! - **tolerant**: as some future or careless server might read what today's refuse: slashes merged, dots resolved,
//!   parameters after `;` cut, escapes decoded again and again, backslashes, overlong UTF-8.
//!
//! What the strict reading takes is a change. What only a tolerant one takes is forwarded as it is and watched. Fairlead's own
//! paths count only when every reading agrees on them; a spelling that is ours by some reading only is denied.
//!
//! Nothing here looks at the method or the query, fails, or panics.

use http::Uri;

/// Where Fairlead's own REST API lives.
const OURS: [&[u8]; 2] = [b"/armory", b"/agents/kubernetes"];

/// Longest name, in characters, that Clouddriver's table can hold.
pub const MAX_NAME: usize = 255;

/// Who answers a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Clouddriver's server takes it for one of the routes that change accounts.
    Change(Route),
    /// Clouddriver's server refuses it today, but a more tolerant one might read one of these routes in it.
    Suspicious,
    /// Fairlead's own, by every reading.
    Ours,
    /// Fairlead's own by some reading only: to be answered with 404, never forwarded.
    OursDenied,
    /// Anything else: Clouddriver's.
    Other,
}

/// The two routes below `/credentials` on which accounts change, whatever the method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// `/credentials`.
    Collection,
    /// `/credentials/{name}`; `None` where the name is one that no account can have (longer than [`MAX_NAME`]).
    Named(Option<String>),
}

/// Whose the target of a request is. Of an absolute-form target (`http://host/path`) only the path counts.
pub fn of(uri: &Uri, context_path: &str) -> Whose {
    whose(uri.path().as_bytes(), context_path)
}

/// Whose a raw path is, as it stood in the request line (no query). `context_path` is empty or `/prefix`.
pub fn whose(path: &[u8], context_path: &str) -> Whose {
    if !path.starts_with(b"/") {
        return Whose::Other;
    }
    if is_plain(path) {
        // By far the most requests: there is only one reading.
        return match credentials_route(path, context_path) {
            Some(route) => Whose::Change(route),
            None if is_ours(path, context_path) => Whose::Ours,
            None => Whose::Other,
        };
    }
    if let Some(decoded) = strict(path) {
        if let Some(route) = credentials_route(&decoded, context_path) {
            return Whose::Change(route);
        }
        if !decoded.iter().any(|b| b.is_ascii_control() || matches!(b, b'?' | b'#')) {
            // Nothing is left in it that a tolerant server could read in another way.
            return match (is_ours(path, context_path), is_ours(&decoded, context_path)) {
                (true, true) => Whose::Ours,
                (false, false) => Whose::Other,
                _ => Whose::OursDenied,
            };
        }
    }
    by_tolerant_readings(path, context_path)
}

fn by_tolerant_readings(path: &[u8], context_path: &str) -> Whose {
    let literally_ours = is_ours(path, context_path);
    let (mut all_ours, mut some_ours, mut some_credentials) = (true, false, false);
    let once = decode_once(path);
    let fully = decode_fully(path);
    for decoded in [path, &once, &fully] {
        let flat = flatten(decoded);
        let cut = flat.iter().position(|b| matches!(b, b'?' | b'#')).map(|at| &flat[..at]);
        for text in std::iter::once(&flat[..]).chain(cut) {
            for reading in [merge_slashes(text, false), merge_slashes(text, true)] {
                let ours = is_ours(&reading, context_path);
                all_ours &= ours;
                some_ours |= ours;
                some_credentials |= credentials_route(&reading, context_path).is_some();
            }
        }
    }
    if literally_ours && all_ours {
        Whose::Ours
    } else if literally_ours || some_ours {
        Whose::OursDenied
    } else if some_credentials {
        Whose::Suspicious
    } else {
        Whose::Other
    }
}

/// Whether a path can be read in one way only. (`/.` may begin a name, and is looked at more closely for it.)
fn is_plain(path: &[u8]) -> bool {
    path.iter().all(|b| *b != b'%' && stands_raw(*b)) && !path.windows(2).any(|w| w == b"//" || w == b"/.")
}

/// What Tomcat's connector and the firewall let stand unescaped in a path.
fn stands_raw(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'#' | b'<' | b'>' | b'?' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' | b';')
}

/// The route that a decoded path names, if it is one of the two, with at most one slash at its end.
fn credentials_route(path: &[u8], context_path: &str) -> Option<Route> {
    let rest = path.strip_prefix(context_path.as_bytes())?.strip_prefix(b"/credentials")?;
    let rest = match rest {
        b"" | b"/" => return Some(Route::Collection),
        _ => rest.strip_prefix(b"/")?,
    };
    let name = rest.strip_suffix(b"/").unwrap_or(rest);
    if name.is_empty() || name.contains(&b'/') {
        return None;
    }
    Some(Route::Named(std::str::from_utf8(name).ok().filter(|n| is_possible_name(n)).map(str::to_owned)))
}

/// Whether an account can have this name at all: no database holds a longer one, and PostgreSQL no NUL.
pub fn is_possible_name(name: &str) -> bool {
    !name.contains('\0') && name.chars().nth(MAX_NAME).is_none()
}

fn is_ours(path: &[u8], context_path: &str) -> bool {
    let below = |path: &[u8]| OURS.iter().any(|ours| path.strip_prefix(*ours).is_some_and(|rest| rest.is_empty() || rest[0] == b'/'));
    below(path) || (!context_path.is_empty() && path.strip_prefix(context_path.as_bytes()).is_some_and(below))
}

/// The decoded path if Clouddriver's server (any generation) lets it through to its routes. No decoded slash can be in it, so
/// its segments are those of the raw path.
fn strict(path: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [byte, after @ ..] = rest {
        if *byte == b'%' {
            let value = escape(rest)?;
            if matches!(value, 0 | b'\n' | b'\r' | b'%' | b'.' | b'/' | b';' | b'\\') {
                return None;
            }
            decoded.push(value);
            rest = &rest[3..];
        } else if stands_raw(*byte) {
            decoded.push(*byte);
            rest = after;
        } else {
            return None;
        }
    }
    let text = std::str::from_utf8(&decoded).ok()?;
    let inner = text.strip_prefix('/')?;
    if text.contains("//") || text.contains(['\u{2028}', '\u{2029}']) || inner.split('/').any(|s| matches!(s, "." | "..")) {
        return None;
    }
    Some(decoded)
}

/// The byte that `%XX` at the start stands for.
fn escape(text: &[u8]) -> Option<u8> {
    let [b'%', high, low, ..] = text else { return None };
    let digit = |b: u8| char::from(b).to_digit(16);
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// Every escape decoded once; what is no escape stays.
fn decode_once(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut at = 0;
    while at < path.len() {
        match escape(&path[at..]) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(path[at]);
                at += 1;
            }
        }
    }
    out
}

/// Every escape decoded until none is left, in one pass: each decoded byte may complete another escape.
fn decode_fully(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(path.len());
    for byte in path {
        out.push(*byte);
        while let Some(value) = out.len().checked_sub(3).and_then(|at| escape(&out[at..])) {
            out.truncate(out.len() - 3);
            out.push(value);
        }
    }
    out
}

/// Backslashes and overlong UTF-8 become what a careless reader takes them for, control characters vanish, and what follows a
/// `;` up to the next slash is cut.
fn flatten(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut in_parameters = false;
    let mut at = 0;
    while at < path.len() {
        let (byte, length) = match &path[at..] {
            [a @ 0xC0..=0xC1, b @ 0x80..=0xBF, ..] => (((a & 0x01) << 6) | (b & 0x3F), 2),
            [0xE0, a @ 0x80..=0x81, b @ 0x80..=0xBF, ..] => (((a & 0x01) << 6) | (b & 0x3F), 3),
            [0xF0, 0x80, a @ 0x80..=0x81, b @ 0x80..=0xBF, ..] => (((a & 0x01) << 6) | (b & 0x3F), 4),
            [byte, ..] => (*byte, 1),
            [] => break,
        };
        at += length;
        match byte {
            b'/' | b'\\' => {
                in_parameters = false;
                out.push(b'/');
            }
            b';' => in_parameters = true,
            _ if in_parameters || byte.is_ascii_control() => {}
            _ => out.push(byte),
        }
    }
    out
}

/// Empty segments taken out, and with `dots` also `.` and `..` resolved as a file system would.
fn merge_slashes(path: &[u8], dots: bool) -> Vec<u8> {
    let mut kept: Vec<&[u8]> = Vec::new();
    for segment in path.split(|b| *b == b'/') {
        match segment {
            b"" => {}
            b"." if dots => {}
            b".." if dots => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut out = Vec::with_capacity(path.len());
    for segment in kept {
        out.push(b'/');
        out.extend_from_slice(segment);
    }
    out
}

#[cfg(test)]
#[path = "path_tests.rs"]
mod tests;
