//! The actuator of Envoy and gRPC clients: an xDS server in the agent, which serves what is configured with the settings in force on top of it.
//!
//! ```text
//! steps of a plan -> staged --last step--> wanted (on disk) --pace--> pushed --ACK of all--> good (on disk)
//!                                             ^                          |
//!                                             +--------- good <----------+ NACK of the change, not of the way back
//! ```
//!
//! A plan is staged step by step and pushed as a whole with its last step, because each push makes clients draw anew: with a push for each endpoint light ones would get nothing.
//! What is wanted is on disk before it is pushed, and served from there when the agent is started again: no client falls back to what is configured in between, whenever the agent is
//! killed. A refusal (NACK) of a change brings back at once what all clients had acknowledged before, and rejects the policy in the client's own words. One that is older than the
//! change, or of the way back to what was before, is told and bars neither.

mod answers;
mod desired;
mod kept;
mod law;
mod plane;

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use flyball_proto::steering::{Bounds, Capability, Settings, Target};
use flyball_xds::Snapshot;
use flyball_xds::pace::{PaceSettings, Pacer, Traffic};

use super::actuator::{Actuator, Law, Reading, Step, Trouble, differing};
use super::config::SteerConfig;
use crate::envoy::{Envoy, Task};
use answers::{Answers, version};
use desired::{DRAIN, READY, configured, snapshot};
use kept::{Keeper, Kept};
pub use law::XdsLaw;
use plane::Plane;

/// Directory of what is served, below the data directory.
pub const DIR: &str = "xds";
/// Largest number of a circuit breaker.
const MOST: u64 = 1_000_000;
/// A target is what its agent serves, whichever Envoys come and go.
const IDENTITY: &str = "xds";

/// The clients of one `[[envoy]]`.
#[derive(Debug)]
pub struct XdsActuator {
    target: Target,
    capability: Capability,
    envoy: Envoy,
    plane: Plane,
    keeper: Keeper,
    kept: Kept,
    /// As configured.
    base: Settings,
    /// All parameters, with the steps of a plan that is not complete.
    staged: Settings,
    pacer: Pacer,
    largest_shift: f64,
    began: Instant,
    /// When clients were told something last.
    pushed_at: Instant,
    /// What clients are told.
    pushed: Snapshot,
    /// Snapshots so far.
    count: u64,
    /// How many there were before the change that is under way.
    before: u64,
    /// Tells versions of this process from those of others.
    epoch: u64,
    /// The version that a client has refused and that this was said of.
    refused: String,
}

impl XdsActuator {
    /// Begins to serve what an earlier process has served, or else what is configured. The second is the work of serving.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn open(envoy: Envoy, settings: &SteerConfig, dir: &Path) -> io::Result<(Self, Task)> {
        let keeper = Keeper::open(dir, envoy.name())?;
        let base = configured(envoy.config());
        let mut kept = keeper.load();
        forget_unknown(&mut kept, &base, envoy.name());
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let (plane, now) = (Plane::new(envoy.clone()), Instant::now());
        let mut actuator = Self {
            target: envoy.target(),
            capability: capability(envoy.target()),
            keeper,
            staged: over(&base, &kept.wanted),
            kept,
            base,
            plane: plane.clone(),
            pacer: Pacer::new(PaceSettings::default()),
            largest_shift: settings.largest_shift,
            began: now,
            pushed_at: now,
            pushed: Snapshot::default(),
            count: 0,
            before: 0,
            epoch: epoch.as_millis() as u64,
            refused: String::new(),
            envoy,
        };
        let first = actuator.wanted();
        if let Err(trouble) = actuator.publish(first) {
            tracing::error!(balancer = actuator.envoy.name(), %trouble, "cannot serve what is configured");
        }
        Ok((actuator, plane.task()))
    }

    /// One that may not be steered. What was begun before that was so can be put back.
    #[must_use]
    pub fn barred(mut self) -> Self {
        self.capability = barred_capability(self.target.clone(), "steer = true is not set");
        self
    }

    /// The snapshot that is wanted, under a new version.
    fn wanted(&mut self) -> Snapshot {
        self.count += 1;
        let settings = over(&self.base, &self.kept.wanted);
        snapshot(self.envoy.config(), &settings, &version(self.epoch, self.count))
    }

    /// Pushes what is wanted as far as it is due. Returns how long the rest has to wait.
    fn push(&mut self) -> Result<Option<Duration>, Trouble> {
        let wanted = self.wanted();
        let now = self.began.elapsed();
        let clients = self.plane.server().clients().len();
        let traffic = |cluster: &str| self.traffic(cluster, clients);
        let plan = self.pacer.plan(now, &self.pushed, &wanted, traffic);
        if let Some(push) = plan.push {
            self.publish(push)?;
        }
        Ok(plan.wait)
    }

    /// What is asked of a cluster. None is where nobody is connected, and where the one client that is has the weights of the last push and was asked nothing since.
    fn traffic(&self, cluster: &str, clients: usize) -> Traffic {
        let measured = self.envoy.traffic(cluster);
        let has_them = || {
            let served = self.pushed.clusters.iter().find(|one| one.name == cluster);
            served.is_some_and(|served| self.envoy.is_idle(served, self.pushed_at))
        };
        if clients == 0 || (clients == 1 && has_them()) {
            return Traffic { requests_per_second: 0.0, ..measured };
        }
        measured
    }

    fn publish(&mut self, push: Snapshot) -> Result<(), Trouble> {
        let published = self.plane.server().publish(push.clone());
        published.map_err(|error| Trouble::Refused(error.to_string()))?;
        self.pacer.pushed(self.began.elapsed(), &self.pushed, &push);
        self.pushed = push;
        self.pushed_at = Instant::now();
        self.plane.board();
        Ok(())
    }

    fn save(&self) -> Result<(), Trouble> {
        let saved = self.keeper.save(&self.kept);
        saved.map_err(|error| Trouble::Away(format!("cannot write what is to be served: {error}")))
    }

    /// A client has refused the change that is under way: what was good before is served again, and that is an error. Who refuses something older bars nothing, nor does who
    /// refuses the way back: others must have that, and whoever refuses it has what it acknowledged before.
    fn heed_refusal(&mut self, answers: &Answers) -> Result<(), Trouble> {
        let Some(words) = answers.refused.as_ref().or(answers.standing.as_ref()) else {
            return Ok(());
        };
        if self.refused != self.pushed.version {
            self.refused.clone_from(&self.pushed.version);
            let balancer = self.envoy.name();
            tracing::error!(balancer, reason = words, "a client refuses what it is served");
        }
        let Some(words) = answers.refused.clone() else { return Ok(()) };
        if self.kept.good == self.kept.wanted || self.kept.is_back {
            return Ok(());
        }
        self.kept.wanted.clone_from(&self.kept.good);
        self.staged = over(&self.base, &self.kept.wanted);
        // It is served all the same.
        let saved = self.save();
        let back = self.wanted();
        self.publish(back)?;
        saved?;
        Err(Trouble::Refused(words))
    }

    /// Takes a step; the last one of a plan makes all of them wanted.
    fn stage(&mut self, step: &Step, is_back: bool) -> Result<(), Trouble> {
        let Some(value) = self.staged.get_mut(&step.parameter) else {
            return Err(Trouble::Refused(format!("{} is not served here", step.parameter)));
        };
        value.clone_from(&step.value);
        if step.settles {
            let before = self.kept.clone();
            self.kept.wanted = differing(&self.staged, &self.base);
            self.kept.is_back = is_back;
            if let Err(trouble) = self.save() {
                self.staged = over(&self.base, &before.wanted);
                self.kept = before;
                return Err(trouble);
            }
            self.before = self.count;
        }
        Ok(())
    }

    /// Takes note that all clients have what is wanted, or have at least answered the way back.
    fn confirm(&mut self) {
        if self.kept.good == self.kept.wanted {
            return;
        }
        let before = std::mem::replace(&mut self.kept.good, self.kept.wanted.clone());
        if let Err(error) = self.save() {
            tracing::warn!(balancer = self.envoy.name(), %error, "cannot write that it is acknowledged");
            self.kept.good = before;
        }
    }
}

impl Actuator for XdsActuator {
    fn target(&self) -> &Target {
        &self.target
    }

    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    fn law(&self) -> Box<dyn Law> {
        Box::new(XdsLaw::new(self.envoy.clone(), self.largest_shift))
    }

    fn read(&mut self) -> Result<Reading, Trouble> {
        if let Some(trouble) = self.plane.trouble() {
            return Err(Trouble::Away(trouble));
        }
        let wait = self.push()?;
        let clients = self.plane.server().clients();
        let answers = Answers::of(&clients, &self.pushed.version, self.before);
        self.heed_refusal(&answers)?;
        let Answers { behind, refused, standing } = answers;
        let is_settled = wait.is_none() && behind == 0;
        if is_settled && (refused.is_none() || self.kept.is_back) {
            self.confirm();
        }
        let note = match (clients.len(), refused.or(standing)) {
            (_, Some(words)) => words,
            (0, None) => "no client is connected: it is in force for whoever connects".to_owned(),
            (all, None) if behind > 0 => {
                format!("{behind} of {all} clients have not acknowledged it")
            }
            _ if wait.is_some() => "waits until weights may be pushed again".to_owned(),
            _ => String::new(),
        };
        Ok(Reading {
            in_force: self.staged.clone(),
            identity: IDENTITY.to_owned(),
            is_settled,
            note,
            ..Reading::default()
        })
    }

    fn apply_step(&mut self, step: &Step) -> Result<(), Trouble> {
        self.stage(step, false)
    }

    fn put_back(&mut self, steps: &[Step]) -> Result<(), Trouble> {
        steps.iter().try_for_each(|step| self.stage(step, true))
    }

    fn persist(&mut self) -> Result<(), Trouble> {
        Err(Trouble::Refused("what is served is kept by the agent in any case".to_owned()))
    }
}

/// Settings of endpoints and clusters that are no longer configured cannot be served.
fn forget_unknown(kept: &mut Kept, base: &Settings, balancer: &str) {
    let before = kept.wanted.len();
    for settings in [&mut kept.wanted, &mut kept.good] {
        settings.retain(|parameter, value| base.get(parameter).is_some_and(|own| own != value));
    }
    let forgotten = before - kept.wanted.len();
    if forgotten > 0 {
        tracing::warn!(
            balancer,
            forgotten,
            "settings of what is no longer configured are forgotten"
        );
    }
}

/// All parameters, with those of `settings` in place of what is configured.
fn over(base: &Settings, settings: &Settings) -> Settings {
    let mut all = base.clone();
    all.extend(settings.iter().map(|(parameter, value)| (parameter.clone(), value.clone())));
    all
}

fn capability(target: Target) -> Capability {
    let words = |words: &[&str]| Bounds::OneOf(words.iter().map(|&w| w.to_owned()).collect());
    let mut parameters: BTreeMap<String, Bounds> = [
        ("weight:*", 1, u64::from(crate::envoy::config::MAX_WEIGHT)),
        ("max_connections:*", 1, MOST),
        ("max_pending:*", 1, MOST),
        ("max_requests:*", 1, MOST),
        ("max_retries:*", 0, MOST),
        ("consecutive_5xx:*", 0, 1_000),
        ("max_ejection_percent:*", 0, 50),
        ("base_ejection_ms:*", 100, 3_600_000),
    ]
    .into_iter()
    .map(|(parameter, least, most)| (parameter.to_owned(), Bounds::Number(least, most)))
    .collect();
    parameters.insert("state:*".to_owned(), words(&[DRAIN, READY]));
    Capability {
        target,
        parameters,
        may_persist: false,
        reason: String::new(),
        largest_growth: None,
    }
}

fn barred_capability(target: Target, why: &str) -> Capability {
    Capability {
        parameters: BTreeMap::new(),
        reason: format!("the agent's configuration does not allow it: {why}"),
        ..capability(target)
    }
}

/// An Envoy that is only read.
#[derive(Debug)]
pub struct ReadOnly(Capability);

impl ReadOnly {
    /// Of one without `xds_listen`.
    pub fn new(envoy: &Envoy) -> Self {
        Self(barred_capability(envoy.target(), "xds_listen is not set"))
    }

    fn no(&self) -> Trouble {
        Trouble::Refused(self.0.reason.clone())
    }
}

impl Actuator for ReadOnly {
    fn target(&self) -> &Target {
        &self.0.target
    }

    fn capability(&self) -> Capability {
        self.0.clone()
    }

    fn law(&self) -> Box<dyn Law> {
        let config =
            crate::envoy::EnvoyConfig { name: self.0.target.name.clone(), ..Default::default() };
        Box::new(XdsLaw::new(Envoy::new(config), SteerConfig::default().largest_shift))
    }

    fn read(&mut self) -> Result<Reading, Trouble> {
        Err(self.no())
    }

    fn apply_step(&mut self, _step: &Step) -> Result<(), Trouble> {
        Err(self.no())
    }

    fn persist(&mut self) -> Result<(), Trouble> {
        Err(self.no())
    }
}
