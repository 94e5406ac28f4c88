//! Claims about the layer, with a journal that writes down what it hears and a Clouddriver that is a function.

mod bodies;
mod bypass;
mod lives;
mod passing;

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tower::{Layer as _, Service, ServiceExt as _};

use super::*;
use crate::config::DenyAction;
use crate::mirror::{Announced, Change, Method, Outcome, Refusal, Ticket, Verdict};
use crate::proxy::BodyError;

/// What happened, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Announced(Method, Option<String>),
    Forwarded,
    Finished(Outcome, Option<String>),
    Unfinished,
    Sweep,
}
use Event::{Announced as AnnouncedEvent, Finished, Forwarded, Sweep, Unfinished};

#[derive(Clone)]
struct Notes {
    events: Rc<RefCell<Vec<Event>>>,
    refusal: Option<Refusal>,
    waits: Duration,
    /// How often `may_forward` says yes.
    forwards: Rc<Cell<u32>>,
}

impl Default for Notes {
    fn default() -> Self {
        Self { events: Rc::default(), refusal: None, waits: Duration::ZERO, forwards: Rc::new(Cell::new(u32::MAX)) }
    }
}

impl Notes {
    fn note(&self, event: Event) {
        self.events.borrow_mut().push(event);
    }

    fn all(&self) -> Vec<Event> {
        self.events.borrow().clone()
    }
}

impl Journal for Notes {
    type Ticket = Slip;

    async fn announce(&self, change: Change) -> Announced<Slip> {
        if !self.waits.is_zero() {
            tokio::time::sleep(self.waits).await;
        }
        self.note(AnnouncedEvent(change.method, change.name));
        self.refusal.map_or_else(|| Ok(Slip(self.clone(), false)), Err)
    }

    fn sweep_soon(&self, _: &'static str) {
        self.note(Sweep);
    }
}

struct Slip(Notes, bool);

impl Ticket for Slip {
    fn may_forward(&self) -> bool {
        let left = self.0.forwards.get();
        self.0.forwards.set(left.saturating_sub(1));
        left > 0
    }

    fn finish(mut self, verdict: Verdict) {
        self.1 = true;
        self.0.note(Finished(verdict.outcome, verdict.name));
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        if !self.1 {
            self.0.note(Unfinished);
        }
    }
}

/// An error of the way to Clouddriver.
#[derive(Debug, PartialEq, Eq)]
struct Lost {
    certainly_not_delivered: bool,
}

impl Delivery for Lost {
    fn certainly_not_delivered(&self) -> bool {
        self.certainly_not_delivered
    }
}

fn layer(journal: &Notes) -> InterceptLayer<Notes> {
    InterceptLayer {
        journal: journal.clone(),
        shared: Shared {
            enabled: true,
            context_path: "".into(),
            inspection_limit: 64 * 1024,
            deny: Arc::new(Deny { fields: vec!["kubectlExecutable".to_owned()], action: DenyAction::Warn }),
            metrics: Metrics::default(),
        },
    }
}

type Answer = Result<Response<Body>, Lost>;

/// The layer over a Clouddriver that notes each request's head and answers as `act` does.
fn over<F>(
    layer: &InterceptLayer<Notes>,
    act: impl Fn(Request<Body>) -> F + Clone + 'static,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Lost, Future: 'static> + Clone + 'static
where
    F: Future<Output = Answer> + 'static,
{
    let notes = layer.journal.clone();
    layer.layer(tower::service_fn(move |request| {
        notes.note(Forwarded);
        act(request)
    }))
}

/// Runs on one thread with a clock that jumps, as a data-plane thread would; ends when all local tasks have.
fn on_a_thread<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let local = LocalSet::new();
    let result = local.block_on(&runtime, future);
    runtime.block_on(local);
    result
}

fn request(method: &str, path: &str, body: impl Into<Body>) -> Request<Body> {
    Request::builder().method(method).uri(path).header("content-type", "application/json").body(body.into()).unwrap()
}

fn response(status: u16, content_type: &str, body: impl Into<Body>) -> Answer {
    Ok(Response::builder().status(status).header("content-type", content_type).body(body.into()).unwrap())
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        if text.is_empty() { Self::Empty } else { Self::from_bytes(text) }
    }
}

async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

/// Lets every task run until it waits.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// A body that is fed by hand.
struct Fed {
    from: mpsc::Receiver<Result<Frame<Bytes>, BodyError>>,
    left: Option<u64>,
}

struct Feed(mpsc::Sender<Result<Frame<Bytes>, BodyError>>);

impl Feed {
    /// Fails once nobody reads any more.
    fn send(&self, frame: Result<Frame<Bytes>, BodyError>) -> Result<(), ()> {
        self.0.try_send(frame).map_err(drop)
    }

    fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

fn fed(exact: Option<u64>) -> (Feed, Body) {
    let (to, from) = mpsc::channel(4096);
    (Feed(to), Body::boxed(Fed { from, left: exact }))
}

fn data(text: &'static str) -> Result<Frame<Bytes>, BodyError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

impl HttpBody for Fed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        // With nothing left it still waits for its feed to be dropped: whoever believes the length need not ask.
        let this = self.get_mut();
        this.from.poll_recv(cx).map(|item| {
            if let Some(Ok(frame)) = &item {
                let length = frame.data_ref().map_or(0, Bytes::len) as u64;
                this.left = this.left.map(|left| left.saturating_sub(length));
            }
            item
        })
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::new, SizeHint::with_exact)
    }
}
