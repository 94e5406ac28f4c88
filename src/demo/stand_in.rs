//! The stand-in's server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::accounts::{Accounts, Live, Names, Row};
use super::answers::{self, Http};
use super::definition::{self, Bad, Definition};
use super::faults::{Answer, Call, Fault, Faults};
use super::serve::serve;
use crate::mirror::Method;
use crate::store::db::{self, Db};

/// Largest body of a request: what Clouddriver's database takes in one packet by default.
const MAX_BODY: usize = 16 * 1024 * 1024;

/// How a stand-in is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens (`127.0.0.1:0`).
    pub listen: SocketAddr,
    /// Prefix of every path, as `/clouddriver` (none).
    pub context_path: String,
    /// When accounts go live (at once).
    pub live: Live,
    /// Which names are one (byte by byte).
    pub names: Names,
    /// Rows go to the table `accounts` of this database ([`super::create_accounts_table`]) and not to memory. The history stays
    /// in memory.
    pub table: Option<Db>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            context_path: String::new(),
            live: Live::AtOnce,
            names: Names::ByteWise,
            table: None,
        }
    }
}

/// A running stand-in; clones are the same one. It ends, connections included, when the last clone is dropped.
#[derive(Clone)]
pub struct StandIn {
    shared: Arc<Shared>,
    address: SocketAddr,
    _end: Arc<DropGuard>,
}

struct Shared {
    accounts: Accounts,
    faults: Faults,
    context_path: String,
    end: CancellationToken,
}

/// The connection is to be closed with no answer.
#[derive(Debug, thiserror::Error)]
#[error("closed on command")]
struct Closed;

impl StandIn {
    /// Binds and serves on the runtime of the caller.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn start(options: Options) -> io::Result<Self> {
        let listener = TcpListener::bind(options.listen).await?;
        let address = listener.local_addr()?;
        let end = CancellationToken::new();
        let shared = Arc::new(Shared {
            accounts: Accounts::new(options.live, options.names, options.table),
            faults: Faults::default(),
            context_path: options.context_path,
            end: end.clone(),
        });
        tracing::info!(%address, "{}", super::NOTICE);
        let answering = shared.clone();
        tokio::spawn(serve(listener, end.clone(), move |request| heard(answering.clone(), request)));
        Ok(Self { shared, address, _end: Arc::new(end.drop_guard()) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Faults {
        &self.shared.faults
    }

    /// Everything that is stored, in the order of names.
    ///
    /// # Errors
    /// The table's database.
    pub async fn rows(&self) -> db::Result<Vec<Row>> {
        self.shared.accounts.all().await
    }

    /// Another client's write that passed no proxy: creates or updates.
    ///
    /// # Errors
    /// The table's database. A definition that Clouddriver would refuse is not stored either.
    pub async fn upsert(&self, definition: &Value) -> db::Result<()> {
        if let Ok(d) = definition::parse(definition.to_string().as_bytes()) {
            let stamp = self.shared.accounts.now();
            self.shared.accounts.upsert(&d, stamp).await?;
        }
        Ok(())
    }

    /// Another client's deletion that passed no proxy; `false` when there was nothing to delete.
    ///
    /// # Errors
    /// The table's database.
    pub async fn remove(&self, name: &str) -> db::Result<bool> {
        let stamp = self.shared.accounts.now();
        self.shared.accounts.delete(name, stamp).await
    }

    /// Makes everything stored live, and nothing else.
    ///
    /// # Errors
    /// The table's database.
    pub async fn poll(&self) -> db::Result<()> {
        self.shared.accounts.poll().await
    }

    /// The account's secret cannot be resolved from now on (or can again): it leaves the lists, and its history is a 500.
    pub fn set_unresolvable(&self, name: &str, yes: bool) {
        self.shared.accounts.set_unresolvable(name, yes);
    }

    /// Ends it now.
    pub fn stop(&self) {
        self.shared.end.cancel();
    }
}

async fn heard(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Http, Closed> {
    shared.faults.heard().await;
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else { return Ok(answers::empty(StatusCode::PAYLOAD_TOO_LARGE)) };
    let body = body.to_bytes();
    // A client that leaves does not undo what it asked for.
    tokio::spawn(async move { shared.answer(&head, body).await }).await.unwrap_or(Err(Closed))
}

/// One account change, read.
struct Job {
    method: Method,
    /// From the path.
    name: Option<String>,
    /// `None` for a deletion.
    definition: Option<Result<Definition, Bad>>,
    stamp: i64,
}

/// What a path means.
enum Route {
    Root,
    Health,
    Live,
    LiveOne(String),
    List(String),
    History(String),
    Change(Method, Option<String>),
    NotAllowed,
    Unknown,
}

impl Shared {
    fn route(&self, head: &http::request::Parts) -> Route {
        let path = head.uri.path();
        let Some(path) = path.strip_prefix(self.context_path.as_str()) else { return Route::Unknown };
        let path = if path.len() > 1 { path.strip_suffix('/').unwrap_or(path) } else { path };
        let parts: Option<Vec<String>> = path.split('/').skip(1).map(decode).collect();
        let Some(parts) = parts else { return Route::Unknown };
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match (head.method.as_str(), parts.as_slice()) {
            ("GET" | "HEAD", [""]) => Route::Root,
            ("GET" | "HEAD", ["health"]) => Route::Health,
            ("GET" | "HEAD", ["credentials"]) => Route::Live,
            ("POST", ["credentials"]) => Route::Change(Method::Post, None),
            ("PUT", ["credentials"]) => Route::Change(Method::Put, None),
            ("PUT", ["credentials", name]) => Route::Change(Method::PutNamed, Some((*name).to_owned())),
            ("DELETE", ["credentials", name]) => Route::Change(Method::Delete, Some((*name).to_owned())),
            ("GET" | "HEAD", ["credentials", "type", kind]) => Route::List((*kind).to_owned()),
            ("GET" | "HEAD", ["credentials", name, "history"]) => Route::History((*name).to_owned()),
            ("GET" | "HEAD", ["credentials", name]) => Route::LiveOne((*name).to_owned()),
            (_, ["credentials", ..]) => Route::NotAllowed,
            _ => Route::Unknown,
        }
    }

    async fn answer(self: &Arc<Self>, head: &http::request::Parts, body: Bytes) -> Result<Http, Closed> {
        let read = match self.route(head) {
            Route::Change(method, name) => return self.change(method, name, head, &body).await,
            Route::Root => Ok(answers::ok(json!({"notice": super::NOTICE}).to_string())),
            Route::Health => Ok(answers::ok(json!({"status": "UP", "notice": super::NOTICE}).to_string())),
            Route::Live => self.live().await,
            Route::LiveOne(name) => self.live_one(&name).await,
            Route::List(kind) => self.list(&kind, head.uri.query().unwrap_or_default()).await,
            Route::History(name) => Ok(match self.accounts.history(&name) {
                Some(revisions) => answers::history(&revisions),
                None => answers::failed("com.netflix.spinnaker.kork.secrets.SecretException"),
            }),
            Route::NotAllowed => Ok(answers::empty(StatusCode::METHOD_NOT_ALLOWED)),
            Route::Unknown => Ok(answers::empty(StatusCode::NOT_FOUND)),
        };
        Ok(read.unwrap_or_else(|_| database_failed()))
    }

    async fn live(&self) -> db::Result<Http> {
        let mut accounts = Vec::new();
        for row in self.accounts.all().await? {
            if self.accounts.is_live(&row.id).await? {
                accounts.push(live_view(&row));
            }
        }
        Ok(answers::ok(Value::Array(accounts).to_string()))
    }

    async fn live_one(&self, name: &str) -> db::Result<Http> {
        Ok(match self.accounts.find(name).await? {
            Some(row) if self.accounts.is_live(name).await? => answers::ok(live_view(&row).to_string()),
            _ => answers::error(
                StatusCode::NOT_FOUND,
                "com.netflix.spinnaker.kork.web.exceptions.NotFoundException",
                &format!("Account does not exist (name: {name})"),
            ),
        })
    }

    async fn list(&self, kind: &str, query: &str) -> db::Result<Http> {
        let (mut start, mut limit) = (None, 100);
        for (key, value) in query.split('&').filter_map(|p| p.split_once('=')) {
            match key {
                "startingAccountName" => start = decode(&value.replace('+', "%20")),
                "limit" => limit = value.parse().unwrap_or(100),
                _ => {}
            }
        }
        let rows = self.accounts.list(kind, start.as_deref(), limit).await?;
        let bodies: Vec<&str> = rows.iter().map(|r| r.body.as_str()).collect();
        Ok(answers::ok(format!("[{}]", bodies.join(","))))
    }

    async fn change(
        self: &Arc<Self>,
        method: Method,
        name: Option<String>,
        head: &http::request::Parts,
        body: &[u8],
    ) -> Result<Http, Closed> {
        let json = head.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok()).is_none_or(|v| v.contains("json"));
        let definition = match method {
            Method::Delete => None,
            _ if !json => Some(Err(Bad::MediaType)),
            _ => Some(definition::parse(body)),
        };
        let job = Job { method, name, definition, stamp: self.accounts.now() };
        let definition = job.definition.as_ref().and_then(|d| d.as_ref().ok());
        let told = job.name.clone().or_else(|| definition.map(|d| d.name.clone()));
        let text = definition.map(|d| d.text.clone()).unwrap_or_default();
        match self.faults.take(&Call { method, name: told }) {
            None => Ok(self.perform(&job).await),
            Some(Fault::DoneThen(answer)) => {
                let honest = self.perform(&job).await;
                self.faulty(answer, Some(honest), &text).await
            }
            Some(Fault::NotDone(answer)) => self.faulty(answer, None, &text).await,
            Some(Fault::DoneLate(by, answer)) => {
                let shared = self.clone();
                tokio::spawn(async move {
                    tokio::select! {
                        () = shared.end.cancelled() => {}
                        () = tokio::time::sleep(by) => drop(shared.perform(&job).await),
                    }
                });
                self.faulty(answer, None, &text).await
            }
            Some(Fault::Slow(by)) => {
                tokio::time::sleep(by).await;
                Ok(self.perform(&job).await)
            }
            Some(Fault::HoldBefore(gate)) => {
                self.pass(&gate).await?;
                Ok(self.perform(&job).await)
            }
            Some(Fault::HoldAfter(gate)) => {
                let honest = self.perform(&job).await;
                self.pass(&gate).await?;
                Ok(honest)
            }
        }
    }

    /// Waits for a permit and keeps it.
    async fn pass(&self, gate: &Semaphore) -> Result<(), Closed> {
        tokio::select! {
            () = self.end.cancelled() => Err(Closed),
            permit = gate.acquire() => {
                permit.map_err(|_| Closed)?.forget();
                Ok(())
            }
        }
    }

    async fn faulty(&self, answer: Answer, honest: Option<Http>, text: &str) -> Result<Http, Closed> {
        Ok(match answer {
            Answer::Honest => honest.unwrap_or_else(|| answers::failed("java.lang.IllegalStateException")),
            Answer::Status(status) => answers::error(status, "java.lang.RuntimeException", "a fault on command"),
            Answer::Ok => answers::ok(text.to_owned()),
            Answer::SqlAccountDefinitionException => answers::broken_commit(text),
            Answer::Close => return Err(Closed),
            Answer::Hang => {
                self.end.cancelled().await;
                return Err(Closed);
            }
        })
    }

    async fn perform(&self, job: &Job) -> Http {
        match &job.definition {
            Some(Err(Bad::MediaType)) => answers::empty(StatusCode::UNSUPPORTED_MEDIA_TYPE),
            Some(Err(Bad::Malformed)) => answers::empty(StatusCode::BAD_REQUEST),
            Some(Err(Bad::NoName)) => answers::failed("java.lang.NullPointerException"),
            Some(Ok(d)) => self.store(job, d).await.unwrap_or_else(|_| database_failed()),
            None => {
                let name = job.name.as_deref().unwrap_or_default();
                match self.accounts.delete(name, job.stamp).await {
                    Ok(true) => answers::empty(StatusCode::OK),
                    Ok(false) => answers::unknown_account(name),
                    Err(_) => database_failed(),
                }
            }
        }
    }

    async fn store(&self, job: &Job, d: &Definition) -> db::Result<Http> {
        let accounts = &self.accounts;
        match (job.method, &job.name) {
            (Method::Post, _) => {
                if accounts.is_live(&d.name).await? {
                    return Ok(answers::invalid(&format!("Cannot create an account which already exists (name: {})", d.name)));
                }
                if !accounts.insert(d, job.stamp).await? {
                    return Ok(answers::duplicate(&d.name));
                }
            }
            (Method::PutNamed, Some(name)) => {
                if *name != d.name {
                    return Ok(answers::invalid(&format!("Mismatched account names. URI value: {name}. Request body value: {}.", d.name)));
                }
                if !accounts.is_live(name).await? {
                    return Ok(answers::invalid(&format!("Cannot update an account which does not exist (name: {name})")));
                }
                if !accounts.update(name, d, job.stamp).await? {
                    return Ok(answers::unknown_account(name));
                }
            }
            _ => accounts.upsert(d, job.stamp).await?,
        }
        Ok(answers::ok(d.text.clone()))
    }
}

fn live_view(row: &Row) -> Value {
    json!({
        "accountType": row.id, "challengeDestructiveActions": false, "cloudProvider": row.kind, "environment": row.id, "name": row.id,
        "primaryAccount": false, "type": row.kind,
    })
}

fn database_failed() -> Http {
    answers::failed("org.springframework.dao.DataAccessResourceFailureException")
}

/// Percent-decodes one segment; `None` for what is no UTF-8.
fn decode(text: &str) -> Option<String> {
    let (mut out, bytes) = (Vec::with_capacity(text.len()), text.as_bytes());
    let mut i = 0;
    while i < bytes.len() {
        let hex = |b: u8| char::from(b).to_digit(16);
        match (bytes[i], bytes.get(i + 1).copied().and_then(hex), bytes.get(i + 2).copied().and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).ok()?);
                i += 3;
            }
            (b'%', ..) => return None,
            (b, ..) => {
                out.push(b);
                i += 1;
            }
        }
    }
    String::from_utf8(out).ok()
}
