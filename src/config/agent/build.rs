//! Keys to settings.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::accounts;
use super::settings::{Allow, Backoff, Control, ControlTls, Kubernetes, Settings};
use crate::config::Logging;
use crate::config::reader::Reader;
use crate::config::values;

/// A limit that the original leaves open, and gRPC's own.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

pub(super) fn settings(reader: &mut Reader<'_>, log_level: Option<&str>) -> Settings {
    let control = control(reader);
    let kubernetes = kubernetes(reader);
    let accounts = accounts::read(reader);
    let zone = reader.optional("zoneId", |text| {
        values::text(255)(text).and_then(|t| if t.len() > 255 { Err("is longer than 255 bytes".into()) } else { Ok(t) })
    });
    let host = reader.required("server.host", values::address);
    let port = reader.required("server.port", values::port);
    let prometheus = reader.required("prometheus.enabled", values::boolean);
    let prometheus_port = reader.required("prometheus.port", values::port);
    let json = reader.required("logging.format", values::choice(&[("text", false), ("json", true)]));
    let level = reader.required("logging.level", level);
    let level = log_level.filter(|l| !l.trim().is_empty()).map_or(Ok(level.clone()), self::level).unwrap_or(level);
    Settings {
        control,
        kubernetes,
        accounts,
        zone,
        server: SocketAddr::new(host, port),
        prometheus: prometheus.then(|| SocketAddr::new(host, prometheus_port)),
        logging: Logging { json, level },
    }
}

fn control(reader: &mut Reader<'_>) -> Control {
    let ((host, port), _) = reader.required_located("clouddriver.grpc", host_and_port);
    let insecure = reader.required("clouddriver.insecure", values::boolean);
    let tls = tls(reader);
    if insecure && tls != (ControlTls { server_name: None, skip_verify: false, ca: None, identity: None }) {
        let at = reader.place_of("clouddriver.tls.");
        reader.warn(&at, "has no effect while clouddriver.insecure is true, which is the default: set it to false");
    }
    let token = reader.optional("clouddriver.auth.token", |text| {
        if text.chars().all(|c| c.is_ascii_graphic()) {
            Ok(text.into())
        } else {
            Err("holds what no token can: blanks or other than ASCII".into())
        }
    });
    if insecure && token.is_some() {
        let at = reader.place_of("clouddriver.auth.token");
        reader.warn(&at, "goes over a connection without TLS, where anybody on the way can read it: set clouddriver.insecure to false");
    }
    let seconds = values::number(0, 86_400);
    let keep_alive = reader.required("clouddriver.keepAliveHeartbeatSeconds", &seconds);
    let timeout = reader.required("clouddriver.keepAliveTimeOutSeconds", &seconds);
    let backoff = Backoff {
        base: reader.required("clouddriver.backoff.baseDelay", nanoseconds),
        multiplier: reader.required("clouddriver.backoff.multiplier", thousandths),
        most: reader.required("clouddriver.backoff.maxDelay", nanoseconds),
    };
    let (inner, outer) = (
        reader.required("clouddriver.dynamicAccountsEnabled", values::boolean),
        reader.required("dynamicAccountsEnabled", values::boolean),
    );
    Control {
        host,
        port,
        tls: (!insecure).then_some(tls),
        token,
        keep_alive: (keep_alive > 0).then(|| Duration::from_secs(keep_alive)),
        keep_alive_timeout: if timeout == 0 { KEEP_ALIVE_TIMEOUT } else { Duration::from_secs(timeout) },
        backoff,
        reconnect: Duration::from_millis(reader.required("kubernetes.reconnectTimeoutMs", values::number(0, 600_000))),
        no_proxy: reader.required("clouddriver.noProxy", values::boolean),
        dynamic_accounts: inner && outer,
    }
}

fn tls(reader: &mut Reader<'_>) -> ControlTls {
    let file = |reader: &mut Reader<'_>, name: &str| reader.optional(name, path);
    let ca = file(reader, "clouddriver.tls.cacertFile");
    let certificate = file(reader, "clouddriver.tls.clientCertFile");
    let key = file(reader, "clouddriver.tls.clientKeyFile");
    let identity = match (certificate, key) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        _ => {
            let at = reader.place_of("clouddriver.tls.client");
            reader.mistake(&at, "is one of clientCertFile and clientKeyFile, which are needed both");
            None
        }
    };
    let skip = reader.required_located("clouddriver.tls.insecureSkipVerify", values::boolean);
    if skip.0 {
        reader.warn(&skip.1, "lets anybody on the way pass for Fairlead");
    }
    let server_name = reader.optional("clouddriver.tls.serverName", |text| {
        rustls::pki_types::ServerName::try_from(text.to_owned())
            .map(|_| text.to_owned())
            .map_err(|_| "is no name that a certificate can have".to_owned())
    });
    ControlTls { server_name, skip_verify: skip.0, ca, identity }
}

fn kubernetes(reader: &mut Reader<'_>) -> Kubernetes {
    let ms = |reader: &mut Reader<'_>, name, least, most| Duration::from_millis(reader.required(name, values::number(least, most)));
    let connect_timeout = ms(reader, "kubernetes.connectTimeoutMs", 100, 300_000);
    let request_timeout = match reader.required("timeoutSeconds", values::number(0, 86_400)) {
        0 => connect_timeout,
        seconds => connect_timeout.min(Duration::from_secs(seconds)),
    };
    let retries = reader.required("kubernetes.retries.enabled", values::boolean);
    let most = reader.required("kubernetes.retries.maxRetries", values::number(0, 100));
    let at_once = reader.required("kubernetes.maxConcurrentConnects", values::number(1, 1_000));
    let flag = |reader: &mut Reader<'_>, name| reader.required(name, values::boolean);
    Kubernetes {
        connect_timeout,
        request_timeout,
        max_concurrent_connects: usize::try_from(at_once).unwrap_or(1),
        check_every: Duration::from_secs(reader.required("kubernetes.checkFrequencySeconds", values::number(1, 86_400))),
        retries: if retries { u32::try_from(most).unwrap_or(0) } else { 0 },
        retry_pause: ms(reader, "kubernetes.retries.backOffMs", 0, 600_000),
        no_proxy: flag(reader, "kubernetes.noProxy"),
        service_account: reader.required_path("kubernetes.serviceAccountPath", |_| Ok(())),
        allow: Allow {
            files: flag(reader, "kubernetes.allowFilePaths"),
            proxy_url: flag(reader, "kubernetes.allowProxyUrl"),
            metadata: flag(reader, "kubernetes.allowMetadataAddresses"),
        },
    }
}

/// `host:port`, `[::1]:port`; gRPC's `dns:///host:port` too.
fn host_and_port(text: &str) -> Result<(Arc<str>, u16), String> {
    let wrong = || "is not host:port, such as spin-clouddriver-grpc:9091".to_owned();
    let text = text.strip_prefix("dns:///").or_else(|| text.strip_prefix("passthrough:///")).unwrap_or(text);
    if text.contains("://") {
        return Err(format!("{}, without a scheme", wrong()));
    }
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    match port.parse() {
        Ok(port) if port != 0 && !host.is_empty() && host.len() <= 253 && host.chars().all(fits) => Ok((host.into(), port)),
        _ => Err(wrong()),
    }
}

/// `file:///path`, `file:/path` or a path.
fn path(text: &str) -> Result<PathBuf, String> {
    let text = text.strip_prefix("file://").or_else(|| text.strip_prefix("file:")).unwrap_or(text);
    if text.is_empty() { Err("is no path".into()) } else { values::text(4_096)(text).map(Into::into) }
}

/// Nanoseconds as the original counts them (`1000000000`, `1e9`), or with a unit (`1s`).
fn nanoseconds(text: &str) -> Result<Duration, String> {
    let (least, most) = (Duration::from_millis(1), Duration::from_secs(3_600));
    match text.parse::<f64>() {
        Ok(n) if n.is_finite() && n >= 0.0 => {
            let value = Duration::try_from_secs_f64(n / 1e9).unwrap_or(Duration::MAX);
            if (least..=most).contains(&value) { Ok(value) } else { Err("lies outside of 1ms to 1h (it counts nanoseconds)".into()) }
        }
        _ => values::duration(None, least, most)(text),
    }
}

fn thousandths(text: &str) -> Result<u32, String> {
    match text.parse::<f64>() {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(n) if (1.0..=100.0).contains(&n) => Ok((n * 1_000.0).round() as u32),
        _ => Err("is not a number from 1 to 100".into()),
    }
}

/// The original's levels in the words of ours.
fn level(text: &str) -> Result<String, String> {
    const LEVELS: &[(&str, &str)] = &[
        ("error", "error"),
        ("warn", "warn"),
        ("warning", "warn"),
        ("info", "info"),
        ("debug", "debug"),
        ("trace", "trace"),
        ("fatal", "error"),
        ("panic", "error"),
    ];
    values::choice(LEVELS)(text).map(str::to_owned)
}
