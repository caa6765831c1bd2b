//! A request as an emulated server is told of it.

use super::NEVER;

/// When a written key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Not.
    Never,
    /// So many milliseconds after it was written.
    After(u64),
    /// At this time, in milliseconds since the Unix epoch.
    At(u64),
    /// When it would have expired before.
    Keep,
}

impl Expiry {
    /// When a key written now expires, which would have expired at `before`.
    pub(super) const fn dies_ms(self, at_ms: u64, before: u64) -> u64 {
        match self {
            Self::Never => NEVER,
            Self::After(ms) => at_ms.saturating_add(ms),
            Self::At(ms) => ms,
            Self::Keep => before,
        }
    }
}

/// What a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// The value.
    Read,
    /// To keep a value; with the key it takes so many bytes.
    Write {
        /// See [`string_bytes`].
        bytes: u32,
        /// When it expires.
        expiry: Expiry,
    },
    /// To delete it.
    Delete,
    /// To let it expire at another time.
    Expire(Expiry),
}

/// One request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// When it came, in milliseconds since the Unix epoch, by the server's clock.
    pub at_ms: u64,
    /// Hash of the key: all 64 bits are used.
    pub key_hash: u64,
    /// What is asked for.
    pub what: What,
}

/// What Redis 7 spends on a key with a string value: the entry of the table (24 bytes), the object
/// and both strings, each rounded up as jemalloc does. Short values share the object's block.
pub fn string_bytes(key_len: usize, value_len: usize) -> u32 {
    /// Longest value that shares a block with its object.
    const EMBEDDED: usize = 44;
    let entry = size_class(24);
    let value = if value_len <= EMBEDDED {
        size_class(16 + 3 + value_len + 1)
    } else {
        size_class(16) + size_class(header(value_len) + value_len + 1)
    };
    let bytes = entry + size_class(header(key_len) + key_len + 1) + value;
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Bytes before a string that tell its length.
const fn header(len: usize) -> usize {
    match len {
        0..32 => 1,
        32..256 => 3,
        256..65_536 => 5,
        _ => 9,
    }
}

/// The size of the block that jemalloc gives for so many bytes: four sizes for each power of two.
const fn size_class(bytes: usize) -> usize {
    if bytes <= 8 {
        return 8;
    }
    if bytes <= 128 {
        return bytes.next_multiple_of(16);
    }
    let step = (bytes - 1).ilog2() - 2;
    bytes.next_multiple_of(1 << step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_those_of_jemalloc() {
        for (bytes, class) in [
            (1, 8),
            (9, 16),
            (17, 32),
            (24, 32),
            (113, 128),
            (128, 128),
            (129, 160),
            (160, 160),
            (161, 192),
            (256, 256),
            (257, 320),
            (641, 768),
            (1025, 1280),
            (4097, 5120),
            (20_000, 20_480),
        ] {
            assert_eq!(size_class(bytes), class, "{bytes}");
        }
    }

    #[test]
    fn a_short_value_shares_the_block_of_its_object() {
        assert_eq!(string_bytes(8, 10), 32 + 16 + 32);
        assert_eq!(string_bytes(8, 44), 32 + 16 + 64);
        assert_eq!(string_bytes(8, 45), 32 + 16 + 16 + 64);
        assert_eq!(string_bytes(40, 300), 32 + 48 + 16 + 320);
    }
}
