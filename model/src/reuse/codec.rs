//! State as bytes, so that it outlives the agent: a byte for the format, then postcard.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Another number is another format.
const FORMAT: u8 = 2;

/// Why saved state cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version wrote it.
    #[error("the state is of another format")]
    Format,
    /// It is cut off or was changed.
    #[error("the state is damaged")]
    Damaged,
}

pub(super) fn encode(state: &impl Serialize) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    // Writing to a vector fails only for what cannot be written at all, and there is nothing such.
    bytes.extend(postcard::to_stdvec(state).unwrap_or_default());
    bytes
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let (format, rest) = bytes.split_first().ok_or(DecodeError::Damaged)?;
    if *format != FORMAT {
        return Err(DecodeError::Format);
    }
    postcard::from_bytes(rest).map_err(|_| DecodeError::Damaged)
}
