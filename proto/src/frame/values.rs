//! Which of the present slots changed, and by how much: the bit stream of a frame.
//!
//! *Changes.* Whether a slot will change is guessed from how it behaved before, by a saturating two-bit counter for each slot. The frame lists only
//! the slots that were guessed wrong. On a host at rest that is a twelfth of the samples, where a bitmap spends a bit on each.
//!
//! *Differences.* A changed value is its zig-zag difference from the last one, as a number whose order follows the lengths of the slot's earlier
//! differences. Doubles are the XOR with the last bits, without zeros at both ends.

use std::cmp::Ordering;

use super::bits::{BitReader, BitWriter, MOST_ORDER, length};
use super::error::DecodeError;
use super::presence::{SlotSet, slots};
use super::wire::{unzigzag, zigzag};

/// Most bytes that the value of a sample takes.
pub(super) const MOST_BYTES: usize = 12;
/// Order of the gaps between slots in a list.
const GAP_ORDER: u32 = 1;
/// Order of the number of slots in a list.
const COUNT_ORDER: u32 = 4;

/// What is remembered of each slot since the last keyframe; the same on both sides.
#[derive(Debug, Default, Clone)]
pub(super) struct History {
    lasts: Vec<i64>,
    shapes: Vec<Shape>,
    /// Slots that are expected to change.
    expected: SlotSet,
    /// Slots of which that was true the last time.
    sure: SlotSet,
}

/// How the differences of a slot are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape(u8);

/// A value that a frame changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Change {
    slot: u32,
    shape: Shape,
    raw: i64,
}

impl Shape {
    /// No change since the last keyframe.
    const NEW: Self = Self(0);
    /// One change, which was the way from zero and says nothing of the next.
    const BASED: Self = Self(1);
    /// Bits of a double.
    const FLOAT: Self = Self(u8::MAX);

    /// Order of the next difference; `None`: written plain.
    #[inline]
    const fn order(self) -> Option<u32> {
        if self.0 > Self::BASED.0 { Some(self.0 as u32 - 1) } else { None }
    }

    /// After a difference of so many bits, 1 to 64.
    #[inline]
    const fn after(self, bits: u32) -> Self {
        match self.0 {
            0 => Self::BASED,
            1 => Self(Self::limited(bits)),
            known => Self(Self::limited(u32::midpoint(known as u32 - 1, bits))),
        }
    }

    const fn limited(order: u32) -> u8 {
        1 + if order < MOST_ORDER { order as u8 } else { MOST_ORDER as u8 }
    }
}

impl History {
    /// Makes room for so many more slots, and little more than that.
    pub(super) fn reserve(&mut self, slots: usize) {
        if self.lasts.capacity() - self.lasts.len() < slots {
            let slots = slots.max(self.lasts.len() / 8);
            self.lasts.reserve_exact(slots);
            self.shapes.reserve_exact(slots);
        }
    }

    /// Adds a slot.
    pub(super) fn push(&mut self, float: bool) {
        self.lasts.push(0);
        self.shapes.push(if float { Shape::FLOAT } else { Shape::NEW });
        self.expected.grow(self.lasts.len());
        self.sure.grow(self.lasts.len());
    }

    /// Forgets all values, for a keyframe.
    pub(super) fn forget(&mut self) {
        self.lasts.fill(0);
        for shape in &mut self.shapes {
            *shape = if *shape == Shape::FLOAT { Shape::FLOAT } else { Shape::NEW };
        }
        self.expected.clear();
        self.sure.clear();
    }

    pub(super) fn lasts(&self) -> &[i64] {
        &self.lasts
    }

    /// Learns which of the `present` slots have `changed`.
    fn learn(&mut self, present: &SlotSet, changed: &SlotSet) {
        let words = present.words().iter().zip(changed.words());
        let own = self.expected.words_mut().iter_mut().zip(self.sure.words_mut());
        for ((present, changed), (expected, sure)) in words.zip(own) {
            let wrong = (*changed ^ *expected) & present;
            *expected ^= wrong & !*sure;
            *sure = (*sure | present) & !wrong;
        }
    }

    /// Writes the values of `present` slots, and which of them were `reset`, and remembers them.
    pub(super) fn encode(
        &mut self,
        present: &SlotSet,
        resets: Option<&SlotSet>,
        keyframe: bool,
        raws: &[i64],
        changed: &mut SlotSet,
        out: &mut Vec<u8>,
    ) {
        let mut bits = BitWriter::new(out);
        self.compare(present, raws, changed);
        let expected = self.expected.words().iter();
        let guess = present.words().iter().zip(expected).map(|(present, words)| present & words);
        put_slots(&mut bits, changed.words().iter().zip(guess).map(|(word, guess)| word ^ guess));
        if let Some(resets) = resets {
            let both = resets.words().iter().zip(present.words());
            put_slots(&mut bits, both.map(|(resets, present)| resets & present));
        }
        for slot in changed.iter() {
            let (raw, last) = (raws[slot], self.lasts[slot]);
            self.lasts[slot] = raw;
            let shape = &mut self.shapes[slot];
            *shape = put_value(&mut bits, *shape, raw, last);
        }
        bits.finish();
        if !keyframe {
            self.learn(present, changed);
        }
    }

    /// Leaves in `changed` the `present` slots whose raw integer is not the last one.
    fn compare(&self, present: &SlotSet, raws: &[i64], changed: &mut SlotSet) {
        let lasts = self.lasts.chunks(64).zip(raws.chunks(64));
        let words = present.words().iter().zip(changed.words_mut());
        for ((present, changed), (lasts, raws)) in words.zip(lasts) {
            let mut differ = 0;
            for (bit, (last, raw)) in lasts.iter().zip(raws).enumerate() {
                differ |= u64::from(last != raw) << bit;
            }
            *changed = differ & present;
        }
    }

    /// Reads which slots changed and how, with nothing of it taken over yet.
    pub(super) fn decode(
        &self,
        bytes: &[u8],
        present: &SlotSet,
        mut resets: Option<&mut SlotSet>,
        keyframe: bool,
        changed: &mut SlotSet,
        changes: &mut Vec<Change>,
    ) -> Result<(), DecodeError> {
        let mut bits = BitReader::new(bytes);
        changed.clear();
        if !keyframe {
            changed.copy_from(&self.expected);
            changed.intersect(present);
        }
        read_slots(&mut bits, present, changed)?;
        if let Some(resets) = &mut resets {
            resets.clear();
            read_slots(&mut bits, present, resets)?;
        }
        changes.clear();
        for slot in changed.iter() {
            let (shape, last) = (self.shapes[slot], self.lasts[slot]);
            let (shape, last) = match keyframe {
                true if shape == Shape::FLOAT => (shape, 0),
                true => (Shape::NEW, 0),
                false => (shape, last),
            };
            let (raw, shape) = read_value(&mut bits, shape, last)?;
            changes.push(Change { slot: slot as u32, shape, raw });
        }
        bits.finish()
    }

    /// Takes over what [`Self::decode`] has read.
    pub(super) fn commit(
        &mut self,
        present: &SlotSet,
        keyframe: bool,
        changed: &SlotSet,
        changes: &[Change],
    ) {
        if keyframe {
            self.forget();
        } else {
            self.learn(present, changed);
        }
        for change in changes {
            self.lasts[change.slot as usize] = change.raw;
            self.shapes[change.slot as usize] = change.shape;
        }
    }
}

/// Writes a list of slots, given as words of a set: their number, then the gap before each.
fn put_slots(bits: &mut BitWriter<'_>, words: impl Iterator<Item = u64> + Clone) {
    let count: u64 = words.clone().map(|word| u64::from(word.count_ones())).sum();
    bits.number(count, COUNT_ORDER);
    let mut from = 0;
    for slot in slots(words) {
        bits.number((slot - from) as u64, GAP_ORDER);
        from = slot + 1;
    }
}

/// Reads a list of `present` slots and inverts each in `set`.
fn read_slots(
    bits: &mut BitReader<'_>,
    present: &SlotSet,
    set: &mut SlotSet,
) -> Result<(), DecodeError> {
    let mut from = 0_usize;
    for _ in 0..bits.number(COUNT_ORDER)? {
        let gap = usize::try_from(bits.number(GAP_ORDER)?).unwrap_or(usize::MAX);
        let slot = from.saturating_add(gap);
        if !present.contains(slot) {
            return Err(DecodeError::Malformed("change or reset of a slot that is not present"));
        }
        set.invert(slot);
        from = slot + 1;
    }
    Ok(())
}

/// Writes the way from `last` to `raw`, which differ. Returns the shape of the next one.
#[inline]
fn put_value(bits: &mut BitWriter<'_>, shape: Shape, raw: i64, last: i64) -> Shape {
    if shape == Shape::FLOAT {
        put_double(bits, (raw ^ last) as u64);
        return shape;
    }
    let difference = zigzag(raw.wrapping_sub(last));
    match shape.order() {
        Some(order) => bits.number(difference - 1, order),
        None => bits.plain(difference),
    }
    shape.after(length(difference))
}

#[inline]
fn read_value(
    bits: &mut BitReader<'_>,
    shape: Shape,
    last: i64,
) -> Result<(i64, Shape), DecodeError> {
    if shape == Shape::FLOAT {
        return Ok((last ^ read_double(bits)? as i64, shape));
    }
    let difference = match shape.order() {
        Some(order) => bits
            .number(order)?
            .checked_add(1)
            .ok_or(DecodeError::Malformed("difference beyond 64 bits"))?,
        None => bits.plain()?,
    };
    Ok((last.wrapping_add(unzigzag(difference)), shape.after(length(difference))))
}

/// Writes bits that are not all zero: their length less one, the number of zeros at the low end, and what is between the highest and the lowest one.
fn put_double(bits: &mut BitWriter<'_>, value: u64) {
    let (high, low) = (length(value) - 1, value.trailing_zeros());
    bits.bits(u64::from(high), 6);
    bits.bits(u64::from(low), 6);
    if high > low {
        bits.bits((value ^ (1 << high)) >> low >> 1, high - low - 1);
    }
}

fn read_double(bits: &mut BitReader<'_>) -> Result<u64, DecodeError> {
    let (high, low) = (bits.bits(6)? as u32, bits.bits(6)? as u32);
    match high.cmp(&low) {
        Ordering::Less => Err(DecodeError::Malformed("double with more zeros than bits")),
        Ordering::Equal => Ok(1 << high),
        Ordering::Greater => Ok(1 << high | 1 << low | bits.bits(high - low - 1)? << low << 1),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn values_come_back_in_at_most_twelve_bytes(
            shape: u8,
            raw: i64,
            last: i64,
            shift in 0..64_u32,
        ) {
            let (shape, raw) = (Shape(if shape > 64 { 255 } else { shape }), raw >> shift);
            prop_assume!(raw != last);
            let mut out = Vec::new();
            let mut writer = BitWriter::new(&mut out);
            let next = put_value(&mut writer, shape, raw, last);
            writer.finish();
            prop_assert!(out.len() <= MOST_BYTES, "{} bytes", out.len());
            let mut reader = BitReader::new(&out);
            prop_assert_eq!(read_value(&mut reader, shape, last), Ok((raw, next)));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }

    #[test]
    fn a_sure_guess_is_given_up_after_two_surprises() {
        let mut history = History::default();
        history.push(false);
        let mut set = SlotSet::default();
        set.grow(1);
        let mut present = set.clone();
        present.insert(0);
        // Whether the slot changes, and whether that is expected the next time.
        for (change, expected) in [
            (true, true),
            (true, true),
            (false, true),
            (false, false),
            (false, false),
            (true, false),
        ] {
            set.clear();
            if change {
                set.insert(0);
            }
            history.learn(&present, &set);
            assert_eq!(history.expected.contains(0), expected, "after {change}");
        }
    }

    #[test]
    fn the_order_follows_the_lengths() {
        let shape = Shape::NEW.after(40);
        assert_eq!((shape, shape.order()), (Shape::BASED, None));
        let shape = shape.after(10);
        assert_eq!(shape.order(), Some(10));
        assert_eq!(shape.after(5).order(), Some(7));
        assert_eq!(shape.after(64).order(), Some(37));
        assert_eq!(Shape::BASED.after(64).after(64).order(), Some(63));
        assert_eq!(Shape::BASED.after(1).after(1).order(), Some(1));
        assert_eq!(Shape::BASED.after(64).order(), Some(63));
    }
}
