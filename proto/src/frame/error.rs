//! What can be wrong with a definition or a frame, and what the receiver does about it.

use crate::series::Invalid;

/// A definition that was refused. Nothing of its message has been applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DefineError {
    /// Dictionary versions only grow.
    #[error("dictionary version {got} after {have}")]
    Version {
        /// The current version.
        have: u32,
        /// The version of the message.
        got: u32,
    },
    /// Slots are append-only.
    #[error("series[{index}].slot: {got}, but the next free slot is {expected}")]
    Slot {
        /// Position in the message.
        index: usize,
        /// The next free slot.
        expected: u32,
        /// The slot of the message.
        got: u32,
    },
    /// The dictionary version would have more slots than allowed.
    #[error("more than {limit} slots")]
    Slots {
        /// The limit.
        limit: u32,
    },
    /// The dictionary version would take more bytes than allowed.
    #[error("more than {limit} bytes of names and attributes")]
    Bytes {
        /// The limit.
        limit: usize,
    },
    /// A series breaks a rule.
    #[error(transparent)]
    Series(#[from] Invalid),
}

/// A frame that was refused. The decoder is as it was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than the limit.
    #[error("{bytes} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Length of the payload.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A format version or flag that this decoder does not know.
    #[error("unknown format {0:#04x}")]
    Format(u8),
    /// The checksum does not fit the bytes.
    #[error("checksum does not match")]
    Checksum,
    /// The bytes end too early.
    #[error("truncated")]
    Truncated,
    /// The checksum fits, but the bytes break a rule of the format.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// The frame belongs to another version of the dictionary.
    #[error("dictionary version {got}, but {have} is in force")]
    Dictionary {
        /// The version in force; 0 when nothing has been defined.
        have: u32,
        /// The frame's version.
        got: u32,
    },
    /// The frame has a sample of a slot that is not defined.
    #[error("sample beyond the {defined} slots defined")]
    UndefinedSlot {
        /// Slots defined.
        defined: u32,
    },
    /// A frame with this number or a later one has been decoded before.
    #[error("frame {seq} again, after {last}")]
    Repeat {
        /// The frame's number.
        seq: u64,
        /// The number of the last frame.
        last: u64,
    },
    /// The frame builds upon one that was not decoded.
    #[error("frame {seq} without frame {expected}")]
    Gap {
        /// The frame's number.
        seq: u64,
        /// The number that was expected.
        expected: u64,
    },
    /// Nothing has been decoded with this dictionary, and the frame is not a keyframe.
    #[error("frame {seq} needs a keyframe before it")]
    NoKeyframe {
        /// The frame's number.
        seq: u64,
    },
}

/// What a receiver does about a refused frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// The frame is known already: drop it.
    Skip,
    /// Frames are missing: drop it and ask the sender for a keyframe.
    Resync,
    /// The sender is wrong or the bytes are damaged: end the stream.
    Refuse,
}

impl DecodeError {
    /// What to do about it.
    pub const fn remedy(&self) -> Remedy {
        match self {
            Self::Repeat { .. } => Remedy::Skip,
            Self::Gap { .. } | Self::NoKeyframe { .. } => Remedy::Resync,
            _ => Remedy::Refuse,
        }
    }
}
