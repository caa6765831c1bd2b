//! Which backends get nothing for a while, because they fail what they are given.
//!
//! An ejection needs all of:
//!
//! 1. evidence: 100 requests in the window at the backend, from at least two balancers with 20 each. One balancer alone may have a broken path of its own;
//! 2. failing: an error ratio of at least 0.2, over all balancers and at each of at least two of them. Errors of the client (4xx) are not counted by the caller;
//! 3. it is the backend and not the service: at least 0.2 above the error ratio of all other backends, and beyond chance (two proportions, one-sided, z > 3.09: 1 in 1,000);
//! 4. room: what is ejected is at most 20 % of capacity afterwards (10 to 30 % may be set), and never the last backend.
//!
//! The `k`-th ejection in a row lasts `30 s k`, at most 300 s (Envoy's outlier detection, whose backoff has no cap by default: envoy #6016). Then the backend is restored and comes back by slow start
//! ([`super::law::BackendWindow::is_new`]). `k` falls by one for each `300 s` that it stays in. Balancers' own outlier detection stays on as the fast path: this one sees all balancers, but only once in a window.
//!
//! Properties, each a test:
//! - (a) never more capacity is ejected than allowed, and never everything;
//! - (b) without two balancers nothing is ejected;
//! - (c) every ejection ends, at the latest after 300 s;
//! - (d) the same evidence again ejects nothing more while the ejection lasts.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// When to eject, how many, for how long.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Requests at the backend in a window below which nothing is decided; at least 1.
    pub min_requests: u64,
    /// Requests that one balancer must have sent for its word to count; at least 1.
    pub min_requests_each: u64,
    /// Balancers that must say so; at least 2.
    pub min_balancers: usize,
    /// Error ratio from which a backend fails, and by which it must be above the others; above 0, up to 1.
    pub error_ratio: f64,
    /// Standard normal deviate beyond which a difference is no chance; above 0.
    pub deviate: f64,
    /// Share of capacity that may be ejected, 0.1 to 0.3.
    pub largest_share: f64,
    /// Time of the first ejection.
    pub base_ms: u64,
    /// Time of the longest ejection, and time in for which one ejection is forgiven.
    pub cap_ms: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_requests: 100,
            min_requests_each: 20,
            min_balancers: 2,
            error_ratio: 0.2,
            deviate: 3.09,
            largest_share: 0.2,
            base_ms: 30_000,
            cap_ms: 300_000,
        }
    }
}

/// What one balancer saw of one backend in a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sight {
    /// Name of the balancer.
    pub balancer: String,
    /// Requests that ended.
    pub requests: u64,
    /// Those that failed for the backend's fault.
    pub errors: u64,
}

/// What all balancers saw of one backend in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Evidence {
    /// Name of the backend.
    pub id: String,
    /// Requests a second at full use; any scale, `None` counts as the mean of the others.
    pub capacity_per_second: Option<f64>,
    /// One for each balancer.
    pub sights: Vec<Sight>,
}

/// What is known of one backend's ejections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Ejections in a row, `k`.
    pub ejections: u32,
    /// When the present ejection ends; `None`: it is in.
    pub until_ms: Option<i64>,
    /// When it came back last, or was forgiven last.
    pub since_ms: i64,
}

/// What is kept between windows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// By name; a backend that was never ejected has none.
    pub records: BTreeMap<String, Record>,
}

/// Why a backend that fails is not ejected.
#[derive(Debug, Clone, PartialEq)]
pub enum Kept {
    /// Too few requests to know.
    FewRequests {
        /// Requests of the window.
        requests: u64,
        /// Requests needed.
        needed: u64,
    },
    /// Too few balancers say so.
    FewBalancers {
        /// How many do.
        failing: usize,
        /// How many are needed.
        needed: usize,
    },
    /// Others fail as well.
    Common {
        /// Error ratio of all others.
        others: f64,
    },
    /// Too much capacity would be out.
    Full {
        /// Share that would be.
        share: f64,
        /// Share that may be.
        allowed: f64,
    },
}

/// One ejection.
#[derive(Debug, Clone, PartialEq)]
pub struct Ejection {
    /// The backend.
    pub id: String,
    /// Its error ratio.
    pub error_ratio: f64,
    /// Error ratio of all others.
    pub others: f64,
    /// Balancers that saw it fail.
    pub balancers: usize,
    /// How long it lasts.
    pub for_ms: u64,
}

/// What to do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// Drain these, the worst first.
    pub eject: Vec<Ejection>,
    /// Make these ready again; they start slowly.
    pub restore: Vec<String>,
    /// Backends that fail and stay, with the reason.
    pub kept: Vec<(String, Kept)>,
    /// Share of capacity that is out afterwards.
    pub share_out: f64,
}

/// Decides on one window of a pool. The state counts what is decided as done.
pub fn decide(
    settings: &Settings,
    state: &mut State,
    evidence: &[Evidence],
    now_ms: i64,
) -> Decision {
    let evidence: BTreeMap<&str, &Evidence> =
        evidence.iter().map(|one| (one.id.as_str(), one)).collect();
    let mut decision =
        Decision { restore: state.pass_time(settings, now_ms), ..Decision::default() };
    state.records.retain(|id, record| {
        record.until_ms.is_some() || record.ejections > 0 && evidence.contains_key(id.as_str())
    });
    let capacity = capacities(&evidence);
    let total: f64 = capacity.values().sum();
    let out = |state: &State, id: &str| {
        state.records.get(id).is_some_and(|record| record.until_ms.is_some())
    };
    let mut share_out: f64 = (capacity.iter())
        .filter(|(id, _)| out(state, id))
        .map(|(_, capacity)| capacity / total)
        .sum();
    let mut in_count = evidence.keys().filter(|id| !out(state, id)).count();
    for (one, ejection) in judge(settings, state, &evidence, &mut decision.kept) {
        let share = share_out + capacity[one] / total;
        let allowed = settings.largest_share.clamp(0.0, 1.0);
        if share > allowed + 1e-9 || in_count <= 1 {
            decision.kept.push((one.to_owned(), Kept::Full { share, allowed }));
            continue;
        }
        (share_out, in_count) = (share, in_count - 1);
        let record = state.records.entry(one.to_owned()).or_default();
        record.ejections = record.ejections.saturating_add(1);
        let for_ms = settings.time_out(record.ejections);
        record.until_ms = Some(now_ms.saturating_add_unsigned(for_ms));
        decision.eject.push(Ejection { for_ms, ..ejection });
    }
    decision.share_out = share_out;
    decision
}

impl Settings {
    /// Time of the `k`-th ejection in a row.
    fn time_out(&self, k: u32) -> u64 {
        self.base_ms.saturating_mul(u64::from(k.max(1))).min(self.cap_ms.max(self.base_ms))
    }
}

impl State {
    /// Ends ejections whose time is over, and forgives old ones.
    fn pass_time(&mut self, settings: &Settings, now_ms: i64) -> Vec<String> {
        let mut restore = Vec::new();
        for (id, record) in &mut self.records {
            // A clock that went back must not make an ejection longer than the longest.
            let longest = now_ms.saturating_add_unsigned(settings.cap_ms.max(settings.base_ms));
            if record.until_ms.is_some_and(|until| until <= now_ms || until > longest) {
                (record.until_ms, record.since_ms) = (None, now_ms);
                restore.push(id.clone());
            }
            let step = settings.cap_ms.max(1);
            while record.until_ms.is_none()
                && record.ejections > 0
                && record.since_ms.saturating_add_unsigned(step) <= now_ms
            {
                record.ejections -= 1;
                record.since_ms = record.since_ms.saturating_add_unsigned(step);
            }
        }
        restore
    }
}

/// Capacity of each backend; the mean of the others where it is not known.
fn capacities<'a>(evidence: &BTreeMap<&'a str, &Evidence>) -> BTreeMap<&'a str, f64> {
    let known = |one: &Evidence| {
        one.capacity_per_second.filter(|c| c.is_finite() && (1e-9..1e15).contains(c))
    };
    let all: Vec<f64> = evidence.values().filter_map(|one| known(one)).collect();
    let mean = if all.is_empty() { 1.0 } else { all.iter().sum::<f64>() / all.len() as f64 };
    evidence.iter().map(|(&id, one)| (id, known(one).unwrap_or(mean))).collect()
}

fn ratio(errors: u64, requests: u64) -> f64 {
    (errors as f64 / requests.max(1) as f64).min(1.0)
}

/// Backends that should go, the worst first.
fn judge<'a>(
    settings: &Settings,
    state: &State,
    evidence: &BTreeMap<&'a str, &Evidence>,
    kept: &mut Vec<(String, Kept)>,
) -> Vec<(&'a str, Ejection)> {
    let sum = |one: &Evidence| {
        one.sights.iter().fold((0_u64, 0_u64), |(requests, errors), sight| {
            let failed = sight.errors.min(sight.requests);
            (requests.saturating_add(sight.requests), errors.saturating_add(failed))
        })
    };
    let all = evidence.values().map(|one| sum(one)).fold((0_u64, 0_u64), |all, one| {
        (all.0.saturating_add(one.0), all.1.saturating_add(one.1))
    });
    let mut failing = Vec::new();
    for (&id, one) in evidence {
        if state.records.get(id).is_some_and(|record| record.until_ms.is_some()) {
            continue;
        }
        let (requests, errors) = sum(one);
        let error_ratio = ratio(errors, requests);
        if requests == 0 || error_ratio < settings.error_ratio {
            continue;
        }
        let needed = settings.min_requests.max(1);
        if requests < needed {
            kept.push((id.to_owned(), Kept::FewRequests { requests, needed }));
            continue;
        }
        let balancers = saying_so(settings, one);
        let needed = settings.min_balancers.max(2);
        if balancers < needed {
            kept.push((id.to_owned(), Kept::FewBalancers { failing: balancers, needed }));
            continue;
        }
        let rest = (all.0.saturating_sub(requests), all.1.saturating_sub(errors));
        let others = ratio(rest.1, rest.0);
        let stands_out = rest.0 > 0
            && error_ratio - others >= settings.error_ratio
            && deviate((errors, requests), (rest.1, rest.0)) > settings.deviate;
        if !stands_out {
            kept.push((id.to_owned(), Kept::Common { others }));
            continue;
        }
        let id_owned = id.to_owned();
        failing.push((id, Ejection { id: id_owned, error_ratio, others, balancers, for_ms: 0 }));
    }
    failing.sort_by(|a, b| b.1.error_ratio.total_cmp(&a.1.error_ratio).then(a.0.cmp(b.0)));
    failing
}

/// How many balancers, each by name once, have seen enough and see the backend fail.
fn saying_so(settings: &Settings, one: &Evidence) -> usize {
    let mut by_name: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for sight in &one.sights {
        let sum = by_name.entry(&sight.balancer).or_default();
        sum.0 = sum.0.saturating_add(sight.requests);
        sum.1 = sum.1.saturating_add(sight.errors.min(sight.requests));
    }
    by_name
        .values()
        .filter(|(requests, errors)| {
            *requests >= settings.min_requests_each.max(1)
                && ratio(*errors, *requests) >= settings.error_ratio
        })
        .count()
}

/// Two proportions with a common variance: how many standard deviations the first is above the second.
fn deviate(first: (u64, u64), second: (u64, u64)) -> f64 {
    let (n1, n2) = (first.1 as f64, second.1 as f64);
    let pooled = (first.0 as f64 + second.0 as f64) / (n1 + n2);
    let deviation = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n2)).sqrt();
    let difference = ratio(first.0, first.1) - ratio(second.0, second.1);
    if deviation > 0.0 { difference / deviation } else { 0.0 }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FewRequests { requests, needed } => {
                write!(f, "stays: {requests} requests in the window, {needed} are needed")
            }
            Self::FewBalancers { failing, needed } => {
                write!(f, "stays: {failing} balancers see it fail, {needed} are needed")
            }
            Self::Common { others } => {
                write!(f, "stays: {:.0} % of requests fail at the others too", others * 100.0)
            }
            Self::Full { share, allowed } => write!(
                f,
                "stays: {:.0} % of capacity would be out, {:.0} % may be",
                share * 100.0,
                allowed * 100.0
            ),
        }
    }
}

impl fmt::Display for Ejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {:.0} % of its requests fail, {:.1} % at the others, seen by {} balancers; out for {} s",
            self.id,
            self.error_ratio * 100.0,
            self.others * 100.0,
            self.balancers,
            self.for_ms / 1_000
        )
    }
}

#[cfg(test)]
mod tests;
