//! The settings as the other parts see them. Keys, defaults and their reasons are in `docs/configuration.md`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use sqlx::mysql::MySqlConnectOptions;
use sqlx::postgres::PgConnectOptions;
use sqlx::sqlite::SqliteConnectOptions;

use crate::patterns::Patterns;
use crate::tls;

/// Everything that `fairlead serve` needs to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the proxy listens (`server.address`, `server.port`; `0.0.0.0:7002`).
    pub listen: SocketAddr,
    /// Where health, metrics and info are served (`fairlead.admin.address`, `.port`; `0.0.0.0:7003`).
    pub admin_listen: SocketAddr,
    /// `server.ssl.*`: TLS towards clients; `None`: plain.
    pub tls: Option<tls::front::Files>,
    /// The Clouddriver behind us.
    pub clouddriver: Clouddriver,
    /// Fairlead's own database, and how it reads Clouddriver's.
    pub database: Database,
    /// `kubesvc.dynamicAccounts.enabled` (true): off, the API answers 501 and the interceptor is off.
    pub dynamic_accounts_enabled: bool,
    /// `kubesvc.dynamicAccounts.maxDeletesPerPass` (50).
    pub max_deletes_per_pass: u32,
    /// The interceptor.
    pub interceptor: Interceptor,
    /// The scanner; `None`: nothing is scanned.
    pub scan: Option<Scan>,
    /// The same where nothing is scanned, for commands that are told to: what would count if it were on.
    pub scan_on_demand: Scan,
    /// Sealing at rest; `None`: kubeconfigs lie in the table as they came, and start warns.
    pub seal: Option<SealKeys>,
    /// Data plane limits.
    pub proxy: Proxy,
    /// This replica's name and its lease.
    pub replica: Replica,
    /// The agents' port; `None`: `fairlead.channel.enabled` is false.
    pub channel: Option<ChannelConfig>,
    /// `kubesvc.dynamicAccounts.*`, `kubesvc.cache.*`, `fairlead.dispatch.*`: how often and how long agents are asked.
    pub dispatch: Limits,
    /// `fairlead.secrets.*`: where secrets come from that definitions name.
    pub secrets: crate::secrets::Settings,
    /// Logs.
    pub logging: Logging,
}

/// `kubesvc.grpc.server.*`, `fairlead.channel.*`.
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// `address`, `port` (`*:9091`).
    pub listen: SocketAddr,
    /// `security.*`; `None`: plain.
    pub tls: Option<tls::agents::Files>,
    /// `healthServiceEnabled` (true): grpc.health.v1 is served.
    pub health: bool,
    /// `maxInboundMessageSize` (4 MiB): of one message.
    pub max_message: usize,
    /// `keepAliveHeartbeatSeconds` (20; 0: never): HTTP/2's own pings.
    pub keep_alive: Option<Duration>,
    /// `keepAliveTimeOutSeconds` (20): for the answer to one.
    pub keep_alive_timeout: Duration,
    /// `fairlead.channel.maxConnections` (16,384).
    pub max_connections: usize,
    /// `fairlead.channel.handshakeTimeout` (10 s): for the handshake, and for the first message of a stream.
    pub handshake_timeout: Duration,
    /// `fairlead.channel.pingInterval` (10 s): how often an agent that is silent is asked whether it is there.
    pub ping_interval: Duration,
    /// `fairlead.channel.deadAfter` (25 s): an agent that was silent for so long is dead.
    pub dead_after: Duration,
}

/// How accounts reach their agents: how often and how long they are asked (`kubesvc.dynamicAccounts.*`, `kubesvc.cache.*`, `fairlead.dispatch.*`).
#[derive(Clone, Debug)]
pub struct Limits {
    /// Retries after the first attempt.
    pub max_retries: u32,
    /// Between two attempts, at least.
    pub retry: Duration,
    /// How long an ACTIVE account may be without an agent before it is ORPHANED.
    pub grace: Duration,
    /// How long a static one may be ORPHANED before it goes.
    pub cleanup: Duration,
    /// How long an agent has for an answer.
    pub wait: Duration,
    /// Zones that an account without one is offered to at the same time.
    pub fan_out: usize,
    /// Accounts of the scanner's that are ACTIVATING at once.
    pub scan_batch: u32,
}

/// `services.clouddriver.*`, `clouddriver.contextPath`.
#[derive(Clone, Debug)]
pub struct Clouddriver {
    /// Host name or address, and port, of `services.clouddriver.baseUrl`.
    pub host: Arc<str>,
    /// Port; where the URL names none, 80 for `http` and 443 for `https`.
    pub port: u16,
    /// `services.clouddriver.ssl.*` with an `https` URL; `None`: plain.
    pub tls: Option<tls::upstream::Files>,
    /// `services.clouddriver.http2.enabled` (false).
    pub http2: bool,
    /// `clouddriver.contextPath` (empty, or `/prefix` with no slash at the end).
    pub context_path: Arc<str>,
}

/// Data plane limits (`fairlead.proxy.*`).
#[derive(Clone, Debug)]
pub struct Proxy {
    /// `connectTimeout` (5 s): to reach Clouddriver.
    pub connect_timeout: Duration,
    /// `responseTimeout` (none): from the request's end to the answer's head. Gate itself gives up after 120 s.
    pub response_timeout: Option<Duration>,
    /// `totalTimeout` (none): from a request's head to the end of its answer. For what passes as bytes.
    pub total_timeout: Option<Duration>,
    /// `headerTimeout` (30 s): for a client to send a request's head.
    pub header_timeout: Duration,
    /// `clientIdleTimeout` (330 s): how long a client's kept connection may be idle. Above the five minutes of OkHttp's own pool.
    pub client_idle_timeout: Duration,
    /// `stallTimeout` (120 s): how long a client may neither send what it announced nor take what is due to it.
    pub stall_timeout: Duration,
    /// `minRate` (16 bytes a second; 0: any): over each `stallTimeout` in which a client is waited for.
    pub min_rate: u64,
    /// `cancelOnHalfClose` (false): a client that ends its writing side while it waits has given up.
    pub cancel_on_half_close: bool,
    /// `maxHeadSize` (256 KiB): of a request's head.
    pub max_head: usize,
    /// `maxConnections` (16,384) of clients, for each core.
    pub max_connections: usize,
    /// `maxRequests` (8,192) in progress, for each core; more are answered 503.
    pub max_in_flight: usize,
    /// `idleTimeout` (15 s): how long a pooled connection to Clouddriver is kept; below Tomcat's 20 s.
    pub pool_idle_timeout: Duration,
    /// `maxIdleConnections` (64) for each core.
    pub pool_max_idle: usize,
    /// `maxConnectionAge` (180 s; `None` where it is 0): how long a connection to Clouddriver is used, so that a name that leads
    /// elsewhere is followed by busy ones too.
    pub pool_max_age: Option<Duration>,
    /// `threads` (0: one for each core).
    pub threads: usize,
    /// `drainTimeout` (30 s): how long requests in flight may take after SIGTERM.
    pub drain_timeout: Duration,
}

/// Databases (`sql.connectionPools.*`).
#[derive(Clone, Debug)]
pub struct Database {
    /// Pool for everything but intents (`sql.connectionPools.default`), or SQLite.
    pub main: PoolConfig,
    /// A small pool of its own for intents, so that settling never stands in their way.
    pub intents: PoolConfig,
    /// How Clouddriver's accounts are read.
    pub source: SourceConfig,
}

/// How a pool of connections to a database is opened.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Name for messages, such as `sql.connectionPools.default`.
    pub label: Arc<str>,
    /// Where, in the driver's own options (they hide the password in `Debug`).
    pub target: Target,
    /// Most connections at once.
    pub max_connections: u32,
    /// How long a caller waits for a free connection.
    pub acquire_timeout: Duration,
    /// How long one statement may take, on the server where it can be told, and here in any case.
    pub statement_timeout: Duration,
}

/// The database a pool talks to.
#[derive(Clone)]
pub enum Target {
    /// MySQL or MariaDB.
    MySql(Box<MySqlConnectOptions>),
    /// PostgreSQL.
    Postgres(Box<PgConnectOptions>),
    /// A file, or memory.
    Sqlite(Box<SqliteConnectOptions>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MySql(_) => "MySql(..)",
            Self::Postgres(_) => "Postgres(..)",
            Self::Sqlite(_) => "Sqlite(..)",
        })
    }
}

/// How Clouddriver's accounts are read (`fairlead.source`: `sql` where a pool is configured, else `api`).
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// `accounts` lies in the same schema as Fairlead's tables.
    SameDatabase,
    /// `sql.connectionPools.accounts`, where it names another database or user.
    OtherDatabase(PoolConfig),
    /// `GET /credentials/type/kubernetes`, with these headers.
    Api {
        /// `fairlead.api.user`: sent as `X-SPINNAKER-USER` (Fiat: an account manager).
        user: Option<String>,
    },
}

/// `kubesvc.dynamicAccounts.interceptor.*`.
#[derive(Clone, Debug)]
pub struct Interceptor {
    /// `enabled` (true), and `kubesvc.dynamicAccounts.enabled` is not false.
    pub enabled: bool,
    /// `activate` (false): a mirrored POST goes on to `TO_MIGRATE`.
    pub activate: bool,
    /// `failurePolicy` (`Ignore`).
    pub failure_policy: FailurePolicy,
    /// `maxWait` (50 ms): what a change may wait for the journal in all, under `Ignore`.
    pub max_wait: Duration,
    /// `maxWaitFail` (2 s): the same under `Fail`.
    pub max_wait_fail: Duration,
    /// `inspectionLimit` (1 MiB): bytes of a body that are held to look at.
    pub inspection_limit: usize,
    /// `deny`.
    pub deny: Deny,
    /// `stateDir`: where is remembered that changes passed before the first epoch.
    pub state_dir: Option<PathBuf>,
    /// Where a change is noted that leaves before it is journalled: `stateDir`, else a folder in the system's for temporary files; `None`:
    /// nowhere.
    pub spool_dir: Option<PathBuf>,
    /// `unknownOutcomeWindow` (15 min), called G: how long a change of unknown outcome is looked after.
    pub unknown_outcome_window: Duration,
}

/// `kubesvc.dynamicAccounts.*`, as far as it is about scanning.
#[derive(Clone, Debug)]
pub struct Scan {
    /// `namePatterns` and `credentialScanNamePatterns`.
    pub patterns: Patterns,
    /// `scanPageSize` (500): rows read at a time.
    pub page: u32,
    /// `scanBatchSize` (572): accounts of other origins that one scan activates; those of the scanner's are bounded by [`Limits::scan_batch`].
    pub batch: u32,
    /// `scanFrequencySeconds` (120): from the end of one scan to the next.
    pub every: Duration,
    /// `fullScanFrequencySeconds` (600): from one scan that reads everything to the next; those between read what has changed.
    pub full: Duration,
    /// `scanDeletes` (false): mirrored accounts that Clouddriver does not have any more go.
    pub deletes: bool,
    /// `maxMigrationsPerScan` (0: no limit).
    pub max_migrations: Option<u32>,
}

/// What happens to a change while the journal cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailurePolicy {
    /// Forward it and let reconciliation catch up.
    Ignore,
    /// 503, nothing forwarded.
    Fail,
}

/// `interceptor.deny`: properties of a definition that a platform team does not want to pass.
#[derive(Clone, Debug)]
pub struct Deny {
    /// `fields` (`[kubectlExecutable]`): names of properties at the top of a definition.
    pub fields: Vec<String>,
    /// `action`.
    pub action: DenyAction,
}

/// `interceptor.deny.action` (`warn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DenyAction {
    /// Log and count.
    Warn,
    /// Refuse it, and with it each body that cannot be read with certainty.
    Refuse,
}

/// `fairlead.seal.*`: base64 of 32 bytes each. The first seals, all open.
#[derive(Clone)]
pub struct SealKeys(pub Vec<SealKey>);

impl std::fmt::Debug for SealKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(|k| &k.id)).finish()
    }
}

/// One key and the id that is stored with what it sealed.
#[derive(Clone)]
pub struct SealKey {
    /// `[A-Za-z0-9_-]{1,32}`.
    pub id: String,
    /// Base64 of 32 bytes (checked by the parser).
    pub key: SecretString,
}

/// `fairlead.replica.*`.
#[derive(Clone, Debug)]
pub struct Replica {
    /// `id` (the host's name).
    pub id: String,
    /// `heartbeat` (1 s).
    pub heartbeat: Duration,
    /// `lease` (10 s): a replica silent for so long is taken for dead.
    pub lease: Duration,
}

/// `fairlead.logging.*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// `format`: `text` or `json`.
    pub json: bool,
    /// `level` (`info`), or an env-filter directive.
    pub level: String,
}
