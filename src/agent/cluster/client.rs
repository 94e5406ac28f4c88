//! Requests to an API server, over few kept connections. Answers are bounded; failures know what they are.

use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use secrecy::ExposeSecret as _;

use super::Access;
use super::access::Credentials;
use crate::agent::dial::{DialError, Refusal, Stream, Target, dial};
use crate::agent::failure::{Failure, Reason};
use crate::agent::metrics::Requests;

/// Bytes of one answer. The discovery of a large cluster has some megabytes.
const MAX_ANSWER: usize = 32 << 20;
/// How long a connection waits for the next check.
const IDLE: Duration = Duration::from_secs(90);

/// An answer whose status is for the caller to judge.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

/// One account's way to its cluster.
pub(crate) struct Cluster {
    pub(super) access: Access,
    http: Client<Connector, Full<Bytes>>,
    shown: Shown,
    refused: Refused,
    requests: Requests,
}

/// What the last connection showed: the first is the server's own.
type Shown = Arc<Mutex<Arc<[CertificateDer<'static>]>>>;

/// Where the last connection keeps why the server ended it.
type Refused = Arc<Mutex<Refusal>>;

impl Cluster {
    /// Connects with the first request.
    pub(crate) fn new(access: Access, requests: Requests) -> Self {
        let shown = Shown::default();
        let refused = Refused::default();
        let target = Arc::new(access.target.clone());
        let connector = Connector { target, shown: Arc::clone(&shown), refused: Arc::clone(&refused) };
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(2)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .http2_keep_alive_timeout(Duration::from_secs(10))
            .build(connector);
        Self { access, http, shown, refused, requests }
    }

    /// The certificates that the last connection showed.
    pub(super) fn certificates(&self) -> Arc<[CertificateDer<'static>]> {
        Arc::clone(&self.shown.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Asks. Has no bound of time of its own.
    ///
    /// # Errors
    /// No answer, or one that is no answer of an API server; 401.
    pub(super) async fn get(&self, path: &str, accept: &'static str) -> Result<Answer, Failure> {
        self.send(Method::GET, path, accept, Bytes::new()).await
    }

    /// As [`Cluster::get`], with a body of JSON.
    pub(super) async fn post(&self, path: &str, body: Bytes) -> Result<Answer, Failure> {
        self.send(Method::POST, path, "application/json", body).await
    }

    async fn send(&self, method: Method, path: &str, accept: &'static str, body: Bytes) -> Result<Answer, Failure> {
        let answer = self.try_send(method, path, accept, body).await;
        self.requests.count(answer.as_ref().ok().map(|a| a.status));
        let answer = answer?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(self.failure(
                Reason::Unauthenticated,
                "does not accept the credentials (401): the token or the certificate is wrong, expired or revoked; give a new one",
            ));
        }
        Ok(answer)
    }

    async fn try_send(&self, method: Method, path: &str, accept: &'static str, body: Bytes) -> Result<Answer, Failure> {
        let request = self.request(method, path, accept, body).await?;
        let answer = self.http.request(request).await.map_err(|e| self.no_answer(&e))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await.map_err(|e| {
            if e.downcast_ref::<LengthLimitError>().is_some() {
                self.failure(Reason::Server, &format!("answers {path} with more than {MAX_ANSWER} bytes"))
            } else {
                self.failure(Reason::Unreachable, "broke the connection in its answer")
            }
        })?;
        Ok(Answer { status, body: body.to_bytes() })
    }

    async fn request(&self, method: Method, path: &str, accept: &'static str, body: Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let target = &self.access.target;
        let host = if target.host.contains(':') {
            format!("[{}]:{}", target.host, target.port)
        } else {
            format!("{}:{}", target.host, target.port)
        };
        let scheme = if target.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{host}{}{path}", self.access.prefix);
        let mut builder = Request::builder()
            .method(method)
            .uri(uri)
            .header(ACCEPT, accept)
            .header(USER_AGENT, concat!("fairlead-agent/", env!("CARGO_PKG_VERSION")));
        if !body.is_empty() {
            builder = builder.header(CONTENT_TYPE, "application/json");
        }
        let shown = match &self.access.credentials {
            Credentials::Certificate | Credentials::Nothing => None,
            Credentials::Token(token) => Some(format!("Bearer {}", token.expose_secret())),
            Credentials::Basic(pair) => Some(format!("Basic {}", STANDARD.encode(pair.expose_secret()))),
            Credentials::TokenFile(file) => {
                let unreadable = |why: String| Failure::definition(format!("the token of {}, {}, {why}", self.access.name, file.display()));
                let token = tokio::fs::read_to_string(file).await.map_err(|e| unreadable(format!("cannot be read ({e})")))?;
                Some(format!("Bearer {}", token.trim()))
            }
        };
        if let Some(text) = shown {
            let value = HeaderValue::from_str(&text).map(|mut value| {
                value.set_sensitive(true);
                value
            });
            let value =
                value.map_err(|_| Failure::definition(format!("the credentials of {} hold what no header can", self.access.name)))?;
            builder = builder.header(AUTHORIZATION, value);
        }
        builder.body(Full::new(body)).map_err(|_| Failure::definition(format!("{} has a server that makes no URL", self.access.name)))
    }

    /// A failure at this cluster; the words follow its host.
    pub(super) fn failure(&self, reason: Reason, text: &str) -> Failure {
        Failure::at(reason, &self.access.host, format!("the API server of {}, {}, {text}", self.access.name, self.access.host))
    }

    fn no_answer(&self, error: &Error) -> Failure {
        let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(e) = cause {
            if let Some(e) = e.downcast_ref::<DialError>() {
                return self.failure(e.reason, &format!("cannot be reached: {}{}", e.text, advice(e.reason)));
            }
            if e.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse) {
                return self.failure(Reason::Server, "does not answer in HTTP: is it an API server?");
            }
            cause = e.source();
        }
        if let Some(why) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let what = "the client certificate of the kubeconfig is not of its CA, or not valid: give a new one";
            return self.failure(Reason::Tls, &format!("ended TLS: {why}; {what}"));
        }
        self.failure(Reason::Unreachable, "broke the connection before its answer")
    }
}

/// What to do.
fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::Dns => "; correct the server in the kubeconfig, or the DNS of the agent",
        Reason::Unreachable | Reason::Timeout => "; is it up, and does the network let the agent through?",
        Reason::Tls => "; correct certificate-authority-data, tls-server-name or the server's certificate",
        _ => "",
    }
}

/// Makes the connections. The URL that it is asked for is always the same.
#[derive(Clone)]
struct Connector {
    target: Arc<Target>,
    shown: Shown,
    refused: Refused,
}

impl tower::Service<Uri> for Connector {
    type Response = Wire;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Wire, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let Self { target, shown, refused } = self.clone();
        Box::pin(async move {
            let stream = dial(&target).await?;
            *shown.lock().unwrap_or_else(PoisonError::into_inner) = stream.certificates().into();
            *refused.lock().unwrap_or_else(PoisonError::into_inner) = stream.refusal();
            Ok(Wire(TokioIo::new(stream)))
        })
    }
}

/// A connection as hyper wants it.
struct Wire(TokioIo<Stream>);

impl Connection for Wire {
    fn connected(&self) -> Connected {
        let connected = Connected::new();
        if self.0.inner().alpn() == Some(b"h2") { connected.negotiated_h2() } else { connected }
    }
}

impl Read for Wire {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl Write for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}
