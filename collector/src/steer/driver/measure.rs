//! What is measured for the judge: windows of `cache_stats`, and what agents say the old setting would do.

use std::collections::{BTreeMap, VecDeque};

use flyball_model::judge::{Arm, Predicted};
use flyball_model::rollout::{Rollout, State, Target, TargetId, Values};
use flyball_proto::steering::CacheReport;

use super::settings::JudgeSettings;
use super::trial::{HIT_RATIO, Measured, span};
use crate::store::{Store, StoreError};

/// Predictions that are kept of a target: a day and more in windows of ten seconds.
const MOST_PREDICTED: usize = 10_000;
/// Half-width of the agents' intervals in standard deviations.
const HALF_WIDTH_SD: f64 = 1.645;

/// What agents have said the old setting would do, by target and window. In memory only: after a restart
/// the past alone stands for the old setting until there is enough again.
#[derive(Debug, Clone, Default)]
pub(super) struct Predictions {
    by_target: BTreeMap<TargetId, VecDeque<Predicted>>,
}

impl Predictions {
    /// Takes note of what a report says, if it is about the setting that a rollout came from.
    pub(super) fn take(
        &mut self,
        target: &TargetId,
        report: &CacheReport,
        old: &Values,
        (now_ms, width_ms): (i64, u32),
    ) {
        let Some(now) = report.now.as_ref().filter(|now| now.metric == HIT_RATIO) else { return };
        if old.iter().any(|(parameter, value)| now.settings.get(parameter) != Some(value)) {
            return;
        }
        let width = i64::from(width_ms.max(1));
        let start_ms = now_ms - now_ms.rem_euclid(width);
        let kept = self.by_target.entry(target.clone()).or_default();
        if kept.back().is_some_and(|last| last.start_ms >= start_ms) {
            return;
        }
        if kept.len() == MOST_PREDICTED {
            kept.pop_front();
        }
        let standard_error = (now.high - now.low).max(0.0) / 2.0 / HALF_WIDTH_SD;
        kept.push_back(Predicted { start_ms, value: now.value, standard_error });
    }

    /// Forgets all targets but these.
    pub(super) fn keep(&mut self, targets: &[TargetId]) {
        self.by_target.retain(|target, _| targets.contains(target));
    }

    fn of(&self, target: &TargetId, from_ms: i64) -> Vec<Predicted> {
        let kept = self.by_target.get(target).into_iter().flatten();
        kept.filter(|predicted| predicted.start_ms >= from_ms).copied().collect()
    }
}

/// Since when nothing but this rollout has changed its targets, as far as is remembered, epoch
/// milliseconds: what was before says nothing of what would be without it.
pub(super) fn unchanged_since(state: &State, rollout: &Rollout) -> i64 {
    let shares_target = |other: &Rollout| {
        let members = || rollout.plan.members.iter().map(|member| &member.target.id);
        other.plan.members.iter().any(|member| members().any(|id| *id == member.target.id))
    };
    let others = state.rollouts().filter(|other| other.id != rollout.id && shares_target(other));
    others.filter_map(|other| other.ended_at_ms).max().unwrap_or(i64::MIN)
}

/// Everything that was measured since `since_ms` of the targets that a rollout is judged by.
///
/// # Errors
/// When it cannot be read.
pub(super) async fn measure(
    store: &Store,
    rollout: &Rollout,
    predictions: &Predictions,
    settings: &JudgeSettings,
    (since_ms, now_ms): (i64, i64),
) -> Result<Vec<Measured>, StoreError> {
    let Some(span) = span(rollout) else { return Ok(Vec::new()) };
    let width = settings.window_ms;
    // One more, for the difference to the first.
    let before_ms = (i64::from(settings.max_before) + 2) * i64::from(width);
    let from_ms = span.began_ms.saturating_sub(before_ms).max(since_ms);
    // The window that is not over yet would be short.
    let to_ms = now_ms - now_ms.rem_euclid(i64::from(width.max(1)));
    let (treated, controls) = rollout.compared();
    let of_arm = |arm: Arm| move |target: &Target| (target.clone(), arm);
    let targets = treated.into_iter().map(of_arm(Arm::Treated));
    let targets: Vec<_> = targets.chain(controls.into_iter().map(of_arm(Arm::Control))).collect();
    let mut all = Vec::new();
    for (target, arm) in targets {
        let place = (target.node.as_str(), target.name.as_str());
        let ticks = store.cache_ticks(place, (from_ms, to_ms), width).await?;
        let predicted = match arm {
            Arm::Treated => predictions.of(&target.id, span.judged_ms),
            Arm::Control => Vec::new(),
        };
        all.push(Measured { target: target.id, arm, ticks, predicted });
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::{CachePrediction, CacheState, Target as Server};

    use super::*;

    fn report(limit: &str, value: f64) -> CacheReport {
        let mut report = CacheReport::new(Server::new("redis", "a"), CacheState::Up, 0);
        report.now = Some(CachePrediction {
            metric: HIT_RATIO.to_owned(),
            value,
            low: value - 0.01645,
            high: value + 0.01645,
            settings: [("maxmemory".to_owned(), limit.to_owned())].into(),
            samples: 1,
            method: String::new(),
        });
        report
    }

    #[test]
    fn one_prediction_of_the_old_setting_is_kept_for_each_window() {
        let target = TargetId("t".into());
        let old: Values = [("maxmemory".to_owned(), "64".to_owned())].into();
        let mut predictions = Predictions::default();
        for (now_ms, limit, value) in
            [(10_001, "64", 0.8), (19_999, "64", 0.7), (20_000, "128", 0.9), (31_000, "64", 0.6)]
        {
            predictions.take(&target, &report(limit, value), &old, (now_ms, 10_000));
        }
        let found: Vec<_> =
            predictions.of(&target, 0).iter().map(|p| (p.start_ms, p.value)).collect();
        assert_eq!(found, [(10_000, 0.8), (30_000, 0.6)]);
        assert!((predictions.of(&target, 0)[0].standard_error - 0.01).abs() < 1e-9);
        assert_eq!(predictions.of(&target, 20_000).len(), 1);
        predictions.keep(&[]);
        assert_eq!(predictions.of(&target, 0).len(), 0);
    }
}
