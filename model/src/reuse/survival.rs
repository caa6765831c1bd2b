//! How long until something happens, when it is not always seen to happen: survival functions.
//!
//! A unit is watched from an age to another. At the end of that it has had the event (its key was
//! asked for again), is lost to another cause (its time to live was over), or was just no longer
//! watched. In each bin of ages the hazard is events divided by the time that units were watched in
//! it (piecewise exponential, the limit of Kaplan and Meier 1958 for fine bins). So a unit may come
//! in late (delayed entry) and go early (censoring) without a bias, as long as neither has to do
//! with its future; sums of several windows or samples are just sums; and memory is bounded, since
//! nothing is kept for each unit.
//!
//! With two causes the share that has had the event is the cumulative incidence (Aalen and
//! Johansen 1978): it counts a unit as never asked for when its time was over before.
//!
//! A unit may weigh bytes. The mean size of those still waiting, by age, is what makes the integral
//! over survivors one of bytes.
//!
//! Properties, each a test:
//! - (a) with all units watched from 0, the share is exactly the share of events at each bin's end;
//! - (b) units that come late or go early change the estimate within its own standard error;
//! - (c) survival never rises, incidence never falls, both lie in 0 to 1 and so does their sum;
//! - (d) the sum of two samples is the estimate from all their units;
//! - (e) the variance is Greenwood's within the width of a bin.

use serde::{Deserialize, Serialize};

use super::bins::Bins;

/// Ages in milliseconds, an eighth of an age wide: hazards change slowly over that.
const BINS: Bins = Bins::new(3);
/// Longest age that is told from longer ones: more than two years.
const MAX_AGE_MS: u64 = 1 << 36;
/// So many units must be watched at an age, on average over its bin, to go on estimating.
const LEAST_AT_RISK: f64 = 20.0;
/// As many units of mean size are added to those of known size at an age.
const PRIOR_SIZED: f64 = 20.0;

/// How the watch over a unit ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum End {
    /// Its event came, and is worth so much.
    Event(Worth),
    /// It can have no event any more.
    Lost,
    /// Nothing was seen of it.
    Censored,
}

/// What an event counts, from 0 to 1, and the standard deviation of that, which all events share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worth {
    pub(super) gain: f64,
    pub(super) doubt: f64,
}

/// What happened at the ages of one bin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Bin {
    events: f64,
    /// What the events are worth, with all that follow at once: a key that is missed twice before it
    /// is filled again.
    gains: f64,
    doubts: f64,
    lost: f64,
    units: Exposure,
    /// Units of known size, and their bytes.
    sized: Exposure,
    bytes: Exposure,
}

/// Time under watch: of units for whom a bin is the first or last in milliseconds; and how many
/// more, or fewer, are watched all through the bin than through the one before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Exposure {
    partial_ms: f64,
    through: f64,
}

/// Units by age. At most 280 bins of 80 bytes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Tail {
    bins: Vec<Bin>,
}

/// The estimate at the end of a bin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Step {
    /// Age at the end of the bin.
    pub(super) age_ms: f64,
    /// Share of units that still wait.
    pub(super) alive: f64,
    /// Worth of events for each unit so far.
    pub(super) gained: f64,
    /// Standard deviation of that, were it only for the doubt in the events' worth.
    pub(super) doubt: f64,
    /// Mean time that a unit has waited so far.
    pub(super) waited_ms: f64,
    /// The same for its bytes.
    pub(super) byte_ms: f64,
    /// Worth of events for each waiting unit and millisecond in this bin.
    pub(super) hazard: f64,
    /// Variance of the bin's cumulative hazard.
    pub(super) variance: f64,
}

impl Exposure {
    fn add(&mut self, other: Self) {
        self.partial_ms += other.partial_ms;
        self.through += other.through;
    }
}

impl Tail {
    /// Counts a unit that was watched from `entry_ms` to `exit_ms` of its age. `bytes` is 0 when
    /// its size is not known.
    pub(super) fn add(&mut self, entry_ms: u64, exit_ms: u64, end: End, bytes: u32) {
        let exit_ms = exit_ms.min(MAX_AGE_MS - 1);
        let entry_ms = entry_ms.min(exit_ms);
        let last = BINS.of(exit_ms);
        self.reach(last + 1);
        match end {
            End::Event(worth) => {
                self.bins[last].events += 1.0;
                self.bins[last].gains += worth.gain;
                self.bins[last].doubts += worth.doubt;
            }
            End::Lost => self.bins[last].lost += 1.0,
            End::Censored => {}
        }
        self.expose(entry_ms, exit_ms, 1.0, |bin| &mut bin.units);
        if bytes > 0 {
            self.expose(entry_ms, exit_ms, 1.0, |bin| &mut bin.sized);
            self.expose(entry_ms, exit_ms, f64::from(bytes), |bin| &mut bin.bytes);
        }
    }

    /// One more event at this age that takes no unit away.
    pub(super) fn add_gain(&mut self, age_ms: u64) {
        let bin = BINS.of(age_ms.min(MAX_AGE_MS - 1));
        self.reach(bin);
        self.bins[bin].gains += 1.0;
    }

    /// Adds all that another one has seen.
    pub(super) fn merge(&mut self, other: &Self) {
        if !other.bins.is_empty() {
            self.reach(other.bins.len() - 1);
        }
        for (bin, more) in self.bins.iter_mut().zip(&other.bins) {
            bin.events += more.events;
            bin.gains += more.gains;
            bin.doubts += more.doubts;
            bin.lost += more.lost;
            bin.units.add(more.units);
            bin.sized.add(more.sized);
            bin.bytes.add(more.bytes);
        }
    }

    /// Events so far.
    pub(super) fn events(&self) -> f64 {
        self.bins.iter().map(|bin| bin.events).sum()
    }

    /// Time under watch of all units.
    #[cfg(test)]
    pub(super) fn watched_ms(&self) -> f64 {
        let mut through = 0.0;
        let time = |(index, bin): (usize, &Bin)| {
            through += bin.units.through;
            bin.units.partial_ms + through * BINS.width(index) as f64
        };
        self.bins.iter().enumerate().map(time).sum()
    }

    /// True when every number is one, so that nothing read from a file spoils sums.
    pub(super) fn is_sound(&self) -> bool {
        let exposures = |bin: &Bin| [bin.units, bin.sized, bin.bytes];
        let finite = |e: Exposure| e.partial_ms.is_finite() && e.through.is_finite();
        let counts = |bin: &Bin| [bin.events, bin.gains, bin.doubts, bin.lost];
        self.bins.len() <= BINS.of(MAX_AGE_MS) + 1
            && self.bins.iter().all(|bin| {
                exposures(bin).into_iter().all(finite)
                    && counts(bin).into_iter().all(|n| n.is_finite() && n >= 0.0)
            })
    }

    /// The estimate at the end of each bin, up to the last age at which enough units were watched.
    /// `bytes` is the size of a unit where none is known.
    pub(super) fn survival(&self, bytes: f64) -> Vec<Step> {
        let mean = self.mean_bytes().unwrap_or(bytes);
        let mut through = [0.0; 3];
        let (mut alive, mut gained, mut doubt) = (1.0, 0.0, 0.0);
        let (mut waited_ms, mut byte_ms) = (0.0, 0.0);
        let mut steps = Vec::new();
        for (index, bin) in self.bins.iter().enumerate() {
            let width = BINS.width(index) as f64;
            let exposures = [bin.units, bin.sized, bin.bytes];
            let times: [f64; 3] = std::array::from_fn(|i| {
                through[i] += exposures[i].through;
                (exposures[i].partial_ms + through[i] * width).max(0.0)
            });
            // The first age is in every window; later ones may be in none.
            if times[0] < LEAST_AT_RISK * width {
                break;
            }
            let hazard = (bin.events + bin.lost) / times[0];
            let before = alive;
            alive *= (-hazard * width).exp();
            let ended = before - alive;
            if bin.events > 0.0 {
                gained += ended * bin.gains / (bin.events + bin.lost);
                doubt += ended * bin.doubts / (bin.events + bin.lost);
            }
            let time = if hazard > 0.0 { ended / hazard } else { before * width };
            waited_ms += time;
            let prior = PRIOR_SIZED * width;
            byte_ms += time * (times[2] + prior * mean) / (times[1] + prior);
            steps.push(Step {
                age_ms: BINS.start(index + 1) as f64,
                alive,
                gained,
                doubt,
                waited_ms,
                byte_ms,
                hazard: bin.gains / times[0],
                variance: (bin.events + bin.lost) * (width / times[0]).powi(2),
            });
        }
        steps
    }

    /// Mean size of the units whose size is known, at the start of their watch.
    fn mean_bytes(&self) -> Option<f64> {
        let sum = |of: fn(&Bin) -> Exposure| {
            let mut through = 0.0;
            let time = |(index, bin): (usize, &Bin)| {
                through += of(bin).through;
                of(bin).partial_ms + through * BINS.width(index) as f64
            };
            self.bins.iter().enumerate().map(time).sum::<f64>()
        };
        let (units, bytes) = (sum(|bin| bin.sized), sum(|bin| bin.bytes));
        (units > 0.0 && bytes > 0.0).then(|| bytes / units)
    }

    fn expose(
        &mut self,
        entry_ms: u64,
        exit_ms: u64,
        weight: f64,
        of: impl Fn(&mut Bin) -> &mut Exposure,
    ) {
        let (first, last) = (BINS.of(entry_ms), BINS.of(exit_ms));
        if first == last {
            of(&mut self.bins[first]).partial_ms += weight * (exit_ms - entry_ms) as f64;
            return;
        }
        let in_first = BINS.start(first + 1) - entry_ms;
        of(&mut self.bins[first]).partial_ms += weight * in_first as f64;
        of(&mut self.bins[last]).partial_ms += weight * (exit_ms - BINS.start(last)) as f64;
        of(&mut self.bins[first + 1]).through += weight;
        of(&mut self.bins[last]).through -= weight;
    }

    fn reach(&mut self, bin: usize) {
        if self.bins.len() <= bin {
            self.bins.resize(bin + 1, Bin::default());
        }
    }
}

#[cfg(test)]
mod tests;
