//! What is on its way to one agent: two lanes, each bounded, so that nobody who says something waits.
//!
//! Answers and farewells overtake orders; orders keep their order. A message above the agent's limit goes in parts, and what is said
//! meanwhile gets between them. The connection takes the next message when it has room for it, so what waits, waits here.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::chunks::{MAX_MESSAGE, Parts};
use crate::wire::OperateResponse;
use crate::wire::operate_response::Message;

/// Answers that wait.
const ANSWERS: usize = 64;
/// Orders that wait, in number and in bytes.
const ORDERS: usize = 1_024;
const ORDER_BYTES: usize = 64 << 20;

/// Why an order was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// The session ends.
    Ended,
    /// Too much waits already.
    Full,
    /// The agent takes no message of so many bytes.
    TooLarge(usize),
}

/// The side that says something. Clones share the lanes.
#[derive(Clone, Debug)]
pub(super) struct Outbox(Arc<Lanes>);

/// The side that is sent. Dropped, the session has nobody to speak to.
#[derive(Debug)]
pub(super) struct Outgoing(Arc<Lanes>);

#[derive(Debug)]
struct Lanes {
    state: Mutex<State>,
    gone: CancellationToken,
}

#[derive(Debug)]
struct State {
    answers: VecDeque<Message>,
    orders: VecDeque<Message>,
    bytes: usize,
    parts: Option<Parts>,
    /// The largest message that the agent takes.
    limit: usize,
    /// It takes larger ones in parts.
    chunks: bool,
    messages: u64,
    ended: bool,
    waker: Option<Waker>,
}

/// Both sides, and what is cancelled when the second is gone.
pub(super) fn new() -> (Outbox, Outgoing, CancellationToken) {
    let gone = CancellationToken::new();
    let state = State {
        answers: VecDeque::new(),
        orders: VecDeque::new(),
        bytes: 0,
        parts: None,
        limit: 4 << 20,
        chunks: false,
        messages: 0,
        ended: false,
        waker: None,
    };
    let lanes = Arc::new(Lanes { state: Mutex::new(state), gone: gone.clone() });
    (Outbox(lanes.clone()), Outgoing(lanes), gone)
}

impl Lanes {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox {
    /// What the agent takes, as its registration says.
    pub(super) fn set_limit(&self, limit: usize, chunks: bool) {
        let mut state = self.0.state();
        (state.limit, state.chunks) = (limit, chunks);
    }

    /// Says something that overtakes orders. `false`: an agent that asks and does not read has too many answers waiting, or the
    /// session ends.
    pub(super) fn answer(&self, message: Message) -> bool {
        let mut state = self.0.state();
        if state.ended || state.answers.len() >= ANSWERS {
            return false;
        }
        state.answers.push_back(message);
        wake(state);
        true
    }

    /// Says something after the orders before it; its bytes.
    pub(super) fn order(&self, message: Message) -> Result<usize, NotTaken> {
        let message = OperateResponse { message: Some(message) };
        let bytes = message.encoded_len();
        let mut state = self.0.state();
        if state.ended {
            return Err(NotTaken::Ended);
        }
        if bytes > state.limit && (!state.chunks || bytes as u64 > MAX_MESSAGE) {
            return Err(NotTaken::TooLarge(bytes));
        }
        // One that is larger than the lane still fits an empty one.
        if state.orders.len() >= ORDERS || (state.bytes > 0 && state.bytes + bytes > ORDER_BYTES) {
            return Err(NotTaken::Full);
        }
        state.bytes += bytes;
        state.orders.extend(message.message);
        wake(state);
        Ok(bytes)
    }

    /// The last word. Answers that wait are still sent, orders are not.
    pub(super) fn end(&self, farewell: Option<Message>) {
        let mut state = self.0.state();
        if state.ended {
            return;
        }
        state.ended = true;
        state.answers.extend(farewell);
        state.orders.clear();
        (state.parts, state.bytes) = (None, 0);
        wake(state);
    }
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    fn next(&mut self) -> Option<Message> {
        let next = self.take();
        // An agent at rest has a ping to answer now and then: the room for four messages that one of them makes is not kept meanwhile.
        for lane in [&mut self.answers, &mut self.orders] {
            if lane.is_empty() {
                *lane = VecDeque::new();
            }
        }
        next
    }

    fn take(&mut self) -> Option<Message> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        if let Some(part) = self.parts.as_mut().and_then(Iterator::next) {
            return Some(Message::Chunk(part));
        }
        self.parts = None;
        let order = self.orders.pop_front()?;
        let order = OperateResponse { message: Some(order) };
        let bytes = order.encoded_len();
        self.bytes = self.bytes.saturating_sub(bytes);
        if bytes <= self.limit {
            return order.message;
        }
        self.messages += 1;
        let mut parts = Parts::of(self.messages, order.encode_to_vec().into(), self.limit);
        let first = parts.next();
        self.parts = Some(parts);
        first.map(Message::Chunk)
    }
}

impl Stream for Outgoing {
    type Item = Result<OperateResponse, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.0.state();
        match state.next() {
            Some(message) => Poll::Ready(Some(Ok(OperateResponse { message: Some(message) }))),
            None if state.ended => Poll::Ready(None),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        self.0.gone.cancel();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};

    use super::*;
    use crate::channel::chunks::{Assembler, Budget};
    use crate::wire::{Farewell, Operation, Pong};

    fn order(id: &str) -> Message {
        Message::Operation(Operation { id: id.to_owned(), ..Operation::default() })
    }

    fn pong(number: u64) -> Message {
        Message::Pong(Pong { number })
    }

    fn sent(out: &mut Outgoing) -> Option<Message> {
        out.next().now_or_never().flatten().and_then(|m| m.unwrap().message)
    }

    #[test]
    fn answers_overtake_orders_and_orders_keep_their_order() {
        let (outbox, mut out, _gone) = new();
        assert!(outbox.order(order("1")).is_ok());
        assert!(outbox.order(order("2")).is_ok());
        assert!(outbox.answer(pong(3)));
        assert_eq!([sent(&mut out), sent(&mut out), sent(&mut out)], [Some(pong(3)), Some(order("1")), Some(order("2"))]);
        assert_eq!(sent(&mut out), None);
    }

    #[test]
    fn lanes_with_nothing_in_them_hold_no_memory() {
        let (outbox, mut out, _gone) = new();
        assert!(outbox.answer(pong(1)) && outbox.order(order("1")).is_ok());
        while sent(&mut out).is_some() {}
        let state = outbox.0.state();
        assert_eq!((state.answers.capacity(), state.orders.capacity()), (0, 0));
    }

    #[test]
    fn what_does_not_fit_is_refused_at_once() {
        let (outbox, _out, _gone) = new();
        assert_eq!((0..ORDERS).map(|n| outbox.order(order(&n.to_string()))).find(Result::is_err), None);
        assert_eq!(outbox.order(order("more")), Err(NotTaken::Full));
        assert_eq!((0..1_000).filter(|n| outbox.answer(pong(*n))).count(), ANSWERS);
        outbox.set_limit(100, false);
        assert!(matches!(outbox.order(order(&"x".repeat(200))), Err(NotTaken::TooLarge(n)) if n > 200));
    }

    #[test]
    fn lanes_are_bounded_in_bytes_too() {
        let (outbox, mut out, _gone) = new();
        let large = "x".repeat(3 << 20);
        let taken = (0..ORDERS).take_while(|_| outbox.order(order(&large)).is_ok()).count();
        assert_eq!(taken, 21);
        assert!(sent(&mut out).is_some());
        assert!(outbox.order(order(&large)).is_ok());
    }

    #[test]
    fn a_message_above_the_limit_goes_in_parts_and_answers_get_between_them() {
        let (outbox, mut out, _gone) = new();
        outbox.set_limit(400, true);
        let large = order(&"x".repeat(1_000));
        assert!(outbox.order(large.clone()).is_ok() && outbox.order(order("next")).is_ok());
        let mut assembler = Assembler::new(Budget::new(1 << 20));
        let mut whole = None;
        let Some(Message::Chunk(first)) = sent(&mut out) else { panic!("no part") };
        assert_eq!(assembler.take(first), Ok(None));
        assert!(outbox.answer(pong(1)));
        assert_eq!(sent(&mut out), Some(pong(1)));
        while whole.is_none() {
            let Some(Message::Chunk(part)) = sent(&mut out) else { panic!("no part") };
            whole = assembler.take(part).unwrap();
        }
        assert_eq!(OperateResponse::decode(&*whole.unwrap()).unwrap().message, Some(large));
        assert_eq!(sent(&mut out), Some(order("next")));
    }

    #[test]
    fn the_farewell_is_the_last_word_and_orders_before_it_are_not_sent() {
        let (outbox, mut out, gone) = new();
        let farewell = || Message::Farewell(Farewell::default());
        assert!(outbox.order(order("1")).is_ok());
        outbox.end(Some(farewell()));
        outbox.end(Some(farewell()));
        assert_eq!(outbox.order(order("2")), Err(NotTaken::Ended));
        assert!(!outbox.answer(pong(1)));
        assert_eq!(sent(&mut out), Some(farewell()));
        assert!(matches!(out.next().now_or_never(), Some(None)));
        drop(out);
        assert!(gone.is_cancelled());
    }
}
