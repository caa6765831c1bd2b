//! Bounded steps: the way from the value in force to the wanted one.
//!
//! A number never moves more in one step than `largest_growth` and `largest_shrink` allow (or
//! `always` units, which a value near zero needs to move at all). Growth of a cache is harmless and
//! may double; shrinking evicts at once, so it goes by a few percent. Text has no size, so it
//! changes in one step, to one of a list of values.
//!
//! Properties, each a test: the last value is the wanted one; each is within the bounds; each step
//! is within the largest step; values move one way only; there are at most [`MOST_STEPS`].

use serde::{Deserialize, Serialize};

use super::ids::Values;

/// A change that needs more steps is refused: it would never end.
pub const MOST_STEPS: usize = 64;

/// What a parameter may be set to and how far it may move at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// A whole number.
    Number {
        /// Smallest allowed value.
        min: u64,
        /// Largest allowed value.
        max: u64,
        /// Largest factor of one step up; above 1.
        largest_growth: f64,
        /// Largest share that one step down may take away; above 0 and below 1.
        largest_shrink: f64,
        /// So many units are always allowed in one step.
        always: u64,
        /// What zero stands for where it means "no limit": the value that steps begin at.
        zero_is: Option<u64>,
    },
    /// One of these texts.
    OneOf(Vec<String>),
}

/// One parameter's change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// For example `maxmemory`.
    pub parameter: String,
    /// In force when it was suggested; comes back on a rollback.
    pub from: String,
    /// Wanted.
    pub to: String,
    /// For example `bytes`; empty for text.
    pub unit: String,
    /// Bounds of the value and of each step.
    pub bound: Bound,
}

/// Why there is no way from one value to the other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepError {
    /// The value is no whole number.
    #[error("{0:?} is not a whole number")]
    NotANumber(String),
    /// The wanted value is outside the bounds.
    #[error("{value} is not within {bounds}")]
    OutOfBounds {
        /// The wanted value.
        value: String,
        /// The bounds, in words.
        bounds: String,
    },
    /// The largest step is no step, or the bounds make no sense.
    #[error("the bounds make no sense: {0}")]
    BadBound(&'static str),
    /// Old and new value are the same.
    #[error("it is {0} already")]
    NoChange(String),
    /// The largest step is too small to get there.
    #[error("more than {MOST_STEPS} steps, or none that is allowed, lead from {from} to {to}")]
    TooFar {
        /// The value where steps begin.
        from: u64,
        /// The wanted value.
        to: u64,
        /// Where the last step that is allowed leads.
        farthest: u64,
    },
}

impl Change {
    /// The values to set, in order; the last is `to`.
    ///
    /// # Errors
    /// When the value is out of bounds, or no allowed steps lead to it.
    pub fn steps(&self) -> Result<Vec<String>, StepError> {
        if self.from == self.to {
            return Err(StepError::NoChange(self.to.clone()));
        }
        match &self.bound {
            Bound::OneOf(allowed) if allowed.contains(&self.to) => Ok(vec![self.to.clone()]),
            Bound::OneOf(allowed) => {
                Err(StepError::OutOfBounds { value: self.to.clone(), bounds: allowed.join(", ") })
            }
            Bound::Number { min, max, largest_growth, largest_shrink, always, zero_is } => {
                let step =
                    Step { growth: *largest_growth, shrink: *largest_shrink, always: *always };
                step.check(*min, *max)?;
                let (from, to) = (number(&self.from)?, number(&self.to)?);
                if !(*min..=*max).contains(&to) {
                    let bounds = format!("{min} to {max}");
                    return Err(StepError::OutOfBounds { value: self.to.clone(), bounds });
                }
                let from = if from == 0 { zero_is.unwrap_or(0) } else { from };
                step.way(from, to, *min, *max)
            }
        }
    }
}

/// The largest step of a number.
#[derive(Debug, Clone, Copy)]
struct Step {
    growth: f64,
    shrink: f64,
    always: u64,
}

impl Step {
    fn check(self, min: u64, max: u64) -> Result<(), StepError> {
        if min > max {
            return Err(StepError::BadBound("the smallest value is above the largest"));
        }
        // Not a number fails both.
        if !(self.growth > 1.0 && self.growth.is_finite()) {
            return Err(StepError::BadBound("the largest growth must be above 1"));
        }
        if !(self.shrink > 0.0 && self.shrink < 1.0) {
            return Err(StepError::BadBound("the largest shrink must be above 0 and below 1"));
        }
        Ok(())
    }

    fn way(self, from: u64, to: u64, min: u64, max: u64) -> Result<Vec<String>, StepError> {
        let mut values = Vec::new();
        let mut value = from;
        loop {
            let next = self.next(value, to);
            let stuck = next == value && value != to;
            // Coming from outside the bounds the first step must reach them.
            if stuck || !(min..=max).contains(&next) || values.len() == MOST_STEPS {
                return Err(StepError::TooFar { from, to, farthest: value });
            }
            values.push(next.to_string());
            value = next;
            if value == to {
                return Ok(values);
            }
        }
    }

    fn next(self, value: u64, to: u64) -> u64 {
        if to >= value {
            let most = (value as f64 * self.growth).floor() as u64;
            to.min(most.max(value.saturating_add(self.always)))
        } else {
            let least = (value as f64 * (1.0 - self.shrink)).ceil() as u64;
            to.max(least.min(value.saturating_sub(self.always)))
        }
    }
}

fn number(text: &str) -> Result<u64, StepError> {
    text.parse().map_err(|_| StepError::NotANumber(text.to_owned()))
}

/// Steps of several parameters together: each goes its own way, and one that has arrived waits.
///
/// # Errors
/// Names the first parameter that has no way.
pub fn steps(changes: &[Change]) -> Result<Vec<Values>, (String, StepError)> {
    let ways = changes
        .iter()
        .map(|change| match change.steps() {
            Ok(way) => Ok((change.parameter.clone(), way)),
            // What stays as it is goes with what changes.
            Err(StepError::NoChange(value)) if changes.iter().any(|one| one.from != one.to) => {
                Ok((change.parameter.clone(), vec![value]))
            }
            Err(error) => Err((change.parameter.clone(), error)),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let longest = ways.iter().map(|(_, way)| way.len()).max().unwrap_or(0);
    let at = |way: &[String], step: usize| way[step.min(way.len() - 1)].clone();
    Ok((0..longest)
        .map(|step| ways.iter().map(|(name, way)| (name.clone(), at(way, step))).collect())
        .collect())
}
