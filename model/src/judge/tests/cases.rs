//! Known mistakes of other judges, the words of reasons, power, and what is compared with what.

use super::random::Random;
use super::world::{Shown, World, start_ms};
use crate::judge::{
    Arm, Facet, Histogram, Judgement, Limits, Margin, Predicted, Role, Trial, Value, Worse,
    history, judge, looks, power,
};

fn verdict(world: &World) -> crate::judge::Verdict {
    judge(&world.trial(), world.end())
}

fn treated_after(trial: &mut Trial, mut change: impl FnMut(i64, &mut Value)) {
    for unit in trial.metrics[0].units.iter_mut().filter(|unit| unit.arm == Arm::Treated) {
        for window in unit.windows.iter_mut().filter(|w| w.start_ms >= start_ms(0)) {
            change((window.start_ms - start_ms(0)) / 10_000, &mut window.value);
        }
    }
}

#[test]
fn harm_pass_and_doubt_are_told_apart() {
    let harm = verdict(&World { effect: 0.1, ..World::default() });
    assert_eq!(harm.result, Judgement::Harm);
    assert_eq!(
        harm.reason,
        "metric is 11.1 worse, beyond doubt more than 8.05, where 3.15 is allowed; seen 115, expected 104, in \
         12 windows of 10 s"
    );
    let pass = verdict(&World::default());
    assert_eq!(pass.result, Judgement::Pass);
    let doubt = verdict(&World { margin: 0.001, ..World::default() });
    assert_eq!(doubt.result, Judgement::Inconclusive);
    assert!(doubt.last && doubt.reason.ends_with("; the time is up"));
    let early = judge(&World::default().trial(), World::until(5));
    assert_eq!(early.reason, "not decided: the first look is after 12 windows of 10 s");
}

#[test]
fn no_difference_is_no_pass_for_a_target() {
    let same = World { role: Role::Target, ..World::default() };
    let verdict = verdict(&same);
    assert_eq!(verdict.result, Judgement::Inconclusive);
    assert!(verdict.reason.contains("no gain beyond doubt"), "{}", verdict.reason);
    let better = World { effect: -0.1, ..same };
    assert_eq!(judge(&better.trial(), better.end()).result, Judgement::Pass);
}

#[test]
fn of_several_targets_one_gain_is_enough_but_all_must_be_unharmed() {
    let target = World { role: Role::Target, ..World::default() };
    let mut trial = World { effect: -0.2, ..target }.trial();
    trial.metrics.push(World { seed: 9, ..target }.metric("same"));
    assert_eq!(judge(&trial, World::until(90)).result, Judgement::Pass);
    trial.metrics.push(World { seed: 10, effect: 0.2, ..target }.metric("harmed"));
    let verdict = judge(&trial, World::until(90));
    assert_eq!((verdict.result, verdict.metric.as_str()), (Judgement::Harm, "harmed"));
}

#[test]
fn more_targets_make_each_claim_harder() {
    // A gain just large enough for one target, at the look where it is first claimed.
    let target = World { role: Role::Target, effect: -0.02, ..World::default() };
    let first = |extra: usize| {
        let mut trial = target.trial();
        for i in 0..extra {
            trial.metrics.push(World { effect: 0.0, ..target }.metric(&format!("same-{i}")));
        }
        history(&trial, World::until(90)).iter().position(|look| {
            look.effects.iter().any(|e| e.metric == "metric" && e.gained == Some(true))
        })
    };
    assert!(first(0).is_some());
    assert!(first(40).is_none_or(|look| Some(look) > first(0)));
}

/// kayenta#780: only a shift is tested, so a variance that blows up passes.
#[test]
fn a_spread_that_blows_up_does_not_pass() {
    let world = World { treated: 1, controls: 1, margin: 0.1, ..World::default() };
    let mut trial = world.trial();
    let mut random = Random::new(3);
    treated_after(&mut trial, |_, value| {
        *value = Value::Level { mean: 100.0 + 20.0 * random.normal(), count: 10 };
    });
    trial.metrics[0].spread = Some(2.0);
    let verdict = judge(&trial, World::until(90));
    assert_eq!(verdict.result, Judgement::Harm);
    assert!(verdict.reason.contains("(spread)"), "{}", verdict.reason);
    trial = world.trial();
    trial.metrics[0].spread = Some(2.0);
    assert_eq!(judge(&trial, World::until(90)).result, Judgement::Pass);
}

/// spinnaker#6278: seven of ten samples a hundred times worse pass.
#[test]
fn seven_of_ten_windows_a_hundred_times_worse_are_harm() {
    for shown in [Shown::Level, Shown::Count] {
        let mut trial = World { shown, ..World::default() }.trial();
        treated_after(&mut trial, |slot, value| match value {
            Value::Level { mean, .. } if slot % 10 < 7 => *mean *= 100.0,
            Value::Count { events, .. } if slot % 10 < 7 => *events *= 100,
            _ => {}
        });
        assert_eq!(judge(&trial, World::until(90)).result, Judgement::Harm, "{shown:?}");
    }
}

/// kayenta#426: errors that are nearly always zero pass whatever they do.
#[test]
fn errors_that_were_nearly_always_zero_are_seen() {
    let mut trial =
        World { shown: Shown::Count, treated: 1, controls: 1, ..World::default() }.trial();
    trial.metrics[0].margin = Margin::Absolute(2e-5);
    let mut random = Random::new(4);
    let mut sparse =
        |often: f64| Value::Count { events: u64::from(random.unit() < often), exposure: 10_000.0 };
    for unit in &mut trial.metrics[0].units {
        unit.windows.iter_mut().for_each(|window| window.value = sparse(0.02));
    }
    assert_eq!(judge(&trial, World::until(90)).result, Judgement::Pass);
    treated_after(&mut trial, |_, value| *value = sparse(0.7));
    assert_eq!(judge(&trial, World::until(90)).result, Judgement::Harm);
}

#[test]
fn a_tail_alone_is_seen_in_latencies() {
    let world = World { shown: Shown::Latency, noise: 0.01, margin: 0.2, ..World::default() };
    let mut trial = world.trial();
    treated_after(&mut trial, |_, value| {
        if let Value::Latency(histogram) = value {
            histogram.add(20_000, 12);
        }
    });
    let verdict = judge(&trial, World::until(90));
    assert_eq!(verdict.result, Judgement::Harm);
    let harmed: Vec<Facet> = verdict
        .effects
        .iter()
        .filter(|effect| effect.result == Judgement::Harm)
        .map(|effect| effect.facet)
        .collect();
    assert_eq!(harmed, [Facet::P99]);
    assert!(verdict.reason.starts_with("metric (p99) is "), "{}", verdict.reason);
}

#[test]
fn few_requests_are_put_together_until_a_percentile_means_something() {
    let world = World { shown: Shown::Latency, noise: 0.01, margin: 0.2, ..World::default() };
    let looks = history(&world.trial(), world.end());
    let windows = |facet| {
        let effects = &looks.last().unwrap().effects;
        effects.iter().find(|effect| effect.facet == facet).unwrap().windows
    };
    // 252 requests a window: 500 are needed for the 99th percentile.
    assert_eq!((windows(Facet::P50), windows(Facet::P99)), (90, 90));
    let mut empty = world.trial();
    treated_after(&mut empty, |_, value| *value = Value::Latency(Histogram::new()));
    assert_eq!(judge(&empty, world.end()).result, Judgement::Inconclusive);
}

#[test]
fn what_happens_to_all_is_not_the_changes_doing() {
    let world = World { effect: 0.0, ..World::default() };
    let mut trial = world.trial();
    for unit in &mut trial.metrics[0].units {
        for window in unit.windows.iter_mut().filter(|w| w.start_ms >= start_ms(0)) {
            if let Value::Level { mean, .. } = &mut window.value {
                *mean += 50.0;
            }
        }
    }
    assert_eq!(judge(&trial, world.end()).result, Judgement::Pass);
    trial.metrics[0].units.retain(|unit| unit.arm == Arm::Treated);
    assert_eq!(judge(&trial, world.end()).result, Judgement::Harm);
}

#[test]
fn a_unit_that_leaves_moves_nothing_by_being_different() {
    // unit-0 is 10 % below unit-1: without it the plain mean would rise.
    let world = World { treated: 2, ..World::default() };
    let mut trial = world.trial();
    let harm = |trial: &Trial| history(trial, world.end()).last().unwrap().effects[0].harm.value;
    let before = harm(&trial);
    let unit = &mut trial.metrics[0].units[0];
    unit.windows.retain(|window| window.start_ms < start_ms(60));
    assert!((harm(&trial) - before).abs() < 0.5);
    assert_eq!(judge(&trial, world.end()).result, Judgement::Pass, "the early looks had it");
    let late = history(&trial, world.end());
    let obstacle = late.last().unwrap().effects[0].obstacle.clone().unwrap();
    assert_eq!(obstacle, "unit-0 misses 30 of 90 windows after the change");
}

#[test]
fn a_drift_of_the_past_is_not_taken_for_harm_when_nothing_else_tells() {
    let world = World { treated: 1, controls: 0, noise: 0.002, margin: 0.02, ..World::default() };
    let mut trial = world.trial();
    let drift = |trial: &mut Trial| {
        for window in &mut trial.metrics[0].units[0].windows {
            if let Value::Level { mean, .. } = &mut window.value {
                *mean += (window.start_ms - start_ms(0)) as f64 / 10_000.0 * 0.05;
            }
        }
    };
    drift(&mut trial);
    assert_eq!(judge(&trial, world.end()).result, Judgement::Inconclusive);
    let mut harmed = World { effect: 0.2, ..world }.trial();
    drift(&mut harmed);
    assert_eq!(judge(&harmed, world.end()).result, Judgement::Harm);
}

#[test]
fn a_prediction_stands_for_the_control() {
    let world = World { treated: 1, controls: 0, noise: 0.002, margin: 0.02, ..World::default() };
    let mut trial = world.trial();
    // Traffic changes at the same time: 20 more, as the estimator says of the old setting.
    treated_after(&mut trial, |_, value| {
        if let Value::Level { mean, .. } = value {
            *mean += 20.0;
        }
    });
    assert_eq!(judge(&trial, world.end()).result, Judgement::Harm);
    let says = |slots: std::ops::Range<i64>, off: f64, standard_error: f64| {
        let value = |slot| 100.0 + off + if slot < 0 { 0.0 } else { 20.0 };
        slots
            .map(|slot| Predicted { start_ms: start_ms(slot), value: value(slot), standard_error })
            .collect::<Vec<_>>()
    };
    let mut with = |counterfactual| {
        trial.metrics[0].units[0].counterfactual = counterfactual;
        judge(&trial, world.end()).result
    };
    assert_eq!(with(says(0..90, 0.0, 0.1)), Judgement::Pass);
    // One that is not sure of itself lets nothing pass.
    assert_eq!(with(says(0..90, 0.0, 5.0)), Judgement::Inconclusive);
    // One that was off before the change is corrected by that, and believed if it was not asked then.
    assert_eq!(with(says(-120..90, -10.0, 0.1)), Judgement::Pass);
    assert_eq!(with(says(0..90, -10.0, 0.1)), Judgement::Harm);
}

fn said(slots: std::ops::Range<i64>, value: impl FnMut(i64) -> f64) -> Vec<Predicted> {
    let mut value = value;
    let of = |slot| Predicted { start_ms: start_ms(slot), value: value(slot), standard_error: 0.1 };
    slots.map(of).collect()
}

#[test]
fn a_late_prediction_hides_no_early_harm() {
    let world = World { treated: 1, controls: 0, noise: 0.002, effect: 0.1, ..World::default() };
    let mut trial = world.trial();
    let early = judge(&trial, World::until(12));
    assert_eq!(early.result, Judgement::Harm);
    trial.metrics[0].units[0].counterfactual = said(10..90, |_| 100.0);
    assert_eq!(judge(&trial, World::until(12)), early);
}

#[test]
fn predictions_of_one_unit_are_not_mixed_with_the_past_of_another() {
    let world = World { treated: 2, controls: 0, noise: 0.002, ..World::default() };
    let mut trial = world.trial();
    let none = judge(&trial, world.end());
    trial.metrics[0].units[0].counterfactual = said(0..90, |_| 50.0);
    assert_eq!(judge(&trial, world.end()), none);
    trial.metrics[0].units[1].counterfactual = said(0..90, |_| 50.0);
    assert_eq!(judge(&trial, world.end()).result, Judgement::Harm);
}

#[test]
fn how_surely_it_is_known_by_how_much_an_estimator_is_off_counts() {
    let world = World { treated: 1, controls: 0, noise: 0.002, ..World::default() };
    let mut trial = world.trial();
    let mut harm = |uneven: f64| {
        let mut random = Random::new(3);
        trial.metrics[0].units[0].counterfactual =
            said(-120..90, |slot| 90.0 + if slot < 0 { uneven * random.normal() } else { 0.0 });
        first_effect(&trial).harm
    };
    let (even, uneven) = (harm(0.0), harm(2.0));
    // Ten off, and so corrected: what is left is noise.
    assert!(even.value.abs() < 0.5 && uneven.value.abs() < 1.0, "{even:?} {uneven:?}");
    assert!(uneven.high - uneven.low > 2.0 * (even.high - even.low), "{even:?} {uneven:?}");
}

#[test]
fn a_hit_ratio_falls_where_a_miss_ratio_rises() {
    let world = World { shown: Shown::Ratio, effect: -0.1, ..World::default() };
    let mut trial = world.trial();
    trial.metrics[0].worse = Worse::Lower;
    let verdict = judge(&trial, world.end());
    assert_eq!(verdict.result, Judgement::Harm);
    let (expected, observed) = (verdict.expected.unwrap(), verdict.observed.unwrap());
    assert!(observed.high < expected.low, "{observed:?} {expected:?}");
    assert!((expected.value - observed.value - 0.04).abs() < 0.01);
    assert_eq!(verdict.samples / 100_000, 2 * u64::from(verdict.windows));
}

#[test]
fn looks_grow_by_a_third_up_to_the_end() {
    let limits = Limits { max_windows: 90, ..Limits::default() };
    assert_eq!(looks(&limits), [12, 16, 21, 28, 37, 49, 64, 84, 90]);
    let short = Limits { max_windows: 5, ..limits };
    assert_eq!(looks(&short), [5]);
    let endless = Limits { max_windows: u32::MAX, ..limits };
    assert!(looks(&endless).len() < 100);
}

fn first_effect(trial: &Trial) -> crate::judge::Effect {
    history(trial, World::until(90))[0].effects[0].clone()
}

#[test]
fn looks_share_the_error_and_so_do_the_sides_of_a_metric() {
    let mut trial = World::default().trial();
    let many = first_effect(&trial);
    trial.limits.max_windows = 12;
    let one = first_effect(&trial);
    assert!(one.harm.high < many.harm.high && one.harm_at_least > many.harm_at_least);
    trial.metrics[0].spread = Some(2.0);
    let two_sides = first_effect(&trial);
    assert!(two_sides.harm_at_least < one.harm_at_least);
    assert_eq!(two_sides.harm, one.harm, "not worse is said at full strength of each");
}

#[test]
fn what_makes_things_unsteady_is_judged_by_its_own_noise() {
    let mut trial = World { treated: 1, controls: 1, ..World::default() }.trial();
    let width = |trial: &Trial| {
        let harm = history(trial, World::until(90)).last().unwrap().effects[0].harm;
        harm.high - harm.low
    };
    let steady = width(&trial);
    let mut random = Random::new(8);
    treated_after(&mut trial, |_, value| {
        if let Value::Level { mean, .. } = value {
            *mean += 20.0 * random.normal();
        }
    });
    // Deviations of 20 against 2, most windows being from before: three times as wide at least.
    assert!(width(&trial) > 6.0 * steady, "{} {steady}", width(&trial));
}

#[test]
fn a_stretch_as_bad_as_the_past_had_is_no_harm() {
    let world = World { treated: 1, controls: 0, noise: 0.01, margin: 0.01, ..World::default() };
    let mut trial = World { after: 12, ..world }.trial();
    let burst = |trial: &mut Trial, from: i64| {
        for window in &mut trial.metrics[0].units[0].windows {
            if let Value::Level { mean, .. } = &mut window.value
                && (start_ms(from)..start_ms(from + 12)).contains(&window.start_ms)
            {
                *mean += 12.0;
            }
        }
    };
    burst(&mut trial, 0);
    assert_eq!(judge(&trial, World::until(12)).result, Judgement::Harm);
    burst(&mut trial, -60);
    assert_eq!(judge(&trial, World::until(12)).result, Judgement::Inconclusive);
}

#[test]
fn power_refuses_what_cannot_be_seen() {
    let easy = World { after: 0, ..World::default() };
    let seen = power(&easy.trial());
    assert!(seen.possible, "{}", seen.reason);
    let metric = &seen.metrics[0];
    assert!(metric.windows_needed.is_some_and(|n| n <= 90));
    assert!(metric.smallest_harm > metric.margin);
    let hard = World { margin: 0.002, ..easy };
    let seen = power(&hard.trial());
    assert!(!seen.possible);
    assert!(seen.reason.contains("cannot be seen in its noise however long"), "{}", seen.reason);
    assert_eq!(seen.metrics[0].windows_needed, None);
    // A margin that a longer rollout would see.
    let long = World { margin: 0.005, before: 800, correlation: 0.0, ..easy };
    let seen = power(&long.trial());
    assert!(!seen.possible && seen.reason.contains("h are allowed"), "{}", seen.reason);
    assert!(seen.metrics[0].hours_needed.is_some_and(|hours| hours > 0.25));
    let none = World { before: 0, ..easy };
    assert!(power(&none.trial()).reason.contains("0 windows before the change"));
}

#[test]
fn power_keeps_its_promise() {
    // The smallest harm that it names is found, and the margin is seen, in at least four of five.
    let world = World { noise: 0.03, ..World::default() };
    let (mut found, mut passed) = (0, (0, 0));
    for seed in 0..40 {
        let world = World { seed, ..world };
        let seen = power(&World { after: 0, ..world }.trial());
        let metric = &seen.metrics[0];
        let effect = metric.smallest_harm / 100.0;
        let harmed = World { effect, ..world };
        found += u32::from(judge(&harmed.trial(), world.end()).result == Judgement::Harm);
        if seen.possible {
            passed.0 += u32::from(judge(&world.trial(), world.end()).result == Judgement::Pass);
            passed.1 += 1;
        }
    }
    assert!(found >= 32, "{found} of 40 found");
    assert!(passed.1 >= 10 && passed.0 * 5 >= passed.1 * 4, "{passed:?} passed");
}
