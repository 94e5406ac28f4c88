//! Sealing at rest: secret values of a definition are encrypted in place, so that the rest stays readable for queries.
//!
//! A sealed value reads `fairlead-sealed:v1:<key id>:<base64>`: AES-256-GCM over the value's JSON text, nonce first. The table, the
//! column, the row's name, the key id and the value's JSON pointer are authenticated with it, so that a value copied into another row or
//! another property does not open. A text of the user's that itself begins with `fairlead-sealed:` is sealed like a secret, or, with no
//! key, written as `fairlead-sealed:raw:<text>`, so that it comes back as it was.

use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret as _;
use serde_json::{Map, Value};

use super::secrets::is_secret;
use crate::config::SealKeys;

const PREFIX: &str = "fairlead-sealed:";
const V1: &str = "fairlead-sealed:v1:";
const RAW: &str = "fairlead-sealed:raw:";
const NONCE: usize = 12;
/// serde_json reads no deeper; what nests deeper could be written but never read again.
const MAX_DEPTH: usize = 120;

/// Why a key of the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not base64 of 32 bytes.
    #[error("seal key {id}: it must be base64 of exactly 32 bytes")]
    Length {
        /// The key's id.
        id: String,
    },
    /// The id would not survive in a sealed value.
    #[error("seal key {id:?}: an id is 1 to 32 of A-Z a-z 0-9 _ -")]
    Id {
        /// The key's id.
        id: String,
    },
    /// Two keys of one id.
    #[error("seal key {id}: given twice")]
    Twice {
        /// The key's id.
        id: String,
    },
}

/// Why a definition could not be sealed. Trying again does not help.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// It nests deeper than it could be read again.
    #[error("the definition nests deeper than {MAX_DEPTH} levels")]
    TooDeep,
    /// The cipher or the system's random numbers failed.
    #[error("the definition could not be sealed")]
    Cipher,
}

/// Why a stored definition could not be opened. No variant carries any of its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Sealed with a key that the configuration does not name (any more).
    #[error("sealed with key {0}, which is not configured")]
    UnknownKey(String),
    /// Not sealed by us for this place: changed, cut off, or moved from another row or property.
    #[error("the sealed value at {0:?} does not open: it was changed, or moved here from elsewhere")]
    Tampered(String),
    /// The column does not hold JSON.
    #[error("the definition is not JSON (line {line}, column {column})")]
    NotJson {
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
    },
}

/// Seals and opens definitions. Clones share the keys.
#[derive(Clone, Default)]
pub struct Sealer {
    keys: Arc<[(Arc<str>, RandomizedNonceKey)]>,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.keys.iter().map(|(id, _)| id)).finish()
    }
}

impl Sealer {
    /// From the configured keys: the first seals, all open. `None`: nothing is sealed.
    ///
    /// # Errors
    /// [`KeyError`], naming the key by its id.
    pub fn new(keys: Option<&SealKeys>) -> Result<Self, KeyError> {
        let mut out: Vec<(Arc<str>, RandomizedNonceKey)> = Vec::new();
        for key in keys.map(|k| k.0.as_slice()).unwrap_or_default() {
            let id = key.id.clone();
            if id.is_empty() || id.len() > 32 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
                return Err(KeyError::Id { id });
            }
            if out.iter().any(|(other, _)| **other == *id) {
                return Err(KeyError::Twice { id });
            }
            let bytes = STANDARD.decode(key.key.expose_secret().trim()).map_err(|_| KeyError::Length { id: id.clone() })?;
            let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| KeyError::Length { id: id.clone() })?;
            out.push((id.into(), cipher));
        }
        Ok(Self { keys: out.into() })
    }

    /// The id of the key that seals; `None`: nothing is sealed.
    pub fn key_id(&self) -> Option<&str> {
        self.keys.first().map(|(id, _)| &**id)
    }

    /// The definition as canonical text (compact JSON, keys sorted) with its secret values sealed for the row `row_name`, which must be
    /// the name exactly as the row has it; and the id of the key for `fl_key_id`.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_definition(&self, row_name: &str, definition: &Value) -> Result<(String, Option<String>), SealError> {
        self.seal_column(Column::Definition, row_name, definition)
    }

    /// As [`Sealer::seal_definition`] for the layer that is Fairlead's.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal_overlay(&self, row_name: &str, overlay: &Value) -> Result<String, SealError> {
        self.seal_column(Column::Overlay, row_name, overlay).map(|(text, _)| text)
    }

    fn seal_column(&self, column: Column, row_name: &str, value: &Value) -> Result<(String, Option<String>), SealError> {
        let mut pointer = String::new();
        let sealed = self.seal_value((column, row_name), &mut pointer, None, value, 0)?;
        Ok((sealed.to_string(), self.key_id().map(str::to_owned)))
    }

    /// The definition as it was before [`Sealer::seal_definition`].
    ///
    /// # Errors
    /// [`OpenError`]; never any part of the text.
    pub fn open_definition(&self, row_name: &str, text: &str) -> Result<Value, OpenError> {
        self.open_column(Column::Definition, row_name, text)
    }

    /// The overlay as it was before [`Sealer::seal_overlay`]. One that was written before overlays were sealed opens as it is.
    ///
    /// # Errors
    /// [`OpenError`]; never any part of the text.
    pub fn open_overlay(&self, row_name: &str, text: &str) -> Result<Value, OpenError> {
        self.open_column(Column::Overlay, row_name, text)
    }

    fn open_column(&self, column: Column, row_name: &str, text: &str) -> Result<Value, OpenError> {
        let stored: Value = serde_json::from_str(text).map_err(|e| OpenError::NotJson { line: e.line(), column: e.column() })?;
        self.open_value((column, row_name), &mut String::new(), stored)
    }

    fn seal_value(&self, row: Place<'_>, at: &mut String, name: Option<&str>, value: &Value, depth: usize) -> Result<Value, SealError> {
        if depth > MAX_DEPTH {
            return Err(SealError::TooDeep);
        }
        let secret = name.is_some_and(|n| is_secret(n, value)) || value.is_string() && is_secret("", value);
        if secret && !self.keys.is_empty() {
            return Ok(Value::String(self.seal_one(row, at, value)?));
        }
        Ok(match value {
            Value::String(s) if s.starts_with(PREFIX) => Value::String(format!("{RAW}{s}")),
            Value::Object(map) => {
                let mut names: Vec<&String> = map.keys().collect();
                names.sort_unstable();
                let mut out = Map::new();
                for n in names {
                    let length = step(at, n);
                    out.insert(n.clone(), self.seal_value(row, at, Some(n), &map[n.as_str()], depth + 1)?);
                    at.truncate(length);
                }
                Value::Object(out)
            }
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.iter().enumerate() {
                    let length = step(at, &i.to_string());
                    out.push(self.seal_value(row, at, None, item, depth + 1)?);
                    at.truncate(length);
                }
                Value::Array(out)
            }
            other => other.clone(),
        })
    }

    fn seal_one(&self, row: Place<'_>, at: &str, value: &Value) -> Result<String, SealError> {
        let (id, key) = self.keys.first().ok_or(SealError::Cipher)?;
        let mut bytes = value.to_string().into_bytes();
        let nonce = key.seal_in_place_append_tag(Aad::from(place(id, row, at)), &mut bytes).map_err(|_| SealError::Cipher)?;
        let mut sealed = nonce.as_ref().to_vec();
        sealed.extend_from_slice(&bytes);
        Ok(format!("{V1}{id}:{}", STANDARD.encode(sealed)))
    }

    fn open_value(&self, row: Place<'_>, at: &mut String, value: Value) -> Result<Value, OpenError> {
        Ok(match value {
            Value::String(s) => match s.strip_prefix(RAW) {
                Some(raw) => Value::String(raw.to_owned()),
                None if s.starts_with(PREFIX) => self.open_one(row, at, &s)?,
                None => Value::String(s),
            },
            Value::Object(map) => {
                let mut out = Map::new();
                for (n, v) in map {
                    let length = step(at, &n);
                    let v = self.open_value(row, at, v)?;
                    at.truncate(length);
                    out.insert(n, v);
                }
                Value::Object(out)
            }
            Value::Array(items) => {
                let mut out = Vec::with_capacity(items.len());
                for (i, item) in items.into_iter().enumerate() {
                    let length = step(at, &i.to_string());
                    out.push(self.open_value(row, at, item)?);
                    at.truncate(length);
                }
                Value::Array(out)
            }
            other => other,
        })
    }

    fn open_one(&self, row: Place<'_>, at: &str, text: &str) -> Result<Value, OpenError> {
        let tampered = || OpenError::Tampered(at.to_owned());
        let (id, sealed) = text.strip_prefix(V1).and_then(|rest| rest.split_once(':')).ok_or_else(tampered)?;
        if id.is_empty() || id.len() > 32 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-') {
            return Err(tampered());
        }
        let (_, key) = self.keys.iter().find(|(k, _)| **k == *id).ok_or_else(|| OpenError::UnknownKey(id.to_owned()))?;
        let mut bytes = STANDARD.decode(sealed).map_err(|_| tampered())?;
        if bytes.len() < NONCE {
            return Err(tampered());
        }
        let mut body = bytes.split_off(NONCE);
        let nonce = Nonce::try_assume_unique_for_key(&bytes).map_err(|_| tampered())?;
        let plain = key.open_in_place(nonce, Aad::from(place(id, row, at)), &mut body).map_err(|_| tampered())?;
        serde_json::from_slice(plain).map_err(|_| tampered())
    }
}

/// What is authenticated with a value. The parts cannot run into each other: the last but one is preceded by its length.
fn place(key_id: &str, (column, row): Place<'_>, at: &str) -> Vec<u8> {
    let column = match column {
        Column::Definition => "definition",
        Column::Overlay => "fl_overlay",
    };
    format!("{V1}{key_id}\nkubesvc_accounts.{column}\n{}\n{row}\n{at}", row.len()).into_bytes()
}

/// Which of the two layers.
#[derive(Clone, Copy)]
enum Column {
    Definition,
    Overlay,
}

/// A layer of a row.
type Place<'a> = (Column, &'a str);

/// Appends one step to a JSON pointer and says how long it was before.
fn step(at: &mut String, name: &str) -> usize {
    let length = at.len();
    at.push('/');
    at.push_str(&name.replace('~', "~0").replace('/', "~1"));
    length
}

#[cfg(test)]
mod tests;
