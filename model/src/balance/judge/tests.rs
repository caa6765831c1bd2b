//! Trials of simulated balancers: what is found, what is not, and how often wrongly.

use proptest::prelude::*;

use super::*;
use crate::judge::{
    Arm, Expected, Limits, Margin, Metric, Predicted, Role, Unit, Value, Window, Worse,
};

mod rates;

const CHANGED_AT_MS: i64 = 1_000_000_000;
const WIDTH_MS: u32 = 5_000;

/// Numbers that look random, from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        let (a, b) = (self.uniform().max(1e-300), self.uniform());
        (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
    }

    /// Of `n` that each happen with probability `p`: Poisson's law, by its normal limit where many do.
    fn events(&mut self, n: u64, p: f64) -> u64 {
        let mean = n as f64 * p;
        if mean > 50.0 {
            return (mean + mean.sqrt() * self.normal()).round().clamp(0.0, n as f64) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.uniform(), 0);
        while product > limit {
            product *= self.uniform();
            count += 1;
        }
        count.min(n)
    }
}

/// What befalls all balancers at once.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Swing {
    Flat,
    /// Up and down, with an amplitude of the logarithm of latency, in 300 s.
    Wave(f64),
    /// To another level, at some time of the trial.
    Step(f64),
}

/// Changed balancers beside others, in windows of five seconds.
#[derive(Debug, Clone, Copy)]
struct World {
    treated: usize,
    controls: usize,
    before: usize,
    after: usize,
    /// Requests of a balancer in a window.
    requests: u64,
    /// Deviation of the logarithm of a window's latency; half of its variance is common to all balancers.
    noise: f64,
    /// Correlation of a window with the next.
    correlation: f64,
    /// What the change makes of latency; 1: nothing.
    slower: f64,
    /// Share that fails.
    fails: f64,
    /// So many times as many at the canary since the change.
    more_fail: f64,
    /// How unlike balancers are before the change.
    unlike: f64,
    swing: Swing,
    /// Whether a model says what would be, a tenth too low, and knows the swing.
    predicts: bool,
    seed: u64,
}

impl Default for World {
    fn default() -> Self {
        Self {
            treated: 1,
            controls: 7,
            before: 75,
            after: 60,
            requests: 600,
            noise: 0.1,
            correlation: 0.4,
            slower: 1.0,
            fails: 0.005,
            more_fail: 1.0,
            unlike: 0.1,
            swing: Swing::Flat,
            predicts: false,
            seed: 1,
        }
    }
}

/// What a balancer had in each window: latency, p99, count.
type Course = Vec<(f64, f64, Count)>;

impl World {
    fn courses(&self) -> Vec<Course> {
        let mut random = Random(self.seed.wrapping_mul(0x2545_F491_4F6C_DD1D));
        let all = self.before + self.after;
        let series = |random: &mut Random| -> Vec<f64> {
            let (r, mut x) = (self.correlation, random.normal());
            let one = |_| {
                x = r * x + (1.0 - r * r).sqrt() * random.normal();
                x
            };
            (0..all).map(one).collect()
        };
        let common = series(&mut random);
        let swing = self.swings();
        let units = 0..self.treated + self.controls;
        units
            .map(|unit| {
                let own = series(&mut random);
                let level = 20.0 * (self.unlike * random.normal()).exp();
                let window = |t: usize| {
                    let is_changed = unit < self.treated && t >= self.before;
                    let noise = self.noise * 0.5_f64.sqrt() * (common[t] + own[t]);
                    let slower = if is_changed { self.slower } else { 1.0 };
                    let more = if is_changed { self.more_fail } else { 1.0 };
                    let latency = level * slower * (noise + swing[t]).exp();
                    let p99 = 5.0 * latency * (0.15 * random.normal()).exp();
                    // A load that swings has more requests where they are slower.
                    let requests = (self.requests as f64 * (2.0 * swing[t]).exp()) as u64;
                    let errors = random.events(requests, (self.fails * more).min(1.0));
                    (latency, p99, Count { requests, errors })
                };
                (0..all).map(window).collect()
            })
            .collect()
    }

    /// Of the logarithm of latency, in each window.
    fn swings(&self) -> Vec<f64> {
        let mut random = Random(self.seed ^ 0xA5A5);
        let all = self.before + self.after;
        let (phase, at) = (random.uniform(), (random.uniform() * all as f64) as usize);
        let one = |t: usize| match self.swing {
            Swing::Wave(size) => size * (std::f64::consts::TAU * (t as f64 / 60.0 + phase)).sin(),
            Swing::Step(size) if t >= at => size,
            Swing::Flat | Swing::Step(_) => 0.0,
        };
        (0..all).map(one).collect()
    }

    /// What a model says of each window.
    fn predicted(&self) -> Vec<Predicted> {
        let start_ms =
            |t: usize| CHANGED_AT_MS + (t as i64 - self.before as i64) * i64::from(WIDTH_MS);
        let said = |(t, swing): (usize, f64)| {
            let value = 18.0 * swing.exp();
            Predicted { start_ms: start_ms(t), value, standard_error: 0.02 * value }
        };
        if self.predicts {
            self.swings().into_iter().enumerate().map(said).collect()
        } else {
            vec![]
        }
    }

    fn trial(&self, courses: &[Course]) -> Trial {
        let arm = |unit| if unit < self.treated { Arm::Treated } else { Arm::Control };
        let unit = |(at, course): (usize, &Course), value: &dyn Fn(&(f64, f64, Count)) -> Value| {
            let windows = course.iter().enumerate().map(|(t, one)| Window {
                start_ms: CHANGED_AT_MS + (t as i64 - self.before as i64) * i64::from(WIDTH_MS),
                width_ms: WIDTH_MS,
                value: value(one),
            });
            Unit {
                name: format!("lb-{at}"),
                arm: arm(at),
                windows: windows.collect(),
                counterfactual: Vec::new(),
                expected: Expected::AsBefore,
            }
        };
        let metric = |name: &str, margin, value: &dyn Fn(&(f64, f64, Count)) -> Value| Metric {
            name: name.to_owned(),
            role: Role::Guard,
            worse: Worse::Higher,
            margin,
            spread: None,
            units: courses.iter().enumerate().map(|one| unit(one, value)).collect(),
        };
        let level = |one: &(f64, f64, Count)| Value::Level { mean: one.0, count: one.2.requests };
        let ratio =
            |one: &(f64, f64, Count)| Value::Ratio { requests: one.2.requests, hits: one.2.errors };
        Trial {
            changed_at_ms: CHANGED_AT_MS,
            window_ms: WIDTH_MS,
            hold: None,
            limits: Limits { max_windows: self.after as u32, ..Limits::default() },
            metrics: vec![
                self.foretold(metric(LATENCY, Margin::Relative(0.1), &level)),
                metric(ERROR_RATIO, Margin::Absolute(0.005), &ratio),
            ],
        }
    }

    fn foretold(&self, mut metric: Metric) -> Metric {
        metric.units.iter_mut().for_each(|unit| unit.counterfactual = self.predicted());
        metric
    }

    fn failures(&self, courses: &[Course]) -> Failures {
        let (one, others) = courses.split_at(self.treated);
        let counts = |courses: &[Course], windows| {
            spans(courses, windows).into_iter().map(|span| span.count).collect()
        };
        let (before, after) = (0..self.before, self.before..self.before + self.after);
        let has = |of: Vec<Count>| if others.is_empty() { Vec::new() } else { of };
        Failures {
            treated_before: counts(one, before.clone()),
            treated_after: counts(one, after.clone()),
            control_before: has(counts(others, before)),
            control_after: has(counts(others, after)),
        }
    }

    /// The judge's last word, and the first stop of any window on the way.
    fn word(&self) -> (Judgement, Option<Stop>) {
        let courses = self.courses();
        let until_ms = CHANGED_AT_MS + (self.after as i64 + 1) * i64::from(WIDTH_MS);
        let said = verdict(&self.trial(&courses), &self.failures(&courses), until_ms);
        let (one, others) = courses.split_at(self.treated);
        let sides = [one, others].map(|of| spans(of, 0..self.before + self.after));
        let mut stops = (1..=self.after).filter_map(|windows| {
            let of = |side: usize, range: std::ops::Range<usize>| {
                let has = side == 0 || !others.is_empty();
                if has { sides[side][range].to_vec() } else { Vec::new() }
            };
            let (before, after) = (0..self.before, self.before..self.before + windows);
            let facts = Facts {
                treated_before: of(0, before.clone()),
                treated_after: of(0, after.clone()),
                control_before: of(1, before),
                control_after: of(1, after),
                ..Facts::default()
            };
            stop(&facts, &StopLimits::default())
        });
        (said.result, stops.next())
    }

    /// Of so many seeds how many end in harm or a stop, and how many pass.
    fn rates(&self, seeds: u64) -> (f64, f64) {
        let (mut bad, mut good) = (0, 0);
        for seed in 1..=seeds {
            let (word, stopped) = Self { seed, ..*self }.word();
            bad += usize::from(word == Judgement::Harm || stopped.is_some());
            good += usize::from(word == Judgement::Pass && stopped.is_none());
        }
        (bad as f64 / seeds as f64, good as f64 / seeds as f64)
    }
}

fn spans(courses: &[Course], windows: std::ops::Range<usize>) -> Vec<Span> {
    let one = |t: usize| {
        let span = Span { start_ms: t as i64 * i64::from(WIDTH_MS), ..Span::default() };
        courses.iter().fold(span, |mut span, course| {
            span.count = Count::sum(&[span.count, course[t].2]);
            span.p99_ms = span.p99_ms.into_iter().chain([course[t].1]).reduce(f64::max);
            span
        })
    };
    windows.map(one).collect()
}

#[test]
fn where_nothing_has_changed_there_is_hardly_ever_harm() {
    for world in [
        World::default(),
        World { noise: 0.2, ..World::default() },
        World { controls: 1, ..World::default() },
        World { controls: 0, ..World::default() },
        World { fails: 0.0001, requests: 3_000, ..World::default() },
        World { fails: 0.03, ..World::default() },
    ] {
        let (harm, pass) = world.rates(120);
        eprintln!("nothing changed: harm {harm:.4}, pass {pass:.3} of {world:?}");
        assert!(harm <= 0.01, "{harm} of {world:?}");
    }
}

#[test]
fn a_fifth_more_latency_is_found_and_what_is_good_passes() {
    for (noise, controls, after, least) in
        [(0.05, 1, 60, 0.95), (0.05, 7, 60, 0.95), (0.1, 7, 60, 0.7), (0.1, 1, 180, 0.7)]
    {
        let world = World { controls, slower: 1.2, noise, after, ..World::default() };
        let (harm, pass) = world.rates(100);
        eprintln!("20 % slower: harm {harm:.3}, pass {pass:.3} of {world:?}");
        assert!(harm >= least && pass <= 0.01, "{harm} and {pass} of {world:?}");
    }
    let (_, pass) = World::default().rates(100);
    assert!(pass >= 0.5, "{pass} of those that changed nothing pass");
}

#[test]
fn twice_the_failures_are_found() {
    for (fails, requests) in [(0.01, 600), (0.002, 3_000)] {
        let world = World { fails, requests, more_fail: 2.0, ..World::default() };
        let (harm, _) = world.rates(100);
        eprintln!("twice the failures of {fails}: harm {harm:.3}");
        assert!(harm >= 0.9, "{harm} of {world:?}");
    }
}

#[test]
fn failures_that_come_in_bursts_are_no_harm() {
    // Every tenth window has a tenth of its requests fail, on both sides alike.
    let counts = |from: usize, windows: usize| -> Vec<Count> {
        let errors = |t: usize| if t.is_multiple_of(10) { 60 } else { 0 };
        (from..from + windows).map(|t| Count { requests: 600, errors: errors(t) }).collect()
    };
    let failures = Failures {
        treated_before: counts(0, 75),
        treated_after: counts(0, 3),
        control_before: counts(3, 75),
        control_after: counts(3, 3),
    };
    assert_eq!(failures.harm(), None, "one burst is chance");
}

#[test]
fn what_is_grave_stops_at_once() {
    let limits = StopLimits::default();
    let facts = Facts::default();
    assert_eq!(stop(&facts, &limits), None);
    let gone = Facts { gone_ms: 15_000, ..facts.clone() };
    assert_eq!(stop(&gone, &limits), Some(Stop::Gone { ms: 15_000 }));
    let other = Some(("weight:app/a".to_owned(), "10".to_owned(), "20".to_owned()));
    let drifted = Facts { mismatch: other, ..facts.clone() };
    assert!(stop(&drifted, &limits).unwrap().to_string().contains("is 20 where 10 was set"));
    let span = |requests, errors, queued: &[&str]| Span {
        count: Count { requests, errors },
        queued: queued.iter().map(|&one| one.to_owned()).collect(),
        ..Span::default()
    };
    let burst = |errors| Facts {
        treated_after: vec![span(500, errors, &[])],
        control_after: vec![span(5_000, 50, &[])],
        ..facts.clone()
    };
    assert_eq!(stop(&burst(9), &limits), None);
    assert!(matches!(stop(&burst(25), &limits), Some(Stop::Failures { .. })));
    let queue = |windows: &[&[&str]]| Facts {
        treated_before: vec![span(500, 0, &[]); 40],
        treated_after: windows.iter().map(|queued| span(500, 0, queued)).collect(),
        more: ["a".to_owned()].into(),
        ..facts.clone()
    };
    assert_eq!(stop(&queue(&[&["a"], &[]]), &limits), None, "not any more");
    assert_eq!(stop(&queue(&[&["b"], &["b"]]), &limits), None, "it gets less");
    assert_eq!(
        stop(&queue(&[&["a"], &["a", "b"]]), &limits),
        Some(Stop::Queue { backend: "a".to_owned() })
    );
    let mut usual = queue(&[&["a"], &["a"]]);
    usual.treated_before = vec![span(500, 0, &["a"]); 40];
    assert_eq!(stop(&usual, &limits), None, "requests waited there before");
}

#[test]
fn a_p99_that_is_three_times_that_of_others_stops() {
    let slow = World { slower: 3.0, noise: 0.05, ..World::default() };
    let stops =
        (1..=20).filter(|&seed| matches!(World { seed, ..slow }.word().1, Some(Stop::Slow { .. })));
    assert_eq!(stops.count(), 20);
}

#[test]
fn a_p99_is_compared_in_the_same_windows() {
    let span = |(start_ms, p99_ms)| Span {
        start_ms,
        count: Count { requests: 1_000, errors: 0 },
        p99_ms: Some(p99_ms),
        ..Span::default()
    };
    let spans = |all: &[(i64, f64)]| all.iter().copied().map(span).collect::<Vec<_>>();
    let before: Vec<(i64, f64)> = (0..40).map(|at| (at, 100.0)).collect();
    let facts = |treated: &[(i64, f64)], control: &[(i64, f64)]| Facts {
        treated_before: spans(&before),
        control_before: spans(&before),
        treated_after: spans(treated),
        control_after: spans(control),
        ..Facts::default()
    };
    let stopped = |facts: &Facts| stop(facts, &StopLimits::default());
    // Both become slower and slower, and of one the newest window is not there yet.
    let both = [(50, 100.0), (51, 200.0), (52, 400.0)];
    assert_eq!(stopped(&facts(&both, &both[..2])), None);
    assert_eq!(stopped(&facts(&both, &both)), None);
    // What is slow is seen though windows are missing elsewhere.
    let slow = [(50, 400.0), (51, 400.0), (52, 400.0)];
    let found = stopped(&facts(&slow, &[(51, 100.0), (52, 110.0), (53, 900.0)]));
    let Some(Stop::Slow { p99_ms, expected_ms }) = found else { panic!("{found:?}") };
    assert!(p99_ms > 399.0 && (expected_ms - 110.0).abs() < 1.0, "{p99_ms} {expected_ms}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn the_order_of_balancers_does_not_matter(seed in 1_u64..1_000, slower in 0.9..1.3_f64) {
        let world = World { seed, slower, after: 24, ..World::default() };
        let courses = world.courses();
        let (mut trial, failures) = (world.trial(&courses), world.failures(&courses));
        let until_ms = CHANGED_AT_MS + 200_000;
        let first = verdict(&trial, &failures, until_ms);
        for metric in &mut trial.metrics {
            metric.units.reverse();
        }
        trial.metrics.reverse();
        prop_assert_eq!(first, verdict(&trial, &failures, until_ms));
    }

    #[test]
    fn more_failures_never_take_a_stop_away_and_any_count_is_borne(
        treated in any::<(u64, u64)>(), control in any::<(u64, u64)>(), more in any::<u64>(),
    ) {
        let span = |(requests, errors)| Span { count: Count { requests, errors }, ..Span::default() };
        let facts = |errors: u64| Facts {
            treated_after: vec![span((treated.0, errors))],
            control_after: vec![span(control)],
            ..Facts::default()
        };
        let limits = StopLimits::default();
        let worse = treated.1.saturating_add(more);
        if stop(&facts(treated.1), &limits).is_some() {
            prop_assert!(stop(&facts(worse), &limits).is_some());
        }
        let failures = Failures {
            treated_after: vec![Count { requests: treated.0, errors: treated.1 }],
            control_after: vec![Count { requests: control.0, errors: control.1 }],
            ..Failures::default()
        };
        if let Some(excess) = failures.harm() {
            prop_assert!(excess.ratio.is_finite() && excess.error.is_finite());
        }
    }
}
