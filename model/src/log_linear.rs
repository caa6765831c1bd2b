//! Buckets whose width is a sixteenth of their value: few buckets for any range, and a bounded
//! relative error. (HdrHistogram's law, without its precision setting.)

/// Buckets for each power of two.
const STEPS: usize = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Enough for every `u64`.
pub(crate) const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;

/// The bucket of a value. Values below [`STEPS`] have a bucket each.
pub(crate) fn bucket(value: u64) -> usize {
    if value < STEPS as u64 {
        return value as usize;
    }
    let shift = value.ilog2() - STEP_BITS;
    (shift as usize) * STEPS + (value >> shift) as usize
}

/// Largest value in this bucket.
pub(crate) fn largest(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let shift = bucket / STEPS - 1;
    let lead = (STEPS + bucket % STEPS) as u64;
    (lead << shift) | ((1 << shift) - 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gaps_up_to_the_largest_value() {
        assert_eq!(largest(BUCKETS - 1), u64::MAX);
        for i in 0..BUCKETS - 1 {
            assert_eq!(bucket(largest(i)), i);
            assert_eq!(bucket(largest(i) + 1), i + 1);
        }
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_sixteenth_of_its_values_wide(shift in 0..64, bits: u64) {
            let value = bits >> shift;
            let upper = largest(bucket(value));
            prop_assert!(upper >= value && upper - value <= value / 16);
        }
    }
}
