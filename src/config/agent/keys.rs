//! Every key of the agent that is read, and those that are understood and have no effect. The only list; the tables of
//! `docs/agent.md` are held to it by a test.

use crate::config::keys::{Key, Unused, key, secret, unused};

const fn list(name: &'static str) -> Key {
    Key { list: true, ..key(name, "") }
}

/// Defaults are read by the same parsers as what an operator writes.
pub(super) const KEYS: &[Key] = &[
    key("clouddriver.grpc", "spin-clouddriver-grpc:9091"),
    key("clouddriver.insecure", "true"),
    secret("clouddriver.auth.token"),
    key("clouddriver.keepAliveHeartbeatSeconds", "20"),
    key("clouddriver.keepAliveTimeOutSeconds", "0"),
    key("clouddriver.backoff.baseDelay", "1000000000"),
    key("clouddriver.backoff.multiplier", "1.6"),
    key("clouddriver.backoff.maxDelay", "120000000000"),
    key("clouddriver.noProxy", "false"),
    key("clouddriver.tls.serverName", ""),
    key("clouddriver.tls.insecureSkipVerify", "false"),
    key("clouddriver.tls.cacertFile", ""),
    key("clouddriver.tls.clientCertFile", ""),
    key("clouddriver.tls.clientKeyFile", ""),
    key("clouddriver.dynamicAccountsEnabled", "true"),
    key("dynamicAccountsEnabled", "true"),
    key("kubernetes.reconnectTimeoutMs", "5000"),
    key("kubernetes.noProxy", "false"),
    key("kubernetes.retries.enabled", "true"),
    key("kubernetes.retries.maxRetries", "3"),
    key("kubernetes.retries.backOffMs", "3000"),
    key("kubernetes.connectTimeoutMs", "10000"),
    key("kubernetes.maxConcurrentConnects", "16"),
    key("kubernetes.checkFrequencySeconds", "30"),
    key("kubernetes.allowFilePaths", "false"),
    key("kubernetes.allowProxyUrl", "false"),
    key("kubernetes.allowMetadataAddresses", "false"),
    key("kubernetes.serviceAccountPath", "/var/run/secrets/kubernetes.io/serviceaccount"),
    key("kubernetes.accounts[].name", ""),
    key("kubernetes.accounts[].kubeConfigFile", ""),
    secret("kubernetes.accounts[].kubeconfigContents"),
    key("kubernetes.accounts[].context", ""),
    key("kubernetes.accounts[].serviceAccount", "false"),
    key("kubernetes.accounts[].insecure", "false"),
    key("kubernetes.accounts[].noProxy", "false"),
    list("kubernetes.accounts[].namespaces"),
    list("kubernetes.accounts[].permissions[].READ"),
    list("kubernetes.accounts[].permissions[].WRITE"),
    key("timeoutSeconds", "0"),
    key("zoneId", ""),
    key("server.host", "0.0.0.0"),
    key("server.port", "8082"),
    key("prometheus.enabled", "false"),
    key("prometheus.port", "8008"),
    key("logging.format", "text"),
    key("logging.level", "info"),
];

const WATCHING: &str = "watching is not built yet: nothing of a cluster is cached";
const OPERATIONS: &str = "Kubernetes operations are not built yet";
const ACCOUNT: &str = "not built yet";
const CLOUD: &str = "a service of the original's vendor, and its debugging";

/// Keys of the original without effect, and why.
pub(super) const UNUSED: &[Unused] = &[
    unused("clouddriver.auth.tokenCommand.**", "not built yet: give clouddriver.auth.token"),
    unused("clouddriver.keepAliveOperationSeconds", "pings of our own notice a connection that is dead, operations or none"),
    unused("clouddriver.backoff.jitter", "the whole of a pause is random, so that agents do not come back all at once"),
    unused("clouddriver.responseRetries.**", "an outcome is kept and repeated when it is asked for again"),
    unused("clouddriver.retries.**", "an outcome is kept and repeated when it is asked for again"),
    unused("clouddriver.cacheRetryIntervalSeconds", WATCHING),
    unused("clouddriver.tls.clientKeyFilePassword", "a key under a password is not read: keep it without one, readable to the agent only"),
    unused("kubernetes.dynamicAccountsOnly", "the original does not say what it does"),
    unused("kubernetes.cacheGroupSize", WATCHING),
    unused("kubernetes.cacheGroupDelayMs", WATCHING),
    unused("kubernetes.retries.retryAnyError", "a check that failed is repeated whatever the error"),
    unused("kubernetes.retries.retryableErrors.**", "a check that failed is repeated whatever the error"),
    unused("kubernetes.serverSideApply.**", OPERATIONS),
    unused("kubernetes.accounts[].serviceAccountName", "no key of the original's table"),
    unused("kubernetes.accounts[].oAuthScopes.**", ACCOUNT),
    unused("kubernetes.accounts[].omitNamespaces.**", "it has no effect in the original either"),
    unused("kubernetes.accounts[].onlyNamespacedResources", WATCHING),
    unused("kubernetes.accounts[].customResourceDefinitions.**", WATCHING),
    unused("kubernetes.accounts[].kinds.**", WATCHING),
    unused("kubernetes.accounts[].omitKinds.**", WATCHING),
    unused("kubernetes.accounts[].metrics", WATCHING),
    unused("kubernetes.accounts[].onlySpinnakerManaged", "it has no effect in the original either"),
    unused("kubernetes.accounts[].maxResumableResourceAgeMs", WATCHING),
    unused("kubernetes.accounts[].skipServerSideApply", OPERATIONS),
    unused("kubernetes.accounts[].skipManifestDefaults", OPERATIONS),
    unused("balanceConnection", "the original does not say what it does"),
    unused("clouddriverNamespace", "the original does not say what it does"),
    unused("domainName", "the original does not say what it does"),
    unused("logging.**", "logs go to standard error, for the container's runtime to keep"),
    unused("pprof.**", "profiling of the original's language"),
    unused("server.ssl.**", "health and accounts are served without TLS"),
    unused("secrets.**", "secret references are not resolved by the agent yet"),
    unused("tasks.**", WATCHING),
    unused("hub.**", CLOUD),
    unused("local.**", CLOUD),
];

/// Names and defaults of all keys, for the test that holds the documents to them.
pub fn documented() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|k| (k.name, k.default))
}

/// Names of the keys without effect, and why, for the same test.
pub fn not_built() -> impl Iterator<Item = (&'static str, &'static str)> {
    UNUSED.iter().map(|u| (u.name, u.why))
}
