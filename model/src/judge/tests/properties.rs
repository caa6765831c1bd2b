//! Properties over random trials: a, b, c, e, g, h, i.

use proptest::prelude::*;

use super::random::Random;
use super::world::{Shown, World, start_ms, worlds};
use crate::judge::{
    Arm, Hold, Judgement, Margin, Role, Trial, Value, Verdict, history, judge, looks,
};

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for i in (1..items.len()).rev() {
        items.swap(i, (random.unit() * (i + 1) as f64) as usize);
    }
}

fn shift(trial: &mut Trial, by: f64, only: Option<usize>) {
    for metric in &mut trial.metrics {
        let chosen = |i: &usize| only.is_none_or(|only| only == *i);
        for (_, unit) in metric.units.iter_mut().enumerate().filter(|(i, _)| chosen(i)) {
            for window in &mut unit.windows {
                if let Value::Level { mean, .. } = &mut window.value {
                    *mean += by;
                }
            }
        }
    }
}

fn close(a: &Verdict, b: &Verdict) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-6;
    a.result == b.result
        && a.windows == b.windows
        && a.effects
            .iter()
            .zip(&b.effects)
            .all(|(a, b)| near(a.harm.low, b.harm.low) && near(a.harm.high, b.harm.high))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// (a)
    #[test]
    fn the_word_at_a_time_follows_from_what_was_told_by_the_last_look(
        world in worlds(),
        asked in 0_usize..92,
    ) {
        let trial = world.trial();
        let verdict = judge(&trial, World::until(asked));
        prop_assert_eq!(&verdict, &judge(&trial, World::until(asked)));
        let last = looks(&trial.limits).into_iter().rfind(|look| *look as usize <= asked);
        let mut known = trial.clone();
        for unit in &mut known.metrics[0].units {
            unit.windows.retain(|w| w.start_ms < start_ms(i64::from(last.unwrap_or(0))));
        }
        prop_assert_eq!(&verdict, &judge(&known, World::until(asked)));
        prop_assert_eq!(&verdict, &judge(&known, World::until(last.unwrap_or(0) as usize)));
    }

    /// (b)
    #[test]
    fn order_does_not_matter(world in worlds(), other in worlds(), seed: u64) {
        let mut trial = world.trial();
        trial.metrics.push(other.metric("another"));
        let until = World::until(90);
        let verdict = judge(&trial, until);
        let mut random = Random::new(seed);
        shuffle(&mut trial.metrics, &mut random);
        for metric in &mut trial.metrics {
            shuffle(&mut metric.units, &mut random);
            for unit in &mut metric.units {
                shuffle(&mut unit.windows, &mut random);
            }
        }
        prop_assert_eq!(verdict, judge(&trial, until));
    }

    /// (c)
    #[test]
    fn a_constant_added_to_all_or_to_one_unit_changes_nothing(
        world in worlds(),
        by in -50.0..1000.0_f64,
        only in prop::option::of(0_usize..4),
    ) {
        let mut trial = World { shown: Shown::Level, ..world }.trial();
        trial.metrics[0].margin = Margin::Absolute(100.0 * world.margin);
        let verdict = judge(&trial, World::until(90));
        shift(&mut trial, by, only);
        let shifted = judge(&trial, World::until(90));
        prop_assert!(close(&verdict, &shifted), "{verdict:?}\n{shifted:?}");
    }

    /// (e)
    #[test]
    fn a_wider_margin_turns_no_pass_into_anything_else_and_nothing_into_harm(
        world in worlds(),
        wider in 1.0..5.0_f64,
    ) {
        let narrow = judge(&world.trial(), World::until(90)).result;
        let wide = World { margin: world.margin * wider, ..world };
        let wide = judge(&wide.trial(), World::until(90)).result;
        let fine = match narrow {
            Judgement::Pass => wide == Judgement::Pass,
            Judgement::Inconclusive => wide != Judgement::Harm,
            Judgement::Harm => true,
        };
        prop_assert!(fine, "{narrow:?} became {wide:?}");
    }

    /// (g)
    #[test]
    fn more_guards_hide_no_harm(world in worlds(), guards in prop::collection::vec(worlds(), 1..4)) {
        let mut trial = World { effect: 0.2, ..world }.trial();
        let before = judge(&trial, World::until(90)).result;
        for (i, guard) in guards.iter().enumerate() {
            trial.metrics.push(World { role: Role::Guard, ..*guard }.metric(&format!("guard-{i}")));
        }
        let after = judge(&trial, World::until(90)).result;
        prop_assert!(before != Judgement::Harm || after == Judgement::Harm);
        prop_assert!(before == Judgement::Pass || after != Judgement::Pass);
    }

    /// (h)
    #[test]
    fn harm_stays_and_a_pass_becomes_harm_or_stays(world in worlds()) {
        let trial = world.trial();
        let mut last = Judgement::Inconclusive;
        for windows in looks(&trial.limits) {
            let now = judge(&trial, World::until(windows as usize)).result;
            let fine = match last {
                Judgement::Harm => now == Judgement::Harm,
                Judgement::Pass => now != Judgement::Inconclusive,
                Judgement::Inconclusive => true,
            };
            prop_assert!(fine, "{last:?} became {now:?} at {windows}");
            last = now;
        }
    }

    /// (i)
    #[test]
    fn within_a_hold_only_harm_beyond_the_wide_margin_is_found(
        world in worlds(),
        hold in 1_u32..90,
        widen in 1.0..6.0_f64,
    ) {
        let mut trial = world.trial();
        trial.hold = Some(Hold { windows: hold, widen });
        let verdict = judge(&trial, World::until(hold as usize));
        prop_assert_ne!(verdict.result, Judgement::Pass);
        let mut plain = World { margin: world.margin * widen, ..world }.trial();
        plain.limits.harm_alpha *= 0.5;
        plain.limits.max_windows = hold;
        if verdict.result == Judgement::Harm {
            prop_assert_eq!(judge(&plain, World::until(hold as usize)).result, Judgement::Harm);
        }
        for look in history(&trial, World::until(90)) {
            prop_assert_eq!(look.held, look.effects.iter().all(|e| e.gained.is_none()) && look.held);
        }
    }

    /// Mirrored numbers with the other way being worse give the mirrored verdict.
    #[test]
    fn lower_is_worse_is_higher_is_worse_upside_down(world in worlds()) {
        let world = World { shown: Shown::Level, ..world };
        let mut trial = world.trial();
        trial.metrics[0].margin = Margin::Absolute(100.0 * world.margin);
        let verdict = judge(&trial, World::until(90));
        trial.metrics[0].worse = crate::judge::Worse::Lower;
        for unit in &mut trial.metrics[0].units {
            for window in &mut unit.windows {
                if let Value::Level { mean, .. } = &mut window.value {
                    *mean = -*mean;
                }
            }
        }
        prop_assert!(close(&verdict, &judge(&trial, World::until(90))));
    }

    /// Verdicts can be written down and read back.
    #[test]
    fn a_verdict_and_its_trial_survive_json(world in worlds()) {
        let trial = world.trial();
        let verdict = judge(&trial, World::until(90));
        let text = serde_json::to_string(&(&trial, &verdict)).unwrap();
        let back: (Trial, Verdict) = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(back, (trial, verdict));
    }
}

#[test]
fn without_units_that_vary_alike_controls_cost_and_with_them_they_help() {
    let alone = World { controls: 0, noise: 0.05, correlation: 0.0, ..World::default() };
    let with = World { controls: 2, ..alone };
    let width = |world: &World| {
        let looks = history(&world.trial(), world.end());
        let harm = looks.last().unwrap().effects[0].harm;
        harm.high - harm.low
    };
    assert!(width(&with) < width(&alone));
    assert!(with.trial().metrics[0].units.iter().any(|unit| unit.arm == Arm::Control));
}
