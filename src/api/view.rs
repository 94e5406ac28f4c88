//! An account as the API shows it: the union of the contract's two shapes, with every secret masked.

use serde_json::{Map, Value, json};

use crate::account::Origin;
use crate::source::SourceRow;
use crate::store::AccountRow;
use crate::store::overlay::merge;
use crate::store::secrets::{MASK, mask, quotes_secret};

/// A row of the mirror, and the agents that have it.
pub(super) fn account(row: &AccountRow, agents: Vec<Value>) -> Value {
    let definition = object(row.definition.as_deref());
    let overlay = object(row.overlay.as_deref()).unwrap_or_default();
    let properties = object(row.props.as_deref()).unwrap_or_default();
    let problem = match (&row.definition, &definition) {
        (Some(text), None) if text.is_empty() => Some("the definition is left out of the list: ask for the account by its name"),
        (Some(_), None) => Some("the stored definition is not a JSON object"),
        _ => None,
    };
    let definition = definition.unwrap_or_default();
    let permissions = permissions(&properties).or_else(|| permissions(&definition)).unwrap_or_else(|| json!({}));
    let config = merge(&definition, &overlay);
    let connections = row.connections.max(i64::try_from(agents.len()).unwrap_or(i64::MAX));
    let error = row.error_message.as_deref().map(quiet).or(problem);
    let source = if row.origin == Origin::Agent { "static-agent-config" } else { "clouddriver" };
    let (definition_text, properties_text) = (text(&definition), text(&properties));
    json!({
        "name": row.name,
        "type": "kubernetes",
        "source": source,
        "config": config,
        "zoneId": row.zone_id,
        "zoneFound": row.zone_found,
        "agents": agents,
        "lastAssignmentMsg": error,
        "connections": connections,
        "origin": row.origin.as_str(),
        "definition": definition,
        "definitionAsString": definition_text,
        "def": definition_text,
        "properties": properties,
        "propertiesAsString": properties_text,
        "props": properties_text,
        "permissions": permissions,
        "kubeHost": row.kube_host,
        "kubeVersion": row.kube_version,
        "certFingerprint": row.cert_fingerprint,
        "lastUpdated": row.last_updated,
        "maxWatchAgeSeconds": row.max_watch_age_seconds,
        "dynamic": row.dynamic,
        "status": row.status,
        "errorMessage": error,
        "retryCount": row.failed_count,
    })
}

/// An account that only Clouddriver has: no status, since it is in no state of ours.
pub(super) fn clouddrivers(row: &SourceRow) -> Value {
    let definition = object(Some(&row.body)).unwrap_or_default();
    let permissions = permissions(&definition).unwrap_or_else(|| json!({}));
    let definition_text = text(&definition);
    json!({
        "name": row.id,
        "type": "kubernetes",
        "source": "clouddriver",
        "config": definition,
        "agents": [],
        "definition": definition,
        "definitionAsString": definition_text,
        "def": definition_text,
        "permissions": permissions,
    })
}

/// Those that the definition names; empty where it names none.
pub(super) fn namespaces(row: &AccountRow) -> Value {
    let definition = object(row.definition.as_deref()).unwrap_or_default();
    let overlay = object(row.overlay.as_deref()).unwrap_or_default();
    let named = merge(&definition, &overlay).remove("namespaces");
    let list = named.as_ref().and_then(Value::as_array).into_iter().flatten().filter(|n| n.is_string());
    Value::Array(list.cloned().collect())
}

/// The masked object in a column; `None` where there is none.
fn object(text: Option<&str>) -> Option<Map<String, Value>> {
    match mask(&serde_json::from_str(text?).ok()?) {
        Value::Object(map) => Some(map),
        _ => None,
    }
}

fn text(map: &Map<String, Value>) -> String {
    serde_json::to_string(map).unwrap_or_default()
}

/// Lists of roles by what they permit, from Clouddriver's object or an agent's list of such; whatever has another shape is left out.
fn permissions(map: &Map<String, Value>) -> Option<Value> {
    let found: Vec<&Map<String, Value>> = match map.get("permissions")? {
        Value::Object(map) => vec![map],
        Value::Array(items) => items.iter().filter_map(Value::as_object).collect(),
        _ => return None,
    };
    let lists = found.into_iter().flatten().filter_map(|(right, roles)| {
        let roles: Vec<&Value> = roles.as_array()?.iter().filter(|r| r.is_string()).collect();
        Some((right.clone(), json!(roles)))
    });
    Some(Value::Object(lists.collect()))
}

/// A message that quotes a secret is not shown.
fn quiet(message: &str) -> &str {
    if quotes_secret(message) { MASK } else { message }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::account::Incarnation;

    #[test]
    fn what_only_clouddriver_has_is_shown_masked_and_without_a_status() {
        let row = SourceRow {
            id: "prod".to_owned(),
            kind: "kubernetes".to_owned(),
            body: r#"{"type":"kubernetes","kubeconfigContents":"canary","permissions":{"READ":["r1",1],"WRITE":"x"}}"#.to_owned(),
            incarnation: Incarnation(1),
            modified: None,
        };
        let shown = clouddrivers(&row);
        assert_eq!(shown["config"]["kubeconfigContents"], MASK);
        assert_eq!(shown["permissions"], json!({"READ": ["r1"]}));
        assert!(shown.get("status").is_none());
        assert!(!shown.to_string().contains("canary"));
    }
}
