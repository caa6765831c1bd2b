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
pub(super) const HALF_WIDTH_SD: f64 = 1.645;
/// Time for which a prediction holds when none follows: agents report once a minute at least.
const HOLDS_MS: i64 = 60_000;
/// Least standard error that is added with each window, hit ratio.
const LEAST_AGEING: f64 = 0.001;
const LFU_DECAY: &str = "lfu-decay-time";

/// What agents have said, by target. In memory only: after a restart the past alone stands for the old
/// setting until there is enough again.
#[derive(Debug, Clone, Default)]
pub(super) struct Predictions {
    by_target: BTreeMap<TargetId, Told>,
}

/// What was said of one target.
#[derive(Debug, Clone, Default)]
struct Told {
    /// What the old setting would do, as it was said, by time.
    said: VecDeque<Predicted>,
    /// When the agent had measured the last report that was looked at.
    measured_at_ms: Option<i64>,
    lfu_decay_minutes: Option<u32>,
}

impl Predictions {
    /// Takes note of what a report says, if it is about the setting that a rollout came from. The same
    /// report again says nothing new.
    pub(super) fn take(
        &mut self,
        target: &TargetId,
        report: &CacheReport,
        old: &Values,
        (now_ms, width_ms): (i64, u32),
    ) {
        let told = self.by_target.entry(target.clone()).or_default();
        if told.measured_at_ms.replace(report.measured_at_ms) == Some(report.measured_at_ms) {
            return;
        }
        let decay = report.settings.get(LFU_DECAY).and_then(|minutes| minutes.parse().ok());
        told.lfu_decay_minutes = decay.or(told.lfu_decay_minutes);
        let Some(now) = report.now.as_ref().filter(|now| now.metric == HIT_RATIO) else { return };
        if old.iter().any(|(parameter, value)| now.settings.get(parameter) != Some(value)) {
            return;
        }
        let width = i64::from(width_ms.max(1));
        let start_ms = now_ms - now_ms.rem_euclid(width);
        if told.said.back().is_some_and(|last| last.start_ms >= start_ms) {
            return;
        }
        if told.said.len() == MOST_PREDICTED {
            told.said.pop_front();
        }
        let standard_error = (now.high - now.low).max(0.0) / 2.0 / HALF_WIDTH_SD;
        told.said.push_back(Predicted { start_ms, value: now.value, standard_error });
    }

    /// Forgets all targets but these.
    pub(super) fn keep(&mut self, targets: &[TargetId]) {
        self.by_target.retain(|target, _| targets.contains(target));
    }

    /// For each window what was said last, with an error that grows with its age, and for a minute only.
    fn of(&self, target: &TargetId, (from_ms, to_ms): (i64, i64), width_ms: u32) -> Vec<Predicted> {
        let Some(told) = self.by_target.get(target) else { return Vec::new() };
        let width = i64::from(width_ms.max(1));
        let ends = told.said.iter().skip(1).map(|next| next.start_ms).chain([to_ms]);
        let lasting = told.said.iter().zip(ends).flat_map(|(said, end_ms)| {
            let end_ms = end_ms.min(said.start_ms.saturating_add(HOLDS_MS));
            let windows = (0..).map(move |age| (age, said.start_ms + age * width));
            windows
                .take_while(move |(age, start_ms)| *age == 0 || *start_ms < end_ms)
                .map(|(age, start_ms)| Predicted { start_ms, ..aged(said, age) })
        });
        lasting.filter(|said| (from_ms..to_ms).contains(&said.start_ms)).collect()
    }

    fn lfu_decay_minutes(&self, target: &TargetId) -> Option<u32> {
        self.by_target.get(target)?.lfu_decay_minutes
    }
}

/// After so many windows: as if each added an error as large as the first one, and independent of it.
fn aged(said: &Predicted, windows: i64) -> Predicted {
    let (error, more) = (said.standard_error, said.standard_error.max(LEAST_AGEING));
    let standard_error = (error.powi(2) + windows as f64 * more.powi(2)).sqrt();
    Predicted { standard_error, ..*said }
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
            Arm::Treated => predictions.of(&target.id, (from_ms, to_ms), width),
            Arm::Control => Vec::new(),
        };
        let lfu_decay_minutes = predictions.lfu_decay_minutes(&target.id);
        all.push(Measured { target: target.id, arm, ticks, predicted, lfu_decay_minutes });
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

    fn told(reports: &[(i64, &str, f64)]) -> (Predictions, TargetId) {
        let target = TargetId("t".into());
        let old: Values = [("maxmemory".to_owned(), "64".to_owned())].into();
        let mut predictions = Predictions::default();
        for (now_ms, limit, value) in reports {
            let mut report = report(limit, *value);
            report.measured_at_ms = *now_ms;
            // Looked at twice, as the driver does.
            for later in [0, 10_000] {
                predictions.take(&target, &report, &old, (now_ms + later, 10_000));
            }
        }
        (predictions, target)
    }

    #[test]
    fn one_prediction_of_the_old_setting_is_kept_for_each_window() {
        let (mut predictions, target) = told(&[
            (10_001, "64", 0.8),
            (19_999, "64", 0.7),
            (20_000, "128", 0.9),
            (20_001, "64", 0.6),
        ]);
        let of = |predictions: &Predictions, from_ms| {
            let found = predictions.of(&target, (from_ms, 30_000), 10_000);
            found.iter().map(|said| (said.start_ms, said.value)).collect::<Vec<_>>()
        };
        assert_eq!(of(&predictions, 0), [(10_000, 0.8), (20_000, 0.6)]);
        let first = predictions.of(&target, (0, 30_000), 10_000)[0];
        assert!((first.standard_error - 0.01).abs() < 1e-9);
        assert_eq!(of(&predictions, 20_000), [(20_000, 0.6)]);
        predictions.keep(&[]);
        assert_eq!(of(&predictions, 0), []);
    }

    #[test]
    fn a_prediction_is_believed_less_and_less_and_for_a_minute() {
        let (predictions, target) = told(&[(10_001, "64", 0.8), (200_000, "64", 0.7)]);
        let found = predictions.of(&target, (0, 300_000), 10_000);
        let starts: Vec<_> = found.iter().map(|said| said.start_ms / 10_000).collect();
        assert_eq!(starts, [1, 2, 3, 4, 5, 6, 20, 21, 22, 23, 24, 25]);
        let errors: Vec<_> = found.iter().map(|said| said.standard_error).collect();
        for (age, error) in errors[..6].iter().enumerate() {
            assert!((error - 0.01 * (1.0 + age as f64).sqrt()).abs() < 1e-9, "{errors:?}");
        }
        let sure = Predicted { start_ms: 0, value: 0.5, standard_error: 0.0 };
        assert!(aged(&sure, 1).standard_error > 0.0);
    }

    #[test]
    fn how_fast_a_server_forgets_is_noted_without_a_prediction() {
        let target = TargetId("t".into());
        let mut report = CacheReport::new(Server::new("redis", "a"), CacheState::Up, 7);
        report.settings.insert(LFU_DECAY.to_owned(), "5".to_owned());
        let mut predictions = Predictions::default();
        predictions.take(&target, &report, &Values::new(), (10_000, 10_000));
        assert_eq!(predictions.lfu_decay_minutes(&target), Some(5));
        assert_eq!(predictions.of(&target, (0, i64::MAX), 10_000), []);
    }
}
