//! The judge's error rates with few runs.

use flyball_model::judge::{Judgement, judge};

use super::growth::{Course, rollout};
use super::noise::Shape;
use super::rollouts::{DESIGNS, Design, Noise, Outcome, Setting};
use super::tally::{Share, per_seed};
use super::whole::{self, CHANGES, Change};

const RUNS: u64 = 20;

fn outcomes(setting: Setting) -> Vec<Outcome> {
    per_seed(RUNS, 2, &|seed| setting.outcome(seed))
}

#[test]
fn what_changes_nothing_is_hardly_ever_rolled_back_and_intervals_hold_the_truth() {
    for design in DESIGNS {
        for noise in [
            Noise::Made(Shape::Autoregressive(0.9), 0.05),
            Noise::Made(Shape::Bursts, 0.15),
            Noise::Recorded { bursty: true },
        ] {
            let seen = outcomes(Setting { noise, design, harm: 0.0 });
            let share = |holds: &dyn Fn(&Outcome) -> bool| Share::count(&seen, holds).of;
            let what = format!("{design:?}, {noise:?}: {seen:?}");
            assert_eq!(share(&|o| o.harm_ever.is_some()), 0, "{what}");
            assert!(share(&|o| o.gain) <= 2, "{what}");
            assert!(share(&|o| o.covered) >= 16, "{what}");
        }
    }
}

#[test]
fn a_fifth_more_misses_at_medium_noise_is_found() {
    for design in DESIGNS {
        for noise in [
            Noise::Made(Shape::White, 0.05),
            Noise::Made(Shape::Bursts, 0.05),
            Noise::Recorded { bursty: false },
        ] {
            let seen = outcomes(Setting { noise, design, harm: 0.2 });
            let found = Share::count(&seen, |o| o.harm.is_some()).of;
            assert_eq!(found, RUNS, "{design:?}, {noise:?}: {seen:?}");
        }
    }
}

#[test]
fn seeds_are_all_that_rollouts_differ_by() {
    let noise = Noise::Recorded { bursty: true };
    let setting = Setting { noise, design: Design::Controls, harm: 0.1 };
    assert_eq!(setting.trial(3), setting.trial(3));
    assert_ne!(setting.trial(3), setting.trial(4));
}

#[test]
fn among_five_metrics_the_harmed_one_is_named_and_missing_data_never_pass() {
    for change in CHANGES {
        for seed in 0..2 {
            let (trial, until_ms) = whole::trial(change, seed);
            let seen = judge(&trial, until_ms);
            let is_harm = seen.result == Judgement::Harm;
            assert_eq!(is_harm, change.is_harm(), "{change:?}: {seen:?}");
            if is_harm {
                assert_eq!(Some(seen.metric.as_str()), change.metric(), "{change:?}");
            }
            let passes = seen.result == Judgement::Pass;
            assert!(!passes || change == Change::Nothing, "{change:?}: {seen:?}");
        }
    }
}

#[test]
fn growth_is_held_to_its_promise_and_a_warm_up_is_waited_for() {
    use Judgement::{Harm, Inconclusive, Pass};
    for (course, expected) in [
        (Course::Kept, Pass),
        (Course::Late, Pass),
        (Course::Slow, Pass),
        (Course::SlowNothing, Inconclusive),
        (Course::Nothing, Harm),
        (Course::Worse, Harm),
        (Course::Dip, Pass),
        (Course::Loss, Harm),
    ] {
        let seen = per_seed(RUNS, 2, &|seed| {
            let (trial, until_ms) = rollout(course, seed);
            judge(&trial, until_ms)
        });
        let others: Vec<_> = seen.iter().filter(|seen| seen.result != expected).collect();
        assert!(others.len() <= 1, "{course:?}: {others:?}");
    }
}
