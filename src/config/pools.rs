//! `sql.connectionPools.*`: which pool is Fairlead's, and how Clouddriver's accounts are read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};

use super::layers::canonical_key;
use super::reader::{Given, Reader};
use super::remark::Remark;
use super::settings::{Database, PoolConfig, SourceConfig, Target};
use super::{jdbc, values};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Auto,
    Sql,
    Api,
}

/// A pool of the operator's that can be opened.
struct Pool {
    name: String,
    config: PoolConfig,
    identity: String,
}

/// Reads all that has to do with databases. `None` only where a mistake was noted.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Database> {
    let statement_timeout = reader.required("fairlead.sql.statementTimeout", values::duration(None, SECOND / 10, HOUR));
    let intent_connections = reader.required("fairlead.sql.intentPoolSize", values::number(1, 1_000));
    let (wanted, wanted_at) =
        reader.required_located("fairlead.source", values::choice(&[("auto", Wanted::Auto), ("sql", Wanted::Sql), ("api", Wanted::Api)]));
    let user = reader.optional("fairlead.api.user", |text| {
        let visible = text.len() <= 255 && text.bytes().all(|b| (b' '..=b'~').contains(&b));
        if visible { Ok(text.to_owned()) } else { Err("is sent as a header: at most 255 characters of visible ASCII".into()) }
    });
    let sqlite = reader.required_path("fairlead.sqlite.path", |text| {
        // Each connection would have a memory of its own.
        if text.contains(":memory:") {
            Err("is not a file: a database in memory cannot be shared by several connections".into())
        } else {
            Ok(())
        }
    });
    let (sql_enabled, enabled_at) = reader.required_located("sql.enabled", values::boolean);

    let names = reader.names_below("sql.connectionPools");
    if !sql_enabled && !names.is_empty() {
        reader.warn(&enabled_at, "is false: the pools below sql.connectionPools are not used, as in Clouddriver");
    }
    let names = if sql_enabled { names } else { Vec::new() };
    let before = reader.findings.mistakes.len();
    let chosen = choose(reader, &names);
    let main = chosen.as_ref().and_then(|(_, written)| pool(reader, written, statement_timeout));
    // `accounts` is a pool like any other where it is the chosen one.
    let accounts = names.iter().find(|(canonical, _)| canonical == "accounts" && chosen.as_ref().is_none_or(|(c, _)| c != canonical));
    let accounts = accounts.and_then(|(_, written)| pool(reader, written, statement_timeout));
    if reader.findings.mistakes.len() > before {
        return None;
    }

    let api = SourceConfig::Api { user };
    let source = match (wanted, &main, accounts) {
        (Wanted::Api, _, None) => api,
        (Wanted::Api, _, Some(_)) => {
            reader.warn(&wanted_at, "is api: the pool sql.connectionPools.accounts is not used");
            api
        }
        (_, Some(main), Some(accounts)) if accounts.identity == main.identity => SourceConfig::SameDatabase,
        (_, _, Some(accounts)) => SourceConfig::OtherDatabase(accounts.config),
        (_, Some(_), None) => SourceConfig::SameDatabase,
        (Wanted::Auto, None, None) => api,
        (Wanted::Sql, None, None) => {
            reader.mistake(&wanted_at, "is sql, but no pool is below sql.connectionPools: give one, or say api");
            return None;
        }
    };
    let connections = u32::try_from(intent_connections).unwrap_or(u32::MAX);
    Some(match main {
        Some(main) => {
            let label: Arc<str> = format!("sql.connectionPools.{} (intents)", main.name).into();
            let intents = PoolConfig { label, max_connections: connections, ..main.config.clone() };
            Database { main: main.config, intents, source }
        }
        None => {
            let config = |label: &str, max_connections| PoolConfig {
                label: label.into(),
                target: embedded(&sqlite),
                max_connections,
                acquire_timeout: statement_timeout,
                statement_timeout,
            };
            Database { main: config("fairlead.sqlite", 4), intents: config("fairlead.sqlite (intents)", 1), source }
        }
    })
}

fn embedded(path: &PathBuf) -> Target {
    // FULL: an intent that was written before a request left must be there after a loss of power too.
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    Target::Sqlite(Box::new(options))
}

/// The pool marked `default: true`, the one of that name, or the only one there is.
fn choose(reader: &mut Reader<'_>, names: &[(String, String)]) -> Option<(String, String)> {
    let mut marked: Vec<(usize, Given)> = Vec::new();
    for (i, (_, written)) in names.iter().enumerate() {
        let (is_default, at) = reader.required_located(&format!("sql.connectionPools.{written}.default"), values::boolean);
        if is_default {
            marked.push((i, at));
        }
    }
    if let Some((_, at)) = marked.get(1) {
        let at = at.clone();
        reader.mistake(&at, "a second pool is marked as the default: mark one");
    }
    if let Some((i, _)) = marked.first() {
        return names.get(*i).cloned();
    }
    if let Some(named) = names.iter().find(|(canonical, _)| canonical == "default") {
        return Some(named.clone());
    }
    let mut others = names.iter().filter(|(canonical, _)| canonical != "accounts");
    match (others.next(), others.next()) {
        (None, _) => None,
        (Some(only), None) => Some(only.clone()),
        (Some(_), Some(_)) => {
            let at = reader.place_of("sql.connectionPools.");
            reader.mistake(&at, "no pool is marked with default: true, and none is named default: mark one");
            None
        }
    }
}

fn pool(reader: &mut Reader<'_>, written: &str, statement_timeout: Duration) -> Option<Pool> {
    let label = format!("sql.connectionPools.{written}");
    let user = reader.optional(&format!("{label}.user"), values::text(255));
    // Taken as it stands: a password may begin or end with a blank.
    let password_key = format!("{label}.password");
    let password = reader.given(&password_key);
    let _ = reader.optional(&password_key, |_| Ok(()));
    if let Some(at) = &password
        && at.text.ends_with('\n')
    {
        reader.warn(at, "ends with a line break, which is sent as part of it");
    }
    for name in [format!("{label}.user"), password_key] {
        if reader.is_read_otherwise(&name)
            && let Some(at) = reader.given(&name)
        {
            reader.warn(&at, "stands without quotes, and Clouddriver's YAML reader makes another text of it: put it in quotes");
        }
    }
    let max_connections = reader.required(&format!("{label}.maxPoolSize"), values::number(1, 10_000));
    let acquire_timeout =
        reader.required(&format!("{label}.connectionTimeoutMs"), values::duration(Some(Duration::from_millis(1)), SECOND / 10, HOUR));
    let url_key = format!("{label}.jdbcUrl");
    let Some((url, at)) = reader.located(&url_key, jdbc::parse) else {
        if reader.given(&url_key).is_none() {
            let at = Given { written: url_key, ..reader.place_of(&format!("{label}.")) };
            let same = |m: &Remark| canonical_key(&m.key) == canonical_key(&at.written);
            if !reader.findings.mistakes.iter().any(same) {
                reader.mistake(&at, "is missing: a pool needs it, such as jdbc:mysql://host:3306/database");
            }
        }
        return None;
    };
    if url.has_password() {
        reader.warn(&at, "holds a password: better in sql.connectionPools.….password, or in an environment variable");
    }
    if let (Some(own), Some(of_url)) = (user.as_deref(), url.user())
        && own != of_url
    {
        reader.warn(&at, "names another user than the pool's own key user, which counts");
    }
    let opened = match url.open(user.as_deref(), password.as_ref().map(|p| p.text.as_str())) {
        Ok(opened) => opened,
        Err(text) => {
            reader.mistake(&at, text);
            return None;
        }
    };
    for text in opened.warnings {
        reader.warn(&at, text);
    }
    for text in opened.notes {
        reader.note(&at, text);
    }
    reader.show_instead(&url_key, opened.shown);
    let max_connections = u32::try_from(max_connections).unwrap_or(u32::MAX);
    let config = PoolConfig { label: label.into(), target: opened.target, max_connections, acquire_timeout, statement_timeout };
    Some(Pool { name: written.to_owned(), config, identity: opened.identity })
}
