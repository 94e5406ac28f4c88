//! After 101: bytes in both directions, and nothing is looked at any more.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use super::link::Link;

/// Until both directions have ended, or one broke.
pub(super) async fn run(client: &mut Link, mut origin: Link) {
    let (mut up, mut down) = (false, false);
    poll_fn(|cx| {
        if !up {
            match one_way(cx, client, &mut origin) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => up = true,
                Poll::Pending => {}
            }
        }
        if !down {
            match one_way(cx, &mut origin, client) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => down = true,
                Poll::Pending => {}
            }
        }
        if up && down { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn one_way(cx: &mut Context<'_>, from: &mut Link, to: &mut Link) -> Poll<std::io::Result<()>> {
    loop {
        while !from.is_empty() {
            let n = ready!(to.poll_write(cx, from.unread()))?;
            from.consume(n);
        }
        ready!(to.poll_flush(cx))?;
        if ready!(from.poll_fill_body(cx))? == 0 {
            return to.poll_shutdown(cx);
        }
    }
}
