//! What will go wrong and when, from a seed: the same seed and shape give the same plan.
//!
//! Each process has a sequence of faults of its own, and all sequences run at once; so faults of different processes overlap as they like.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::fault::Fault;
use crate::proxy::Mode;

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// The ClickHouse server.
    Engine,
    /// A collector by its number.
    Collector(usize),
    /// An agent by its number.
    Agent(usize),
}

/// One fault of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Whom it hits.
    pub target: Target,
    /// Time since the fault before on the same target.
    pub after: Duration,
    /// What happens.
    pub fault: Fault,
}

/// What an agent's surroundings allow.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Its clock can be set, and is this many milliseconds from the right time at the start.
    pub clock: Option<i64>,
    /// Its spool is on a small disk.
    pub disk: bool,
    /// It is in a network namespace.
    pub namespace: bool,
}

/// Whom a plan is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// Number of collectors.
    pub collectors: usize,
    /// The agents.
    pub agents: Vec<Abilities>,
}

impl Target {
    /// What kind of process it is.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Collector(_) => "collector",
            Self::Agent(_) => "agent",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Engine => f.write_str("engine"),
            Self::Collector(number) => write!(f, "collector-{number}"),
            Self::Agent(number) => write!(f, "agent-{number}"),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: after {} ms {}", self.target, self.after.as_millis(), self.fault)
    }
}

impl Shape {
    /// All processes. The engine comes once for each two others, so that it is hit as often as it matters.
    pub fn targets(&self) -> Vec<Target> {
        let collectors = (0..self.collectors).map(Target::Collector);
        let agents = (0..self.agents.len()).map(Target::Agent);
        [Target::Engine].into_iter().chain(collectors).chain(agents).collect()
    }
}

/// `faults` steps for everybody together.
pub fn plan(seed: u64, shape: &Shape, faults: usize) -> Vec<Step> {
    let mut random = StdRng::seed_from_u64(seed);
    let targets = shape.targets();
    let mut step = || {
        let target = targets[random.random_range(0..targets.len())];
        let after = ms(&mut random, 100, 1_500);
        Step { target, after, fault: fault(&mut random, target, shape) }
    };
    (0..faults).map(|_| step()).collect()
}

fn fault(random: &mut StdRng, target: Target, shape: &Shape) -> Fault {
    match target {
        Target::Engine => match random.random_range(0..10) {
            0..5 => Fault::Kill(ms(random, 0, 1_500)),
            5..9 => Fault::Pause(ms(random, 100, 4_000)),
            _ => Fault::Restart(ms(random, 0, 500)),
        },
        Target::Collector(_) => match random.random_range(0..12) {
            0..4 => Fault::Kill(ms(random, 0, 1_500)),
            4 => Fault::Restart(ms(random, 0, 500)),
            5 => Fault::Storm(random.random_range(2..6)),
            6 => Fault::Pause(ms(random, 100, 4_000)),
            _ => link(random),
        },
        Target::Agent(number) => agent_fault(random, shape.agents[number]),
    }
}

fn agent_fault(random: &mut StdRng, abilities: Abilities) -> Fault {
    let special = random.random_bool(0.3);
    if special && abilities.clock.is_some() {
        let step = random.random_range(500..60_000);
        return Fault::Clock(if random.random_bool(0.5) { step } else { -step });
    }
    if special && abilities.disk {
        return Fault::FullDisk(ms(random, 200, 4_000));
    }
    if special && abilities.namespace {
        return Fault::Partition(ms(random, 100, 4_000));
    }
    // Frames that no disk has taken are lost by a kill: that is not what the agent on the small disk is for.
    let least = if abilities.disk { 6 } else { 0 };
    // One that has forgotten what time it was may give times twice after a step back: that takes two failures.
    let most = if abilities.disk || abilities.clock.is_some() { 15 } else { 16 };
    match random.random_range(least..most) {
        0..5 => Fault::Kill(ms(random, 0, 1_500)),
        5 => Fault::Storm(random.random_range(2..6)),
        6 | 7 => Fault::Restart(ms(random, 0, 500)),
        8 => Fault::Pause(ms(random, 100, 3_000)),
        15 => Fault::Corrupt(random.random()),
        _ => link(random),
    }
}

fn link(random: &mut StdRng) -> Fault {
    let time = ms(random, 50, 3_000);
    let mode = match random.random_range(0..7) {
        0 | 1 => Mode::Cut,
        2 => Mode::CutRequests,
        3 => Mode::LoseAnswers,
        4 => Mode::CutAnswers,
        5 => Mode::BlackHole,
        _ => Mode::Delay(ms(random, 5, 200)),
    };
    Fault::Link(mode, time)
}

fn ms(random: &mut StdRng, least: u64, most: u64) -> Duration {
    Duration::from_millis(random.random_range(least..most))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn shape() -> Shape {
        let all = |i| Abilities { clock: (i == 0).then_some(0), disk: i == 1, namespace: i == 2 };
        Shape { collectors: 2, agents: (0..4).map(all).collect() }
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        assert_eq!(plan(7, &shape(), 50), plan(7, &shape(), 50));
        assert_ne!(plan(7, &shape(), 50), plan(8, &shape(), 50));
    }

    #[test]
    fn a_long_plan_has_every_fault_and_only_what_the_surroundings_allow() {
        let steps = plan(1, &shape(), 1_000);
        let kinds: BTreeSet<_> = steps.iter().map(|step| step.fault.kind()).collect();
        assert_eq!(kinds.len(), 15, "{kinds:?}");
        for step in steps {
            let allowed = match step.fault {
                Fault::Clock(_) => step.target == Target::Agent(0),
                Fault::FullDisk(_) => step.target == Target::Agent(1),
                Fault::Partition(_) => step.target == Target::Agent(2),
                Fault::Corrupt(_) => matches!(step.target, Target::Agent(2 | 3)),
                Fault::Kill(_) | Fault::Storm(_) => step.target != Target::Agent(1),
                _ => true,
            };
            assert!(allowed, "{step}");
        }
    }
}
