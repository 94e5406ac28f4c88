//! The facts behind `/info`: what this process is and how it was told to behave. Built from typed settings field by field, so
//! that a new setting with a secret in it can never appear here by itself.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::config::{DenyAction, FailurePolicy, Settings, SourceConfig, Target};

/// What does not change while the process runs.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// `fairlead`.
    pub name: &'static str,
    /// The package's version.
    pub version: &'static str,
    /// How it was compiled.
    pub build: BuildFacts,
    /// `fairlead.replica.id`.
    pub replica_id: String,
    /// Host and port of the Clouddriver behind us.
    pub clouddriver: String,
    /// `clouddriver.contextPath`.
    pub context_path: String,
    /// `mysql`, `postgresql` or `sqlite`: where Fairlead's tables lie.
    pub database: &'static str,
    /// How Clouddriver's accounts are read.
    pub source: &'static str,
    /// Whether kubeconfigs are sealed at rest.
    pub sealing: SealingFacts,
    /// The interceptor's settings.
    pub interceptor: InterceptorFacts,
    /// Where agents connect to; absent: the channel is off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channel: Option<String>,
    /// What an operator should know before something happens; also logged at start.
    pub warnings: Vec<String>,
}

/// How this program was compiled.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildFacts {
    /// `release`, or `debug` with debug assertions.
    pub profile: &'static str,
    /// Operating system and processor, such as `linux-x86_64`.
    pub target: String,
    /// Whether the fail points of the crash tests are compiled in; never in a release.
    pub failpoints: bool,
}

/// Sealing at rest. Key ids only; a key never leaves the settings.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SealingFacts {
    /// Whether a key is configured.
    pub enabled: bool,
    /// The ids, the sealing one first.
    pub key_ids: Vec<String>,
}

/// `kubesvc.dynamicAccounts.interceptor.*` as it is in force.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InterceptorFacts {
    /// Whether account changes are looked at.
    pub enabled: bool,
    /// Whether a mirrored POST goes on by itself.
    pub activate: bool,
    /// `Ignore` or `Fail`.
    pub failure_policy: &'static str,
    /// Milliseconds that a change may wait for the journal.
    pub max_wait_ms: u64,
    /// Bytes of a body that are held to look at.
    pub inspection_limit_bytes: u64,
    /// Properties that are looked for in a definition.
    pub deny_fields: Vec<String>,
    /// `warn` or `refuse`.
    pub deny_action: &'static str,
}

/// The state of Fairlead's own database, as the store last saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DatabaseState {
    /// Not reached yet, or its tables are not migrated yet.
    Starting,
    /// The last statement went through.
    Up,
    /// It cannot be reached, or refuses writes.
    Down,
}

/// What changes from one look to the next. It is taken from memory: `/info` and `/health/ready` never wait for a database.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// Fairlead's own database.
    pub database: DatabaseState,
    /// Why it is not up, in the driver's words (no secret, no statement).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub database_message: Option<String>,
    /// Counters and levels of the mirror, by name.
    pub mirror: BTreeMap<&'static str, u64>,
}

impl Facts {
    /// The facts of a process that runs with these settings.
    pub fn of(settings: &Settings) -> Self {
        let interceptor = &settings.interceptor;
        let mut facts = Self {
            name: "fairlead",
            version: env!("CARGO_PKG_VERSION"),
            build: BuildFacts::here(),
            replica_id: settings.replica.id.clone(),
            clouddriver: format!("{}:{}", settings.clouddriver.host, settings.clouddriver.port),
            context_path: settings.clouddriver.context_path.to_string(),
            database: match settings.database.main.target {
                Target::MySql(_) => "mysql",
                Target::Postgres(_) => "postgresql",
                Target::Sqlite(_) => "sqlite",
            },
            source: match settings.database.source {
                SourceConfig::SameDatabase | SourceConfig::OtherDatabase(_) => "sql",
                SourceConfig::Api { .. } => "api",
            },
            sealing: SealingFacts {
                enabled: settings.seal.is_some(),
                key_ids: settings.seal.iter().flat_map(|keys| keys.0.iter().map(|key| key.id.clone())).collect(),
            },
            interceptor: InterceptorFacts {
                enabled: interceptor.enabled && settings.dynamic_accounts_enabled,
                activate: interceptor.activate,
                failure_policy: match interceptor.failure_policy {
                    FailurePolicy::Ignore => "Ignore",
                    FailurePolicy::Fail => "Fail",
                },
                max_wait_ms: match interceptor.failure_policy {
                    FailurePolicy::Ignore => millis(interceptor.max_wait),
                    FailurePolicy::Fail => millis(interceptor.max_wait_fail),
                },
                inspection_limit_bytes: u64::try_from(interceptor.inspection_limit).unwrap_or(u64::MAX),
                deny_fields: interceptor.deny.fields.clone(),
                deny_action: match interceptor.deny.action {
                    DenyAction::Warn => "warn",
                    DenyAction::Refuse => "refuse",
                },
            },
            channel: settings.channel.as_ref().map(|channel| channel.listen.to_string()),
            warnings: Vec::new(),
        };
        facts.warnings = facts.warn();
        facts
    }

    fn warn(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.sealing.enabled {
            warnings.push("no sealing key is configured (fairlead.seal): kubeconfigs and other secrets of definitions lie readable in kubesvc_accounts".to_owned());
        }
        if !self.interceptor.enabled {
            warnings.push("the interceptor is off: account changes pass and are not mirrored".to_owned());
        }
        if self.database == "sqlite" {
            warnings.push("the database is an embedded SQLite file: one replica only, and its file must survive a restart".to_owned());
        }
        warnings
    }
}

impl BuildFacts {
    fn here() -> Self {
        Self {
            profile: if cfg!(debug_assertions) { "debug" } else { "release" },
            target: format!("{}-{}", std::env::consts::OS, std::env::consts::ARCH),
            failpoints: cfg!(feature = "failpoints"),
        }
    }
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
