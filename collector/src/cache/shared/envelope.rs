//! What a value looks like in Redis: its life, the value compressed, and a tag that proves where it comes from.
//!
//! ```text
//! version   1 byte      1
//! began     8 bytes     number of invalidations when its loading began
//! spent     4 bytes     milliseconds from then until it was written
//! cost      4 bytes     milliseconds that loading took, times 1,000
//! fresh, refreshing, on error   4 bytes each, milliseconds
//! value     LZ4 block with its length before it
//! tag       16 bytes    HMAC-SHA-256 of the key's name and everything above, the first half
//! ```
//!
//! Numbers are little endian. The key's name is part of what is authenticated, so no value can stand in for another. Why 16 bytes: a forger cannot try offline, and each
//! wrong one is counted.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::cache::life::Life;

const VERSION: u8 = 1;
const HEAD_BYTES: usize = 1 + 8 + 4 * 5;
const TAG_BYTES: usize = 16;
/// Largest value, uncompressed. What says that it is larger is refused before memory is taken for it.
const MAX_VALUE_BYTES: usize = 32 << 20;

/// A value and its life.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::cache) struct Envelope {
    pub(in crate::cache) began: u64,
    pub(in crate::cache) spent_ms: u32,
    pub(in crate::cache) cost_ms: f64,
    pub(in crate::cache) life: Life,
    pub(in crate::cache) value: Vec<u8>,
}

/// Authenticates values with a secret that all collectors of one database share.
#[derive(Clone)]
pub(super) struct Sealer(Hmac<Sha256>);

/// A value that is none of ours, or not as it was written.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refused;

impl Sealer {
    pub(super) fn new(secret: &[u8]) -> Self {
        Self(Hmac::new_from_slice(secret).expect("HMAC takes keys of any length"))
    }

    /// The bytes of an envelope under this name.
    pub(super) fn seal(&self, name: &str, envelope: &Envelope) -> Vec<u8> {
        let life = envelope.life;
        let short = |ms: i64| u32::try_from(ms.max(0)).unwrap_or(u32::MAX);
        let cost = (envelope.cost_ms * 1_000.0) as u32;
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&envelope.began.to_le_bytes());
        let times = [life.fresh_ms, life.refreshing_ms, life.on_error_ms].map(short);
        for number in [envelope.spent_ms, cost].into_iter().chain(times) {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&lz4_flex::compress_prepend_size(&envelope.value));
        let tag = self.mac(name, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_BYTES]);
        bytes
    }

    /// Reads what is stored under this name.
    pub(super) fn open(&self, name: &str, bytes: &[u8]) -> Result<Envelope, Refused> {
        let split = bytes.len().checked_sub(TAG_BYTES).ok_or(Refused)?;
        let (bytes, tag) = bytes.split_at(split);
        self.mac(name, bytes).verify_truncated_left(tag).map_err(|_| Refused)?;
        let (head, value) = bytes.split_at_checked(HEAD_BYTES).ok_or(Refused)?;
        let (&version, head) = head.split_first().ok_or(Refused)?;
        let (began, numbers) = head.split_first_chunk().ok_or(Refused)?;
        let numbers: Vec<u32> = numbers
            .chunks_exact(4)
            .map(|chunk| u32::from_le_bytes(chunk.try_into().expect("four bytes")))
            .collect();
        let &[spent_ms, cost, fresh, refreshing, on_error] = &numbers[..] else {
            return Err(Refused);
        };
        let length = value.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        if version != VERSION || length.is_none_or(|length| length > MAX_VALUE_BYTES) {
            return Err(Refused);
        }
        Ok(Envelope {
            began: u64::from_le_bytes(*began),
            spent_ms,
            cost_ms: f64::from(cost) / 1_000.0,
            life: Life {
                fresh_ms: fresh.into(),
                refreshing_ms: refreshing.into(),
                on_error_ms: on_error.into(),
            },
            value: lz4_flex::decompress_size_prepended(value).map_err(|_| Refused)?,
        })
    }

    fn mac(&self, name: &str, bytes: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        mac.update(&(name.len() as u32).to_le_bytes());
        mac.update(name.as_bytes());
        mac.update(bytes);
        mac
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn envelope(value: Vec<u8>) -> Envelope {
        let life = Life { fresh_ms: 10, refreshing_ms: 20, on_error_ms: 30 };
        Envelope { began: 7, spent_ms: 3, cost_ms: 1.5, life, value }
    }

    #[test]
    fn only_the_one_with_the_secret_and_the_name_reads_it() {
        let (ours, theirs) = (Sealer::new(b"secret"), Sealer::new(b"other"));
        let envelope = envelope(b"value ".repeat(1_000));
        let bytes = ours.seal("a", &envelope);
        assert!(bytes.len() < 200, "compressed: {}", bytes.len());
        assert_eq!(ours.open("a", &bytes), Ok(envelope));
        assert_eq!(ours.open("b", &bytes), Err(Refused));
        assert_eq!(theirs.open("a", &bytes), Err(Refused));
    }

    proptest! {
        #[test]
        fn a_byte_that_was_changed_or_lost_is_noticed(
            value in prop::collection::vec(any::<u8>(), 0..300),
            place in any::<prop::sample::Index>(),
            flip in 1..=255_u8,
        ) {
            let sealer = Sealer::new(b"secret");
            let bytes = sealer.seal("a", &envelope(value.clone()));
            prop_assert_eq!(sealer.open("a", &bytes).unwrap().value, value);
            let mut changed = bytes.clone();
            let at = place.index(bytes.len());
            changed[at] ^= flip;
            prop_assert_eq!(sealer.open("a", &changed), Err(Refused));
            prop_assert_eq!(sealer.open("a", &bytes[..at]), Err(Refused));
        }

        #[test]
        fn garbage_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(Sealer::new(b"secret").open("a", &bytes), Err(Refused));
        }
    }
}
