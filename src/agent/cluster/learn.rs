//! What is learned of a cluster: one pass, within one time-out.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use http::StatusCode;
use md5::{Digest as _, Md5};
use serde_json::Value;

use super::access::Credentials;
use super::{Cluster, discovery};
use crate::agent::failure::{Failure, Reason};

const JSON: &str = "application/json";
/// Lists without the objects: only their names are wanted.
const NAMES: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// Namespaces in one answer.
const PAGE: usize = 500;
/// Namespaces that are told.
const MAX_NAMESPACES: usize = 20_000;
/// Namespaces whose rights are asked for, of those that an account names.
const MAX_REVIEWS: usize = 3;

/// What was learned of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The API server's URL.
    pub(crate) host: String,
    /// Its version; empty where it may not be asked for.
    pub(crate) version: String,
    /// MD5 of its certificate; `None` without TLS.
    pub(crate) certificate: Option<[u8; 16]>,
    /// UID of kube-system.
    pub(crate) identity: Option<String>,
    /// SHA-256 of the CA.
    pub(crate) ca: Option<[u8; 32]>,
    /// Namespaces; `None`: they may not be listed.
    pub(crate) namespaces: Option<Vec<String>>,
    /// Kinds as `Kind.group`.
    pub(crate) kinds: Vec<String>,
    /// What could not be learned and is no failure.
    pub(crate) remarks: Vec<String>,
}

/// Learns everything.
///
/// # Errors
/// Why the account cannot be had. What it may not see is a remark, as long as there is anything that it may.
pub(crate) async fn learn(cluster: &Cluster, limit: Duration) -> Result<Facts, Failure> {
    let step = Mutex::new("");
    bounded(cluster, limit, &step, all(cluster, &step)).await
}

/// Asks for the version, to see that the credentials are still accepted.
///
/// # Errors
/// Why not.
pub(crate) async fn check(cluster: &Cluster, limit: Duration) -> Result<String, Failure> {
    let step = Mutex::new("/version");
    bounded(cluster, limit, &step, async { version(cluster).await.map(Option::unwrap_or_default) }).await
}

async fn bounded<T>(
    cluster: &Cluster,
    limit: Duration,
    step: &Mutex<&'static str>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done,
        Err(_) => {
            let step = *step.lock().unwrap_or_else(PoisonError::into_inner);
            let proxy = cluster.access.target.proxy.as_ref().map_or_else(String::new, |p| format!(" by way of the proxy {p}"));
            Err(cluster.failure(
                Reason::Timeout,
                &format!(
                    "did not answer within {} ms{proxy} (asked for {step}): is it up and not overloaded, and does a firewall drop what the \
                     agent sends?",
                    limit.as_millis()
                ),
            ))
        }
    }
}

async fn all(cluster: &Cluster, step: &Mutex<&'static str>) -> Result<Facts, Failure> {
    let at = |name: &'static str| *step.lock().unwrap_or_else(PoisonError::into_inner) = name;
    let mut facts = Facts { host: cluster.access.host.clone(), ..Facts::default() };
    at("/version");
    let version = version(cluster).await?;
    let certificates = cluster.certificates();
    if let Some(leaf) = certificates.first() {
        facts.certificate = Some(Md5::digest(leaf.as_ref()).into());
        facts.ca = cluster.access.target.tls.as_ref().and_then(|(client, name)| client.anchor(&certificates, name));
    } else {
        facts.remarks.push("the connection is not encrypted: its server is an http URL".to_owned());
    }
    if version.is_none() {
        facts.remarks.push("its version may not be asked for (403)".to_owned());
    }
    at("the namespace kube-system");
    let identity = identity(cluster, &mut facts).await?;
    at("the namespaces");
    let namespaces = namespaces(cluster, &mut facts).await?;
    at("the API groups");
    let kinds = discovery::kinds(cluster).await?;
    let nothing = version.is_none() && kinds.forbidden && [identity, namespaces].iter().all(|s| *s == Some(StatusCode::FORBIDDEN));
    let nobody = matches!(cluster.access.credentials, Credentials::Nothing)
        && [identity, namespaces].iter().all(|s| *s == Some(StatusCode::FORBIDDEN));
    if nothing || nobody {
        let why = if nobody { "; the kubeconfig has no credentials" } else { "" };
        let text = format!("accepts the credentials and allows nothing (403 on all that was asked){why}: grant the account a role");
        return Err(cluster.failure(Reason::Forbidden, &text));
    }
    at("the rights of the account");
    rights(cluster, &mut facts).await?;
    facts.version = version.unwrap_or_default();
    facts.remarks.extend(kinds.remarks);
    facts.kinds = kinds.kinds.into_iter().collect();
    Ok(facts)
}

/// The version; `None`: it may not be asked for.
async fn version(cluster: &Cluster) -> Result<Option<String>, Failure> {
    let answer = cluster.get("/version", JSON).await?;
    match answer.status {
        StatusCode::OK => {}
        StatusCode::FORBIDDEN => return Ok(None),
        status if status.is_server_error() => {
            return Err(cluster.failure(Reason::Server, &format!("is broken ({} for /version): look at its own logs", status.as_u16())));
        }
        status => {
            let text = format!("is no Kubernetes API server ({} for /version): correct the server in the kubeconfig", status.as_u16());
            return Err(cluster.failure(Reason::Server, &text));
        }
    }
    let value: Option<Value> = serde_json::from_slice(&answer.body).ok();
    let version = value.as_ref().and_then(|v| v.get("gitVersion")).and_then(Value::as_str).filter(|v| fits(v));
    version.map(|v| Some(v.to_owned())).ok_or_else(|| {
        cluster.failure(Reason::Server, "is no Kubernetes API server (no gitVersion in /version): correct the server in the kubeconfig")
    })
}

/// A text of the server's that is passed on.
fn fits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.chars().all(|c| c.is_ascii_graphic())
}

/// The UID of kube-system; returns the status where there was none.
async fn identity(cluster: &Cluster, facts: &mut Facts) -> Result<Option<StatusCode>, Failure> {
    let answer = cluster.get("/api/v1/namespaces/kube-system", JSON).await?;
    let value: Option<Value> = (answer.status == StatusCode::OK).then(|| serde_json::from_slice(&answer.body).ok()).flatten();
    let uid = value.as_ref().and_then(|v| v.get("metadata")?.get("uid")?.as_str()).filter(|uid| fits(uid));
    facts.identity = uid.map(str::to_owned);
    if facts.identity.is_none() {
        let code = answer.status.as_u16();
        facts.remarks.push(format!("the namespace kube-system may not be read ({code}): the cluster is known by its URL and CA"));
    }
    Ok(facts.identity.is_none().then_some(answer.status))
}

/// The names of the namespaces, page by page; returns the status where there were none.
async fn namespaces(cluster: &Cluster, facts: &mut Facts) -> Result<Option<StatusCode>, Failure> {
    if !cluster.access.namespaces.is_empty() {
        facts.namespaces = Some(cluster.access.namespaces.clone());
        return Ok(None);
    }
    let (mut names, mut from) = (Vec::new(), String::new());
    loop {
        let path = format!("/api/v1/namespaces?limit={PAGE}{from}");
        let answer = cluster.get(&path, NAMES).await?;
        let value: Option<Value> = (answer.status == StatusCode::OK).then(|| serde_json::from_slice(&answer.body).ok()).flatten();
        let Some(value) = value else {
            let code = answer.status.as_u16();
            facts.remarks.push(format!("its namespaces may not be listed ({code}): name them in the account's namespaces"));
            return Ok(Some(answer.status));
        };
        let items = value.get("items").and_then(Value::as_array).into_iter().flatten();
        names.extend(items.filter_map(|i| i.get("metadata")?.get("name")?.as_str()).filter(|n| fits(n)).map(str::to_owned));
        let next = value.get("metadata").and_then(|m| m.get("continue")).and_then(Value::as_str).filter(|c| !c.is_empty());
        if names.len() > MAX_NAMESPACES {
            names.truncate(MAX_NAMESPACES);
            facts.remarks.push(format!("only {MAX_NAMESPACES} namespaces are told"));
            break;
        }
        let Some(next) = next else { break };
        from = format!("&continue={}", url::form_urlencoded::byte_serialize(next.as_bytes()).collect::<String>());
    }
    facts.namespaces = Some(names);
    Ok(None)
}

/// Whether the account may do anything in the namespaces that it names. Only a clear no is a failure.
async fn rights(cluster: &Cluster, facts: &mut Facts) -> Result<(), Failure> {
    let named = &cluster.access.namespaces;
    if named.is_empty() || named.len() > MAX_REVIEWS {
        return Ok(());
    }
    for namespace in named {
        let body = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": { "namespace": namespace }
        });
        let answer = cluster.post("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", body.to_string().into()).await?;
        let value: Option<Value> = answer.status.is_success().then(|| serde_json::from_slice(&answer.body).ok()).flatten();
        let Some(status) = value.as_ref().and_then(|v| v.get("status")) else { return Ok(()) };
        let unknown = status.get("incomplete").and_then(Value::as_bool) == Some(true);
        let rules = status.get("resourceRules").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        if unknown || rules.iter().any(|rule| !everybodys(rule)) {
            return Ok(());
        }
        facts.remarks.push(format!("nothing is allowed in the namespace {namespace}"));
    }
    let text = format!("accepts the credentials and allows nothing in the namespaces {}: grant the account a role", named.join(", "));
    Err(cluster.failure(Reason::Forbidden, &text))
}

/// A rule that everybody has: to ask for one's own rights.
fn everybodys(rule: &Value) -> bool {
    let mut resources = rule.get("resources").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    resources.all(|r| r.starts_with("selfsubject"))
}
