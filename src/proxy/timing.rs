//! The response time-out: it counts only while it is Clouddriver that we wait for, not while the client is still sending.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::{Body, BodyError};

/// Since when Clouddriver owes us something; `None` while the client does.
type Owing = Rc<Cell<Option<Instant>>>;

/// A request's body that notes who is being waited for.
struct Watched {
    body: Body,
    owing: Owing,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let frame = Pin::new(&mut this.body).poll_frame(cx);
        this.owing.set(frame.is_ready().then(Instant::now));
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Watches a request's body; gives it back with the clock that [`within`] reads.
pub(super) fn watch(body: Body) -> (Body, Owing) {
    let owing = Rc::new(Cell::new(Some(Instant::now())));
    if body.is_end_stream() {
        return (body, owing);
    }
    let watched = Watched { body, owing: owing.clone() };
    (Body::boxed(watched), owing)
}

/// Waits for an answer until Clouddriver has owed something for `timeout`; `None` then, and the answer's future is dropped.
pub(super) async fn within<T>(timeout: Duration, owing: Owing, answer: impl Future<Output = T>) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    loop {
        let now = Instant::now();
        let deadline = owing.get().unwrap_or(now) + timeout;
        if deadline <= now {
            return None;
        }
        tokio::select! {
            biased;
            answer = answer.as_mut() => return Some(answer),
            () = sleep_until(deadline) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;
    use tokio::sync::mpsc;

    #[tokio::test(start_paused = true)]
    async fn a_silent_clouddriver_is_given_up_after_the_timeout() {
        let (_, owing) = watch(Body::Empty);
        assert!(within(Duration::from_secs(5), owing, std::future::pending::<()>()).await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_slowly_does_not_use_up_clouddrivers_time() {
        let (tx, mut rx) = mpsc::channel::<Bytes>(1);
        let source = http_body_util::StreamBody::new(futures_util::stream::poll_fn(move |cx| {
            rx.poll_recv(cx).map(|b| b.map(|b| Ok::<_, BodyError>(Frame::data(b))))
        }));
        let (mut body, owing) = watch(Body::boxed(source));
        let client = async move {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(4)).await;
                tx.send(Bytes::from_static(b"x")).await.unwrap();
            }
        };
        let answer = async {
            while body.frame().await.is_some() {}
            tokio::time::sleep(Duration::from_secs(4)).await;
            "answered"
        };
        let timeout = Duration::from_secs(5);
        let (_, got) = tokio::join!(client, within(timeout, owing, answer));
        assert_eq!(got, Some("answered"));
    }
}
