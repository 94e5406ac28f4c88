//! An account's definition: from the agent's file, or the JSON that came from Fairlead.

use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value;

use crate::agent::failure::Failure;
use crate::config::agent::StaticAccount;

/// Bytes of a kubeconfig.
const MAX_KUBECONFIG: usize = 1 << 20;

/// What an account needs, wherever it came from.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// As the agent's file would have it.
    pub(crate) account: StaticAccount,
    /// It came from Fairlead, so somebody else than the agent's operator may have written it.
    pub(crate) dynamic: bool,
}

impl Definition {
    /// From AddAccounts.
    ///
    /// # Errors
    /// What is wrong with it; never its values.
    pub(crate) fn parse(name: &str, json: &[u8]) -> Result<Self, Failure> {
        let value: Value = serde_json::from_slice(json)
            .map_err(|e| Failure::definition(format!("the definition of {name} is no JSON (line {}, column {})", e.line(), e.column())))?;
        let wrong = |key: &str, right: &str| Failure::definition(format!("{key} of the account {name} is not {right}"));
        let text = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) if text.is_empty() => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(wrong(key, "a text")),
        };
        let flag = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(Value::String(text)) => text.parse().map_err(|_| wrong(key, "true or false")),
            Some(_) => Err(wrong(key, "true or false")),
        };
        let list = |key: &str| match value.get(key) {
            None | Some(Value::Null) => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|i| i.as_str().map(|t| t.trim().to_owned()).ok_or_else(|| wrong(key, "a list of texts")))
                .collect::<Result<Vec<_>, _>>(),
            Some(_) => Err(wrong(key, "a list of texts")),
        };
        if !value.is_object() {
            return Err(Failure::definition(format!("the definition of {name} is no JSON object")));
        }
        let file = match text("kubeconfigFile")? {
            None => text("kubeConfigFile")?,
            file => file,
        };
        let account = StaticAccount {
            name: Arc::from(name),
            kubeconfig_file: file.map(PathBuf::from),
            file_digest: None,
            kubeconfig: text("kubeconfigContents")?.map(SecretString::from),
            context: text("context")?,
            service_account: flag("serviceAccount")?,
            insecure: flag("insecure")?,
            no_proxy: flag("noProxy")?,
            namespaces: list("namespaces")?,
            read: Vec::new(),
            write: Vec::new(),
        };
        Ok(Self { account, dynamic: true })
    }

    /// The kubeconfig's text: from the definition, where it may be base64, or from the file.
    pub(super) fn kubeconfig(&self, files_allowed: bool) -> Result<SecretString, Failure> {
        let name = &self.account.name;
        let wrong = |why: &str| Failure::definition(format!("the kubeconfig of {name} {why}"));
        if let Some(given) = &self.account.kubeconfig {
            let given = given.expose_secret();
            if given.len() > 2 * MAX_KUBECONFIG {
                return Err(wrong("is larger than 1 MiB"));
            }
            if given.contains([':', '{']) {
                return Ok(given.to_owned().into());
            }
            let packed: String = given.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            let bytes = STANDARD.decode(packed).map_err(|_| wrong("is neither YAML nor base64"))?;
            return String::from_utf8(bytes).map(Into::into).map_err(|_| wrong("is no text behind its base64"));
        }
        let Some(file) = &self.account.kubeconfig_file else {
            return Err(Failure::definition(format!(
                "the account {name} has no kubeconfig: give kubeconfigContents, or serviceAccount: true for the cluster that the agent runs in"
            )));
        };
        if self.dynamic && !files_allowed {
            return Err(Failure::definition(format!(
                "kubeconfigFile of {name} names a file, which would be one of the agent's disk: give kubeconfigContents, or a secret reference \
                 (kubernetes.allowFilePaths lets paths be)"
            )));
        }
        let text = crate::config::agent::read_text(file, MAX_KUBECONFIG as u64);
        text.map(Into::into).map_err(|why| Failure::definition(format!("the kubeconfig of {name}, {}, {why}", file.display())))
    }
}
