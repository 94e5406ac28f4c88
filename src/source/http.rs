//! A small HTTP client for Clouddriver's API: GET only, a few connections, every wait and every body bounded.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, HOST};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::tls::upstream::Connector;

/// To reach Clouddriver, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the request to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer: a page of large definitions, or a long history of one.
pub(super) const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Requests at once, and connections that are kept. Clouddriver's threads are for Spinnaker.
pub(super) const AT_ONCE: usize = 4;

/// The client. Clones share its connections, which end with the last of them.
#[derive(Clone)]
pub(super) struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    host: Arc<str>,
    port: u16,
    tls: Option<Connector>,
    hop: String,
    user: Option<HeaderValue>,
    idle: Mutex<Vec<SendRequest<Empty<Bytes>>>>,
    permits: Semaphore,
}

/// An answer of any status.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("hop", &self.shared.hop).finish_non_exhaustive()
    }
}

impl Client {
    /// `user` is sent as `X-SPINNAKER-USER`; one that no header can hold is not sent.
    pub(super) fn new(host: Arc<str>, port: u16, tls: Option<Connector>, user: Option<&str>) -> Self {
        let hop = format!("{host}:{port}");
        let user = user.and_then(|u| HeaderValue::from_str(u).ok());
        Self { shared: Arc::new(Shared { host, port, tls, hop, user, idle: Mutex::default(), permits: Semaphore::new(AT_ONCE) }) }
    }

    /// Host and port.
    pub(super) fn hop(&self) -> &str {
        &self.shared.hop
    }

    /// Asks once; again only where a kept connection turned out to be closed, which a GET allows.
    ///
    /// Fails with a text that names the cause and nothing of a body. Dropped half-way, it closes the connection.
    pub(super) async fn get(&self, path: &str) -> Result<Answer, String> {
        let asked = async {
            let _permit = self.shared.permits.acquire().await.map_err(|_| "the client is closed".to_owned())?;
            if let Some(kept) = self.take_idle()
                && let Ok(answer) = self.ask(kept, path).await?
            {
                return Ok(answer);
            }
            self.ask(self.connect().await?, path).await?.map_err(|e| format!("no answer: {e}"))
        };
        tokio::time::timeout(ANSWER_TIMEOUT, asked).await.unwrap_or_else(|_| Err(format!("no answer within {ANSWER_TIMEOUT:?}")))
    }

    fn take_idle(&self) -> Option<SendRequest<Empty<Bytes>>> {
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|c| !c.is_closed());
        idle.pop()
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let target = (&*self.shared.host, self.shared.port);
        let connected = async {
            let stream = TcpStream::connect(target).await.map_err(|e| format!("no connection: {e}"))?;
            let _ = stream.set_nodelay(true);
            match &self.shared.tls {
                None => shake_hands(stream).await,
                Some(tls) => shake_hands(tls.connect(stream, false).await.map_err(|why| format!("no TLS: {why}"))?).await,
            }
        };
        let timed_out = |_| Err(format!("no connection within {CONNECT_TIMEOUT:?}"));
        tokio::time::timeout(CONNECT_TIMEOUT, connected).await.unwrap_or_else(timed_out)
    }

    /// The inner error is "no answer began", the outer one anything later.
    async fn ask(&self, mut connection: SendRequest<Empty<Bytes>>, path: &str) -> Result<Result<Answer, hyper::Error>, String> {
        let mut request = Request::get(path).header(HOST, &self.shared.hop).header(ACCEPT, "application/json");
        if let Some(user) = &self.shared.user {
            request = request.header("X-SPINNAKER-USER", user);
        }
        let request = request.body(Empty::new()).map_err(|e| format!("no such request: {e}"))?;
        if let Err(e) = connection.ready().await {
            return Ok(Err(e));
        }
        let answer = match connection.send_request(request).await {
            Ok(answer) => answer,
            Err(e) => return Ok(Err(e)),
        };
        let status = answer.status();
        let body = match Limited::new(answer.into_body(), MAX_ANSWER).collect().await {
            Ok(body) => body.to_bytes(),
            Err(e) if e.is::<http_body_util::LengthLimitError>() => {
                return Err(format!("an answer of more than {} MiB", MAX_ANSWER / 1024 / 1024));
            }
            Err(e) => return Err(format!("the answer broke off: {e}")),
        };
        let mut idle = self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < AT_ONCE {
            idle.push(connection);
        }
        Ok(Ok(Answer { status, body }))
    }
}

async fn shake_hands<T>(stream: T) -> Result<SendRequest<Empty<Bytes>>, String>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| format!("no connection: {e}"))?;
    // Ends when the sender is dropped or Clouddriver closes.
    tokio::spawn(connection);
    Ok(sender)
}
