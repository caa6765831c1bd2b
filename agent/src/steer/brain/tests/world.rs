//! A server and the agent beside it, and what may be wanted of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use flyball_proto::steering::{
    Bounds, Canary, Capability, PolicyResult, Settings, Target, TargetPolicy,
};
use proptest::prelude::*;

use super::super::resolve::Taken;
use super::super::{Act, Brain, Offer};
use crate::steer::actuator::{Facts, Memory, Reading, Step};
use crate::steer::clock::Moment;
use crate::steer::config::SteerConfig;
use crate::steer::record::Record;
use crate::steer::redis::{MAXMEMORY, RedisLaw};

pub(super) const MB: u64 = 1 << 20;
pub(super) const SAMPLES: &str = "maxmemory-samples";
pub(super) const LEASE: Duration = Duration::from_secs(30);
/// Acts that any change and its way back need at most.
pub(super) const MANY: usize = 2_000;
/// A server and the agent beside it.
pub(super) struct World {
    pub(super) brain: Brain,
    pub(super) server: Settings,
    pub(super) used: u64,
    pub(super) identity: u32,
    /// The record as it is on disk.
    pub(super) disk: Record,
    pub(super) now: Moment,
    /// Parameters that the server refuses to set.
    pub(super) barred: BTreeSet<String>,
    pub(super) sets: Vec<Step>,
    /// How often it was made permanent.
    pub(super) persists: usize,
    pub(super) results: Vec<(u64, PolicyResult, String)>,
}

impl World {
    pub(super) fn new(limit: u64) -> Self {
        let server = settings(&[(MAXMEMORY, limit), (SAMPLES, 5)]);
        let mut server: Settings = server;
        server.insert("maxmemory-policy".to_owned(), "allkeys-lru".to_owned());
        let disk = Record::default();
        let brain = brain(&disk, None);
        let (now, used) = (Moment(1_000_000), limit);
        let (barred, sets, persists, results) = Default::default();
        Self { brain, server, used, identity: 1, disk, now, barred, sets, persists, results }
    }

    /// The limit; none is larger than all.
    pub(super) fn limit(&self) -> u64 {
        match self.server[MAXMEMORY].parse().unwrap() {
            0 => u64::MAX,
            limit => limit,
        }
    }

    pub(super) fn reading(&self) -> Reading {
        let limit = self.limit();
        Reading {
            in_force: self.server.clone(),
            identity: self.identity.to_string(),
            is_settled: self.used <= limit,
            facts: Facts {
                used_bytes: self.used,
                has_volatile: true,
                memory: Some(Memory { total_bytes: 1 << 40, available_bytes: 1 << 40 }),
                ..Facts::default()
            },
            ..Reading::default()
        }
    }

    /// One act. False when there is nothing to do now.
    pub(super) fn act(&mut self) -> bool {
        let reading = self.reading();
        let act = self.brain.next(&reading, self.now);
        let moved = match act {
            Act::Save { .. } => {
                self.disk = self.brain.record().clone();
                self.brain.saved();
                true
            }
            Act::Set(steps) => {
                assert_eq!(steps.len(), 1, "one at a time");
                self.set(&steps[0], &reading)
            }
            Act::Persist => {
                self.persists += 1;
                self.brain.persisted(Ok(()));
                true
            }
            Act::Wait(time) => {
                // Evictions go on while the agent waits.
                let limit = self.limit();
                let was_busy = self.used > limit;
                self.used = self.used.min(limit.max(self.used.saturating_sub(20 * MB)));
                if was_busy {
                    self.now = self.now.after(time);
                }
                was_busy
            }
        };
        for outcome in self.brain.take_outcomes() {
            self.results.push((outcome.revision, outcome.result.into(), outcome.reason));
        }
        moved
    }

    pub(super) fn set(&mut self, step: &Step, reading: &Reading) -> bool {
        self.check_that_it_could_be_undone(step);
        if self.barred.contains(&step.parameter) {
            return self.brain.refused("NOPERM no permission", reading);
        }
        self.sets.push(step.clone());
        self.server.insert(step.parameter.clone(), step.value.clone());
        true
    }

    /// No step before the record that could undo it is on disk.
    pub(super) fn check_that_it_could_be_undone(&self, step: &Step) {
        let followed = self.disk.followed.as_ref().expect("a step without a record on disk");
        assert!(followed.before.contains_key(&step.parameter), "{step:?} cannot be undone");
        assert_ne!(self.server.get(&step.parameter), Some(&step.value), "it is in force already");
    }

    pub(super) fn run(&mut self) {
        let moves = (0..MANY).take_while(|_| self.act()).count();
        assert!(moves < MANY, "it does not come to an end: {:?}", self.brain);
    }

    pub(super) fn kill(&mut self) {
        // Worst case: the end of the lease is lost too, so it begins anew.
        let lease = self.disk.followed.as_ref().and_then(crate::steer::record::Followed::lease);
        self.brain = brain(&self.disk, lease.map(|lease| self.now.after(lease)));
    }

    pub(super) fn offer(&mut self, offer: &Offer) -> Taken {
        self.brain.offer(offer.clone(), self.now, self.now)
    }

    pub(super) fn last(&self) -> (u64, PolicyResult) {
        self.results.last().map(|(revision, result, _)| (*revision, *result)).unwrap()
    }

    pub(super) fn reason(&self) -> &str {
        &self.results.last().unwrap().2
    }
}

pub(super) fn brain(record: &Record, lease_end: Option<Moment>) -> Brain {
    let parameters = BTreeMap::from([
        (MAXMEMORY.to_owned(), Bounds::Number(MB, 1 << 40)),
        (SAMPLES.to_owned(), Bounds::Number(1, 64)),
    ]);
    let target = Target::new("redis", "a");
    let (reason, largest_growth) = (String::new(), None);
    let capability = Capability { target, parameters, may_persist: true, reason, largest_growth };
    let law = RedisLaw::new(SteerConfig { largest_growth: 4.0, ..SteerConfig::default() });
    Brain::new(capability, Box::new(law), record.clone(), lease_end)
}

pub(super) fn settings(pairs: &[(&str, u64)]) -> Settings {
    pairs.iter().map(|(parameter, value)| ((*parameter).to_owned(), value.to_string())).collect()
}

pub(super) fn permanent(revision: u64, settings: Settings) -> Offer {
    let policy = TargetPolicy {
        target: Target::new("redis", "a"),
        settings,
        rollout_id: "r".to_owned(),
        canary: None,
        persist: false,
    };
    Offer { journal: "j".to_owned(), revision, policy }
}

pub(super) fn canary(revision: u64, settings: Settings) -> Offer {
    let mut offer = permanent(revision, settings);
    offer.policy.canary = Some(Canary { lease: LEASE, revert_to: Settings::new() });
    offer
}

prop_compose! {
    pub(super) fn goals()(limit in 32 * MB..256 * MB, samples in 1_u64..64, which in 1_u8..4) -> Settings {
        let all = settings(&[(MAXMEMORY, limit), (SAMPLES, samples)]);
        let wanted = |parameter: &str| which != if parameter == MAXMEMORY { 1 } else { 2 };
        all.into_iter().filter(|(parameter, _)| wanted(parameter)).collect()
    }
}
