//! From a reference to the secret, just before it is needed. Nothing is kept: the next time asks again, so a rotated secret is seen.
//!
//! Engines: `noop` (the value stands in the reference) and `k8s` (a Secret of the cluster that Fairlead runs in, or of the one that a
//! kubeconfig names). An error names engine, secret, namespace, key and cause, and never the value.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use tokio::sync::Mutex;
use tracing::warn;

use super::reference::{Engine, Reference};

/// Where secrets come from.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For the engine `k8s`: a kubeconfig; `None`: the cluster that Fairlead runs in.
    pub kubeconfig: Option<PathBuf>,
    /// How long one secret may take.
    pub timeout: Duration,
}

/// Why a secret could not be had. Never holds any of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// An engine that is not built.
    #[error("the secret engine {0} is not there: only noop and k8s are")]
    NoEngine(Engine),
    /// The cluster that keeps the secrets cannot be asked.
    #[error("the secret {name} (namespace {namespace}, key {key}) cannot be read: {why}")]
    Kubernetes {
        /// The Secret's name.
        name: String,
        /// Its namespace.
        namespace: String,
        /// The key in it.
        key: String,
        /// In words.
        why: String,
    },
    /// It took too long.
    #[error("the secret engine {0} did not answer within {1:?}")]
    TimedOut(Engine, Duration),
}

/// The client, and Fairlead's own namespace where that is known.
type Connected = (Client, Option<String>);

/// Resolves references. Clones share the connection.
#[derive(Clone)]
pub struct Resolver {
    settings: Settings,
    /// Made at the first use, and again after a failure.
    client: Arc<Mutex<Option<Connected>>>,
}

impl Resolver {
    /// Nothing is connected before the first use.
    pub fn new(settings: Settings) -> Self {
        Self { settings, client: Arc::default() }
    }

    /// The secret's bytes.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn resolve(&self, reference: &Reference) -> Result<Vec<u8>, ResolveError> {
        let get = |name| reference.get(name).unwrap_or_default().to_owned();
        match reference.engine() {
            Engine::Noop => Ok(get("v").into_bytes()),
            Engine::K8s => {
                let limit = self.settings.timeout;
                let ask = self.kubernetes(get("n").to_lowercase(), reference.get("ns").map(str::to_owned), get("k"));
                tokio::time::timeout(limit, ask).await.unwrap_or(Err(ResolveError::TimedOut(Engine::K8s, limit)))
            }
            other => Err(ResolveError::NoEngine(other)),
        }
    }

    async fn kubernetes(&self, name: String, namespace: Option<String>, key: String) -> Result<Vec<u8>, ResolveError> {
        let error = |namespace: &str, why: String| ResolveError::Kubernetes {
            name: name.clone(),
            namespace: namespace.to_owned(),
            key: key.clone(),
            why,
        };
        let (client, own) = match self.client().await {
            Ok(found) => found,
            Err(why) => return Err(error(namespace.as_deref().unwrap_or("not known"), why)),
        };
        let namespace = namespace.or(own).unwrap_or_else(|| {
            warn!(secret = name, "the reference names no namespace and Fairlead's own is not known: it is looked for in default");
            "default".to_owned()
        });
        match Api::<Secret>::namespaced(client, &namespace).get_opt(&name).await {
            Ok(Some(secret)) => {
                let value = secret.data.and_then(|mut data| data.remove(&key)).map(|bytes| bytes.0);
                value
                    .or_else(|| secret.string_data.and_then(|mut data| data.remove(&key)).map(String::into_bytes))
                    .ok_or_else(|| error(&namespace, "the Secret is there and has no such key".to_owned()))
            }
            Ok(None) => Err(error(&namespace, "there is no such Secret".to_owned())),
            Err(kube::Error::Api(status)) if status.code == 403 => {
                Err(error(&namespace, "Fairlead may not read it: its service account needs the right get on this Secret".to_owned()))
            }
            Err(e) => {
                *self.client.lock().await = None;
                Err(error(&namespace, format!("the API server that keeps it says: {e}")))
            }
        }
    }

    async fn client(&self) -> Result<Connected, String> {
        let mut kept = self.client.lock().await;
        if let Some(found) = &*kept {
            return Ok(found.clone());
        }
        let (config, own) = match &self.settings.kubeconfig {
            Some(path) => {
                let kubeconfig = Kubeconfig::read_from(path).map_err(|e| format!("{} cannot be used: {e}", path.display()))?;
                let named = kubeconfig.contexts.iter().any(|c| c.context.as_ref().is_some_and(|c| c.namespace.is_some()));
                let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
                    .await
                    .map_err(|e| format!("{} cannot be used: {e}", path.display()))?;
                let own = named.then(|| config.default_namespace.clone());
                (config, own)
            }
            None => {
                let config = Config::incluster().map_err(|e| {
                    format!("Fairlead does not run in a cluster (give fairlead.secrets.kubernetes.kubeconfig a kubeconfig): {e}")
                })?;
                let own = Some(config.default_namespace.clone());
                (config, own)
            }
        };
        let client = Client::try_from(config).map_err(|e| e.to_string())?;
        *kept = Some((client.clone(), own.clone()));
        Ok((client, own))
    }
}

impl std::fmt::Debug for Resolver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Resolver").field("settings", &self.settings).finish_non_exhaustive()
    }
}
