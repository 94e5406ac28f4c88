//! How a row of Clouddriver's and its row in the mirror differ. Names where, never what.

use serde_json::Value;

use crate::source::SourceRow;
use crate::store::Store;
use crate::store::mirrored::PassRow;

/// Places that are named of one definition.
const MOST_PLACES: usize = 20;

/// How they differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// Not at all.
    None,
    /// The account was deleted and made again since.
    OtherLife,
    /// The mirror's row was taken over from the original, and has not seen Clouddriver's yet.
    NotLinked,
    /// Another value, at these places (JSON pointers).
    Definition(Vec<String>),
    /// Clouddriver's cannot be read.
    Unreadable(&'static str),
    /// The mirror's cannot be opened.
    Sealed(String),
    /// One was read by SQL and the other by the API, whose values are decrypted.
    OtherMode,
}

pub(super) const NOT_JSON: &str = "its definition is no JSON object that can be read";

/// Compares Clouddriver's Kubernetes account with its row; `mode` is what `row` was read by.
pub(super) fn compare(store: &Store, mode: &str, row: &SourceRow, m: &PassRow) -> Difference {
    let Some(theirs) = row.definition() else { return Difference::Unreadable(NOT_JSON) };
    match m.incarnation {
        None => return Difference::NotLinked,
        Some(incarnation) if incarnation != row.incarnation.0 => return Difference::OtherLife,
        Some(_) => {}
    }
    match store.open_definition(&m.name, &m.definition.0) {
        // Its words name a key's id at most.
        Err(e) => Difference::Sealed(e.to_string()),
        Ok(_) if m.mode != mode => Difference::OtherMode,
        Ok(ours) if ours == theirs => Difference::None,
        Ok(ours) => {
            let mut places = Vec::new();
            find(&ours, &theirs, &mut String::new(), &mut places);
            Difference::Definition(places)
        }
    }
}

/// Where two values differ, as deep as both go.
fn find(ours: &Value, theirs: &Value, at: &mut String, places: &mut Vec<String>) {
    if places.len() >= MOST_PLACES || ours == theirs {
        return;
    }
    let length = at.len();
    let mut within = |key: &str, a: Option<&Value>, b: Option<&Value>| {
        at.push('/');
        at.push_str(&key.replace('~', "~0").replace('/', "~1"));
        match (a, b) {
            (Some(a), Some(b)) => find(a, b, at, places),
            (None, None) => {}
            _ if places.len() < MOST_PLACES => places.push(at.clone()),
            _ => {}
        }
        at.truncate(length);
    };
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            a.iter().for_each(|(key, value)| within(key, Some(value), b.get(key)));
            b.iter().filter(|(key, _)| !a.contains_key(*key)).for_each(|(key, value)| within(key, None, Some(value)));
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter().zip(b).enumerate().for_each(|(i, (a, b))| within(&i.to_string(), Some(a), Some(b)));
        }
        _ => places.push(at.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn places(ours: Value, theirs: Value) -> Vec<String> {
        let mut places = Vec::new();
        find(&ours, &theirs, &mut String::new(), &mut places);
        places
    }

    #[test]
    fn places_are_named_as_deep_as_both_go_and_values_never() {
        let ours = json!({"name": "a", "same": [1], "deep": [{"x/y": "secret"}, 1], "gone": "secret", "list": [1]});
        let theirs = json!({"name": "a", "same": [1], "deep": [{"x/y": "hidden"}, 1], "new": {"k": "hidden"}, "list": [1, 2]});
        assert_eq!(places(ours, theirs), ["/deep/0/x~1y", "/gone", "/list", "/new"]);
        assert_eq!(places(json!("a"), json!(1)), [""]);
        assert_eq!(places(json!({"a": null}), json!({})), ["/a"]);
    }

    #[test]
    fn of_many_places_some_are_named() {
        let many = |v: i32| (0..1_000).map(|n| (format!("k{n}"), json!(v))).collect::<serde_json::Map<_, _>>();
        assert_eq!(places(Value::Object(many(1)), Value::Object(many(2))).len(), MOST_PLACES);
    }
}
