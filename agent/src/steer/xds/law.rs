//! The rules for what is served by xDS: everything in one push, drains first.
//!
//! Properties, each a test: no plan drains the last endpoint of a cluster, nor more than half of them, those included that are out of service anyway; no change puts more than the
//! largest shift upon endpoints in addition to what they have; no limit falls below what is under way; the last step of a plan, and no other, settles: what was staged before is
//! pushed with it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flyball_proto::steering::Settings;

use super::desired::{DRAIN, Parameter};
use crate::envoy::{ClusterConfig, Envoy, UnderWay};
use crate::steer::actuator::{Law, Nature, Purpose, Reading, Step, differing};
use crate::steer::balance::{Group, Server, guard_limit, guard_shift};

/// Time between two looks at what clients acknowledge, which costs no question.
const CHECK: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Clone)]
pub struct XdsLaw {
    envoy: Envoy,
    largest_shift: f64,
}

impl XdsLaw {
    /// The rules for one that let one change put so much upon endpoints.
    pub const fn new(envoy: Envoy, largest_shift: f64) -> Self {
        Self { envoy, largest_shift }
    }

    /// Holds each cluster that is changed to the largest shift. Endpoints of one priority share what comes to it.
    fn check_shift(&self, changes: &Settings, in_force: &Settings) -> Result<(), String> {
        let mut then = in_force.clone();
        then.extend(changes.clone());
        let is_changed = |cluster: &&ClusterConfig| {
            let is_its = |parameter: &String| match Parameter::parse(parameter) {
                Some(Parameter::Weight(name, _) | Parameter::State(name, _)) => {
                    name == cluster.name
                }
                _ => false,
            };
            changes.keys().any(is_its)
        };
        for cluster in self.envoy.config().clusters.iter().filter(is_changed) {
            let lost = self.envoy.lost(&cluster.name);
            let priorities: BTreeSet<u32> = cluster.endpoints.iter().map(|e| e.priority).collect();
            for priority in priorities {
                let names: Vec<String> = cluster
                    .endpoints
                    .iter()
                    .filter(|endpoint| endpoint.priority == priority)
                    .map(crate::envoy::EndpointConfig::name)
                    .collect();
                let group = |settings| group(&cluster.name, &names, &lost, settings);
                guard_shift(&cluster.name, &group(in_force), &group(&then), self.largest_shift)?;
            }
        }
        Ok(())
    }

    /// Holds limits to what is under way, as far as an admin interface tells: to whole requests, rounded up, since what is above a limit fails at once.
    fn check_limits(&self, changes: &Settings, in_force: &Settings) -> Result<(), String> {
        for (parameter, value) in changes {
            let Some(Parameter::Number(what, cluster)) = Parameter::parse(parameter) else {
                continue;
            };
            let of: fn(UnderWay) -> Option<u64> = match what {
                "max_connections" => |now| Some(now.connections),
                "max_pending" => |now| Some(now.pending),
                "max_requests" => |now| Some(now.requests),
                "max_retries" => |_| None,
                _ => continue,
            };
            let under_way = self.envoy.under_way(cluster).and_then(of);
            let limit = |text: Option<&String>| text.and_then(|text| text.parse().ok());
            let from = limit(in_force.get(parameter));
            let under_way = under_way.map(|now| now as f64);
            guard_limit(parameter, from, limit(Some(value)), under_way)?;
        }
        Ok(())
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
        if purpose != Purpose::PutBack {
            let changes = differing(goal, &reading.in_force);
            self.check_drains(goal, &reading.in_force)?;
            self.check_shift(&changes, &reading.in_force)?;
            self.check_limits(&changes, &reading.in_force)?;
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

/// The endpoints of a cluster with these names, as the rules that balancers share know them.
fn group<'a>(
    cluster: &str,
    names: &'a [String],
    lost: &[String],
    settings: &Settings,
) -> Group<'a> {
    let server = |name: &String| {
        let of = |what: &str| settings.get(&format!("{what}:{cluster}/{name}"));
        let weight = of("weight").and_then(|weight| weight.parse().ok()).unwrap_or(1.0);
        let is_drained = of("state").is_some_and(|state| state == DRAIN);
        Server { weight, serves: !is_drained && !lost.contains(name) }
    };
    names.iter().map(|name| (name.as_str(), server(name))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::desired::{configured, tests::config};
    use super::*;
    use crate::envoy::{Known, KnownCluster, KnownHost};

    fn plan(endpoints: u8, goal: &[(&str, &str)]) -> Result<Vec<Step>, String> {
        let config = config(endpoints);
        let reading = Reading { in_force: configured(&config), ..Reading::default() };
        let goal = goal.iter().map(|(p, v)| ((*p).to_owned(), (*v).to_owned())).collect();
        let law = XdsLaw::new(Envoy::new(config), 0.5);
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
        let law = XdsLaw::new(Envoy::new(config), 0.5);
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
    fn no_more_than_the_largest_shift_is_put_upon_endpoints_of_a_priority() {
        let refused = plan(3, &[("weight:web/10.0.0.1:80", "2000")]).unwrap_err();
        assert!(refused.contains("58 % of the requests of group web"), "{refused}");
        assert!(plan(3, &[("weight:web/10.0.0.1:80", "300")]).is_ok());
        let mut config = config(3);
        config.clusters[0].endpoints[0].priority = 1;
        let reading = Reading { in_force: configured(&config), ..Reading::default() };
        let law = XdsLaw::new(Envoy::new(config), 0.5);
        let goal = [("weight:web/10.0.0.1:80".to_owned(), "2000".to_owned())].into();
        let alone = law.plan(&goal, &Settings::new(), &reading, Purpose::Change);
        assert!(alone.is_ok(), "it shares with nobody: {alone:?}");
    }

    #[test]
    fn no_limit_falls_below_what_is_under_way_nor_by_more_than_half() {
        let config = config(1);
        let reading = Reading { in_force: configured(&config), ..Reading::default() };
        let envoy = Envoy::new(config);
        let law = XdsLaw::new(envoy.clone(), 0.5);
        let plan = |parameter: &str, value: &str| {
            let goal = [(format!("{parameter}:web"), value.to_owned())].into();
            law.plan(&goal, &Settings::new(), &reading, Purpose::Change)
        };
        assert!(plan("max_requests", "511").unwrap_err().contains("more than half"));
        assert!(plan("max_requests", "512").is_ok(), "nobody knows what is under way");
        let idle = KnownHost::idle("10.0.0.1:80");
        let mut host = KnownHost { pending: 500, connections: 700, ..idle };
        host.window.in_flight = Some(600.0);
        let web = KnownCluster::new("web", vec![host]);
        envoy.set_known(Known { clusters: vec![web], ..Known::default() });
        for (parameter, below, least) in [
            ("max_requests", "749", "750"),
            ("max_pending", "624", "625"),
            ("max_connections", "874", "875"),
        ] {
            let refused = plan(parameter, below).unwrap_err();
            assert!(refused.contains(&format!("{least} is the least")), "{refused}");
            assert!(plan(parameter, least).is_ok(), "{parameter}");
        }
        assert!(plan("max_retries", "2").is_ok() && plan("max_retries", "1").is_err());
        assert!(plan("consecutive_5xx", "9").is_ok(), "no limit");
    }

    #[test]
    fn the_last_step_settles_and_drains_come_first() {
        let goal = [
            ("max_requests:web", "600"),
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
