//! Which values of a definition are secret: the one place that decides it, for sealing and for every view.
//!
//! A value is secret by the name of its property, at any depth: `kubeconfigContents` and its like, and the names that
//! Clouddriver itself hides (`pass(word|phrase)|(api|access)?token|.*(private|secret|access)key.*`, any case), widened to names that
//! contain such a word. It is secret by its text, whatever its name, where it holds a private key or the credentials of a kubeconfig, or
//! where it is sealed already: so a view needs no key.
//! A reference (`secret://`, `encrypted:`, `encryptedFile:`) is not a secret: an operator must be able to read it.
//!
//! Views write [`MASK`] where Clouddriver writes null, because null would say "not set". Rather too much is hidden than too little.

use serde_json::{Map, Value};

/// What a view shows in the place of a secret.
pub const MASK: &str = "****";

const REFERENCES: [&str; 3] = ["secret://", "encrypted:", "encryptedFile:"];

const WORDS: [&str; 11] = [
    "password",
    "passphrase",
    "passwd",
    "token",
    "privatekey",
    "secretkey",
    "accesskey",
    "apikey",
    "clientkey",
    "clientsecret",
    "credential",
];

/// Whether a text is a reference to a secret kept elsewhere.
pub fn is_reference(text: &str) -> bool {
    REFERENCES.iter().any(|r| text.starts_with(r)) && !text.contains(['\n', '\r'])
}

/// Whether the property `name` with this value is to be hidden and sealed as a whole.
pub fn is_secret(name: &str, value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(_) => false,
        Value::String(s) if is_reference(s) => false,
        Value::String(s) => !s.is_empty() && (named_secret(name) || is_secret_text(s)),
        Value::Number(_) => named_secret(name),
        Value::Array(a) => !a.is_empty() && named_secret(name),
        Value::Object(o) => !o.is_empty() && named_secret(name),
    }
}

/// Whether a text is secret wherever it stands: a private key, a kubeconfig with credentials in it, or what looks sealed.
pub fn is_secret_text(text: &str) -> bool {
    text.starts_with("fairlead-sealed:")
        || ["PRIVATE KEY-----", "client-key-data", "client-certificate-data"].iter().any(|mark| text.contains(mark))
}

fn named_secret(name: &str) -> bool {
    let name: String = name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    if name.starts_with("kubeconfig") {
        // A path, or a reference: what is inline in it shows by its text.
        return name != "kubeconfigfile";
    }
    name == "secret" || WORDS.iter().any(|w| name.contains(w))
}

/// A copy in which every secret reads [`MASK`].
pub fn mask(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut out = Map::new();
            for (name, v) in map {
                out.insert(name.clone(), if is_secret(name, v) { Value::from(MASK) } else { mask(v) });
            }
            Value::Object(out)
        }
        Value::Array(items) => Value::Array(items.iter().map(mask).collect()),
        Value::String(s) if is_secret_text(s) && !is_reference(s) => Value::from(MASK),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_that_clouddriver_hides_are_secret_at_any_depth_and_in_any_case() {
        for name in [
            "kubeconfigContents",
            "password",
            "PassPhrase",
            "apiToken",
            "accessToken",
            "TOKEN",
            "myPrivateKeyData",
            "aws_secret_access_key",
            "oauth-access-key",
            "client-secret",
            "kubeconfigAgent",
        ] {
            let masked = mask(&json!({"a": [{"b": {name: "canary"}}]}));
            assert_eq!(masked["a"][0]["b"][name], MASK, "{name}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        let plain = json!({"name": "prod", "namespaces": ["a"], "serviceAccount": true, "kubeconfigFile": "/etc/kube", "permissions": {"READ": ["dev"]},
            "password": null, "usePassword": false, "token": "", "cacheThreads": 4});
        assert_eq!(mask(&plain), plain);
    }

    #[test]
    fn references_stay_readable_but_not_a_kubeconfig_that_begins_like_one() {
        let refs = json!({"kubeconfigContents": "encryptedFile:k8s!n:a!k:b", "password": "secret://x", "token": "encrypted:s3!r:x"});
        assert_eq!(mask(&refs), refs);
        assert_eq!(mask(&json!({"kubeconfigContents": "encrypted:\napiVersion: v1"}))["kubeconfigContents"], MASK);
    }

    #[test]
    fn a_kubeconfig_or_private_key_is_hidden_under_any_name() {
        let v =
            json!({"kubeconfigFile": "users:\n- user: {client-key-data: canary}", "notes": ["-----BEGIN RSA PRIVATE KEY-----\ncanary"]});
        assert!(!mask(&v).to_string().contains("canary"));
    }

    #[test]
    fn secrets_that_are_no_strings_are_hidden_too() {
        let v = json!({"token": 123_456, "passwords": ["canary"], "credentials": {"user": "canary"}});
        assert_eq!(mask(&v), json!({"token": MASK, "passwords": MASK, "credentials": MASK}));
    }
}
