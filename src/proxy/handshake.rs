//! How a client's connection begins on a port that speaks TLS.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;

use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::accept::Shared;
use super::client::LAST_CALL;
use super::stream::Stream;
use crate::tls::{self, front};

/// What there is after it.
pub(super) enum Begun {
    Http1(Stream),
    /// Agreed on by ALPN.
    Http2(Stream),
    /// The client speaks HTTP without TLS.
    Plaintext(Stream),
    /// Nobody is there any more, or nobody that can be understood.
    Ended,
}

/// A handshake, for as long as the head of a request may take.
pub(super) async fn begin<S>(shared: &Shared<S>, acceptor: &front::Acceptor, stream: TcpStream) -> Begun {
    let failed = || {
        shared.counters.handshakes_failed.fetch_add(1, Relaxed);
    };
    let mut shaken = pin!(async {
        // A handshake begins with 22, a request of HTTP with a letter.
        let mut first = [0];
        match stream.peek(&mut first).await {
            Ok(0) | Err(_) => return Begun::Ended,
            Ok(_) if first[0].is_ascii_alphabetic() => {
                failed();
                return Begun::Plaintext(stream.into());
            }
            Ok(_) => {}
        }
        match acceptor.accept(stream).await {
            Ok(stream) if front::is_http2(&stream) => Begun::Http2(stream.into()),
            Ok(stream) => Begun::Http1(stream.into()),
            Err(error) => {
                failed();
                tracing::debug!("a client's TLS handshake failed: {}", tls::reason(&error));
                Begun::Ended
            }
        }
    });
    let end = Instant::now() + shared.limits.header_timeout;
    let mut timer = pin!(sleep_until(end));
    let mut called = false;
    poll_fn(|cx| {
        if let Poll::Ready(begun) = shaken.as_mut().poll(cx) {
            return Poll::Ready(begun);
        }
        if shared.cut.get() {
            return Poll::Ready(Begun::Ended);
        }
        if shared.draining.get() && !called {
            called = true;
            timer.as_mut().reset(end.min(Instant::now() + LAST_CALL));
        }
        timer.as_mut().poll(cx).map(|()| {
            failed();
            Begun::Ended
        })
    })
    .await
}
