//! A rollout under validation as the judge sees it: what was measured before and since, and the margin.
//!
//! A pure function of the state and of what was measured. The time in which the change went into force
//! step by step belongs to neither side and is cut out of all units alike: windows before it are moved
//! up to the time after it. What was promised decides what a pass asks for: a change that promises a
//! higher hit ratio even at the lower end has to show one, any other only not to do harm. Agents read
//! their caches less often when they would take too much of their hosts otherwise: then windows are as
//! many times longer as it takes.

use flyball_model::judge::{
    Arm, Expected, Margin, Metric, Predicted, Role, Trial, Unit, Value, Window, Worse,
};
use flyball_model::rollout::{Phase, Planned, Prediction, Rollout, TargetId};
use serde_json::{Value as Json, json};

use super::settings::JudgeSettings;
use crate::store::CacheTick;

/// The one metric that is judged.
pub const HIT_RATIO: &str = "redis.hit_ratio";
const POLICY: &str = "maxmemory-policy";
/// How many times longer than the settings say windows may be.
const LONGEST_FACTOR: i64 = 12;

/// When a wave's change began to go into force, and since when it is judged, epoch milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When the first step was offered.
    pub began_ms: i64,
    /// When the last one had been held.
    pub judged_ms: i64,
}

/// What was measured of one target.
#[derive(Debug, Clone)]
pub struct Measured {
    /// Which.
    pub target: TargetId,
    /// Whether it got the change.
    pub arm: Arm,
    /// Last tick of each window, by time.
    pub ticks: Vec<CacheTick>,
    /// What the old setting would have done, as its agent says.
    pub predicted: Vec<Predicted>,
}

/// What is asked of the judge.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// When the change came.
    pub span: Span,
    /// What was promised.
    pub prediction: &'a Prediction,
    /// Old and new values of the targets.
    pub members: &'a [Planned],
    /// Longest time from `span.judged_ms` on, milliseconds.
    pub validate_max_ms: i64,
}

/// The span of a rollout that is being judged.
pub(super) fn span(rollout: &Rollout) -> Option<Span> {
    let Phase::Validating { wave, from_ms, .. } = rollout.phase else { return None };
    let first = rollout.steps.iter().find(|step| step.wave == wave)?;
    let judged_ms = from_ms.saturating_sub(rollout.plan.limits.validate_min_ms);
    Some(Span { began_ms: first.started_at_ms, judged_ms })
}

/// The trial; `None` for a rollout that is not being judged.
pub(super) fn trial(
    rollout: &Rollout,
    prediction: &Prediction,
    measured: &[Measured],
    settings: &JudgeSettings,
) -> Option<Trial> {
    let asked = Asked {
        span: span(rollout)?,
        prediction,
        members: &rollout.plan.members,
        validate_max_ms: rollout.plan.limits.validate_max_ms,
    };
    Some(trial_of(&asked, measured, settings))
}

/// The trial that the driver gives to the judge.
pub fn trial_of(asked: &Asked<'_>, measured: &[Measured], settings: &JudgeSettings) -> Trial {
    let prediction = asked.prediction;
    let width = width(measured, asked.span.judged_ms, settings.window_ms);
    let cut = Cut::new(asked.span, width);
    let unit = |measured: &Measured| {
        let ticks = last_of_each(&measured.ticks, width, |tick| &mut tick.window_ms);
        Unit {
            name: measured.target.0.clone(),
            arm: measured.arm,
            windows: windows(&ticks, width).filter_map(|window| cut.place(window)).collect(),
            counterfactual: last_of_each(&measured.predicted, width, |said| &mut said.start_ms),
            expected: Expected::AsBefore,
        }
    };
    let promised = prediction.metric == HIT_RATIO;
    let gains = promised && prediction.low > prediction.before;
    let loss = if promised { (prediction.before - prediction.low).max(0.0) } else { 0.0 };
    let margin = if gains { settings.margin } else { settings.margin + loss };
    let parameters = asked.members.iter().flat_map(|member| member.last().keys());
    let warms_up = parameters.into_iter().any(|parameter| parameter == POLICY);
    Trial {
        changed_at_ms: cut.end_ms,
        window_ms: width,
        hold: settings.hold().filter(|_| warms_up),
        limits: settings.limits(asked.validate_max_ms),
        metrics: vec![Metric {
            name: HIT_RATIO.to_owned(),
            role: if gains { Role::Target } else { Role::Guard },
            worse: Worse::Lower,
            margin: Margin::Absolute(margin),
            spread: None,
            units: measured.iter().map(unit).collect(),
        }],
    }
}

/// What a verdict was computed from, short enough to be kept for years.
pub(super) fn inputs(trial: &Trial) -> Json {
    let window = |window: &Window| match window.value {
        Value::Ratio { requests, hits } => json!([window.start_ms, requests, hits]),
        _ => Json::Null,
    };
    let unit = |unit: &Unit| {
        json!({
            "target": unit.name, "arm": unit.arm,
            "windows": unit.windows.iter().map(window).collect::<Vec<_>>(),
            "predicted": unit.counterfactual,
        })
    };
    let units: Vec<_> = trial.metrics.iter().flat_map(|metric| &metric.units).map(unit).collect();
    json!({
        "changed_at_ms": trial.changed_at_ms, "window_ms": trial.window_ms, "hold": trial.hold,
        "limits": trial.limits,
        "margins": trial.metrics.iter().map(|m| json!([m.name, m.role, m.margin])).collect::<Vec<_>>(),
        "units": units,
    })
}

/// Length of windows in which there is a tick nearly always: that of the settings, or a multiple of it.
fn width(measured: &[Measured], judged_ms: i64, width: u32) -> u32 {
    let longest = measured.iter().map(|measured| {
        let since = measured.ticks.iter().map(|tick| tick.window_ms).filter(|&ms| ms >= judged_ms);
        let times: Vec<i64> = since.collect();
        let mut gaps: Vec<i64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        gaps.sort_unstable();
        // One gap in ten may be longer: what falls into it is left out.
        gaps.get(gaps.len() * 9 / 10).copied().unwrap_or(0)
    });
    let factor = longest.max().unwrap_or(0) / i64::from(width.max(1));
    width.saturating_mul(u32::try_from(factor.clamp(1, LONGEST_FACTOR)).unwrap_or(1))
}

/// The last of those that share a window, moved to the window's beginning.
fn last_of_each<T: Clone>(all: &[T], width: u32, start_of: fn(&mut T) -> &mut i64) -> Vec<T> {
    let width = i64::from(width.max(1));
    let mut kept: Vec<T> = Vec::with_capacity(all.len());
    for one in all {
        let mut one = one.clone();
        let start = start_of(&mut one);
        *start -= start.rem_euclid(width);
        let start = *start;
        if kept.last_mut().is_some_and(|last| *start_of(last) == start) {
            kept.pop();
        }
        kept.push(one);
    }
    kept
}

/// Requests and hits between the last ticks of neighbouring windows of one life of a cache.
fn windows(ticks: &[CacheTick], width: u32) -> impl Iterator<Item = Window> {
    ticks.windows(2).filter_map(move |pair| {
        let (before, now) = (&pair[0], &pair[1]);
        let follows = now.window_ms - before.window_ms == i64::from(width);
        if !follows || now.started_ms != before.started_ms {
            return None;
        }
        let hits = now.hits.checked_sub(before.hits)?;
        let requests = hits.checked_add(now.misses.checked_sub(before.misses)?)?;
        let value = Value::Ratio { requests, hits };
        Some(Window { start_ms: now.window_ms, width_ms: width, value })
    })
}

/// What is cut out: windows from `start_ms` to `end_ms`, both at the edge of one.
#[derive(Debug, Clone, Copy)]
struct Cut {
    start_ms: i64,
    end_ms: i64,
    width: i64,
}

impl Cut {
    fn new(span: Span, width: u32) -> Self {
        let width = i64::from(width.max(1));
        let floor = |ms: i64| ms - ms.rem_euclid(width);
        let (start_ms, judged_ms) = (floor(span.began_ms), floor(span.judged_ms));
        // The window in which judging began is not whole.
        Self { start_ms, end_ms: (judged_ms + width).max(start_ms), width }
    }

    /// The window where it counts; `None` in between.
    fn place(self, window: Window) -> Option<Window> {
        if window.start_ms >= self.end_ms {
            return Some(window);
        }
        if window.start_ms + self.width > self.start_ms {
            return None;
        }
        // The judge leaves out the window that holds the change itself.
        let moved_ms = self.end_ms - self.start_ms;
        Some(Window { start_ms: window.start_ms + moved_ms, ..window })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WIDTH: i64 = 10_000;

    fn tick(window: i64, hits: u64, misses: u64) -> CacheTick {
        CacheTick {
            node: "a".into(),
            cache: "c".into(),
            window_ms: window * WIDTH,
            started_ms: 5,
            hits,
            misses,
            resident_bytes: 0,
            used_bytes: 0,
            keys: 0,
            evictions: 0,
        }
    }

    #[test]
    fn windows_are_differences_within_one_life_of_a_cache() {
        let mut ticks = vec![tick(1, 10, 1), tick(2, 30, 2), tick(3, 60, 4), tick(5, 90, 9)];
        ticks.push(CacheTick { started_ms: 6, ..tick(6, 1, 1) });
        ticks.push(CacheTick { started_ms: 6, ..tick(7, 0, 1) });
        let found: Vec<_> =
            windows(&ticks, 10_000).map(|w| (w.start_ms / WIDTH, w.value)).collect();
        let ratio = |requests, hits| Value::Ratio { requests, hits };
        assert_eq!(found, [(2, ratio(21, 20)), (3, ratio(32, 30))]);
    }

    #[test]
    fn windows_are_longer_where_ticks_are_rarer() {
        let ticks = |every: i64| (0..40).map(|i| tick(i * every, 10, 1)).collect();
        let measured = |every: i64| Measured {
            target: TargetId("t".into()),
            arm: Arm::Treated,
            ticks: ticks(every),
            predicted: Vec::new(),
        };
        let of = |all: &[Measured]| width(all, 5 * WIDTH, 10_000);
        assert_eq!(of(&[measured(1)]), 10_000);
        assert_eq!(of(&[measured(1), measured(3)]), 30_000, "the rarest decides");
        assert_eq!(of(&[measured(100)]), 120_000, "not without end");
        assert_eq!(of(&[]), 10_000);
        let coarse = last_of_each(&measured(2).ticks, 40_000, |tick| &mut tick.window_ms);
        assert_eq!(windows(&coarse, 40_000).count(), 19);
        assert_eq!(coarse[1].window_ms, 4 * WIDTH);
    }

    #[test]
    fn the_time_in_which_it_went_into_force_is_on_neither_side() {
        let cut =
            Cut::new(Span { began_ms: 10 * WIDTH + 3, judged_ms: 14 * WIDTH + 9_999 }, 10_000);
        let place = |window: i64| {
            let value = Value::Ratio { requests: 1, hits: 1 };
            let window = Window { start_ms: window * WIDTH, width_ms: 10_000, value };
            cut.place(window).map(|window| window.start_ms / WIDTH)
        };
        assert_eq!((cut.start_ms, cut.end_ms), (10 * WIDTH, 15 * WIDTH));
        assert_eq!([8, 9].map(place), [Some(13), Some(14)], "moved up to the change");
        assert_eq!([10, 11, 14].map(place), [None; 3]);
        assert_eq!([15, 16].map(place), [Some(15), Some(16)]);
    }
}
