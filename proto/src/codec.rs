//! Protobuf as gRPC's codec with small buffers.
//!
//! A stream keeps one buffer for each direction for as long as it lives. The usual 8 KiB each are 160 MB for ten thousand agents whose frames
//! are some hundred bytes; buffers grow to the largest message by themselves.

use std::marker::PhantomData;

use prost::Message;
use tonic::codec::{self, BufferSettings};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

/// First size of a buffer, in bytes: a frame of two hundred samples and an acknowledgement fit.
const BUFFER_BYTES: usize = 1_024;
/// Encoded messages are handed on when they are so many bytes together; the library's default.
const YIELD_BYTES: usize = 32 * 1_024;

/// See the module. `T` is sent, `U` is received.
#[derive(Debug, Clone)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(BufferSettings::new(BUFFER_BYTES, YIELD_BYTES))
    }
}
