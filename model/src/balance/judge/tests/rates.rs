//! Error rates. With few trials here, and with a thousand a case for the table of docs/judge.md:
//!
//! ```text
//! FLYBALL_JUDGE_TRIALS=1000 cargo test --release -p flyball-model --lib balance::judge::tests::rates -- --nocapture
//! ```
//!
//! The validation is the longest one by default, ten minutes of windows of 5 s, and the past the least that
//! a rollout waits for. A trial ends in harm when the verdict or a stop says so after any window.

use super::*;

const TRIALS: u64 = 12;
/// Largest share of trials with nothing changed that may end in harm; of few one may.
const MOST_FALSE: f64 = 0.015;
/// Least share of trials with harm in which it is found.
const LEAST_FOUND: f64 = 0.75;

/// Of each case.
fn trials() -> u64 {
    let told = std::env::var("FLYBALL_JUDGE_TRIALS").ok();
    told.and_then(|trials| trials.parse().ok()).unwrap_or(TRIALS)
}

fn usual() -> World {
    World { before: 77, after: 117, correlation: 0.0, ..World::default() }
}

impl World {
    /// The last word, with failures looked at as they come.
    fn rolled_back(&self) -> (bool, bool) {
        let (word, stopped) = self.word();
        let courses = self.courses();
        let all = self.failures(&courses);
        let early = (1..=self.after).any(|windows| {
            let cut = |counts: &[Count]| counts[..windows.min(counts.len())].to_vec();
            let known = Failures {
                treated_after: cut(&all.treated_after),
                control_after: cut(&all.control_after),
                ..all.clone()
            };
            known.harm().is_some()
        });
        let harm = word == Judgement::Harm || stopped.is_some() || early;
        (harm, word == Judgement::Pass && !harm)
    }

    /// How many of so many trials end in harm, and how many pass.
    fn counted(&self, trials: u64) -> (u64, u64) {
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let part = |thread: u64| {
            let seeds = (0..trials).filter(|seed| seed % threads == thread);
            seeds.fold((0, 0), |(bad, good), seed| {
                let (harm, pass) = Self { seed: 1_000 + seed, ..*self }.rolled_back();
                (bad + u64::from(harm), good + u64::from(pass))
            })
        };
        std::thread::scope(|scope| {
            let all: Vec<_> =
                (0..threads).map(|thread| scope.spawn(move || part(thread))).collect();
            let ended = all.into_iter().map(|thread| thread.join().unwrap());
            ended.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
        })
    }
}

/// Exact limits of a share with 95 % (Clopper, Pearson 1934).
fn limits(of: u64, all: u64) -> (f64, f64) {
    // Probability of so many or fewer.
    let most = |of: u64, p: f64| {
        let n = all as f64;
        let mut logarithm = n * (-p).ln_1p();
        let mut sum = logarithm.exp();
        for k in 1..=of {
            let k = k as f64;
            logarithm += ((n - k + 1.0) / k).ln() + p.ln() - (-p).ln_1p();
            sum += logarithm.exp();
        }
        sum
    };
    let solve = |is_above: &dyn Fn(f64) -> bool| {
        let (mut low, mut high) = (1e-12, 1.0 - 1e-12);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if is_above(middle) { high = middle } else { low = middle }
        }
        f64::midpoint(low, high)
    };
    let low = if of == 0 { 0.0 } else { solve(&|p| 1.0 - most(of - 1, p) > 0.025) };
    let high = if of == all { 1.0 } else { solve(&|p| most(of, p) < 0.025) };
    (low, high)
}

fn line(what: &str, world: &World) -> f64 {
    let trials = trials();
    let (bad, good) = world.counted(trials);
    let (low, high) = limits(bad, trials);
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    let rate = bad as f64 / trials as f64;
    eprintln!(
        "| {what} | {} | {} | {bad} of {trials} | {} ({} to {}) | {:.0} |",
        world.treated,
        match (world.controls, world.predicts) {
            (0, true) => "a prediction".to_owned(),
            (0, false) => "the past".to_owned(),
            (controls, _) => controls.to_string(),
        },
        percent(rate),
        percent(low),
        percent(high),
        100.0 * good as f64 / trials as f64,
    );
    rate
}

/// Changed, not changed, predicted.
const DESIGNS: [(usize, usize, bool); 4] =
    [(1, 1, false), (1, 15, false), (8, 8, false), (1, 0, true)];

#[test]
fn where_nothing_changed_no_harm_is_found() {
    let usual = usual();
    let mut worst: f64 = 0.0;
    for (treated, controls, predicts) in DESIGNS {
        let world = World { treated, controls, predicts, ..usual };
        for (what, world) in [
            ("independent, 5 %", World { noise: 0.05, ..world }),
            ("independent, 10 %", world),
            ("independent, 20 %", World { noise: 0.2, ..world }),
            ("AR(1) 0.5, 10 %", World { correlation: 0.5, ..world }),
            ("AR(1) 0.9, 10 %", World { correlation: 0.9, ..world }),
            ("10 %, load swings by 30 %", World { swing: Swing::Wave(0.3), ..world }),
            ("10 %, load rises by 30 %", World { swing: Swing::Step(0.3), ..world }),
        ] {
            worst = worst.max(line(what, &world));
        }
    }
    assert!(worst <= MOST_FALSE.max(1.0 / trials() as f64), "{worst}");
}

#[test]
fn harm_is_found() {
    for (treated, controls, predicts) in DESIGNS {
        let world = World { treated, controls, predicts, ..usual() };
        for (what, world) in [
            ("20 % slower, 5 %", World { slower: 1.2, noise: 0.05, ..world }),
            ("20 % slower, 10 %", World { slower: 1.2, ..world }),
            ("50 % slower, 10 %", World { slower: 1.5, ..world }),
            ("0.5 % fail, then 1.5 %", World { more_fail: 3.0, ..world }),
            ("0.5 % fail, then 5.5 %", World { more_fail: 11.0, ..world }),
        ] {
            let found = line(what, &world);
            assert!(found >= LEAST_FOUND, "{what}: {found}");
        }
    }
}
