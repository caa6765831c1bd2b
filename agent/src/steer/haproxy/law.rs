//! The rules for HAProxy: which changes of weights, states and limits are made, all at once.
//!
//! Properties, each a test: a plan ends at its goal, and lets in before it takes out; what is not there is refused and named; weights that mean nothing at run time are refused; no change
//! leaves a group without a server that serves, or with fewer than half of those that could or are in maintenance; no change puts more than the largest shift upon servers in
//! addition to what they have; no limit falls below what is under way; the way back is never refused.

use std::collections::BTreeMap;
use std::time::Duration;

use flyball_proto::steering::Settings;

use super::{AWAY, MAXCONN, MOST_WEIGHT, STATE, UNDER_WAY, UNTUNABLE, WEIGHT};
use crate::haproxy::READY;
use crate::steer::actuator::{Law, Nature, Purpose, Reading, Step, differing};
use crate::steer::balance::{self, guard_limit, guard_shift};

/// See the module.
#[derive(Debug, Clone, Copy)]
pub struct HaproxyLaw {
    largest_shift: f64,
    check: Duration,
}

/// A server as far as the rules are concerned.
#[derive(Debug, Clone, Copy)]
struct Server {
    weight: f64,
    is_ready: bool,
    /// Could be given requests if that were set: one in maintenance could, one that is down could not.
    is_there: bool,
}

type Group<'a> = BTreeMap<&'a str, Server>;

impl HaproxyLaw {
    /// Rules that let one change put so much upon servers, with this time between two looks.
    pub const fn new(largest_shift: f64, check: Duration) -> Self {
        Self { largest_shift, check }
    }

    fn guard(&self, changes: &Settings, reading: &Reading, purpose: Purpose) -> Result<(), String> {
        for (parameter, value) in changes {
            known(parameter, reading)?;
            guard_maxconn(parameter, value, reading, purpose)?;
        }
        let mut then = reading.in_force.clone();
        then.extend(changes.clone());
        let (before, after) = (groups(&reading.in_force, reading), groups(&then, reading));
        for (name, servers) in &after {
            guard_serving(name, &before[name], servers)?;
            if purpose == Purpose::Change {
                let (before, after) = (shared(&before[name]), shared(servers));
                guard_shift(name, &before, &after, self.largest_shift)?;
            }
        }
        Ok(())
    }
}

/// Holds a change to servers enough.
fn guard_serving(name: &str, before: &Group<'_>, after: &Group<'_>) -> Result<(), String> {
    let serving = |group: &Group<'_>| group.values().filter(|one| one.serves()).count();
    let could = before.values().filter(|one| one.is_there).count();
    let (was, is) = (serving(before), serving(after));
    if is < was && is == 0 {
        return Err(format!(
            "group {name} would have no server left that serves: leave one of them ready, with a weight above 0"
        ));
    }
    if is < was && is * 2 < could {
        return Err(format!(
            "group {name} would have {is} of {could} servers that serve, fewer than half: drain fewer at once"
        ));
    }
    Ok(())
}

impl Law for HaproxyLaw {
    fn plan(
        &self,
        goal: &Settings,
        _found: &Settings,
        reading: &Reading,
        purpose: Purpose,
    ) -> Result<Vec<Step>, String> {
        let mut changes = differing(goal, &reading.in_force);
        if purpose != Purpose::PutBack {
            self.guard(&changes, reading, purpose)?;
        }
        // A server that is gone has nothing to be put back.
        changes.retain(|parameter, _| reading.in_force.contains_key(parameter));
        let mut steps: Vec<(u64, Step)> = changes.into_iter().map(ranked).collect();
        steps.sort_by_key(|(rank, _)| *rank);
        Ok(steps.into_iter().map(|(_, step)| step).collect())
    }

    fn is_on_the_way(&self, _parameter: &str, from: &str, to: &str, value: &str) -> bool {
        value == from || value == to
    }

    fn nature(&self) -> Nature {
        Nature { check: self.check, forgets: true, is_batched: true }
    }
}

impl Server {
    fn serves(self) -> bool {
        self.is_there && self.is_ready && self.weight > 0.0
    }
}

/// The kind, the group and the server of a parameter.
pub(super) fn place(parameter: &str) -> Option<(&'static str, &str, &str)> {
    let (kind, place) = [WEIGHT, STATE, MAXCONN]
        .into_iter()
        .find_map(|kind| Some((kind, parameter.strip_prefix(kind)?)))?;
    let (group, server) = place.split_once('/')?;
    Some((kind, group, server))
}

/// Refuses what is not there, and weights that mean nothing.
fn known(parameter: &str, reading: &Reading) -> Result<(), String> {
    let Some((kind, group, server)) = place(parameter) else {
        return Err(format!("{parameter} is not known to HAProxy: use KIND:GROUP/BACKEND"));
    };
    if !reading.in_force.contains_key(parameter) {
        let has_group = reading
            .in_force
            .keys()
            .any(|known| place(known).is_some_and(|(_, name, _)| name == group));
        return Err(if has_group {
            format!("{parameter}: group {group} has no server {server}")
        } else {
            format!(
                "{parameter}: there is no group {group}, or it is not among groups in the agent's configuration"
            )
        });
    }
    match reading.parts.get(&format!("{UNTUNABLE}{group}")) {
        Some(why) if kind == WEIGHT => Err(format!(
            "{parameter}: {why}; use balance roundrobin, leastconn or random, or a state"
        )),
        _ => Ok(()),
    }
}

/// A step and its place: what lets in comes before what takes out, so that between two of them nobody is without servers.
fn ranked((parameter, value): (String, String)) -> (u64, Step) {
    let rank = match place(&parameter) {
        Some((STATE, ..)) if value == READY => 0,
        Some((WEIGHT, ..)) => 1 + MOST_WEIGHT.saturating_sub(value.parse().unwrap_or(MOST_WEIGHT)),
        Some((MAXCONN, ..)) => MOST_WEIGHT + 2,
        _ => MOST_WEIGHT + 3,
    };
    (rank, Step { parameter, value, settles: false })
}

fn groups<'a>(settings: &'a Settings, reading: &Reading) -> BTreeMap<&'a str, Group<'a>> {
    let mut all: BTreeMap<&str, Group<'_>> = BTreeMap::new();
    for (parameter, value) in settings {
        let Some((kind, group, server)) = place(parameter) else { continue };
        let new = || Server {
            weight: 1.0,
            is_ready: true,
            is_there: !reading.parts.contains_key(&format!("{AWAY}{group}/{server}")),
        };
        let one = all.entry(group).or_default().entry(server).or_insert_with(new);
        match kind {
            WEIGHT => one.weight = value.parse().unwrap_or(0.0),
            STATE => one.is_ready = value == READY,
            _ => {}
        }
    }
    all
}

/// A group as the rules that balancers share know it.
fn shared<'a>(group: &Group<'a>) -> balance::Group<'a> {
    let server = |one: &Server| balance::Server { weight: one.weight, serves: one.serves() };
    group.iter().map(|(name, one)| (*name, server(one))).collect()
}

/// Holds a limit to what is under way at its server, and a change to half of what it was. 0: there is none.
fn guard_maxconn(
    parameter: &str,
    value: &str,
    reading: &Reading,
    purpose: Purpose,
) -> Result<(), String> {
    let Some((MAXCONN, group, server)) = place(parameter) else { return Ok(()) };
    let limit = |text: &str| text.parse().ok().filter(|limit| *limit > 0);
    let from = reading.in_force.get(parameter).and_then(|text| limit(text));
    let from = from.filter(|_| purpose == Purpose::Change);
    let under_way = reading.parts.get(&format!("{UNDER_WAY}{group}/{server}"));
    let under_way = under_way.and_then(|text| text.parse().ok());
    guard_limit(parameter, from, limit(value), under_way)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::haproxy::{DRAIN, MAINT};

    const LAW: HaproxyLaw = HaproxyLaw::new(0.5, Duration::from_millis(250));

    fn reading(servers: &[(&str, u32, &str)]) -> Reading {
        let pairs = servers.iter().flat_map(|(server, weight, state)| {
            [
                (format!("weight:web/{server}"), weight.to_string()),
                (format!("state:web/{server}"), (*state).to_owned()),
                (format!("maxconn:web/{server}"), "0".to_owned()),
            ]
        });
        Reading { in_force: pairs.collect(), ..Reading::default() }
    }

    fn goal(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn plan(pairs: &[(&str, &str)], reading: &Reading) -> Result<Vec<Step>, String> {
        LAW.plan(&goal(pairs), &Settings::new(), reading, Purpose::Change)
    }

    fn refusal(pairs: &[(&str, &str)], reading: &Reading) -> String {
        let back = LAW.plan(&goal(pairs), &Settings::new(), reading, Purpose::PutBack);
        assert!(back.is_ok(), "the way back is never refused");
        plan(pairs, reading).unwrap_err()
    }

    fn three() -> Reading {
        reading(&[("a", 100, READY), ("b", 100, READY), ("c", 100, READY)])
    }

    #[test]
    fn what_is_set_again_may_go_as_far_as_was_gone_in_steps_and_drains_no_more_than_a_policy_may() {
        let again = |pairs: &[(&str, &str)], reading: &Reading| {
            LAW.plan(&goal(pairs), &Settings::new(), reading, Purpose::Again)
        };
        let all = reading(&[("a", 1, READY), ("b", 100, READY), ("c", 100, READY)]);
        let far = [("weight:web/a", "256"), ("weight:web/b", "1"), ("weight:web/c", "1")];
        let refused = LAW.plan(&goal(&far), &Settings::new(), &all, Purpose::Change);
        assert!(refused.unwrap_err().contains("would move at once"));
        assert_eq!(again(&far, &all).unwrap().len(), 3);
        let drains = [("state:web/a", DRAIN), ("state:web/b", DRAIN)];
        assert!(again(&drains, &all).unwrap_err().contains("fewer than half"));
    }

    #[test]
    fn what_lets_in_goes_before_what_takes_out() {
        let reading = reading(&[("a", 100, READY), ("b", 100, DRAIN), ("c", 100, READY)]);
        let wanted = [
            ("maxconn:web/a", "9"),
            ("state:web/a", DRAIN),
            ("state:web/b", READY),
            ("weight:web/a", "90"),
            ("weight:web/b", "120"),
        ];
        let steps = plan(&wanted, &reading).unwrap();
        let order: Vec<_> = steps.iter().map(|step| step.parameter.as_str()).collect();
        let all = ["state:web/b", "weight:web/b", "weight:web/a", "maxconn:web/a", "state:web/a"];
        assert_eq!(order, all);
        assert_eq!(plan(&[("weight:web/a", "100")], &three()), Ok(vec![]));
    }

    #[test]
    fn what_is_not_there_is_named() {
        for (parameter, words) in [
            ("weight:web/d", "has no server d"),
            ("state:api/a", "no group api"),
            ("weight:web", "KIND:GROUP/BACKEND"),
        ] {
            let refused = refusal(&[(parameter, "1")], &three());
            assert!(refused.contains(words) && refused.contains(parameter), "{refused}");
        }
    }

    #[test]
    fn weights_that_mean_nothing_are_refused_and_drains_are_not() {
        let mut reading = three();
        reading.parts.insert("untunable:web".to_owned(), "under source, no".to_owned());
        let refused = refusal(&[("weight:web/a", "1")], &reading);
        assert!(refused.contains("weight:web/a: under source, no"), "{refused}");
        assert!(plan(&[("state:web/a", DRAIN)], &reading).is_ok());
    }

    #[test]
    fn somebody_always_serves() {
        let last = reading(&[("a", 100, READY), ("b", 0, READY), ("c", 100, DRAIN)]);
        for wanted in [("weight:web/a", "0"), ("state:web/a", DRAIN), ("state:web/a", MAINT)] {
            assert!(refusal(&[wanted], &last).contains("no server left"));
        }
        let both = [("state:web/a", DRAIN), ("weight:web/b", "0")];
        assert!(refusal(&both, &three()).contains("1 of 3 servers"));
        let mut down = three();
        down.parts.insert("away:web/c".to_owned(), String::new());
        assert!(plan(&[("state:web/a", DRAIN)], &down).is_ok(), "one of two that could");
        assert!(refusal(&both, &down).contains("no server left"));
        let maint = reading(&[("a", 100, READY), ("b", 100, READY), ("c", 100, MAINT)]);
        let refused = refusal(&[("state:web/a", DRAIN)], &maint);
        assert!(refused.contains("1 of 3 servers"), "one in maintenance serves nobody: {refused}");
        assert!(plan(&[("state:web/a", READY)], &last).is_ok());
    }

    #[test]
    fn no_more_than_the_largest_shift_is_put_upon_servers() {
        let uneven = reading(&[("a", 10, READY), ("b", 10, READY), ("c", 100, READY)]);
        let refused = refusal(&[("state:web/c", DRAIN)], &uneven);
        assert!(refused.contains("83 %") && refused.contains("steer.largest_shift"), "{refused}");
        let two = reading(&[("a", 100, READY), ("b", 100, READY)]);
        assert!(plan(&[("state:web/a", DRAIN)], &two).is_ok(), "half");
        let back = reading(&[("a", 10, READY), ("b", 10, READY), ("c", 100, DRAIN)]);
        assert!(plan(&[("state:web/c", READY)], &back).is_ok(), "upon nobody else");
    }

    #[test]
    fn no_limit_falls_below_what_is_under_way_nor_by_more_than_half() {
        let mut busy = three();
        busy.in_force.insert("maxconn:web/a".to_owned(), "100".to_owned());
        busy.parts.insert("under_way:web/a".to_owned(), "60".to_owned());
        busy.parts.insert("under_way:web/b".to_owned(), "8".to_owned());
        let refused = refusal(&[("maxconn:web/a", "70")], &busy);
        assert!(refused.contains("60 are under way") && refused.contains("75"), "{refused}");
        assert!(refusal(&[("maxconn:web/a", "40")], &busy).contains("more than half"));
        assert!(refusal(&[("maxconn:web/b", "9")], &busy).contains("8 are under way"));
        for right in [("maxconn:web/a", "75"), ("maxconn:web/a", "0"), ("maxconn:web/b", "10")] {
            assert!(plan(&[right], &busy).is_ok(), "{right:?}");
        }
        busy.parts.insert("under_way:web/c".to_owned(), "1.600".to_owned());
        assert!(plan(&[("maxconn:web/c", "2")], &busy).is_ok(), "a mean");
        busy.parts.insert("under_way:web/c".to_owned(), "1.601".to_owned());
        assert!(refusal(&[("maxconn:web/c", "2")], &busy).contains("3 is the least"));
    }

    proptest! {
        #[test]
        fn a_plan_ends_at_its_goal_within_the_rules(
            weights in prop::collection::vec(0_u32..=256, 2..6),
            wanted in prop::collection::vec((0_u32..=256, 0_usize..3), 2..6),
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let now: Vec<_> =
                names.iter().zip(&weights).map(|(name, weight)| (*name, *weight, READY)).collect();
            let mut reading = reading(&now);
            let goal: Settings = names.iter().take(weights.len()).zip(&wanted).flat_map(|(name, (weight, state))| {
                [
                    (format!("weight:web/{name}"), weight.to_string()),
                    (format!("state:web/{name}"), [READY, DRAIN, MAINT][*state].to_owned()),
                ]
            }).collect();
            let Ok(steps) = LAW.plan(&goal, &Settings::new(), &reading, Purpose::Change) else {
                return Ok(());
            };
            let served = groups(&reading.in_force, &reading)["web"].values().any(|one| one.serves());
            for Step { parameter, value, .. } in steps {
                reading.in_force.insert(parameter, value);
                let now = groups(&reading.in_force, &reading)["web"].values().any(|one| one.serves());
                prop_assert!(now || !served, "on the way");
            }
            prop_assert!(differing(&goal, &reading.in_force).is_empty());
            prop_assert_eq!(LAW.plan(&goal, &Settings::new(), &reading, Purpose::Change), Ok(vec![]));
            let serves = groups(&reading.in_force, &reading)["web"].values().any(|one| one.serves());
            prop_assert!(serves || !served);
        }
    }
}
