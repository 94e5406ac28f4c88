//! Every key that is read, with its default. The only list: the environment's names, the hint for a mistyped key, the
//! reading itself and the table of `docs/configuration.md` (by a test) all come from here.

/// One key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// Its documented spelling. `*` stands for a name of the operator's, `[]` for an index.
    pub(super) name: &'static str,
    /// What counts when it is not given or empty, as one would write it; empty: nothing.
    pub(super) default: &'static str,
    /// Its value is shown nowhere.
    pub(super) secret: bool,
    /// Its value is a list: `[a, b]`, `a,b`, or `_0_` in the environment.
    pub(super) list: bool,
}

pub(super) const fn key(name: &'static str, default: &'static str) -> Key {
    Key { name, default, secret: false, list: false }
}

pub(super) const fn secret(name: &'static str) -> Key {
    Key { name, default: "", secret: true, list: false }
}

/// Defaults are read by the same parsers as what an operator writes.
pub(super) const KEYS: &[Key] = &[
    key("server.address", "0.0.0.0"),
    key("server.port", "7002"),
    key("server.servlet.contextPath", ""),
    key("server.ssl.enabled", ""),
    key("server.ssl.certificate", ""),
    key("server.ssl.certificatePrivateKey", ""),
    key("server.ssl.trustCertificate", ""),
    key("server.ssl.clientAuth", "none"),
    key("services.clouddriver.baseUrl", "http://127.0.0.1:17002"),
    key("services.clouddriver.http2.enabled", "false"),
    key("services.clouddriver.ssl.trustCertificate", ""),
    key("services.clouddriver.ssl.certificate", ""),
    key("services.clouddriver.ssl.certificatePrivateKey", ""),
    key("clouddriver.contextPath", ""),
    key("fairlead.admin.address", "0.0.0.0"),
    key("fairlead.admin.port", "7003"),
    key("fairlead.proxy.connectTimeout", "5s"),
    key("fairlead.proxy.responseTimeout", ""),
    key("fairlead.proxy.totalTimeout", ""),
    key("fairlead.proxy.headerTimeout", "30s"),
    key("fairlead.proxy.clientIdleTimeout", "330s"),
    key("fairlead.proxy.stallTimeout", "120s"),
    key("fairlead.proxy.minRate", "16B"),
    key("fairlead.proxy.cancelOnHalfClose", "false"),
    key("fairlead.proxy.maxHeadSize", "256KiB"),
    key("fairlead.proxy.maxConnections", "16384"),
    key("fairlead.proxy.maxRequests", "8192"),
    key("fairlead.proxy.idleTimeout", "15s"),
    key("fairlead.proxy.maxIdleConnections", "64"),
    key("fairlead.proxy.maxConnectionAge", "180s"),
    key("fairlead.proxy.threads", "0"),
    key("fairlead.proxy.drainTimeout", "30s"),
    key("sql.enabled", "true"),
    key("sql.connectionPools.*.jdbcUrl", ""),
    key("sql.connectionPools.*.user", ""),
    secret("sql.connectionPools.*.password"),
    key("sql.connectionPools.*.default", "false"),
    key("sql.connectionPools.*.maxPoolSize", "20"),
    key("sql.connectionPools.*.connectionTimeoutMs", "5000"),
    key("fairlead.sql.statementTimeout", "5s"),
    key("fairlead.sql.intentPoolSize", "4"),
    key("fairlead.sqlite.path", "${STATE_DIRECTORY:${HOME:/var/lib}/.fairlead}/fairlead.db"),
    key("fairlead.source", "auto"),
    key("fairlead.api.user", ""),
    key("kubesvc.dynamicAccounts.enabled", "true"),
    key("kubesvc.dynamicAccounts.maxDeletesPerPass", "50"),
    key("kubesvc.dynamicAccounts.scan", ""),
    Key { list: true, ..key("kubesvc.dynamicAccounts.namePatterns", "") },
    Key { list: true, ..key("kubesvc.dynamicAccounts.credentialScanNamePatterns", "") },
    key("kubesvc.dynamicAccounts.scanFrequencySeconds", "120"),
    key("kubesvc.dynamicAccounts.fullScanFrequencySeconds", "600"),
    key("kubesvc.dynamicAccounts.scanBatchSize", "572"),
    key("kubesvc.dynamicAccounts.scanPageSize", "500"),
    key("kubesvc.dynamicAccounts.maxMigrationsPerScan", "0"),
    key("kubesvc.dynamicAccounts.scanDeletes", "false"),
    key("kubesvc.dynamicAccounts.maxRetries", "3"),
    key("kubesvc.dynamicAccounts.retryFrequencySeconds", "5"),
    key("kubesvc.dynamicAccounts.orphanGraceSeconds", "30"),
    key("kubesvc.cache.accountCleanupFrequencySeconds", "600"),
    key("kubesvc.cache.operationWaitMs", "30000"),
    key("fairlead.dispatch.fanOutZones", "16"),
    key("fairlead.secrets.kubernetes.kubeconfig", ""),
    key("fairlead.secrets.timeout", "5s"),
    key("kubesvc.dynamicAccounts.interceptor.enabled", "true"),
    key("kubesvc.dynamicAccounts.interceptor.activate", "false"),
    key("kubesvc.dynamicAccounts.interceptor.failurePolicy", "Ignore"),
    key("kubesvc.dynamicAccounts.interceptor.maxWait", "50ms"),
    key("kubesvc.dynamicAccounts.interceptor.maxWaitFail", "2s"),
    key("kubesvc.dynamicAccounts.interceptor.inspectionLimit", "1MiB"),
    Key { list: true, ..key("kubesvc.dynamicAccounts.interceptor.deny.fields", "kubectlExecutable") },
    key("kubesvc.dynamicAccounts.interceptor.deny.action", "warn"),
    key("kubesvc.dynamicAccounts.interceptor.stateDir", ""),
    key("kubesvc.dynamicAccounts.interceptor.unknownOutcomeWindow", "15m"),
    key("kubesvc.grpc.server.address", "*"),
    key("kubesvc.grpc.server.port", "9091"),
    key("kubesvc.grpc.server.healthServiceEnabled", "true"),
    key("kubesvc.grpc.server.maxInboundMessageSize", "4MB"),
    key("kubesvc.grpc.server.keepAliveHeartbeatSeconds", ""),
    key("kubesvc.grpc.server.keepAliveTimeOutSeconds", ""),
    key("kubesvc.grpc.server.security.enabled", "false"),
    key("kubesvc.grpc.server.security.certificateChain", ""),
    key("kubesvc.grpc.server.security.privateKey", ""),
    secret("kubesvc.grpc.server.security.privateKeyPassword"),
    key("kubesvc.grpc.server.security.trustCertCollection", ""),
    key("kubesvc.grpc.server.security.clientAuth", "NONE"),
    Key { list: true, ..key("kubesvc.grpc.server.security.protocols", "TLSv1.3,TLSv1.2") },
    key("kubesvc.grpc.server.security.keepAliveHeartbeatSeconds", ""),
    key("kubesvc.grpc.server.security.keepAliveTimeOutSeconds", ""),
    key("fairlead.channel.enabled", "true"),
    key("fairlead.channel.maxConnections", "16384"),
    key("fairlead.channel.handshakeTimeout", "10s"),
    key("fairlead.channel.pingInterval", "10s"),
    key("fairlead.channel.deadAfter", "25s"),
    key("fairlead.seal.keyFile", ""),
    key("fairlead.seal.keys[].id", ""),
    secret("fairlead.seal.keys[].key"),
    key("fairlead.replica.id", ""),
    key("fairlead.replica.heartbeat", "1s"),
    key("fairlead.replica.lease", "10s"),
    key("fairlead.logging.format", "text"),
    key("fairlead.logging.level", "info"),
];

/// The names and defaults of all keys, for the test that holds the documents to them.
pub fn documented() -> impl Iterator<Item = (&'static str, &'static str)> {
    KEYS.iter().map(|k| (k.name, k.default))
}

/// Keys of the plugin that are understood but have no effect, and why.
pub(super) struct Unused {
    /// Below `kubesvc.`; `.**` at the end takes everything below.
    pub(super) name: &'static str,
    pub(super) why: &'static str,
}

pub(super) const fn unused(name: &'static str, why: &'static str) -> Unused {
    Unused { name, why }
}

const BALANCING: &str = "agents are not moved between replicas yet: who connects first watches";
const REPLICAS: &str = "replicas meet in the database; forwarding between them is not built yet";
const CACHE: &str = "caching of cluster objects is not built yet";
const OPERATIONS: &str = "Kubernetes operations are not built yet";
const EVICTION: &str = "Clouddriver's own cache tables, which Fairlead never touches";

/// In the order of the plugin's documents.
pub(super) const UNUSED: &[Unused] = &[
    unused(
        "enabled",
        "it switches the plugin; Fairlead is on when it runs (its parts: kubesvc.dynamicAccounts.enabled, ….interceptor.enabled)",
    ),
    unused("cluster", REPLICAS),
    unused("clusterKubernetes.**", REPLICAS),
    unused("operations.**", OPERATIONS),
    unused("locks.**", "replicas claim work with leases by the database's clock, not with the plugin's locks"),
    unused("loadBalancer", BALANCING),
    unused("heartbeat.**", "the plugin's heartbeat; Fairlead's is fairlead.replica.heartbeat"),
    unused("grpc.server.security.ciphers.**", "names of Java's cipher suites mean nothing outside a JVM"),
    unused("grpc.auth.**", "certificates are not told apart by their subject yet: whoever has one of trustCertCollection is let in"),
    unused("cache.cacheStreamingPoolCoreSize", "a thread pool of the JVM"),
    unused("cache.cacheStreamingPoolMaxSize", "a thread pool of the JVM"),
    unused("cache.agentCleanupFrequencySeconds", "it existed only in a withdrawn release of the plugin"),
    unused("cache.**", CACHE),
    unused("credentials.poller.**", "Clouddriver's loader cannot be called from outside: set Clouddriver's own credentials.poller"),
    unused("disableV2Provider", EVICTION),
    unused("runtime.**", CACHE),
    unused("v2CacheEviction.**", EVICTION),
    unused("jobs.operationHistory.**", OPERATIONS),
    unused("ops.processTime.**", OPERATIONS),
];
