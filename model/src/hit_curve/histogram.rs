//! Weights by size in bytes, in buckets that are a sixteenth of their size wide.

/// Buckets for each power of two.
const STEPS: usize = 16;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// Enough for every `u64`.
const BUCKETS: usize = (64 - STEP_BITS as usize + 1) * STEPS;
/// A bucket with less of the total is emptied, and one with less than a five-hundredth of an access.
const LEAST_SHARE: f64 = 1e-6;
const LEAST_WEIGHT: f64 = 0.002;

/// Sums of weights. 8 KiB.
#[derive(Debug)]
pub(super) struct Histogram {
    weights: Vec<f64>,
    total: f64,
}

impl Histogram {
    pub(super) fn new() -> Self {
        Self { weights: vec![0.0; BUCKETS], total: 0.0 }
    }

    pub(super) fn add(&mut self, bytes: u64, weight: f64) {
        self.weights[bucket(bytes)] += weight;
        self.total += weight;
    }

    pub(super) fn total(&self) -> f64 {
        self.total
    }

    /// Halves all weights; what no longer matters becomes nothing, so that it makes no bucket.
    pub(super) fn halve(&mut self) {
        let least = (self.total * LEAST_SHARE).max(LEAST_WEIGHT);
        for weight in &mut self.weights {
            *weight = if *weight < least { 0.0 } else { *weight * 0.5 };
        }
        self.total = self.weights.iter().sum();
    }

    /// The buckets that hold something: largest size in the bucket, weight up to there.
    pub(super) fn cumulated(&self) -> impl Iterator<Item = (u64, f64)> {
        let mut sum = 0.0;
        self.weights.iter().enumerate().filter(|(_, weight)| **weight > 0.0).map(
            move |(i, weight)| {
                sum += weight;
                (largest(i), sum)
            },
        )
    }
}

/// Sizes below [`STEPS`] have a bucket each.
fn bucket(bytes: u64) -> usize {
    if bytes < STEPS as u64 {
        return bytes as usize;
    }
    let shift = bytes.ilog2() - STEP_BITS;
    (shift as usize) * STEPS + (bytes >> shift) as usize
}

/// Largest size in this bucket.
fn largest(bucket: usize) -> u64 {
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
    fn buckets_follow_each_other_without_gaps_up_to_the_largest_size() {
        assert_eq!(largest(BUCKETS - 1), u64::MAX);
        for i in 0..BUCKETS - 1 {
            assert_eq!(bucket(largest(i)), i);
            assert_eq!(bucket(largest(i) + 1), i + 1);
        }
    }

    proptest! {
        #[test]
        fn a_bucket_is_at_most_a_sixteenth_of_its_sizes_wide(shift in 0..64, bits: u64) {
            let bytes = bits >> shift;
            let upper = largest(bucket(bytes));
            prop_assert!(upper >= bytes && upper - bytes <= bytes / 16);
        }
    }
}
