//! The agent's overhead budget: which sampler to slow down, which to let run faster again.
//!
//! A sampler that costs `c` seconds of CPU a read and is read every `multiplier` of its periods `p` takes the share `c / (p * multiplier)` of a core.
//! Over budget, the sampler with the largest share is slowed by a factor of two: that saves most and harms fewest series. Well below, the sampler
//! whose next faster step costs least is restored by a factor of two, which undoes the steps in reverse. One step at a time, because costs are
//! measured and a step's effect must be seen before the next one. A controller on the total alone (scale all periods together) would slow the cheap
//! samplers, which are the useful ones, as much as the dear one that broke the budget.
//!
//! Properties, each a test:
//! - (a) a cheaper sampler is never slowed while a dearer one runs at its normal speed;
//! - (b) the next decision never undoes a step: restoring needs the predicted share to stay below [`RESTORE_SHARE`] of the budget;
//! - (c) fed with the usage that its own steps lead to, the decision comes to rest, and then changes nothing;
//! - (d) with constant costs, steps are undone in the reverse of the order in which they were taken;
//! - (e) at the ceiling everything is slowed to [`MAX_MULTIPLIER`] at once and the backlog is dropped;
//! - (f) NaN, zero, negative or missing measurements change nothing by themselves; no samplers, no change.

use std::cmp::Ordering;
use std::time::Duration;

/// Slowest that a sampler may become: this many of its periods between two reads. A power of two.
pub const MAX_MULTIPLIER: u32 = 64;
/// Share of the budget below which a restored sampler must keep the agent.
pub const RESTORE_SHARE: f64 = 0.8;

/// What the agent may use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// CPU seconds a second, so share of one core.
    pub cpu_share: f64,
    /// Resident memory above which samplers are slowed.
    pub memory_bytes: u64,
    /// Resident memory above which everything is slowed and the backlog dropped.
    pub ceiling_bytes: u64,
}

/// What the agent used over the last window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// CPU seconds a second: what runs besides the samplers, plus each sampler's average share. A window that happens to hold a rare, dear read is no
    /// reason to slow a cheap sampler. NaN when unknown.
    pub cpu_share: f64,
    /// Resident memory at the end of the window; `None` when unknown.
    pub memory_bytes: Option<u64>,
}

/// One sampler as the decision sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// CPU time of one read, averaged.
    pub cost: Duration,
    /// Time between two reads at normal speed.
    pub period: Duration,
    /// Periods between two reads at present: a power of two from 1 to [`MAX_MULTIPLIER`].
    pub multiplier: u32,
    /// What it is expected to cost beside the others; decides where measured costs are equal.
    pub rank: u8,
}

/// What to do with one sampler, by its index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Everything stays as it is.
    Hold,
    /// Double the sampler's multiplier.
    Slow(usize),
    /// Halve the sampler's multiplier.
    Restore(usize),
    /// Set all multipliers to [`MAX_MULTIPLIER`] and drop the backlog.
    Ceiling,
}

impl Load {
    /// Share of one core that the sampler takes on average at present.
    pub fn present_share(&self) -> f64 {
        self.share(self.multiplier)
    }

    /// Share of one core that the sampler takes with `multiplier`.
    fn share(&self, multiplier: u32) -> f64 {
        let period = self.period.as_secs_f64() * f64::from(multiplier.max(1));
        if period > 0.0 { self.cost.as_secs_f64() / period } else { 0.0 }
    }

    /// The sampler after a step that slows it.
    fn slower(&self) -> u32 {
        self.multiplier.max(1).saturating_mul(2).min(MAX_MULTIPLIER)
    }

    /// The sampler after a step that restores it.
    fn faster(&self) -> u32 {
        (self.multiplier / 2).max(1)
    }
}

impl Step {
    /// Writes the step into the samplers' multipliers.
    pub fn apply(self, loads: &mut [Load]) {
        match self {
            Self::Hold => {}
            Self::Slow(i) => loads[i].multiplier = loads[i].slower(),
            Self::Restore(i) => loads[i].multiplier = loads[i].faster(),
            Self::Ceiling => loads.iter_mut().for_each(|load| load.multiplier = MAX_MULTIPLIER),
        }
    }
}

/// The next step for these samplers.
pub fn solve(limits: &Limits, usage: &Usage, loads: &[Load]) -> Step {
    let memory = usage.memory_bytes.unwrap_or(0);
    if memory > limits.ceiling_bytes {
        return Step::Ceiling;
    }
    if usage.cpu_share > limits.cpu_share || memory > limits.memory_bytes {
        return dearest(loads).map_or(Step::Hold, Step::Slow);
    }
    let room =
        usage.cpu_share >= 0.0 && memory as f64 <= limits.memory_bytes as f64 * RESTORE_SHARE;
    if !room {
        return Step::Hold;
    }
    let Some(i) = cheapest_to_restore(loads) else { return Step::Hold };
    let added = loads[i].share(loads[i].faster()) - loads[i].share(loads[i].multiplier);
    if usage.cpu_share + added <= limits.cpu_share * RESTORE_SHARE {
        Step::Restore(i)
    } else {
        Step::Hold
    }
}

/// The sampler with the largest share at present that can still be slowed and whose slowing saves anything; of equal ones the one with the highest rank,
/// then the first.
fn dearest(loads: &[Load]) -> Option<usize> {
    let share = |i: usize| loads[i].share(loads[i].multiplier);
    (0..loads.len())
        .filter(|i| loads[*i].multiplier < MAX_MULTIPLIER && share(*i) > 0.0)
        .max_by(|a, b| by_share(loads, share, *a, *b))
}

/// The slowed sampler whose next faster step takes the smallest share; of equal ones the one that was slowed last.
fn cheapest_to_restore(loads: &[Load]) -> Option<usize> {
    let share = |i: usize| loads[i].share(loads[i].faster());
    (0..loads.len())
        .filter(|i| loads[*i].multiplier > 1)
        .min_by(|a, b| by_share(loads, share, *a, *b))
}

/// The one order that both directions use, so that one undoes the other.
fn by_share(loads: &[Load], share: impl Fn(usize) -> f64, a: usize, b: usize) -> Ordering {
    share(a).total_cmp(&share(b)).then(loads[a].rank.cmp(&loads[b].rank)).then(b.cmp(&a))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { cpu_share: 0.005, memory_bytes: 25_000_000, ceiling_bytes: 50_000_000 };

    fn load(cost_us: u64, multiplier: u32) -> Load {
        Load {
            cost: Duration::from_micros(cost_us),
            period: Duration::from_secs(1),
            multiplier,
            rank: 0,
        }
    }

    fn cpu(cpu_share: f64) -> Usage {
        Usage { cpu_share, memory_bytes: Some(10_000_000) }
    }

    fn loads() -> impl Strategy<Value = Vec<Load>> {
        let one =
            (0_u64..20_000, 1_u64..30, 0_u32..=6).prop_map(|(cost_us, period_s, power)| Load {
                cost: Duration::from_micros(cost_us),
                period: Duration::from_secs(period_s),
                multiplier: 1 << power,
                rank: (cost_us % 4) as u8,
            });
        prop::collection::vec(one, 0..12)
    }

    /// CPU share of an agent that uses `base` besides its samplers.
    fn total(base: f64, loads: &[Load]) -> f64 {
        base + loads.iter().map(|l| l.share(l.multiplier)).sum::<f64>()
    }

    /// Steps with the usage that follows from them until nothing changes; panics when that takes too long.
    fn settle(base: f64, loads: &mut [Load]) -> Vec<Step> {
        let mut steps = Vec::new();
        loop {
            let step = solve(&LIMITS, &cpu(total(base, loads)), loads);
            if step == Step::Hold {
                return steps;
            }
            step.apply(loads);
            steps.push(step);
            assert!(steps.len() <= loads.len() * 6, "does not come to rest: {steps:?}");
        }
    }

    proptest! {
        #[test]
        fn a_cheaper_one_is_never_slowed_while_a_dearer_one_runs_at_normal_speed(loads in loads(), share in 0.0_f64..0.1) {
            if let Step::Slow(i) = solve(&LIMITS, &cpu(share), &loads) {
                let full = |l: &Load| l.share(1);
                for other in loads.iter().filter(|l| l.multiplier == 1) {
                    prop_assert!(full(other) <= full(&loads[i]), "{other:?} before {:?}", loads[i]);
                }
            }
        }

        #[test]
        fn the_next_decision_never_undoes_a_step(loads in loads(), base in 0.0_f64..0.01) {
            let mut loads = loads;
            let first = solve(&LIMITS, &cpu(total(base, &loads)), &loads);
            first.apply(&mut loads);
            let second = solve(&LIMITS, &cpu(total(base, &loads)), &loads);
            match (first, second) {
                (Step::Slow(slowed), Step::Restore(restored)) => prop_assert_ne!(slowed, restored),
                (Step::Restore(_), Step::Slow(_)) => prop_assert!(false, "{first:?} then {second:?}"),
                _ => {}
            }
        }

        #[test]
        fn it_comes_to_rest_and_then_changes_nothing(loads in loads(), base in 0.0_f64..0.01) {
            let mut loads = loads;
            settle(base, &mut loads);
            let before = loads.clone();
            solve(&LIMITS, &cpu(total(base, &loads)), &loads).apply(&mut loads);
            prop_assert_eq!(before, loads);
        }

        #[test]
        fn steps_are_undone_in_reverse(costs in prop::collection::vec(1_u64..20_000, 1..8)) {
            let ranked = |c: &u64| Load { rank: (c % 3) as u8, ..load(c / 100 * 100 + 1, 1) };
            let mut loads: Vec<_> = costs.iter().map(ranked).collect();
            let mut slowed = Vec::new();
            while let Step::Slow(i) = solve(&LIMITS, &cpu(1.0), &loads) {
                slowed.push(loads.clone());
                Step::Slow(i).apply(&mut loads);
            }
            while let Some(before) = slowed.pop() {
                let generous = Limits { cpu_share: 1.0, ..LIMITS };
                let step = solve(&generous, &cpu(0.0), &loads);
                prop_assert!(matches!(step, Step::Restore(_)), "{step:?}");
                step.apply(&mut loads);
                prop_assert_eq!(&before, &loads);
            }
        }
    }

    #[test]
    fn the_dearest_is_slowed_first_and_the_thresholds_differ() {
        let mut loads = [load(4000, 1), load(2000, 1), load(10, 1)];
        assert_eq!(solve(&LIMITS, &cpu(0.006), &loads), Step::Slow(0));
        Step::Slow(0).apply(&mut loads);
        assert_eq!(loads[0].multiplier, 2);
        assert_eq!(solve(&LIMITS, &cpu(0.0049), &loads), Step::Hold);
        assert_eq!(solve(&LIMITS, &cpu(0.0021), &loads), Step::Hold, "0.0041 after restoring");
        assert_eq!(solve(&LIMITS, &cpu(0.0019), &loads), Step::Restore(0));
    }

    #[test]
    fn of_equal_costs_the_higher_rank_is_slowed_first_and_restored_last() {
        let mut loads = [load(100, 1), Load { rank: 9, ..load(100, 1) }, load(100, 1)];
        assert_eq!(solve(&LIMITS, &cpu(1.0), &loads), Step::Slow(1));
        for load in &mut loads {
            load.multiplier = 2;
        }
        assert_eq!(solve(&LIMITS, &cpu(0.0), &loads), Step::Restore(2));
    }

    #[test]
    fn the_ceiling_slows_everything() {
        let mut loads = [load(4000, 1), load(0, 2)];
        let usage = Usage { cpu_share: 0.0, memory_bytes: Some(50_000_001) };
        let step = solve(&LIMITS, &usage, &loads);
        assert_eq!(step, Step::Ceiling);
        step.apply(&mut loads);
        assert!(loads.iter().all(|l| l.multiplier == MAX_MULTIPLIER));
    }

    #[test]
    fn memory_over_budget_slows_and_memory_near_it_does_not_restore() {
        let loads = [load(100, 2), load(200, 2)];
        let usage = |bytes| Usage { cpu_share: 0.0, memory_bytes: Some(bytes) };
        assert_eq!(solve(&LIMITS, &usage(25_000_001), &loads), Step::Slow(1));
        assert_eq!(solve(&LIMITS, &usage(24_000_000), &loads), Step::Hold);
        assert_eq!(solve(&LIMITS, &usage(20_000_000), &loads), Step::Restore(0));
    }

    #[test]
    fn what_is_not_known_changes_nothing() {
        let loads = [load(4000, 2), load(0, 1)];
        let unknown = Usage { cpu_share: f64::NAN, memory_bytes: None };
        assert_eq!(solve(&LIMITS, &unknown, &loads), Step::Hold);
        assert_eq!(solve(&LIMITS, &cpu(-1.0), &loads), Step::Hold);
        assert_eq!(solve(&LIMITS, &cpu(f64::INFINITY), &[]), Step::Hold);
        let odd = [Load { period: Duration::ZERO, ..load(5, 1) }, load(0, 1)];
        assert_eq!(solve(&LIMITS, &cpu(1.0), &odd), Step::Hold, "nothing to be saved");
    }
}
