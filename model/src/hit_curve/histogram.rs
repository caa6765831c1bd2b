//! Weights by size in bytes, in buckets that are a sixteenth of their size wide.

use crate::log_linear::{BUCKETS, bucket, largest};

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
