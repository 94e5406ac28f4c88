//! The life of one account change: look, announce, forward, hear out, say what became of it.
//!
//! What is forwarded is forwarded by a task of its own, so that a client that leaves does not take the call to Clouddriver with it.
//! The waiting handler gets the answer's head from it, and the body through [`relay`].

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body::Body as _;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tower::Service;
use ulid::Ulid;

use super::capture::Announcement;
use super::layer::Shared;
use super::metrics::{Metrics, NotForwarded, outcome_text};
use super::{capture, deny, hints, outcome, relay};
use crate::mirror::{Announced, Change, Journal, Method, Outcome, Refusal, Ticket, Verdict};
use crate::proxy::media;
use crate::proxy::respond::{self, REQUEST_ID};
use crate::proxy::{Body, Delivery};

/// How long Clouddriver's answer is waited for in all; after that the outcome is unknown. As long as the mirror looks after such a one.
const WHOLE_WAIT: Duration = Duration::from_secs(15 * 60);
/// How much of an answer is copied for its hints: a definition with its kubeconfig is a few KiB.
const ANSWER_COPY: usize = 64 * 1024;
/// Seconds after which a change that was not forwarded may be tried again. Never 0: Gate would repeat it at once by itself.
const RETRY_AFTER: u32 = 5;
const TOO_LATE: &str = "this change waited too long before it could be forwarded; nothing was changed";

/// Handles one change. Dropped before it is forwarded (the client left), nothing is forwarded; dropped after, the call goes on.
pub(super) async fn handle<S, J>(
    inner: S,
    journal: J,
    shared: Shared,
    request: Request<Body>,
    method: Method,
    path_name: Option<String>,
) -> Result<Response<Body>, S::Error>
where
    S: Service<Request<Body>, Response = Response<Body>> + 'static,
    S::Error: Delivery + 'static,
    J: Journal,
{
    let started = Instant::now();
    let metrics = &shared.metrics;
    let (parts, body) = request.into_parts();
    let request_id = request_id(&parts.headers);
    let log_id = request_id.as_deref().unwrap_or("-");

    let mut nameless = false;
    let (name, captured, body) = if method == Method::Delete {
        (path_name, None, Some(body))
    } else {
        let captured = match capture::collect(body, shared.inspection_limit).await {
            Ok(captured) => captured,
            Err(failed) => {
                tracing::info!(method = method.as_str(), request_id = log_id, "an account change was not forwarded: {failed}");
                metrics.kept_back(NotForwarded::Body);
                return Ok(answer(StatusCode::BAD_REQUEST, "RequestBodyBroken", &failed.to_string(), None, true));
            }
        };
        let whole = captured.whole();
        if whole.is_none() {
            metrics.above_limit.inc();
        }
        let name = match method {
            Method::PutNamed => path_name,
            _ => whole.and_then(|body| hints::name(&parts.headers, body)),
        };
        nameless = name.is_none() && whole.is_some_and(|body| hints::names_nobody(&parts.headers, body));
        match deny::check(&shared.deny, &parts.headers, whole) {
            deny::Decision::Pass => {}
            deny::Decision::Warn(field) => {
                tracing::warn!(method = method.as_str(), name = ?name, request_id = log_id, field, "an account change has a denied property");
                metrics.warned.inc();
            }
            deny::Decision::Refuse(refused) => {
                tracing::warn!(
                    method = method.as_str(),
                    name = ?name,
                    request_id = log_id,
                    status = refused.status.as_u16(),
                    "an account change was refused: {}",
                    refused.message
                );
                metrics.kept_back(if refused.found { NotForwarded::Denied } else { NotForwarded::Unreadable });
                return Ok(answer(refused.status, "InterceptorDeny", &refused.message, None, whole.is_none()));
            }
        }
        (name, Some(captured), None)
    };

    let unread = captured.as_ref().is_some_and(|c| c.whole().is_none());
    let change = Change { id: Ulid::generate(), method, name: name.clone(), request_id: request_id.clone() };
    let (ticket, announced) = (Rc::new(RefCell::new(None)), Announcement::default());
    let with_body = captured.as_ref().is_some_and(|c| !c.is_empty());
    let (gone, late) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(false)));
    let body = match (captured, body) {
        (Some(captured), _) => {
            let (ticket, late) = (ticket.clone(), late.clone());
            // Asked again when the first byte leaves: reaching Clouddriver may have taken a while. A ticket that is used up has its
            // answer, and nothing depends on the rest of the body.
            let gate = move || {
                let open = ticket.borrow().as_ref().is_none_or(J::Ticket::may_forward);
                late.set(!open);
                open
            };
            captured.replay(announced.clone(), gate, gone.clone())
        }
        (None, Some(body)) if body.is_end_stream() => {
            // Without a body it is the head that may not leave late.
            let (ticket, late) = (ticket.clone(), late.clone());
            Body::Asked(Rc::new(move || {
                let open = ticket.borrow().as_ref().is_none_or(J::Ticket::may_forward);
                late.set(!open);
                open
            }))
        }
        (None, body) => body.unwrap_or(Body::Empty),
    };
    let open = Open { ticket, method, name, nameless, request_id, started, metrics: metrics.clone() };
    let (to_client, from_task) = oneshot::channel();
    let mut presence = Presence { gone: gone.clone(), metrics: metrics.clone(), waiting: true };
    let call = Call { gone, late, drain: shared.inspection_limit, unread, with_body, announced };
    tokio::task::spawn_local(carry(inner, Request::from_parts(parts, body), (journal, change), open, to_client, call));
    let answered = from_task.await;
    presence.waiting = false;
    answered.unwrap_or_else(|_| {
        let message = "Fairlead failed while it waited for Clouddriver's answer; the change may have been made";
        Ok(answer(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message, None, true))
    })
}

/// What the detached part and the handler or the body share.
struct Call {
    /// The client left before an answer.
    gone: Rc<Cell<bool>>,
    /// The body was held back at its first byte.
    late: Rc<Cell<bool>>,
    /// Most bytes of an answer that are read for nobody.
    drain: usize,
    /// Part of the request's body is still with the client.
    unread: bool,
    /// Clouddriver cannot act on the head alone, so that may go before the announcement is made.
    with_body: bool,
    /// What the body waits for.
    announced: Announcement,
}

/// Why nothing of a change was forwarded but perhaps its head.
enum Kept {
    Refused(Refusal),
    ClientLeft,
}

/// The detached part: from the announcement to the verdict, and the body after it.
///
/// The announcement is written while the head of the request is on its way: with a body to come, Clouddriver can do nothing with a
/// head but wait, and what it does until then costs no time of its own any more.
async fn carry<S, J>(
    mut inner: S,
    request: Request<Body>,
    (journal, change): (J, Change),
    mut open: Open<J::Ticket>,
    client: oneshot::Sender<Result<Response<Body>, S::Error>>,
    call: Call,
) where
    S: Service<Request<Body>, Response = Response<Body>>,
    S::Error: Delivery,
    J: Journal,
{
    let until = Instant::now() + WHOLE_WAIT;
    let mut announcing = pin!(journal.announce(change));
    let mut due = true;
    let made = |announcement: Announced<J::Ticket>| match announcement {
        Ok(ticket) if call.gone.get() => {
            ticket.finish(Verdict { outcome: Outcome::Refused, name: None });
            Err(Kept::ClientLeft)
        }
        Ok(ticket) => {
            *open.ticket.borrow_mut() = Some(ticket);
            call.announced.made();
            Ok(())
        }
        Err(refusal) => Err(Kept::Refused(refusal)),
    };
    let first = poll_fn(|cx| Poll::Ready(announcing.as_mut().poll(cx))).await;
    let mut kept = None;
    if let Poll::Ready(announcement) = first {
        due = false;
        kept = made(announcement).err();
    } else if !call.with_body {
        due = false;
        kept = made(announcing.as_mut().await).err();
    }
    if kept.is_none() && !due && !open.ticket.borrow().as_ref().is_some_and(Ticket::may_forward) {
        open.withdraw();
        let _ = client.send(Ok(unavailable(TOO_LATE, call.unread)));
        return;
    }
    let answered = match kept {
        Some(kept) => Err(kept),
        None => {
            let mut calling = pin!(timeout_at(until, inner.call(request)));
            let answered = poll_fn(|cx| {
                if due && let Poll::Ready(announcement) = announcing.as_mut().poll(cx) {
                    due = false;
                    if let Err(kept) = made(announcement) {
                        return Poll::Ready(Err(kept));
                    }
                }
                calling.as_mut().poll(cx).map(Ok)
            })
            .await;
            if due && answered.is_ok() {
                // Answered by the head alone: what that means for the change is said when there is one.
                let _ = made(announcing.await);
            }
            answered
        }
    };
    let answered = match answered {
        Ok(answered) => answered,
        Err(Kept::ClientLeft) => return,
        Err(Kept::Refused(refusal)) => {
            let id = open.request_id.as_deref().unwrap_or("-");
            tracing::warn!(method = open.method.as_str(), name = ?open.name, request_id = id, ?refusal, "an account change was not forwarded");
            open.metrics.kept_back(NotForwarded::Journal);
            let _ = client.send(Ok(unavailable(why(refusal), call.unread)));
            return;
        }
    };
    let (head, body) = match answered {
        Ok(Ok(answer)) => answer.into_parts(),
        Ok(Err(error)) => {
            let outcome = if error.certainly_not_delivered() { Outcome::Refused } else { Outcome::Unknown };
            open.finish(outcome, None, None);
            // Its body was held back by us, which the error cannot know.
            let _ = client.send(if call.late.get() { Ok(unavailable(TOO_LATE, true)) } else { Err(error) });
            return;
        }
        Err(_) => {
            open.finish(Outcome::Unknown, None, None);
            let message = format!("no answer from Clouddriver within {} s; the change may have been made", WHOLE_WAIT.as_secs());
            let _ = client.send(Ok(answer(StatusCode::GATEWAY_TIMEOUT, "UpstreamResponseTimeout", &message, None, true)));
            return;
        }
    };
    let (status, method) = (head.status, open.method);
    let early = outcome::at_head(status, &head.headers, body.is_end_stream());
    // The name in the answer is the one that Clouddriver's own parser read.
    let names = early == Some(Outcome::Ok)
        && matches!(method, Method::Post | Method::Put)
        && !body.is_end_stream()
        && !media::is_coded(&head.headers);
    if let (Some(outcome), false) = (early, names) {
        open.finish(outcome, None, Some(status));
        drop(open);
        if let Err(Ok(unheard)) = client.send(Ok(Response::from_parts(head, body))) {
            relay::drain(unheard.into_body(), call.drain).await;
        }
        return;
    }
    let headers = head.headers.clone();
    let (sender, relayed) = relay::channel(&body);
    let _ = client.send(Ok(Response::from_parts(head, relayed)));
    let bounds = relay::Bounds { copy: ANSWER_COPY.min(call.drain), drain: call.drain, until };
    let metrics = open.metrics.clone();
    let left = relay::pump(body, sender, bounds, |copied| {
        let outcome = outcome::with_body(status, &headers, copied.complete.then_some(copied.bytes));
        let name = if outcome == Outcome::Ok { hints::name(&headers, copied.bytes) } else { None };
        open.finish(outcome, name, Some(status));
    })
    .await;
    if left && !call.gone.get() {
        metrics.clients_left.inc();
    }
}

/// One announced change until its verdict. Dropped without one (the process ends, or a panic), its outcome is unknown.
struct Open<T: Ticket> {
    /// Shared with the gate in the request's body.
    ticket: Rc<RefCell<Option<T>>>,
    method: Method,
    name: Option<String>,
    /// The body certainly names no account, so nothing but a success can have stored one.
    nameless: bool,
    request_id: Option<String>,
    started: Instant,
    metrics: Metrics,
}

impl<T: Ticket> Open<T> {
    fn finish(&mut self, outcome: Outcome, name: Option<String>, status: Option<StatusCode>) {
        let Some(ticket) = self.ticket.borrow_mut().take() else { return };
        let outcome = if self.nameless && outcome == Outcome::Unknown { Outcome::Refused } else { outcome };
        self.tell(outcome, name.as_ref().or(self.name.as_ref()), status);
        ticket.finish(Verdict { outcome, name });
    }

    fn withdraw(&mut self) {
        if self.ticket.borrow_mut().take().is_some() {
            self.metrics.kept_back(NotForwarded::Late);
            let id = self.request_id.as_deref().unwrap_or("-");
            tracing::warn!(method = self.method.as_str(), name = ?self.name, request_id = id, "an account change came too late to be forwarded");
        }
    }

    fn tell(&self, outcome: Outcome, name: Option<&String>, status: Option<StatusCode>) {
        self.metrics.change(self.method, outcome);
        tracing::info!(
            method = self.method.as_str(),
            // As Debug: a name may hold anything.
            name = ?name,
            outcome = outcome_text(outcome),
            status = status.map(|s| s.as_u16()),
            request_id = self.request_id.as_deref().unwrap_or("-"),
            duration_ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX),
            "account change"
        );
    }
}

impl<T: Ticket> Drop for Open<T> {
    fn drop(&mut self) {
        // A ticket that is dropped says "unknown" by itself.
        if self.ticket.borrow_mut().take().is_some() {
            self.tell(Outcome::Unknown, self.name.as_ref(), None);
        }
    }
}

/// Notices that the handler was dropped while it waited: the client has gone.
struct Presence {
    gone: Rc<Cell<bool>>,
    metrics: Metrics,
    waiting: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if self.waiting {
            self.gone.set(true);
            self.metrics.clients_left.inc();
        }
    }
}

/// The request's id for the log, if it is one: a client may send anything, and a line should stay a line.
fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get(REQUEST_ID)?.to_str().ok()?;
    (id.len() <= 128).then(|| id.to_owned())
}

fn why(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::JournalUnavailable => {
            "account changes cannot be recorded now (interceptor.failurePolicy is Fail and the database does not answer); nothing was changed"
        }
        Refusal::NotRegistered => {
            "Fairlead has just started and has not reached its database yet (interceptor.stateDir would let changes pass); nothing was changed"
        }
    }
}

fn unavailable(message: &str, unread: bool) -> Response<Body> {
    answer(StatusCode::SERVICE_UNAVAILABLE, "AccountChangeNotRecorded", message, Some(RETRY_AFTER), unread)
}

/// An answer of our own. `unread`: the request's body was not read to its end, so the connection cannot be used again, and says so.
fn answer(status: StatusCode, exception: &str, message: &str, retry_after: Option<u32>, unread: bool) -> Response<Body> {
    let mut answer = respond::error(status, exception, message, retry_after);
    if unread {
        answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}
