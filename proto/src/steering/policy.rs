//! What is wanted of an agent.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::time::Duration;

use super::check::{self, at_most, each, text};
use super::{MAX_NAME_BYTES, MAX_SETTINGS, MAX_TARGETS, MAX_VALUE_BYTES};
use crate::series::Invalid;
use crate::v1;

/// Shortest and longest lease of a canary.
const LEASES: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_hours(24);

/// Number of a policy: grows with every change, 0 is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

/// A server of a host that can be steered.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// `redis`, `memcached`, `haproxy`, `envoy`, `host`: 1 to 64 bytes.
    pub kind: String,
    /// Its name in the agent's configuration, 1 to 64 bytes.
    pub name: String,
}

/// Values by parameter, both as the target writes them: numbers in decimal and bytes without a unit. At most 512 are sent, names of 160 bytes and values of 256.
pub type Settings = BTreeMap<String, String>;

/// The whole state that is wanted of one agent; what is not listed stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentPolicy {
    /// The log that revisions are numbered by.
    pub journal: String,
    /// Never falls within one journal.
    pub revision: Revision,
    /// Each target at most once, 64 at most.
    pub targets: Vec<TargetPolicy>,
    /// The collector sends at least this often; `None`: no promise.
    pub renew: Option<Duration>,
    /// Outcomes up to this one have been taken.
    pub acked_sequence: u64,
}

/// What is wanted of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetPolicy {
    /// The target.
    pub target: Target,
    /// 1 to 512 settings; other parameters stay as they are.
    pub settings: Settings,
    /// The rollout that this belongs to; empty: none.
    pub rollout_id: String,
    /// Set while the change is on trial.
    pub canary: Option<Canary>,
    /// Makes the settings outlive a restart of the target.
    pub persist: bool,
}

/// A change that is put back unless it is renewed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canary {
    /// Time from each policy that lists it until it is put back, 100 ms to 24 h.
    pub lease: Duration,
    /// What was in force when the change was decided; parameters of the settings only.
    pub revert_to: Settings,
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Target {
    /// A target, unchecked.
    pub fn new(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), name: name.into() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.name)
    }
}

impl AgentPolicy {
    /// What is wanted of one target.
    pub fn target(&self, target: &Target) -> Option<&TargetPolicy> {
        self.targets.iter().find(|policy| policy.target == *target)
    }

    /// The shortest lease of its canaries.
    pub fn shortest_lease(&self) -> Option<Duration> {
        self.targets.iter().filter_map(|policy| Some(policy.canary.as_ref()?.lease)).min()
    }

    /// Checks the rules that the other side will hold the policy to.
    ///
    /// # Errors
    /// Names the field that breaks one.
    pub fn check(&self) -> Result<(), Invalid> {
        Self::try_from(v1::AgentPolicy::from(self.clone())).map(|_| ())
    }
}

impl TryFrom<v1::AgentPolicy> for AgentPolicy {
    type Error = Invalid;

    fn try_from(policy: v1::AgentPolicy) -> Result<Self, Invalid> {
        text("journal", &policy.journal, MAX_NAME_BYTES)?;
        at_most("targets", &policy.targets, MAX_TARGETS)?;
        let targets: Vec<TargetPolicy> = each("targets", policy.targets)?;
        distinct("targets", targets.iter().map(|policy| &policy.target))?;
        let revision = Revision(policy.revision);
        if revision == Revision::default() && !targets.is_empty() {
            return Err(Invalid::new("revision", "0 with targets"));
        }
        let renew = Some(Duration::from_millis(u64::from(policy.renew_ms)));
        Ok(Self {
            journal: policy.journal,
            revision,
            targets,
            renew: renew.filter(|renew| !renew.is_zero()),
            acked_sequence: policy.acked_sequence,
        })
    }
}

impl From<AgentPolicy> for v1::AgentPolicy {
    fn from(policy: AgentPolicy) -> Self {
        Self {
            revision: policy.revision.0,
            targets: policy.targets.into_iter().map(Into::into).collect(),
            renew_ms: policy.renew.map_or(0, |renew| millis(renew).min(u32::MAX.into()) as u32),
            acked_sequence: policy.acked_sequence,
            journal: policy.journal,
        }
    }
}

impl TryFrom<v1::TargetPolicy> for TargetPolicy {
    type Error = Invalid;

    fn try_from(policy: v1::TargetPolicy) -> Result<Self, Invalid> {
        let target = Target::try_from((policy.kind, policy.name))?;
        let settings = settings("settings", policy.settings)?;
        if settings.is_empty() {
            return Err(Invalid::new("settings", "empty"));
        }
        text("rollout_id", &policy.rollout_id, MAX_NAME_BYTES)?;
        let canary = policy.canary.map(Canary::try_from).transpose();
        let canary = canary.map_err(|error| error.within("canary"))?;
        if let Some(canary) = &canary {
            if let Some(other) = canary.revert_to.keys().find(|key| !settings.contains_key(*key)) {
                let field = format!("canary.revert_to.{other}");
                return Err(Invalid::new(field, "not among the settings"));
            }
            if policy.persist {
                return Err(Invalid::new("persist", "set while the change is on trial"));
            }
        }
        let (rollout_id, persist) = (policy.rollout_id, policy.persist);
        Ok(Self { target, settings, rollout_id, canary, persist })
    }
}

impl From<TargetPolicy> for v1::TargetPolicy {
    fn from(policy: TargetPolicy) -> Self {
        Self {
            kind: policy.target.kind,
            name: policy.target.name,
            settings: to_settings(policy.settings),
            rollout_id: policy.rollout_id,
            canary: policy.canary.map(Into::into),
            persist: policy.persist,
        }
    }
}

impl TryFrom<v1::Canary> for Canary {
    type Error = Invalid;

    fn try_from(canary: v1::Canary) -> Result<Self, Invalid> {
        let lease = Duration::from_millis(canary.lease_ms);
        if !LEASES.contains(&lease) {
            return Err(Invalid::new("lease_ms", "not from 100 to 86400000"));
        }
        Ok(Self { lease, revert_to: settings("revert_to", canary.revert_to)? })
    }
}

impl From<Canary> for v1::Canary {
    fn from(canary: Canary) -> Self {
        Self { lease_ms: millis(canary.lease), revert_to: to_settings(canary.revert_to) }
    }
}

/// Settings from the wire, each parameter once.
pub(super) fn settings(field: &str, list: Vec<v1::Setting>) -> Result<Settings, Invalid> {
    at_most(field, &list, MAX_SETTINGS)?;
    let mut settings = Settings::new();
    for (index, v1::Setting { parameter, value }) in list.into_iter().enumerate() {
        let within = |error: Invalid| error.within(format_args!("{field}[{index}]"));
        check::parameter(&parameter).map_err(within)?;
        text("value", &value, MAX_VALUE_BYTES).map_err(within)?;
        if settings.insert(parameter, value).is_some() {
            return Err(within(Invalid::new("parameter", "given twice")));
        }
    }
    Ok(settings)
}

pub(super) fn to_settings(settings: Settings) -> Vec<v1::Setting> {
    settings.into_iter().map(|(parameter, value)| v1::Setting { parameter, value }).collect()
}

/// Each target once.
pub(super) fn distinct<'a>(
    field: &str,
    targets: impl Iterator<Item = &'a Target>,
) -> Result<(), Invalid> {
    let mut seen = HashSet::new();
    for (index, target) in targets.enumerate() {
        if !seen.insert(target) {
            return Err(Invalid::new(format!("{field}[{index}].name"), "given twice"));
        }
    }
    Ok(())
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
