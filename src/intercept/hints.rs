//! The account's name as a body hints at it, read the way Clouddriver's parser (Jackson) would: of two equal properties the
//! last counts, numbers and booleans become text, a byte-order mark or UTF-16 is no obstacle, what follows the document is not
//! looked at. A hint is never an error: what cannot be told is `None`, and the mirror finds out from the table.

use std::borrow::Cow;
use std::fmt;

use http::HeaderMap;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::proxy::media::{self, Media};
use crate::proxy::path::is_possible_name;

/// The `name` in the body of a request or an answer with these headers; also of the beginning of a body that is not all there.
pub fn name(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    if media::is_coded(headers) {
        return None;
    }
    let name = property(body, "name")?;
    // In another charset the bytes mean other letters than they seem to, except where they are ASCII.
    let certain = name.is_ascii() || Media::of(headers).is_detected();
    (certain && is_possible_name(&name)).then_some(name)
}

/// Whether this body certainly names no account: one JSON object that every parser reads alike, with no name in it or none but null.
/// Whatever goes wrong with it afterwards, nothing can have been stored: an account without a name has no row.
pub fn names_nobody(headers: &HeaderMap, body: &[u8]) -> bool {
    let media = Media::of(headers);
    let plain = media.is_json() && !media.ambiguous && media.charset.as_deref().is_none_or(|c| c == "utf-8") && !media::is_coded(headers);
    plain
        && serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body)
            .is_ok_and(|object| object.get("name").is_none_or(serde_json::Value::is_null))
}

/// The last property of this name at the top of a JSON document, as text; `None` where there is none, or it is no scalar.
pub fn property(body: &[u8], wanted: &str) -> Option<String> {
    let mut last = None;
    read(body, Document { wanted: Some(wanted.as_bytes()), last: &mut last, each: &mut |_| {}, nested: false });
    last
}

/// Calls `each` with the name of every property at the top of a document (bytes, which need not be UTF-8), in order.
pub(super) fn keys(body: &[u8], each: &mut dyn FnMut(&[u8])) {
    read(body, Document { wanted: None, last: &mut None, each, nested: false });
}

/// Reads until the document ends or stops making sense; what was seen up to there is the hint.
fn read(body: &[u8], document: Document<'_>) {
    let mut text = to_utf8(body);
    // A number at the end of what is not all there may go on; with this behind it, it is none. Whole documents end in a bracket.
    if text.last().is_some_and(u8::is_ascii_digit) {
        text.to_mut().push(b'.');
    }
    let _ = document.deserialize(&mut serde_json::Deserializer::from_slice(&text));
}

/// A document in any of the encodings that Jackson finds out by itself, as UTF-8 and without its mark.
fn to_utf8(body: &[u8]) -> Cow<'_, [u8]> {
    match body {
        [0xEF, 0xBB, 0xBF, rest @ ..] => Cow::Borrowed(rest),
        [0, 0, 0xFE, 0xFF, rest @ ..] => from_utf32(rest, u32::from_be_bytes),
        [0xFF, 0xFE, 0, 0, rest @ ..] => from_utf32(rest, u32::from_le_bytes),
        [0xFE, 0xFF, rest @ ..] => from_utf16(rest, u16::from_be_bytes),
        [0xFF, 0xFE, rest @ ..] => from_utf16(rest, u16::from_le_bytes),
        [0, 0, 0, _, ..] => from_utf32(body, u32::from_be_bytes),
        [_, 0, 0, 0, ..] => from_utf32(body, u32::from_le_bytes),
        [0, _, ..] => from_utf16(body, u16::from_be_bytes),
        [_, 0, ..] => from_utf16(body, u16::from_le_bytes),
        _ => Cow::Borrowed(body),
    }
}

fn from_utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'_, [u8]> {
    let units = bytes.as_chunks().0.iter().map(|c| unit(*c));
    let text: String = char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Cow::Owned(text.into_bytes())
}

fn from_utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Cow<'_, [u8]> {
    let text: String = bytes.as_chunks().0.iter().map(|c| char::from_u32(unit(*c)).unwrap_or(char::REPLACEMENT_CHARACTER)).collect();
    Cow::Owned(text.into_bytes())
}

/// The document, or (nested) an object in the list around it: Jackson takes `["kubernetes", {…}]` too where it expects a type.
struct Document<'a> {
    wanted: Option<&'a [u8]>,
    last: &'a mut Option<String>,
    each: &'a mut dyn FnMut(&[u8]),
    nested: bool,
}

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            (self.each)(&key);
            if self.wanted == Some(&key) {
                *self.last = None;
                *self.last = map.next_value_seed(Scalar)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.nested {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            return Ok(());
        }
        let Self { wanted, last, each, .. } = self;
        while seq.next_element_seed(Document { wanted, last: &mut *last, each: &mut *each, nested: true })?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

/// A property's name as bytes, so that one that is not UTF-8 (or a lone surrogate) does not end the reading.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Vec<u8>;
    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Vec<u8>, D::Error> {
        de.deserialize_bytes(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Vec<u8>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a property's name")
    }
    fn visit_bytes<E>(self, v: &[u8]) -> Result<Vec<u8>, E> {
        Ok(v.to_vec())
    }
    fn visit_str<E>(self, v: &str) -> Result<Vec<u8>, E> {
        Ok(v.as_bytes().to_vec())
    }
}

/// A value as text, coerced as Jackson would for a text field. A fraction is left alone: its text is not kept by our parser.
struct Scalar;

impl<'de> DeserializeSeed<'de> for Scalar {
    type Value = Option<String>;
    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<Option<String>, D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Scalar {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(Some(v.to_owned()))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
        Ok(Some(v.to_string()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
        Ok(Some(v.to_string()))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_bool<E>(self, v: bool) -> Result<Self::Value, E> {
        Ok(Some(v.to_string()))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header};
    use proptest::prelude::*;

    use super::*;

    fn plain(body: &[u8]) -> Option<String> {
        name(&HeaderMap::new(), body)
    }

    fn typed(content_type: &'static str, body: &[u8]) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        name(&headers, body)
    }

    #[test]
    fn only_a_body_that_every_parser_reads_alike_certainly_names_nobody() {
        let headers = |media: &'static str| HeaderMap::from_iter([(http::header::CONTENT_TYPE, http::HeaderValue::from_static(media))]);
        let json = headers("application/json");
        for (body, expected) in [
            (r#"{"type": "kubernetes"}"#, true),
            (r#"{"name": "a", "name": null}"#, true),
            (r#"{"n\u0061me": "a"}"#, false),
            (r#"{"name": 7}"#, false),
            (r#"{"type": "kubernetes"} {"name": "a"}"#, false),
            (r#"["kubernetes", {}]"#, false),
            ("not json", false),
        ] {
            assert_eq!(names_nobody(&json, body.as_bytes()), expected, "{body}");
        }
        assert!(!names_nobody(&headers("application/json;charset=utf-16"), b"{}"));
        assert!(!names_nobody(&headers("application/yaml"), b"{}"));
        assert!(!names_nobody(&HeaderMap::new(), b"{}"));
    }

    #[test]
    fn a_name_is_read_as_clouddriver_would_read_it() {
        let deep = format!(r#"{{"x":{}{},"name":"acc"}}"#, "[".repeat(1000), "]".repeat(1000));
        let table: &[(&str, Option<&str>)] = &[
            (r#"{"name":"acc"}"#, Some("acc")),
            (r#"{"type":"kubernetes","name":"acc","namespaces":[]}"#, Some("acc")),
            (r#"{"name":"a","name":"b"}"#, Some("b")),
            (r#"{"name":"a","na\u006de":"b"}"#, Some("b")),
            (r#"{"name":"a","name":null}"#, None),
            (r#"{"name":"a","name":{}}"#, None),
            (r#"{"name":["a"]}"#, None),
            (r#"{"Name":"a"}"#, None),
            (r#"{"x":{"name":"inner"}}"#, None),
            (r#"{"name":42}"#, Some("42")),
            (r#"{"name":-7}"#, Some("-7")),
            (r#"{"name":18446744073709551615}"#, Some("18446744073709551615")),
            (r#"{"name":1.50}"#, None),
            (r#"{"name":1e400}"#, None),
            (r#"{"name":true}"#, Some("true")),
            (r#"{"name":false}"#, Some("false")),
            (r#"{"name":"acc"} garbage"#, Some("acc")),
            (r#"{"name":"acc"}{"name":"other"}"#, Some("acc")),
            (r#"{"name":"acc","x":1e400}"#, Some("acc")),
            (r#"{"x":"\ud800","name":"acc"}"#, Some("acc")),
            (r#"{"\ud800":1,"name":"acc"}"#, Some("acc")),
            (r#"{"name":"\ud800"}"#, None),
            (r#"{"name":"\ud83d\udea2"}"#, Some("🚢")),
            (r#"{"name":"a\u0000b"}"#, None),
            (r#"{"name":""}"#, Some("")),
            (r#"{"name":" "}"#, Some(" ")),
            (r#"["kubernetes",{"name":"acc"}]"#, Some("acc")),
            (r#"[[{"name":"acc"}]]"#, None),
            (r#"{"name":"acc","broken"#, Some("acc")),
            (r#"{"name":"a","name":"#, None),
            // Cut here, it may be the beginning of another number.
            (r#"{"name":12"#, None),
            (r#"{"name":12 "#, Some("12")),
            (r#"{"name":12,"#, Some("12")),
            ("", None),
            ("null", None),
            ("\"name\"", None),
            ("name: acc", None),
            (&deep, Some("acc")),
        ];
        for (body, expected) in table {
            assert_eq!(plain(body.as_bytes()).as_deref(), *expected, "{}", &body[..body.len().min(60)]);
        }
    }

    #[test]
    fn a_mark_and_wide_encodings_are_no_obstacle() {
        let text = r#"{"name":"åcc🚢"}"#;
        let units: Vec<u16> = text.encode_utf16().collect();
        let be16: Vec<u8> = units.iter().flat_map(|u| u.to_be_bytes()).collect();
        let le16: Vec<u8> = units.iter().flat_map(|u| u.to_le_bytes()).collect();
        let be32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
        let le32: Vec<u8> = text.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
        let marks: [(&[u8], &[u8]); 5] = [
            (b"\xEF\xBB\xBF", text.as_bytes()),
            (b"\xFE\xFF", &be16),
            (b"\xFF\xFE", &le16),
            (b"\x00\x00\xFE\xFF", &be32),
            (b"\xFF\xFE\x00\x00", &le32),
        ];
        for (mark, body) in marks {
            assert_eq!(plain(&[mark, body].concat()).as_deref(), Some("åcc🚢"), "{mark:x?}");
            assert_eq!(plain(body).as_deref(), Some("åcc🚢"), "without {mark:x?}");
        }
    }

    #[test]
    fn what_could_mean_another_name_gives_none() {
        assert_eq!(typed("application/json; charset=ISO-8859-1", "{\"name\":\"é\"}".as_bytes()), None);
        assert_eq!(typed("application/json; charset=ISO-8859-1", br#"{"name":"acc"}"#).as_deref(), Some("acc"));
        assert_eq!(typed("application/json; charset=utf-8", "{\"name\":\"é\"}".as_bytes()).as_deref(), Some("é"));
        assert_eq!(plain(b"{\"name\":\"\xC0\xAFacc\"}"), None);
        assert_eq!(plain(b"{\"name\":\"\xE9\"}"), None);
        let mut coded = HeaderMap::new();
        coded.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(name(&coded, br#"{"name":"acc"}"#), None);
        assert_eq!(plain(format!(r#"{{"name":"{}"}}"#, "x".repeat(256)).as_bytes()), None);
        assert!(plain(format!(r#"{{"name":"{}"}}"#, "é".repeat(255)).as_bytes()).is_some());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            plain(&body);
        }

        #[test]
        fn no_broken_document_makes_it_panic(body in "[\\[\\]{}\":,a-c0-9\\\\u]{0,80}") {
            plain(body.as_bytes());
        }
    }
}
