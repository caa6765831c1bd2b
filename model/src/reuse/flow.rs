//! When keys come and go: how much room a server has that is not full all the time.
//!
//! Where keys expire all at once (at each full minute, say) a server has room afterwards, and evicts
//! nothing until that is filled. On average it then holds less than fits. A larger server holds more
//! of the keys that go at once, and fewer of its requests fill room, so it is full a smaller part of
//! the time: one of twice the size may hold a twentieth less than fits. Taken to be always full, it
//! would be said to hit what one of that many more keys hits.
//!
//! Room is what has gone and was not filled since. With keys that leave and keys that come in time
//! `dt` it is `room = max(0, room + gone - filled)` (the recursion of Lindley 1952, for a queue of
//! empty places), driven by what was heard: fills are misses, those that a larger server does not
//! save; gone is what expired or was deleted, and those ghosts whose time was over that the larger
//! server would still hold.
//!
//! Properties, each a test:
//! - (a) where nothing expires there is no room;
//! - (b) keys that expire all at once leave the room that a triangle says, those that expire one by
//!   one nearly none;
//! - (c) memory is bounded, and wider bins change no sum.

use serde::{Deserialize, Serialize};

/// Bins of a block at most; then two become one.
const BINS: usize = 64;
/// Width of a bin at first.
const WIDTH_MS: u64 = 1000;

/// What came and went in one block, by time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Flow {
    since_ms: u64,
    width_ms: u64,
    bins: Vec<Bin>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    /// Misses, each of which fills.
    missed: u32,
    /// Keys that expired or were deleted.
    gone: u32,
    /// Sampled ghosts whose time to live was over.
    died: u32,
}

/// What a server of another size does otherwise, in keys for each millisecond.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct PerMs {
    /// Misses that it saves.
    pub(super) saved: f64,
    /// Keys that expire there and not here, at any time.
    pub(super) evenly: f64,
    /// The same of those that do so when sampled ghosts do.
    pub(super) died: f64,
}

impl Default for Flow {
    fn default() -> Self {
        Self::new(0)
    }
}

impl Flow {
    pub(super) const fn new(since_ms: u64) -> Self {
        Self { since_ms, width_ms: WIDTH_MS, bins: Vec::new() }
    }

    pub(super) fn missed(&mut self, at_ms: u64) {
        self.bin(at_ms).missed += 1;
    }

    pub(super) fn gone(&mut self, at_ms: u64) {
        self.bin(at_ms).gone += 1;
    }

    pub(super) fn died(&mut self, at_ms: u64) {
        self.bin(at_ms).died += 1;
    }

    /// True when it can be used, so that nothing read from a file does harm.
    pub(super) fn is_sound(&self) -> bool {
        self.width_ms >= WIDTH_MS && self.bins.len() <= BINS
    }

    fn bin(&mut self, at_ms: u64) -> &mut Bin {
        let after_ms = at_ms.saturating_sub(self.since_ms);
        while after_ms / self.width_ms >= BINS as u64 {
            self.width_ms = self.width_ms.saturating_mul(2);
            self.bins = self.bins.chunks(2).map(Bin::sum).collect();
        }
        let bin = (after_ms / self.width_ms) as usize;
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, Bin::default());
        }
        &mut self.bins[bin]
    }

    /// Bins up to the end of a block that was so long, with their lengths.
    fn lasting(&self, span_ms: u64) -> impl Iterator<Item = (f64, Bin)> {
        let count = span_ms.div_ceil(self.width_ms.max(1)).min(BINS as u64);
        (0..count).map(move |bin| {
            let start_ms = bin * self.width_ms;
            let length = self.width_ms.min(span_ms - start_ms) as f64;
            (length, self.bins.get(bin as usize).copied().unwrap_or_default())
        })
    }
}

impl Bin {
    fn sum(bins: &[Self]) -> Self {
        let add = |a: Self, b: &Self| Self {
            missed: a.missed.saturating_add(b.missed),
            gone: a.gone.saturating_add(b.gone),
            died: a.died.saturating_add(b.died),
        };
        bins.iter().fold(Self::default(), add)
    }
}

/// What was heard over several blocks, one after the other.
#[derive(Debug, Clone, Default)]
pub(super) struct Course {
    bins: Vec<(f64, Bin)>,
    /// Keys that come.
    come: f64,
    span_ms: f64,
    missed: f64,
    died: f64,
}

impl Course {
    /// Of blocks with their lengths. `evicted` is how many keys were evicted meanwhile.
    pub(super) fn of<'a>(flows: impl Iterator<Item = (&'a Flow, u64)>, evicted: f64) -> Self {
        let bins: Vec<_> = flows.flat_map(|(flow, span_ms)| flow.lasting(span_ms)).collect();
        let sum = |of: fn(&Bin) -> u32| bins.iter().map(|(_, bin)| f64::from(of(bin))).sum::<f64>();
        let (missed, gone, died) = (sum(|b| b.missed), sum(|b| b.gone), sum(|b| b.died));
        let span_ms = bins.iter().map(|(length, _)| length).sum();
        // A server that stays as full as it is fills as many keys as go.
        Self { bins, come: evicted + gone, span_ms, missed, died }
    }

    /// Room in keys, on average over time.
    pub(super) fn room(&self, other: &PerMs) -> f64 {
        let each = |per_ms: f64, of: f64| if of > 0.0 { per_ms * self.span_ms / of } else { 0.0 };
        let for_each_died = each(other.died, self.died);
        let for_each_miss = each(self.come / self.span_ms - other.saved, self.missed);
        let unseen_per_ms = if self.died > 0.0 { 0.0 } else { other.died };
        let evenly_per_ms = other.evenly + unseen_per_ms;
        let step = |room: f64, (length, bin): &(f64, Bin)| {
            let gone = f64::from(bin.gone) + f64::from(bin.died) * for_each_died;
            let come = f64::from(bin.missed) * for_each_miss;
            (room + gone + evenly_per_ms * length - come).max(0.0)
        };
        // The course begins with as much room as it ends with.
        let mut room = self.bins.iter().fold(0.0, step);
        let mut sum = 0.0;
        for bin in &self.bins {
            let after = step(room, bin);
            sum += f64::midpoint(room, after) * bin.0;
            room = after;
        }
        if self.span_ms > 0.0 { sum / self.span_ms } else { 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN_MS: u64 = 240_000;

    /// Ten misses a second; so many keys expire each minute, all at once or one by one.
    fn course(each_minute: u64, at_once: bool, width_s: u64) -> Course {
        let mut flow = Flow::new(5_000_000);
        for ms in (0..SPAN_MS).step_by(100) {
            flow.missed(5_000_000 + ms);
        }
        for minute in 0..SPAN_MS / 60_000 {
            for key in 0..each_minute {
                let ms = if at_once { 10_000 } else { key * 60_000 / each_minute };
                flow.gone(5_000_000 + minute * 60_000 + ms);
            }
        }
        while flow.width_ms < width_s * 1000 {
            flow.width_ms *= 2;
            flow.bins = flow.bins.chunks(2).map(Bin::sum).collect();
        }
        let evicted = (SPAN_MS / 100 - each_minute * SPAN_MS / 60_000) as f64;
        Course::of([(&flow, SPAN_MS)].into_iter(), evicted)
    }

    #[test]
    fn keys_that_expire_all_at_once_leave_the_room_of_a_triangle() {
        let nothing = PerMs::default();
        assert!(course(0, true, 1).room(&nothing).abs() < 1e-9);
        for (each_minute, width_s, off) in [(300, 4, 0.15), (500, 4, 0.15), (300, 8, 0.3)] {
            let many = each_minute as f64;
            let exact = many * many / 10.0 / 2.0 / 60.0;
            let room = course(each_minute, true, width_s).room(&nothing);
            // What is filled within a bin is not told apart.
            assert!((room / exact - 1.0).abs() < off, "{room} {exact}");
            let room = course(each_minute, false, width_s).room(&nothing);
            assert!(room < 0.02 * exact, "{room} {exact}");
        }
    }

    #[test]
    fn whoever_fills_less_has_room_for_longer() {
        let course = course(300, true, 4);
        let other = PerMs { saved: 0.004, ..PerMs::default() };
        let exact = 300.0 * 300.0 / 6.0 / 2.0 / 60.0;
        let room = course.room(&other);
        assert!((room / exact - 1.0).abs() < 0.1, "{room} {exact}");
        let evenly = PerMs { saved: 0.002, evenly: 0.002, ..other };
        assert!((course.room(&evenly) / exact - 1.0).abs() < 0.1);
        // Without ghosts whose time was seen to be over, they die evenly.
        let died = PerMs { saved: 0.002, died: 0.002, ..other };
        assert!((course.room(&died) / exact - 1.0).abs() < 0.1);
    }

    #[test]
    fn however_long_a_block_is_its_bins_are_few_and_their_sums_the_same() {
        let mut flow = Flow::new(1000);
        for second in 0..100_000 {
            flow.missed(1000 + second * 1000);
            flow.died(1000 + second * 500);
        }
        assert!(flow.is_sound() && flow.bins.len() <= BINS);
        let sum = Bin::sum(&flow.bins);
        assert_eq!((sum.missed, sum.gone, sum.died), (100_000, 0, 100_000));
        let lasting: f64 = flow.lasting(100_000_000).map(|(length, _)| length).sum();
        assert!((lasting - 1e8).abs() < 1e-6);
        assert!(Course::default().room(&PerMs::default()).abs() < 1e-9);
    }
}
