//! The channel's messages as they stand on the wire: generated from `proto/fairlead/agent/v1/agent.proto`, which documents each field.
//!
//! Used by `channel` and `agent` only; everything else speaks in their own types.
#![allow(missing_docs, clippy::all, clippy::pedantic)]

use std::marker::PhantomData;

use tonic::codec::BufferSettings;
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

tonic::include_proto!("fairlead.agent.v1");

/// The descriptors, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// What each stream keeps in each direction, however quiet it is: tonic's own 8 KiB are half of what an agent at rest takes. Larger
/// messages grow it.
const BUFFER: usize = 64;
/// Messages that are ready together leave together, up to this much: as tonic has it.
const TOGETHER: usize = 32 << 10;

/// Protobuf in gRPC, with small buffers.
#[derive(Clone, Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: prost::Message + Send + 'static,
    U: prost::Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER, TOGETHER))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER, TOGETHER))
    }
}
