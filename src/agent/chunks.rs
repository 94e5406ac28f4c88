//! Messages that are larger than the other side takes travel in parts.

use std::collections::HashMap;

use prost::Message as _;

use crate::wire::{self, Chunk, OperateRequest, OperateResponse, operate_request, operate_response};

/// Bytes of a whole message that is put together here.
const MAX_WHOLE: usize = 64 << 20;
/// Messages that are put together at a time.
const MAX_OPEN: usize = 4;
/// What a part's own frame takes at most.
const FRAME: usize = 64;

/// Cuts a message that is larger than `most` bytes; returns it as it is otherwise.
pub(super) fn cut(message: OperateRequest, most: usize, next_id: &mut u64) -> Vec<OperateRequest> {
    if message.encoded_len() <= most {
        return vec![message];
    }
    *next_id += 1;
    let whole = message.encode_to_vec();
    let size = most.saturating_sub(FRAME).max(1);
    let last = whole.len().div_ceil(size) - 1;
    whole
        .chunks(size)
        .enumerate()
        .map(|(i, data)| {
            let chunk = Chunk {
                message_id: *next_id,
                index: u32::try_from(i).unwrap_or(u32::MAX),
                last: i == last,
                total_bytes: if i == 0 { whole.len() as u64 } else { 0 },
                data: data.to_vec(),
            };
            OperateRequest { message: Some(operate_request::Message::Chunk(chunk)) }
        })
        .collect()
}

/// Puts parts together.
#[derive(Default)]
pub(super) struct Assembly {
    open: HashMap<u64, (u32, usize, Vec<u8>)>,
}

impl Assembly {
    /// Takes a part; the message once it is whole.
    ///
    /// # Errors
    /// What the other side did against the protocol.
    pub(super) fn take(&mut self, chunk: Chunk) -> Result<Option<operate_response::Message>, &'static str> {
        let wire::Chunk { message_id, index, last, total_bytes, data } = chunk;
        let total = usize::try_from(total_bytes).unwrap_or(usize::MAX);
        if index == 0 {
            if total > MAX_WHOLE {
                return Err("a message of more than 64 MiB");
            }
            if self.open.len() >= MAX_OPEN || self.open.contains_key(&message_id) {
                return Err("parts of too many messages at a time");
            }
            self.open.insert(message_id, (0, total, Vec::new()));
        }
        let Some((next, total, whole)) = self.open.get_mut(&message_id) else { return Err("a part of a message that was not begun") };
        if *next != index || whole.len() + data.len() > *total {
            return Err("parts out of order, or more of them than was said");
        }
        *next += 1;
        whole.extend_from_slice(&data);
        if !last {
            return Ok(None);
        }
        let Some((_, total, whole)) = self.open.remove(&message_id) else { return Ok(None) };
        if whole.len() != total {
            return Err("fewer bytes than was said");
        }
        let message = OperateResponse::decode(&*whole).map_err(|_| "parts that make no message")?.message;
        match message {
            Some(operate_response::Message::Chunk(_)) => Err("parts of parts"),
            message => Ok(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Leaving, Operation};
    use proptest::prelude::*;

    fn parts(message: &OperateResponse, size: usize) -> Vec<Chunk> {
        let whole = message.encode_to_vec();
        let count = whole.chunks(size).count();
        whole
            .chunks(size)
            .enumerate()
            .map(|(i, data)| Chunk {
                message_id: 7,
                index: i as u32,
                last: i + 1 == count,
                total_bytes: if i == 0 { whole.len() as u64 } else { 0 },
                data: data.to_vec(),
            })
            .collect()
    }

    proptest! {
        #[test]
        fn what_is_cut_fits_and_is_whole_again(length in 0_usize..5_000, most in 100_usize..3_000) {
            let reason = "x".repeat(length);
            let message = OperateRequest { message: Some(operate_request::Message::Leaving(Leaving { reason })) };
            let cut = cut(message.clone(), most, &mut 0);
            let mut whole = Vec::new();
            for part in &cut {
                prop_assert!(part.encoded_len() <= most);
                if let Some(operate_request::Message::Chunk(chunk)) = &part.message {
                    whole.extend_from_slice(&chunk.data);
                }
            }
            if cut.len() == 1 {
                prop_assert_eq!(&cut[0], &message);
            } else {
                prop_assert_eq!(OperateRequest::decode(&*whole).unwrap(), message);
            }
        }

        #[test]
        fn parts_make_the_message_again(length in 1_usize..5_000, size in 1_usize..700) {
            let operation = Operation { id: "y".repeat(length), ..Operation::default() };
            let message = OperateResponse { message: Some(operate_response::Message::Operation(operation)) };
            let mut assembly = Assembly::default();
            let mut made = None;
            for part in parts(&message, size) {
                prop_assert!(made.is_none());
                made = assembly.take(part).unwrap();
            }
            prop_assert_eq!(made, message.message);
        }
    }

    #[test]
    fn parts_against_the_protocol_are_refused() {
        let first = Chunk { message_id: 1, total_bytes: 10, data: vec![0; 4], ..Chunk::default() };
        let take = |chunks: &[Chunk]| {
            let mut assembly = Assembly::default();
            chunks.iter().try_for_each(|c| assembly.take(c.clone()).map(drop))
        };
        assert!(take(std::slice::from_ref(&first)).is_ok());
        for (second, why) in [
            (Chunk { message_id: 1, index: 2, ..Chunk::default() }, "a gap"),
            (Chunk { message_id: 1, index: 1, data: vec![0; 7], ..Chunk::default() }, "too much"),
            (Chunk { message_id: 1, index: 1, last: true, ..Chunk::default() }, "too little"),
            (Chunk { message_id: 2, index: 1, ..Chunk::default() }, "not begun"),
            (first.clone(), "begun twice"),
        ] {
            assert!(take(&[first.clone(), second]).is_err(), "{why}");
        }
        assert!(take(&[Chunk { total_bytes: u64::MAX, ..first }]).is_err());
    }
}
