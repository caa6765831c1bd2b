//! Bins of whole numbers that are a power of two's part wide: exact where numbers are small, a
//! constant share of them where they are large.

/// Bins of this many bits for each power of two: numbers below `2^bits` have a bin each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bins {
    bits: u32,
}

impl Bins {
    pub(super) const fn new(bits: u32) -> Self {
        Self { bits }
    }

    /// The bin that a number is in.
    pub(super) const fn of(self, number: u64) -> usize {
        let steps = 1 << self.bits;
        if number < steps {
            return number as usize;
        }
        let shift = number.ilog2() - self.bits;
        ((shift as u64 * steps) + (number >> shift)) as usize
    }

    /// The smallest number in a bin.
    pub(super) const fn start(self, bin: usize) -> u64 {
        let steps = 1 << self.bits;
        let bin = bin as u64;
        if bin < steps {
            return bin;
        }
        let shift = bin / steps - 1;
        (steps + bin % steps) << shift
    }

    /// How many numbers a bin holds.
    pub(super) const fn width(self, bin: usize) -> u64 {
        self.start(bin + 1) - self.start(bin)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn bins_follow_each_other_without_gaps() {
        for bits in 0..6 {
            let bins = Bins::new(bits);
            for bin in 0..(1 << bits) * (60 - bits as usize) {
                assert_eq!(bins.of(bins.start(bin)), bin);
                assert_eq!(bins.of(bins.start(bin + 1) - 1), bin);
            }
        }
    }

    proptest! {
        #[test]
        fn a_bin_is_no_wider_than_its_share(number in 0_u64..1 << 62, bits in 0_u32..6) {
            let bins = Bins::new(bits);
            let bin = bins.of(number);
            prop_assert!(bins.start(bin) <= number && number < bins.start(bin) + bins.width(bin));
            prop_assert!(bins.width(bin) <= (bins.start(bin) >> bits).max(1));
        }
    }
}
