//! How many requests may be under way at a backend, and how many of them by each balancer.
//!
//! ```text
//! base  = q L            requests under way when nothing waits (Little's law): q in 1/s, L the base latency in s
//! N     = clamp( 1.3 base + sqrt(base), least, most )
//! ```
//!
//! 30 % for growth between two windows, and the square root for chance: the number under way scatters by about its own root (Poisson). The base latency is one measured
//! while the backend was not busy; with the latency of a busy one the limit would grow with the queue that it is there to bound (Gradient2's upward drift).
//!
//! `N` is split over balancers in proportion to what each has under way, with at least [`Settings::least_each`] for each: a limit that counts for a backend as a whole must be
//! divided, as HAProxy says of `maxconn`. Whole numbers by largest remainders (Hamilton). Where even the least for each is more than `N`, that is what each gets, and
//! the split says that it exceeds.
//!
//! That is for a balancer at which what is above a limit waits. Where it fails at once, as above Envoy's `max_requests` (503), and where the limit is of all backends of a cluster
//! together, one balancer gets
//!
//! ```text
//! C     = clamp( 2 b + 3 sqrt(b), least, most )    b: its part of the base of all backends of the cluster; at least the sum of its parts
//! ```
//!
//! [Twice](OVERFLOW_HEADROOM), because traffic may grow by those 30 %, and latency be half as long again as the quiet one before that counts as queueing: 1.3 times 1.5 is 1.95.
//! [Three deviations](OVERFLOW_DEVIATIONS) of its own number under way, whose scatter is not evened out by other balancers: with `least` for small numbers, less than two
//! requests in 10,000 fail by chance at the peak rate.
//!
//! Limits that are lowered go there in steps: each takes away [half](LARGEST_CUT) at most, and stays [above what is under way](least_above). Agents refuse anything else, so who
//! suggests a limit goes by the same rules.
//!
//! Properties, each a test:
//! - (a) parts add up to `N`, or to the least for each if that is more;
//! - (b) none is below the least, and who has more under way does not get less;
//! - (c) any input gives a limit within bounds;
//! - (d) at the peak rate fewer than two requests in 10,000 fail for the limit of a cluster, and none on average with 1.95 times as much under way;
//! - (e) the least of steps lead from any limit down to 0, each of them below the one before.

use serde::{Deserialize, Serialize};

/// Largest share of a limit that one step may take away.
pub const LARGEST_CUT: f64 = 0.5;
/// How many times what is under way a limit that is lowered has to be: what is under way scatters, and what is above the limit waits or fails.
pub const ROOM: f64 = 1.25;

/// Times what is under way at the peak, of a limit above which requests fail: see the module.
pub const OVERFLOW_HEADROOM: f64 = 2.0;
/// Deviations of what one balancer has under way that are added to that.
pub const OVERFLOW_DEVIATIONS: f64 = 3.0;

/// Bounds of limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Room for growth; at least 1.
    pub headroom: f64,
    /// Least requests under way at a backend, over all balancers; at least 1.
    pub least: u32,
    /// Most requests under way at a backend.
    pub most: u32,
    /// Least requests under way for each balancer; at least 1.
    pub least_each: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self { headroom: 1.3, least: 8, most: 10_000, least_each: 2 }
    }
}

/// What one balancer has under way at the backend, on average.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Name of the balancer.
    pub balancer: String,
    /// Requests under way; what is not a number above 0 counts as 0, above 1e12 as that.
    pub under_way: f64,
}

/// A limit and its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limit {
    /// Requests under way at the backend, over all balancers.
    pub total: u32,
    /// Parts, in the order of the flows.
    pub parts: Vec<(String, u32)>,
    /// Parts are more than the total, because each balancer needs the least.
    pub exceeds: bool,
}

/// The least that a limit may be lowered to in one step: half of it, rounded up. Small numbers cannot be halved, so one less is always a step.
pub fn least_step(from: u64) -> u64 {
    from.div_ceil(2).min(from.saturating_sub(1))
}

/// The least that a limit may be lowered to while so many requests are under way, on average or at a moment; what is no number above 0 counts as none.
pub fn least_above(under_way: f64) -> u64 {
    (under_way.max(0.0) * ROOM).ceil() as u64
}

/// Requests under way that a backend should have at most. `None` when rate or latency are not numbers above 0.
pub fn limit(settings: &Settings, requests_per_second: f64, base_latency_ms: f64) -> Option<u32> {
    let base = requests_per_second * base_latency_ms / 1_000.0;
    if !(requests_per_second > 0.0 && base_latency_ms > 0.0 && base.is_finite()) {
        return None;
    }
    let least = settings.least.max(1);
    let wanted = (settings.headroom * base + base.sqrt()).ceil();
    Some((wanted.min(f64::from(u32::MAX)) as u32).clamp(least, settings.most.max(least)))
}

/// Requests that one balancer may have under way at all backends of a cluster together, where what is above fails. `base`: what it has under way at the peak rate when nothing waits.
/// `parts`: the sum of its parts of the backends' limits, which it is never less than. `None` when the base is no number above 0.
pub fn cluster(settings: &Settings, base: f64, parts: u32) -> Option<u32> {
    if !(base > 0.0 && base.is_finite()) {
        return None;
    }
    let least = settings.least.max(1).max(parts);
    let wanted = (OVERFLOW_HEADROOM * base + OVERFLOW_DEVIATIONS * base.sqrt()).ceil();
    Some((wanted.min(f64::from(u32::MAX)) as u32).clamp(least, settings.most.max(least)))
}

/// Splits a limit over balancers.
pub fn split(settings: &Settings, total: u32, flows: &[Flow]) -> Limit {
    let least = settings.least_each.max(1);
    let count = u32::try_from(flows.len()).unwrap_or(u32::MAX);
    let Some(spare) = total.checked_sub(least.saturating_mul(count)) else {
        let parts = flows.iter().map(|flow| (flow.balancer.clone(), least)).collect();
        return Limit { total, parts, exceeds: true };
    };
    let sound =
        |flow: &Flow| if flow.under_way.is_finite() { flow.under_way.max(0.0) } else { 0.0 };
    let sum: f64 = flows.iter().map(sound).sum();
    let part = |flow: &Flow| {
        if sum > 0.0 { sound(flow) / sum } else { 1.0 / f64::from(count) }
    };
    // What each would have in proportion, of which the least is taken first.
    let wanted: Vec<f64> = flows
        .iter()
        .map(|flow| (part(flow) * f64::from(total) - f64::from(least)).max(0.0))
        .collect();
    let sum: f64 = wanted.iter().sum();
    let exact: Vec<f64> = wanted
        .iter()
        .map(|wanted| if sum > 0.0 { wanted / sum } else { 1.0 / f64::from(count) })
        .map(|part| part * f64::from(spare))
        .collect();
    let mut parts: Vec<u32> = exact.iter().map(|exact| least + exact.floor() as u32).collect();
    let given: u32 = parts.iter().sum();
    let mut order: Vec<usize> = (0..flows.len()).collect();
    let rest = |at: usize| exact[at] - exact[at].floor();
    order.sort_by(|&a, &b| {
        rest(b)
            .total_cmp(&rest(a))
            .then(exact[b].total_cmp(&exact[a]))
            .then(sound(&flows[b]).total_cmp(&sound(&flows[a])))
            .then_with(|| flows[a].balancer.cmp(&flows[b].balancer))
    });
    for &at in order.iter().cycle().take(total.saturating_sub(given) as usize) {
        parts[at] += 1;
    }
    let parts = flows.iter().map(|flow| flow.balancer.clone()).zip(parts).collect();
    Limit { total, parts, exceeds: false }
}

#[cfg(test)]
mod tests;
