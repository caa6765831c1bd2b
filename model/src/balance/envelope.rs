//! The safety envelope: what of the law's wish is let through now. It knows nothing of how weights come about, so that a fault there is bounded here.
//!
//! In this order; the first that says no holds everything back:
//!
//! 1. the law itself wants no push;
//! 2. fewer than 3 windows since the start in which at least half of the pool had sound reports;
//! 3. panic: more than 50 % of backends are not measured or not healthy. Then what is known says more about how we measure than about backends;
//! 4. weights are brought within the band that was confirmed for each backend;
//! 5. backends at the floor have at most 30 % of all capacity; others stay where they are. The worst go first, dead ones (failing, collapsed or hanging) before slow ones. One that is
//!    dead may always be there: in a pool of three it alone has more than 30 %;
//! 6. at most 20 % of traffic moves: `shift = 1/2 sum |new share - old share|`. Beyond, all shares go the same part of their way, and the rest follows in later windows;
//! 7. predicted utilisation `q share / c` is at most 0.85 everywhere, or the largest is lower than it is now. `q`: requests a second of the pool, `c`: capacity
//!    as measured last (where somebody is dead, that of others as believed), the median of others for a backend that never was. Who is dead, or at the floor, does not count: what it gets is lost or there to see whether it
//!    has recovered. Where less goes to who is dead, others may be up to 1 in use, and only that part of the way is gone: requests that are lost are worse than
//!    requests that wait, but a pool that is full loses all.
//!
//! Properties, each a test:
//! - (a) a verdict with weights has one from 1 to 256 for each backend, within its band, and moves at most the allowed part of traffic plus rounding;
//! - (b) applied again and again to a law that stands still it reaches the law's weights and then pushes nothing;
//! - (c) no number is NaN for any input;
//! - (d) it never makes the largest predicted utilisation larger when that is above the limit.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::law::{BackendOutcome, LawOutcome, PoolState, Push, quantise, shares};
use super::{MAX_WEIGHT, median};

/// Whole weights put a predicted utilisation off by as much.
const ROUNDED: f64 = 0.01;

/// Bounds of the envelope.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Share of capacity that may be at the floor, 0 to 1.
    pub floored_capacity: f64,
    /// Share of backends, not measured or not healthy, above which nothing is pushed, 0 to 1.
    pub panic: f64,
    /// Predicted utilisation above which a push must make the largest one smaller; above 0.
    pub utilization: f64,
    /// Predicted utilisation up to which others take over from who is dead; at least `utilization`. From 1 on their queues would
    /// grow.
    pub relief: f64,
    /// Share of traffic that one push may move; above 0, up to 1.
    pub shift: f64,
    /// Valid windows after a start before the first push.
    pub warm_up_windows: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            floored_capacity: 0.30,
            panic: 0.50,
            utilization: 0.85,
            relief: 1.0,
            shift: 0.20,
            warm_up_windows: 3,
        }
    }
}

/// Weights that were confirmed for one backend, on the scale where the largest of the pool is 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Band {
    /// Least weight, at least 1.
    pub least: u16,
    /// Largest weight, at most 256.
    pub most: u16,
}

/// What the envelope knows beside the law's outcome.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Requests a second of the whole pool; what the law has seen, if this is not a number above 0.
    pub requests_per_second: f64,
    /// Backends that balancers or health checks say are down.
    pub unhealthy: BTreeSet<String>,
    /// The confirmed bands; a backend without one may get any weight.
    pub bands: BTreeMap<String, Band>,
}

/// Why a push was held back, or made smaller.
#[derive(Debug, Clone, PartialEq)]
pub enum Reason {
    /// The law wants none.
    Law(Push),
    /// Too few windows since the start.
    WarmUp {
        /// Valid windows so far.
        windows: u32,
        /// Windows needed.
        needed: u32,
    },
    /// Too many backends are not measured or not healthy.
    Panic {
        /// How many are not.
        lost: usize,
        /// Of how many.
        of: usize,
    },
    /// A weight was brought within its confirmed band.
    Band {
        /// The backend.
        backend: String,
        /// What the law wants.
        wanted: u16,
        /// What is confirmed.
        band: Band,
    },
    /// A backend stays where it is, because too much capacity would be at the floor.
    Floor {
        /// The backend.
        backend: String,
        /// Share of capacity that would be at the floor with it.
        share: f64,
    },
    /// Only part of the way is gone in this window.
    Shift {
        /// Share of traffic that the whole way would move.
        wanted: f64,
        /// What is allowed.
        allowed: f64,
    },
    /// Only part of the way is gone: others would be too busy with what a dead backend had.
    Relief {
        /// Predicted utilisation of the busiest after the whole way.
        wanted: f64,
        /// What is allowed.
        allowed: f64,
    },
    /// A backend would be too busy.
    Utilization {
        /// The backend.
        backend: String,
        /// Its predicted utilisation after the push.
        after: f64,
        /// The largest predicted utilisation with the weights in force.
        before: f64,
    },
    /// Within the bounds nothing is left to push.
    NothingLeft,
}

/// What is let through.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    /// Weights to push, of every backend of the window; `None`: push nothing.
    pub weights: Option<BTreeMap<String, u16>>,
    /// Why nothing is pushed, or what was made smaller. Empty: all that the law wants is let through.
    pub reasons: Vec<Reason>,
    /// Share of traffic that the push moves, 0 to 1.
    pub shift: f64,
    /// Largest predicted utilisation with the weights in force and with what is to be in force; `None`: no capacity is known.
    pub utilization: Option<(f64, f64)>,
}

impl Verdict {
    /// Whether the envelope holds back something that the law wants.
    pub fn restrained(&self) -> bool {
        !matches!(self.reasons.as_slice(), [] | [Reason::Law(_)])
    }

    /// What is done and why, as lines for people.
    pub fn explain(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.weights.is_some() {
            let busiest = match self.utilization {
                Some((before, after)) => {
                    format!(", the busiest goes from {before:.2} to {after:.2} in use")
                }
                None => String::new(),
            };
            lines.push(format!("push: {:.1} % of traffic moves{busiest}", self.shift * 100.0));
        }
        lines.extend(self.reasons.iter().map(ToString::to_string));
        lines
    }
}

/// Decides what of the law's outcome is let through. Pure; tell [`PoolState::settle`] what became of it.
pub fn guard(
    settings: &Settings,
    state: &PoolState,
    outcome: &LawOutcome,
    facts: &Facts,
) -> Verdict {
    let held =
        |reason| Verdict { weights: None, reasons: vec![reason], shift: 0.0, utilization: None };
    if !matches!(outcome.push, Push::Due { .. }) {
        return held(Reason::Law(outcome.push.clone()));
    }
    if state.valid_windows < settings.warm_up_windows {
        let needed = settings.warm_up_windows;
        return held(Reason::WarmUp { windows: state.valid_windows, needed });
    }
    let of = outcome.backends.len();
    let lost = |one: &&BackendOutcome| one.lost() || facts.unhealthy.contains(&one.id);
    let lost = outcome.backends.iter().filter(lost).count();
    if lost as f64 > settings.panic * of as f64 {
        return held(Reason::Panic { lost, of });
    }
    let pool = Pool::new(state, outcome, facts);
    let mut reasons = Vec::new();
    let wanted = pool.within_bands(facts, &mut reasons);
    let wanted = pool.few_at_floor(settings, wanted, &mut reasons);
    let weights = pool.part_of_the_way(settings, facts, &wanted, &mut reasons);
    let weights = pool.relief(settings, facts, weights, &mut reasons);
    let utilization = pool.utilization(&pool.in_force).zip(pool.utilization(&weights));
    if let Some(((_, before), (worst, after))) = utilization
        && after > settings.utilization
        && after >= before
        && !(after <= settings.relief + ROUNDED && pool.relieves(&weights))
    {
        let backend = outcome.backends[worst].id.clone();
        reasons.push(Reason::Utilization { backend, after, before });
        let utilization = Some((before, before));
        return Verdict { weights: None, reasons, shift: 0.0, utilization };
    }
    let utilization = utilization.map(|((_, before), (_, after))| (before, after));
    if shares(weights.iter().copied()) == shares(pool.in_force.iter().copied()) {
        reasons.push(Reason::NothingLeft);
        return Verdict { weights: None, reasons, shift: 0.0, utilization };
    }
    let shift = shift(&weights, &pool.in_force);
    let ids = outcome.backends.iter().map(|one| one.id.clone());
    Verdict { weights: Some(ids.zip(weights).collect()), reasons, shift, utilization }
}

/// Share of traffic that goes elsewhere when one set of weights replaces another.
fn shift(new: &[u16], old: &[u16]) -> f64 {
    let (new, old) = (shares(new.iter().copied()), shares(old.iter().copied()));
    new.iter().zip(old).map(|(new, old)| (new - old).abs()).sum::<f64>() / 2.0
}

/// A pool as arrays, in the order of the outcome.
struct Pool<'a> {
    outcome: &'a LawOutcome,
    in_force: Vec<u16>,
    /// Requests a second at full use; never 0.
    capacity: Option<Vec<f64>>,
    requests_per_second: f64,
}

impl<'a> Pool<'a> {
    fn new(state: &PoolState, outcome: &'a LawOutcome, facts: &Facts) -> Self {
        let of = |one: &BackendOutcome| state.backends.get(&one.id);
        let measured = |one: &BackendOutcome| {
            of(one)?.capacity_per_second.filter(|c| c.is_finite() && *c > 0.0)
        };
        // One reading is off by all of its noise. Where nobody is dead that holds a push back for a window; a dead one does not wait for a quiet window. What is believed
        // is relative: the usual distance to what was measured makes it requests a second.
        let is_urgent = outcome.backends.iter().any(BackendOutcome::is_dead);
        let believed =
            |one: &BackendOutcome| of(one)?.smoothed.filter(|_| is_urgent && !one.is_dead());
        let backends = outcome.backends.iter();
        let scale =
            median(backends.clone().filter_map(|one| Some(measured(one)?.ln() - believed(one)?)));
        let known = |one: &BackendOutcome| {
            let believed = believed(one).zip(scale).map(|(ln, scale)| (ln + scale).exp());
            believed.filter(|c| c.is_finite() && *c > 0.0).or(measured(one))
        };
        let known: Vec<Option<f64>> = backends.map(known).collect();
        let usual = median(known.iter().copied().flatten());
        let seen: f64 = outcome.backends.iter().map(|one| one.requests_per_second).sum();
        let told = facts.requests_per_second;
        Self {
            outcome,
            in_force: outcome.backends.iter().map(|one| one.in_force).collect(),
            capacity: usual.map(|usual| known.into_iter().map(|c| c.unwrap_or(usual)).collect()),
            requests_per_second: if told.is_finite() && told > 0.0 { told } else { seen },
        }
    }

    fn within_bands(&self, facts: &Facts, reasons: &mut Vec<Reason>) -> Vec<u16> {
        let mut within = |one: &BackendOutcome| {
            let Some(&band) = facts.bands.get(&one.id) else { return one.weight };
            let weight = banded(one.weight, band);
            if weight != one.weight {
                let backend = one.id.clone();
                reasons.push(Reason::Band { backend, wanted: one.weight, band });
            }
            weight
        };
        self.outcome.backends.iter().map(&mut within).collect()
    }

    /// Floors in the order of need while they have little enough of all capacity; the others stay.
    fn few_at_floor(
        &self,
        settings: &Settings,
        mut weights: Vec<u16>,
        reasons: &mut Vec<Reason>,
    ) -> Vec<u16> {
        let Some(capacity) = &self.capacity else { return weights };
        let total: f64 = capacity.iter().sum();
        let backends = &self.outcome.backends;
        let mut floored: Vec<usize> =
            (0..backends.len()).filter(|&at| backends[at].at_floor).collect();
        // Dead ones first, then those that have the least to lose; names only break ties.
        floored.sort_by(|&a, &b| {
            let rank = |at: usize| (!backends[at].is_dead(), self.in_force[at]);
            rank(a).cmp(&rank(b)).then_with(|| backends[a].id.cmp(&backends[b].id))
        });
        let mut at_floor = 0.0;
        let most = self.in_force.iter().copied().max().unwrap_or(0).max(1);
        for at in floored {
            let share = (at_floor + capacity[at]) / total;
            let is_first = at_floor <= 0.0 && backends[at].is_dead() && backends.len() > 1;
            if share <= settings.floored_capacity || is_first {
                at_floor += capacity[at];
                continue;
            }
            let scaled = f64::from(self.in_force[at]) / f64::from(most) * f64::from(MAX_WEIGHT);
            let stays = (scaled.round() as u16).max(weights[at]);
            if stays > weights[at] {
                weights[at] = stays;
                reasons.push(Reason::Floor { backend: backends[at].id.clone(), share });
            }
        }
        weights
    }

    /// As far as the bound on moved traffic allows.
    fn part_of_the_way(
        &self,
        settings: &Settings,
        facts: &Facts,
        wanted: &[u16],
        reasons: &mut Vec<Reason>,
    ) -> Vec<u16> {
        let way = shift(wanted, &self.in_force);
        if way <= settings.shift {
            return wanted.to_vec();
        }
        reasons.push(Reason::Shift { wanted: way, allowed: settings.shift });
        self.between(facts, wanted, settings.shift / way)
    }

    /// As far as those who live can take over from those who are dead.
    fn relief(
        &self,
        settings: &Settings,
        facts: &Facts,
        weights: Vec<u16>,
        reasons: &mut Vec<Reason>,
    ) -> Vec<u16> {
        let busiest = self.utilization(&self.in_force).zip(self.utilization(&weights));
        let Some(((_, before), (_, after))) = busiest else { return weights };
        if after <= settings.relief || before >= settings.relief || !self.relieves(&weights) {
            return weights;
        }
        reasons.push(Reason::Relief { wanted: after, allowed: settings.relief });
        // Each one's utilisation is linear in its share, so the largest is at most linear.
        self.between(facts, &weights, (settings.relief - before) / (after - before))
    }

    /// Whether less goes to who is dead.
    fn relieves(&self, weights: &[u16]) -> bool {
        let dead = |weights: &[u16]| -> f64 {
            let shares = shares(weights.iter().copied()).into_iter().zip(&self.outcome.backends);
            shares.filter(|(_, one)| one.is_dead()).map(|(share, _)| share).sum()
        };
        dead(weights) < dead(&self.in_force)
    }

    /// Weights with which shares have gone a part of their way from those in force.
    fn between(&self, facts: &Facts, wanted: &[u16], part: f64) -> Vec<u16> {
        let (new, old) = (shares(wanted.iter().copied()), shares(self.in_force.iter().copied()));
        let between: Vec<f64> =
            new.iter().zip(old).map(|(new, old)| old + part * (new - old)).collect();
        let weights = quantise(&between).into_iter().zip(&self.outcome.backends);
        (weights.map(|(weight, one)| match facts.bands.get(&one.id) {
            Some(&band) => banded(weight, band),
            None => weight,
        }))
        .collect()
    }

    /// The backend with the largest predicted utilisation, and that; of those that live and are not at the floor.
    fn utilization(&self, weights: &[u16]) -> Option<(usize, f64)> {
        let capacity = self.capacity.as_ref()?;
        let predicted = shares(weights.iter().copied()).into_iter().zip(capacity);
        let predicted =
            predicted.map(|(share, capacity)| self.requests_per_second * share / capacity);
        let counts = |at: usize| {
            let one = &self.outcome.backends[at];
            let rests = one.at_floor && one.weight.abs_diff(one.in_force) <= 1;
            !(one.is_dead() || rests)
        };
        predicted.enumerate().filter(|(at, _)| counts(*at)).max_by(|a, b| a.1.total_cmp(&b.1))
    }
}

fn banded(weight: u16, band: Band) -> u16 {
    weight.max(band.least.clamp(1, MAX_WEIGHT)).min(band.most.clamp(1, MAX_WEIGHT))
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Law(push) => write!(f, "{push}"),
            Self::WarmUp { windows, needed } => {
                write!(f, "no push: {windows} of {needed} windows since the start")
            }
            Self::Panic { lost, of } => {
                write!(f, "no push: {lost} of {of} backends are not measured or not healthy")
            }
            Self::Band { backend, wanted, band: Band { least, most } } => {
                write!(f, "{backend}: {wanted} wanted, {least} to {most} confirmed")
            }
            Self::Floor { backend, share } => {
                let percent = share * 100.0;
                write!(f, "{backend} stays: {percent:.0} % of capacity would be at the floor")
            }
            Self::Shift { wanted, allowed } => write!(
                f,
                "in parts: {:.0} % of traffic would move, {:.0} % may at once",
                wanted * 100.0,
                allowed * 100.0
            ),
            Self::Relief { wanted, allowed } => write!(
                f,
                "in parts: others would be {wanted:.2} in use, {allowed:.2} may be to relieve one that is dead"
            ),
            Self::Utilization { backend, after, before } => write!(
                f,
                "no push: {backend} would be {after:.2} in use, the busiest is {before:.2} now"
            ),
            Self::NothingLeft => f.write_str("no push: within the bounds nothing is left to move"),
        }
    }
}

#[cfg(test)]
mod tests;
