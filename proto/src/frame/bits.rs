//! The bit stream of a frame: bits fill bytes from the lowest one up. Everything in it is written in one of three codes.
//!
//! - *bits*: an integer of a known number of bits, lowest first.
//! - *plain*: an integer from 1 on: its length less one in six bits, then its bits below the highest one.
//! - *number of order k*: an integer from 0 on that is expected to have about k bits: an exponential-Golomb code. The part above the lowest k bits, plus
//!   one, is `q + 1` bits long: `q` zeros, a one, its `q` bits below the highest one; then the lowest k bits. When `q` would be 16 or more: 16 zeros, then the integer plus
//!   one in plain code, so that one wild value costs 86 bits and not 128.

use super::error::DecodeError;

/// Zeros that announce a plain integer.
const ESCAPE: u32 = 16;
/// Highest order of a number.
pub(super) const MOST_ORDER: u32 = 63;
/// Bits that [`BitReader::peek`] shows at least.
const PEEKED: u32 = 57;

/// Appends bits to a buffer.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    pending: u64,
    used: u32,
}

/// Reads bits of a slice.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A word with its lowest `count` bits set, `count` below 64.
const fn mask(count: u32) -> u64 {
    (1 << count) - 1
}

/// Bits of an integer without its leading zeros.
pub(super) const fn length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

impl<'a> BitWriter<'a> {
    pub(super) const fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, pending: 0, used: 0 }
    }

    /// Appends the lowest `count` bits of `value`, which has no others; `count` is at most 64.
    #[inline]
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        self.pending |= value << self.used;
        let used = self.used + count;
        if used < u64::BITS {
            self.used = used;
            return;
        }
        self.out.extend_from_slice(&self.pending.to_le_bytes());
        self.pending = value.checked_shr(u64::BITS - self.used).unwrap_or(0);
        self.used = used - u64::BITS;
    }

    /// Appends an integer from 1 on.
    #[inline]
    pub(super) fn plain(&mut self, value: u64) {
        let below = length(value) - 1;
        self.bits(u64::from(below), 6);
        self.bits(value ^ (1 << below), below);
    }

    /// Appends an integer below `u64::MAX` of about `order` bits.
    #[inline]
    pub(super) fn number(&mut self, value: u64, order: u32) {
        let above = (value >> order) + 1;
        let zeros = length(above) - 1;
        if zeros >= ESCAPE {
            self.bits(0, ESCAPE);
            self.plain(value + 1);
            return;
        }
        let prefix = 2 * zeros + 1;
        self.bits((above ^ (1 << zeros)) << (zeros + 1) | 1 << zeros, prefix);
        self.bits(value & mask(order), order);
    }

    /// Fills the last byte with zeros.
    pub(super) fn finish(self) {
        let bytes = self.used.div_ceil(8) as usize;
        self.out.extend_from_slice(&self.pending.to_le_bytes()[..bytes]);
    }
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next 57 bits or more, with zeros after the last one.
    #[inline]
    fn peek(&self) -> Result<u64, DecodeError> {
        let byte = self.at / 8;
        let word = match self.bytes.get(byte..byte + 8) {
            Some(chunk) => u64::from_le_bytes(chunk.try_into().expect("a chunk of eight")),
            None => self.tail(byte)?,
        };
        Ok(word >> (self.at % 8))
    }

    #[cold]
    fn tail(&self, byte: usize) -> Result<u64, DecodeError> {
        let rest = self.bytes.get(byte..).ok_or(DecodeError::Truncated)?;
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        Ok(u64::from_le_bytes(word))
    }

    /// An integer of `count` bits, at most 64.
    #[inline]
    pub(super) fn bits(&mut self, count: u32) -> Result<u64, DecodeError> {
        if count <= PEEKED {
            let word = self.peek()?;
            self.at += count as usize;
            return Ok(word & mask(count));
        }
        let low = self.bits(32)?;
        Ok(low | self.bits(count - 32)? << 32)
    }

    /// An integer from 1 on.
    #[inline]
    pub(super) fn plain(&mut self) -> Result<u64, DecodeError> {
        let below = self.bits(6)? as u32;
        Ok(1 << below | self.bits(below)?)
    }

    /// An integer of about `order` bits.
    #[inline]
    pub(super) fn number(&mut self, order: u32) -> Result<u64, DecodeError> {
        let word = self.peek()?;
        let zeros = word.trailing_zeros();
        if zeros >= ESCAPE {
            return self.escaped(order);
        }
        let prefix = 2 * zeros + 1;
        let above = (1 << zeros | (word >> (zeros + 1)) & mask(zeros)) - 1;
        self.at += prefix as usize;
        let low = if prefix + order <= PEEKED {
            self.at += order as usize;
            (word >> prefix) & mask(order)
        } else {
            self.bits(order)?
        };
        if above.leading_zeros() < order {
            return Err(DecodeError::Malformed("number beyond 64 bits"));
        }
        Ok(above << order | low)
    }

    #[cold]
    fn escaped(&mut self, order: u32) -> Result<u64, DecodeError> {
        self.at += ESCAPE as usize;
        let value = self.plain()? - 1;
        if (value >> order) < mask(ESCAPE) {
            return Err(DecodeError::Malformed("number longer than needed"));
        }
        Ok(value)
    }

    /// Checks that all bits have been read, but for zeros in the last byte.
    pub(super) fn finish(self) -> Result<(), DecodeError> {
        let bits = self.bytes.len() * 8;
        if self.at > bits {
            Err(DecodeError::Truncated)
        } else if bits - self.at >= 8 {
            Err(DecodeError::Malformed("bytes after the last value"))
        } else if self
            .bytes
            .last()
            .is_some_and(|last| u32::from(*last) >> (8 - (bits - self.at)) != 0)
        {
            Err(DecodeError::Malformed("bits after the last value"))
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone, Copy)]
    enum Code {
        Bits(u64, u32),
        Plain(u64),
        Number(u64, u32),
    }

    /// Integers of all lengths alike.
    fn integers() -> impl Strategy<Value = u64> {
        (any::<u64>(), 0..64_u32).prop_map(|(value, shift)| value >> shift)
    }

    fn codes() -> impl Strategy<Value = Code> {
        prop_oneof![
            (integers(), 0..=64_u32).prop_map(|(value, count)| {
                Code::Bits(if count == 64 { value } else { value & mask(count) }, count)
            }),
            integers().prop_map(|value| Code::Plain(value.max(1))),
            (integers(), 0..=MOST_ORDER)
                .prop_map(|(value, order)| Code::Number(value.min(u64::MAX - 1), order)),
        ]
    }

    fn write(codes: &[Code]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = BitWriter::new(&mut out);
        for code in codes {
            match *code {
                Code::Bits(value, count) => writer.bits(value, count),
                Code::Plain(value) => writer.plain(value),
                Code::Number(value, order) => writer.number(value, order),
            }
        }
        writer.finish();
        out
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(codes in prop::collection::vec(codes(), 0..50)) {
            let bytes = write(&codes);
            let mut reader = BitReader::new(&bytes);
            for code in codes {
                match code {
                    Code::Bits(value, count) => prop_assert_eq!(reader.bits(count), Ok(value)),
                    Code::Plain(value) => prop_assert_eq!(reader.plain(), Ok(value)),
                    Code::Number(value, order) => prop_assert_eq!(reader.number(order), Ok(value)),
                }
            }
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn bytes_that_are_cut_off_are_missed(codes in prop::collection::vec(codes(), 1..50)) {
            let mut bytes = write(&codes);
            prop_assume!(bytes.pop().is_some());
            let mut reader = BitReader::new(&bytes);
            let read = codes.iter().try_for_each(|code| match *code {
                Code::Bits(_, count) => reader.bits(count).map(drop),
                Code::Plain(_) => reader.plain().map(drop),
                Code::Number(_, order) => reader.number(order).map(drop),
            });
            prop_assert!(read.and_then(|()| reader.finish()).is_err());
        }
    }

    #[test]
    fn a_number_has_one_form() {
        assert_eq!(write(&[Code::Number(0, 0)]), [0b1]);
        assert_eq!(write(&[Code::Number(1, 0)]), [0b010]);
        assert_eq!(write(&[Code::Number(2, 0)]), [0b110]);
        assert_eq!(write(&[Code::Number(5, 2)]), [0b0_1010]);
        let needless = write(&[Code::Bits(0, 16), Code::Plain(7)]);
        let read = BitReader::new(&needless).number(0);
        assert_eq!(read, Err(DecodeError::Malformed("number longer than needed")));
        let beyond = write(&[Code::Number(1 << 15, 0), Code::Bits(0, 63)]);
        let read = BitReader::new(&beyond).number(63);
        assert_eq!(read, Err(DecodeError::Malformed("number beyond 64 bits")));
    }

    #[test]
    fn what_follows_the_last_bit_is_refused() {
        for (bytes, error) in [
            (&[0b1, 0][..], "bytes after the last value"),
            (&[0b11][..], "bits after the last value"),
        ] {
            let mut reader = BitReader::new(bytes);
            reader.number(0).unwrap();
            assert_eq!(reader.finish(), Err(DecodeError::Malformed(error)));
        }
    }
}
