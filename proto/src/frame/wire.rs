//! Bytes in and out: LEB128 varints, zig-zag integers, and a reader that never reads past its end.

use super::error::DecodeError;

/// What is left of a frame's body.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
}

/// Maps small negative numbers to small positive ones: 0, -1, 1, -2 to 0, 1, 2, 3.
pub(super) const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// Inverse of [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

/// Appends the groups of seven bits of `value`, lowest first, all but the last with the high bit set.
#[inline]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// What has not been read.
    pub(super) const fn rest(self) -> &'a [u8] {
        self.bytes
    }

    #[inline]
    pub(super) fn byte(&mut self) -> Result<u8, DecodeError> {
        let (&first, rest) = self.bytes.split_first().ok_or(DecodeError::Truncated)?;
        self.bytes = rest;
        Ok(first)
    }

    /// The shortest form only: a second way to write the same number would be a second way to write the same frame.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, DecodeError> {
        let first = self.byte()?;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return match byte {
                    0 => Err(DecodeError::Malformed("varint longer than needed")),
                    2.. if shift == 63 => Err(DecodeError::Malformed("varint beyond 64 bits")),
                    _ => Ok(value),
                };
            }
        }
        Err(DecodeError::Malformed("varint beyond 64 bits"))
    }

    /// A varint that must not exceed `most`.
    #[inline]
    pub(super) fn bounded(&mut self, most: u64, what: &'static str) -> Result<u64, DecodeError> {
        let value = self.varint()?;
        if value > most { Err(DecodeError::Malformed(what)) } else { Ok(value) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn varints_come_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            put_varint(&mut out, zigzag(signed));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.varint().map(unzigzag), Ok(signed));
            prop_assert!(reader.rest().is_empty());
            prop_assert!(out.len() <= 20);
        }
    }

    #[test]
    fn a_number_has_one_form() {
        let read = |bytes: &[u8]| Reader::new(bytes).varint();
        assert_eq!(read(&[0x80, 0x01]), Ok(128));
        assert!(matches!(read(&[0x80, 0x00]), Err(DecodeError::Malformed(_))));
        assert_eq!(read(&[0x80]), Err(DecodeError::Truncated));
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(read(&most), Ok(u64::MAX));
        let beyond = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        assert!(matches!(read(&beyond), Err(DecodeError::Malformed(_))));
        assert!(matches!(read(&[0xff; 11]), Err(DecodeError::Malformed(_))));
    }
}
