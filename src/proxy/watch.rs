//! Answers by HTTP/2 whose clients do not take them.
//!
//! Whoever sends an answer's frames asks for the next one when the client has taken what went before, and nobody is asked while it has
//! not; so the time is kept here. An answer that is given up lets go of what it holds, and is reset when somebody asks for more of it.

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;

use super::answer::of_no_hop;
use super::pace::{Least, Pace};
use super::visit::UnderWay;
use super::{Body, BodyError};

/// The answers of one connection.
#[derive(Clone, Default)]
pub(super) struct Watches {
    answers: Rc<RefCell<Vec<Weak<RefCell<Watch>>>>>,
    /// The connection's, which keeps the time.
    task: Task,
}

type Task = Rc<RefCell<Option<Waker>>>;

struct Watch {
    /// `None`: given up.
    body: Option<Body>,
    under_way: Option<UnderWay>,
    pace: Pace,
}

/// A body that is watched.
pub(super) struct Watched {
    watch: Rc<RefCell<Watch>>,
    task: Task,
}

/// What was given up.
pub(super) struct GivenUp {
    pub(super) answers: u64,
    /// Nothing else is on its way on the connection.
    pub(super) all: bool,
}

impl Watches {
    pub(super) fn watched(&self, body: Body, least: Least, mut under_way: UnderWay) -> Watched {
        let mut pace = Pace::new(least);
        let ended = body.is_end_stream();
        if ended {
            under_way.is_handed();
        } else {
            // Until there is room for a first piece, nobody asks for one.
            pace.waits();
        }
        let watch = Rc::new(RefCell::new(Watch { body: Some(body), under_way: Some(under_way), pace }));
        if !ended {
            let mut answers = self.answers.borrow_mut();
            answers.retain(|watch| watch.strong_count() > 0);
            answers.push(Rc::downgrade(&watch));
        }
        Watched { watch, task: self.task.clone() }
    }

    fn all(&self) -> Vec<Rc<RefCell<Watch>>> {
        self.answers.borrow().iter().filter_map(Weak::upgrade).collect()
    }

    /// When the first of the clients that are waited for has had its time. The task is woken when another one begins to be waited for.
    pub(super) fn due(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|task| task.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
        self.answers.borrow().iter().filter_map(|watch| watch.upgrade()?.borrow().pace.due()).min()
    }

    pub(super) fn give_up(&self, now: Instant) -> GivenUp {
        let (mut answers, mut others) = (0, 0);
        for watch in self.all() {
            let mut watch = watch.borrow_mut();
            if watch.body.is_some() && watch.pace.is_over(now) {
                answers += 1;
                watch.pace.rests();
                let held = (watch.body.take(), watch.under_way.take());
                drop(watch);
                drop(held);
            } else {
                others += usize::from(watch.body.is_some());
            }
        }
        GivenUp { answers, all: answers > 0 && others == 0 }
    }
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let watch = &mut *self.watch.borrow_mut();
        watch.pace.rests();
        let Some(body) = &mut watch.body else {
            return Poll::Ready(Some(Err("the client took too little of its answer".into())));
        };
        let frame = Pin::new(body).poll_frame(cx).map_ok(|frame| match frame.into_trailers() {
            Ok(trailers) => Frame::trailers(of_no_hop(trailers)),
            Err(frame) => frame,
        });
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            watch.pace.moved(frame.data_ref().map_or(0, Bytes::len));
            watch.pace.waits();
            if let Some(task) = &*self.task.borrow() {
                task.wake_by_ref();
            }
        }
        let over = match &frame {
            Poll::Ready(None) => true,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || watch.body.as_ref().is_some_and(HttpBody::is_end_stream),
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if let (true, Some(under_way)) = (over, &mut watch.under_way) {
            under_way.is_handed();
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.watch.borrow().body.as_ref().is_some_and(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.watch.borrow().body.as_ref().map_or_else(SizeHint::new, HttpBody::size_hint)
    }
}
