//! Which kinds an API server has: two requests with the aggregated form, one for each group version with the older one.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, stream};
use http::StatusCode;
use serde_json::Value;

use super::Cluster;
use crate::agent::failure::Failure;

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
/// Requests at a time, where the older form needs many.
const AT_ONCE: usize = 4;
/// Group versions that are asked for, in the older form.
const MAX_GROUP_VERSIONS: usize = 500;
/// Kinds that are told.
const MAX_KINDS: usize = 10_000;

/// What discovery found.
#[derive(Default)]
pub(super) struct Kinds {
    /// As `Kind.group`.
    pub(super) kinds: BTreeSet<String>,
    /// Groups that could not be discovered, in words.
    pub(super) remarks: Vec<String>,
    /// Every answer was 403.
    pub(super) forbidden: bool,
}

/// Asks for everything. One group that fails is a remark.
pub(super) async fn kinds(cluster: &Cluster) -> Result<Kinds, Failure> {
    let mut found = Kinds::default();
    let mut versions: Vec<(String, String)> = Vec::new();
    let mut statuses = Vec::new();
    for path in ["/api", "/apis"] {
        let answer = cluster.get(path, AGGREGATED).await?;
        statuses.push(answer.status);
        if answer.status != StatusCode::OK {
            found.remarks.push(format!("discovery of {path} failed ({})", answer.status.as_u16()));
            continue;
        }
        let Ok(value) = serde_json::from_slice::<Value>(&answer.body) else {
            found.remarks.push(format!("discovery of {path} failed (the answer is no JSON)"));
            continue;
        };
        match text(&value, "kind") {
            "APIGroupDiscoveryList" => found.aggregated(&value),
            "APIGroupList" => {
                for version in items(&value, "groups").flat_map(|group| items(group, "versions")) {
                    let version = text(version, "groupVersion");
                    versions.extend(version.split_once('/').map(|(group, _)| (group.to_owned(), format!("/apis/{version}"))));
                }
            }
            _ => versions.extend(items(&value, "versions").filter_map(Value::as_str).map(|v| (String::new(), format!("/api/{v}")))),
        }
    }
    found.forbidden = statuses.iter().all(|s| *s == StatusCode::FORBIDDEN);
    // What the server names becomes a path here.
    versions.retain(|(_, path)| path.chars().all(|c| c.is_ascii_alphanumeric() || "/.-_".contains(c)) && !path.contains(".."));
    if versions.len() > MAX_GROUP_VERSIONS {
        found.remarks.push(format!("of {} versions of API groups only {MAX_GROUP_VERSIONS} were asked for", versions.len()));
        versions.truncate(MAX_GROUP_VERSIONS);
    }
    let mut answers = stream::iter(versions)
        .map(|(group, path)| async move {
            let answer = cluster.get(&path, "application/json").await;
            (group, path, answer)
        })
        .buffered(AT_ONCE);
    while let Some((group, path, answer)) = answers.next().await {
        let answer = answer?;
        match serde_json::from_slice::<Value>(&answer.body) {
            Ok(value) if answer.status == StatusCode::OK => {
                for resource in items(&value, "resources").filter(|r| !text(r, "name").contains('/')) {
                    found.add(text(resource, "kind"), Some(text(resource, "group")).filter(|g| !g.is_empty()).unwrap_or(&group));
                }
            }
            _ => found.remarks.push(format!("discovery of {path} failed ({})", answer.status.as_u16())),
        }
    }
    drop(answers);
    if found.kinds.len() >= MAX_KINDS {
        found.remarks.push(format!("only {MAX_KINDS} kinds are told"));
    }
    Ok(found)
}

impl Kinds {
    fn aggregated(&mut self, value: &Value) {
        for group in items(value, "items") {
            let name = group.get("metadata").map_or("", |m| text(m, "name"));
            for version in items(group, "versions") {
                if text(version, "freshness") == "Stale" {
                    let (name, version) = (shown(name), shown(text(version, "version")));
                    self.remarks.push(format!("discovery of {name}/{version} failed at the server: its kinds may be old or missing"));
                }
                for resource in items(version, "resources") {
                    if let Some(kind) = resource.get("responseKind") {
                        self.add(text(kind, "kind"), Some(text(kind, "group")).filter(|g| !g.is_empty()).unwrap_or(name));
                    }
                }
            }
        }
    }

    fn add(&mut self, kind: &str, group: &str) {
        let fits = |text: &str| text.len() <= 253 && text.chars().all(|c| c.is_ascii_alphanumeric() || ".-".contains(c));
        if kind.is_empty() || !fits(kind) || !fits(group) || self.kinds.len() >= MAX_KINDS {
            return;
        }
        self.kinds.insert(if group.is_empty() { kind.to_owned() } else { format!("{kind}.{group}") });
    }
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What came from a server, for a message.
fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(100).collect()
}
