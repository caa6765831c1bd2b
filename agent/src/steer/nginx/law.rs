//! The rules for nginx: drains, and shifts that are worth a reload.
//!
//! Properties, each a test: a plan is one step or none; it never leaves an upstream with fewer than half of its servers or without any; a shift below the least one is refused
//! unless a server is drained or comes back.

use std::collections::BTreeMap;

use flyball_proto::steering::Settings;

use super::{READY, STATE, WEIGHT};
use crate::steer::actuator::{Law, Purpose, Reading, Step, differing};

/// Share of an upstream's requests that a change of weights has to move: less is not worth a reload.
const LEAST_SHIFT: f64 = 0.2;
/// The one parameter that steps have: all values of a plan, in lines.
const ALL: &str = "all";

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct NginxLaw;

impl Law for NginxLaw {
    fn plan(
        &self,
        goal: &Settings,
        _found: &Settings,
        reading: &Reading,
        purpose: Purpose,
    ) -> Result<Vec<Step>, String> {
        let changes = differing(goal, &reading.in_force);
        if changes.is_empty() {
            return Ok(Vec::new());
        }
        if purpose == Purpose::Change {
            guard(&changes, &reading.in_force)?;
        }
        let line = |(parameter, value): (&String, &String)| format!("{parameter}\n{value}\n");
        let value = changes.iter().map(line).collect();
        Ok(vec![Step { parameter: ALL.to_owned(), value, settles: false }])
    }

    fn is_on_the_way(&self, _parameter: &str, from: &str, to: &str, value: &str) -> bool {
        value == from || value == to
    }
}

/// The values that a step sets; `None`: it is no step of a plan from here.
pub(super) fn values(step: &Step) -> Option<Settings> {
    let lines: Vec<&str> = step.value.lines().collect();
    let pairs = lines.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
    (step.parameter == ALL && lines.len().is_multiple_of(2)).then(|| pairs.collect())
}

/// The upstream and the server of a parameter.
pub(super) fn place(parameter: &str) -> Option<(&str, &str)> {
    let place = parameter.strip_prefix(WEIGHT).or_else(|| parameter.strip_prefix(STATE))?;
    place.split_once('/')
}

/// A server's weight, and whether it is given requests.
type Upstream<'a> = BTreeMap<&'a str, (f64, bool)>;

fn upstreams(settings: &Settings) -> BTreeMap<&str, Upstream<'_>> {
    let mut all: BTreeMap<&str, Upstream<'_>> = BTreeMap::new();
    for (parameter, value) in settings {
        let Some((upstream, server)) = place(parameter) else { continue };
        let one = all.entry(upstream).or_default().entry(server).or_insert((1.0, true));
        if parameter.starts_with(WEIGHT) {
            one.0 = value.parse().unwrap_or(0.0);
        } else {
            one.1 = value == READY;
        }
    }
    all
}

fn guard(changes: &Settings, in_force: &Settings) -> Result<(), String> {
    if let Some(unknown) = changes.keys().find(|parameter| !in_force.contains_key(*parameter)) {
        return Err(format!("{unknown} is not known to this nginx"));
    }
    let mut then = in_force.clone();
    then.extend(changes.clone());
    let (before, after) = (upstreams(in_force), upstreams(&then));
    for (name, servers) in &after {
        let ready = servers.values().filter(|(_, is_ready)| *is_ready).count();
        let ready_before = before[name].values().filter(|(_, is_ready)| *is_ready).count();
        if ready < ready_before && ready * 2 < servers.len() {
            return Err(format!(
                "upstream {name} would have {ready} of {} servers: fewer than half",
                servers.len()
            ));
        }
    }
    let is_drain = |(parameter, _): (&String, &String)| parameter.starts_with(STATE);
    if changes.iter().any(is_drain) {
        return Ok(());
    }
    let shift = after.iter().map(|(name, servers)| shift(&before[name], servers));
    let shift = shift.fold(0.0, f64::max);
    if shift < LEAST_SHIFT {
        return Err(format!(
            "it would move {:.0} % of the requests, and nginx has to be loaded anew for it: at least {:.0} % are worth that",
            shift * 100.0,
            LEAST_SHIFT * 100.0
        ));
    }
    Ok(())
}

/// Share of the requests that go elsewhere.
fn shift(before: &Upstream<'_>, after: &Upstream<'_>) -> f64 {
    let total = |servers: &Upstream<'_>| -> f64 {
        servers.values().filter(|(_, is_ready)| *is_ready).map(|(weight, _)| weight).sum()
    };
    let share = |(weight, is_ready): (f64, bool), total: f64| {
        if is_ready && total > 0.0 { weight / total } else { 0.0 }
    };
    let (was, is) = (total(before), total(after));
    let moved = |(server, after): (&&str, &(f64, bool))| {
        let before = before.get(server).copied().unwrap_or((0.0, false));
        (share(*after, is) - share(before, was)).abs()
    };
    after.iter().map(moved).sum::<f64>() / 2.0
}

#[cfg(test)]
mod tests {
    use super::super::DRAIN;
    use super::*;

    fn reading(servers: &[(&str, &str, &str)]) -> Reading {
        let pairs = servers.iter().flat_map(|(server, weight, state)| {
            let pair = |kind: &str, value: &str| (format!("{kind}web/{server}"), value.to_owned());
            [pair(WEIGHT, weight), pair(STATE, state)]
        });
        Reading { in_force: pairs.collect(), ..Reading::default() }
    }

    fn goal(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn plan(pairs: &[(&str, &str)], servers: &[(&str, &str, &str)]) -> Result<Vec<Step>, String> {
        NginxLaw.plan(&goal(pairs), &Settings::new(), &reading(servers), Purpose::Change)
    }

    const THREE: [(&str, &str, &str); 3] =
        [("a", "10", READY), ("b", "10", READY), ("c", "10", READY)];

    #[test]
    fn everything_goes_in_one_step() {
        let wanted = [("weight:web/a", "100"), ("state:web/b", DRAIN)];
        let steps = plan(&wanted, &THREE).unwrap();
        assert_eq!(steps.len(), 1);
        assert_eq!(values(&steps[0]), Some(goal(&wanted)));
        assert_eq!(plan(&[("weight:web/a", "10")], &THREE), Ok(vec![]));
        let other = Step { parameter: "maxmemory".into(), value: "1".into(), settles: false };
        assert_eq!(values(&other), None);
    }

    #[test]
    fn small_shifts_are_not_worth_a_reload() {
        let refused = plan(&[("weight:web/a", "12")], &THREE).unwrap_err();
        assert!(refused.contains("4 % of the requests"), "{refused}");
        assert!(plan(&[("weight:web/a", "40")], &THREE).is_ok());
        let back = NginxLaw.plan(
            &goal(&[("weight:web/a", "12")]),
            &Settings::new(),
            &reading(&THREE),
            Purpose::PutBack,
        );
        assert_eq!(back.map(|steps| steps.len()), Ok(1), "the way back is never refused");
    }

    #[test]
    fn half_of_an_upstream_always_serves() {
        let drained = [("a", "10", DRAIN), ("b", "10", READY), ("c", "10", READY)];
        assert!(plan(&[("state:web/a", DRAIN)], &THREE).is_ok());
        let refused = plan(&[("state:web/b", DRAIN)], &drained).unwrap_err();
        assert!(refused.contains("1 of 3 servers"), "{refused}");
        let few = [("a", "10", DRAIN), ("b", "10", DRAIN), ("c", "10", DRAIN)];
        assert!(plan(&[("state:web/b", READY)], &few).is_ok(), "more than before");
        let unknown = plan(&[("state:web/d", DRAIN)], &THREE).unwrap_err();
        assert!(unknown.contains("state:web/d"), "{unknown}");
    }
}
