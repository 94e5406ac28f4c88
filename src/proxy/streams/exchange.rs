//! One request, and the head of its answer.
//!
//! It is sent a second time only where Clouddriver has said that it took nothing of it (GOAWAY below it, `REFUSED_STREAM`), or where a
//! connection that was used before ends under a safe request with nothing said, as on HTTP/1.1; and never a third time.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::ResponseFuture;
use h2::{Reason, RecvStream, SendStream};
use http::response::Parts;
use http::{Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout_at};

use super::super::call::{RawAnswer, UNASKED, Until};
use super::super::interim::Interim;
use super::super::link::Link;
use super::super::upstream::Upstream;
use super::super::wire::Framing;
use super::super::wire::head::has_one_length;
use super::super::{Body, Cause};
use super::answer::Answer;
use super::message;
use super::pool::{Given, Place, Streams};
use super::sending::Sending;

/// What became of a request.
pub(in crate::proxy) enum Sent {
    Done(Result<Response<Body>, Cause>),
    /// Nothing yet: it is to go over HTTP/1.1, on this connection if there is one.
    ByHttp1(Box<Request<Body>>, Option<Link>),
}

enum Failed {
    /// The connection ended with nothing said of this request.
    Silent(io::Error),
    /// Clouddriver says that it has not looked at it.
    NotTaken,
    Other(Cause),
}

/// Sends a request and hears the head of its answer. Dropping the future resets the stream.
pub(in crate::proxy) async fn send(upstream: &Upstream, streams: &Streams, request: Request<Body>) -> Sent {
    let (parts, body) = request.into_parts();
    let Some(head) = message::request(&parts, upstream.is_tls()) else {
        return Sent::ByHttp1(Box::new(Request::from_parts(parts, body)), None);
    };
    let empty = body.is_end_stream();
    let safe = matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE) && empty;
    let asked = match &body {
        Body::Asked(asked) => Some(asked.clone()),
        _ => None,
    };
    let bounds = Bounds { response: upstream.response_timeout(), until: parts.extensions.get::<Until>().map(|until| until.0) };
    let head_only = parts.method == Method::HEAD;
    let expects = parts.headers.get(header::EXPECT).is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    let interim = parts.extensions.get::<Interim>().cloned();
    let mut waiting = Some((parts, body));
    let mut sending: Option<Sending> = None;
    let mut again = false;
    loop {
        let place = match place(upstream, streams, bounds).await {
            Ok(Given::Place(place)) => place,
            Ok(Given::Failed(cause)) | Err(cause) => return Sent::Done(Err(cause)),
            Ok(given) => match waiting.take() {
                Some((parts, body)) => {
                    let link = if let Given::Http1(link) = given { Some(link) } else { None };
                    return Sent::ByHttp1(Box::new(Request::from_parts(parts, body)), link);
                }
                // It has begun over HTTP/2, which Clouddriver does not speak any more.
                None => return Sent::Done(Err(Cause::NotTaken)),
            },
        };
        if asked.as_ref().is_some_and(|asked| !asked()) {
            return Sent::Done(Err(Cause::Withheld));
        }
        let (response, stream) = match place.connection.ask(head.clone(), empty) {
            // Nothing of it was sent, and the next one is another connection.
            None => continue,
            Some(Err(error)) => {
                tracing::debug!(%error, "a request cannot be said by HTTP/2");
                return Sent::Done(Err(Cause::Unforwardable(StatusCode::BAD_REQUEST, "HTTP/2 cannot carry it")));
            }
            Some(Ok(begun)) => begun,
        };
        if let Some((_, body)) = waiting.take() {
            sending = Some(Sending::new(body, expects));
        }
        let Some(sends) = sending.take() else { return Sent::Done(Err(Cause::ClosedUnsent)) };
        let reused = place.reused;
        let mut exchange =
            Exchange { place, stream, sending: sends, receiving: Receiving::Head(response), interim: interim.clone(), heard: false };
        match exchange.head_of_answer(bounds).await {
            Ok(head) => return Sent::Done(Ok(exchange.pass_on(head, head_only, bounds.until))),
            Err(Failed::NotTaken) if !again && exchange.sending.rewind() => {}
            Err(Failed::Silent(_)) if !again && safe && reused => {}
            Err(Failed::NotTaken) => return Sent::Done(Err(Cause::NotTaken)),
            Err(Failed::Silent(error)) => return Sent::Done(Err(Cause::Broken(error))),
            Err(Failed::Other(cause)) => return Sent::Done(Err(cause)),
        }
        again = true;
        sending = Some(exchange.unsent());
    }
}

/// A place, for which is waited no longer than for an answer.
async fn place(upstream: &Upstream, streams: &Streams, bounds: Bounds) -> Result<Given, Cause> {
    let patience = bounds.response.map(|response| Instant::now() + response);
    let Some(end) = patience.into_iter().chain(bounds.until).min() else { return upstream.place(streams).await };
    let begun = Instant::now();
    match timeout_at(end, upstream.place(streams)).await {
        Ok(given) => given,
        Err(_) if streams.has_none() => Err(Cause::ConnectTimeout(begun.elapsed())),
        Err(_) => Err(Cause::Busy),
    }
}

#[derive(Clone, Copy)]
struct Bounds {
    response: Option<Duration>,
    until: Option<Instant>,
}

/// A request on its way. Dropped before its answer has ended, it leaves the rest of that to [`super::connection`].
pub(super) struct Exchange {
    place: Place,
    stream: SendStream<Bytes>,
    sending: Sending,
    receiving: Receiving,
    interim: Option<Interim>,
    heard: bool,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let receiving = std::mem::take(&mut self.receiving);
        if !self.sending.whole {
            self.place.connection.was_reset();
        } else if !matches!(receiving, Receiving::Over) {
            self.place.hear_out(receiving);
        }
    }
}

impl Exchange {
    async fn head_of_answer(&mut self, bounds: Bounds) -> Result<Parts, Failed> {
        let (mut timer, mut patience) = (None::<Pin<Box<Sleep>>>, None::<Pin<Box<Sleep>>>);
        self.sending.moved = Instant::now();
        poll_fn(|cx| {
            loop {
                if let Poll::Ready(Err(cause)) = self.poll_send(cx) {
                    return Poll::Ready(Err(Failed::Other(cause)));
                }
                if let Poll::Ready(head) = self.poll_head(cx) {
                    return Poll::Ready(head);
                }
                if !self.sending.held || patience.get_or_insert_with(|| Box::pin(sleep(UNASKED))).as_mut().poll(cx).is_pending() {
                    break;
                }
                self.sending.held = false;
            }
            let response = bounds.response.filter(|_| !self.sending.waits_for_client).map(|t| self.sending.moved + t);
            if let Some(at) = response.into_iter().chain(bounds.until).min() {
                let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
                if timer.deadline() != at {
                    timer.as_mut().reset(at);
                }
                if timer.as_mut().poll(cx).is_ready() {
                    let total = bounds.until == Some(at);
                    let cause = if total { Cause::TotalTimeout } else { Cause::ResponseTimeout(bounds.response.unwrap_or_default()) };
                    return Poll::Ready(Err(Failed::Other(cause)));
                }
            }
            Poll::Pending
        })
        .await
    }

    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Parts, Failed>> {
        let Receiving::Head(response) = &mut self.receiving else { return Poll::Pending };
        let head = loop {
            match response.poll_informational(cx) {
                Poll::Ready(Some(Ok(interim))) => {
                    self.heard = true;
                    match interim.status() {
                        StatusCode::CONTINUE => {
                            // The client has had its 100 from us when its body was first asked for, and is not told again.
                            self.sending.held = false;
                            cx.waker().wake_by_ref();
                        }
                        StatusCode::SWITCHING_PROTOCOLS => break Err(Failed::Other(Cause::BadAnswer("101 by HTTP/2".to_owned()))),
                        status => {
                            if let Some(said) = &self.interim {
                                said.say(&message::interim(status, interim.headers()));
                            }
                        }
                    }
                }
                Poll::Ready(Some(Err(error))) => break Err(failed(error, self.heard)),
                Poll::Ready(None) | Poll::Pending => {
                    break ready!(Pin::new(response).poll(cx)).map_err(|error| failed(error, self.heard));
                }
            }
        };
        self.receiving = Receiving::Over;
        crate::crash_point!("answer-head");
        let (parts, body) = head?.into_parts();
        if !has_one_length(&parts.headers) {
            // By HTTP/1 a client could read it in two ways.
            return Poll::Ready(Err(Failed::Other(Cause::BadAnswer("its Content-Length is no number, or more than one".to_owned()))));
        }
        self.receiving = Receiving::Body(body);
        Poll::Ready(Ok(parts))
    }

    /// Sends what can be sent of the body.
    pub(super) fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Cause>> {
        let sent = self.sending.poll(&mut self.stream, cx);
        if let Poll::Ready(Err(_)) = sent {
            // Clouddriver sees a request that never ended.
            self.stream.send_reset(Reason::CANCEL);
        }
        sent
    }

    /// The end of the answer has come, or of what will come of it.
    pub(super) fn ended(&mut self) {
        self.receiving = Receiving::Over;
    }

    pub(super) fn body(&mut self) -> Option<&mut RecvStream> {
        if let Receiving::Body(body) = &mut self.receiving { Some(body) } else { None }
    }

    /// What was to be sent, once more.
    fn unsent(mut self) -> Sending {
        std::mem::replace(&mut self.sending, Sending::new(Body::Empty, false))
    }

    fn pass_on(mut self, parts: Parts, head_only: bool, until: Option<Instant>) -> Response<Body> {
        let ended = self.body().is_none_or(|body| body.is_end_stream());
        if ended {
            self.ended();
        }
        let (head, framing) = message::answer(&parts, head_only, ended);
        let mut answer = Response::from_parts(parts, Body::Empty);
        answer.extensions_mut().insert(RawAnswer { head, framing, close: false });
        if framing != Framing::Empty {
            let length = if let Framing::Length(n) = framing { Some(n) } else { None };
            *answer.body_mut() = Body::boxed(Answer::new(self, length, until));
        }
        answer
    }
}

/// What still comes of an answer.
#[derive(Default)]
pub(super) enum Receiving {
    Head(ResponseFuture),
    Body(RecvStream),
    #[default]
    Over,
}

impl Receiving {
    /// Reads to the end what nobody wants, and no more than `most` of it.
    pub(super) fn poll_out(&mut self, most: &mut usize, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            *self = match self {
                Self::Head(response) => match ready!(Pin::new(response).poll(cx)) {
                    Ok(head) => Self::Body(head.into_body()),
                    Err(_) => Self::Over,
                },
                Self::Body(body) => match ready!(body.poll_data(cx)) {
                    Some(Ok(data)) if data.len() <= *most => {
                        *most -= data.len();
                        let _ = body.flow_control().release_capacity(data.len());
                        continue;
                    }
                    _ => Self::Over,
                },
                Self::Over => return Poll::Ready(()),
            }
        }
    }
}

fn failed(error: h2::Error, heard: bool) -> Failed {
    let refused = error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM);
    if !heard && error.is_remote() && (error.is_go_away() || refused) {
        return Failed::NotTaken;
    }
    if !error.is_io() && !error.is_remote() {
        return Failed::Other(Cause::BadAnswer(error.to_string()));
    }
    let (ended, text) = (error.is_io(), error.to_string());
    let error = error.into_io().unwrap_or_else(|| io::Error::other(text));
    if ended && !heard { Failed::Silent(error) } else { Failed::Other(Cause::Broken(error)) }
}
