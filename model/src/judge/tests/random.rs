//! Numbers that look random, the same ones for the same seed.

use std::f64::consts::TAU;

use crate::mix::next_unit;

/// A sequence.
pub(in crate::judge) struct Random(u64);

impl Random {
    pub(in crate::judge) fn new(seed: u64) -> Self {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        next_unit(&mut state);
        Self(state)
    }

    pub(in crate::judge) fn unit(&mut self) -> f64 {
        next_unit(&mut self.0)
    }

    pub(in crate::judge) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }
}

/// Unit variance, correlation `r` with the window before.
pub(in crate::judge) fn autoregressive(random: &mut Random, windows: usize, r: f64) -> Vec<f64> {
    let mut x = random.normal();
    (0..windows)
        .map(|_| {
            x = r * x + (1.0 - r * r).sqrt() * random.normal();
            x
        })
        .collect()
}
