//! The rules for nginx: drains, and shifts that are worth a reload.
//!
//! Properties, each a test: a plan is one step or none; it never leaves an upstream with fewer than half of its servers or without any; a shift below the least one is refused
//! unless a server is drained or comes back; no change puts more than the largest shift upon servers in addition to what they have.

use std::collections::BTreeMap;

use flyball_proto::steering::Settings;

use super::{READY, STATE, WEIGHT};
use crate::steer::actuator::{Law, Purpose, Reading, Step, differing};
use crate::steer::balance::{Group, Server, guard_shift, moved};

/// Share of an upstream's requests that a change of weights has to move: less is not worth a reload.
const LEAST_SHIFT: f64 = 0.2;
/// The one parameter that steps have: all values of a plan, in lines.
const ALL: &str = "all";

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct NginxLaw {
    largest_shift: f64,
}

impl NginxLaw {
    /// Rules that let one change put so much upon servers.
    pub const fn new(largest_shift: f64) -> Self {
        Self { largest_shift }
    }
}

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
        if purpose != Purpose::PutBack {
            guard(&changes, &reading.in_force, self.largest_shift)?;
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

fn upstreams(settings: &Settings) -> BTreeMap<&str, Group<'_>> {
    let mut all: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for (parameter, value) in settings {
        let Some((upstream, server)) = place(parameter) else { continue };
        let new = Server { weight: 1.0, serves: true };
        let one = all.entry(upstream).or_default().entry(server).or_insert(new);
        if parameter.starts_with(WEIGHT) {
            one.weight = value.parse().unwrap_or(0.0);
        } else {
            one.serves = value == READY;
        }
    }
    all
}

fn guard(changes: &Settings, in_force: &Settings, largest_shift: f64) -> Result<(), String> {
    if let Some(unknown) = changes.keys().find(|parameter| !in_force.contains_key(*parameter)) {
        return Err(format!("{unknown} is not known to this nginx"));
    }
    let mut then = in_force.clone();
    then.extend(changes.clone());
    let (before, after) = (upstreams(in_force), upstreams(&then));
    for (name, servers) in &after {
        let ready = servers.values().filter(|one| one.serves).count();
        let ready_before = before[name].values().filter(|one| one.serves).count();
        if ready < ready_before && ready * 2 < servers.len() {
            return Err(format!(
                "upstream {name} would have {ready} of {} servers: fewer than half",
                servers.len()
            ));
        }
        guard_shift(name, &before[name], servers, largest_shift)?;
    }
    let is_drain = |(parameter, _): (&String, &String)| parameter.starts_with(STATE);
    if changes.iter().any(is_drain) {
        return Ok(());
    }
    let shift = after.iter().map(|(name, servers)| moved(&before[name], servers));
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

#[cfg(test)]
mod tests {
    use super::super::DRAIN;
    use super::*;

    const LAW: NginxLaw = NginxLaw::new(0.5);

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
        LAW.plan(&goal(pairs), &Settings::new(), &reading(servers), Purpose::Change)
    }

    const THREE: [(&str, &str, &str); 3] =
        [("a", "10", READY), ("b", "10", READY), ("c", "10", READY)];

    #[test]
    fn everything_goes_in_one_step() {
        let wanted = [("weight:web/a", "20"), ("state:web/b", DRAIN)];
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
        let back = LAW.plan(
            &goal(&[("weight:web/a", "12")]),
            &Settings::new(),
            &reading(&THREE),
            Purpose::PutBack,
        );
        assert_eq!(back.map(|steps| steps.len()), Ok(1), "the way back is never refused");
    }

    #[test]
    fn no_more_than_the_largest_shift_is_put_upon_servers() {
        for wanted in
            [&[("weight:web/a", "200")][..], &[("weight:web/a", "100"), ("state:web/b", DRAIN)]]
        {
            let refused = plan(wanted, &THREE).unwrap_err();
            assert!(
                refused.contains("58 %") && refused.contains("steer.largest_shift"),
                "{refused}"
            );
        }
        let one = [("a", "10", READY), ("b", "250", DRAIN), ("c", "10", READY)];
        assert!(
            plan(&[("state:web/b", READY)], &one).is_ok(),
            "what comes back is put upon nobody"
        );
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
