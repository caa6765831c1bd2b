//! How old the keys are that are there: the hit ratio of smaller sizes.
//!
//! A key drawn at random is younger than `a` with the probability that a server that keeps keys for
//! `a` would hold it. The density of ages only falls, since a key gets older only when nobody asks
//! for it; so the estimate is the falling one (Grenander 1956), smoothed in the logarithm of the
//! age, where it is nearly straight, by lines fitted to the neighbourhood.
//!
//! The server's clock of ages has whole seconds and rounds both ends down: an age of `k` may be
//! anything between `k - 1` and `k + 1`, so on average it is the second around `k`, and 0 is half a
//! second.
//!
//! A smaller server also misses what has expired there: keys whose time is over within seconds, by
//! their age, tell how many expire at each age.
//!
//! A key that is missed gets its whole time to live anew, and expires later than one that was hit.
//! So a miss more takes a later one away, the likelier the more of that time was over: with all of
//! that chance if the key stays until it expires, with none if it is evicted before. Half of it is
//! taken, and doubted.
//!
//! Keys of an age are those of the requests of that time. So each age is counted beside the rate of
//! requests then ([`Rates`]), and a rate that has doubled meanwhile changes nothing.
//!
//! Eviction by samples takes old keys before the oldest, so there are fewer of them than the law
//! says. Only the youngest [`BELIEVED`] of the keys are believed where keys are evicted.
//!
//! Properties, each a test:
//! - (a) a density that is known is met within its standard error, at every age that is believed;
//! - (b) knots rise in bytes and keys and fall in misses;
//! - (c) blocks with different traffic are put together as each tells it;
//! - (d) after the rate of requests has doubled or halved the curve is the same as before.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::bins::Bins;
use super::bootstrap::{draw, jackknife_sd, sd};
use super::codec::{self, DecodeError};
use super::monotone::{falling, interpolate};
use super::{BLOCKS, Memory, Present, Rates};

/// Ages in seconds: exact up to 32, then a sixteenth wide.
const BINS: Bins = Bins::new(4);
/// Longest age that is told from longer ones: the clock wraps after 194 days.
const MAX_AGE_S: u64 = 1 << 24;
/// Share of the keys, youngest first, whose ages follow the law.
const BELIEVED: f64 = 0.55;
/// The same where no key is evicted: the very oldest are few.
const ALL_BELIEVED: f64 = 0.98;
/// A key that expires within this time counts as expiring at its present age.
const DYING_MS: u64 = 5000;
/// Width of the neighbourhood in the logarithm of the age.
const SMOOTH: f64 = 0.5;
/// So many ages are needed for an estimate.
const LEAST_AGES: f64 = 500.0;
/// The believed keys must be spread over so many bins.
const LEAST_BINS: usize = 3;
/// Older keys of which so many must be known how much of their time is left.
const LEAST_TOLD: f64 = 30.0;
/// Most that there are more or fewer requests now than when a key was used: where there were nearly
/// none there are nearly no keys either.
const MOST_UNEVEN: f64 = 20.0;
const RESAMPLES: usize = 100;
const SEED: u64 = 0xa9e5;

/// What the server did while ages were looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Traffic {
    /// Keys, on average.
    pub keys: f64,
    /// Requests a second that make a key young: reads that hit, and the writes after those that did
    /// not.
    pub touches_per_second: f64,
}

/// A key drawn at random.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drawn {
    /// Seconds since its last use.
    pub idle_s: u64,
    /// Its size; 0 when not known.
    pub bytes: u32,
    /// When it expires.
    pub lifetime: Lifetime,
}

/// What is known of the time that a key has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    /// It does not expire.
    Forever,
    /// Milliseconds left of as many as it was given, if that is known.
    Left(u64, Option<u64>),
}

/// Ages and sizes of keys drawn at random. At most 13 blocks of 330 bins of 48 bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Ages {
    blocks: VecDeque<Block>,
    open: Block,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Block {
    bins: Vec<Bin>,
    /// Keys for each touch a second; 0 while the block is open.
    keys_per_touch: f64,
    keys: f64,
}

/// Keys of some ages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    keys: f64,
    bytes: f64,
    dying: f64,
    /// Keys of which it is known what share of their time is left, and the sum of those.
    told: f64,
    left: f64,
    /// Keys by the requests of their time, as many as there would be at the rate of the block.
    even: f64,
}

/// What a server would do that keeps keys up to an age.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knot {
    pub(super) data_bytes: f64,
    pub(super) keys: f64,
    pub(super) miss_ratio: f64,
    pub(super) sd: f64,
}

impl Ages {
    /// Counts a key drawn at random.
    pub fn observe(&mut self, drawn: Drawn) {
        let bin = BINS.of(drawn.idle_s.min(MAX_AGE_S - 1));
        if self.open.bins.len() <= bin {
            self.open.bins.resize(bin + 1, Bin::default());
        }
        let bin = &mut self.open.bins[bin];
        bin.keys += 1.0;
        bin.bytes += f64::from(drawn.bytes);
        let left = match drawn.lifetime {
            Lifetime::Forever => Some(1.0),
            Lifetime::Left(left_ms, given_ms) => {
                bin.dying += f64::from(u8::from(left_ms < DYING_MS));
                given_ms.map(|given| (left_ms as f64 / given.max(1) as f64).min(1.0))
            }
        };
        bin.told += f64::from(u8::from(left.is_some()));
        bin.left += left.unwrap_or(0.0);
    }

    /// Keys counted.
    pub fn observed(&self) -> f64 {
        self.blocks.iter().map(Block::count).sum::<f64>() + self.open.count()
    }

    /// Mean size of the keys counted; `None` without sizes.
    pub fn mean_bytes(&self) -> Option<f64> {
        let blocks = || self.blocks.iter().chain([&self.open]);
        let bytes: f64 = blocks().flat_map(|block| &block.bins).map(|bin| bin.bytes).sum();
        (bytes > 0.0).then(|| bytes / self.observed())
    }

    /// Age in seconds below which this share of the keys are; `None` when none were drawn.
    pub fn age_of_share(&self, share: f64) -> Option<f64> {
        let blocks = || self.blocks.iter().chain([&self.open]);
        let longest = blocks().map(|block| block.bins.len()).max()?;
        let keys_of = |i: usize| -> f64 {
            blocks().filter_map(|block| block.bins.get(i)).map(|bin| bin.keys).sum()
        };
        let wanted = share * self.observed();
        let mut sum = 0.0;
        let found = (0..longest).find(|i| {
            sum += keys_of(*i);
            sum >= wanted && sum > 0.0
        });
        found.map(|bin| (BINS.start(bin) + BINS.width(bin)) as f64)
    }

    /// Ends a block: this was the traffic meanwhile, and before. What is not a number or not above 0
    /// makes the block worth nothing. [`BLOCKS`] are kept.
    pub fn finish_block(&mut self, traffic: Traffic) {
        self.finish_block_at(traffic, &Rates::default(), 0, 0.0);
    }

    /// The same of a block of so many seconds that ends now, where it is known how many requests there
    /// were before. Where that is not known there were as many.
    pub fn finish_block_at(&mut self, traffic: Traffic, rates: &Rates, now_ms: u64, seconds: f64) {
        let mut block = std::mem::take(&mut self.open);
        for (i, bin) in block.bins.iter_mut().enumerate() {
            let from_s = BINS.start(i) as f64;
            let to_s = from_s + BINS.width(i) as f64 + seconds;
            let then = rates.between(now_ms, from_s, to_s);
            let quotient = then.map_or(1.0, |then| traffic.touches_per_second / then);
            bin.even = bin.keys * quotient.clamp(1.0 / MOST_UNEVEN, MOST_UNEVEN);
        }
        block.keys_per_touch = traffic.keys / traffic.touches_per_second;
        block.keys = traffic.keys;
        let is_sound = block.keys_per_touch > 0.0 && block.keys_per_touch.is_finite();
        if !is_sound || block.count() < 1.0 {
            return;
        }
        if self.blocks.len() == BLOCKS {
            self.blocks.pop_front();
        }
        self.blocks.push_back(block);
    }

    /// The state as bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The state of [`Ages::encode`].
    ///
    /// # Errors
    /// When it is not such a state.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let ages: Self = codec::decode(bytes)?;
        let is_sound = |bin: &Bin| {
            let all = [bin.keys, bin.bytes, bin.dying, bin.told, bin.left, bin.even];
            all.into_iter().all(|number| number.is_finite() && number >= 0.0)
        };
        let blocks = || ages.blocks.iter().chain([&ages.open]);
        let is_whole = |block: &Block| {
            block.bins.len() <= BINS.of(MAX_AGE_S)
                && block.keys_per_touch.is_finite()
                && block.bins.iter().all(is_sound)
        };
        if ages.blocks.len() <= BLOCKS && blocks().all(is_whole) {
            Ok(ages)
        } else {
            Err(DecodeError::Damaged)
        }
    }

    /// Knots by growing size, of whole blocks. `None` when there are too few ages, or those that
    /// are believed are too young for the server's clock.
    pub(super) fn knots(&self, present: &Present, memory: &Memory) -> Option<Vec<Knot>> {
        let is_evicting = present.evictions_per_second > 0.0;
        let believed = if is_evicting { BELIEVED } else { ALL_BELIEVED };
        let law = Pooled::of(&self.blocks.iter().collect::<Vec<_>>())?;
        let points = law.points(believed)?;
        let at = |pooled: &Pooled| {
            let Some(other) = pooled.points(believed) else { return Vec::new() };
            let (shares, misses): (Vec<_>, Vec<_>) =
                other.iter().map(|point| (point.keys, point.misses)).unzip();
            points.iter().map(|point| interpolate(&shares, &misses, point.keys)).collect()
        };
        let mut random = SEED;
        let drawn: Vec<_> = (0..RESAMPLES).map(|_| at(&law.drawn(&mut random))).collect();
        let left_out = |out: usize| {
            let others = self.blocks.iter().enumerate().filter(|(i, _)| *i != out);
            Pooled::of(&others.map(|(_, block)| block).collect::<Vec<_>>())
        };
        let left_out: Vec<_> =
            (0..self.blocks.len()).filter_map(left_out).map(|pooled| at(&pooled)).collect();
        let floor = (1.0 - present.hit_ratio).clamp(0.0, 1.0);
        let knot = |(i, point): (usize, &Point)| {
            let column = |all: &[Vec<f64>]| -> Vec<f64> {
                all.iter().filter_map(|row| row.get(i).copied()).collect()
            };
            // A smaller server misses at least what this one does.
            let more = point.misses.clamp(floor, 1.0) - floor;
            let doubt = more * point.over / 2.0 / 3_f64.sqrt();
            let chance = sd(&column(&drawn)).max(jackknife_sd(&column(&left_out)));
            Knot {
                data_bytes: point.bytes * memory.data_bytes,
                keys: point.keys * memory.keys,
                miss_ratio: floor + more * (1.0 - point.over / 2.0),
                sd: chance.hypot(doubt),
            }
        };
        Some(points.iter().enumerate().map(knot).collect())
    }
}

impl Block {
    fn count(&self) -> f64 {
        self.bins.iter().map(|bin| bin.keys).sum()
    }
}

/// Blocks put together.
struct Pooled {
    bins: Vec<Bin>,
    /// What keys of a bin stand for at a touch a second.
    weights: Vec<f64>,
    /// The same for those that are about to expire.
    dying: Vec<f64>,
}

/// Shares of all keys and their bytes that are younger than an age, and of requests that would be
/// missed by a server that keeps keys until then; and the share of their time to live that is over
/// for older keys.
struct Point {
    keys: f64,
    bytes: f64,
    misses: f64,
    over: f64,
}

impl Pooled {
    fn of(blocks: &[&Block]) -> Option<Self> {
        let longest = blocks.iter().map(|block| block.bins.len()).max()?;
        let mut bins = vec![Bin::default(); longest];
        let (mut weights, mut dying) = (vec![0.0; longest], vec![0.0; longest]);
        for block in blocks {
            for (i, more) in block.bins.iter().enumerate() {
                bins[i].keys += more.keys;
                bins[i].bytes += more.bytes;
                bins[i].dying += more.dying;
                bins[i].told += more.told;
                bins[i].left += more.left;
                weights[i] += more.even * block.keys_per_touch;
                dying[i] += more.dying * block.keys_per_touch;
            }
        }
        Some(Self { bins, weights, dying })
    }

    /// The same, had chance been another.
    fn drawn(&self, random: &mut u64) -> Self {
        let mut other = Self {
            bins: self.bins.clone(),
            weights: self.weights.clone(),
            dying: self.dying.clone(),
        };
        let mut scale = |expected: f64| {
            if expected > 0.0 { draw(expected, random) / expected } else { 0.0 }
        };
        for (i, bin) in other.bins.iter_mut().enumerate() {
            let (keys, dying) = (scale(bin.keys), scale(bin.dying));
            bin.keys *= keys;
            bin.bytes *= keys;
            other.weights[i] *= keys;
            other.dying[i] *= dying;
        }
        other
    }

    /// By growing age, as far as ages are believed.
    fn points(&self, believed: f64) -> Option<Vec<Point>> {
        let later = self.later(believed)?;
        let sum = |of: fn(&Bin) -> f64| self.bins.iter().map(of).sum::<f64>();
        let (keys, bytes) = (sum(|bin| bin.keys), sum(|bin| bin.bytes));
        let dying_s = DYING_MS as f64 / 1000.0;
        let (mut told, mut left) = (sum(|bin| bin.told), sum(|bin| bin.left));
        let mut before = (Bin::default(), 0.0);
        let mut points = Vec::with_capacity(later.len());
        for (i, later) in later.into_iter().enumerate() {
            let (bin, dying) = (&self.bins[i], self.dying[i]);
            let share = (before.0.keys + bin.keys / 2.0) / keys;
            let byte_share = (before.0.bytes + bin.bytes / 2.0) / bytes;
            let expired = (before.1 + dying / 2.0) / keys / dying_s;
            before.0.keys += bin.keys;
            before.0.bytes += bin.bytes;
            before.1 += dying;
            (told, left) = (told - bin.told, left - bin.left);
            if bin.keys > 0.0 {
                let bytes = if bytes > 0.0 { byte_share } else { share };
                let over = if told >= LEAST_TOLD { 1.0 - left / told } else { 0.0 };
                points.push(Point { keys: share, bytes, misses: later + expired, over });
            }
        }
        Some(points)
    }

    /// Share of requests that come later than the ages of a bin, of keys that live on; as many bins
    /// as are believed.
    fn later(&self, believed: f64) -> Option<Vec<f64>> {
        let total: f64 = self.bins.iter().map(|bin| bin.keys).sum();
        let mut sum = 0.0;
        let young = self.bins.iter().take_while(|bin| {
            sum += bin.keys;
            sum <= believed * total
        });
        let young = young.count();
        if total < LEAST_AGES || young < LEAST_BINS {
            return None;
        }
        let widths: Vec<_> = (0..young).map(width_s).collect();
        let density = |i: usize| self.weights[i] / total / widths[i];
        let mut later: Vec<_> = (0..young).map(density).collect();
        falling(&mut later, &widths);
        let counts: Vec<_> = self.bins[..young].iter().map(|bin| bin.keys.max(0.5)).collect();
        let mut later = smooth(&later, &counts);
        falling(&mut later, &widths);
        Some(later)
    }
}

/// Seconds around the ages of a bin.
fn width_s(bin: usize) -> f64 {
    if bin == 0 { 0.5 } else { BINS.width(bin) as f64 }
}

/// The middle of the ages of a bin.
fn middle_s(bin: usize) -> f64 {
    if bin == 0 { 0.25 } else { BINS.start(bin) as f64 + (BINS.width(bin) as f64 - 1.0) / 2.0 }
}

/// Lines through the neighbours of each bin, in the logarithms of both.
fn smooth(later: &[f64], counts: &[f64]) -> Vec<f64> {
    let least = later.iter().copied().filter(|later| *later > 0.0).fold(1.0, f64::min);
    let logs: Vec<_> = later.iter().map(|later| later.max(least).ln()).collect();
    let ages: Vec<_> = (0..later.len()).map(|bin| middle_s(bin).ln()).collect();
    let line_at = |at: f64| {
        let mut sums = [0.0; 5];
        for ((age, log), count) in ages.iter().zip(&logs).zip(counts) {
            let away = age - at;
            let weight = count * (-0.5 * (away / SMOOTH).powi(2)).exp();
            for (sum, term) in sums.iter_mut().zip([1.0, away, away * away, *log, away * log]) {
                *sum += weight * term;
            }
        }
        let [one, x, xx, y, xy] = sums;
        let determinant = one * xx - x * x;
        // With one neighbour only there is no line.
        if determinant > 1e-9 * one * one { (xx * y - x * xy) / determinant } else { y / one }
    };
    ages.iter().map(|age| line_at(*age).exp()).collect()
}

#[cfg(test)]
mod tests;
