//! What keeps a comparison from passing whatever its numbers: data that is missing, stuck or copied.
//!
//! A judge that compares numbers only takes a silent or stuck source for a quiet one. None of this
//! keeps harm from being seen.

use super::comparison::Comparison;
use super::contrast::{Member, Point};
use super::estimate::{Measure, Stretch};
use super::reading::Reading;
use super::trial::Kind;

/// Differences below this share of the values are rounding.
const ROUNDING: f64 = 1e-12;

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
        for member in &self.contrast.treated {
            let seen = member.slots.range(from..to).count();
            if few(seen) {
                let (name, missing) = (&member.name, all.saturating_sub(seen));
                return Some(format!("{name} misses {missing} of {all} windows {side}"));
            }
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

fn is_constant(points: &[Point]) -> bool {
    let Some(first) = points.first() else { return true };
    points.iter().all(|p| (p.observed - first.observed).abs() <= ROUNDING * first.observed.abs())
}
