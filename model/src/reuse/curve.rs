//! One curve from three measurements, which meet at the present.
//!
//! Above the present the change is predicted and not the level: what is measured stays, and what
//! more memory would save of the present misses is added. Below, ages tell the level up to the size
//! of the keys that are believed, and from there the curve is drawn to what is measured.
//!
//! An interval is that of 90 %: chance of the sample, change between blocks of time, chance of the
//! measured present, and how far such predictions were off before ([`Priors`]), which grows with the
//! distance from the present.
//!
//! A server that samples keys evicts one of the oldest and not the oldest, which costs it a few tenths
//! of a point; that is taken off where it is not measured (`blur`).
//!
//! Properties, each a test:
//! - (a) the curve rises with size, as do both ends of its intervals, and lies in 0 to 1;
//! - (b) at the present size it is what is measured;
//! - (c) outside of what was seen there is a bound and no number;
//! - (d) a server that evicts nothing gains nothing from memory.

use super::monotone::interpolate;
use super::{Ages, Ghosts, Memory, Present, ages, tail};

/// Points for each doubling of the size.
const POINTS: f64 = 8.0;
/// Steps between two points, at the end.
const FINE: f64 = 8.0;
/// The normal law's 90 %.
const Z: f64 = 1.645;
/// Smallest size that is drawn, as a share of the present.
const SMALLEST: f64 = 1.0 / 64.0;
/// Distance, in the logarithm of the size, over which a curve's bend is measured.
const BEND: f64 = 0.3;
/// A miss ratio below this is none.
const NO_MISS: f64 = 1e-6;
/// Knots below the present are at least so far apart.
const APART: f64 = 1.001;
/// Doublings after which a prediction is no worse.
const FARTHEST: f64 = 2.0;
/// Largest size of a server that evicts nothing.
const LARGEST: f64 = 2.0;

/// How far predictions were off before, as standard deviations at half or twice the size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Priors {
    /// Of a hit ratio at a smaller size.
    pub smaller_sd: f64,
    /// Of a hit ratio at a larger size of a server that evicts by age.
    pub larger_sd: f64,
    /// The same of one that evicts otherwise: there the order in which keys went is not the one in
    /// which a larger server would let them go.
    pub larger_other_sd: f64,
}

/// One size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// `maxmemory`.
    pub bytes: u64,
    /// Hit ratio at that.
    pub hit_ratio: f64,
    /// Ends of its 90 % interval.
    pub low: f64,
    /// The other end.
    pub high: f64,
}

/// What a part of the curve comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// It is not known: too little was seen.
    None,
    /// Ages of keys.
    IdleAges,
    /// Clocks of evicted keys.
    GhostTail,
    /// Nothing is evicted, so more memory changes nothing.
    NotFull,
}

/// Hit ratio by size.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// By growing size; the present one is among them.
    pub points: Vec<Point>,
    /// The present size.
    pub present_bytes: u64,
    /// What the points below the present come from.
    pub below: Method,
    /// What those above come from.
    pub above: Method,
    /// No size can be better than this: some misses no memory saves.
    pub most: f64,
}

/// What the curve says of a size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// This.
    Estimate(Point),
    /// Something between these; where, was not seen.
    Between(f64, f64),
}

/// Why there is no curve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// `maxmemory` is 0.
    #[error("the server has no limit")]
    NoLimit,
    /// Sums of INFO are missing or contradict each other.
    #[error("the sums of the server's memory do not add up")]
    Memory,
    /// Nobody asked for anything.
    #[error("there were no requests")]
    NoRequests,
}

/// A place on the curve, by bytes of keys.
#[derive(Debug, Clone, Copy)]
struct Knot {
    data_bytes: f64,
    keys: f64,
    hit_ratio: f64,
    variance: f64,
}

impl Default for Priors {
    /// Half a point, and one and a half where eviction is not by age, as long as nothing is known.
    fn default() -> Self {
        Self { smaller_sd: 0.005, larger_sd: 0.005, larger_other_sd: 0.015 }
    }
}

impl Method {
    /// As it is written in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::IdleAges => "idle_ages",
            Self::GhostTail => "ghost_tail",
            Self::NotFull => "not_full",
        }
    }
}

impl Curve {
    /// Smallest size that it knows.
    pub fn reach_low_bytes(&self) -> u64 {
        self.points.first().map_or(self.present_bytes, |point| point.bytes)
    }

    /// Largest size that it knows.
    pub fn reach_high_bytes(&self) -> u64 {
        self.points.last().map_or(self.present_bytes, |point| point.bytes)
    }

    /// Hit ratio at a `maxmemory`.
    pub fn at(&self, bytes: u64) -> Answer {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return Answer::Between(0.0, 1.0);
        };
        if bytes < first.bytes {
            return Answer::Between(0.0, first.high);
        }
        if bytes > last.bytes {
            return Answer::Between(last.low, self.most.max(last.high));
        }
        let after = self.points.partition_point(|point| point.bytes <= bytes);
        let (before, after) = (self.points[after - 1], self.points.get(after).unwrap_or(last));
        let log = |bytes: u64| (bytes as f64).ln();
        let width = log(after.bytes) - log(before.bytes);
        let share = if width > 0.0 { (log(bytes) - log(before.bytes)) / width } else { 0.0 };
        let between = |a: f64, b: f64| a + (b - a) * share;
        Answer::Estimate(Point {
            bytes,
            hit_ratio: between(before.hit_ratio, after.hit_ratio),
            low: between(before.low, after.low),
            high: between(before.high, after.high),
        })
    }
}

/// The curve of a server.
///
/// # Errors
/// When nothing can be said of it.
pub fn curve(
    present: &Present,
    ages: &Ages,
    ghosts: &Ghosts,
    now_ms: u64,
    priors: &Priors,
) -> Result<Curve, Refused> {
    if present.maxmemory_bytes < 1.0 {
        return Err(Refused::NoLimit);
    }
    if !(present.requests > 0.0 && (0.0..=1.0).contains(&present.hit_ratio)) {
        return Err(Refused::NoRequests);
    }
    let memory = Memory::full(present).ok_or(Refused::Memory)?;
    let blocks = ghosts.blocks(now_ms);
    // Ages are those of the keys that it holds on average.
    let held = memory.with(-tail::room(&blocks, present));
    let is_not_full = present.evictions_per_second <= 0.0;
    // Only a server that evicts by age, or nothing, has the ages that requests make.
    let below = if present.is_lru() || is_not_full { ages.knots(present, &held) } else { None };
    let evicted: u64 = blocks.iter().map(|block| block.gone[0]).sum();
    let misses: u64 = blocks.iter().map(|block| block.misses).sum();
    let scale = ages.mean_bytes().map_or(1.0, |mean| memory.key_bytes() / mean);
    let above =
        if is_not_full { Vec::new() } else { tail::knots(&blocks, present, &memory, scale) };
    let knots = knots(below.as_deref().unwrap_or_default(), &above, present, &memory);
    let savable = if misses > 0 { (evicted as f64 / misses as f64).min(1.0) } else { 1.0 };
    let savable = tail::most_saved(&blocks, present).map_or(savable, |most| most.min(savable));
    Ok(Curve {
        points: Drawing { knots: &knots, present, memory: &memory, priors, is_not_full }.points(),
        present_bytes: present.maxmemory_bytes as u64,
        below: if below.is_some() { Method::IdleAges } else { Method::None },
        above: match (is_not_full, above.is_empty()) {
            (true, _) => Method::NotFull,
            (false, true) => Method::None,
            (false, false) => Method::GhostTail,
        },
        most: present.hit_ratio
            + if is_not_full { 0.0 } else { (1.0 - present.hit_ratio) * savable },
    })
}

/// Both parts and the present between them, by growing bytes.
fn knots(
    below: &[ages::Knot],
    above: &[tail::Knot],
    present: &Present,
    memory: &Memory,
) -> Vec<Knot> {
    let miss_ratio = 1.0 - present.hit_ratio;
    let variance = present.hit_ratio * miss_ratio / present.requests;
    let mut knots: Vec<Knot> = Vec::with_capacity(below.len() + above.len() + 1);
    for knot in below {
        let least = knots.last().map_or(0.0, |last| last.data_bytes * APART);
        if (least..memory.data_bytes / APART).contains(&knot.data_bytes) && knot.data_bytes > 0.0 {
            knots.push(Knot::below(knot));
        }
    }
    let present_at = knots.len();
    let (data_bytes, keys, hit_ratio) = (memory.data_bytes, memory.keys, present.hit_ratio);
    knots.push(Knot { data_bytes, keys, hit_ratio, variance });
    knots.extend(above.iter().map(|knot| Knot::above(knot, miss_ratio, present, variance)));
    blur(&mut knots, present_at, present.spread());
    knots
}

impl Knot {
    fn log_misses(&self) -> f64 {
        (1.0 - self.hit_ratio).max(NO_MISS).ln()
    }

    fn below(knot: &ages::Knot) -> Self {
        Self {
            data_bytes: knot.data_bytes,
            keys: knot.keys,
            hit_ratio: 1.0 - knot.miss_ratio,
            variance: knot.sd.powi(2),
        }
    }

    fn above(knot: &tail::Knot, miss_ratio: f64, present: &Present, anchor: f64) -> Self {
        Self {
            data_bytes: knot.data_bytes,
            keys: knot.keys,
            hit_ratio: present.hit_ratio + miss_ratio * knot.saved.min(1.0),
            variance: anchor + (miss_ratio * knot.sd).powi(2),
        }
    }
}

/// What points are drawn from.
struct Drawing<'a> {
    knots: &'a [Knot],
    present: &'a Present,
    memory: &'a Memory,
    priors: &'a Priors,
    is_not_full: bool,
}

impl Drawing<'_> {
    /// Points at growing sizes, as far as the knots reach.
    fn points(&self) -> Vec<Point> {
        let column = |of: fn(&Knot) -> f64| self.knots.iter().map(of).collect::<Vec<_>>();
        let (bytes, keys) = (column(|k| k.data_bytes), column(|k| k.keys));
        // Between knots misses are nearly a power of the size.
        let (logs, misses) = (column(|k| k.data_bytes.ln()), column(Knot::log_misses));
        let variances = column(|k| k.variance);
        let (first, last) = (bytes[0], bytes[bytes.len() - 1]);
        let mut points = Vec::new();
        let mut step = (SMALLEST.log2() * POINTS * FINE) as i32;
        let mut is_ending = false;
        loop {
            let ratio = (f64::from(step) / POINTS / FINE).exp2();
            let maxmemory = self.present.maxmemory_bytes * ratio;
            let data = match step {
                0 => self.memory.data_bytes,
                _ => self.memory.fitting_bytes(maxmemory, |data| keys_of(&bytes, &keys, data)),
            };
            let is_beyond = if self.is_not_full { ratio > LARGEST } else { data > last };
            if is_beyond && step > 0 {
                if is_ending {
                    break;
                }
                // The last point is as near to the reach as a finer step comes.
                (is_ending, step) = (true, step - FINE as i32 + 1);
                continue;
            }
            if data >= first {
                let at = data.min(last).ln();
                let variance = interpolate(&logs, &variances, at) + self.model_variance(at);
                let hit_ratio = 1.0 - interpolate(&logs, &misses, at).exp();
                let half = Z * variance.sqrt();
                points.push(Point {
                    bytes: maxmemory as u64,
                    hit_ratio,
                    low: (hit_ratio - half).max(0.0),
                    high: (hit_ratio + half).min(1.0),
                });
            }
            step += if is_ending { 1 } else { FINE as i32 };
        }
        rise(&mut points);
        points
    }

    fn model_variance(&self, at: f64) -> f64 {
        let doublings = (at - self.memory.data_bytes.ln()) / std::f64::consts::LN_2;
        let sd = match (doublings < 0.0, self.present.is_lru()) {
            (true, _) => self.priors.smaller_sd,
            (false, true) => self.priors.larger_sd,
            (false, false) => self.priors.larger_other_sd,
        };
        (sd * doublings.abs().min(FARTHEST)).powi(2)
    }
}

/// Takes off what a server loses that does not evict the oldest key but one of the oldest.
///
/// With keys given up at sizes around its own, of a standard deviation of `spread` of it, a server
/// hits what exact ones hit on average over those sizes: less by half the bend of the curve there.
/// Ages know nothing of that. Clocks of evicted keys know what the present server loses, which is
/// less than a larger one does.
fn blur(knots: &mut [Knot], present_at: usize, spread: f64) {
    let xs: Vec<f64> = knots.iter().map(|knot| knot.data_bytes.ln()).collect();
    let ys: Vec<f64> = knots.iter().map(Knot::log_misses).collect();
    let present_bytes = knots[present_at].data_bytes;
    for (i, knot) in knots.iter_mut().enumerate() {
        let size = knot.data_bytes / present_bytes;
        let share = if i < present_at { 1.0 } else { 1.0 - size.powi(-2) };
        let loss = spread.powi(2) / 2.0 * share * bend(&xs, &ys, xs[i]);
        knot.hit_ratio = (knot.hit_ratio - loss).max(0.0);
    }
}

/// How fast the hit ratio rises ever slower: its second derivative by the size times the size
/// squared, downwards.
fn bend(xs: &[f64], ys: &[f64], at: f64) -> f64 {
    let hits = |x: f64| 1.0 - interpolate(xs, ys, x).exp();
    let (first, last) = (xs[0] + BEND, xs[xs.len() - 1] - BEND);
    if first > last {
        return 0.0;
    }
    let x = at.clamp(first, last);
    let (before, here, after) = (hits(x - BEND), hits(x), hits(x + BEND));
    let slope = (after - before) / (2.0 * BEND);
    let turn = (after - 2.0 * here + before) / BEND.powi(2);
    (slope - turn).max(0.0)
}

/// Keys of so many bytes: between knots a line, outside their mean size.
fn keys_of(bytes: &[f64], keys: &[f64], data: f64) -> f64 {
    let last = bytes.len() - 1;
    if data <= bytes[0] {
        return data * keys[0] / bytes[0];
    }
    if data >= bytes[last] {
        return data * keys[last] / bytes[last];
    }
    let i = bytes.partition_point(|other| *other <= data) - 1;
    let share = (data - bytes[i]) / (bytes[i + 1] - bytes[i]);
    keys[i] + (keys[i + 1] - keys[i]) * share
}

/// A larger server is no worse; the measured one is taken as it is by the points around it.
fn rise(points: &mut [Point]) {
    let mut least = (0.0_f64, 0.0_f64, 0.0_f64);
    for point in points {
        least.0 = least.0.max(point.hit_ratio);
        least.1 = least.1.max(point.low);
        least.2 = least.2.max(point.high);
        (point.hit_ratio, point.low, point.high) = least;
    }
}

#[cfg(test)]
mod tests;
