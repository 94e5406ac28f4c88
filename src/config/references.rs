//! Secret references of Spinnaker in place of a value: `encrypted:engine!name:value…`.

/// What a text is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Not a reference.
    Literal,
    /// A reference that holds its value itself (`noop`).
    Value(String),
}

/// Recognizes references. Spinnaker takes a malformed one for the value itself; here it is refused, or a mistyped
/// reference would be sent as a password.
///
/// # Errors
/// Why the reference cannot be used; never its parameters.
pub(super) fn resolve(text: &str) -> Result<Resolved, String> {
    if text.trim_start().starts_with("secret://") {
        return Err("is a user secret (secret://…), which cannot be resolved here: give the value by an environment variable".into());
    }
    let trimmed = text.trim();
    let Some(reference) = trimmed.strip_prefix("encrypted:").or_else(|| trimmed.strip_prefix("encryptedFile:")) else {
        return Ok(Resolved::Literal);
    };
    let malformed = || "begins like a secret reference but is not one: encrypted:ENGINE!NAME:VALUE, with no blanks around it".to_owned();
    if trimmed.len() != text.len() || !is_opaque_uri(reference) {
        return Err(malformed());
    }
    let mut parts = reference.split('!');
    let engine = parts.next().filter(|e| !e.is_empty()).ok_or_else(malformed)?;
    let mut parameters = std::collections::BTreeMap::new();
    for part in parts {
        let (name, value) = part.split_once(':').ok_or_else(malformed)?;
        if name.is_empty() || value.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric()) || name == "encrypted" {
            return Err(malformed());
        }
        if parameters.insert(name, value).is_some() {
            return Err(malformed());
        }
    }
    match (engine, parameters.get("v")) {
        _ if parameters.is_empty() => Err(malformed()),
        ("noop", Some(value)) => Ok(Resolved::Value((*value).to_owned())),
        ("noop", None) => Err("is a noop reference without its parameter v".into()),
        (engine, _) => {
            const KNOWN: [&str; 6] = ["s3", "gcs", "secrets-manager", "google-secrets-manager", "k8s", "vault"];
            let named = KNOWN.iter().find(|k| **k == engine).map_or_else(|| "an unknown engine".into(), |k| format!("the engine {k}"));
            Err(format!("is a secret reference to {named}, which is not built: give the value by an environment variable"))
        }
    }
}

/// What `java.net.URI` takes in an opaque part.
fn is_opaque_uri(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.chars().all(|c| c > ' ' && !c.is_control() && !"\"<>\\^`{|}#".contains(c))
        && bytes
            .iter()
            .enumerate()
            .all(|(i, b)| *b != b'%' || bytes.get(i + 1..i + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_noop_is_resolved_and_nothing_malformed_is_a_literal() {
        assert_eq!(resolve("s3cret"), Ok(Resolved::Literal));
        assert_eq!(resolve("encrypted:noop!v:a:b"), Ok(Resolved::Value("a:b".into())));
        for (text, word) in [
            ("encrypted:k8s!n:db!k:password", "k8s"),
            ("encryptedFile:vault!e:secret!p:db!k:pw", "vault"),
            ("encrypted:nope!a:b", "unknown engine"),
            ("encrypted:noop!x:1", "parameter v"),
            ("secret://k8s?n=db", "user secret"),
            ("encrypted:", "not one"),
            ("encrypted:noop", "not one"),
            ("encrypted:noop!v:", "not one"),
            ("encrypted:noop!v:a!v:b", "not one"),
            ("encrypted:noop!v:a b", "not one"),
            ("encrypted:noop!v:100%", "not one"),
            ("encrypted:noop!v:a\n", "not one"),
            (" encrypted:noop!v:a", "not one"),
        ] {
            let said = resolve(text).unwrap_err();
            assert!(said.contains(word), "{text}: {said}");
            assert!(!said.contains("n:db"), "{said}");
        }
    }
}
