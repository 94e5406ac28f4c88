//! Clients that speak HTTP/2. Each of their requests goes through the services, one connection's requests side by side.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tower::{Service, ServiceExt as _};

use super::accept::Shared;
use super::call::MAX_HEAD;
use super::metrics::Up;
use super::respond::{Summary, error};
use super::stream::Stream;
use super::{Body, BodyError};

/// Requests at once on one connection.
const STREAMS: u32 = 128;
/// Windows of a stream and of a connection: what a client may send of bodies before we have passed it on.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// Bytes of answers that wait for a stream's client.
const SEND_BUFFER: usize = 64 * 1024;

/// Serves a connection whose first bytes were read already.
pub(super) async fn serve<S>(shared: Rc<Shared<S>>, stream: Stream, unread: Vec<u8>)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    let mut http = Builder::new(Local);
    http.timer(TokioTimer::new())
        .auto_date_header(false)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEAD as u32)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(shared.limits.idle_timeout / 2)
        .keep_alive_timeout(shared.limits.header_timeout);
    let service = service_fn(|request| handle(shared.clone(), request));
    let mut connection = pin!(http.serve_connection(TokioIo::new(Rewound { stream, unread, at: 0 }), service));
    let mut told = false;
    let ended = poll_fn(|cx| {
        if !told && shared.draining.get() {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(cx)
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn handle<S>(shared: Rc<Shared<S>>, request: Request<Incoming>) -> Result<Response<Body>, Infallible>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    let _in_flight = Up::new(&shared.counters.in_flight);
    let stall = shared.limits.stall_timeout;
    let request = request.map(|incoming| Body::Stream(StreamBody { incoming, stall, timer: None }));
    let summary = Summary::of(&request);
    let answer = if let Some(refused) = refused(&request) {
        refused
    } else if shared.is_full() {
        let message = "Fairlead has as many requests in progress as it may have; this one was not forwarded";
        error(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", message, Some(1))
    } else {
        match AssertUnwindSafe(shared.service.clone().oneshot(request)).catch_unwind().await {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            Err(_) => shared.panicked(&summary),
        }
    };
    shared.answered(answer.status());
    summary.answered(answer.status());
    let mut answer = answer;
    // They belong to a connection of HTTP/1.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        answer.headers_mut().remove(name);
    }
    Ok(answer)
}

/// The body of a request by HTTP/2. A client that owes a piece of it for too long breaks it off.
pub struct StreamBody {
    incoming: Incoming,
    stall: Duration,
    /// Runs while a piece is waited for.
    timer: Option<Pin<Box<Sleep>>>,
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            this.timer = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timer = this.timer.get_or_insert_with(|| Box::pin(sleep(this.stall)));
        timer.as_mut().poll(cx).map(|()| Some(Err("the client's body stood still".into())))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

fn refused(request: &Request<Body>) -> Option<Response<Body>> {
    if request.method() == Method::CONNECT {
        return Some(error(StatusCode::NOT_IMPLEMENTED, "RequestNotForwardable", "not forwarded: no tunnels", None));
    }
    let host = request.headers().get(header::HOST)?;
    let authority = request.uri().authority()?;
    (!authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) || request.headers().get_all(header::HOST).iter().count() > 1)
        .then(|| error(StatusCode::BAD_REQUEST, "RequestNotForwardable", "not forwarded: the request names more than one host", None))
}

/// Spawns on the thread that it is on.
#[derive(Clone, Copy, Debug)]
struct Local;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for Local {
    fn execute(&self, task: F) {
        tokio::task::spawn_local(task);
    }
}

/// A stream, with what was read from it before.
struct Rewound {
    stream: Stream,
    unread: Vec<u8>,
    at: usize,
}

impl AsyncRead for Rewound {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.at < this.unread.len() {
            let n = buf.remaining().min(this.unread.len() - this.at);
            buf.put_slice(&this.unread[this.at..this.at + n]);
            this.at += n;
            if this.at == this.unread.len() {
                (this.unread, this.at) = (Vec::new(), 0);
            }
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
