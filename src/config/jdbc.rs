//! JDBC URLs as Clouddriver's drivers read them, turned into options of ours.
//!
//! What a parameter means is taken over where it has a meaning here (TLS, schema); the rest is passed over with the
//! reason. Nothing that this module says repeats a value: URLs hold passwords.

use std::path::Path;

use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::Url;

use super::settings::Target;

/// A JDBC URL taken apart.
#[derive(Clone)]
pub(super) struct Jdbc {
    driver: Driver,
    host: String,
    port: u16,
    database: String,
    user: Option<String>,
    password: Option<String>,
    parameters: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Driver {
    MySql,
    MariaDb,
    Postgres,
}

/// A pool's target, how to show it, and what was passed over.
pub(super) struct Opened {
    pub(super) target: Target,
    /// Driver, host, port, database, TLS: no user, no password.
    pub(super) shown: String,
    /// Two pools with the same identity are the same database and user.
    pub(super) identity: String,
    pub(super) warnings: Vec<String>,
    pub(super) notes: Vec<String>,
}

/// Reads a URL.
///
/// # Errors
/// Why it cannot be used, and what would be right.
pub(super) fn parse(text: &str) -> Result<Jdbc, String> {
    let rest = text.strip_prefix("jdbc:").ok_or("is not a JDBC URL: write it as jdbc:mysql://host:3306/database")?;
    let scheme = rest.split("//").next().unwrap_or_default();
    let driver = match scheme {
        "mysql:" => Driver::MySql,
        "mariadb:" => Driver::MariaDb,
        "postgresql:" => Driver::Postgres,
        "mysql:loadbalance:"
        | "mysql:replication:"
        | "mysql+srv:"
        | "mysql:aurora:"
        | "mariadb:sequential:"
        | "mariadb:loadbalance:"
        | "mariadb:replication:"
        | "mariadb:aurora:" => {
            return Err("spreads over several servers, and what a replica shows may be old: name the primary alone".into());
        }
        _ => return Err("names a driver that is not one of jdbc:mysql, jdbc:mariadb, jdbc:postgresql".into()),
    };
    let after = rest.get(scheme.len() + 2..).ok_or("has no // after its driver: write it as jdbc:mysql://host:3306/database")?;
    let authority = after.split(['/', '?']).next().unwrap_or_default();
    if authority.contains(['(', ')']) {
        return Err("uses the address=(…) form: write it as jdbc:mysql://host:3306/database".into());
    }
    if authority.rsplit('@').next().is_some_and(|hosts| hosts.contains(',')) {
        return Err("names several hosts, and what a replica shows may be old: name the primary alone".into());
    }
    // Without a host both drivers mean this machine; the URL parser wants one.
    let filled;
    let after = if authority.is_empty() {
        filled = format!("localhost{after}");
        &filled
    } else {
        after
    };
    let url =
        Url::parse(&format!("db://{after}")).map_err(|e| format!("cannot be read ({e}): write it as jdbc:mysql://host:3306/database"))?;
    if url.fragment().is_some() {
        return Err("holds a #, which ends a URL: write it as %23".into());
    }
    let decode = |text: &str| {
        url::form_urlencoded::parse(text.replace('+', "%2B").replace('&', "%26").replace('=', "%3D").as_bytes())
            .next()
            .map(|(name, _)| name.into_owned())
            .unwrap_or_default()
    };
    let host = url.host_str().unwrap_or_default();
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let host = decode(host);
    let database = decode(url.path().trim_start_matches('/'));
    if host.is_empty() || host.starts_with('/') {
        return Err("names no host: write it as jdbc:mysql://host:3306/database".into());
    }
    if database.is_empty() || database.contains(['/', '\0']) {
        return Err("names no database after the host: write it as jdbc:mysql://host:3306/database".into());
    }
    let port = url.port().unwrap_or(if driver == Driver::Postgres { 5432 } else { 3306 });
    if port == 0 {
        return Err("has port 0: write it as jdbc:mysql://host:3306/database".into());
    }
    let mut jdbc = Jdbc {
        driver,
        host,
        port,
        database,
        user: Some(decode(url.username())).filter(|u| !u.is_empty()),
        password: url.password().map(decode),
        parameters: Vec::new(),
    };
    for (name, value) in url.query_pairs() {
        match &*name {
            "user" => jdbc.user = Some(value.into_owned()),
            "password" => jdbc.password = Some(value.into_owned()),
            _ => jdbc.parameters.push((name.into_owned(), value.into_owned())),
        }
    }
    Ok(jdbc)
}

/// Parameters with no meaning here that change nothing of what Fairlead relies on.
const HARMLESS: [(&str, &str); 31] = [
    ("useUnicode", "text is always UTF-8"),
    ("characterEncoding", "text is always UTF-8"),
    ("connectionCollation", "names are compared with the collation of the column"),
    ("serverTimezone", "times are numbers"),
    ("connectionTimeZone", "times are numbers"),
    ("useTimezone", "times are numbers"),
    ("useLegacyDatetimeCode", "times are numbers"),
    ("zeroDateTimeBehavior", "times are numbers"),
    ("tinyInt1isBit", "no such column is read"),
    ("connectTimeout", "the pool's connectionTimeoutMs counts"),
    ("loginTimeout", "the pool's connectionTimeoutMs counts"),
    ("socketTimeout", "fairlead.sql.statementTimeout counts"),
    ("tcpKeepAlive", "idle connections are closed by the pool"),
    ("tcpNoDelay", "it is always so"),
    ("autoReconnect", "the pool does it"),
    ("maxReconnects", "the pool does it"),
    ("rewriteBatchedStatements", "nothing is batched"),
    ("reWriteBatchedInserts", "nothing is batched"),
    ("cachePrepStmts", "statements are always cached"),
    ("prepStmtCacheSize", "statements are always cached"),
    ("prepStmtCacheSqlLimit", "statements are always cached"),
    ("useServerPrepStmts", "statements are always prepared on the server"),
    ("useLocalSessionState", "it is the Java driver's"),
    ("cacheServerConfiguration", "it is the Java driver's"),
    ("elideSetAutoCommits", "it is the Java driver's"),
    ("maintainTimeStats", "it is the Java driver's"),
    ("allowPublicKeyRetrieval", "a password is only sent over TLS or as the server's method asks"),
    ("nullCatalogMeansCurrent", "it is the Java driver's"),
    ("stringtype", "values carry their type"),
    ("defaultRowFetchSize", "pages have a size of their own"),
    ("targetServerType", "a server that is read-only is always refused"),
];

/// Parameters that name a way to connect which only the Java driver knows.
const IMPOSSIBLE: [&str; 9] = [
    "socketFactory",
    "sslfactory",
    "socketFactoryArg",
    "wrapperPlugins",
    "clientCertificateKeyStoreUrl",
    "keyStore",
    "gsslib",
    "credentialType",
    "cloudSqlInstance",
];

impl Jdbc {
    /// The user in the URL itself.
    pub(super) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Whether the URL itself holds a password.
    pub(super) fn has_password(&self) -> bool {
        self.password.is_some()
    }

    /// The options. The pool's own `user` and `password` win over those of the URL, as in Clouddriver.
    ///
    /// # Errors
    /// Why it cannot be connected this way.
    pub(super) fn open(self, user: Option<&str>, password: Option<&str>) -> Result<Opened, String> {
        let mut said = Said::default();
        let user = user.or(self.user.as_deref()).map(str::to_owned);
        let password = password.or(self.password.as_deref()).map(str::to_owned);
        let Some(user) = user else { return Err("has no user, and the pool has none either: give sql.connectionPools.….user".into()) };
        let mut parameters = Parameters { all: &self.parameters, used: vec![false; self.parameters.len()] };
        let (target, tls) = match self.driver {
            Driver::Postgres => self.postgres(&user, password.as_deref(), &mut parameters)?,
            Driver::MySql | Driver::MariaDb => self.mysql(&user, password.as_deref(), &mut parameters)?,
        };
        parameters.rest(&mut said)?;
        let (name, kind) = match self.driver {
            Driver::MySql => ("mysql", "mysql"),
            Driver::MariaDb => ("mariadb", "mysql"),
            Driver::Postgres => ("postgresql", "postgresql"),
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let place = format!("{host}:{}/{}", self.port, self.database);
        let schema = self.parameters.iter().rfind(|(n, _)| n == "currentSchema").map_or("", |(_, v)| v.as_str());
        let identity = format!("{kind}://{user}@{}:{}/{}#{schema}", self.host.to_lowercase(), self.port, self.database);
        Ok(Opened { target, shown: format!("jdbc:{name}://{place} (TLS: {tls})"), identity, warnings: said.warnings, notes: said.notes })
    }

    fn mysql(&self, user: &str, password: Option<&str>, parameters: &mut Parameters<'_>) -> Result<(Target, &'static str), String> {
        let mariadb = self.driver == Driver::MariaDb;
        let flag = |value: Option<String>| value.map(|v| matches!(v.to_ascii_lowercase().as_str(), "true" | "yes" | "1" | ""));
        let named = parameters.take(&["sslMode", "ssl-mode"]);
        let ssl = flag(parameters.take(&["useSSL", "useSsl"]));
        let require = flag(parameters.take(&["requireSSL"])).unwrap_or(false);
        let verify = flag(parameters.take(&["verifyServerCertificate"]));
        let trust = flag(parameters.take(&["trustServerCertificate"])).unwrap_or(false);
        let no_host = flag(parameters.take(&["disableSslHostnameVerification"])).unwrap_or(false);
        let mode = match named.map(|m| m.to_ascii_uppercase().replace('_', "-")).as_deref() {
            Some("DISABLED" | "DISABLE") => MySqlSslMode::Disabled,
            Some("PREFERRED") => MySqlSslMode::Preferred,
            Some("REQUIRED" | "TRUST") => MySqlSslMode::Required,
            Some("VERIFY-CA") => MySqlSslMode::VerifyCa,
            Some("VERIFY-IDENTITY" | "VERIFY-FULL") => MySqlSslMode::VerifyIdentity,
            Some(_) => {
                return Err("has an sslMode that is none of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY".into());
            }
            None => match (ssl, mariadb) {
                (Some(false), _) | (None, true) => MySqlSslMode::Disabled,
                (Some(true), true) if trust => MySqlSslMode::Required,
                (Some(true), true) if no_host => MySqlSslMode::VerifyCa,
                (Some(true), true) => MySqlSslMode::VerifyIdentity,
                (Some(true), false) if verify == Some(true) => MySqlSslMode::VerifyCa,
                (_, false) if require => MySqlSslMode::Required,
                (_, false) => MySqlSslMode::Preferred,
            },
        };
        let verifying = matches!(mode, MySqlSslMode::VerifyCa | MySqlSslMode::VerifyIdentity);
        let store = parameters.take(&["trustCertificateKeyStoreUrl", "trustStore"]);
        parameters.take(&["trustCertificateKeyStorePassword", "trustStorePassword"]);
        parameters.take(&["trustCertificateKeyStoreType", "trustStoreType"]);
        let ca = parameters.take(&["serverSslCert"]);
        if verifying && store.is_some() && ca.is_none() {
            return Err("trusts what a Java key store holds, which cannot be read: add serverSslCert=/path/to/ca.pem".into());
        }
        let mut options =
            MySqlConnectOptions::new().host(&self.host).port(self.port).username(user).database(&self.database).ssl_mode(mode);
        if let Some(password) = password {
            options = options.password(password);
        }
        if let Some(ca) = ca {
            options = options.ssl_ca(file_path(&ca));
        }
        let shown = match mode {
            MySqlSslMode::Disabled => "off",
            MySqlSslMode::Preferred => "if the server offers it",
            MySqlSslMode::Required => "on, server not verified",
            MySqlSslMode::VerifyCa => "on, CA verified",
            MySqlSslMode::VerifyIdentity => "on, CA and name verified",
        };
        Ok((Target::MySql(Box::new(options)), shown))
    }

    fn postgres(&self, user: &str, password: Option<&str>, parameters: &mut Parameters<'_>) -> Result<(Target, &'static str), String> {
        let ssl = parameters.take(&["ssl"]).map(|v| !v.eq_ignore_ascii_case("false"));
        let blind = parameters.all.iter().position(|(n, v)| n == "sslfactory" && v.ends_with(".NonValidatingFactory"));
        let mode = match (parameters.take(&["sslmode", "sslMode"]).as_deref(), ssl) {
            (Some("disable"), _) | (None, Some(false)) => PgSslMode::Disable,
            (Some("allow"), _) => PgSslMode::Allow,
            (Some("prefer"), _) | (None, None) => PgSslMode::Prefer,
            (Some("require"), _) => PgSslMode::Require,
            (None, Some(true)) if blind.is_some() => PgSslMode::Require,
            (Some("verify-ca"), _) => PgSslMode::VerifyCa,
            (Some("verify-full"), _) | (None, Some(true)) => PgSslMode::VerifyFull,
            (Some(_), _) => return Err("has an sslmode that is none of disable, allow, prefer, require, verify-ca, verify-full".into()),
        };
        if let Some(used) = blind.and_then(|i| parameters.used.get_mut(i)) {
            *used = true;
        }
        // Everything is set, so that no variable of PostgreSQL's own tools has a say.
        let mut options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(user)
            .password(password.unwrap_or_default())
            .database(&self.database)
            .application_name(parameters.take(&["ApplicationName"]).as_deref().unwrap_or("fairlead"))
            .ssl_mode(mode);
        if let Some(ca) = parameters.take(&["sslrootcert"]) {
            options = options.ssl_root_cert(file_path(&ca));
        }
        match (parameters.take(&["sslcert"]), parameters.take(&["sslkey"])) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                let ends = Path::new(&key).extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase();
                if matches!(ends.as_str(), "pk8" | "p12" | "pfx" | "der") {
                    return Err("has a client key in the Java driver's format: give sslkey as a PEM file".into());
                }
                options = options.ssl_client_cert(file_path(&cert)).ssl_client_key(file_path(&key));
            }
            _ => return Err("has only one of sslcert and sslkey: give both".into()),
        }
        if let Some(schema) = parameters.take(&["currentSchema"]) {
            options = options.options([("search_path", schema)]);
        }
        let shown = match mode {
            PgSslMode::Disable => "off",
            PgSslMode::Allow => "if the server insists",
            PgSslMode::Prefer => "if the server offers it",
            PgSslMode::Require => "on, server not verified",
            PgSslMode::VerifyCa => "on, CA verified",
            PgSslMode::VerifyFull => "on, CA and name verified",
        };
        Ok((Target::Postgres(Box::new(options)), shown))
    }
}

#[derive(Default)]
struct Said {
    warnings: Vec<String>,
    notes: Vec<String>,
}

struct Parameters<'a> {
    all: &'a [(String, String)],
    used: Vec<bool>,
}

impl Parameters<'_> {
    /// The last value by any of these names.
    fn take(&mut self, names: &[&str]) -> Option<String> {
        let mut found = None;
        for ((name, value), used) in self.all.iter().zip(&mut self.used) {
            if names.contains(&name.as_str()) {
                *used = true;
                found = Some(value.clone());
            }
        }
        found
    }

    fn rest(&self, said: &mut Said) -> Result<(), String> {
        for ((name, value), used) in self.all.iter().zip(&self.used) {
            if *used {
                continue;
            }
            let shown: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || "-_.".contains(*c)).take(40).collect();
            if IMPOSSIBLE.iter().any(|i| i.eq_ignore_ascii_case(name)) {
                return Err(format!(
                    "has the parameter {shown}, a way to connect that only the Java driver knows: name host and port of the server or of its \
                     proxy, and PEM files for TLS"
                ));
            }
            if name == "prepareThreshold" && value == "0" {
                let why = "prepareThreshold=0 is what a pooler in transaction mode needs; statements are always prepared here, so name the server";
                said.warnings.push(why.into());
            } else if let Some((_, why)) = HARMLESS.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
                said.notes.push(format!("its parameter {shown} is passed over: {why}"));
            } else {
                said.warnings.push(format!("its parameter {shown} is passed over: nothing here has its meaning"));
            }
        }
        Ok(())
    }
}

/// `file:/x`, `file:///x` and `/x` are the same file.
fn file_path(text: &str) -> &Path {
    let text = text.strip_prefix("file:").unwrap_or(text);
    Path::new(text.strip_prefix("//").unwrap_or(text))
}
