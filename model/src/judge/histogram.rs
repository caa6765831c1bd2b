//! Latencies of one window, as counts in buckets a sixteenth of their value wide.
//!
//! Counts can be merged over windows and units, percentiles cannot. Within a bucket values count as
//! evenly spread, so a quantile moves smoothly rather than by whole buckets.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::log_linear::{BUCKETS, bucket, largest};

/// Counts by bucket: those below 16 hold one value each, then there are 16 for each power of two.
/// The unit is the caller's; microseconds suit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    counts: BTreeMap<u16, u64>,
}

impl Histogram {
    /// One that holds nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts a value.
    pub fn record(&mut self, value: u64) {
        self.add(value, 1);
    }

    /// Counts a value so many times.
    pub fn add(&mut self, value: u64, times: u64) {
        let count = self.counts.entry(bucket(value) as u16).or_default();
        *count = count.saturating_add(times);
    }

    /// Counts all that the other one has.
    pub fn merge(&mut self, other: &Self) {
        for (&bucket, &times) in &other.counts {
            let count = self.counts.entry(bucket).or_default();
            *count = count.saturating_add(times);
        }
    }

    /// Values counted.
    pub fn total(&self) -> u64 {
        self.counts.values().fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// The value that the share `q` lies below; `None` when it holds nothing, or buckets that there
    /// are not.
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let total = self.total();
        if total == 0 || self.counts.keys().any(|&bucket| usize::from(bucket) >= BUCKETS) {
            return None;
        }
        let rank = q.clamp(0.0, 1.0) * total as f64;
        let mut below = 0.0;
        let mut last = 0.0;
        for (&bucket, &count) in self.counts.iter().filter(|(_, count)| **count > 0) {
            let bucket = usize::from(bucket);
            let from = if bucket == 0 { 0.0 } else { largest(bucket - 1) as f64 + 1.0 };
            let to = largest(bucket) as f64 + 1.0;
            last = to;
            if below + count as f64 >= rank {
                return Some(from + (to - from) * ((rank - below) / count as f64).max(0.0));
            }
            below += count as f64;
        }
        Some(last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_has_no_quantile() {
        assert_eq!(Histogram::new().quantile(0.5), None);
        let mut empty = Histogram::new();
        empty.add(7, 0);
        assert_eq!(empty.quantile(0.5), None);
        let foreign: Histogram = serde_json::from_str(r#"{"counts":{"60000":3}}"#).unwrap();
        assert_eq!(foreign.quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn a_quantile_is_within_a_sixteenth(
            mut values in prop::collection::vec(1_u64..10_000_000, 1..200),
            q in 0.0_f64..=1.0,
        ) {
            let mut histogram = Histogram::new();
            for value in &values {
                histogram.record(*value);
            }
            values.sort_unstable();
            let rank = ((q * values.len() as f64).ceil() as usize).max(1) - 1;
            let exact = values[rank] as f64;
            let found = histogram.quantile(q).unwrap();
            prop_assert!((found - exact).abs() <= exact / 16.0 + 1.0, "{found} for {exact}");
        }

        #[test]
        fn merged_parts_are_the_whole(
            a in prop::collection::vec(0_u64..1 << 40, 0..50),
            b in prop::collection::vec(0_u64..1 << 40, 0..50),
        ) {
            let of = |values: &[u64]| {
                let mut histogram = Histogram::new();
                for value in values {
                    histogram.record(*value);
                }
                histogram
            };
            let mut merged = of(&a);
            merged.merge(&of(&b));
            prop_assert_eq!(merged, of(&[a, b].concat()));
        }
    }
}
