//! From clocks of evicted keys to the hit ratio of larger sizes.

use super::bootstrap::jackknife_sd;
use super::flow::{Course, PerMs};
use super::ghosts::Block;
use super::monotone::interpolate;
use super::survival::{Step, Tail};
use super::{Memory, Present};

/// Below this share of keys that expire nobody asks when evicted keys would have.
const FEW_EXPIRE: f64 = 0.01;
/// So many ghosts of known expiry must have been asked for.
const LEAST_EVENTS: f64 = 50.0;
/// The normal law's 90 %.
const Z: f64 = 1.645;
/// Part of the room that is doubted: it is that of the mean time for which keys are kept.
const DOUBTED: f64 = 1.0 / 3.0;
/// Knots are at least so far apart, as a share of the present bytes.
const APART: f64 = 0.005;

/// What a larger server would do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Knot {
    /// How much longer it keeps keys.
    pub(super) age_ms: f64,
    /// What must fit for that: what it holds, and the room that it has on average because keys expire.
    pub(super) data_bytes: f64,
    pub(super) keys: f64,
    /// PerMs of the present misses that it saves.
    pub(super) saved: f64,
    pub(super) sd: f64,
}

/// Evicted keys' clocks put together.
struct Clocks {
    tail: Tail,
    /// Evictions a millisecond, and for each miss.
    per_ms: f64,
    per_miss: f64,
    course: Course,
}

/// Knots by growing size; none when too little was seen. `bytes_scale` makes sizes of keys that were
/// [learned](super::Ghosts::learn) those of INFO.
pub(super) fn knots(
    blocks: &[Block],
    present: &Present,
    memory: &Memory,
    bytes_scale: f64,
) -> Vec<Knot> {
    let is_expiring = is_expiring(present);
    let all: Vec<&Block> = blocks.iter().collect();
    let Some(clocks) = Clocks::of(&all, is_expiring) else { return Vec::new() };
    let mut knots = clocks.knots(memory, bytes_scale);
    let left_out = |out: usize| {
        let others = all.iter().enumerate().filter(|(i, _)| *i != out);
        let clocks = Clocks::of(&others.map(|(_, block)| *block).collect::<Vec<_>>(), is_expiring)?;
        let other = clocks.knots(memory, bytes_scale);
        let (xs, ys): (Vec<_>, Vec<_>) = other.iter().map(|k| (k.data_bytes, k.saved)).unzip();
        let reach = *xs.last()?;
        // Beyond its own reach it says nothing.
        let at = |knot: &Knot| {
            (knot.data_bytes <= reach).then(|| interpolate(&xs, &ys, knot.data_bytes))
        };
        Some(knots.iter().map(at).collect::<Vec<_>>())
    };
    let left_out: Vec<_> = (0..all.len()).filter_map(left_out).collect();
    for (i, knot) in knots.iter_mut().enumerate() {
        let column: Vec<f64> = left_out.iter().filter_map(|row| row[i]).collect();
        knot.sd = knot.sd.max(jackknife_sd(&column));
    }
    knots
}

/// PerMs of the present misses that any larger server saves at most: all ghosts that still wait where
/// clocks end would be asked for in time. `None` when too little was seen.
pub(super) fn most_saved(blocks: &[Block], present: &Present) -> Option<f64> {
    let clocks = Clocks::of(&blocks.iter().collect::<Vec<_>>(), is_expiring(present))?;
    let steps = clocks.tail.survival(1.0);
    let last = steps.last()?;
    let chance = Z * sd_at(&steps).hypot(last.doubt);
    Some((clocks.per_miss * (last.gained + last.alive + chance)).min(1.0))
}

/// Keys that fit beside those that a server holds on average, since many expire at once.
pub(super) fn room(blocks: &[Block], present: &Present) -> f64 {
    let clocks = Clocks::of(&blocks.iter().collect::<Vec<_>>(), is_expiring(present));
    clocks.map_or(0.0, |clocks| clocks.course.room(&PerMs::default()))
}

/// Whether keys expire, so that it matters when evicted ones would have.
pub(super) fn is_expiring(present: &Present) -> bool {
    present.expiring_keys > FEW_EXPIRE * present.keys
}

/// PerMs of the misses whose key had gone for this reason within the time that clocks tell.
pub(super) fn share(tail: &Tail, gone: u64, misses: u64) -> f64 {
    let gained = tail.survival(1.0).last().map_or(0.0, |step| step.gained);
    if misses == 0 { 0.0 } else { gained * gone as f64 / misses as f64 }
}

/// The clocks that tell how long evicted keys could still have been hit.
pub(super) fn evicted(block: &Block, is_expiring: bool) -> Tail {
    let mut tail = block.tails[0].clone();
    if !is_expiring {
        tail.merge(&block.tails[1]);
    }
    tail
}

impl Clocks {
    fn of(blocks: &[&Block], is_expiring: bool) -> Option<Self> {
        let mut sum = Block::default();
        for block in blocks {
            sum.merge(block);
        }
        let tail = evicted(&sum, is_expiring);
        let gone = sum.gone[0] as f64;
        let (per_ms, per_miss) = (gone / sum.span_ms as f64, gone / sum.misses as f64);
        let is_sound = per_ms > 0.0 && per_ms.is_finite() && per_miss.is_finite();
        let course = Course::of(blocks.iter().map(|block| (&block.flow, block.span_ms)), gone);
        let is_told = is_sound && tail.events() >= LEAST_EVENTS;
        is_told.then_some(Self { tail, per_ms, per_miss, course })
    }

    /// Room in keys that a server has which keeps keys up to this step.
    fn room(&self, first: &Step, step: &Step) -> f64 {
        let lost = |step: &Step| (1.0 - step.alive - step.gained).max(0.0);
        let at_once = lost(first).min(lost(step));
        self.course.room(&PerMs {
            saved: self.per_ms * step.gained,
            evenly: self.per_ms * at_once,
            died: self.per_ms * (lost(step) - at_once),
        })
    }

    fn knots(&self, memory: &Memory, bytes_scale: f64) -> Vec<Knot> {
        let steps = self.tail.survival(memory.key_bytes() / bytes_scale);
        let mut knots: Vec<Knot> = Vec::new();
        let mut last = memory.data_bytes;
        let here = self.course.room(&PerMs::default());
        for (i, step) in steps.iter().enumerate() {
            let room = self.room(&steps[0], step) - here;
            let held_bytes = memory.data_bytes + self.per_ms * step.byte_ms * bytes_scale;
            let data_bytes = held_bytes + room * memory.key_bytes();
            if data_bytes - last < APART * memory.data_bytes && i + 1 < steps.len() {
                continue;
            }
            last = data_bytes;
            // Each key more saves so many of the misses.
            let by_key = self.per_miss * step.hazard / self.per_ms;
            let doubt = self.per_miss * step.doubt;
            knots.push(Knot {
                age_ms: step.age_ms,
                data_bytes,
                keys: memory.keys + self.per_ms * step.waited_ms + room,
                saved: self.per_miss * step.gained,
                sd: (self.per_miss * sd_at(&steps[..=i]))
                    .hypot(doubt)
                    .hypot(DOUBTED * room * by_key),
            });
        }
        knots
    }
}

/// Standard deviation of the share asked for again at the size of the last step (Greenwood's
/// variance, by the delta method): another hazard in one bin changes both how many were asked for
/// and how many still wait, and so the age that the size stands for.
fn sd_at(steps: &[Step]) -> f64 {
    let Some(last) = steps.last() else { return 0.0 };
    let by_hazard = |step: &Step| last.alive + last.hazard * (last.waited_ms - step.waited_ms);
    steps.iter().map(|step| step.variance * by_hazard(step).powi(2)).sum::<f64>().sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::{Cause, Ghosts, Sampling};
    use super::*;
    use crate::mix::next_unit;

    const KEYS: f64 = 2000.0;

    /// Five keys a second are evicted, each asked for again after a time of an exponential law.
    fn blocks(seed: u64) -> (Vec<Block>, u64) {
        let mut ghosts = Ghosts::new(Sampling { max_keys: 1 << 16, max_rate: 1.0 });
        let (mut random, start) = (seed, 1_000_000);
        ghosts.open(start);
        let mut events = Vec::new();
        for key in 0..1000 {
            let at_ms = start + key * 200;
            let age_ms = -60_000.0 * (1.0 - next_unit(&mut random)).ln();
            events.push((at_ms, key, true));
            events.push((at_ms + age_ms as u64, key, false));
        }
        let end = start + 200_000;
        events.retain(|event| event.0 < end);
        events.sort_unstable();
        for (at_ms, key, is_gone) in events {
            if is_gone {
                ghosts.gone(key, Cause::Evicted, at_ms);
            } else {
                ghosts.missed(key, at_ms);
            }
        }
        // As many cold misses, so that there is one for each eviction.
        (0..1000).for_each(|key| ghosts.missed(1_000_000 + key, end - 1));
        (ghosts.blocks(end), end)
    }

    #[test]
    fn the_standard_deviation_is_that_of_many_samples() {
        let memory =
            Memory { base_bytes: 0.0, data_bytes: KEYS * 100.0, keys: KEYS, expiring_share: 0.0 };
        let present = Present { keys: KEYS, ..Present::default() };
        let (mut saved, mut said) = (Vec::new(), Vec::new());
        for seed in 1..60 {
            let (mut blocks, _) = blocks(seed * 77);
            // The number of misses is another chance, which is not looked at here.
            for block in &mut blocks {
                block.misses = 1600;
            }
            let knots = knots(&blocks, &present, &memory, 1.0);
            let column = |of: fn(&Knot) -> f64| knots.iter().map(of).collect::<Vec<_>>();
            let at = |ys: &[f64]| interpolate(&column(|k| k.data_bytes), ys, KEYS * 110.0);
            saved.push(at(&column(|k| k.saved)));
            said.push(at(&column(|k| k.sd)));
        }
        let count = saved.len() as f64;
        let mean = saved.iter().sum::<f64>() / count;
        let sd = (saved.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / count).sqrt();
        let said = said.iter().sum::<f64>() / count;
        assert!((said / sd - 1.0).abs() < 0.25, "{said}, is {sd} around {mean}");
        // A tenth more keys are the ghosts of an age at which 200 of 300 wait: a law of 60 s.
        let exact = 200.0 / 300.0 * 1000.0 / 1600.0;
        assert!((mean - exact).abs() < 0.02, "{mean} {exact}");
    }
}
