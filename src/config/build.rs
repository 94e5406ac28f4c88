//! From keys to [`Settings`], and the checks that look at more than one key.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::SecretString;

use super::reader::{Given, Reader};
use super::remark::Origin;
use super::settings::{Clouddriver, Deny, DenyAction, FailurePolicy, Interceptor, Logging, Proxy, Replica, SealKey, SealKeys, Settings};
use super::{pools, tls, values};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// Tomcat closes an idle connection after this long.
const TOMCAT_KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Reads all keys. `None` where a mistake was noted (all of them are).
pub(super) fn settings(reader: &mut Reader<'_>, host_name: Option<String>) -> Option<Settings> {
    let (listen, admin_listen) = listeners(reader);
    let tls = tls::front(reader);
    let clouddriver = clouddriver(reader, listen);
    let database = pools::read(reader);
    let dynamic_accounts_enabled = reader.required("kubesvc.dynamicAccounts.enabled", values::boolean);
    let max_deletes_per_pass = reader.required("kubesvc.dynamicAccounts.maxDeletesPerPass", values::number(0, u64::from(u32::MAX)));
    let mut interceptor = interceptor(reader);
    interceptor.enabled &= dynamic_accounts_enabled;
    let seal = seal(reader);
    let proxy = proxy(reader);
    let replica = replica(reader, host_name);
    let logging = logging(reader);
    let (scan, scan_batch) = super::scan::read(reader, dynamic_accounts_enabled);
    let (dispatch, secrets) = super::dispatch::read(reader, scan_batch);
    let channel = super::channel::read(reader, [(listen, "server.port"), (admin_listen, "fairlead.admin.port")]);
    neighbours(reader);
    if !reader.findings.mistakes.is_empty() {
        return None;
    }
    let (scan_on_demand, scanning) = scan?;
    Some(Settings {
        listen,
        admin_listen,
        tls,
        clouddriver,
        database: database?,
        dynamic_accounts_enabled,
        max_deletes_per_pass: u32::try_from(max_deletes_per_pass).unwrap_or(u32::MAX),
        interceptor,
        scan: scanning.then(|| scan_on_demand.clone()),
        scan_on_demand,
        seal,
        proxy,
        replica,
        channel,
        dispatch,
        secrets,
        logging,
    })
}

fn listeners(reader: &mut Reader<'_>) -> (SocketAddr, SocketAddr) {
    let address = reader.required("server.address", values::address);
    let port = reader.required("server.port", values::port);
    let admin_address = reader.required("fairlead.admin.address", values::address);
    let (admin_port, at) = reader.required_located("fairlead.admin.port", values::port);
    let meet = address == admin_address || address.is_unspecified() || admin_address.is_unspecified();
    if port == admin_port && port != 0 && meet {
        let at = if at.origin == Origin::Default { reader.given("server.port").unwrap_or(at) } else { at };
        reader.mistake(&at, "server.port and fairlead.admin.port are the same: give each its own");
    }
    (SocketAddr::new(address, port), SocketAddr::new(admin_address, admin_port))
}

fn clouddriver(reader: &mut Reader<'_>, listen: SocketAddr) -> Clouddriver {
    let (base, base_at) = reader.required_located("services.clouddriver.baseUrl", values::base_url);
    if base_at.origin == Origin::Default {
        let at = base_at.clone();
        reader.note(&at, format!("is not given: Clouddriver is looked for at {}:{}", base.host, base.port));
    }
    let at = base_at.clone();
    let loopback = base.host == "localhost" || base.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip.is_unspecified());
    let same_host = base.host.parse::<IpAddr>().is_ok_and(|ip| ip == listen.ip())
        || (loopback && (listen.ip().is_loopback() || listen.ip().is_unspecified()));
    if base.port == listen.port() && same_host {
        let at = if base_at.origin == Origin::Default { reader.given("server.port").unwrap_or(base_at) } else { base_at };
        let text = "services.clouddriver.baseUrl is where Fairlead itself listens (server.port), so that each request would come back: name \
                    Clouddriver";
        reader.mistake(&at, text);
    }
    let own = reader.located("clouddriver.contextPath", values::context_path);
    let servlet = reader.located("server.servlet.contextPath", values::context_path);
    let context_path = match (own, servlet) {
        (Some((own, _)), Some((servlet, at))) => {
            if own != servlet {
                reader.warn(&at, "differs from clouddriver.contextPath, which counts");
            }
            own
        }
        (Some((own, _)), None) => own,
        (None, Some((servlet, at))) => {
            if !servlet.is_empty() {
                reader.note(&at, "is taken for clouddriver.contextPath, which is not given");
            }
            servlet
        }
        (None, None) => String::new(),
    };
    let tls = tls::upstream(reader, &base.host, base.tls, &at);
    let http2 = reader.required("services.clouddriver.http2.enabled", values::boolean);
    Clouddriver { host: base.host.into(), port: base.port, tls, http2, context_path: context_path.into() }
}

fn interceptor(reader: &mut Reader<'_>) -> Interceptor {
    const AT: &str = "kubesvc.dynamicAccounts.interceptor";
    let enabled = reader.required(&format!("{AT}.enabled"), values::boolean);
    let activate = reader.required(&format!("{AT}.activate"), values::boolean);
    let failure_policy = reader
        .required(&format!("{AT}.failurePolicy"), values::choice(&[("Ignore", FailurePolicy::Ignore), ("Fail", FailurePolicy::Fail)]));
    let max_wait = reader.required(&format!("{AT}.maxWait"), values::duration(None, MS, SECOND * 60));
    let max_wait_fail = reader.required(&format!("{AT}.maxWaitFail"), values::duration(None, MS, SECOND * 60));
    let inspection_limit = reader.required(&format!("{AT}.inspectionLimit"), values::size(0, 64 << 20));
    let fields = reader.list(&format!("{AT}.deny.fields"));
    let action =
        reader.required(&format!("{AT}.deny.action"), values::choice(&[("warn", DenyAction::Warn), ("refuse", DenyAction::Refuse)]));
    let state_dir = reader.optional(&format!("{AT}.stateDir"), values::text(4_096)).map(PathBuf::from);
    let (unknown_outcome_window, at) = reader.required_located(&format!("{AT}.unknownOutcomeWindow"), values::duration(None, MS, DAY * 7));
    if unknown_outcome_window < SECOND * 60 {
        reader.warn(&at, "is short: a change was measured to appear in Clouddriver 40 s after its client had left");
    }
    Interceptor {
        enabled,
        activate,
        failure_policy,
        max_wait,
        max_wait_fail,
        inspection_limit: usize::try_from(inspection_limit).unwrap_or(usize::MAX),
        deny: Deny { fields, action },
        spool_dir: Some(state_dir.clone().unwrap_or_else(|| std::env::temp_dir().join("fairlead"))),
        state_dir,
        unknown_outcome_window,
    }
}

fn proxy(reader: &mut Reader<'_>) -> Proxy {
    let connect_timeout = reader.required("fairlead.proxy.connectTimeout", values::duration(None, MS, SECOND * 300));
    let response_timeout = reader.optional("fairlead.proxy.responseTimeout", values::duration(None, MS, DAY));
    let total_timeout = reader.optional("fairlead.proxy.totalTimeout", values::duration(None, MS, DAY));
    let header_timeout = reader.required("fairlead.proxy.headerTimeout", values::duration(None, MS, SECOND * 3_600));
    let client_idle_timeout = reader.required("fairlead.proxy.clientIdleTimeout", values::duration(None, MS, DAY));
    let stall_timeout = reader.required("fairlead.proxy.stallTimeout", values::duration(None, MS, DAY));
    let min_rate = reader.required("fairlead.proxy.minRate", values::size(0, 1 << 30));
    let cancel_on_half_close = reader.required("fairlead.proxy.cancelOnHalfClose", values::boolean);
    let max_head = reader.required("fairlead.proxy.maxHeadSize", values::size(8 * 1024, 16 * 1024 * 1024));
    let max_connections = reader.required("fairlead.proxy.maxConnections", values::number(1, 1_048_576));
    let max_in_flight = reader.required("fairlead.proxy.maxRequests", values::number(1, 1_048_576));
    let (pool_idle_timeout, at) = reader.required_located("fairlead.proxy.idleTimeout", values::duration(None, Duration::ZERO, DAY));
    if pool_idle_timeout >= TOMCAT_KEEP_ALIVE {
        reader.warn(&at, "is not below the 20s after which Clouddriver's Tomcat closes an idle connection: requests may meet a closed one");
    }
    let pool_max_idle = reader.required("fairlead.proxy.maxIdleConnections", values::number(0, 65_536));
    let pool_max_age = reader.required("fairlead.proxy.maxConnectionAge", values::duration(None, Duration::ZERO, DAY));
    let threads = reader.required("fairlead.proxy.threads", values::number(0, 1_024));
    let drain_timeout = reader.required("fairlead.proxy.drainTimeout", values::duration(None, Duration::ZERO, SECOND * 3_600));
    Proxy {
        connect_timeout,
        response_timeout,
        total_timeout,
        header_timeout,
        client_idle_timeout,
        stall_timeout,
        min_rate,
        cancel_on_half_close,
        max_head: usize::try_from(max_head).unwrap_or(usize::MAX),
        max_connections: usize::try_from(max_connections).unwrap_or(usize::MAX),
        max_in_flight: usize::try_from(max_in_flight).unwrap_or(usize::MAX),
        pool_idle_timeout,
        pool_max_idle: usize::try_from(pool_max_idle).unwrap_or(usize::MAX),
        pool_max_age: Some(pool_max_age).filter(|age| !age.is_zero()),
        threads: usize::try_from(threads).unwrap_or(usize::MAX),
        drain_timeout,
    }
}

fn replica(reader: &mut Reader<'_>, host_name: Option<String>) -> Replica {
    let id = reader.optional("fairlead.replica.id", values::text(255));
    let id = id.unwrap_or_else(|| {
        let host = host_name.unwrap_or_else(|| "fairlead".to_owned());
        reader.show_instead("fairlead.replica.id", host.clone());
        host
    });
    let heartbeat = reader.required("fairlead.replica.heartbeat", values::duration(None, MS * 10, SECOND * 60));
    let (lease, at) = reader.required_located("fairlead.replica.lease", values::duration(None, MS * 30, SECOND * 3_600));
    if lease <= heartbeat * 3 {
        let at = if at.origin == Origin::Default { reader.given("fairlead.replica.heartbeat").unwrap_or(at) } else { at };
        reader.mistake(&at, "the lease must be longer than three heartbeats, or one late beat counts as a death");
    }
    Replica { id, heartbeat, lease }
}

fn logging(reader: &mut Reader<'_>) -> Logging {
    let json = reader.required("fairlead.logging.format", values::choice(&[("text", false), ("json", true)]));
    let level = reader.required("fairlead.logging.level", |text| {
        match (text.len() <= 1_000).then(|| tracing_subscriber::EnvFilter::builder().parse(text)) {
            Some(Ok(_)) => Ok(text.to_owned()),
            _ => Err("is not a level (error, warn, info, debug, trace) or a list such as info,fairlead::mirror=debug".into()),
        }
    });
    Logging { json, level }
}

/// The key file and the keys given one by one.
fn seal(reader: &mut Reader<'_>) -> Option<SealKeys> {
    let before = reader.findings.mistakes.len();
    let mut keys: Vec<SealKey> = Vec::new();
    let from_file = reader.located("fairlead.seal.keyFile", values::text(4_096));
    let listed = reader.items_of("fairlead.seal.keys");
    if let Some((path, at)) = &from_file {
        if listed > 0 {
            reader.mistake(at, "is given and fairlead.seal.keys too: give one of them, or which key seals would be a guess");
        }
        read_key_file(reader, path, at, &mut keys);
    }
    for i in 0..listed.min(100) {
        let id = reader.located(&format!("fairlead.seal.keys[{i}].id"), key_id);
        let key = reader.located(&format!("fairlead.seal.keys[{i}].key"), key_bytes);
        let (Some((id, at)), Some((key, _))) = (id, key) else {
            let at = reader.place_of(&format!("fairlead.seal.keys[{i}]"));
            if reader.findings.mistakes.len() == before {
                reader.mistake(&at, "needs an id and a key");
            }
            continue;
        };
        if keys.iter().any(|k| k.id == id) {
            reader.mistake(&at, "is the id of an earlier key too: each key needs its own");
        }
        keys.push(SealKey { id, key });
    }
    (!keys.is_empty()).then_some(SealKeys(keys))
}

fn read_key_file(reader: &mut Reader<'_>, path: &str, at: &Given, keys: &mut Vec<SealKey>) {
    let text = match super::places::read_text(std::path::Path::new(path), 64 << 10) {
        Ok(text) => text,
        Err(why) => return reader.mistake(at, format!("{path} {why}")),
    };
    let before = reader.findings.mistakes.len();
    for (i, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let parsed = line.split_once(':').ok_or_else(|| "is not of the form id:base64".to_owned());
        let parsed = parsed.and_then(|(id, key)| Ok(SealKey { id: key_id(id.trim())?, key: key_bytes(key.trim())? }));
        match parsed {
            Ok(key) if keys.iter().any(|k| k.id == key.id) => reader.mistake(at, format!("{path}:{}: the id is there twice", i + 1)),
            Ok(key) => keys.push(key),
            Err(why) => reader.mistake(at, format!("{path}:{}: {why}", i + 1)),
        }
    }
    if keys.is_empty() && reader.findings.mistakes.len() == before {
        reader.mistake(at, format!("{path} holds no key: a line is id:base64 of 32 bytes"));
    }
}

fn key_id(text: &str) -> Result<String, String> {
    let fits = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if fits { Ok(text.to_owned()) } else { Err("is not a key's id: 1 to 32 letters, digits, _ or -".into()) }
}

fn key_bytes(text: &str) -> Result<SecretString, String> {
    match STANDARD.decode(text) {
        Ok(bytes) if bytes.len() == 32 => Ok(SecretString::from(text)),
        Ok(bytes) => Err(format!("is a key of {} bytes; it must have 32 (openssl rand -base64 32)", bytes.len())),
        Err(_) => Err("is not base64 of 32 bytes (openssl rand -base64 32)".into()),
    }
}

/// What Clouddriver's own keys say that an operator should know here.
fn neighbours(reader: &mut Reader<'_>) {
    if reader.first_below("kubernetes.accounts[").is_some() {
        let count = reader.items_of("kubernetes.accounts");
        let at = reader.place_of("kubernetes.accounts[");
        reader.warn(
            &at,
            format!(
                "holds {count} account{} of Clouddriver's own files, which cannot be read from outside Clouddriver: they are never \
                 mirrored, and POST /armory/accounts does not take them; what is in its accounts table is",
                if count == 1 { "" } else { "s" }
            ),
        );
    }
    if let Some(at) = reader.given("account.storage.enabled")
        && values::boolean(at.text.trim()) == Ok(false)
    {
        reader.warn(&at, "is false: Clouddriver stores no accounts, so there is nothing to mirror");
    }
    for (key, what) in [
        ("spring.config.import", "further sources of configuration"),
        ("spring.profiles.active", "profiles: set SPRING_PROFILES_ACTIVE"),
        ("spring.profiles.include", "profiles: set SPRING_PROFILES_ACTIVE"),
    ] {
        if let Some(property) = reader.first_below(key) {
            let at = Given { text: String::new(), origin: property.origin.clone(), written: property.written.clone() };
            reader.warn(&at, format!("is not followed: it names {what}"));
        }
    }
}
