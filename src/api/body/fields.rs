//! Reading the fields of one object.

use serde_json::{Map, Value};

use super::fault::{Fault, Faults, Pointer};
use crate::proxy::path::is_possible_name;
use crate::secrets::reference::Reference;

/// Longest text of a field. A kubeconfig is some kilobytes.
const TEXT: usize = 1024 * 1024;
/// Longest id of a zone, in bytes: as an agent may say it.
const ZONE: usize = 255;

/// What is left of an object to be read.
pub(super) struct Fields<'a> {
    at: &'a Pointer,
    map: Map<String, Value>,
    faults: &'a mut Faults,
}

/// What a field has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Flag,
    Whole,
    Texts,
    /// Roles by what they permit: an object of lists, or (as agents have it) a list of such.
    Permissions,
    /// Objects with `kind` and `scope`.
    Resources,
}

/// Whether any account can have this name. Which of them are accounts, Clouddriver's database knows.
pub(super) fn name(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("must not be empty"),
        name if !is_possible_name(name) => Err("is longer than 255 characters"),
        _ => Ok(()),
    }
}

impl<'a> Fields<'a> {
    pub(super) fn new(at: &'a Pointer, map: Map<String, Value>, faults: &'a mut Faults) -> Self {
        Self { at, map, faults }
    }

    pub(super) fn fault(&mut self, field: &str, problem: impl Into<std::borrow::Cow<'static, str>>) {
        self.faults.add(Fault::new(self.at.field(field), problem));
    }

    /// A fault of the object as a whole.
    pub(super) fn fault_here(&mut self, problem: &'static str) {
        self.faults.add(Fault::new(self.at.clone(), problem));
    }

    /// The field, if it is given and not null.
    pub(super) fn given(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field).filter(|v| !v.is_null())
    }

    /// The field, null too.
    pub(super) fn present(&mut self, field: &str) -> Option<Value> {
        self.map.remove(field)
    }

    /// One field that has two spellings.
    pub(super) fn merge_spelling(&mut self, tolerated: &str, proper: &str) {
        if let Some(value) = self.given(tolerated) {
            if self.map.get(proper).is_some_and(|v| !v.is_null()) {
                self.fault(tolerated, "is another spelling of a field that is there too");
            } else {
                self.map.insert(proper.to_owned(), value);
            }
        }
    }

    /// The account's name, which must be there.
    pub(super) fn name(&mut self) -> Option<String> {
        match self.given("name") {
            None => self.fault("name", "is missing"),
            Some(Value::String(text)) => match name(&text) {
                Ok(()) => return Some(text),
                Err(problem) => self.fault("name", problem),
            },
            Some(_) => self.fault("name", "must be a string"),
        }
        None
    }

    /// A zone's id.
    pub(super) fn zone(&mut self, value: Value) -> Option<String> {
        match value {
            Value::String(zone) if zone.is_empty() => self.fault("zoneId", "must not be empty"),
            Value::String(zone) if zone.len() > ZONE => self.fault("zoneId", "is longer than 255 bytes"),
            Value::String(zone) if zone.chars().any(char::is_control) => self.fault("zoneId", "holds a control character"),
            Value::String(zone) => return Some(zone),
            _ => self.fault("zoneId", "must be a string"),
        }
        None
    }

    /// A field that was taken out before, checked; `None`: a fault was added.
    pub(super) fn checked(&mut self, field: &str, value: Value, kind: Kind) -> Option<Value> {
        match problem(&value, kind) {
            None => Some(value),
            Some(problem) => {
                self.fault(field, problem);
                None
            }
        }
    }

    /// Whatever was not read is not known.
    pub(super) fn rest(self, known: &[&str]) {
        for field in self.map.keys() {
            let distance = |k: &&&str| strsim::damerau_levenshtein(&k.to_ascii_lowercase(), &field.to_ascii_lowercase());
            let near = known.iter().filter(|_| field.len() <= 48).min_by_key(distance).filter(|k| distance(k) <= 2);
            let problem = near
                .map_or_else(|| "is not a field of this request".to_owned(), |k| format!("is not a field of this request; is {k} meant?"));
            self.faults.add(Fault::new(self.at.field(field), problem));
        }
    }
}

fn problem(value: &Value, kind: Kind) -> Option<std::borrow::Cow<'static, str>> {
    let wrong = |words: &'static str| Some(words.into());
    match (kind, value) {
        (Kind::Text, Value::String(s)) => text(s),
        (Kind::Text, _) => wrong("must be a string"),
        (Kind::Flag, Value::Bool(_)) => None,
        (Kind::Flag, _) => wrong("must be true or false"),
        (Kind::Whole, Value::Number(n)) if n.as_i64().is_some_and(|n| n >= 0) => None,
        (Kind::Whole, _) => wrong("must be a whole number, not below 0"),
        (Kind::Texts, Value::Array(items)) if items.iter().all(Value::is_string) => None,
        (Kind::Texts, _) => wrong("must be a list of strings"),
        (Kind::Permissions, Value::Object(map)) if are_roles(map) => None,
        (Kind::Permissions, Value::Array(items)) if items.iter().all(|i| i.as_object().is_some_and(are_roles)) => None,
        (Kind::Permissions, _) => wrong("must hold lists of roles, by READ, WRITE, EXECUTE or CREATE"),
        (Kind::Resources, Value::Array(items)) if items.iter().all(is_resource) => None,
        (Kind::Resources, _) => wrong("must be a list of objects with kind and scope"),
    }
}

fn text(text: &str) -> Option<std::borrow::Cow<'static, str>> {
    if text.is_empty() {
        return Some("must not be empty".into());
    }
    if text.len() > TEXT {
        return Some("is longer than 1 MiB".into());
    }
    Reference::parse(text).err().map(|e| e.to_string().into())
}

fn are_roles(map: &Map<String, Value>) -> bool {
    map.iter().all(|(right, roles)| {
        matches!(right.as_str(), "READ" | "WRITE" | "EXECUTE" | "CREATE")
            && roles.as_array().is_some_and(|r| r.iter().all(Value::is_string))
    })
}

fn is_resource(value: &Value) -> bool {
    value.as_object().is_some_and(|map| {
        map.get("kind").is_some_and(|k| k.as_str().is_some_and(|k| !k.is_empty()))
            && map.iter().all(|(name, v)| matches!(name.as_str(), "kind" | "scope") && v.is_string())
    })
}
