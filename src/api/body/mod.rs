//! Bodies of requests: from bytes to what is asked for, or to all that is wrong with them.
//!
//! A body with a fault changes nothing: everything is read before anything is done. Faults name a place (`/1/zoneId: must be a string`) and
//! repeat no value. A field that is `null` counts as not given, since clients write objects of theirs so; only for an update it takes away what
//! was laid over the definition.

mod attributes;
mod entry;
mod fault;
mod fields;
mod json;

use std::collections::HashMap;

use bytes::Bytes;
use http::HeaderMap;
use serde_json::{Map, Value};

use super::error::ApiError;
use crate::dispatch::Ask;
use crate::lifecycle::Wanted;
use crate::proxy::media::{Media, is_coded};
pub(super) use fault::Faults;
use fault::{Fault, Pointer};

/// Most entries of a batch.
const ENTRIES: usize = 10_000;

/// One entry of a batch.
#[derive(Debug)]
pub(super) struct Entry {
    /// What is asked for.
    pub ask: Ask,
    /// The state that is wanted, where that is part of the request.
    pub wanted: Option<Wanted>,
    /// The entry as it came, secrets masked: for an answer that has to name it.
    pub shown: Map<String, Value>,
}

/// Reads one entry; `None`: a fault was added.
type Read = fn(&Pointer, Map<String, Value>, &mut Faults) -> Option<Entry>;

/// `POST /armory/accounts`.
pub(super) fn to_take(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Entry>, ApiError> {
    match json(headers, body)? {
        Value::Array(items) => batch(items, entry::taken),
        _ => Err(whole("must be an array of accounts")),
    }
}

/// `PATCH /armory/accounts`: each entry has its wanted state.
pub(super) fn to_change(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Entry>, ApiError> {
    match json(headers, body)? {
        Value::Array(items) => batch(items, entry::changed),
        _ => Err(whole("must be an array of accounts")),
    }
}

/// `POST /armory/accounts/dynamic`: one definition, or a list of them.
pub(super) fn to_create(headers: &HeaderMap, body: &Bytes) -> Result<Vec<Entry>, ApiError> {
    match json(headers, body)? {
        Value::Array(items) => batch(items, attributes::created),
        Value::Object(map) if !map.is_empty() => one(map, attributes::created).map(|e| vec![e]),
        _ => Err(whole("must be an account or an array of accounts")),
    }
}

/// `PUT /armory/accounts/dynamic`: a part of one definition.
pub(super) fn to_update(headers: &HeaderMap, body: &Bytes) -> Result<Entry, ApiError> {
    match json(headers, body)? {
        Value::Object(map) if !map.is_empty() => one(map, attributes::updated),
        Value::Array(_) => Err(whole("must be one object: this operation takes no list")),
        _ => Err(whole("must be an object: a name, and what is to change")),
    }
}

/// `DELETE /armory/accounts`, `POST /armory/agent/assignments`.
pub(super) fn names(headers: &HeaderMap, body: &Bytes) -> Result<Vec<String>, ApiError> {
    let Value::Array(items) = json(headers, body)? else { return Err(whole("must be an array of names")) };
    bounded(items.len())?;
    let (mut faults, mut seen, mut all) = (Faults::default(), HashMap::new(), Vec::with_capacity(items.len()));
    for (i, item) in items.into_iter().enumerate() {
        let at = Pointer::entry(Some(i));
        match item {
            Value::String(name) => match fields::name(&name) {
                Err(problem) => faults.add(Fault::new(at, problem)),
                Ok(()) => {
                    once(&mut seen, &name, i, at, &mut faults);
                    all.push(name);
                }
            },
            _ => faults.add(Fault::new(at, "must be a string: an account's name")),
        }
    }
    Ok(faults.or(all)?)
}

/// `POST /armory/agent/{id}/disconnect`: nothing in it matters here, and an empty body will do.
pub(super) fn disconnect(headers: &HeaderMap, body: &Bytes) -> Result<(), ApiError> {
    if body.is_empty() {
        return Ok(());
    }
    let Value::Object(map) = json(headers, body)? else { return Err(whole("must be an object")) };
    let mut faults = Faults::default();
    entry::disconnect(map, &mut faults);
    Ok(faults.or(())?)
}

fn batch(items: Vec<Value>, read: Read) -> Result<Vec<Entry>, ApiError> {
    bounded(items.len())?;
    let (mut faults, mut seen, mut all) = (Faults::default(), HashMap::new(), Vec::with_capacity(items.len()));
    for (i, item) in items.into_iter().enumerate() {
        let at = Pointer::entry(Some(i));
        let Value::Object(map) = item else {
            faults.add(Fault::new(at, "must be an object: an account"));
            continue;
        };
        if let Some(entry) = read(&at, map, &mut faults) {
            once(&mut seen, &entry.ask.name, i, at.field("name"), &mut faults);
            all.push(entry);
        }
    }
    Ok(faults.or(all)?)
}

fn one(map: Map<String, Value>, read: Read) -> Result<Entry, ApiError> {
    let mut faults = Faults::default();
    match read(&Pointer::root(), map, &mut faults) {
        Some(entry) => Ok(faults.or(entry)?),
        None => Err(faults.into()),
    }
}

/// Which of two entries of one name counts would be chance.
fn once(seen: &mut HashMap<String, usize>, name: &str, index: usize, at: Pointer, faults: &mut Faults) {
    if let Some(first) = seen.insert(name.to_owned(), index) {
        faults.add(Fault::new(at, format!("is the account of /{first} again")));
    }
}

fn bounded(entries: usize) -> Result<(), ApiError> {
    match entries {
        0 => Err(whole("names no account")),
        n if n > ENTRIES => {
            let problem = format!("has {n} entries, and one request takes {ENTRIES} at most: send them in several requests");
            Err(Faults::from(Fault::new(Pointer::root(), problem)).into())
        }
        _ => Ok(()),
    }
}

fn whole(problem: &'static str) -> ApiError {
    Faults::from(Fault::new(Pointer::root(), problem)).into()
}

/// The body's JSON. A request that does not say what its body is, as scripts send it, means JSON; one that says something else does not.
fn json(headers: &HeaderMap, body: &Bytes) -> Result<Value, ApiError> {
    let media = Media::of(headers);
    let utf8 = media.charset.as_deref().is_none_or(|c| matches!(c, "utf-8" | "utf8" | "us-ascii"));
    if headers.contains_key(http::header::CONTENT_TYPE) && (!media.is_json() || !utf8 || media.ambiguous) {
        return Err(ApiError::MediaType);
    }
    if is_coded(headers) {
        return Err(ApiError::MediaType);
    }
    if body.is_empty() {
        return Err(whole("is empty"));
    }
    json::parse(body).map_err(|fault| Faults::from(fault).into())
}

#[cfg(test)]
mod tests;
