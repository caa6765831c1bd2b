//! Noise of hit ratios: unit variance, mean 0, the same numbers for the same seed.

use std::f64::consts::TAU;

/// Windows in a day of windows of 10 s.
const DAY: f64 = 8640.0;

/// How windows stray.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// Independent.
    White,
    /// Each resembles the one before with this correlation.
    Autoregressive(f64),
    /// Half independent, half with a correlation of 0.9.
    Mixed,
    /// Student's t with three degrees of freedom.
    HeavyTails,
    /// Now and then a minute of far more misses.
    Bursts,
    /// Independent, and a wave of a day of ten times its size that all units share.
    Diurnal,
}

/// All of them.
pub(super) const SHAPES: [Shape; 8] = [
    Shape::White,
    Shape::Autoregressive(0.3),
    Shape::Autoregressive(0.6),
    Shape::Autoregressive(0.9),
    Shape::Mixed,
    Shape::HeavyTails,
    Shape::Bursts,
    Shape::Diurnal,
];

impl Shape {
    /// For tables.
    pub(super) fn name(self) -> String {
        match self {
            Self::White => "white".into(),
            Self::Autoregressive(r) => format!("AR(1) {r}"),
            Self::Mixed => "white + AR(1) 0.9".into(),
            Self::HeavyTails => "heavy tails".into(),
            Self::Bursts => "bursts".into(),
            Self::Diurnal => "diurnal".into(),
        }
    }

    /// So many windows of it, without what all units share.
    pub(super) fn series(self, random: &mut Random, windows: usize) -> Vec<f64> {
        let mut white = |n: usize| (0..n).map(|_| random.normal()).collect::<Vec<f64>>();
        match self {
            Self::White | Self::Diurnal => white(windows),
            Self::Autoregressive(r) => autoregressive(&white(windows + 1), r),
            Self::Mixed => {
                let slow = autoregressive(&white(windows + 1), 0.9);
                let fast = white(windows);
                slow.iter().zip(fast).map(|(a, b)| (a + b) * 0.5_f64.sqrt()).collect()
            }
            Self::HeavyTails => (0..windows).map(|_| random.student_3()).collect(),
            Self::Bursts => bursts(random, windows),
        }
    }

    /// What all units share besides, as a share of the mean.
    pub(super) fn tide(self, random: &mut Random, windows: usize) -> Vec<f64> {
        if self != Self::Diurnal {
            return vec![0.0; windows];
        }
        let phase = random.unit() * TAU;
        (0..windows).map(|t| 0.2 * (phase + TAU * t as f64 / DAY).sin()).collect()
    }
}

fn autoregressive(shocks: &[f64], r: f64) -> Vec<f64> {
    let mut x = shocks[0];
    shocks[1..]
        .iter()
        .map(|shock| {
            x = r * x + (1.0 - r * r).sqrt() * shock;
            x
        })
        .collect()
}

/// One window of 120 begins a burst of 6 windows on average, four times the rest's deviation high.
fn bursts(random: &mut Random, windows: usize) -> Vec<f64> {
    let mut bursting = false;
    let share = 1.0 / 21.0;
    let height = 4.0;
    let variance = 1.0 + height * height * share * (1.0 - share);
    (0..windows)
        .map(|_| {
            bursting = random.unit() < if bursting { 5.0 / 6.0 } else { 1.0 / 120.0 };
            let x = random.normal() + if bursting { height } else { 0.0 } - height * share;
            x / variance.sqrt()
        })
        .collect()
}

/// SplitMix (Steele et al.).
pub(super) struct Random(u64);

impl Random {
    /// Sequences of different seeds have nothing in common.
    pub(super) fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0xd134_2543_de82_ef95));
        random.unit();
        random
    }

    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Standard normal.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (TAU * self.unit()).cos()
    }

    /// Student's t with three degrees of freedom, of unit variance.
    fn student_3(&mut self) -> f64 {
        let squares: f64 = (0..3).map(|_| self.normal().powi(2)).sum();
        self.normal() / squares.sqrt()
    }

    /// A Poisson count.
    pub(super) fn poisson(&mut self, mean: f64) -> u64 {
        let (mut count, mut product, least) = (0, self.unit(), (-mean).exp());
        while product > least {
            count += 1;
            product *= self.unit();
        }
        count
    }
}
