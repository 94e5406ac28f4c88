//! A cluster as an account sees it: the way there, what can be learned, and why not.

mod access;
mod around;
mod client;
mod definition;
mod discovery;
mod learn;

pub(crate) use access::Access;
pub(crate) use around::{Deployment, deployment};
pub(crate) use client::Cluster;
pub(crate) use definition::Definition;
pub(crate) use learn::{Facts, check, learn};

use crate::config::agent::{Kubernetes, Surroundings};

/// What decides beside the definition how a cluster is reached.
#[derive(Clone, Copy)]
pub(crate) struct Ways<'a> {
    /// Limits, and what a kubeconfig may have.
    pub(crate) kubernetes: &'a Kubernetes,
    /// Proxies, and the cluster around.
    pub(crate) surroundings: &'a Surroundings,
}
