//! Messages as bytes: what goes on is read by the next reader as it was read here, however the bytes were cut, and a naive reader
//! of the specification finds the same message in it. The parsers are taken in as they are: nothing but this needs them outside.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [choice, cut, bytes @ ..] = data else { return };
    let cut = bytes.len() * usize::from(*cut) / 256;
    match choice % 3 {
        0 => proxy::request(bytes, cut),
        1 => proxy::answer(bytes, cut, choice / 3),
        _ => proxy::chunks(bytes, cut),
    }
});

#[allow(dead_code, reason = "the data plane uses what the oracles do not")]
mod proxy;
