//! Which values of a definition are secret: the one place that decides it, for sealing and for every view.
//!
//! A value is secret by the name of its property, at any depth: `kubeconfigContents` and its like, and the names that
//! Clouddriver itself hides (`pass(word|phrase)|(api|access)?token|.*(private|secret|access)key.*`, any case), widened to names that
//! contain such a word. It is secret by its text, whatever its name, where it holds a private key or the credentials of a kubeconfig, or
//! where it is sealed already: so a view needs no key.
//! A reference (`secret://`, `encrypted:`, `encryptedFile:`) is not a secret: an operator must be able to read it.
//!
//! Views write [`MASK`] where Clouddriver writes null, because null would say "not set". Rather too much is hidden than too little.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// What a view shows in the place of a secret.
pub const MASK: &str = "****";

/// What a text with a key in it holds; the first is PEM's, the others are a kubeconfig's fields.
const KEY_MARKS: [&str; 3] = ["PRIVATE KEY-----", "client-key-data", "client-certificate-data"];

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

/// Whether a text is secret wherever it stands: a private key, a kubeconfig with credentials in it (in base64 too), or what looks sealed.
pub fn is_secret_text(text: &str) -> bool {
    let marked = |text: &str| KEY_MARKS.iter().any(|mark| text.contains(mark)) || has_login(text);
    text.starts_with("fairlead-sealed:") || marked(text) || unpacked(text).is_some_and(|text| marked(&text))
}

/// Whether a message quotes a secret. Narrower than [`is_secret_text`]: one that says which field of a kubeconfig is at fault, or how a key has to
/// begin, is what an operator has to read.
pub fn quotes_secret(message: &str) -> bool {
    let key = |rest: &str| rest.trim_start_matches(['\\', 'n', 'r', '\n', '\r', ' ']).starts_with(|c: char| c.is_ascii_alphanumeric());
    // `client-key-data: both are needed` is no value, and where one stands nothing but the end of it follows, or it is long.
    let no_prose = |value: &str| {
        let word = value.find([' ', '\n', '"', '\'', ',', '}', '\\']).unwrap_or(value.len());
        word >= 16 || !value[word..].starts_with(' ')
    };
    let fields = ["client-key-data", "client-certificate-data", "token", "password"];
    message.contains("fairlead-sealed:")
        || message.split("PRIVATE KEY-----").skip(1).any(key)
        || fields.iter().any(|field| has_value(message, field, no_prose))
}

/// A user's token or password in a kubeconfig.
fn has_login(text: &str) -> bool {
    text.contains("user") && ["token", "password"].iter().any(|field| has_value(text, field, |_| true))
}

/// Whether a field stands in a text, in YAML or JSON, with such a value.
fn has_value(text: &str, field: &str, such: impl Fn(&str) -> bool) -> bool {
    let quotes = ['"', '\'', '\\'];
    text.split(field).skip(1).any(|rest| {
        let rest = rest.trim_start_matches(quotes).trim_start().strip_prefix(':').map(|rest| rest.trim_start_matches([' ', '\t']));
        let value = rest.map(|rest| rest.trim_start_matches(quotes));
        value.is_some_and(|value| value.starts_with(|c: char| !c.is_whitespace() && !",}".contains(c)) && such(value))
    })
}

/// The text behind base64, where that is what it is.
fn unpacked(text: &str) -> Option<String> {
    let packed = |b: u8| b.is_ascii_alphanumeric() || b"+/=".contains(&b) || b.is_ascii_whitespace();
    if text.len() < 32 || !text.bytes().all(packed) {
        return None;
    }
    let packed: String = text.split_ascii_whitespace().collect();
    String::from_utf8(STANDARD.decode(packed).ok()?).ok()
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
    fn a_kubeconfig_with_a_token_or_a_password_is_hidden_under_any_name_in_base64_too() {
        let yaml = |user: &str| format!("apiVersion: v1\nkind: Config\nusers:\n- name: a\n  user:\n    {user}\n");
        for text in [
            yaml("token: canary"),
            yaml("token: \"canary\""),
            yaml("password: canary"),
            yaml("token: |\n      canary"),
            r#"{"users": [{"name": "a", "user": {"token": "canary"}}]}"#.to_owned(),
            r#"{"users":[{"name":"a","user":{"username":"b","password":"canary"}}]}"#.to_owned(),
        ] {
            for given in [text.clone(), STANDARD.encode(&text), format!("{}\n", STANDARD.encode(&text).replace("dG9", "\ndG9"))] {
                assert_eq!(
                    mask(&json!({"kubeconfigFile": given, "notes": [given]})),
                    json!({"kubeconfigFile": MASK, "notes": [MASK]}),
                    "{given}"
                );
            }
        }
        let plain = json!({"kubeconfigFile": yaml("tokenFile: /run/token").replace("tokenFile", "exec"), "notes": "the user's token: ", "id": "x".repeat(64)});
        assert_eq!(mask(&plain), plain);
    }

    #[test]
    fn a_message_that_speaks_of_a_secret_is_read_and_one_that_quotes_it_is_not() {
        for said in [
            "the kubeconfig of a has one of client-certificate-data and client-key-data: both are needed",
            "the kubeconfig of a: client-key-data holds no private key in PEM (-----BEGIN PRIVATE KEY-----)",
            "the kubeconfig of a has a client-key-data that is not base64",
            "the kubeconfig of a has a server that holds a user or a password: give them as the kubeconfig's user",
            "the kubeconfig of a has a token that holds blanks or line breaks",
            "the kubeconfig of a has a path of a disk (tokenFile), which is refused: give client-key-data, or for tokenFile the token itself",
            "does not accept the credentials (401): the token or the certificate is wrong, expired or revoked; give a new one",
        ] {
            assert!(!quotes_secret(said), "{said}");
        }
        for quoted in [
            "bad: -----BEGIN PRIVATE KEY-----canary",
            "bad: -----BEGIN RSA PRIVATE KEY-----\ncanary",
            r"bad: -----BEGIN EC PRIVATE KEY-----\ncanary",
            "cannot parse: users: [{user: {client-key-data: canary}}]",
            r#"cannot parse: {"user":{"client-certificate-data":"canary"}}"#,
            r#"cannot parse: "{\"user\":{\"token\":\"canary\"}}""#,
            "line 3: user: {token: canary}",
            "users: token: 0123456789abcdef0 in line 3",
            "password: canary",
            "fairlead-sealed:v1:k:canary",
        ] {
            assert!(quotes_secret(quoted), "{quoted}");
        }
    }

    #[test]
    fn secrets_that_are_no_strings_are_hidden_too() {
        let v = json!({"token": 123_456, "passwords": ["canary"], "credentials": {"user": "canary"}});
        assert_eq!(mask(&v), json!({"token": MASK, "passwords": MASK, "credentials": MASK}));
    }
}
