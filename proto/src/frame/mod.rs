//! The frame codec: one tick of samples as a few hundred bytes, the payload of [`crate::v1::Frame`].
//!
//! Both sides keep a dictionary (series defined once, each in a [`Slot`]) and the last value of each slot, so a frame says only which slots were
//! sampled, which of them changed, and by how much. `docs/frame-format.md` is the byte format; it says why not the alternatives.
//!
//! - [`Encoder`] is the agent's side: define series, set raw integers, encode the tick.
//! - [`Decoder`] is the collector's: a frame is checked as a whole before anything of it is believed. A refused frame leaves the decoder as it was.
//! - [`peek`] reads number and kind of a frame without any state.
//!
//! A slot that was not set in a tick is absent from the frame: unknown, not unchanged. A keyframe forgets all values on both sides and can be
//! decoded by a decoder that knows nothing but the dictionary. Neither side allocates for a frame once its buffers have grown to the dictionary's size.

mod bits;
mod decode;
mod dictionary;
mod encode;
mod error;
mod header;
mod pool;
mod presence;
mod values;
mod wire;

use crate::v1;

pub use decode::{Decoded, Decoder, Definitions, Sample, Scratch};
pub use encode::{Encoder, FrameInfo, Renumbering};
pub use error::{DecodeError, DefineError, Remedy};
pub use header::{Peek, peek};
pub use pool::SeriesPool;

/// Frames from one keyframe to the next, unless one is asked for earlier.
pub const KEYFRAME_PERIOD: u32 = 60;

/// Number of a series in the dictionary of a stream. Means something within one dictionary version only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

/// What one stream may ask of the other side. Checked before anything is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one frame.
    pub frame_bytes: usize,
    /// Slots of one dictionary version, retired ones included.
    pub slots: u32,
    /// Bytes of names and attributes of one dictionary version.
    pub dictionary_bytes: usize,
    /// Bytes of one attribute's value.
    pub attribute_bytes: usize,
}

impl Slot {
    /// The slot as an index.
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame_bytes: 64 * 1024,
            slots: 20_000,
            dictionary_bytes: 16 * 1024 * 1024,
            attribute_bytes: crate::series::MAX_ATTRIBUTE_BYTES,
        }
    }
}

impl Limits {
    /// These limits and those of the other side, whichever are tighter. A zero of the wire sets no limit.
    #[must_use]
    pub fn tightened(self, wire: &v1::Limits) -> Self {
        let least = |own: usize, wire: u32| match wire {
            0 => own,
            wire => own.min(wire as usize),
        };
        Self {
            frame_bytes: least(self.frame_bytes, wire.frame_bytes),
            slots: least(self.slots as usize, wire.slots) as u32,
            dictionary_bytes: self.dictionary_bytes,
            attribute_bytes: least(self.attribute_bytes, wire.attribute_bytes),
        }
    }
}

impl From<Limits> for v1::Limits {
    fn from(limits: Limits) -> Self {
        let bounded = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        Self {
            frame_bytes: bounded(limits.frame_bytes),
            slots: limits.slots,
            attribute_bytes: bounded(limits.attribute_bytes),
        }
    }
}
