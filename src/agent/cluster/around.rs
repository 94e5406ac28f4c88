//! The agent's own deployment, from the cluster that it runs in.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use super::{Access, Cluster, Definition, Ways};
use crate::agent::metrics::Requests;
use crate::config::agent::StaticAccount;

/// For the three requests together.
const LIMIT: Duration = Duration::from_secs(10);

/// A deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Deployment {
    pub(crate) name: String,
    /// Its pods; 0: not known.
    pub(crate) replicas: u32,
}

/// Pod, ReplicaSet, Deployment: who owns whom.
///
/// # Errors
/// Why it is not known, in words.
pub(crate) async fn deployment(ways: Ways<'_>, namespace: &str, pod: &str, requests: Requests) -> Result<Deployment, String> {
    let account = StaticAccount { name: "of the agent itself".into(), service_account: true, ..StaticAccount::default() };
    let access = Access::of(&Definition { account, dynamic: false }, ways).map_err(|f| f.message)?;
    let cluster = Cluster::new(access, requests);
    tokio::time::timeout(LIMIT, owners(&cluster, namespace, pod)).await.map_err(|_| "the API server does not answer".to_owned())?
}

async fn owners(cluster: &Cluster, namespace: &str, pod: &str) -> Result<Deployment, String> {
    let apps = format!("/apis/apps/v1/namespaces/{namespace}");
    let pod = object(cluster, &format!("/api/v1/namespaces/{namespace}/pods/{pod}"), "pods").await?;
    let set = owner(&pod, "ReplicaSet").ok_or("the pod belongs to no ReplicaSet")?;
    let set = object(cluster, &format!("{apps}/replicasets/{set}"), "replicasets").await?;
    let name = owner(&set, "Deployment").ok_or("its ReplicaSet belongs to no Deployment")?;
    let replicas = match object(cluster, &format!("{apps}/deployments/{name}"), "deployments").await {
        Ok(deployment) => {
            let count = |part: &str| deployment.get(part).and_then(|p| p.get("replicas")).and_then(Value::as_u64);
            count("status").filter(|n| *n > 0).or_else(|| count("spec")).and_then(|n| u32::try_from(n).ok()).unwrap_or(0)
        }
        Err(_) => 0,
    };
    Ok(Deployment { name, replicas })
}

async fn object(cluster: &Cluster, path: &str, kind: &str) -> Result<Value, String> {
    let answer = cluster.get(path, "application/json").await.map_err(|f| f.message)?;
    match answer.status {
        StatusCode::OK => serde_json::from_slice(&answer.body).map_err(|_| format!("{path} is no JSON")),
        StatusCode::FORBIDDEN => Err(format!("it may not get {kind} (403)")),
        status => Err(format!("{path} cannot be read ({})", status.as_u16())),
    }
}

/// The name of the owner of that kind; it becomes a part of a path.
fn owner(object: &Value, kind: &str) -> Option<String> {
    let owners = object.get("metadata")?.get("ownerReferences")?.as_array()?;
    let owner = owners.iter().find(|o| o.get("kind").and_then(Value::as_str) == Some(kind))?;
    let name = owner.get("name")?.as_str()?;
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-.".contains(c);
    (!name.is_empty() && name.len() <= 253 && name.chars().all(fits)).then(|| name.to_owned())
}
