//! `encrypted:` and `encryptedFile:` references, read strictly.
//!
//! ```text
//! encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker
//! ```
//!
//! Clouddriver takes a text that does not match for the secret itself, so that a typing error or a line break at the end becomes the password. Here
//! whatever begins like a reference is one, or an error. No error repeats any of the text: what was meant as a reference may be a secret.

use std::fmt;

/// What a reference begins with, and whether Clouddriver would give a file's path for it.
const PREFIXES: [(&str, Kind); 2] = [("encrypted:", Kind::Text), ("encryptedFile:", Kind::File)];

/// Which of the two prefixes. Both mean the same bytes here; some engines distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `encrypted:`
    Text,
    /// `encryptedFile:`
    File,
}

/// Who keeps the secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Engine {
    Noop,
    K8s,
    S3,
    Gcs,
    SecretsManager,
    GoogleSecretsManager,
    Vault,
}

/// A reference that can be resolved if its engine is there. `Debug` shows no value: that of `noop` is the secret itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Reference {
    kind: Kind,
    engine: Engine,
    parameters: Vec<(String, String)>,
}

/// Why a text that begins like a reference is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// `encrypted:!…`, or no parameter at all.
    #[error("a reference has the form encryptedFile:ENGINE!NAME:VALUE!NAME:VALUE")]
    Form,
    /// One of the parameters, counted from 1.
    #[error("parameter {0} of the reference has not the form NAME:VALUE, with a name of letters and digits and a value")]
    Parameter(usize),
    /// A parameter that was given before, counted from 1.
    #[error("parameter {0} of the reference is given twice")]
    Twice(usize),
    /// A character that no such reference can hold.
    #[error("the reference holds a character that cannot stand in one (at byte {0})")]
    Character(usize),
    /// An engine that nobody knows.
    #[error("the reference names no engine that there is: {}", Engine::words())]
    Engine,
    /// A parameter that the engine cannot do without.
    #[error("the reference lacks the parameter {parameter}, which the engine {engine} needs")]
    Missing {
        /// The engine.
        engine: Engine,
        /// Its name.
        parameter: &'static str,
    },
}

impl Engine {
    /// All of them, in the order of the documents.
    pub const ALL: [Self; 7] = [Self::Noop, Self::K8s, Self::S3, Self::Gcs, Self::SecretsManager, Self::GoogleSecretsManager, Self::Vault];

    /// Its id in a reference.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Noop => "noop",
            Self::K8s => "k8s",
            Self::S3 => "s3",
            Self::Gcs => "gcs",
            Self::SecretsManager => "secrets-manager",
            Self::GoogleSecretsManager => "google-secrets-manager",
            Self::Vault => "vault",
        }
    }

    /// Parameters that it cannot do without.
    pub const fn required(self) -> &'static [&'static str] {
        match self {
            Self::Noop => &["v"],
            Self::K8s => &["n", "k"],
            Self::S3 => &["r", "b", "f"],
            Self::Gcs => &["b", "f"],
            Self::SecretsManager => &["r", "s"],
            Self::GoogleSecretsManager => &["p", "s"],
            Self::Vault => &["e", "p", "k"],
        }
    }

    fn words() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reference").field("kind", &self.kind).field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Reference {
    /// Reads a text; `None`: it does not begin like a reference, so it is what it is.
    ///
    /// # Errors
    /// [`Malformed`]: it begins like one and is none. Never take it for the secret.
    ///
    /// ```
    /// use fairlead::secrets::reference::{Engine, Reference};
    /// let reference = Reference::parse("encryptedFile:k8s!n:kubeconfig!k:config").unwrap().unwrap();
    /// assert_eq!((reference.engine(), reference.get("k")), (Engine::K8s, Some("config")));
    /// assert!(Reference::parse("/etc/kubeconfig").unwrap().is_none());
    /// assert!(Reference::parse("encryptedFile:k8s!n:kubeconfig!k:config\n").is_err());
    /// ```
    pub fn parse(text: &str) -> Result<Option<Self>, Malformed> {
        let Some((rest, kind)) = PREFIXES.iter().find_map(|(p, kind)| Some((text.strip_prefix(p)?, *kind))) else { return Ok(None) };
        if let Some(at) = illegal(rest) {
            return Err(Malformed::Character(text.len() - rest.len() + at));
        }
        let mut parts = rest.split('!');
        let word = parts.next().unwrap_or_default();
        let mut parameters: Vec<(String, String)> = Vec::new();
        for (i, part) in parts.enumerate() {
            let (name, value) = part.split_once(':').ok_or(Malformed::Parameter(i + 1))?;
            if name.is_empty() || value.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric()) || name == "encrypted" {
                return Err(Malformed::Parameter(i + 1));
            }
            if parameters.iter().any(|(n, _)| n == name) {
                return Err(Malformed::Twice(i + 1));
            }
            parameters.push((name.to_owned(), value.to_owned()));
        }
        if word.is_empty() || parameters.is_empty() {
            return Err(Malformed::Form);
        }
        let engine = Engine::ALL.into_iter().find(|e| e.as_str() == word).ok_or(Malformed::Engine)?;
        let reference = Self { kind, engine, parameters };
        match engine.required().iter().find(|p| reference.get(p).is_none()) {
            Some(parameter) => Err(Malformed::Missing { engine, parameter }),
            None => Ok(Some(reference)),
        }
    }

    /// Which prefix it has.
    pub const fn kind(&self) -> Kind {
        self.kind
    }

    /// Who keeps the secret.
    pub const fn engine(&self) -> Engine {
        self.engine
    }

    /// A parameter's value; escapes (`%20`) stay as they are.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Where the first character stands that the opaque part of a URI cannot hold. Spinnaker would drop what follows a `#` without a word.
fn illegal(text: &str) -> Option<usize> {
    text.char_indices().find_map(|(i, c)| {
        let escaped = || text.as_bytes().get(i + 1..i + 3).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit));
        let fine = match c {
            '%' => escaped(),
            '"' | '\\' | '<' | '>' | '^' | '`' | '{' | '|' | '}' | '#' => false,
            c => !c.is_whitespace() && !c.is_control(),
        };
        (!fine).then_some(i)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Reference {
        Reference::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).unwrap_or_else(|| panic!("{text}: none"))
    }

    #[test]
    fn each_shape_of_the_documents_is_read() {
        for (text, kind, engine, values) in [
            ("encryptedFile:k8s!n:kubeconfig!k:config!ns:spinnaker", Kind::File, Engine::K8s, "n=kubeconfig k=config ns=spinnaker"),
            ("encrypted:k8s!k:config!n:kubeconfig", Kind::Text, Engine::K8s, "n=kubeconfig k=config"),
            ("encrypted:s3!r:eu-1!b:bucket!f:a/b.yml!k:a.b", Kind::Text, Engine::S3, "r=eu-1 b=bucket f=a/b.yml k=a.b"),
            ("encrypted:gcs!b:bucket!f:b.yml", Kind::Text, Engine::Gcs, "b=bucket f=b.yml"),
            ("encryptedFile:secrets-manager!r:eu!s:name", Kind::File, Engine::SecretsManager, "r=eu s=name"),
            ("encrypted:google-secrets-manager!p:1!s:n", Kind::Text, Engine::GoogleSecretsManager, "p=1 s=n"),
            ("encryptedFile:vault!e:secret!p:a/b/c!k:kube!b:true", Kind::File, Engine::Vault, "e=secret p=a/b/c k=kube b=true"),
            ("encrypted:noop!v:a:b%20cé", Kind::Text, Engine::Noop, "v=a:b%20cé"),
            ("encrypted:noop!v:x!more:y", Kind::Text, Engine::Noop, "v=x more=y"),
        ] {
            let reference = read(text);
            assert_eq!((reference.kind(), reference.engine()), (kind, engine), "{text}");
            for (name, value) in values.split(' ').filter_map(|p| p.split_once('=')) {
                assert_eq!(reference.get(name), Some(value), "{text}");
            }
        }
    }

    #[test]
    fn what_begins_otherwise_is_no_reference() {
        for text in
            ["", "/etc/kubeconfig", "Encrypted:noop!v:x", "encryptedfile:noop!v:x", " encrypted:noop!v:x", "secret://s3?r=x", "encrypted"]
        {
            assert_eq!(Reference::parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn whatever_begins_like_one_and_is_none_is_an_error_that_repeats_nothing_of_it() {
        for (text, error) in [
            ("encrypted:", Malformed::Form),
            ("encryptedFile:k8s", Malformed::Form),
            ("encrypted:!v:canary", Malformed::Form),
            ("encrypted:canary!v:x", Malformed::Engine),
            ("encrypted:K8S!n:canary!k:b", Malformed::Engine),
            ("encrypted:noop!canary", Malformed::Parameter(1)),
            ("encrypted:noop!v:canary!", Malformed::Parameter(2)),
            ("encrypted:noop!v:", Malformed::Parameter(1)),
            ("encrypted:noop!:canary", Malformed::Parameter(1)),
            ("encrypted:noop!v-1:canary", Malformed::Parameter(1)),
            ("encrypted:noop!encrypted:canary", Malformed::Parameter(1)),
            ("encrypted:noop!v:canary!v:canary", Malformed::Twice(2)),
            ("encrypted:noop!v:canary\n", Malformed::Character(23)),
            ("encrypted:\napiVersion: canary", Malformed::Character(10)),
            ("encrypted:noop!v:can ary", Malformed::Character(20)),
            ("encrypted:noop!v:%zzcanary", Malformed::Character(17)),
            ("encrypted:noop!v:canary%2", Malformed::Character(23)),
            ("encrypted:noop!v:a#canary", Malformed::Character(18)),
            ("encrypted:noop!v:a\u{2028}canary", Malformed::Character(18)),
            ("encryptedFile:k8s!n:canary", Malformed::Missing { engine: Engine::K8s, parameter: "k" }),
            ("encrypted:noop!x:canary", Malformed::Missing { engine: Engine::Noop, parameter: "v" }),
        ] {
            assert_eq!(Reference::parse(text), Err(error), "{text:?}");
            assert!(!error.to_string().contains("canary"), "{text:?}");
        }
    }

    #[test]
    fn its_debug_shows_no_value() {
        assert!(!format!("{:?}", read("encrypted:noop!v:canary")).contains("canary"));
    }
}
