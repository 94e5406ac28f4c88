//! The environment behind one small trait, so that tests need no real one.

use std::collections::BTreeMap;

/// Where environment variables come from.
pub trait Environment: Send + Sync {
    /// All variables, names as they are. Those that are not text are left out.
    fn variables(&self) -> BTreeMap<String, String>;

    /// This machine's name, where it has one.
    fn host_name(&self) -> Option<String> {
        None
    }
}

/// The process's own environment.
#[derive(Clone, Copy, Debug)]
pub struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    fn variables(&self) -> BTreeMap<String, String> {
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect()
    }

    fn host_name(&self) -> Option<String> {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned()).filter(|n| !n.is_empty())
    }
}

/// Variables written down.
impl Environment for BTreeMap<String, String> {
    fn variables(&self) -> BTreeMap<String, String> {
        self.clone()
    }
}

/// Whether Kubernetes may have set this variable for a Service of that name (`FAIRLEAD_PORT=tcp://10.0.0.1:7002`, `…_SERVICE_HOST`).
pub(super) fn is_service_link(name: &str, value: &str) -> bool {
    value.starts_with("tcp://")
        || value.starts_with("udp://")
        || name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.ends_with("_TCP_ADDR")
        || name.ends_with("_TCP_PORT")
        || name.ends_with("_TCP_PROTO")
        || name.ends_with("_UDP_ADDR")
        || name.ends_with("_UDP_PORT")
        || name.ends_with("_UDP_PROTO")
}
