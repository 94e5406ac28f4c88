//! Who the agent is: its name, its zone, how many there are of it.

use std::path::Path;
use std::sync::Arc;

use tracing::{info, warn};

use super::Context;
use super::cluster::{Deployment, Ways, deployment};
use crate::config::agent::Settings;

/// What the agent registers as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) agent: Arc<str>,
    pub(super) zone: String,
    /// Agents of its deployment; 0: not known.
    pub(super) replicas: u32,
    /// The zone that the configuration gives.
    pub(super) configured: Option<String>,
}

/// Finds it out. Where the agent's deployment may be read that is done anew each time: replicas come and go.
pub(super) async fn identity(context: &Context, settings: &Settings) -> Identity {
    let agent = Arc::clone(&context.agent);
    let kubernetes = &settings.kubernetes;
    let folder = kubernetes.service_account.clone();
    let namespace = context.surroundings.namespace.clone().or_else(|| namespace(&folder));
    let mut known = None;
    // Without a token the agent is in no cluster, and nothing is to be asked.
    if context.surroundings.api_server.is_some() && folder.join("token").is_file() {
        let ways = Ways { kubernetes, surroundings: &context.surroundings };
        let requests = context.metrics.requests.clone();
        match deployment(ways, namespace.as_deref().unwrap_or("default"), &agent, requests).await {
            Ok(deployment) => known = Some(deployment),
            Err(why) => info!("the agent's own deployment cannot be read, its name is taken from the pod's: {why}"),
        }
    }
    let Deployment { name, replicas } = known.unwrap_or_else(|| Deployment { name: deployment_of(&agent).to_owned(), replicas: 0 });
    let zone = match &settings.zone {
        Some(zone) => zone.clone(),
        None => {
            let namespace = namespace.unwrap_or_else(|| "default".to_owned());
            let mut zone = format!("{name}_{namespace}");
            if zone.len() > 255 {
                warn!("the zone {zone} is longer than 255 bytes and is cut off: set zoneId");
                zone = zone
                    .chars()
                    .scan(0, |n, c| {
                        *n += c.len_utf8();
                        (*n <= 255).then_some(c)
                    })
                    .collect();
            }
            zone
        }
    };
    Identity { agent, zone, replicas, configured: settings.zone.clone() }
}

fn namespace(folder: &Path) -> Option<String> {
    let text = crate::config::agent::read_text(&folder.join("namespace"), 1_000).ok()?;
    Some(text.trim().to_owned()).filter(|n| !n.is_empty())
}

/// `agent-1-5b6d8c7f9-x2x4z` to `agent-1`: what a Deployment's ReplicaSet and its pods are called. Of a StatefulSet's pod the number
/// is left out; any other name is its own deployment.
fn deployment_of(pod: &str) -> &str {
    // The letters and digits that Kubernetes makes names of.
    let random = |text: &str| text.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c));
    if let Some((rest, suffix)) = pod.rsplit_once('-').filter(|(rest, _)| !rest.is_empty()) {
        if !suffix.is_empty() && suffix.len() <= 4 && suffix.chars().all(|c| c.is_ascii_digit()) {
            return rest;
        }
        if suffix.len() == 5 && random(suffix) {
            return match rest.rsplit_once('-') {
                Some((name, hash)) if !name.is_empty() && (4..=10).contains(&hash.len()) && random(hash) => name,
                _ => rest,
            };
        }
    }
    pod
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deployment_is_read_from_the_pods_name() {
        for (pod, name) in [
            ("agent-1-5b6d8c7f9-x2x4z", "agent-1"),
            ("spin-armory-agent-7c6c46d65d-2vxqw", "spin-armory-agent"),
            ("agent-0", "agent"),
            ("agent-x2x4z", "agent"),
            ("laptop", "laptop"),
            ("build-host-eu", "build-host-eu"),
            ("-x2x4z", "-x2x4z"),
        ] {
            assert_eq!(deployment_of(pod), name, "{pod}");
        }
    }
}
