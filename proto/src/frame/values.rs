//! Values of the slots present in a frame: a bitmap of those that changed, then their differences from the last values.

use super::decode::Sample;
use super::error::DecodeError;
use super::presence::SlotSet;
use super::wire::{Reader, VARINT_BYTES, put_varint, unzigzag, zigzag};
use super::{Slot, SlotFlags};

/// Most bytes that a sample can add to a frame: its value, its share of the bitmap, its reset.
pub(super) const MOST_BYTES: usize = VARINT_BYTES + 3;

/// Writes the values of `present` slots and makes them the last ones.
pub(super) fn encode(
    present: &SlotSet,
    flags: &[SlotFlags],
    raws: &[i64],
    lasts: &mut [i64],
    out: &mut Vec<u8>,
) {
    let bitmap = out.len();
    out.resize(bitmap + present.len().div_ceil(8), 0);
    for (rank, slot) in present.iter().enumerate() {
        let (raw, last) = (raws[slot], lasts[slot]);
        if raw == last {
            continue;
        }
        out[bitmap + rank / 8] |= 1 << (rank % 8);
        lasts[slot] = raw;
        if flags[slot].is_float() {
            put_bits(out, (raw ^ last) as u64);
        } else {
            put_varint(out, zigzag(raw.wrapping_sub(last)));
        }
    }
}

/// Reads the values of `present` slots, with what follows from `lasts`, which stay as they are.
pub(super) fn decode(
    reader: &mut Reader<'_>,
    present: &SlotSet,
    flags: &[SlotFlags],
    lasts: &[i64],
    samples: &mut Vec<Sample>,
) -> Result<(), DecodeError> {
    let count = present.len();
    let bitmap = reader.take(count.div_ceil(8))?;
    if !count.is_multiple_of(8) && bitmap[count / 8] >> (count % 8) != 0 {
        return Err(DecodeError::Malformed("changes beyond the samples"));
    }
    for (rank, slot) in present.iter().enumerate() {
        let last = lasts[slot];
        let raw = if bitmap[rank / 8] & (1 << (rank % 8)) == 0 {
            last
        } else if flags[slot].is_float() {
            last ^ read_bits(reader)? as i64
        } else {
            last.wrapping_add(unzigzag(reader.varint()?))
        };
        samples.push(Sample { slot: Slot(slot as u32), raw, reset: false });
    }
    Ok(())
}

/// Writes bits that are not all zero without their zero bytes at both ends: a byte with the number of trailing zero bytes in its high half and
/// that of the bytes kept in its low half, then these, lowest first.
fn put_bits(out: &mut Vec<u8>, bits: u64) {
    let trailing = bits.trailing_zeros() / 8;
    let kept = 8 - trailing - bits.leading_zeros() / 8;
    out.push((trailing << 4 | kept) as u8);
    out.extend_from_slice(&(bits >> (trailing * 8)).to_le_bytes()[..kept as usize]);
}

fn read_bits(reader: &mut Reader<'_>) -> Result<u64, DecodeError> {
    let shape = usize::from(reader.byte()?);
    let (trailing, kept) = (shape >> 4, shape & 0xf);
    if kept == 0 || trailing + kept > 8 {
        return Err(DecodeError::Malformed("shape of a float"));
    }
    let mut bytes = [0; 8];
    bytes[trailing..trailing + kept].copy_from_slice(reader.take(kept)?);
    if bytes[trailing] == 0 || bytes[trailing + kept - 1] == 0 {
        return Err(DecodeError::Malformed("float longer than needed"));
    }
    Ok(u64::from_le_bytes(bytes))
}
