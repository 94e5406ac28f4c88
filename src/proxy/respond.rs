//! Errors become answers here, in the shape of Spinnaker's own: `{"timestamp","status","error","exception","message"}`.
//!
//! Gate hands on only the status and `message`, and repeats a POST by itself on 408 and on 503 with `Retry-After: 0`; so
//! `message` says what matters, and those two never come from here.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tower::Service;

use super::{Body, UpstreamError};

/// The header that Spinnaker's services log a request by.
pub const REQUEST_ID: &str = "x-spinnaker-request-id";

/// The one builder of answers that say what went wrong. `message` must hold nothing of the client's data; `retry_after` is in
/// seconds, and 0 becomes 1. A status of 408 becomes 400.
pub fn error(status: StatusCode, exception: &str, message: &str, retry_after: Option<u32>) -> Response<Body> {
    error_bytes(status, exception, message, retry_after).map(Body::from_bytes)
}

/// [`error`] for a place that is not on the data plane: the same answer, able to move between threads.
pub fn error_bytes(status: StatusCode, exception: &str, message: &str, retry_after: Option<u32>) -> Response<Bytes> {
    let status = if status == StatusCode::REQUEST_TIMEOUT { StatusCode::BAD_REQUEST } else { status };
    let timestamp = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let body = serde_json::json!({
        "timestamp": timestamp,
        "status": status.as_u16(),
        "error": status.canonical_reason().unwrap_or("Error"),
        "exception": exception,
        "message": message,
    })
    .to_string();
    let mut answer = Response::new(Bytes::from(body));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(seconds) = retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    answer
}

/// The answer to a request on which we failed ourselves.
pub(super) fn fault() -> Response<Body> {
    let message = "Fairlead failed on this request, which may have been acted on; its log says where";
    error(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message, None)
}

/// The answer to who still waits when our own time is over.
pub(super) fn cut() -> Response<Body> {
    let message = "Fairlead had to stop before there was an answer; the request may have been acted on";
    let mut answer = error(StatusCode::GATEWAY_TIMEOUT, "ProxyShutdown", message, None);
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// What a log line may say of a request: never a header's value but its id, never the query.
#[derive(Clone, Debug)]
pub(super) struct Summary {
    method: Method,
    uri: Uri,
    id: Option<HeaderValue>,
    has_body: bool,
}

impl Summary {
    pub(super) fn of(request: &Request<Body>) -> Self {
        Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            id: request.headers().get(REQUEST_ID).cloned(),
            has_body: !http_body::Body::is_end_stream(request.body()),
        }
    }

    pub(super) fn method(&self) -> &str {
        self.method.as_str()
    }

    /// One line for each answer, where somebody wants so many.
    pub(super) fn answered(&self, status: StatusCode) {
        tracing::debug!(request_id = self.id(), method = self.method(), path = self.path(), status = status.as_u16(), "answered");
    }

    pub(super) fn path(&self) -> &str {
        self.uri.path()
    }

    /// The id, if it is one: a client may send anything, and a log line should stay a line.
    pub(super) fn id(&self) -> &str {
        self.id.as_ref().and_then(|id| id.to_str().ok()).filter(|id| id.len() <= 128).unwrap_or("-")
    }
}

/// Turns an [`UpstreamError`] into an answer and a line in the log; what comes from Clouddriver passes untouched.
///
/// The client's leaving drops the inner future.
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
}

impl<S> Respond<S> {
    /// Around a service whose errors are Clouddriver's.
    pub fn new(inner: S) -> Self {
        Self { inner }
    }
}

impl<S> Service<Request<Body>> for Respond<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = UpstreamError>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // An inner service that is not ready for an error of its own would say so again when called.
        self.inner.poll_ready(cx).map(|_| Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        RespondFuture { summary: Summary::of(&request), answer: self.inner.call(request) }
    }
}

/// The future of [`Respond`]. On every request, so not boxed; the one inside is, and `Unpin` spares a projection.
#[derive(Debug)]
pub struct RespondFuture<F> {
    summary: Summary,
    answer: F,
}

impl<F> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<Body>, UpstreamError>> + Unpin,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = ready!(Pin::new(&mut self.answer).poll(cx));
        Poll::Ready(Ok(answer.unwrap_or_else(|error| refuse(&self.summary, &error, self.summary.has_body))))
    }
}

/// The answer to a request that got none. `unread`: its body may not have been read to its end.
pub(super) fn refuse(summary: &Summary, failed: &UpstreamError, unread: bool) -> Response<Body> {
    tracing::warn!(
        request_id = summary.id(),
        method = summary.method(),
        path = summary.path(),
        hop = &*failed.hop,
        cause = failed.cause.label(),
        "{failed}"
    );
    let mut answer = error(failed.cause.status(), failed.cause.exception(), &failed.to_string(), failed.cause.retry_after());
    if unread {
        // Then the connection cannot be used again. Said, not just done: a client
        // that finds a kept connection closed may send its next POST twice.
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::fmt::MakeWriter;

    use super::super::Cause;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl MakeWriter<'_> for Log {
        type Writer = Self;

        fn make_writer(&self) -> Self {
            self.clone()
        }
    }

    fn logged(id: &str) -> String {
        let log = Log::default();
        let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).finish();
        let request = Request::post("/credentials/prod?token=in-query")
            .header(REQUEST_ID, HeaderValue::from_bytes(id.as_bytes()).unwrap())
            .header("authorization", "in-header")
            .body(Body::from_bytes("in-body"))
            .unwrap();
        let failed = UpstreamError { hop: "clouddriver:7002".into(), cause: Cause::Refused };
        tracing::subscriber::with_default(subscriber, || refuse(&Summary::of(&request), &failed, true));
        let text = log.0.lock().unwrap().clone();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_failed_request_is_one_line_that_names_it_and_the_hop_and_tells_nothing_else() {
        let line = logged("req-1");
        for told in ["WARN", "req-1", "POST", "/credentials/prod", "clouddriver:7002", "refused"] {
            assert!(line.contains(told), "{told} is not in {line}");
        }
        for hidden in ["in-query", "in-header", "in-body"] {
            assert!(!line.contains(hidden), "{hidden} is in {line}");
        }
        assert_eq!(line.matches('\n').count(), 1, "{line}");
    }

    #[test]
    fn an_id_that_is_none_is_not_logged() {
        assert!(!logged(&"x".repeat(200)).contains("xxx"));
        assert!(!logged("é").contains('é'));
    }

    #[test]
    fn gate_is_never_told_to_repeat() {
        let answer = error(StatusCode::SERVICE_UNAVAILABLE, "X", "m", Some(0));
        assert_eq!(answer.headers()[header::RETRY_AFTER], "1");
        assert_ne!(error(StatusCode::REQUEST_TIMEOUT, "X", "m", None).status(), StatusCode::REQUEST_TIMEOUT);
    }
}
