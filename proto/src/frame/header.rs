//! The first bytes and the last ones: format, number, dictionary version, checksum.

use super::error::DecodeError;
use super::wire::{Reader, put_varint};

/// Version of the format, in the high four bits of the first byte.
const FORMAT: u8 = 0x10;
const KEYFRAME: u8 = 0x01;
const RESETS: u8 = 0x02;
const CHECKSUM_BYTES: usize = 4;

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) keyframe: bool,
    pub(super) resets: bool,
    pub(super) seq: u64,
    pub(super) dictionary_version: u32,
}

/// What can be told of a frame without any state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek {
    /// Number of the frame; the first of an epoch is 1.
    pub seq: u64,
    /// True when it can be decoded without the frames before it.
    pub keyframe: bool,
    /// Version of the dictionary it was encoded with.
    pub dictionary_version: u32,
}

/// Reads number and kind of a frame without any state and without the checksum: for frames this process made itself, such as an outbox.
///
/// # Errors
/// When the payload does not start as a frame does.
pub fn peek(payload: &[u8]) -> Result<Peek, DecodeError> {
    let header = Header::read(&mut Reader::new(payload))?;
    Ok(Peek {
        seq: header.seq,
        keyframe: header.keyframe,
        dictionary_version: header.dictionary_version,
    })
}

impl Header {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let keyframe = if self.keyframe { KEYFRAME } else { 0 };
        let resets = if self.resets { RESETS } else { 0 };
        out.push(FORMAT | keyframe | resets);
        put_varint(out, self.seq);
        put_varint(out, u64::from(self.dictionary_version));
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let first = reader.byte()?;
        if first & !(KEYFRAME | RESETS) != FORMAT {
            return Err(DecodeError::Format(first));
        }
        let seq = reader.varint()?;
        if seq == 0 {
            return Err(DecodeError::Malformed("frame number 0"));
        }
        let version = reader.bounded(u64::from(u32::MAX), "dictionary version beyond 32 bits")?;
        Ok(Self {
            keyframe: first & KEYFRAME != 0,
            resets: first & RESETS != 0,
            seq,
            dictionary_version: version as u32,
        })
    }
}

/// Appends the checksum of everything in `out` from `start` on.
pub(super) fn seal(out: &mut Vec<u8>, start: usize) {
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// The frame without its checksum, which fits.
pub(super) fn unseal(payload: &[u8]) -> Result<&[u8], DecodeError> {
    let (body, checksum) =
        payload.split_last_chunk::<CHECKSUM_BYTES>().ok_or(DecodeError::Truncated)?;
    if crc32c::crc32c(body) == u32::from_le_bytes(*checksum) {
        Ok(body)
    } else {
        Err(DecodeError::Checksum)
    }
}
