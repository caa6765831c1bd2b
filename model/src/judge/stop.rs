//! Hard stops: what ends a change at once, without statistics.
//!
//! A crash needs no confidence interval. Each rule compares facts with a limit; what is not known
//! stops nothing, except silence, which is a fact itself.
//!
//! Properties, each a test:
//! - (a) same facts, same stop;
//! - (b) worse facts never take a stop away;
//! - (c) what is unknown, not a number or from the future stops nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::trial::Worse;
use super::words::number;

/// What is known of a changed target.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// When the facts are looked at.
    pub now_ms: i64,
    /// When the change went into force.
    pub changed_at_ms: i64,
    /// When its agent was last heard of; `None` when not since the change.
    pub last_heard_ms: Option<i64>,
    /// Whether it runs.
    pub process: Process,
    /// Commands refused and processes killed for want of memory since the change.
    pub out_of_memory: u64,
    /// Errors of late.
    pub errors: Option<ErrorBurst>,
    /// Objectives and guard rails.
    pub bounds: Vec<Bound>,
    /// Settings that the change made, as they were read back.
    pub settings: Vec<InForce>,
}

/// Whether the target runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// As it did when the change went into force.
    Running,
    /// It started anew since then.
    Restarted,
    /// It cannot be reached.
    Gone,
    /// Not known.
    Unknown,
}

/// Errors among requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBurst {
    /// How many.
    pub errors: u64,
    /// Of how many.
    pub requests: u64,
}

/// A value that must not go beyond a bound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bound {
    /// Of what.
    pub name: String,
    /// As measured.
    pub value: f64,
    /// How far it may go.
    pub limit: f64,
    /// Which way is harm.
    pub worse: Worse,
    /// How long it has been beyond without a break.
    pub for_ms: i64,
}

/// A setting that was read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Its name.
    pub parameter: String,
    /// What the change set.
    pub wanted: String,
    /// What is in force; `None` when it was not read.
    pub found: Option<String>,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StopLimits {
    /// Longest silence of an agent.
    pub silent_ms: i64,
    /// Share of errors that is a burst.
    pub error_share: f64,
    /// Fewer errors than this are none.
    pub least_errors: u64,
    /// How long a bound may be broken.
    pub breach_ms: i64,
}

/// What ends the change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HardStop {
    /// It started anew, or is gone.
    Crashed {
        /// Gone rather than restarted.
        gone: bool,
    },
    /// Memory ran out.
    OutOfMemory {
        /// How often.
        times: u64,
    },
    /// Too many errors.
    ErrorBurst(ErrorBurst),
    /// A service level objective or guard rail is broken.
    Breach(Bound),
    /// Nothing was heard for too long.
    Silent {
        /// For how long.
        seconds: u64,
    },
    /// Another hand changed a setting: what is measured is not what the change does.
    Drifted(InForce),
}

impl Default for StopLimits {
    fn default() -> Self {
        Self { silent_ms: 30_000, error_share: 0.05, least_errors: 10, breach_ms: 15_000 }
    }
}

/// The gravest reason to stop, if there is one: in the order of [`HardStop`].
pub fn hard_stop(facts: &Facts, limits: &StopLimits) -> Option<HardStop> {
    let crashed = match facts.process {
        Process::Gone => Some(HardStop::Crashed { gone: true }),
        Process::Restarted => Some(HardStop::Crashed { gone: false }),
        Process::Running | Process::Unknown => None,
    };
    crashed
        .or_else(|| {
            let times = facts.out_of_memory;
            (times > 0).then_some(HardStop::OutOfMemory { times })
        })
        .or_else(|| facts.errors.filter(|e| e.is_burst(limits)).map(HardStop::ErrorBurst))
        .or_else(|| {
            let broken = |bound: &&Bound| bound.is_broken() && bound.for_ms >= limits.breach_ms;
            facts.bounds.iter().find(broken).cloned().map(HardStop::Breach)
        })
        .or_else(|| silent(facts, limits))
        .or_else(|| facts.settings.iter().find(|s| s.is_drifted()).cloned().map(HardStop::Drifted))
}

fn silent(facts: &Facts, limits: &StopLimits) -> Option<HardStop> {
    let since = facts.last_heard_ms.unwrap_or(facts.changed_at_ms);
    let silence = facts.now_ms.saturating_sub(since);
    let seconds = u64::try_from(silence / 1000).unwrap_or(0);
    (silence > limits.silent_ms.max(0)).then_some(HardStop::Silent { seconds })
}

impl ErrorBurst {
    fn is_burst(&self, limits: &StopLimits) -> bool {
        let share = self.errors as f64 / self.requests.max(1) as f64;
        self.errors >= limits.least_errors.max(1) && share > limits.error_share
    }
}

impl Bound {
    fn is_broken(&self) -> bool {
        match self.worse {
            Worse::Higher => self.value > self.limit,
            Worse::Lower => self.value < self.limit,
        }
    }
}

impl InForce {
    fn is_drifted(&self) -> bool {
        self.found.as_ref().is_some_and(|found| *found != self.wanted)
    }
}

impl fmt::Display for HardStop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crashed { gone: true } => write!(f, "the target is gone"),
            Self::Crashed { gone: false } => write!(f, "the target has started anew"),
            Self::OutOfMemory { times } => write!(f, "memory ran out {times} times"),
            Self::ErrorBurst(ErrorBurst { errors, requests }) => {
                write!(f, "{errors} errors in {requests} requests")
            }
            Self::Breach(Bound { name, value, limit, worse, for_ms }) => {
                let way = if *worse == Worse::Higher { "above" } else { "below" };
                let (value, limit) = (number(*value), number(*limit));
                write!(f, "{name} is {value}, {way} {limit}, for {} s", for_ms / 1000)
            }
            Self::Silent { seconds } => write!(f, "nothing was heard for {seconds} s"),
            Self::Drifted(InForce { parameter, wanted, found }) => {
                let found = found.as_deref().unwrap_or("unknown");
                write!(f, "{parameter} is {found} where {wanted} was set")
            }
        }
    }
}
