//! The name that a body hints at, held against a strict parser wherever the body is strict JSON: in whatever encoding, and of its
//! beginning too.

#![no_main]

use fairlead::intercept::hints::{name, names_nobody, property};
use fairlead::proxy::path::is_possible_name;
use http::{HeaderMap, HeaderValue, header};
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

const TYPES: [&str; 6] = [
    "application/json",
    "application/json; charset=UTF-8",
    "application/vnd.spinnaker+json",
    "application/json; charset=iso-8859-1",
    "application/x-yaml",
    "application/json, text/plain",
];
/// Those of them in which nobody reads anything but JSON in UTF-8.
const PLAIN: usize = 3;

fuzz_target!(|data: &[u8]| {
    let [choice, cut, body @ ..] = data else { return };
    let mut headers = HeaderMap::new();
    let kind = usize::from(*choice) % (TYPES.len() + 1);
    if let Some(media) = TYPES.get(kind) {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    }
    let hinted = property(body, "name");
    let nobody = names_nobody(&headers, body);
    if let Some(name) = name(&headers, body) {
        assert!(is_possible_name(&name) && hinted.as_deref() == Some(&name) && !nobody);
    }
    assert!(!nobody || (hinted.is_none() && kind < PLAIN));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    assert!(name(&headers, body).is_none() && !names_nobody(&headers, body), "what is coded was read");

    let Ok(document) = serde_json::from_slice::<Value>(body) else { return };
    let expected = named(&document);
    assert_eq!(hinted, expected);
    if kind < PLAIN {
        let unnamed = document.as_object().is_some_and(|o| o.get("name").is_none_or(Value::is_null));
        assert_eq!(nobody, unnamed);
    }
    // Jackson finds the encoding out by itself; so do we, with a mark and (JSON begins in ASCII) without.
    if document.is_object()
        && let Ok(text) = std::str::from_utf8(body)
    {
        for (mark, wide) in encodings(text) {
            assert_eq!(property(&[&mark[..], &wide].concat(), "name"), expected, "with the mark {mark:x?}");
            assert_eq!(property(&wide, "name"), expected, "without the mark {mark:x?}");
        }
    }
    // The beginning of a body hints at nothing that the whole one does not hold.
    let beginning = &body[..body.len() * usize::from(*cut) / 256];
    if let Some(early) = property(beginning, "name") {
        // Written once, the name can be told from the parsed document.
        let once = body.windows(4).filter(|w| w == b"name").count() == 1 && !body.contains(&b'\\');
        assert!(!once || expected.as_ref() == Some(&early), "{early:?} of the beginning, {expected:?} of the whole");
    }
});

/// The last `name` of an object, or of the objects in a list.
fn named(document: &Value) -> Option<String> {
    match document {
        Value::Object(object) => object.get("name").and_then(text),
        Value::Array(items) => items.iter().filter_map(|i| i.as_object()?.get("name")).next_back().and_then(text),
        _ => None,
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(n) if n.is_i64() || n.is_u64() => Some(n.to_string()),
        Value::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn encodings(text: &str) -> [(Vec<u8>, Vec<u8>); 5] {
    let units = || text.encode_utf16();
    let chars = || text.chars().map(u32::from);
    [
        (vec![0xEF, 0xBB, 0xBF], text.as_bytes().to_vec()),
        (vec![0xFE, 0xFF], units().flat_map(u16::to_be_bytes).collect()),
        (vec![0xFF, 0xFE], units().flat_map(u16::to_le_bytes).collect()),
        (vec![0, 0, 0xFE, 0xFF], chars().flat_map(u32::to_be_bytes).collect()),
        (vec![0xFF, 0xFE, 0, 0], chars().flat_map(u32::to_le_bytes).collect()),
    ]
}
