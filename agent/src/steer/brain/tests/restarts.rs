//! A target whose restart brings back its own configuration: what is followed is set again, and what was before comes back from there too.

use std::collections::BTreeMap;
use std::time::Duration;

use flyball_proto::steering::{Bounds, Canary, Capability, PolicyResult, Settings, Target};
use proptest::prelude::*;

use super::super::{Act, Brain, Offer};
use super::world::{LEASE, MANY, permanent, settings};
use crate::steer::actuator::{Law, Nature, Purpose, Reading, Step, differing};
use crate::steer::clock::Moment;
use crate::steer::record::{Followed, Record};

const NATURE: Nature =
    Nature { check: Duration::from_millis(250), forgets: true, is_batched: true };

const AGAIN: &str = "set again after a restart of the target";

/// Sets everything at once; a change of `a` by more than 50 is too much for a policy, and one by more than 70 for what is set again.
#[derive(Debug)]
struct WeightLaw;

impl Law for WeightLaw {
    fn plan(
        &self,
        goal: &Settings,
        _: &Settings,
        reading: &Reading,
        purpose: Purpose,
    ) -> Result<Vec<Step>, String> {
        let mut changes = differing(goal, &reading.in_force);
        changes.retain(|parameter, _| reading.in_force.contains_key(parameter));
        let number = |text: &String| text.parse::<i64>().unwrap();
        let far = |(parameter, value): (&String, &String)| {
            (number(value) - number(&reading.in_force[parameter])).abs()
        };
        let far = changes.iter().map(far).max().unwrap_or(0);
        let most = match purpose {
            Purpose::Change => 50,
            Purpose::Again => 70,
            Purpose::PutBack => i64::MAX,
        };
        if far > most {
            return Err("too far".to_owned());
        }
        let step = |(parameter, value)| Step { parameter, value, settles: false };
        Ok(changes.into_iter().map(step).collect())
    }

    fn is_on_the_way(&self, _: &str, from: &str, to: &str, value: &str) -> bool {
        value == from || value == to
    }

    fn nature(&self) -> Nature {
        NATURE
    }
}

struct World {
    brain: Brain,
    configured: Settings,
    in_force: Settings,
    identity: u32,
    disk: Record,
    now: Moment,
    results: Vec<(u64, PolicyResult, String)>,
    batches: Vec<usize>,
}

fn brain(record: &Record, lease_end: Option<Moment>) -> Brain {
    let capability = Capability {
        target: Target::new("haproxy", "edge"),
        parameters: BTreeMap::from([("*".to_owned(), Bounds::Number(0, 256))]),
        may_persist: false,
        reason: String::new(),
        largest_growth: None,
    };
    Brain::new(capability, Box::new(WeightLaw), record.clone(), lease_end)
}

impl World {
    fn new() -> Self {
        let configured = settings(&[("a", 100), ("b", 100)]);
        let disk = Record::default();
        Self {
            brain: brain(&disk, None),
            in_force: configured.clone(),
            configured,
            identity: 1,
            disk,
            now: Moment(1_000_000),
            results: Vec::new(),
            batches: Vec::new(),
        }
    }

    fn act(&mut self) -> bool {
        let (in_force, identity) = (self.in_force.clone(), self.identity.to_string());
        let reading = Reading { in_force, identity, is_settled: true, ..Reading::default() };
        let act = self.brain.next(&reading, self.now);
        for outcome in self.brain.take_outcomes() {
            self.results.push((outcome.revision, outcome.result.into(), outcome.reason));
        }
        match act {
            Act::Save { .. } => {
                self.disk = self.brain.record().clone();
                self.brain.saved();
            }
            Act::Set(steps) => {
                let followed = self.disk.followed.as_ref().expect("a record that could undo it");
                self.batches.push(steps.len());
                for Step { parameter, value, .. } in steps {
                    assert!(followed.before.contains_key(&parameter), "{parameter} can be undone");
                    self.in_force.insert(parameter, value);
                }
            }
            Act::Persist => self.brain.persisted(Ok(())),
            Act::Wait(_) => return false,
        }
        true
    }

    fn run(&mut self) {
        let moves = (0..MANY).take_while(|_| self.act()).count();
        assert!(moves < MANY, "it does not come to an end: {:?}", self.brain);
    }

    fn restart(&mut self) {
        self.in_force = self.configured.clone();
        self.identity += 1;
    }

    fn kill(&mut self) {
        let lease = self.disk.followed.as_ref().and_then(Followed::lease);
        self.brain = brain(&self.disk, lease.map(|lease| self.now.after(lease)));
    }

    fn want(&mut self, revision: u64, wanted: &[(&str, u64)], is_trial: bool) {
        self.brain.offer(offer(revision, wanted, is_trial), self.now, self.now);
        self.run();
    }

    fn last(&self) -> (u64, PolicyResult, &str) {
        let (revision, result, reason) = self.results.last().unwrap();
        (*revision, *result, reason)
    }
}

fn offer(revision: u64, wanted: &[(&str, u64)], is_trial: bool) -> Offer {
    let mut offer = permanent(revision, settings(wanted));
    offer.policy.target = Target::new("haproxy", "edge");
    offer.policy.rollout_id = revision.to_string();
    let canary = Canary { lease: LEASE, revert_to: Settings::new() };
    offer.policy.canary = is_trial.then_some(canary);
    offer
}

#[test]
fn what_is_followed_is_set_again_at_once() {
    let mut world = World::new();
    world.want(1, &[("a", 60), ("b", 110)], false);
    assert_eq!((world.last(), &world.batches[..]), ((1, PolicyResult::Applied, ""), &[2][..]));
    world.restart();
    world.run();
    assert_eq!(world.in_force, settings(&[("a", 60), ("b", 110)]));
    assert_eq!(
        (world.last(), &world.batches[..]),
        ((1, PolicyResult::Applied, AGAIN), &[2; 2][..])
    );
}

#[test]
fn what_was_reached_in_steps_is_set_again_in_one() {
    let mut world = World::new();
    world.want(1, &[("a", 60)], false);
    world.want(2, &[("a", 35)], false);
    world.restart();
    world.run();
    assert_eq!((world.last(), &*world.in_force["a"]), ((2, PolicyResult::Applied, AGAIN), "35"));
}

/// Two policies that together go further than may be set again, and then a restart.
fn barred(is_trial: bool) -> World {
    let mut world = World::new();
    world.want(1, &[("a", 60)], false);
    world.want(2, &[("a", 20)], is_trial);
    world.restart();
    world.run();
    assert_eq!(world.in_force["a"], "100", "as far would be refused as a policy");
    let (revision, result, reason) = world.last();
    assert_eq!((revision, result), (2, PolicyResult::Drifted));
    assert!(reason.contains("not set again") && reason.ends_with("too far"), "{reason}");
    let told = world.results.len();
    world.run();
    assert_eq!(world.results.len(), told, "said once");
    world
}

#[test]
fn what_may_not_be_set_again_from_what_is_there_is_told_and_set_when_it_may() {
    let mut world = barred(false);
    world.configured.insert("a".to_owned(), "70".to_owned());
    world.restart();
    world.run();
    assert_eq!((world.last(), &*world.in_force["a"]), ((2, PolicyResult::Applied, AGAIN), "20"));
    // Killed in between it is no other.
    let mut world = barred(false);
    world.kill();
    world.run();
    assert_eq!((world.last().1, &*world.in_force["a"]), (PolicyResult::Drifted, "100"));
    world.in_force.insert("a".to_owned(), "20".to_owned());
    world.run();
    assert_eq!(world.last(), (2, PolicyResult::Applied, "in force again"));
}

#[test]
fn what_may_not_be_set_again_bars_no_other_policy_and_no_way_back() {
    let mut world = barred(false);
    world.want(3, &[("a", 20)], false);
    assert_eq!(world.last(), (3, PolicyResult::Rejected, "too far"));
    world.want(4, &[("a", 80)], false);
    assert_eq!((world.last(), &*world.in_force["a"]), ((4, PolicyResult::Applied, ""), "80"));
    let mut world = barred(true);
    world.now = world.now.after(LEASE * 2);
    world.run();
    assert_eq!((world.last().1, &*world.in_force["a"]), (PolicyResult::Reverted, "60"));
}

#[test]
fn a_trial_goes_back_to_what_was_before_it_and_not_to_the_configuration() {
    for restarts_when_reverting in [false, true] {
        let mut world = World::new();
        world.want(1, &[("a", 60)], false);
        world.want(2, &[("a", 70), ("b", 90)], true);
        if !restarts_when_reverting {
            world.restart();
            world.run();
            assert_eq!(world.in_force, settings(&[("a", 70), ("b", 90)]));
        }
        world.now = world.now.after(LEASE * 2);
        if restarts_when_reverting {
            world.act();
            world.restart();
        }
        world.run();
        assert_eq!(world.in_force, settings(&[("a", 60), ("b", 100)]));
        assert_eq!((world.last().0, world.last().1), (2, PolicyResult::Reverted));
    }
}

#[test]
fn what_a_person_sets_is_told_and_left() {
    let mut world = World::new();
    world.want(1, &[("a", 60)], false);
    world.in_force.insert("a".to_owned(), "7".to_owned());
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Drifted, "somebody else has changed it"));
    world.restart();
    world.run();
    assert_eq!(world.in_force["a"], "100", "it is the person's from then on");
}

#[test]
fn what_is_gone_after_a_restart_is_let_go_of() {
    let mut world = World::new();
    world.want(1, &[("a", 60), ("b", 70)], false);
    world.configured.remove("b");
    world.restart();
    world.run();
    assert_eq!(world.in_force, settings(&[("a", 60)]));
    assert_eq!((world.last().0, world.last().1), (1, PolicyResult::Applied));
    world.want(2, &[("a", 60), ("b", 80)], false);
    assert_eq!(world.last(), (2, PolicyResult::Rejected, "b is not known to this server"));
}

proptest! {
    #[test]
    fn whatever_is_killed_or_started_again_what_is_followed_is_in_force_in_the_end(
        happenings in prop::collection::vec((0_u8..5, 60_u64..140, 0_usize..4), 1..30),
    ) {
        let mut world = World::new();
        let mut good = world.configured.clone();
        let mut trial = None;
        for (revision, (what, weight, acts)) in (1..).zip(happenings) {
            match what {
                0 | 1 => {
                    let is_trial = what == 1;
                    let before = world.results.len();
                    world.want(revision, &[("a", weight)], is_trial);
                    let is_rejected = world.results[before..].iter().any(|(of, result, _)| {
                        *of == revision && *result == PolicyResult::Rejected
                    });
                    if !is_rejected {
                        let wanted = weight.to_string();
                        trial = is_trial.then(|| wanted.clone());
                        if !is_trial {
                            good.insert("a".to_owned(), wanted);
                        }
                    }
                }
                2 => world.restart(),
                3 => world.kill(),
                _ => {
                    world.now = world.now.after(LEASE * 2);
                    trial = None;
                    // A kill before it is noticed would begin the lease anew.
                    world.act();
                }
            }
            for _ in 0..acts {
                world.act();
            }
        }
        world.run();
        // After a trial nothing is followed until the collector wants the old values for good again.
        let is_followed = world.disk.followed.is_some();
        let a = trial.as_ref().unwrap_or(&good["a"]);
        let is_configured = world.in_force["a"] == world.configured["a"];
        prop_assert!(
            world.in_force["a"] == *a || (!is_followed && is_configured),
            "{:?} and not {a}: {:?}", world.in_force, world.results
        );
        prop_assert_eq!(&world.in_force["b"], "100");
    }
}
