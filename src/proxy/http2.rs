//! Clients that speak HTTP/2. Each of their requests goes through the services, one connection's requests side by side.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};
use tower::{Service, ServiceExt as _};

use super::accept::Shared;
use super::call::{MAX_HEAD, Until};
use super::metrics::Up;
use super::pace::Pace;
use super::respond::{self, Summary, error};
use super::stream::Stream;
use super::visit::{Due, Visit};
use super::watch::Watches;
use super::wire::head::has_one_length;
use super::{Body, BodyError, Counters};

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
    let (watches, visit) = (Watches::default(), Visit::new(shared.limits, unread.len()));
    let service = service_fn(|request| {
        let (watches, under_way, answer) = (watches.clone(), visit.begins(), handle(shared.clone(), request));
        let least = shared.limits.least();
        async move { Ok::<_, Infallible>(answer.await.map(|body| watches.watched(body, least, under_way))) }
    });
    let stream = Rewound { stream, unread, at: 0, visit: visit.clone() };
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    let ended = poll_fn(|cx| {
        if shared.draining.get() && visit.tell() {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            let polled = connection.as_mut().poll(cx);
            if polled.is_ready() {
                return polled;
            }
            let ends = visit.due(shared.cut.get(), cx);
            let Some(due) = watches.due(cx).into_iter().chain(ends.map(|(at, _)| at)).min() else { return Poll::Pending };
            let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let now = Instant::now();
            match ends.filter(|(at, _)| *at <= now) {
                Some((_, Due::End)) => return Poll::Ready(Ok(())),
                Some((_, Due::Tell)) if visit.tell() => connection.as_mut().graceful_shutdown(),
                _ => {}
            }
            let given_up = watches.give_up(now);
            shared.counters.given_up.fetch_add(given_up.answers, Relaxed);
            if given_up.all {
                // Whoever reads nothing of anything would not read a reset either.
                return Poll::Ready(Ok(()));
            }
        }
    })
    .await;
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

async fn handle<S>(shared: Rc<Shared<S>>, request: Request<Incoming>) -> Response<Body>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + 'static,
{
    let _in_flight = Up::new(&shared.counters.in_flight);
    let pace = Pace::new(shared.limits.least());
    let mut request =
        request.map(|incoming| Body::Stream(StreamBody { incoming, pace, whole: false, timer: None, counters: shared.counters.clone() }));
    if let Some(total) = shared.limits.total_timeout
        && !shared.selector.takes(request.method().as_str().as_bytes(), request.uri().path().as_bytes())
    {
        request.extensions_mut().insert(Until(Instant::now() + total));
    }
    let summary = Summary::of(&request);
    let answer = if let Some(refused) = refused(&request) {
        shared.counters.refused.fetch_add(1, Relaxed);
        refused
    } else if shared.is_full() {
        let message = "Fairlead has as many requests in progress as it may have; this one was not forwarded";
        error(StatusCode::SERVICE_UNAVAILABLE, "Overloaded", message, Some(1))
    } else {
        tokio::select! {
            biased;
            called = AssertUnwindSafe(shared.service.clone().oneshot(request)).catch_unwind() => match called {
                Ok(Ok(answer)) => answer,
                Ok(Err(never)) => match never {},
                Err(_) => shared.panicked(&summary),
            },
            () = shared.is_cut() => respond::cut(),
        }
    };
    shared.answered(answer.status());
    summary.answered(answer.status());
    let mut answer = answer;
    // They belong to a connection of HTTP/1.
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        answer.headers_mut().remove(name);
    }
    answer
}

/// The body of a request by HTTP/2. A client that owes a piece of it for too long breaks it off.
pub struct StreamBody {
    incoming: Incoming,
    pace: Pace,
    /// Its trailers came.
    whole: bool,
    /// Runs while a piece is waited for.
    timer: Option<Pin<Box<Sleep>>>,
    counters: Arc<Counters>,
}

impl HttpBody for StreamBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.incoming).poll_frame(cx) {
            let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
            this.pace.moved(data.map_or(0, Bytes::len));
            this.pace.rests();
            return Poll::Ready(match frame {
                // A reset that names no error says that nobody wants the rest, and ends nothing.
                None if !this.whole && !this.incoming.is_end_stream() => Some(Err("the client's body broke off".into())),
                frame => {
                    this.whole |= frame.as_ref().is_some_and(|frame| frame.as_ref().is_ok_and(Frame::is_trailers));
                    frame.map(|frame| frame.map_err(Into::into))
                }
            });
        }
        this.pace.waits();
        while let Some(due) = this.pace.due() {
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
            if timer.deadline() != due {
                timer.as_mut().reset(due);
            }
            if timer.as_mut().poll(cx).is_pending() {
                break;
            }
            if this.pace.is_over(Instant::now()) {
                this.counters.given_up.fetch_add(1, Relaxed);
                return Poll::Ready(Some(Err("the client's body stood still or came too slowly".into())));
            }
        }
        Poll::Pending
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
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let why = match (request.uri().authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => "not forwarded: the request names more than one host",
        (Some(authority), Some(host), None) if !authority.as_str().as_bytes().eq_ignore_ascii_case(host.as_bytes()) => {
            "not forwarded: the request names more than one host"
        }
        (None, None, None) => "not forwarded: the request names no host",
        _ if !has_one_length(request.headers()) => "not forwarded: the request's Content-Length is not a number, or more than one",
        _ => return None,
    };
    Some(error(StatusCode::BAD_REQUEST, "RequestNotForwardable", why, None))
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
    visit: Visit,
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
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        this.visit.came(buf.filled().len() - before);
        read
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.visit.is_blocked(written.is_pending());
        if let Poll::Ready(Ok(n)) = &written {
            self.visit.wrote(&buf[..*n]);
        }
        written
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bufs: &[io::IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.visit.is_blocked(written.is_pending());
        if let Poll::Ready(Ok(mut left)) = written {
            for buf in bufs {
                let n = buf.len().min(left);
                self.visit.wrote(&buf[..n]);
                left -= n;
            }
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.visit.is_blocked(flushed.is_pending());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
