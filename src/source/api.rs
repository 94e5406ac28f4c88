//! Clouddriver's own API, where its database is out of reach.
//!
//! The list of definitions leaves out what Clouddriver cannot resolve, so that absence in it proves nothing; the history of
//! a name says whether its last change was a deletion, and when this life began. A name is [`Reading::Present`] or
//! [`Reading::Absent`] only where list and history agree, and [`Reading::Unknown`] otherwise. [`super::judge`] holds
//! these rules; here are the questions.
//!
//! What Clouddriver answers is decrypted: a definition read here is never compared with one read by SQL.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use serde_json::Value;

use super::http::{AT_ONCE, Client};
use super::judge::{Entry, History, Listed, NO_ANSWER, judge, may_be_one};
use super::{Error, Page, Poison, Reading, SourceInfo, SourceRow};
use crate::account::Incarnation;
use crate::config::Clouddriver;
use crate::tls::upstream::Connector;

/// How often list and history are asked while they disagree.
const ATTEMPTS: usize = 4;
/// Where a page stops to look behind rows that Clouddriver leaves out: the limit is multiplied up to this one.
const WIDEST: u32 = 25_600;
const WIDEN: u32 = 4;

/// Where Clouddriver is, and as whom it is asked.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Host name or address.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// TLS; `None`: plain.
    pub tls: Option<Connector>,
    /// Prefix of every path; empty, or `/prefix`.
    pub context_path: Arc<str>,
    /// Sent as `X-SPINNAKER-USER`; with Fiat it has to be an account manager.
    pub user: Option<String>,
}

impl ApiConfig {
    /// From the settings; `tls` is made from [`Clouddriver::tls`].
    pub fn new(clouddriver: &Clouddriver, user: Option<String>, tls: Option<Connector>) -> Self {
        Self { host: clouddriver.host.clone(), port: clouddriver.port, tls, context_path: clouddriver.context_path.clone(), user }
    }
}

/// Clouddriver's API. Clones share their connections.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    context_path: Arc<str>,
}

impl Api {
    /// Opens no connection yet.
    pub fn new(config: ApiConfig) -> Self {
        Self { client: Client::new(config.host, config.port, config.tls, config.user.as_deref()), context_path: config.context_path }
    }

    pub(super) async fn read(&self, name: &str) -> Result<Reading, Error> {
        if !askable(name) {
            return Ok(Reading::Unknown("Clouddriver's server takes no path with this name, so its history cannot be asked for".into()));
        }
        let mut before = None;
        for _ in 0..ATTEMPTS {
            let listed = self.list(Some(name), 1).await?.into_iter().next().map_or(Listed::Nothing, Listed::Row);
            let history = match self.history(name).await? {
                Ok(history) => history,
                // A deleted account's history stays unreadable when an old secret of it is; the list alone may still prove it gone.
                Err(_) if matches!(&listed, Listed::Row(row) if !may_be_one(&row.name, name)) => return Ok(Reading::Absent),
                Err(reason) => return Ok(Reading::Unknown(reason)),
            };
            // A neighbour that may be the same name by another spelling has to show a living history of its own.
            let neighbour = match &listed {
                Listed::Row(row) if row.name != name && !history.is_alive() && may_be_one(&row.name, name) => {
                    self.history(&row.name).await?.map(|h| h.is_alive()).unwrap_or(false)
                }
                _ => true,
            };
            let steady = before.as_ref() == Some(&history);
            if let Some(reading) = judge(name, &listed, &history, neighbour, steady) {
                return Ok(reading);
            }
            before = Some(history);
        }
        Ok(Reading::Unknown(NO_ANSWER.into()))
    }

    /// Clouddriver has no question for several names, so some are asked for at a time.
    pub(super) async fn read_all(&self, names: &[&str]) -> Result<Vec<Option<Reading>>, Error> {
        let mut all = Vec::with_capacity(names.len());
        for some in names.chunks(AT_ONCE) {
            let asked: Vec<_> = some.iter().map(|name| self.read(name)).collect();
            all.extend(futures_util::future::try_join_all(asked).await?.into_iter().map(Some));
        }
        Ok(all)
    }

    pub(super) async fn page(&self, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        let mut limit = limit.clamp(1, WIDEST - 1) + 1; // the first row shown is `after` itself
        let listed = loop {
            let mut rows = self.list(after, limit).await?;
            rows.retain(|r| Some(r.name.as_str()) != after);
            if !rows.is_empty() || limit >= WIDEST {
                break rows;
            }
            // A page with nothing new is the end only if no larger one brings anything: rows are dropped after the limit.
            limit = limit.saturating_mul(WIDEN).min(WIDEST);
        };
        let (next, raw_count) = (listed.last().map(|r| r.name.clone()), listed.len());
        let seen: Vec<Result<Option<SourceRow>, Poison>> =
            futures_util::stream::iter(listed).map(|entry| self.with_history(entry)).buffered(AT_ONCE).try_collect().await?;
        let mut page = Page { next, raw_count, ..Page::default() };
        for row in seen {
            match row {
                Ok(row) => page.rows.extend(row),
                Err(poison) => page.poison.push(poison),
            }
        }
        Ok(page)
    }

    /// The row as its history has it now, which is as new as the list or newer; `None` where it is gone by now.
    async fn with_history(&self, entry: Entry) -> Result<Result<Option<SourceRow>, Poison>, Error> {
        let poison = |reason: &str| Poison { id: entry.name.clone(), reason: reason.to_owned() };
        if !askable(&entry.name) {
            return Ok(Err(poison("Clouddriver's server takes no path with this name")));
        }
        Ok(match self.history(&entry.name).await? {
            Ok(history) => match (history.newest(), history.incarnation()) {
                (Some(newest), Some(born)) => Ok(Some(newest.row(Incarnation(born), history.changed()))),
                _ if history.is_empty() => Err(poison("it has no history, so that its life has no name")),
                _ => Ok(None),
            },
            Err(reason) => Err(poison(&reason)),
        })
    }

    pub(super) async fn check(&self) -> Result<SourceInfo, Error> {
        self.list(None, 1).await?;
        Ok(SourceInfo { mode: "api", place: self.client.hop().to_owned(), server: String::new() })
    }

    fn failed(&self, reason: impl Into<String>) -> Error {
        Error::Api { hop: self.client.hop().to_owned(), reason: reason.into() }
    }

    async fn list(&self, start: Option<&str>, limit: u32) -> Result<Vec<Entry>, Error> {
        let start = start.map(|s| format!("&startingAccountName={}", encode(s))).unwrap_or_default();
        let path = format!("{}/credentials/type/kubernetes?limit={limit}{start}", self.context_path);
        let answer = self.client.get(&path).await.map_err(|e| self.failed(e))?;
        if answer.status != StatusCode::OK {
            return Err(self.failed(match answer.status.as_u16() {
                400 => "400 for the list of definitions: is account storage on there (account.storage.enabled, sql.enabled)?".to_owned(),
                401 | 403 => {
                    format!("{} for the list of definitions: fairlead.api.user has to be an account manager", answer.status.as_u16())
                }
                404 => "404 for the list of definitions: Clouddriver before 1.28, or another clouddriver.contextPath".to_owned(),
                other => format!("{other} for the list of definitions"),
            }));
        }
        let entries: Vec<Value> =
            serde_json::from_slice(&answer.body).map_err(|e| self.failed(format!("a list that is no JSON array: {}", place(&e))))?;
        entries.into_iter().map(|e| Entry::read(e).ok_or_else(|| self.failed("a definition with no name in the list"))).collect()
    }

    /// The inner error is about this name alone.
    async fn history(&self, name: &str) -> Result<Result<History, String>, Error> {
        let path = format!("{}/credentials/{}/history", self.context_path, encode(name));
        let answer = match self.client.get(&path).await {
            Ok(answer) => answer,
            Err(reason) => return Err(self.failed(reason)),
        };
        if answer.status != StatusCode::OK {
            return Ok(Err(format!("{} for the history of the account", answer.status.as_u16())));
        }
        Ok(match serde_json::from_slice::<Vec<Value>>(&answer.body) {
            Ok(entries) => History::read(entries).ok_or_else(|| "a history in a shape that is not known".to_owned()),
            Err(e) => Err(format!("a history that is no JSON array: {}", place(&e))),
        })
    }
}

/// Where a document is wrong; serde's own words could quote it.
fn place(e: &serde_json::Error) -> String {
    format!("line {}, column {}", e.line(), e.column())
}

/// Whether the name can be one segment of a path that Clouddriver's server lets in, whatever its generation.
fn askable(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.chars().any(|c| matches!(c, '/' | '\\' | ';' | '%') || c.is_control())
}

/// Percent-encodes everything but what no part of a URL gives a meaning.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                for half in [byte >> 4, byte & 15] {
                    out.push(char::from_digit(u32::from(half), 16).unwrap_or('0').to_ascii_uppercase());
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_with_a_meaning_is_encoded() {
        assert_eq!(encode("a-b_c.d~9"), "a-b_c.d~9");
        assert_eq!(encode("a b+c&d=ü/😀"), "a%20b%2Bc%26d%3D%C3%BC%2F%F0%9F%98%80");
    }

    #[test]
    fn names_that_a_firewall_refuses_are_not_asked_for() {
        for name in ["", ".", "..", "a/b", "a\\b", "a;b", "a%b", "a\nb", "a\0b"] {
            assert!(!askable(name), "{name:?}");
        }
        for name in ["a", "a b", "a.b", "...", "ü", "a+b"] {
            assert!(askable(name), "{name:?}");
        }
    }
}
