//! Reading a definition as Clouddriver's parser was seen to: unknown properties go, defaults are written out, keys are
//! sorted with `type` in front.

use serde_json::{Map, Value, json};

/// A definition that would be stored.
#[derive(Clone)]
pub(super) struct Definition {
    pub(super) name: String,
    pub(super) kind: String,
    /// The text that is stored and answered.
    pub(super) text: String,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    /// 400 with an empty body.
    Malformed,
    /// 415; found before the body is read.
    MediaType,
    /// 500.
    NoName,
}

/// Types that are stored as they came; with no Kubernetes in them the mirror has nothing to do with them.
const OTHER_TYPES: [&str; 5] = ["aws", "azure", "ecs", "google", "dockerRegistry"];
const TEXTS: [&str; 12] = [
    "accountType",
    "context",
    "environment",
    "kubeconfigContents",
    "kubeconfigFile",
    "kubectlExecutable",
    "name",
    "namingStrategy",
    "oauthServiceAccount",
    "cacheIntervalSeconds",
    "cacheThreads",
    "kubectlRequestTimeoutSeconds",
];
const FLAGS: [&str; 6] =
    ["cacheAllApplicationRelationships", "checkPermissionsOnStartup", "debug", "metrics", "onlySpinnakerManaged", "serviceAccount"];
const LISTS: [&str; 8] =
    ["cachingPolicies", "customResources", "kinds", "namespaces", "oauthScopes", "omitKinds", "omitNamespaces", "requiredGroupMembership"];
const MAPS: [&str; 2] = ["permissions", "rawResourcesEndpointConfig"];

fn defaults() -> Map<String, Value> {
    let value = json!({
        "cacheAllApplicationRelationships": false, "cacheThreads": 1, "cachingPolicies": [], "checkPermissionsOnStartup": true,
        "customResources": [], "debug": false, "kinds": [], "metrics": true, "namespaces": [],
        "namingStrategy": "kubernetesAnnotations", "omitKinds": [], "omitNamespaces": [], "onlySpinnakerManaged": false,
        "permissions": {}, "rawResourcesEndpointConfig": {"kindExpressions": [], "kindPatterns": [], "omitKindExpressions": [], "omitKindPatterns": []},
        "requiredGroupMembership": [], "serviceAccount": false,
    });
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Reads a request's body.
pub(super) fn parse(body: &[u8]) -> Result<Definition, Bad> {
    let body = body.strip_prefix("\u{feff}".as_bytes()).unwrap_or(body);
    // The first document counts; what follows it is not looked at.
    let document = serde_json::Deserializer::from_slice(body).into_iter::<Value>().next();
    let Some(Ok(Value::Object(mut given))) = document else { return Err(Bad::Malformed) };
    let Some(Value::String(kind)) = given.remove("type") else { return Err(Bad::Malformed) };
    if kind == "kubernetes" {
        given = kubernetes(given)?;
    } else if !OTHER_TYPES.contains(&kind.as_str()) {
        return Err(Bad::Malformed);
    }
    given.retain(|_, v| !v.is_null());
    let name = match given.get("name") {
        Some(Value::String(name)) => name.clone(),
        Some(v @ (Value::Number(_) | Value::Bool(_))) => v.to_string(),
        None => return Err(Bad::NoName),
        Some(_) => return Err(Bad::Malformed),
    };
    given.insert("name".into(), Value::String(name.clone()));
    let rest = Value::Object(given).to_string();
    let text = format!("{{\"type\":{},{}", Value::String(kind.clone()), rest.trim_start_matches('{'));
    Ok(Definition { name, kind, text })
}

fn kubernetes(given: Map<String, Value>) -> Result<Map<String, Value>, Bad> {
    let mut out = defaults();
    for (key, value) in given {
        let fits = match key.as_str() {
            k if TEXTS.contains(&k) => !value.is_array() && !value.is_object(),
            k if FLAGS.contains(&k) => value.is_boolean(),
            k if LISTS.contains(&k) => value.is_array() || value.is_null(),
            k if MAPS.contains(&k) => value.is_object() || value.is_null(),
            _ => continue,
        };
        if !fits {
            return Err(Bad::Malformed);
        }
        out.insert(key, value);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_written_out_keys_sorted_and_unknown_properties_dropped() {
        let d = parse(br#"{"zoneId":"z","name":"a","type":"kubernetes","context":null,"debug":true} trailing"#).expect("good");
        assert!(d.text.starts_with(r#"{"type":"kubernetes","cacheAllApplicationRelationships":false,"cacheThreads":1,"#), "{}", d.text);
        assert!(!d.text.contains("zoneId") && !d.text.contains("context") && d.text.contains(r#""debug":true"#));
        let value: Value = serde_json::from_str(&d.text).expect("JSON");
        assert_eq!((value["name"].as_str(), value["metrics"].as_bool()), (Some("a"), Some(true)));
    }

    #[test]
    fn a_number_as_name_becomes_text() {
        assert_eq!(parse(br#"{"name":12,"type":"kubernetes"}"#).map(|d| d.name).ok().as_deref(), Some("12"));
    }

    #[test]
    fn what_clouddriver_refuses_is_refused() {
        for (body, why) in [
            ("{", Bad::Malformed),
            ("[]", Bad::Malformed),
            ("", Bad::Malformed),
            (r#"{"name":"a"}"#, Bad::Malformed),
            (r#"{"name":"a","type":"nope"}"#, Bad::Malformed),
            (r#"{"name":"a","type":"kubernetes","namespaces":"x"}"#, Bad::Malformed),
            (r#"{"name":["a"],"type":"kubernetes"}"#, Bad::Malformed),
            (r#"{"type":"kubernetes"}"#, Bad::NoName),
            (r#"{"type":"kubernetes","name":null}"#, Bad::NoName),
        ] {
            assert_eq!(parse(body.as_bytes()).err(), Some(why), "{body}");
        }
    }
}
