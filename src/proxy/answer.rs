//! Clouddriver's answer on its way back: what of its head cannot be passed on, and a body that gives its connection back.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, Version, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::headers::{TransferEncoding, strip_hop_by_hop, transfer_encoding};
use super::pool::{Conn, Pool};
use super::{Body, BodyError, Cause};

/// The body of an answer. Read to its clean end it gives the connection back to the pool; broken or dropped before, it closes it.
pub struct Answer {
    body: Incoming,
    lease: Option<(Conn, Rc<Pool>)>,
}

impl Answer {
    fn ended(&mut self) {
        if let Some((conn, pool)) = self.lease.take() {
            pool.give_back(conn);
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            // hyper's server asks for nothing after the last byte of a known length, nor after trailers.
            Some(Ok(frame)) if frame.is_trailers() || this.body.is_end_stream() => this.ended(),
            Some(Ok(_)) => {}
            None => this.ended(),
            Some(Err(_)) => this.lease = None,
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// No bytes, under a head that announces a length (0, or that of the answer which a 304 stands for). hyper's server writes
/// `Content-Length` where it stood only for a body that names it.
struct Announced(u64);

impl HttpBody for Announced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Poll::Ready(None)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// Makes an answer of ours out of Clouddriver's. `conn` is where it came from.
pub(super) fn pass_on(answer: Response<Incoming>, conn: Conn, pool: &Rc<Pool>, head_only: bool) -> Result<Response<Body>, Cause> {
    let (mut parts, body) = answer.into_parts();
    check(parts.status, &parts.headers, head_only)?;
    strip_hop_by_hop(&mut parts.headers);
    // The version is the hop's: hyper writes 1.0 to a client that speaks no more.
    parts.version = Version::HTTP_11;
    let body = if body.is_end_stream() {
        pool.clone().give_back(conn);
        match parts.headers.get(header::CONTENT_LENGTH) {
            Some(length) if !head_only => {
                let length = length.to_str().ok().and_then(|l| l.parse().ok());
                Body::boxed(Announced(length.ok_or_else(|| bad("its Content-Length is no number"))?))
            }
            _ => Body::Empty,
        }
    } else {
        Body::Answer(Answer { body, lease: Some((conn, pool.clone())) })
    };
    Ok(Response::from_parts(parts, body))
}

/// Framing that two readers could read differently is not passed on (and its connection is dropped).
fn check(status: StatusCode, headers: &HeaderMap, head_only: bool) -> Result<(), Cause> {
    if status.is_informational() {
        return Err(bad("101 to a request that asked for no upgrade"));
    }
    let has_body = !head_only && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    match transfer_encoding(headers) {
        TransferEncoding::None => Ok(()),
        TransferEncoding::Chunked if has_body && headers.contains_key(header::CONTENT_LENGTH) => {
            Err(bad("both Content-Length and Transfer-Encoding"))
        }
        TransferEncoding::Repeated | TransferEncoding::Unknown if has_body => Err(bad("a Transfer-Encoding other than chunked")),
        _ => Ok(()),
    }
}

fn bad(why: &str) -> Cause {
    Cause::BadAnswer(why.to_owned())
}
