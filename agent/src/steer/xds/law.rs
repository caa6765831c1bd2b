//! The rules for what is served by xDS: everything in one push, drains first.
//!
//! Properties, each a test: no plan drains the last endpoint of a cluster, nor more than half of them, those included that are out of service anyway; the last step of a plan, and no other, settles: what was staged before is pushed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flyball_proto::steering::Settings;

use super::desired::{DRAIN, Parameter};
use crate::envoy::Envoy;
use crate::steer::actuator::{Law, Nature, Purpose, Reading, Step};

/// Time between two looks at what clients acknowledge, which costs no question.
const CHECK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone)]
pub struct XdsLaw {
    envoy: Envoy,
}

impl XdsLaw {
    /// The rules for one.
    pub const fn new(envoy: Envoy) -> Self {
        Self { envoy }
    }

    fn check_drains(&self, goal: &Settings, in_force: &Settings) -> Result<(), String> {
        let mut drained: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut is_new: BTreeSet<&str> = BTreeSet::new();
        for (parameter, value) in in_force.iter().chain(goal) {
            let Some(Parameter::State(cluster, endpoint)) = Parameter::parse(parameter) else {
                continue;
            };
            if value != DRAIN {
                drained.entry(cluster).or_default().remove(endpoint);
                continue;
            }
            drained.entry(cluster).or_default().insert(endpoint);
            if in_force.get(parameter) != Some(value) {
                is_new.insert(cluster);
            }
        }
        for (cluster, drained) in
            drained.into_iter().filter(|(cluster, _)| is_new.contains(cluster))
        {
            let Some(config) = self.envoy.config().cluster(cluster) else { continue };
            let all = config.endpoints.len();
            let lost = self.envoy.lost(cluster);
            let out = lost.iter().filter(|name| !drained.contains(name.as_str())).count();
            let without = drained.len() + out;
            if drained.len() * 2 > all || without >= all {
                let names: Vec<&str> = drained.into_iter().collect();
                let more =
                    if out > 0 { format!(", and {out} are out of service") } else { String::new() };
                return Err(format!(
                    "would drain {} of the {all} endpoints of {cluster}{more}: at most half of them, and never the last",
                    names.join(", ")
                ));
            }
        }
        Ok(())
    }
}

impl Law for XdsLaw {
    fn plan(
        &self,
        goal: &Settings,
        _found: &Settings,
        reading: &Reading,
        purpose: Purpose,
    ) -> Result<Vec<Step>, String> {
        if purpose == Purpose::Change {
            self.check_drains(goal, &reading.in_force)?;
        }
        let differs = |(parameter, value): &(&String, &String)| {
            reading.in_force.get(*parameter).is_some_and(|present| present != *value)
        };
        let step = |(parameter, value): (&String, &String)| Step {
            parameter: parameter.clone(),
            value: value.clone(),
            settles: false,
        };
        let mut steps: Vec<Step> = goal.iter().filter(differs).map(step).collect();
        steps.sort_by_key(|step| !step.parameter.starts_with("state:"));
        if let Some(last) = steps.last_mut() {
            last.settles = true;
        }
        Ok(steps)
    }

    fn nature(&self) -> Nature {
        Nature { check: CHECK, is_batched: true, ..Nature::default() }
    }

    fn is_on_the_way(&self, _parameter: &str, from: &str, to: &str, value: &str) -> bool {
        value == from || value == to
    }
}

#[cfg(test)]
mod tests {
    use super::super::desired::{configured, tests::config};
    use super::*;

    fn plan(endpoints: u8, goal: &[(&str, &str)]) -> Result<Vec<Step>, String> {
        let config = config(endpoints);
        let reading = Reading { in_force: configured(&config), ..Reading::default() };
        let goal = goal.iter().map(|(p, v)| ((*p).to_owned(), (*v).to_owned())).collect();
        let law = XdsLaw::new(Envoy::new(config));
        law.plan(&goal, &Settings::new(), &reading, Purpose::Change)
    }

    fn drains(endpoints: u8, drained: u8) -> bool {
        let names: Vec<String> =
            (1..=drained).map(|n| format!("state:web/10.0.0.{n}:80")).collect();
        let goal: Vec<_> = names.iter().map(|name| (name.as_str(), DRAIN)).collect();
        plan(endpoints, &goal).is_ok()
    }

    #[test]
    fn at_most_half_is_drained_and_never_the_last() {
        for (endpoints, drained, is_right) in [
            (1, 1, false),
            (2, 1, true),
            (2, 2, false),
            (3, 1, true),
            (3, 2, false),
            (4, 2, true),
            (5, 3, false),
        ] {
            assert_eq!(drains(endpoints, drained), is_right, "{drained} of {endpoints}");
        }
    }

    #[test]
    fn drains_add_up_but_one_may_take_the_place_of_another() {
        let config = config(3);
        let mut in_force = configured(&config);
        in_force.insert("state:web/10.0.0.1:80".to_owned(), DRAIN.to_owned());
        let law = XdsLaw::new(Envoy::new(config));
        let reading = Reading { in_force, ..Reading::default() };
        let plan = |goal: &[(&str, &str)]| {
            let goal = goal.iter().map(|(p, v)| ((*p).to_owned(), (*v).to_owned())).collect();
            law.plan(&goal, &Settings::new(), &reading, Purpose::Change)
        };
        let reason = plan(&[("state:web/10.0.0.2:80", DRAIN)]).unwrap_err();
        assert!(reason.contains("10.0.0.1:80, 10.0.0.2:80 of the 3 endpoints of web"), "{reason}");
        let swap = [("state:web/10.0.0.1:80", "ready"), ("state:web/10.0.0.2:80", DRAIN)];
        assert_eq!(plan(&swap).unwrap().len(), 2);
        assert!(plan(&[("state:web/10.0.0.1:80", DRAIN)]).unwrap().is_empty(), "in force");
    }

    #[test]
    fn the_last_step_settles_and_drains_come_first() {
        let goal = [
            ("max_requests:web", "5"),
            ("state:web/10.0.0.2:80", DRAIN),
            ("weight:web/10.0.0.1:80", "7"),
            ("weight:web/10.0.0.3:80", "100"),
        ];
        let steps = plan(4, &goal).unwrap();
        let all: Vec<_> = steps.iter().map(|step| (&*step.parameter, step.settles)).collect();
        let wanted = [
            ("state:web/10.0.0.2:80", false),
            ("max_requests:web", false),
            ("weight:web/10.0.0.1:80", true),
        ];
        assert_eq!(all, wanted);
    }
}
