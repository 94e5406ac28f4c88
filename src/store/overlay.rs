//! The two layers of an account: what Clouddriver (or `POST /armory/accounts/dynamic`) defines, and what users laid over it.
//!
//! The definition is replaced whenever Clouddriver's is; the overlay (column `fl_overlay`) belongs to Fairlead and stays. What an agent gets, and
//! what the API shows as `config`, is [`merge`]. Pure.

use serde_json::{Map, Value};

/// Where an agent gets the way to the cluster from: exactly one of these counts, so one that is laid over hides the others below it.
pub const CREDENTIALS: [&str; 3] = ["kubeconfigFile", "kubeconfigContents", "serviceAccount"];

/// A definition with its overlay.
pub fn merge(definition: &Map<String, Value>, overlay: &Map<String, Value>) -> Map<String, Value> {
    let mut all = definition.clone();
    lay(&mut all, overlay);
    all
}

/// Lays properties over others. `null` takes a property out.
pub fn lay(below: &mut Map<String, Value>, above: &Map<String, Value>) {
    if let Some(given) = CREDENTIALS.iter().find(|c| above.get(**c).is_some_and(is_given)) {
        CREDENTIALS.iter().filter(|c| *c != given).for_each(|c| drop(below.remove(*c)));
    }
    for (name, value) in above {
        match value {
            Value::Null => drop(below.remove(name)),
            value => drop(below.insert(name.clone(), value.clone())),
        }
    }
}

/// `serviceAccount: false` says that it is not that one.
fn is_given(value: &Value) -> bool {
    !matches!(value, Value::Null | Value::Bool(false))
}

/// How many of [`CREDENTIALS`] there are.
pub fn credentials(properties: &Map<String, Value>) -> usize {
    CREDENTIALS.iter().filter(|c| properties.get(**c).is_some_and(is_given)).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn what_lies_above_counts_and_the_rest_shows_through() {
        let below = map(json!({"name": "a", "namespaces": ["x"], "kubeconfigFile": "/there", "metrics": true}));
        for (above, expected) in [
            (json!({}), json!({"name": "a", "namespaces": ["x"], "kubeconfigFile": "/there", "metrics": true})),
            (json!({"namespaces": [], "metrics": null}), json!({"name": "a", "namespaces": [], "kubeconfigFile": "/there"})),
            (json!({"kubeconfigContents": "x"}), json!({"name": "a", "namespaces": ["x"], "kubeconfigContents": "x", "metrics": true})),
            (json!({"serviceAccount": true}), json!({"name": "a", "namespaces": ["x"], "serviceAccount": true, "metrics": true})),
            (
                json!({"serviceAccount": false}),
                json!({"name": "a", "namespaces": ["x"], "kubeconfigFile": "/there", "serviceAccount": false, "metrics": true}),
            ),
        ] {
            assert_eq!(merge(&below, &map(above.clone())), map(expected), "{above}");
        }
    }

    #[test]
    fn a_second_way_to_the_cluster_replaces_the_first_in_the_overlay_too() {
        let mut overlay = map(json!({"kubeconfigContents": "old", "kinds": ["Pod"]}));
        lay(&mut overlay, &map(json!({"kubeconfigFile": "encryptedFile:k8s!n:a!k:b"})));
        assert_eq!(overlay, map(json!({"kubeconfigFile": "encryptedFile:k8s!n:a!k:b", "kinds": ["Pod"]})));
        assert_eq!((credentials(&overlay), credentials(&map(json!({"serviceAccount": false})))), (1, 0));
    }
}
