//! Random numbers and damaged frames.

/// A small generator of random numbers (SplitMix64), the same everywhere for the same seed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ word >> 31
    }

    /// Below `bound`, which is not zero.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// The payload with a few bytes of its body damaged and a checksum that fits, so that the damage gets past it.
    pub(crate) fn damage(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut body = payload[..payload.len() - 4].to_vec();
        for _ in 0..=self.below(4) {
            let at = self.below(body.len());
            // Most decisions are made in the first bytes.
            let at = if self.below(2) == 0 { at.min(self.below(16)) } else { at };
            match self.below(8) {
                0 => body[at] = self.next() as u8,
                1 => body.insert(at, self.next() as u8),
                2 => drop(body.remove(at)),
                3 => body.truncate(at.max(1)),
                4 => body[at..].fill(if self.below(2) == 0 { 0 } else { 0xff }),
                5 => body.splice(at..at, [0xff, 0xff, 0xff, 0xff, 0x0f]).for_each(drop),
                6 => body.extend_from_within(at..),
                _ => body[at] ^= 1 << self.below(8),
            }
            if body.is_empty() {
                body.push(0);
            }
        }
        let checksum = crc32c::crc32c(&body);
        body.extend_from_slice(&checksum.to_le_bytes());
        body
    }
}
