//! What an agent may set, and the check of a policy against it: one rule for both sides.

use std::collections::BTreeMap;

use super::check::{self, at_most, text};
use super::policy::TargetPolicy;
use super::{MAX_REASON_BYTES, MAX_SETTINGS, MAX_VALUE_BYTES, Target};
use crate::series::Invalid;
use crate::v1;

/// A target of an agent and what may be set there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capability {
    /// The target.
    pub target: Target,
    /// What may be set; empty: nothing, for `reason`. A name that ends in `*` is about all parameters that begin so.
    pub parameters: BTreeMap<String, Bounds>,
    /// Settings may be made to outlive a restart of the target.
    pub may_persist: bool,
    /// Why nothing may be set.
    pub reason: String,
    /// How far one policy may move the limit of memory; older agents do not say.
    pub largest_growth: Option<Growth>,
}

/// Largest factor by which one policy makes a number larger, or smaller, in thousandths: above 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Growth(u32);

impl Growth {
    /// The factor, rounded down to thousandths; `None` when that lets nothing move.
    pub fn new(factor: f64) -> Option<Self> {
        // A product may be less by the last digit: 1.001 is 1001 thousandths.
        let milli = (factor * 1_000.0 + 1e-6).floor();
        (milli > 1_000.0).then(|| Self(milli.min(f64::from(u32::MAX)) as u32))
    }

    /// The factor.
    pub fn factor(self) -> f64 {
        f64::from(self.0) / 1_000.0
    }
}

/// Values that a parameter may be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bounds {
    /// Whole numbers from the first to the second.
    Number(u64, u64),
    /// Words.
    OneOf(Vec<String>),
}

impl Capability {
    /// Checks what is wanted against what may be set.
    ///
    /// # Errors
    /// Names the parameter that may not be set, or not to this value.
    pub fn check(&self, policy: &TargetPolicy) -> Result<(), Invalid> {
        if self.parameters.is_empty() {
            return Err(Invalid::new(self.target.to_string(), self.reason.clone()));
        }
        for (parameter, value) in &policy.settings {
            let bounds = self.bounds(parameter);
            let bounds =
                bounds.ok_or_else(|| Invalid::new(parameter, "may not be set on this target"))?;
            bounds.check(value).map_err(|reason| Invalid::new(parameter, reason))?;
        }
        if policy.persist && !self.may_persist {
            let reason =
                "the agent's configuration does not allow that settings are made permanent";
            return Err(Invalid::new("persist", reason));
        }
        Ok(())
    }
}

impl Capability {
    /// What a parameter may be set to: its own bounds, or else those of the longest name with `*` that it begins as.
    pub fn bounds(&self, parameter: &str) -> Option<&Bounds> {
        let begins = |(name, _): &(&String, &Bounds)| {
            name.strip_suffix('*').is_some_and(|prefix| parameter.starts_with(prefix))
        };
        let of_all = || self.parameters.iter().filter(begins).max_by_key(|(name, _)| name.len());
        self.parameters.get(parameter).or_else(|| of_all().map(|(_, bounds)| bounds))
    }
}

impl Bounds {
    /// Checks a value.
    ///
    /// # Errors
    /// What would be allowed, in words.
    pub fn check(&self, value: &str) -> Result<(), String> {
        match self {
            Self::Number(least, most) => match number(value) {
                Some(number) if (*least..=*most).contains(&number) => Ok(()),
                Some(_) => Err(format!("{value} is not from {least} to {most}")),
                None => Err(format!("{value:?} is not a whole number in decimal")),
            },
            Self::OneOf(words) if words.iter().any(|word| word == value) => Ok(()),
            Self::OneOf(words) => Err(format!("{value:?} is not one of {}", words.join(", "))),
        }
    }
}

/// A number in the one way that it is written.
fn number(text: &str) -> Option<u64> {
    text.parse::<u64>().ok().filter(|number| number.to_string() == text)
}

impl TryFrom<v1::Capability> for Capability {
    type Error = Invalid;

    fn try_from(capability: v1::Capability) -> Result<Self, Invalid> {
        at_most("parameters", &capability.parameters, MAX_SETTINGS)?;
        text("reason", &capability.reason, MAX_REASON_BYTES)?;
        let mut parameters = BTreeMap::new();
        for (index, bounds) in capability.parameters.into_iter().enumerate() {
            let within = |error: Invalid| error.within(format_args!("parameters[{index}]"));
            check::parameter(&bounds.parameter).map_err(within)?;
            let parameter = bounds.parameter.clone();
            if parameters.insert(parameter, bounds.try_into().map_err(within)?).is_some() {
                return Err(within(Invalid::new("parameter", "given twice")));
            }
        }
        Ok(Self {
            target: Target::try_from((capability.kind, capability.name))?,
            parameters,
            may_persist: capability.may_persist,
            reason: capability.reason,
            largest_growth: growth(capability.largest_growth_milli)?,
        })
    }
}

fn growth(milli: u32) -> Result<Option<Growth>, Invalid> {
    match milli {
        0 => Ok(None),
        1..=1_000 => {
            Err(Invalid::new("largest_growth_milli", "not above 1000: nothing grows by it"))
        }
        _ => Ok(Some(Growth(milli))),
    }
}

impl From<Capability> for v1::Capability {
    fn from(capability: Capability) -> Self {
        let bounds = |(parameter, bounds)| match bounds {
            Bounds::Number(least, most) => v1::ParameterBounds {
                parameter,
                least: Some(least),
                most: Some(most),
                one_of: Vec::new(),
            },
            Bounds::OneOf(one_of) => {
                v1::ParameterBounds { parameter, least: None, most: None, one_of }
            }
        };
        Self {
            kind: capability.target.kind,
            name: capability.target.name,
            parameters: capability.parameters.into_iter().map(bounds).collect(),
            may_persist: capability.may_persist,
            reason: capability.reason,
            largest_growth_milli: capability.largest_growth.map_or(0, |growth| growth.0),
        }
    }
}

impl TryFrom<v1::ParameterBounds> for Bounds {
    type Error = Invalid;

    fn try_from(bounds: v1::ParameterBounds) -> Result<Self, Invalid> {
        match (bounds.least, bounds.most) {
            (None, None) => {
                at_most("one_of", &bounds.one_of, MAX_SETTINGS)?;
                if bounds.one_of.is_empty() {
                    return Err(Invalid::new("one_of", "empty, and there are no numbers"));
                }
                for word in &bounds.one_of {
                    text("one_of", word, MAX_VALUE_BYTES)?;
                }
                Ok(Self::OneOf(bounds.one_of))
            }
            (Some(least), Some(most)) if least > most => {
                Err(Invalid::new("most", "below the least"))
            }
            (Some(_), Some(_)) if !bounds.one_of.is_empty() => {
                Err(Invalid::new("one_of", "given together with numbers"))
            }
            (Some(least), Some(most)) => Ok(Self::Number(least, most)),
            (None, Some(_)) => Err(Invalid::new("least", "missing")),
            (Some(_), None) => Err(Invalid::new("most", "missing")),
        }
    }
}
