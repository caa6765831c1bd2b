//! Steps of a limit of memory: ours, or the agent's where those are smaller.
//!
//! What an agent bounds is one policy, and each step of a rollout is one: a change that is larger
//! goes in more steps. How far [`MOST_STEPS`](flyball_model::rollout::MOST_STEPS) of them lead is as
//! far as a limit may go. Properties, each a test: (a) no step makes the limit larger or smaller by
//! more than the agent's factor; (b) what is told to be the farthest can be reached.

use flyball_model::rollout::{Bound, Change, StepError};
use flyball_proto::steering::Growth;

use super::cache_size::{GRAIN, GROWTH_STEP, SHRINK_STEP};
use super::view::MAXMEMORY;

/// Share of the agent's factor that is made use of on the way down, where values are rounded.
const ROUNDED: f64 = 0.9999;

/// What bounds a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// Smallest, in bytes.
    pub least: u64,
    /// Largest, in bytes.
    pub most: u64,
    /// Largest factor of one step; `None` of agents that do not say.
    pub growth: Option<Growth>,
}

impl Limit {
    /// A change from one value to another, in bytes. `zero_is`: where steps begin when there was no
    /// limit.
    pub fn change(self, from: u64, to: u64, zero_is: Option<u64>) -> Change {
        let start = if from == 0 { zero_is.unwrap_or(to) } else { from };
        let (largest_growth, largest_shrink, always) = self.steps(start.min(to));
        Change {
            parameter: MAXMEMORY.to_owned(),
            from: from.to_string(),
            to: to.to_string(),
            unit: "bytes".to_owned(),
            bound: Bound::Number {
                min: self.least,
                max: self.most,
                largest_growth,
                largest_shrink,
                always,
                zero_is,
            },
        }
    }

    /// Where the way to a value ends: there, or as near to it as the steps lead.
    pub fn reach(self, from: u64, to: u64) -> u64 {
        match self.change(from, to, None).steps() {
            Err(StepError::TooFar { farthest, .. }) => farthest,
            _ => to,
        }
    }

    /// Largest factor up, share down, and bytes that may always be moved, from `smallest` bytes on.
    fn steps(self, smallest: u64) -> (f64, f64, u64) {
        let Some(growth) = self.growth else { return (GROWTH_STEP, SHRINK_STEP, GRAIN) };
        let factor = growth.factor();
        let share = (1.0 - 1.0 / factor) * ROUNDED;
        let always = GRAIN.min((smallest as f64 * share) as u64);
        (factor.min(GROWTH_STEP), share.min(SHRINK_STEP), always)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn limit(factor: Option<f64>) -> Limit {
        Limit { least: MIB, most: 1 << 40, growth: factor.and_then(Growth::new) }
    }

    proptest! {
        #[test]
        fn no_step_is_more_than_the_agent_takes(
            from in MIB..1 << 36, to in MIB..1 << 36, milli in 1_010_u32..=16_000,
        ) {
            let factor = f64::from(milli) / 1_000.0;
            let limit = limit(Some(factor));
            let to = limit.reach(from, to);
            prop_assume!(from != to);
            let steps = limit.change(from, to, None).steps();
            let mut value = from;
            for next in steps.unwrap() {
                let next = next.parse::<u64>().unwrap();
                // As agents have it.
                prop_assert!(next as f64 <= value as f64 * factor, "{value} to {next}");
                prop_assert!(next as f64 >= value as f64 / factor, "{value} to {next}");
                value = next;
            }
            prop_assert_eq!(value, to);
        }
    }

    #[test]
    fn a_larger_change_takes_more_steps() {
        let way = |factor, to| limit(factor).change(64 * MIB, to, None).steps().unwrap();
        assert_eq!(way(None, 128 * MIB).len(), 1);
        assert_eq!(way(Some(2.0), 128 * MIB).len(), 1);
        let (first, last) = (96 * MIB, 128 * MIB);
        assert_eq!(way(Some(1.5), last), [first.to_string(), last.to_string()]);
        // 64 steps of a hundredth.
        let most = limit(Some(1.01)).reach(64 * MIB, 1 << 40);
        assert!((1.88..1.9).contains(&(most as f64 / (64 * MIB) as f64)), "{most}");
        assert_eq!(limit(None).reach(64 * MIB, 32 * MIB), 32 * MIB);
    }

    #[test]
    fn what_had_no_limit_gets_one_at_once() {
        let to = 640 * MIB;
        let change = limit(Some(1.01)).change(0, to, Some(to));
        assert_eq!(change.steps().unwrap(), [to.to_string()]);
    }
}
