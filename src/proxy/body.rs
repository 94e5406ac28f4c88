//! The one body type of the data plane: what comes from a client, what comes from Clouddriver, and what we say ourselves.
//!
//! An enum and not a box: most requests pass with no allocation for their bodies. It need not be `Send`: a request lives and
//! dies on one thread.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Full;

pub use super::call::Answer;
pub use super::feed::ClientBody;
pub use super::http2::StreamBody;

/// The error of a body that broke off. It carries no bytes of the body.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// A body on the data plane.
pub enum Body {
    /// Nothing.
    Empty,
    /// Nothing, and what is asked once, when the head is about to leave: `false` keeps it back.
    Asked(std::rc::Rc<dyn Fn() -> bool>),
    /// Bytes of our own.
    Full(Full<Bytes>),
    /// From a client that speaks HTTP/2.
    Stream(StreamBody),
    /// From a client that speaks HTTP/1.
    Client(ClientBody),
    /// Clouddriver's answer, which gives its connection back at its end.
    Answer(Answer),
    /// Anything else, such as a body that was looked at.
    Boxed(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError>>>),
}

impl Body {
    /// Bytes of our own.
    pub fn from_bytes(bytes: impl Into<Bytes>) -> Self {
        Self::Full(Full::new(bytes.into()))
    }

    /// Any other body.
    pub fn boxed(body: impl HttpBody<Data = Bytes, Error = BodyError> + 'static) -> Self {
        Self::Boxed(Box::pin(body))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.get_mut() {
            Self::Empty | Self::Asked(_) => Poll::Ready(None),
            Self::Full(b) => Pin::new(b).poll_frame(cx).map_err(|e| match e {}),
            Self::Stream(b) => Pin::new(b).poll_frame(cx),
            Self::Client(b) => Pin::new(b).poll_frame(cx),
            Self::Answer(b) => Pin::new(b).poll_frame(cx),
            Self::Boxed(b) => b.as_mut().poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Asked(_) => true,
            Self::Full(b) => b.is_end_stream(),
            Self::Stream(b) => b.is_end_stream(),
            Self::Client(b) => b.is_end_stream(),
            Self::Answer(b) => b.is_end_stream(),
            Self::Boxed(b) => b.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Asked(_) => SizeHint::with_exact(0),
            Self::Full(b) => b.size_hint(),
            Self::Stream(b) => b.size_hint(),
            Self::Client(b) => b.size_hint(),
            Self::Answer(b) => b.size_hint(),
            Self::Boxed(b) => b.size_hint(),
        }
    }
}
