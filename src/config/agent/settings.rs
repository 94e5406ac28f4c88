//! The agent's settings as its parts see them. Keys, defaults and reasons are in `docs/agent.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};

use crate::config::Logging;

/// Everything that the agent needs to know from its files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The way to Fairlead.
    pub control: Control,
    /// How clusters are reached.
    pub kubernetes: Kubernetes,
    /// Accounts of the file.
    pub accounts: Vec<StaticAccount>,
    /// `zoneId`; `None`: it is found out.
    pub zone: Option<String>,
    /// `server.host`, `server.port` (`0.0.0.0:8082`).
    pub server: SocketAddr,
    /// `prometheus.port` (8008) where `prometheus.enabled`.
    pub prometheus: Option<SocketAddr>,
    /// Logs.
    pub logging: Logging,
}

/// `clouddriver.*`.
#[derive(Clone, Debug)]
pub struct Control {
    /// Host of `grpc`.
    pub host: Arc<str>,
    /// Port of `grpc`.
    pub port: u16,
    /// `insecure` (true) turned off.
    pub tls: Option<ControlTls>,
    /// `auth.token`.
    pub token: Option<SecretString>,
    /// `keepAliveHeartbeatSeconds` (20); `None`: never.
    pub keep_alive: Option<Duration>,
    /// `keepAliveTimeOutSeconds` (20 where it is 0).
    pub keep_alive_timeout: Duration,
    /// `backoff.*`.
    pub backoff: Backoff,
    /// `kubernetes.reconnectTimeoutMs` (5 s): the most that is waited before the first new attempt after a session.
    pub reconnect: Duration,
    /// `noProxy`.
    pub no_proxy: bool,
    /// `dynamicAccountsEnabled`, at either place.
    pub dynamic_accounts: bool,
}

impl PartialEq for Control {
    fn eq(&self, other: &Self) -> bool {
        let token = |c: &Self| c.token.as_ref().map(|t| t.expose_secret().to_owned());
        (&self.host, self.port, &self.tls, self.keep_alive, self.keep_alive_timeout)
            == (&other.host, other.port, &other.tls, other.keep_alive, other.keep_alive_timeout)
            && (&self.backoff, self.reconnect, self.no_proxy, self.dynamic_accounts)
                == (&other.backoff, other.reconnect, other.no_proxy, other.dynamic_accounts)
            && token(self) == token(other)
    }
}

impl Eq for Control {}

/// `clouddriver.tls.*`. The files are read at each connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlTls {
    /// `serverName`: what the certificate has to be for; the host without it.
    pub server_name: Option<String>,
    /// `insecureSkipVerify`.
    pub skip_verify: bool,
    /// `cacertFile`; the system's CAs without it.
    pub ca: Option<PathBuf>,
    /// `clientCertFile`, `clientKeyFile`.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// `clouddriver.backoff.*`. Each pause is random between nothing and its bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// `baseDelay`: the first bound.
    pub base: Duration,
    /// `multiplier` in thousandths.
    pub multiplier: u32,
    /// `maxDelay`: the last bound.
    pub most: Duration,
}

/// `kubernetes.*` without its accounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// `connectTimeoutMs` (10 s): to learn all that is to be learned of a cluster.
    pub connect_timeout: Duration,
    /// `timeoutSeconds`, where it is shorter; the same otherwise: one request of a check.
    pub request_timeout: Duration,
    /// `maxConcurrentConnects` (16): clusters that are reached at a time.
    pub max_concurrent_connects: usize,
    /// `checkFrequencySeconds` (30), lengthened or shortened by up to a fifth.
    pub check_every: Duration,
    /// `retries.maxRetries` (3), none where `retries.enabled` is off: further attempts before an account has failed.
    pub retries: u32,
    /// `retries.backOffMs` (3 s).
    pub retry_pause: Duration,
    /// `noProxy`.
    pub no_proxy: bool,
    /// `serviceAccountPath`.
    pub service_account: PathBuf,
    /// What a kubeconfig may have.
    pub allow: Allow,
}

/// `kubernetes.allow…`: what is refused in a kubeconfig by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `allowFilePaths`: paths of the agent's disk, in definitions that came from Fairlead.
    pub files: bool,
    /// `allowProxyUrl`.
    pub proxy_url: bool,
    /// `allowMetadataAddresses`: link-local addresses and those of clouds' metadata services.
    pub metadata: bool,
}

/// An account, from the file or from Fairlead.
#[derive(Clone, Debug, Default)]
pub struct StaticAccount {
    /// Its name.
    pub name: Arc<str>,
    /// The kubeconfig's file.
    pub kubeconfig_file: Option<PathBuf>,
    /// SHA-256 of what that file holds, by who looks after it: a changed file is another account.
    pub file_digest: Option<[u8; 32]>,
    /// The kubeconfig's text, or base64 of it.
    pub kubeconfig: Option<SecretString>,
    /// The context in it; its own current one without.
    pub context: Option<String>,
    /// The pod's service account is used.
    pub service_account: bool,
    /// The API server's certificate is not verified.
    pub insecure: bool,
    /// No proxy for it.
    pub no_proxy: bool,
    /// Its only namespaces; none: all.
    pub namespaces: Vec<String>,
    /// Roles that may read; none: everybody.
    pub read: Vec<String>,
    /// Roles that may write; none: everybody.
    pub write: Vec<String>,
}

impl PartialEq for StaticAccount {
    fn eq(&self, other: &Self) -> bool {
        let text = |a: &Self| a.kubeconfig.as_ref().map(|t| t.expose_secret().to_owned());
        (&self.name, &self.kubeconfig_file, self.file_digest, &self.context, self.service_account, self.insecure, self.no_proxy)
            == (
                &other.name,
                &other.kubeconfig_file,
                other.file_digest,
                &other.context,
                other.service_account,
                other.insecure,
                other.no_proxy,
            )
            && (&self.namespaces, &self.read, &self.write) == (&other.namespaces, &other.read, &other.write)
            && text(self) == text(other)
    }
}

impl Eq for StaticAccount {}
