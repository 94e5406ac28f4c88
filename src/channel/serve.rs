//! One connection of HTTP/2, with every bound given: what a client floods ends its own connection and no other.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;
use tower::ServiceExt as _;

use super::service::Peer;

/// Streams at once: an agent has two, a proxy in between has those of many.
const STREAMS: u32 = 256;
/// Bytes that a client may send before they were read. Given, for what is left to itself shrinks to 64 KiB; the connection's is well
/// above what a stream of reports is granted, so that reports never keep orders' answers from coming. With it grows what hyper's
/// transport takes of very small frames before it ends a connection.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 8 << 20;
/// Bytes of answers that wait for a stream's client.
const SEND_BUFFER: usize = 64 << 10;
/// Of a request's head.
const MAX_HEAD: u32 = 16 << 10;
/// Streams that were reset by the client before we saw them, and by us for the client's mistakes.
const RESETS: usize = 64;
/// A connection without a stream is closed after this long.
const IDLE: Duration = Duration::from_secs(60);

/// HTTP/2's own pings.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeepAlive {
    /// `None`: never.
    pub(super) every: Option<Duration>,
    pub(super) timeout: Duration,
}

/// Serves until the client goes, has no stream for a while, or the drain has let its streams end.
pub(super) async fn serve<IO>(
    routes: Routes,
    io: IO,
    peer: SocketAddr,
    keep_alive: &KeepAlive,
    tasks: &TaskTracker,
    draining: &CancellationToken,
) where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let open = Arc::new(AtomicUsize::new(0));
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Peer(peer));
        let (routes, open) = (routes.clone(), Counted::new(&open));
        // In a box: a stream keeps the room of what it was begun with for as long as it lives, and an agent's live as long as the agent.
        Box::pin(async move {
            let answer = routes.oneshot(request).await?;
            Ok::<Response<_>, Infallible>(answer.map(|body| Held { body, _open: open }))
        })
    });
    let mut connection = Box::pin(http(keep_alive, tasks).serve_connection(TokioIo::new(io), service));
    let (mut ending, mut idle) = (false, false);
    loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, peer = %peer, "a connection on the agents' port ended");
                }
                return;
            }
            () = draining.cancelled(), if !ending => ending = true,
            () = tokio::time::sleep(IDLE) => {
                let was_idle = std::mem::replace(&mut idle, open.load(Ordering::Relaxed) == 0);
                if !(was_idle && idle) {
                    continue;
                }
                if ending {
                    return;
                }
                ending = true;
            }
        }
        connection.as_mut().graceful_shutdown();
    }
}

/// What a connection is made with; kept by none.
fn http(keep_alive: &KeepAlive, tasks: &TaskTracker) -> Builder<Tracked> {
    let mut http = Builder::new(Tracked(tasks.clone()));
    http.timer(TokioTimer::new())
        .auto_date_header(false)
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(MAX_HEAD)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(keep_alive.every)
        .keep_alive_timeout(keep_alive.timeout);
    http
}

/// A stream of this connection, until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that counts as an open stream.
struct Held<B> {
    body: B,
    _open: Counted,
}

impl<B: Body + Unpin> Body for Held<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Spawns where the drain waits for it.
#[derive(Clone, Debug)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper_util::rt::TokioExecutor;
    use tokio::sync::Notify;

    use super::*;

    /// Five bytes that say how many follow, and some that do: as small as a message is.
    const TINY: &[u8] = &[0, 0, 0, 0, 4, 0x1a, 2, 8, 1];
    const MANY: usize = 6_000;

    /// With what HTTP/2 has where nothing is given, the connection is ended after some 2,250 of them.
    #[tokio::test]
    async fn many_tiny_messages_may_wait_for_a_reader_that_is_slow() {
        let sent = Arc::new(Notify::new());
        let all_sent = sent.clone();
        let slow = axum::routing::post(move |body: axum::body::Body| async move {
            all_sent.notified().await;
            let read = body.collect().await.map(|b| b.to_bytes().len());
            read.map_or_else(|e| e.to_string(), |n| n.to_string())
        });
        let routes = Routes::from(axum::Router::new().route("/slow", slow)).prepare();
        let (near, far) = tokio::io::duplex(64 << 10);
        tokio::spawn(async move {
            let keep_alive = KeepAlive { every: None, timeout: Duration::from_secs(20) };
            serve(routes, far, ([127, 0, 0, 1], 1).into(), &keep_alive, &TaskTracker::new(), &CancellationToken::new()).await;
        });
        let (mut client, connection) =
            hyper::client::conn::http2::Builder::new(TokioExecutor::new()).handshake(TokioIo::new(near)).await.expect("a handshake");
        tokio::spawn(connection);
        let (messages, body) = tokio::sync::mpsc::channel::<Result<Frame<Bytes>, Infallible>>(1);
        let body = StreamBody::new(tokio_stream::wrappers::ReceiverStream::new(body));
        let answer = tokio::spawn(client.send_request(Request::post("http://fairlead/slow").body(body).expect("a request")));
        for _ in 0..MANY {
            messages.send(Ok(Frame::data(Bytes::from_static(TINY)))).await.expect("the connection is there");
            tokio::task::yield_now().await;
        }
        drop(messages);
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        sent.notify_one();
        let answer = answer.await.expect("no panic").expect("the connection goes on").into_body().collect().await.expect("a body");
        assert_eq!(answer.to_bytes(), (MANY * TINY.len()).to_string());
    }
}
