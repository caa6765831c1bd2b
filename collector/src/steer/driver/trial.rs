//! A rollout under validation as the judge sees it: what was measured before and since, and the margin.
//!
//! A pure function of the state and of what was measured. The time in which the change went into force
//! step by step belongs to neither side and is cut out of all units alike: windows before it are moved
//! up to the time after it. What was promised decides what a pass asks for: a change that promises a
//! higher hit ratio even at the lower end has to show one, any other only not to do harm; and if that is
//! for a larger limit, it has to come as the new bytes are filled. A new eviction policy is waited for as
//! long as its counters and the keys that the old one left take to be others. Agents read
//! their caches less often when they would take too much of their hosts otherwise: then windows are as
//! many times longer as it takes.

use flyball_model::judge::{
    Arm, Expected, Filled, Margin, Metric, Predicted, Promise, Role, Trial, Unit, Value, Window,
    Worse,
};
use flyball_model::rollout::{Phase, Planned, Prediction, Rollout, TargetId};
use serde_json::{Value as Json, json};

use super::measure::HALF_WIDTH_SD;
use super::settings::JudgeSettings;
use crate::store::CacheTick;

/// The one metric that is judged.
pub const HIT_RATIO: &str = "redis.hit_ratio";
const POLICY: &str = "maxmemory-policy";
const LIMIT: &str = "maxmemory";
const LFU_DECAY: &str = "lfu-decay-time";
/// Redis's own.
const DEFAULT_DECAY_MINUTES: u32 = 1;
/// Until keys have counters that say how often they are used.
const DECAYS_TO_HOLD: i64 = 3;
/// Until the keys that the old policy has kept are gone.
const TURNOVERS_TO_HOLD: f64 = 2.0;
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
    /// Its `lfu-decay-time`, if its agent has said it.
    pub lfu_decay_minutes: Option<u32>,
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
            counterfactual: last_of_each(&measured.predicted, width, |said| &mut said.start_ms)
                .into_iter()
                .filter_map(|said| Some(Predicted { start_ms: cut.moved(said.start_ms)?, ..said }))
                .collect(),
            expected: expected(asked, measured, &ticks),
        }
    };
    let promised = prediction.metric == HIT_RATIO;
    let gains = promises(prediction);
    let loss = if promised { (prediction.before - prediction.low).max(0.0) } else { 0.0 };
    let margin = if gains { settings.margin } else { settings.margin + loss };
    let hold = takes_ms(asked, measured)
        .and_then(|takes_ms| settings.hold(takes_ms, asked.validate_max_ms, width));
    Trial {
        changed_at_ms: cut.end_ms,
        window_ms: width,
        hold,
        limits: settings.limits(asked.validate_max_ms, width, hold),
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

/// Whether a higher hit ratio is promised even at the lower end.
fn promises(prediction: &Prediction) -> bool {
    prediction.metric == HIT_RATIO && prediction.low > prediction.before
}

/// What is asked of one target: a larger cache has to gain as it fills.
fn expected(asked: &Asked<'_>, measured: &Measured, ticks: &[CacheTick]) -> Expected {
    let prediction = asked.prediction;
    let member = asked.members.iter().find(|member| member.target.id == measured.target);
    let limits = member.and_then(|member| {
        let bytes = |text: Option<&String>| text?.parse::<u64>().ok();
        Some((bytes(member.revert_to.get(LIMIT))?, bytes(member.last().get(LIMIT))?))
    });
    let Some((old, new)) = limits.filter(|(old, new)| 0 < *old && old < new) else {
        return Expected::AsBefore;
    };
    if !promises(prediction) || measured.arm != Arm::Treated {
        return Expected::AsBefore;
    }
    let room = (new - old) as f64;
    let filled = ticks.iter().filter(|tick| tick.window_ms >= asked.span.judged_ms);
    let filled = filled.map(|tick| Filled {
        start_ms: tick.window_ms,
        share: (tick.used_bytes.saturating_sub(old) as f64 / room).min(1.0),
    });
    Expected::Gain(Promise {
        gain: prediction.after - prediction.before,
        standard_error: (prediction.after - prediction.low).max(0.0) / HALF_WIDTH_SD,
        filled: filled.collect(),
    })
}

/// How long a change of the policy takes to take hold, milliseconds: three of the periods in which LFU's
/// counters halve, and two turnovers of the keys, as far as they are known. `None` for other changes.
fn takes_ms(asked: &Asked<'_>, measured: &[Measured]) -> Option<i64> {
    let of = |member: &Planned| {
        let policy = member.last().get(POLICY)?;
        let measured = measured.iter().find(|measured| measured.target == member.target.id);
        let wanted = member.last().get(LFU_DECAY).and_then(|minutes| minutes.parse().ok());
        let decay = wanted.or(measured.and_then(|measured| measured.lfu_decay_minutes));
        let minutes = i64::from(decay.unwrap_or(DEFAULT_DECAY_MINUTES));
        let decays_ms = if policy.contains("lfu") { DECAYS_TO_HOLD * minutes * 60_000 } else { 0 };
        let turnover_ms = measured.and_then(|m| turnover_ms(&m.ticks, asked.span.began_ms));
        Some(decays_ms.max((TURNOVERS_TO_HOLD * turnover_ms.unwrap_or(0.0)) as i64))
    };
    asked.members.iter().filter_map(of).max()
}

/// In what time as many keys were evicted as there are, before the change. `None` without evictions.
fn turnover_ms(ticks: &[CacheTick], began_ms: i64) -> Option<f64> {
    let last = ticks.iter().rfind(|tick| tick.window_ms < began_ms)?;
    let first = ticks.iter().find(|tick| tick.started_ms == last.started_ms)?;
    let evicted = last.evictions.checked_sub(first.evictions).filter(|evicted| *evicted > 0)?;
    Some((last.window_ms - first.window_ms) as f64 * last.keys as f64 / evicted as f64)
}

/// What a verdict was computed from, short enough to be kept for years.
pub(super) fn inputs(trial: &Trial) -> Json {
    let window = |window: &Window| match window.value {
        Value::Ratio { requests, hits } => json!([window.start_ms, requests, hits]),
        Value::Level { mean, count } => json!([window.start_ms, mean, count]),
        _ => Json::Null,
    };
    let unit = |unit: &Unit| {
        json!({
            "target": unit.name, "arm": unit.arm,
            "windows": unit.windows.iter().map(window).collect::<Vec<_>>(),
            "predicted": unit.counterfactual, "expected": unit.expected,
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
pub(super) struct Cut {
    start_ms: i64,
    pub(super) end_ms: i64,
    width: i64,
}

impl Cut {
    pub(super) fn new(span: Span, width: u32) -> Self {
        let width = i64::from(width.max(1));
        let floor = |ms: i64| ms - ms.rem_euclid(width);
        let (start_ms, judged_ms) = (floor(span.began_ms), floor(span.judged_ms));
        // The window in which judging began is not whole.
        Self { start_ms, end_ms: (judged_ms + width).max(start_ms), width }
    }

    /// The window where it counts; `None` in between.
    pub(super) fn place(self, window: Window) -> Option<Window> {
        Some(Window { start_ms: self.moved(window.start_ms)?, ..window })
    }

    /// Where a window counts that begins then.
    pub(super) fn moved(self, start_ms: i64) -> Option<i64> {
        if start_ms >= self.end_ms {
            return Some(start_ms);
        }
        let is_before = start_ms + self.width <= self.start_ms;
        // The judge leaves out the window that holds the change itself.
        is_before.then_some(start_ms + self.end_ms - self.start_ms)
    }
}

#[cfg(test)]
mod tests {
    use flyball_model::rollout::Target;

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
            lfu_decay_minutes: None,
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

    fn planned(old: &[(&str, &str)], new: &[(&str, &str)]) -> Planned {
        let values = |all: &[(&str, &str)]| {
            all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        let (kind, name) = ("redis".to_owned(), "c".to_owned());
        let target = Target { id: TargetId("t".into()), node: "a".into(), kind, name };
        Planned { target, steps: vec![values(new)], revert_to: values(old) }
    }

    fn prediction(low: f64) -> Prediction {
        let metric = HIT_RATIO.to_owned();
        let unit = "ratio".to_owned();
        let (before, after, high) = (0.8, 0.84, 0.88);
        Prediction { metric, before, after, low, high, unit, confidence: 0.9 }
    }

    fn trial_for(members: &[Planned], low: f64, measured: &[Measured]) -> Trial {
        let prediction = prediction(low);
        let span = Span { began_ms: 70 * WIDTH, judged_ms: 77 * WIDTH };
        let asked = Asked { span, prediction: &prediction, members, validate_max_ms: 360 * WIDTH };
        trial_of(&asked, measured, &JudgeSettings::default())
    }

    /// 64 MB that are full, of 128 from the 70th window on; a key of 100 is evicted in each second.
    fn grown() -> Measured {
        let ticks = (0..100).map(|window| {
            let more = (window - 70).clamp(0, 20) as u64;
            let index = window as u64;
            CacheTick {
                used_bytes: 64 + 64 * more / 20,
                keys: 100,
                evictions: 10 * index,
                ..tick(window, 900 * index, 100 * index)
            }
        });
        Measured {
            target: TargetId("t".into()),
            arm: Arm::Treated,
            ticks: ticks.collect(),
            predicted: Vec::new(),
            lfu_decay_minutes: None,
        }
    }

    #[test]
    fn a_larger_cache_is_held_to_what_its_new_room_promises() {
        let larger = [planned(&[(LIMIT, "64")], &[(LIMIT, "128")])];
        let trial = trial_for(&larger, 0.82, &[grown()]);
        let Expected::Gain(promise) = &trial.metrics[0].units[0].expected else {
            panic!("a promise: {trial:?}")
        };
        assert!((promise.gain - 0.04).abs() < 1e-9, "{promise:?}");
        assert!((promise.standard_error - 0.02 / 1.645).abs() < 1e-9, "{promise:?}");
        let share = |window: i64| {
            let found = promise.filled.iter().find(|filled| filled.start_ms == window * WIDTH);
            found.map(|filled| filled.share)
        };
        assert_eq!((share(77), share(80), share(99)), (Some(22.0 / 64.0), Some(0.5), Some(1.0)));
        assert_eq!(share(69), None, "nothing before it is judged");
        let as_before = |members: &[Planned], low| {
            trial_for(members, low, &[grown()]).metrics[0].units[0].expected == Expected::AsBefore
        };
        assert!(as_before(&larger, 0.79), "nothing is promised for sure");
        assert!(as_before(&[planned(&[(LIMIT, "128")], &[(LIMIT, "64")])], 0.82));
        assert!(as_before(&[planned(&[(LIMIT, "0")], &[(LIMIT, "64")])], 0.82));
    }

    #[test]
    fn a_new_policy_is_waited_for_until_keys_are_turned_over_and_counters_have_decayed() {
        let held = |new: &[(&str, &str)], measured: Measured| {
            let members = [planned(&[(POLICY, "allkeys-lru")], new)];
            let trial = trial_for(&members, 0.79, &[measured]);
            let held = trial.hold.map_or(0, |hold| hold.windows);
            assert_eq!(trial.limits.max_windows, 357 - held);
            held
        };
        assert_eq!(held(&[(POLICY, "allkeys-random")], grown()), 20, "two turnovers");
        assert_eq!(held(&[("maxmemory-samples", "9")], grown()), 0);
        let slow = Measured { lfu_decay_minutes: Some(5), ..grown() };
        assert_eq!(held(&[(POLICY, "allkeys-lfu")], slow.clone()), 90);
        let faster = [(POLICY, "allkeys-lfu"), (LFU_DECAY, "2")];
        assert_eq!(held(&faster, slow.clone()), 36, "the wanted value counts");
        assert_eq!(held(&[(POLICY, "volatile-lru")], slow), 20);
        let mut idle = grown();
        idle.ticks.iter_mut().for_each(|tick| tick.evictions = 0);
        assert_eq!(held(&[(POLICY, "allkeys-lfu")], idle), 18, "three minutes by default");
    }

    #[test]
    fn predictions_are_moved_with_the_windows_that_they_are_about() {
        let said =
            |window: i64| Predicted { start_ms: window * WIDTH, value: 0.9, standard_error: 0.01 };
        let measured = Measured { predicted: vec![said(69), said(72), said(80)], ..grown() };
        let trial = trial_for(&[], 0.82, &[measured]);
        let unit = &trial.metrics[0].units[0];
        let starts: Vec<_> = unit.counterfactual.iter().map(|said| said.start_ms / WIDTH).collect();
        assert_eq!(starts, [77, 80]);
        assert!(unit.windows.iter().any(|window| window.start_ms == 77 * WIDTH));
        assert_eq!(trial.changed_at_ms, 78 * WIDTH);
    }
}
