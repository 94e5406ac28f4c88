//! What an agent is told of an account: Clouddriver's layer with Fairlead's over it, references resolved, the kubeconfig in base64.
//!
//! It is made just before it is sent, and lives no longer than the message: the row keeps the reference.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::secrets::Resolver;
use crate::secrets::reference::Reference;

/// Ways to say which cluster it is, the first that is given counts.
const FILE: &str = "kubeconfigFile";
const CONTENTS: &str = "kubeconfigContents";
const SERVICE: &str = "serviceAccount";
/// Fairlead's own: another kubeconfig for the agent than the one Clouddriver has.
const AGENT: &str = "kubeconfigAgent";

/// The two layers, merged: a property of the overlay replaces Clouddriver's, null takes it away. A way to say which cluster it is
/// replaces all of Clouddriver's ways.
pub fn merge(definition: Value, overlay: Value) -> Map<String, Value> {
    let mut merged = if let Value::Object(map) = definition { map } else { Map::new() };
    let Value::Object(overlay) = overlay else { return merged };
    let given = |name: &str| overlay.get(name).is_some_and(|v| !matches!(v, Value::Null | Value::Bool(false)) && v.as_str() != Some(""));
    if [FILE, CONTENTS, SERVICE, AGENT].iter().any(|name| given(name)) {
        for name in [FILE, CONTENTS, SERVICE] {
            merged.remove(name);
        }
    }
    for (name, value) in overlay {
        if value.is_null() {
            merged.remove(&name);
        } else {
            merged.insert(name, value);
        }
    }
    merged
}

/// The bytes for the agent.
///
/// # Errors
/// Why there is nothing to send, in words for the operator, without any of the secrets.
pub async fn prepare(mut merged: Map<String, Value>, resolver: &Resolver) -> Result<Vec<u8>, String> {
    let text = |map: &Map<String, Value>, name: &str| map.get(name).and_then(Value::as_str).filter(|t| !t.is_empty()).map(str::to_owned);
    let (name, given) = if let Some(t) = text(&merged, AGENT) {
        (AGENT, Some(t))
    } else if let Some(t) = text(&merged, FILE) {
        (FILE, Some(t))
    } else {
        (CONTENTS, text(&merged, CONTENTS))
    };
    for name in [AGENT, FILE, CONTENTS] {
        merged.remove(name);
    }
    match given {
        Some(given) => {
            let contents = match Reference::parse(&given).map_err(|e| format!("{name}: {e}"))? {
                Some(reference) => {
                    let bytes = resolver.resolve(&reference).await.map_err(|e| format!("{name}: {e}"))?;
                    if bytes.is_empty() {
                        return Err(format!("{name}: the secret that it names is empty"));
                    }
                    STANDARD.encode(bytes)
                }
                None if given.starts_with("secret://") => {
                    return Err(format!(
                        "{name}: references of the form secret:// are not resolved: give encryptedFile:k8s!n:NAME!k:KEY!ns:NAMESPACE or kubeconfigContents"
                    ));
                }
                None if name == FILE => {
                    return Err("kubeconfigFile is a path on Clouddriver's disk, which cannot be read from outside Clouddriver: give kubeconfigContents, or a \
                                reference such as encryptedFile:k8s!n:NAME!k:KEY!ns:NAMESPACE, to Clouddriver or in the PATCH to Fairlead"
                        .to_owned());
                }
                // As the original plugin stores it.
                None if is_base64(&given) => given,
                None => STANDARD.encode(given),
            };
            merged.insert(CONTENTS.to_owned(), Value::String(contents));
            if name == AGENT {
                // An agent takes its own service account before any kubeconfig.
                merged.remove(SERVICE);
            }
        }
        None if merged.get(SERVICE) == Some(&Value::Bool(true)) => {}
        None => {
            return Err(
                "it says of no cluster: give kubeconfigContents, kubeconfigFile with a reference, or serviceAccount: true".to_owned()
            );
        }
    }
    for (name, value) in &mut merged {
        let Some(text) = value.as_str().filter(|_| name != CONTENTS) else { continue };
        if let Some(reference) = Reference::parse(text).map_err(|e| format!("{name}: {e}"))? {
            let bytes = resolver.resolve(&reference).await.map_err(|e| format!("{name}: {e}"))?;
            *value = Value::String(String::from_utf8(bytes).map_err(|_| format!("{name}: the secret that it names is no text"))?);
        }
    }
    serde_json::to_vec(&merged).map_err(|_| "the definition cannot be written as JSON".to_owned())
}

/// A kubeconfig is YAML or JSON, and neither is base64: both have a colon.
fn is_base64(text: &str) -> bool {
    let packed: String = text.split_ascii_whitespace().collect();
    !text.contains(':') && packed.len() >= 8 && STANDARD.decode(&packed).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn resolver() -> Resolver {
        Resolver::new(crate::secrets::Settings { kubeconfig: Some("/nowhere/kubeconfig".into()), timeout: Duration::from_secs(5) })
    }

    async fn sent(definition: Value, overlay: Value) -> Result<Value, String> {
        let bytes = prepare(merge(definition, overlay), &resolver()).await?;
        Ok(serde_json::from_slice(&bytes).expect("JSON"))
    }

    fn kubeconfig(v: &Value) -> String {
        String::from_utf8(STANDARD.decode(v[CONTENTS].as_str().expect("contents")).expect("base64")).expect("text")
    }

    #[tokio::test]
    async fn a_kubeconfig_goes_in_base64_however_it_was_given() {
        let plain = "apiVersion: v1\nkind: Config\n";
        for given in [plain.to_owned(), STANDARD.encode(plain)] {
            let got = sent(json!({"name": "a", CONTENTS: given}), json!({})).await.expect("sent");
            assert_eq!(kubeconfig(&got), plain);
            assert_eq!(got["name"], "a");
        }
        for (key, reference) in [(CONTENTS, "encrypted:noop!v:secret"), (FILE, "encryptedFile:noop!v:secret")] {
            let got = sent(json!({"name": "a", key: reference}), json!({})).await.expect("sent");
            assert_eq!(kubeconfig(&got), "secret");
            assert!(got.get(FILE).is_none());
        }
    }

    #[tokio::test]
    async fn fairleads_layer_replaces_what_it_names_and_each_way_to_a_cluster() {
        let base = json!({"name": "a", FILE: "/on/clouddrivers/disk", "namespaces": ["x"], "kinds": ["Pod"]});
        let got = sent(base.clone(), json!({CONTENTS: "encrypted:noop!v:ours", "namespaces": ["y"], "kinds": null})).await.expect("sent");
        assert_eq!((kubeconfig(&got).as_str(), &got["namespaces"], got.get("kinds")), ("ours", &json!(["y"]), None));
        let agents = json!({CONTENTS: "encrypted:noop!v:ours", AGENT: "encrypted:noop!v:agents"});
        let got = sent(base.clone(), agents).await.expect("sent");
        assert_eq!((kubeconfig(&got).as_str(), got.get(AGENT)), ("agents", None));
        for (definition, overlay) in [
            (json!({SERVICE: true, AGENT: "encrypted:noop!v:agents"}), json!({})),
            (base.clone(), json!({SERVICE: true, AGENT: "encrypted:noop!v:agents"})),
        ] {
            let got = sent(definition, overlay).await.expect("sent");
            assert_eq!((kubeconfig(&got).as_str(), got.get(SERVICE)), ("agents", None), "an agent takes its service account first");
        }
        let got = sent(base, json!({SERVICE: true})).await.expect("sent");
        assert_eq!((got.get(CONTENTS), &got[SERVICE]), (None, &json!(true)));
    }

    #[tokio::test]
    async fn what_cannot_be_had_is_refused_with_the_reason_and_never_sent_as_it_stands() {
        for (definition, says) in [
            (json!({FILE: "/home/spinnaker/.hal/kubeconfig"}), "Clouddriver's disk"),
            (json!({CONTENTS: "encryptedFile:k8s!n:canary"}), "lacks the parameter k"),
            (json!({CONTENTS: "encrypted:noop!v:canary\n"}), "cannot stand in one"),
            (json!({CONTENTS: "encrypted:vault!e:canary!p:canary!k:canary"}), "engine vault is not there"),
            (
                json!({CONTENTS: "encryptedFile:k8s!n:KubeConfig!k:config!ns:spinnaker"}),
                "secret kubeconfig (namespace spinnaker, key config)",
            ),
            (json!({CONTENTS: "secret://k8s?n=canary"}), "not resolved"),
            (json!({CONTENTS: "encrypted:noop!v:ok", "oAuthScopes": "encrypted:nothing!a:canary"}), "names no engine"),
            (json!({"name": "a"}), "of no cluster"),
        ] {
            let why = sent(definition.clone(), json!({})).await.expect_err("refused");
            assert!(why.contains(says), "{definition}: {why}");
            assert!(!why.contains("canary"), "{definition}: {why}");
        }
    }
}
