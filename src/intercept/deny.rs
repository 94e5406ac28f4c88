//! `interceptor.deny`: properties of a definition that may not pass, such as `kubectlExecutable`, which makes Clouddriver run a
//! program.
//!
//! A property counts at the top of the definition, in any spelling of upper and lower case. Under `warn` a body is read as leniently
//! as Clouddriver reads it, and passes in any case. Under `refuse` the reading must be certain, since Clouddriver takes what no
//! strict reader does: a body passes only if it is one JSON object in UTF-8 in which no property occurs twice and none is denied.
//!
//! | what is wrong | answer |
//! |---|---|
//! | a denied property | 403 |
//! | longer than `inspectionLimit` | 413 |
//! | compressed; no or another media type than JSON; several; a charset other than UTF-8 | 415 |
//! | byte-order mark, not UTF-8, not JSON, not an object, a property twice, data after the object, nested more than 127 deep | 400 |

use std::collections::HashSet;
use std::fmt;

use http::{HeaderMap, StatusCode};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use super::hints;
use crate::config::{Deny, DenyAction};
use crate::proxy::media::{self, Media};

/// What becomes of a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing to say.
    Pass,
    /// It goes on, and the log says that it has this property.
    Warn(String),
    /// It is answered by us.
    Refuse(Refused),
}

/// A change that is not forwarded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// 403, 413, 415 or 400.
    pub status: StatusCode,
    /// What is wrong and what would be right; it names the property, never a value.
    pub message: String,
    /// Whether a denied property was found, or the body could not be read with certainty.
    pub found: bool,
}

/// Looks at the body of a POST or PUT. `None`: it is longer than the inspection limit.
pub fn check(deny: &Deny, headers: &HeaderMap, body: Option<&[u8]>) -> Decision {
    if deny.fields.is_empty() {
        return Decision::Pass;
    }
    match deny.action {
        DenyAction::Warn => {
            body.filter(|_| !media::is_coded(headers)).and_then(|b| leniently(&deny.fields, b)).map_or(Decision::Pass, Decision::Warn)
        }
        DenyAction::Refuse => match strictly(&deny.fields, headers, body) {
            Ok(None) => Decision::Pass,
            Ok(Some(field)) => Decision::Refuse(Refused {
                status: StatusCode::FORBIDDEN,
                message: format!("the property {field:?} of an account is not allowed here (interceptor.deny.fields): leave it out"),
                found: true,
            }),
            Err((status, why)) => Decision::Refuse(Refused {
                status,
                message: format!("interceptor.deny.action is refuse, and this body cannot be checked: {why}"),
                found: false,
            }),
        },
    }
}

/// The field, in its configured spelling, that a property's name stands for.
fn denied<'f>(fields: &'f [String], key: &[u8]) -> Option<&'f String> {
    fields.iter().find(|f| f.as_bytes().eq_ignore_ascii_case(key))
}

fn leniently(fields: &[String], body: &[u8]) -> Option<String> {
    let mut found = None;
    hints::keys(body, &mut |key| {
        if found.is_none() {
            found = denied(fields, key).cloned();
        }
    });
    found
}

fn strictly(fields: &[String], headers: &HeaderMap, body: Option<&[u8]>) -> Result<Option<String>, (StatusCode, String)> {
    let media = Media::of(headers);
    if media::is_coded(headers) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "it is compressed (Content-Encoding); send it as it is".to_owned()));
    }
    if media.ambiguous || !media.is_json() {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "its Content-Type must be one, and application/json".to_owned()));
    }
    if media.charset.as_deref().is_some_and(|c| c != "utf-8") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "its charset must be UTF-8".to_owned()));
    }
    let Some(body) = body else {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "it is longer than interceptor.inspectionLimit".to_owned()));
    };
    let bad = |why: &str| (StatusCode::BAD_REQUEST, why.to_owned());
    if body.starts_with(b"\xEF\xBB\xBF") {
        return Err(bad("it begins with a byte-order mark; leave that out"));
    }
    let text = std::str::from_utf8(body).map_err(|e| bad(&format!("it is not UTF-8 at byte {}", e.valid_up_to())))?;
    let mut found = None;
    let mut de = serde_json::Deserializer::from_str(text);
    Strict { fields, found: &mut found, top: true }
        .deserialize(&mut de)
        .and_then(|()| de.end())
        .map_err(|e| bad(&format!("it must be one JSON object with no property twice ({e})")))?;
    Ok(found)
}

/// Walks a whole document; its errors name a place and hold nothing of the document.
struct Strict<'a> {
    fields: &'a [String],
    found: &'a mut Option<String>,
    top: bool,
}

impl<'a> Strict<'a> {
    fn scalar<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.top { Err(E::custom("not an object")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, de: D) -> Result<(), D::Error> {
        de.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.top && self.found.is_none() {
                *self.found = denied(self.fields, key.as_bytes()).cloned();
            }
            if !seen.insert(key) {
                return Err(A::Error::custom("a property twice"));
            }
            map.next_value_seed(Strict { fields: self.fields, found: self.found, top: false })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.scalar()?;
        while seq.next_element_seed(Strict { fields: self.fields, found: self.found, top: false })?.is_some() {}
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }
    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }
    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

#[cfg(test)]
#[path = "deny_tests.rs"]
mod tests;
