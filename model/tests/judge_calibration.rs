//! The judge's error rates with few runs; `examples/judge_calibration.rs` has the full ones.

mod calibration;

use calibration::growth::{Course, growth, switch};
use calibration::noise::Shape;
use calibration::rollouts::{Design, Setting, run};
use calibration::whole::{self, CHANGES, Change};
use calibration::{share, verdicts};
use flyball_model::judge::Judgement;

const RUNS: u64 = 30;

#[test]
fn what_changes_nothing_is_hardly_ever_rolled_back_and_intervals_hold_the_truth() {
    for design in [Design::Controls, Design::Prediction, Design::Alone] {
        for shape in [Shape::White, Shape::Autoregressive(0.9), Shape::HeavyTails, Shape::Bursts] {
            let seen = run(&Setting::new(shape, 0.05, design, 0.0), RUNS, 2);
            let what = format!("{design:?}, {shape:?}: {seen:?}");
            assert!(seen.harm <= 0.025, "{what}");
            assert!(seen.false_gain <= 0.1, "{what}");
            assert!(seen.covered_always >= 0.8, "{what}");
        }
    }
}

#[test]
fn a_fifth_more_misses_at_medium_noise_is_found() {
    for design in [Design::Controls, Design::Prediction] {
        for shape in [Shape::White, Shape::Autoregressive(0.9), Shape::Bursts, Shape::Diurnal] {
            let seen = run(&Setting::new(shape, 0.05, design, 0.2), RUNS, 2);
            assert!(seen.harm >= 0.975, "{design:?}, {shape:?}: {seen:?}");
            assert!(seen.pass <= 0.0, "{design:?}, {shape:?}: {seen:?}");
        }
    }
}

#[test]
fn among_five_metrics_the_harmed_one_is_named_and_missing_data_never_pass() {
    for change in CHANGES {
        let seen = verdicts(&|seed| whole::trial(change, seed), 2, 2);
        let (harm, _) = share(&seen, Judgement::Harm);
        let (pass, _) = share(&seen, Judgement::Pass);
        if change.is_harm() {
            assert!(harm > 0.9, "{change:?}: {seen:?}");
            let metrics: Vec<_> = seen.iter().map(|v| Some(v.metric.as_str())).collect();
            assert!(
                metrics.iter().all(|metric| *metric == change.metric()),
                "{change:?}: {metrics:?}"
            );
        } else {
            assert!(harm < 0.1, "{change:?}");
        }
        assert!(pass < 0.1 || change == Change::Nothing, "{change:?}: {seen:?}");
    }
}

#[test]
fn growth_is_held_to_its_course_and_a_warm_up_is_waited_for() {
    let shares = |made: &(dyn Fn(u64) -> _ + Sync)| {
        let seen = verdicts(made, RUNS, 2);
        (share(&seen, Judgement::Harm).0, share(&seen, Judgement::Pass).0)
    };
    let (harm, pass) = shares(&|seed| growth(Course::Kept, seed));
    assert!(harm <= 0.025 && pass >= 0.9, "{harm} {pass}");
    let (harm, pass) = shares(&|seed| growth(Course::Nothing, seed));
    assert!(harm >= 0.975 && pass <= 0.0, "{harm} {pass}");
    let (harm, pass) = shares(&|seed| switch(Course::Dip, true, seed));
    assert!(harm <= 0.025 && pass >= 0.9, "{harm} {pass}");
    let (harm, pass) = shares(&|seed| switch(Course::Loss, true, seed));
    assert!(harm >= 0.9 && pass <= 0.0, "{harm} {pass}");
}
