//! Messages above a peer's limit, in parts: cut here, and put together again within bounds.
//!
//! Bytes are counted as they come, not as they are announced, so an announcement costs nothing. All sessions share one [`Budget`].

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::wire::Chunk;

/// Bytes of a whole message.
pub const MAX_MESSAGE: u64 = 64 << 20;
/// Bytes of one part, so that other messages get between two.
const PART: usize = 256 << 10;
/// What a part's own fields take, at most.
const ENVELOPE: usize = 64;
/// The unit of the budget.
const UNIT: usize = 1 << 10;

/// Memory for messages that are not whole yet, of all sessions together.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// So many bytes, rounded down to KiB.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }
}

/// What is wrong with a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkError {
    /// No sender that keeps to the protocol sends such a one.
    #[error("a chunk {0}")]
    Protocol(&'static str),
    /// The message is larger than any may be.
    #[error("a message of {0} bytes in chunks is larger than {MAX_MESSAGE} bytes")]
    TooLarge(u64),
    /// All sessions together have no room for it now.
    #[error("there is no room for more large messages now")]
    NoRoom,
}

/// Puts the parts of one direction of one stream together.
#[derive(Debug)]
pub struct Assembler {
    budget: Budget,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    id: u64,
    next: u32,
    total: u64,
    data: Vec<u8>,
    room: Option<OwnedSemaphorePermit>,
}

impl Assembler {
    /// With nothing begun.
    pub fn new(budget: Budget) -> Self {
        Self { budget, open: None }
    }

    /// A message has begun and is not whole.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Takes a part; the whole message with its last one.
    ///
    /// # Errors
    /// [`ChunkError`]; what was there of the message is let go.
    pub fn take(&mut self, chunk: Chunk) -> Result<Option<Vec<u8>>, ChunkError> {
        let mut open = match self.open.take() {
            Some(open) if chunk.message_id != open.id => return Err(ChunkError::Protocol("of another message came before the last one")),
            Some(open) => open,
            None if chunk.index != 0 => return Err(ChunkError::Protocol("came without the first one")),
            None if chunk.total_bytes > MAX_MESSAGE => return Err(ChunkError::TooLarge(chunk.total_bytes)),
            None => Open { id: chunk.message_id, next: 0, total: chunk.total_bytes, data: Vec::new(), room: None },
        };
        if chunk.index != open.next {
            return Err(ChunkError::Protocol("is out of order"));
        }
        if chunk.data.is_empty() {
            return Err(ChunkError::Protocol("is empty"));
        }
        let length = open.data.len() + chunk.data.len();
        if length as u64 > open.total {
            return Err(ChunkError::Protocol("goes beyond the bytes that were announced"));
        }
        let have = open.room.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if let Some(more) = u32::try_from(length.div_ceil(UNIT) - have).ok().filter(|more| *more > 0) {
            let more = self.budget.0.clone().try_acquire_many_owned(more).map_err(|_| ChunkError::NoRoom)?;
            match &mut open.room {
                Some(room) => room.merge(more),
                None => open.room = Some(more),
            }
        }
        open.data.extend_from_slice(&chunk.data);
        open.next += 1;
        if !chunk.last {
            self.open = Some(open);
            return Ok(None);
        }
        if length as u64 != open.total {
            return Err(ChunkError::Protocol("is the last one before all bytes were there"));
        }
        Ok(Some(open.data))
    }
}

/// The parts of a message, in order.
#[derive(Debug)]
pub struct Parts {
    id: u64,
    index: u32,
    total: u64,
    rest: Bytes,
    part: usize,
}

impl Parts {
    /// Cuts an encoded message so that no part is larger than `limit` with its own fields.
    pub fn of(message_id: u64, encoded: Bytes, limit: usize) -> Self {
        let part = limit.saturating_sub(ENVELOPE).clamp(1, PART);
        Self { id: message_id, index: 0, total: encoded.len() as u64, rest: encoded, part }
    }
}

impl Iterator for Parts {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.rest.is_empty() {
            return None;
        }
        let data = self.rest.split_to(self.part.min(self.rest.len()));
        let total_bytes = if self.index == 0 { self.total } else { 0 };
        let chunk = Chunk { message_id: self.id, index: self.index, last: self.rest.is_empty(), total_bytes, data: data.into() };
        self.index += 1;
        Some(chunk)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    fn assembler() -> Assembler {
        Assembler::new(Budget::new(1 << 20))
    }

    fn chunk(index: u32, last: bool, total: u64, data: &[u8]) -> Chunk {
        Chunk { message_id: 7, index, last, total_bytes: total, data: data.to_vec() }
    }

    proptest! {
        #[test]
        fn what_was_cut_is_put_together_and_no_part_is_above_the_limit(bytes in proptest::collection::vec(any::<u8>(), 1..4000), limit in 65_usize..700) {
            let mut assembler = assembler();
            let mut whole = None;
            for part in Parts::of(u64::MAX, bytes.clone().into(), limit) {
                prop_assert!(whole.is_none());
                prop_assert!(part.encoded_len() + 16 <= limit.max(64 + 17), "{} of {limit}", part.encoded_len());
                whole = assembler.take(part).unwrap();
            }
            prop_assert_eq!(whole, Some(bytes));
        }

        #[test]
        fn no_order_of_parts_makes_another_message(order in proptest::collection::vec(0_usize..4, 0..8)) {
            let bytes: Vec<u8> = (0..200).collect();
            let parts: Vec<Chunk> = Parts::of(1, bytes.clone().into(), 64 + 50).collect();
            prop_assert_eq!(parts.len(), 4);
            let mut assembler = assembler();
            for at in order {
                if let Ok(Some(whole)) = assembler.take(parts[at].clone()) {
                    prop_assert_eq!(&whole, &bytes);
                }
            }
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_and_the_next_message_is_taken() {
        let protocol = |got: Result<Option<Vec<u8>>, ChunkError>| matches!(got, Err(ChunkError::Protocol(_)));
        let mut a = assembler();
        assert!(protocol(a.take(chunk(1, true, 4, b"late"))));
        assert!(protocol(a.take(chunk(0, true, 3, b"four"))));
        assert!(protocol(a.take(chunk(0, true, 5, b"four"))));
        assert!(protocol(a.take(chunk(0, false, 5, b""))));
        assert_eq!(a.take(chunk(0, false, 8, b"four")), Ok(None));
        assert!(protocol(a.take(chunk(2, true, 0, b"four"))));
        assert_eq!(a.take(chunk(0, false, 8, b"four")), Ok(None));
        assert!(protocol(a.take(Chunk { message_id: 8, ..chunk(1, true, 0, b"four") })));
        assert_eq!(a.take(chunk(0, false, MAX_MESSAGE + 1, b"four")), Err(ChunkError::TooLarge(MAX_MESSAGE + 1)));
        assert_eq!(a.take(chunk(0, true, 4, b"four")), Ok(Some(b"four".to_vec())));
    }

    #[test]
    fn an_announcement_takes_no_room_and_what_has_come_does() {
        let budget = Budget::new(4 << 10);
        let (mut one, mut other) = (Assembler::new(budget.clone()), Assembler::new(budget));
        assert_eq!(one.take(chunk(0, false, MAX_MESSAGE, b"x")), Ok(None));
        assert_eq!(other.take(chunk(0, false, 9_000, &[0; 3 << 10])), Ok(None));
        assert_eq!(other.take(chunk(1, false, 0, &[0; 1 << 10])), Err(ChunkError::NoRoom));
        // What was there is given back.
        assert_eq!(one.take(chunk(1, false, 0, &[0; 3 << 10])), Ok(None));
    }
}
