//! The actuator of HAProxy: weights, drains and limits over its runtime socket.
//!
//! All of a policy goes out in one line, states that let in first and those that take out last. HAProxy answers a change with nothing, so what is in force is read each time.
//! Nothing outlives a reload there: a new process is noticed within `check_ms`, and what was in force is set again.

mod law;

use std::collections::BTreeMap;
use std::time::Duration;

use flyball_proto::steering::{Bounds, Capability, MAX_PARAMETER_BYTES, Target};

use super::actuator::{Actuator, Law, Reading, Step, Trouble};
use super::config::SteerConfig;
use crate::haproxy::meaning::{meaning, name};
use crate::haproxy::snapshot::{Line, Snapshot};
use crate::haproxy::socket::ask;
use crate::haproxy::{DRAIN, Haproxy, HaproxyError, KIND, MAINT, READY, UnderWay};
pub use law::HaproxyLaw;

/// How a weight is called: `weight:GROUP/BACKEND`.
const WEIGHT: &str = "weight:";
/// How a state is called: `state:GROUP/BACKEND`.
const STATE: &str = "state:";
/// How a limit is called: `maxconn:GROUP/BACKEND`; 0: there is none.
const MAXCONN: &str = "maxconn:";
/// Why a group's weights are left, among the parts of a reading: `untunable:GROUP`.
const UNTUNABLE: &str = "untunable:";
/// A server that cannot serve whatever is set, among the parts of a reading: `away:GROUP/BACKEND`.
const AWAY: &str = "away:";
/// Requests under way at a server, among the parts of a reading: `under_way:GROUP/BACKEND`. The mean of the last window, since at a moment they scatter, and what is above a limit
/// waits; where that is not known, those of the moment.
const UNDER_WAY: &str = "under_way:";
/// HAProxy takes no larger weight.
const MOST_WEIGHT: u64 = 256;
/// As much as one process takes at all.
const MOST_CONNECTIONS: u64 = 1_000_000;

/// One HAProxy.
#[derive(Debug)]
pub struct HaproxyActuator {
    target: Target,
    haproxy: Haproxy,
    largest_shift: f64,
}

impl HaproxyActuator {
    /// A HAProxy that may be steered where its settings say so; what was begun before that was no longer so can be put back.
    pub fn new(haproxy: Haproxy, settings: &SteerConfig) -> Self {
        let target = Target::new(KIND, &haproxy.config().name);
        Self { target, haproxy, largest_shift: settings.largest_shift }
    }
}

impl Actuator for HaproxyActuator {
    fn target(&self) -> &Target {
        &self.target
    }

    fn capability(&self) -> Capability {
        let is_steered = self.haproxy.config().steer;
        let states = [READY, DRAIN, MAINT].map(str::to_owned).to_vec();
        let all = [
            (format!("{WEIGHT}*"), Bounds::Number(0, MOST_WEIGHT)),
            (format!("{STATE}*"), Bounds::OneOf(states)),
            (format!("{MAXCONN}*"), Bounds::Number(0, MOST_CONNECTIONS)),
        ];
        let reason = "the agent's configuration does not allow it: steer = true is not set";
        Capability {
            target: self.target.clone(),
            parameters: if is_steered { all.into() } else { BTreeMap::new() },
            may_persist: false,
            reason: if is_steered { String::new() } else { reason.to_owned() },
            largest_growth: None,
        }
    }

    fn law(&self) -> Box<dyn Law> {
        let check = Duration::from_millis(self.haproxy.config().check_ms.into());
        Box::new(HaproxyLaw::new(self.largest_shift, check))
    }

    fn read(&mut self) -> Result<Reading, Trouble> {
        let snapshot = self.haproxy.read().map_err(|error| trouble(&error))?;
        Ok(reading(&snapshot, &self.haproxy.latest().under_way))
    }

    fn apply_step(&mut self, step: &Step) -> Result<(), Trouble> {
        self.apply(std::slice::from_ref(step))
    }

    fn apply(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        let commands: Vec<String> = steps.iter().map(command).collect::<Result<_, _>>()?;
        let answers = ask(self.haproxy.place(), &commands).map_err(|error| trouble(&error))?;
        let refused = steps.iter().zip(&answers).find(|(_, answer)| !answer.is_empty());
        refused.map_or(Ok(()), |(step, answer)| {
            let said = HaproxyError::said(answer);
            Err(Trouble::Refused(format!("{}: {said}", step.parameter)))
        })
    }

    fn persist(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}

/// What is in force, and what the rules need to know of it.
fn reading(snapshot: &Snapshot, under_way: &UnderWay) -> Reading {
    let mut reading =
        Reading { identity: snapshot.identity.clone(), is_settled: true, ..Reading::default() };
    for (group, servers) in snapshot.groups() {
        let (weights, words) = meaning(&group.algorithm);
        if !weights.is_tunable() {
            let why = format!("under {}, {words}", name(&group.algorithm));
            reading.parts.insert(format!("{UNTUNABLE}{}", group.proxy), why);
        }
        for line in servers {
            note(line, under_way, &mut reading);
        }
    }
    reading
}

fn note(line: &Line, under_way: &UnderWay, reading: &mut Reading) {
    let place = format!("{}/{}", line.proxy, line.service);
    let Some(server) = line.server.filter(|_| MAXCONN.len() + place.len() <= MAX_PARAMETER_BYTES)
    else {
        return;
    };
    let mut set = |kind: &str, value: String| {
        reading.in_force.insert(format!("{kind}{place}"), value);
    };
    set(WEIGHT, server.weight.to_string());
    set(STATE, server.set().to_owned());
    set(MAXCONN, line.limit().unwrap_or(0).to_string());
    let mean = under_way.mean(&reading.identity, &line.proxy, &line.service);
    let now = mean.map(|mean| format!("{mean:.3}"));
    if let Some(now) = now.or_else(|| line.get("scur").map(|now| now.to_string())) {
        reading.parts.insert(format!("{UNDER_WAY}{place}"), now);
    }
    // By a check, by DNS, by a server that it follows: whatever is set.
    if server.set() != MAINT && (server.is_maint() || !server.is_running) {
        reading.parts.insert(format!("{AWAY}{place}"), String::new());
    }
}

/// The command that takes a step.
fn command(step: &Step) -> Result<String, Trouble> {
    let Step { parameter, value, .. } = step;
    let unknown = || Trouble::Refused(format!("{parameter} = {value} is no change of a haproxy"));
    let (kind, group, server) = law::place(parameter).ok_or_else(unknown)?;
    let is_word = |word: &str| {
        !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:".contains(c))
    };
    if ![group, server, value].into_iter().all(is_word) {
        return Err(unknown());
    }
    Ok(match kind {
        WEIGHT => format!("set server {group}/{server} weight {value}"),
        STATE => format!("set server {group}/{server} state {value}"),
        _ => format!("set maxconn server {group}/{server} {value}"),
    })
}

/// What may pass by itself is no answer.
fn trouble(error: &HaproxyError) -> Trouble {
    match error {
        HaproxyError::Refused(words) => Trouble::Refused(words.clone()),
        error => Trouble::Away(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(parameter: &str, value: &str) -> Step {
        Step { parameter: parameter.to_owned(), value: value.to_owned(), settles: false }
    }

    #[test]
    fn each_step_is_a_command() {
        for (parameter, value, words) in [
            ("weight:web/a", "0", "set server web/a weight 0"),
            ("state:web/a-1.x:2", "drain", "set server web/a-1.x:2 state drain"),
            ("maxconn:web/a", "7", "set maxconn server web/a 7"),
        ] {
            assert_eq!(command(&step(parameter, value)), Ok(words.to_owned()));
        }
    }

    #[test]
    fn nothing_else_can_be_put_into_a_command() {
        for (parameter, value) in [
            ("weight:web/a;shutdown", "1"),
            ("weight:web /a", "1"),
            ("state:web/a", "ready;disable frontend web"),
            ("weight:web/a", "1\n"),
            ("weight:web", "1"),
            ("other:web/a", "1"),
        ] {
            assert!(command(&step(parameter, value)).is_err(), "{parameter} {value}");
        }
    }
}
