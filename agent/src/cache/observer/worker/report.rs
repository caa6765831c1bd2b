//! What is told of a cache.

use std::time::{Duration, Instant};

use flyball_proto::steering::{
    CachePrediction, CacheReport, CacheState, HitCurve, MAX_MISSING, MAX_REASON_BYTES,
    MissAttribution, Settings, clip,
};

use super::Worker;
use crate::cache::config::Observe;
use crate::cache::now_ms;
use crate::cache::observer::estimate::{self, Change};
use crate::cache::observer::look::Look;
use crate::cache::observer::state::{self, ToSave};
use crate::redis::Role;

/// Time between two writes of what was learned.
pub(super) const SAVE_EVERY: Duration = Duration::from_mins(10);
/// A curve is no longer that of now after so long.
const CURVE_KEPT: Duration = Duration::from_hours(6);
/// How far a curve may be from what is measured at the present size.
const ANCHOR: f64 = 0.01;
/// Keys have the ages that the traffic makes when so many times their age has passed since a change.
const RIPE: f64 = 1.25;
/// Share of the keys, youngest first, of which the oldest has an age that means something.
const OLDEST: f64 = 0.98;

/// What is reported until something newer is known.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) curve: Option<HitCurve>,
    pub(super) misses: Option<(MissAttribution, i64)>,
}

impl Worker {
    /// Tells everything that is known.
    pub(super) fn report(&mut self, look: &Look, trial: Option<&(Settings, Change, u64)>) {
        let mut report = CacheReport::new(self.target.clone(), CacheState::Up, now_ms() as i64);
        report.version.clone_from(&look.info.version);
        look.info.role.map_or("", Role::as_str).clone_into(&mut report.role);
        report.settings.clone_from(&look.settings);
        report.facts = Some(look.facts);
        report.counters = Some(look.counters());
        let mut missing = Vec::new();
        let mut lacks = |part: &str, why: &str| missing.push(format!("{part}: {why}"));
        if look.is_replica() {
            lacks("curve", "it is a replica, which holds what its primary holds");
        } else {
            match self.curve(look) {
                Ok(curve) => report.curve = Some(curve),
                Err(reason) => lacks("curve", &reason),
            }
        }
        report.misses = self.misses();
        if report.misses.is_none() {
            lacks("misses", &self.why_no_events());
        }
        match self.requests.policies() {
            Ok(policies) => report.policies = policies.to_vec(),
            Err(reason) => lacks("policies", reason),
        }
        report.keys = self.findings.big(look.facts.used_bytes, Instant::now());
        match self.requests.hot() {
            Ok(hot) => report.keys.extend_from_slice(hot),
            Err(reason) => lacks("hot keys", reason),
        }
        let peak = self.instance.expirations().peak();
        match self.findings.ttl(&look.facts, peak, &self.events.watch.ghosts) {
            Ok(ttl) => report.ttl = Some(ttl),
            Err(reason) => lacks("ttl", &reason),
        }
        if let Some((before, change, maxmemory)) = trial {
            match self.now(before, *change, *maxmemory, look.facts.used_bytes) {
                Ok(now) => report.now = Some(now),
                Err(reason) => lacks("now", &reason),
            }
        }
        missing.truncate(MAX_MISSING);
        report.missing = missing.iter().map(|line| clip(line, MAX_REASON_BYTES)).collect();
        self.publish(report);
    }

    /// The curve that fits what is measured now: that of the last window, which knows larger sizes, else that of ages.
    fn curve(&self, look: &Look) -> Result<HitCurve, String> {
        let (bytes, hit_ratio) = (look.facts.max_bytes, look.facts.hit_ratio());
        let is_near = |curve: &HitCurve| {
            let here = curve.points.iter().find(|point| point.bytes == bytes);
            here.zip(hit_ratio).is_none_or(|(here, is)| (here.hit_ratio - is).abs() <= ANCHOR)
        };
        let oldest = now_ms() as i64 - CURVE_KEPT.as_millis() as i64;
        let of_window = self.known.curve.as_ref().filter(|curve| curve.measured_at_ms > oldest);
        let of_ages = if self.ages.reason.is_empty() {
            self.ages_curve.as_ref().map_err(Clone::clone)
        } else {
            Err(self.ages.reason.clone())
        };
        match (of_window, of_ages) {
            (Some(curve), Ok(other)) if !is_near(curve) && is_near(other) => Ok(other.clone()),
            (Some(curve), _) => Ok(curve.clone()),
            (None, of_ages) => of_ages.cloned(),
        }
    }

    fn misses(&self) -> Option<MissAttribution> {
        let oldest = now_ms() as i64 - CURVE_KEPT.as_millis() as i64;
        self.known.misses.filter(|(_, at_ms)| *at_ms > oldest).map(|(misses, _)| misses)
    }

    fn why_no_events(&self) -> String {
        if self.level != Observe::Events {
            return "events are not heard (observe = \"ages\")".to_owned();
        }
        match (&self.window, self.events.reason.is_empty()) {
            (_, false) => self.events.reason.clone(),
            (Some(_), _) => "events are being heard".to_owned(),
            (None, _) => self.resting.to_owned(),
        }
    }

    /// What the settings before the trial would hit now.
    fn now(
        &mut self,
        before: &Settings,
        change: Change,
        maxmemory: u64,
        used_bytes: u64,
    ) -> Result<CachePrediction, String> {
        match change {
            Change::Other(reason) => Err(reason.to_owned()),
            Change::Shrunk => estimate::now(&self.events.watch, before, maxmemory),
            Change::Grown => {
                let Some((_, _, since)) = &self.of else { return Err("not yet".to_owned()) };
                if !self.is_ripe {
                    // Of the keys that are there now, so many would be at the old size.
                    let share = (maxmemory as f64 / used_bytes.max(1) as f64).min(OLDEST);
                    let age = self.ages.watch.ages.age_of_share(share);
                    let age = age.ok_or("no keys were drawn since the change yet")?;
                    if since.elapsed().as_secs_f64() < RIPE * age {
                        return Err(format!(
                            "keys were drawn that the old settings have left; waits until {age:.0} s are over"
                        ));
                    }
                    // From here on keys have the ages that the traffic makes.
                    self.ages.watch.forget();
                    (self.ages.running, self.is_ripe) = (None, true);
                }
                let share = (maxmemory as f64 / used_bytes.max(1) as f64).min(OLDEST);
                let age = self.ages.watch.ages.age_of_share(share);
                let age = age.ok_or("no keys were drawn since then yet")?;
                if !self.ages.watch.knows_rate_of(age) {
                    return Err(format!(
                        "how many requests there were {age:.0} s ago is not known"
                    ));
                }
                estimate::now(&self.ages.watch, before, maxmemory)
            }
        }
    }

    /// Gives a report to the outbox.
    pub(super) fn publish(&mut self, report: CacheReport) {
        if self.level == Observe::Off {
            return;
        }
        if self.state.replace(report.state) != Some(report.state) {
            let (state, reason) = (report.state.as_str(), &report.reason);
            tracing::debug!(cache = self.instance.name(), state, reason, "observed");
        }
        self.outbox.cache(report);
    }

    /// Keeps what was learned.
    pub(super) fn save(&mut self) {
        self.save_due = Instant::now() + SAVE_EVERY;
        let Some((run_id, regime, _)) = &self.of else { return };
        let mut report = CacheReport::new(self.target.clone(), CacheState::Up, now_ms() as i64);
        report.curve.clone_from(&self.known.curve);
        if let Some((misses, at_ms)) = self.known.misses {
            (report.misses, report.measured_at_ms) = (Some(misses), at_ms);
        }
        let state = ToSave {
            run_id,
            regime,
            debt_s: self.ledger.debt_s,
            event_s: self.ledger.event_s,
            ghosts: &self.events.watch.ghosts,
            ages: [&self.events.watch.ages, &self.ages.watch.ages],
            report: Some(&report),
        };
        match state::save(&self.files.1, &state) {
            Ok(bytes) => self.instance.observed().keeps(bytes),
            Err(error) => {
                tracing::warn!(cache = self.instance.name(), %error, "cannot keep what was learned");
            }
        }
    }
}
