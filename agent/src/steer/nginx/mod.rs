//! The actuator of nginx: weights and drains by file and reload.
//!
//! All of a policy goes into the files in one step, since each step is a reload. Between two reloads there are `least_seconds`, also on the way back: a step that comes
//! earlier waits, and so may the end of a lease. What is in force is what the files say: nginx has loaded them, or the file would have been put back. Where that is not sure, since
//! the agent was killed or nginx took too long, they are loaded anew before anything else is done.

mod law;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use flyball_proto::steering::{Bounds, Capability, Settings, Target};

use super::actuator::{Actuator, Law, Reading, Step, Trouble};
use super::config::SteerConfig;
use crate::nginx::{KIND, MOST_WEIGHT, Nginx, NginxConfig, NginxError, Servers, Setting};
pub use law::NginxLaw;

/// How a weight is called: `weight:UPSTREAM/SERVER`.
const WEIGHT: &str = "weight:";
/// How a state is called: `state:UPSTREAM/SERVER`.
const STATE: &str = "state:";
/// Given requests.
const READY: &str = "ready";
/// Given no new ones.
const DRAIN: &str = "drain";

/// One nginx.
#[derive(Debug)]
pub struct NginxActuator {
    target: Target,
    nginx: Nginx,
    is_barred: bool,
    largest_shift: f64,
    loaded: Option<Instant>,
}

impl NginxActuator {
    /// An nginx that may be steered where its settings say so; what was begun before that was no longer so can be put back.
    pub fn new(nginx: Nginx, settings: &SteerConfig) -> Self {
        let NginxConfig { name, steer, .. } = nginx.config();
        let (target, is_barred) = (Target::new(KIND, name), !steer);
        Self { target, nginx, is_barred, largest_shift: settings.largest_shift, loaded: None }
    }

    fn change(&self, values: &Settings) -> Result<BTreeMap<String, Servers>, Trouble> {
        let mut upstreams = self.nginx.upstreams().map_err(|error| trouble(&error))?;
        for (parameter, value) in values {
            let unknown = || Trouble::Refused(format!("{parameter} is not known to this nginx"));
            let (upstream, server) = law::place(parameter).ok_or_else(unknown)?;
            let servers = upstreams.get_mut(upstream).ok_or_else(unknown)?;
            let old = servers.get(server).ok_or_else(unknown)?;
            let new = match value.as_str() {
                _ if parameter.starts_with(WEIGHT) => Setting {
                    weight: value.parse().map_err(|_| {
                        Trouble::Refused(format!("{parameter} {value:?} is no number"))
                    })?,
                    ..old
                },
                state => Setting { is_down: state == DRAIN, ..old },
            };
            servers.set(server, new);
        }
        Ok(upstreams)
    }
}

impl Actuator for NginxActuator {
    fn target(&self) -> &Target {
        &self.target
    }

    fn capability(&self) -> Capability {
        let states = Bounds::OneOf(vec![READY.to_owned(), DRAIN.to_owned()]);
        let weights = Bounds::Number(1, u64::from(MOST_WEIGHT));
        let all = [(format!("{WEIGHT}*"), weights), (format!("{STATE}*"), states)];
        let reason = "the agent's configuration does not allow it: steer = true is not set";
        Capability {
            target: self.target.clone(),
            parameters: if self.is_barred { BTreeMap::new() } else { all.into() },
            // A file outlives a restart by itself.
            may_persist: !self.is_barred,
            reason: if self.is_barred { reason.to_owned() } else { String::new() },
            largest_growth: None,
        }
    }

    fn law(&self) -> Box<dyn Law> {
        Box::new(NginxLaw::new(self.largest_shift))
    }

    fn read(&mut self) -> Result<Reading, Trouble> {
        if self.nginx.is_unsure() {
            self.loaded = Some(Instant::now());
            self.nginx.settle().map_err(|error| trouble(&error))?;
        }
        let upstreams = self.nginx.upstreams().map_err(|error| trouble(&error))?;
        let mut in_force = Settings::new();
        for (upstream, servers) in &upstreams {
            for (server, Setting { weight, is_down }) in servers.all() {
                let state = if is_down { DRAIN } else { READY };
                in_force.insert(format!("{WEIGHT}{upstream}/{server}"), weight.to_string());
                in_force.insert(format!("{STATE}{upstream}/{server}"), state.to_owned());
            }
        }
        let identity = self.nginx.identity().map_err(|error| trouble(&error))?;
        Ok(Reading { in_force, identity, is_settled: true, ..Reading::default() })
    }

    fn apply_step(&mut self, step: &Step) -> Result<(), Trouble> {
        let values = law::values(step).ok_or_else(|| {
            Trouble::Refused(format!("{} is no step of an nginx", step.parameter))
        })?;
        let pause = Duration::from_secs(self.nginx.config().least_seconds.into());
        if let Some(rest) = self.loaded.and_then(|at| pause.checked_sub(at.elapsed())) {
            let seconds = rest.as_secs() + 1;
            return Err(Trouble::Away(format!("the next reload may be in {seconds} s")));
        }
        let upstreams = self.change(&values)?;
        self.loaded = Some(Instant::now());
        self.nginx.load(&upstreams).map_err(|error| trouble(&error))
    }

    fn persist(&mut self) -> Result<(), Trouble> {
        Ok(())
    }
}

fn trouble(error: &NginxError) -> Trouble {
    match error {
        NginxError::Refused(words) => Trouble::Refused(words.clone()),
        error => Trouble::Away(error.to_string()),
    }
}
