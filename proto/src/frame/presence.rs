//! Which slots were sampled in a tick: sets of slots, and the table of recently used sets that both sides keep.
//!
//! Samplers run every tick, every fifth tick, and so on, so a stream has a few sets that come again and again. Both sides keep the last
//! [`PATTERNS`] different sets, the most recent first. A frame names one and lists the runs of slots in which its own set differs.

use std::ops::Range;

use super::error::DecodeError;
use super::wire::{Reader, put_varint};

/// Sets that are kept.
pub(super) const PATTERNS: usize = 16;
/// So many runs or more are counted in a varint of their own.
const MANY_RUNS: usize = 15;
/// Bits of a word.
const BITS: usize = u64::BITS as usize;

/// A set of slots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct SlotSet {
    words: Vec<u64>,
}

/// Recently used sets, most recent first.
#[derive(Debug, Default, Clone)]
pub(super) struct Patterns {
    /// The first `used` ones count; the others keep their room. Most streams use one or two.
    sets: Vec<SlotSet>,
    used: usize,
    difference: SlotSet,
}

/// Which set of the table a frame names.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    nearest: usize,
    /// The frame's set is that one.
    exact: bool,
}

impl SlotSet {
    /// Makes room for slots below `slots`.
    pub(super) fn grow(&mut self, slots: usize) {
        let words = slots.div_ceil(BITS);
        if self.words.len() < words {
            self.words.resize(words, 0);
        }
    }

    /// Empties the set and gives it room for slots below `slots` and no more.
    pub(super) fn resize(&mut self, slots: usize) {
        self.words.clear();
        self.words.resize(slots.div_ceil(BITS), 0);
    }

    pub(super) fn clear(&mut self) {
        self.words.fill(0);
    }

    #[inline]
    pub(super) fn insert(&mut self, slot: usize) {
        self.words[slot / BITS] |= 1 << (slot % BITS);
    }

    #[inline]
    pub(super) fn remove(&mut self, slot: usize) {
        self.words[slot / BITS] &= !(1 << (slot % BITS));
    }

    #[inline]
    pub(super) fn invert(&mut self, slot: usize) {
        self.words[slot / BITS] ^= 1 << (slot % BITS);
    }

    /// False for a slot that there is no room for.
    #[inline]
    pub(super) fn contains(&self, slot: usize) -> bool {
        self.words.get(slot / BITS).is_some_and(|word| word & (1 << (slot % BITS)) != 0)
    }

    pub(super) fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Slots in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = usize> {
        slots(self.words.iter().copied())
    }

    pub(super) fn words(&self) -> &[u64] {
        &self.words
    }

    pub(super) fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// Takes over the bits of another set of at most the same room.
    pub(super) fn copy_from(&mut self, other: &Self) {
        let (head, tail) = self.words.split_at_mut(other.words.len());
        head.copy_from_slice(&other.words);
        tail.fill(0);
    }

    /// Moves the lowest slots of this set into `taken`, `most` of them.
    pub(super) fn split_lowest(&mut self, most: usize, taken: &mut Self) {
        let mut room = most;
        for (word, taken) in self.words.iter_mut().zip(&mut taken.words) {
            *taken = *word;
            while taken.count_ones() as usize > room {
                *taken &= !(1 << (u64::BITS - 1 - taken.leading_zeros()));
            }
            room -= taken.count_ones() as usize;
            *word &= !*taken;
        }
    }

    /// Slots that are in both sets.
    pub(super) fn common(&self, other: &Self) -> usize {
        let both = self.words.iter().zip(&other.words).map(|(a, b)| (a & b).count_ones() as usize);
        both.sum()
    }

    /// Removes the slots that are not in another set.
    pub(super) fn intersect(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= other;
        }
    }

    /// Removes the slots of another set.
    pub(super) fn subtract(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    fn xor(&mut self, other: &Self) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word ^= other;
        }
    }

    fn distance(&self, other: &Self) -> u32 {
        self.words.iter().zip(&other.words).map(|(a, b)| (a ^ b).count_ones()).sum()
    }

    /// The first slot from `from` on that is in the set, or is not.
    fn next(&self, from: usize, inside: bool) -> Option<usize> {
        let flip = if inside { 0 } else { u64::MAX };
        let first = from / BITS;
        let rest = self.words.get(first..)?;
        let mut low = u64::MAX << (from % BITS);
        for (index, word) in rest.iter().enumerate() {
            let found = (word ^ flip) & low;
            if found != 0 {
                return Some((first + index) * BITS + found.trailing_zeros() as usize);
            }
            low = u64::MAX;
        }
        None
    }

    /// Runs of slots in the set, as ranges.
    fn runs(&self) -> impl Iterator<Item = Range<usize>> {
        let mut from = 0;
        std::iter::from_fn(move || {
            let start = self.next(from, true)?;
            from = self.next(start, false).unwrap_or(self.words.len() * BITS);
            Some(start..from)
        })
    }

    /// Inverts a range of slots that is not empty.
    fn toggle(&mut self, range: Range<usize>) {
        let words = range.start / BITS..range.end.div_ceil(BITS);
        for (index, word) in words.clone().zip(&mut self.words[words]) {
            let low = range.start.saturating_sub(index * BITS);
            let high = (range.end - index * BITS).min(BITS);
            *word ^= (u64::MAX >> (BITS - (high - low))) << low;
        }
    }
}

impl Patterns {
    /// Makes room for all sets of slots below `slots`. Without it each set gets its room when it is first used.
    pub(super) fn grow(&mut self, slots: usize) {
        self.sets.resize_with(PATTERNS, SlotSet::default);
        for set in self.sets.iter_mut().chain([&mut self.difference]) {
            set.grow(slots);
        }
    }

    /// Forgets all sets, before a keyframe.
    pub(super) fn clear(&mut self) {
        self.used = 0;
    }

    /// Writes `set` and takes it into the table.
    pub(super) fn encode(&mut self, set: &SlotSet, out: &mut Vec<u8>) {
        let known = self.sets[..self.used].iter().map(|known| known.distance(set)).enumerate();
        let nearest = known.min_by_key(|&(_, distance)| distance).map_or(0, |(index, _)| index);
        self.difference.copy_from(set);
        if self.used > 0 {
            self.difference.xor(&self.sets[nearest]);
        }
        let runs = self.difference.runs().count();
        let few = runs.min(MANY_RUNS);
        out.push((few << 4 | nearest) as u8);
        if few == MANY_RUNS {
            put_varint(out, (runs - MANY_RUNS) as u64);
        }
        let mut from = 0;
        for run in self.difference.runs() {
            put_varint(out, (run.start - from) as u64);
            put_varint(out, (run.len() - 1) as u64);
            // Between two runs there is at least one slot.
            from = run.end + 1;
        }
        self.commit(Choice { nearest, exact: runs == 0 }, set);
    }

    /// Reads a set of slots below `slots` into `set`, which has room for them. The table stays as it is until [`Self::commit`].
    pub(super) fn decode(
        &self,
        reader: &mut Reader<'_>,
        keyframe: bool,
        slots: usize,
        set: &mut SlotSet,
    ) -> Result<Choice, DecodeError> {
        let first = usize::from(reader.byte()?);
        let (mut runs, nearest) = (first >> 4, first & 0xf);
        let used = if keyframe { 0 } else { self.used };
        if nearest >= used.max(1) {
            return Err(DecodeError::Malformed("presence pattern that is not in the table"));
        }
        if used == 0 {
            set.clear();
        } else {
            set.copy_from(&self.sets[nearest]);
        }
        if runs == MANY_RUNS {
            runs += reader.bounded(slots as u64, "more runs than slots")? as usize;
        }
        let mut from = 0;
        for _ in 0..runs {
            let undefined = DecodeError::UndefinedSlot { defined: slots as u32 };
            let gap = reader.varint()?;
            let more = reader.varint()?;
            if gap >= slots as u64 || more >= slots as u64 {
                return Err(undefined);
            }
            let start = from + gap as usize;
            let end = start + more as usize + 1;
            if end > slots {
                return Err(undefined);
            }
            set.toggle(start..end);
            from = end + 1;
        }
        Ok(Choice { nearest, exact: runs == 0 })
    }

    /// Moves the chosen set to the front of the table, or puts a new one there.
    pub(super) fn commit(&mut self, choice: Choice, set: &SlotSet) {
        if choice.exact && self.used > 0 {
            self.sets[..=choice.nearest].rotate_right(1);
        } else {
            self.used = PATTERNS.min(self.used + 1);
            if self.sets.len() < self.used {
                self.sets.push(SlotSet::default());
            }
            self.sets[..self.used].rotate_right(1);
            self.sets[0].grow(set.words.len() * BITS);
            self.sets[0].copy_from(set);
        }
    }
}

/// The slots of a set given as words.
#[inline]
pub(super) fn slots(words: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
    words.enumerate().flat_map(|(index, word)| Ones(word).map(move |bit| index * BITS + bit))
}

/// Positions of the ones of a word, lowest first.
struct Ones(u64);

impl Iterator for Ones {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        let bit = self.0.trailing_zeros() as usize;
        self.0 &= self.0.checked_sub(1)?;
        Some(bit)
    }
}
