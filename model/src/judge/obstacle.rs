//! What keeps a comparison from passing whatever its numbers: data that is missing, stuck or copied.
//!
//! A judge that compares numbers only takes a silent or stuck source for a quiet one. None of this
//! keeps harm from being seen.

use super::arms::{NOBODY, Partial};
use super::comparison::Comparison;
use super::contrast::{Member, Point};
use super::estimate::{Measure, Stretch};
use super::reading::Reading;
use super::trial::{Arm, Kind};

/// Differences below this share of the values are rounding.
const ROUNDING: f64 = 1e-12;
/// Windows to be expected of a unit that is hardly measured without which its silence says nothing.
const EXPECTED: f64 = 3.0;
/// Share of them below which it has fallen silent. At just three of them chance alone does that once in
/// twenty, and then only the next look can pass.
const SILENT: f64 = 0.25;
/// Readings of a unit that is hardly measured without which it is not stuck.
const LEAST_STUCK: usize = 8;

impl Comparison {
    /// Of the time before the change.
    pub(super) fn past_obstacle(&self) -> Option<String> {
        let points = &self.contrast.before;
        let first = points.first()?.slot;
        if self.margin <= 0.0 && self.relative && self.measure == Measure::Mean {
            return Some("a relative margin of a mean of 0 is none".into());
        }
        self.obstacle_in(first, 0, &self.before, points, "before the change")
    }

    /// Of slots `from` to before `to`.
    pub(super) fn obstacle_in(
        &self,
        from: i64,
        to: i64,
        stretch: &Stretch,
        points: &[Point],
        side: &str,
    ) -> Option<String> {
        let all = usize::try_from(to - from).unwrap_or(0);
        let few = |seen: usize| (seen as f64) < (1.0 - self.limits.max_missing) * all as f64;
        if few(points.len()) {
            let missing = all.saturating_sub(points.len());
            return Some(format!("{missing} of {all} windows {side} are missing"));
        }
        let units = || self.contrast.treated.iter().chain(&self.contrast.controls);
        for member in self.contrast.treated.iter().filter(|member| !member.sparse) {
            let seen = member.slots.range(from..to).count();
            if few(seen) {
                let (name, missing) = (&member.name, all.saturating_sub(seen));
                let advice = if to > 0 { String::new() } else { format!("; {NOBODY}") };
                return Some(format!("{name} misses {missing} of {all} windows {side}{advice}"));
            }
        }
        let mut treated = self.partial.iter().filter(|partial| partial.arm == Arm::Treated);
        if let Some(silent) = treated.find_map(|partial| partial.silent_in(from, to)) {
            return Some(silent);
        }
        if let Some(member) = units().find(|member| self.is_stuck(member, from, to)) {
            return Some(format!("{} shows the same number in every window {side}", member.name));
        }
        let counted = matches!(self.kind, Kind::Ratio | Kind::Count);
        if stretch.noise.variance <= 0.0 && !(counted && is_constant(points)) {
            return Some(format!("treated and control are the same to the last digit {side}"));
        }
        None
    }

    /// No events at all are a number that counting understands, and no sign of being stuck.
    fn is_stuck(&self, member: &Member, from: i64, to: i64) -> bool {
        let mut readings = member.slots.range(from..to).map(|(_, reading)| reading);
        if member.sparse && readings.clone().count() < LEAST_STUCK {
            return false;
        }
        let Some(first) = readings.next() else { return false };
        if self.kind == Kind::Count && first.events < 0.5 {
            return false;
        }
        let same = |r: &Reading| match self.kind {
            Kind::Ratio | Kind::Count => (r.events, r.exposure) == (first.events, first.exposure),
            Kind::Level | Kind::Latency => r.value.total_cmp(&first.value).is_eq(),
        };
        readings.all(same)
    }
}

impl Partial {
    /// Whether it is measured far more rarely than before the change, in slots after it.
    fn silent_in(&self, from: i64, to: i64) -> Option<String> {
        let all = usize::try_from(to - from.max(0)).unwrap_or(0);
        let seen = self.after.range(from..to.max(from)).count();
        let expected = all as f64 * self.seen as f64 / self.all.max(1) as f64;
        let (unit, before, of) = (&self.unit, self.seen, self.all);
        (expected >= EXPECTED && (seen as f64) < SILENT * expected).then(|| {
            format!(
                "{unit} has fallen silent: measured in {before} of {of} windows before the change, and \
                 in {seen} of {all} after it"
            )
        })
    }
}

fn is_constant(points: &[Point]) -> bool {
    let Some(first) = points.first() else { return true };
    points.iter().all(|p| (p.observed - first.observed).abs() <= ROUNDING * first.observed.abs())
}
