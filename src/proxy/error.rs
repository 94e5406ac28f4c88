//! Why Clouddriver gave no answer, and whether it can have seen the request.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

/// What an error knows about the request that it ended.
pub trait Delivery {
    /// True only where no byte of the request can have reached Clouddriver, so that it cannot have acted on it. False is "it may
    /// have": a broken connection, a time-out while waiting, a body that broke off half-way.
    fn certainly_not_delivered(&self) -> bool;
}

/// A request that got no answer from Clouddriver. Its text names the hop and the cause, and nothing of the request.
#[derive(Debug, thiserror::Error)]
#[error("Clouddriver at {hop}: {cause}")]
pub struct UpstreamError {
    /// Clouddriver as `host:port`.
    pub hop: Arc<str>,
    /// What happened.
    pub cause: Cause,
}

/// The closed set of causes; also the label of the metric.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The name could not be resolved.
    #[error("its name cannot be resolved: {0}")]
    Dns(io::Error),
    /// Nothing listens there.
    #[error("connection refused")]
    Refused,
    /// No connection for another reason (no route, no descriptor).
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// No address accepted within the connect time-out.
    #[error("no connection within {0:?}")]
    ConnectTimeout(Duration),
    /// No TLS: what is there is not believed, does not speak it, or does not want us.
    #[error("no TLS: {0}")]
    Tls(String),
    /// The same, said after the request was (perhaps in part) sent.
    #[error("no TLS: {0}; the request may have been acted on")]
    TlsRefused(String),
    /// No HTTP/2, where it is to be spoken.
    #[error("no HTTP/2: {0}")]
    Http2(String),
    /// By HTTP/2: Clouddriver said that it has not looked at it.
    #[error("it took no more requests on the connection, and this one was not looked at")]
    NotTaken,
    /// By HTTP/2: as many requests wait for Clouddriver as may.
    #[error("it has as many requests at once as it allows, and too many wait; this one was not forwarded")]
    Busy,
    /// A fresh connection was closed before the request was written.
    #[error("the connection was closed before the request was sent")]
    ClosedUnsent,
    /// The connection broke after the request was (perhaps in part) sent and before the head of an answer.
    #[error("the connection broke before an answer; the request may have been acted on")]
    Broken(#[source] io::Error),
    /// No head of an answer within the response time-out.
    #[error("no answer within {0:?}; the request may have been acted on")]
    ResponseTimeout(Duration),
    /// What came back is not an answer that could be passed on.
    #[error("its answer is not valid HTTP: {0}")]
    BadAnswer(String),
    /// The client's body broke off or was malformed; Clouddriver's connection was closed with the body unfinished.
    #[error("not forwarded in full: the request's body broke off")]
    RequestBody,
    /// The client sent its body too slowly; Clouddriver's connection was closed with the body unfinished.
    #[error("not forwarded in full: the request's body came too slowly")]
    TooSlow,
    /// The address of Clouddriver is our own.
    #[error("it is Fairlead itself: what is configured as Clouddriver's address leads back here")]
    Loop,
    /// Whoever looked into the request said no when it was about to leave.
    #[error("not forwarded: it came too late")]
    Withheld,
    /// Not done within the time that a request may take.
    #[error("not answered in the time that a request may take in all; the request may have been acted on")]
    TotalTimeout,
    /// Our own end came before the answer.
    #[error("no answer before Fairlead had to stop; the request may have been acted on")]
    Shutdown,
    /// We failed while the connection was made that it waited for.
    #[error("Fairlead failed while it connected; this request was not forwarded, and Fairlead's log says where it failed")]
    Fault,
    /// A request that must not be forwarded as it is.
    #[error("not forwarded: {1}")]
    Unforwardable(StatusCode, &'static str),
}

impl Cause {
    /// All labels, in the order of [`Cause::index`].
    pub(super) const LABELS: [&'static str; 20] = [
        "dns",
        "refused",
        "connect",
        "connect_timeout",
        "closed_unsent",
        "broken",
        "response_timeout",
        "bad_answer",
        "request_body",
        "unforwardable",
        "loop",
        "shutdown",
        "total_timeout",
        "tls",
        "withheld",
        "http2",
        "not_taken",
        "busy",
        "too_slow",
        "fault",
    ];

    pub(super) fn index(&self) -> usize {
        match self {
            Self::Dns(_) => 0,
            Self::Refused => 1,
            Self::Connect(_) => 2,
            Self::ConnectTimeout(_) => 3,
            Self::ClosedUnsent => 4,
            Self::Broken(_) => 5,
            Self::ResponseTimeout(_) => 6,
            Self::BadAnswer(_) => 7,
            Self::RequestBody => 8,
            Self::Unforwardable(..) => 9,
            Self::Loop => 10,
            Self::Shutdown => 11,
            Self::TotalTimeout => 12,
            Self::Tls(_) | Self::TlsRefused(_) => 13,
            Self::Withheld => 14,
            Self::Http2(_) => 15,
            Self::NotTaken => 16,
            Self::Busy => 17,
            Self::TooSlow => 18,
            Self::Fault => 19,
        }
    }

    /// The same for another request that waited for the same connection, which was not made.
    pub(super) fn again(&self) -> Self {
        let copy = |error: &io::Error| io::Error::new(error.kind(), error.to_string());
        match self {
            Self::Dns(error) => Self::Dns(copy(error)),
            Self::Refused => Self::Refused,
            Self::Connect(error) => Self::Connect(copy(error)),
            Self::ConnectTimeout(timeout) => Self::ConnectTimeout(*timeout),
            Self::Tls(why) => Self::Tls(why.clone()),
            Self::Http2(why) => Self::Http2(why.clone()),
            Self::Loop => Self::Loop,
            Self::Fault => Self::Fault,
            _ => Self::ClosedUnsent,
        }
    }

    /// After how many seconds it may be tried again, where that may help.
    pub(super) fn retry_after(&self) -> Option<u32> {
        matches!(self, Self::Busy).then_some(1)
    }

    /// The metric's label.
    pub fn label(&self) -> &'static str {
        Self::LABELS[self.index()]
    }

    /// The status of our answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::ConnectTimeout(_) | Self::ResponseTimeout(_) | Self::Shutdown | Self::TotalTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::RequestBody | Self::TooSlow => StatusCode::BAD_REQUEST,
            Self::Unforwardable(status, _) => *status,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Fault => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_GATEWAY,
        }
    }

    /// The `exception` of our answer.
    pub fn exception(&self) -> &'static str {
        match self {
            Self::Dns(_) => "UpstreamUnknownHost",
            Self::Refused | Self::Connect(_) | Self::ClosedUnsent => "UpstreamConnectFailed",
            Self::ConnectTimeout(_) => "UpstreamConnectTimeout",
            Self::Tls(_) | Self::TlsRefused(_) => "UpstreamTlsFailed",
            Self::Http2(_) => "UpstreamHttp2Failed",
            Self::NotTaken => "UpstreamRefusedStream",
            Self::Busy => "Overloaded",
            Self::Broken(_) => "UpstreamConnectionBroken",
            Self::ResponseTimeout(_) | Self::TotalTimeout => "UpstreamResponseTimeout",
            Self::BadAnswer(_) => "UpstreamBadAnswer",
            Self::RequestBody | Self::TooSlow => "RequestBodyBroken",
            Self::Withheld => "RequestWithheld",
            Self::Unforwardable(..) => "RequestNotForwardable",
            Self::Loop => "ProxyLoop",
            Self::Shutdown => "ProxyShutdown",
            Self::Fault => "InternalError",
        }
    }
}

impl Delivery for UpstreamError {
    fn certainly_not_delivered(&self) -> bool {
        match self.cause {
            Cause::Dns(_)
            | Cause::Refused
            | Cause::Connect(_)
            | Cause::ConnectTimeout(_)
            | Cause::Tls(_)
            | Cause::ClosedUnsent
            | Cause::Http2(_)
            | Cause::NotTaken
            | Cause::Busy
            | Cause::Withheld
            | Cause::Loop
            | Cause::Fault
            | Cause::Unforwardable(..) => true,
            Cause::Broken(_)
            | Cause::TlsRefused(_)
            | Cause::ResponseTimeout(_)
            | Cause::BadAnswer(_)
            | Cause::RequestBody
            | Cause::TooSlow
            | Cause::Shutdown
            | Cause::TotalTimeout => false,
        }
    }
}
