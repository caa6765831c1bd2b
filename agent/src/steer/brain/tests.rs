//! The properties of the module's documentation, on a simulated server that can be killed, changed by others, and that can refuse.

use std::collections::{BTreeMap, BTreeSet};

use flyball_proto::steering::{Bounds, Canary, PolicyResult, Target};
use proptest::prelude::*;
use proptest::sample::select;

use super::resolve::Taken;
use super::*;
use crate::steer::actuator::{Facts, Memory, Trouble, differing};
use crate::steer::config::SteerConfig;
use crate::steer::redis::{MAXMEMORY, RedisLaw};

const MB: u64 = 1 << 20;
const SAMPLES: &str = "maxmemory-samples";
const LEASE: Duration = Duration::from_secs(30);
/// Acts that any change and its way back need at most.
const MANY: usize = 2_000;

/// A server and the agent beside it.
struct World {
    brain: Brain,
    server: Settings,
    used: u64,
    identity: u32,
    /// The record as it is on disk.
    disk: Record,
    now: Moment,
    /// Parameters that the server refuses to set.
    barred: BTreeSet<String>,
    sets: Vec<Step>,
    /// How often it was made permanent.
    persists: usize,
    results: Vec<(u64, PolicyResult, String)>,
}

impl World {
    fn new(limit: u64) -> Self {
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
    fn limit(&self) -> u64 {
        match self.server[MAXMEMORY].parse().unwrap() {
            0 => u64::MAX,
            limit => limit,
        }
    }

    fn reading(&self) -> Reading {
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
        }
    }

    /// One act. False when there is nothing to do now.
    fn act(&mut self) -> bool {
        let reading = self.reading();
        let act = self.brain.next(&reading, self.now);
        let moved = match act {
            Act::Save { .. } => {
                self.disk = self.brain.record().clone();
                self.brain.saved();
                true
            }
            Act::Set(step) => self.set(&step, &reading),
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

    fn set(&mut self, step: &Step, reading: &Reading) -> bool {
        self.check_that_it_could_be_undone(step);
        if self.barred.contains(&step.parameter) {
            return self.brain.refused("NOPERM no permission", reading);
        }
        self.sets.push(step.clone());
        self.server.insert(step.parameter.clone(), step.value.clone());
        true
    }

    /// No step before the record that could undo it is on disk.
    fn check_that_it_could_be_undone(&self, step: &Step) {
        let followed = self.disk.followed.as_ref().expect("a step without a record on disk");
        assert!(followed.before.contains_key(&step.parameter), "{step:?} cannot be undone");
        assert_ne!(self.server.get(&step.parameter), Some(&step.value), "it is in force already");
    }

    fn run(&mut self) {
        let moves = (0..MANY).take_while(|_| self.act()).count();
        assert!(moves < MANY, "it does not come to an end: {:?}", self.brain);
    }

    fn kill(&mut self) {
        // Worst case: the end of the lease is lost too, so it begins anew.
        let lease = self.disk.followed.as_ref().and_then(crate::steer::record::Followed::lease);
        self.brain = brain(&self.disk, lease.map(|lease| self.now.after(lease)));
    }

    fn offer(&mut self, offer: &Offer) -> Taken {
        self.brain.offer(offer.clone(), self.now)
    }

    fn last(&self) -> (u64, PolicyResult) {
        self.results.last().map(|(revision, result, _)| (*revision, *result)).unwrap()
    }

    fn reason(&self) -> &str {
        &self.results.last().unwrap().2
    }
}

fn brain(record: &Record, lease_end: Option<Moment>) -> Brain {
    let parameters = BTreeMap::from([
        (MAXMEMORY.to_owned(), Bounds::Number(MB, 1 << 40)),
        (SAMPLES.to_owned(), Bounds::Number(1, 64)),
    ]);
    let target = Target::new("redis", "a");
    let capability = Capability { target, parameters, may_persist: true, reason: String::new() };
    let law = RedisLaw::new(SteerConfig { largest_growth: 4.0, ..SteerConfig::default() });
    Brain::new(capability, Box::new(law), record.clone(), lease_end)
}

fn settings(pairs: &[(&str, u64)]) -> Settings {
    pairs.iter().map(|(parameter, value)| ((*parameter).to_owned(), value.to_string())).collect()
}

fn permanent(revision: u64, settings: Settings) -> Offer {
    let policy = TargetPolicy {
        target: Target::new("redis", "a"),
        settings,
        rollout_id: "r".to_owned(),
        canary: None,
        persist: false,
    };
    Offer { journal: "j".to_owned(), revision, policy }
}

fn canary(revision: u64, settings: Settings) -> Offer {
    let mut offer = permanent(revision, settings);
    offer.policy.canary = Some(Canary { lease: LEASE, revert_to: Settings::new() });
    offer
}

prop_compose! {
    fn goals()(limit in 32 * MB..256 * MB, samples in 1_u64..64, which in 1_u8..4) -> Settings {
        let all = settings(&[(MAXMEMORY, limit), (SAMPLES, samples)]);
        let wanted = |parameter: &str| which != if parameter == MAXMEMORY { 1 } else { 2 };
        all.into_iter().filter(|(parameter, _)| wanted(parameter)).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn wherever_it_is_killed_what_was_before_is_in_force_in_the_end(
        start in 64 * MB..128 * MB,
        first in goals(),
        second in goals(),
        kills in prop::collection::vec(0_usize..60, 0..4),
        barred in prop::option::of(select(vec![MAXMEMORY, SAMPLES])),
    ) {
        let mut world = World::new(start);
        let before = world.server.clone();
        world.barred.extend(barred.map(str::to_owned));
        world.offer(&canary(1, first));
        for acts in kills {
            for _ in 0..acts {
                world.act();
            }
            world.kill();
            // A collector that is there offers what it wants; here it has changed its mind.
            world.offer(&canary(2, second.clone()));
        }
        world.run();
        world.now = world.now.after(LEASE);
        world.run();
        prop_assert_eq!(&world.server, &before);
        prop_assert!(world.disk.followed.is_none());
    }

    #[test]
    fn what_somebody_else_has_set_is_left(
        start in 64 * MB..128 * MB,
        goal in goals(),
        acts in 0_usize..40,
        foreign in (256 * MB + 1)..512 * MB,
        is_killed: bool,
    ) {
        let mut world = World::new(start);
        let samples = world.server[SAMPLES].clone();
        world.offer(&canary(1, goal));
        for _ in 0..acts {
            world.act();
        }
        world.server.insert(MAXMEMORY.to_owned(), foreign.to_string());
        if is_killed {
            world.kill();
        }
        let sets = world.sets.len();
        world.run();
        world.now = world.now.after(LEASE);
        world.run();
        let touched = world.sets[sets..].iter().any(|step| step.parameter == MAXMEMORY);
        // Before anything was set, another value was simply what was found.
        if world.disk.followed.is_none() && acts > 1 {
            prop_assert!(!touched);
            prop_assert_eq!(&world.server[MAXMEMORY], &foreign.to_string());
        }
        prop_assert_eq!(&world.server[SAMPLES], &samples, "what is its own is put back");
    }

    #[test]
    fn what_is_permanent_comes_into_force_and_stays(
        start in 64 * MB..128 * MB,
        goal in goals(),
        kills in prop::collection::vec(0_usize..60, 0..4),
    ) {
        let mut world = World::new(start);
        world.offer(&permanent(1, goal.clone()));
        for acts in kills {
            for _ in 0..acts {
                world.act();
            }
            world.kill();
            world.offer(&permanent(1, goal.clone()));
        }
        world.run();
        prop_assert_eq!(world.last(), (1, PolicyResult::Applied));
        prop_assert!(differing(&goal, &world.server).is_empty());
        let sets = world.sets.len();
        prop_assert_eq!(world.offer(&permanent(1, goal.clone())), Taken::Ignored);
        world.now = world.now.after(LEASE * 100);
        world.run();
        // The same state as a new revision is told to be in force, and nothing is set.
        world.offer(&permanent(2, goal));
        world.run();
        prop_assert_eq!(world.last(), (2, PolicyResult::Applied));
        prop_assert_eq!(world.sets.len(), sets);
    }

    #[test]
    fn a_promoted_canary_stays_and_is_not_set_again(start in 64 * MB..128 * MB, goal in goals()) {
        let mut world = World::new(start);
        world.offer(&canary(1, goal.clone()));
        world.run();
        let sets = world.sets.len();
        world.offer(&permanent(2, goal.clone()));
        world.run();
        world.now = world.now.after(LEASE * 100);
        world.kill();
        world.run();
        prop_assert_eq!(world.sets.len(), sets);
        prop_assert!(differing(&goal, &world.server).is_empty());
        prop_assert_eq!(world.last(), (2, PolicyResult::Applied));
    }
}

/// What may happen to a target, in any order.
#[derive(Debug, Clone)]
enum Happens {
    /// Something is wanted: of this target, or the same again because of another one.
    Offer(Settings, bool),
    Again,
    /// A person sets one of them, to what is on nobody's way; noticed at once or not.
    Person(bool, bool),
    Killed,
    LeaseOver,
}

fn happenings() -> impl Strategy<Value = Happens> {
    let goals = || (32 * MB..256 * MB, 1_u64..32, 1_u8..4);
    let some = |(limit, samples, which)| -> Settings {
        let all = [(1, (MAXMEMORY, limit)), (2, (SAMPLES, samples))];
        let wanted = all.into_iter().filter(|(bit, _)| which & bit != 0).map(|(_, pair)| pair);
        settings(&wanted.collect::<Vec<_>>())
    };
    prop_oneof![
        2 => (goals().prop_map(some), any::<bool>()).prop_map(|(goal, on)| Happens::Offer(goal, on)),
        4 => Just(Happens::Again),
        4 => any::<(bool, bool)>().prop_map(|(limit, seen)| Happens::Person(limit, seen)),
        1 => Just(Happens::Killed),
        1 => Just(Happens::LeaseOver),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_persons_value_is_left_by_whatever_says_nothing_new_about_it(
        happenings in prop::collection::vec(happenings(), 1..30),
    ) {
        let mut world = World::new(64 * MB);
        let mut persons = Settings::new();
        let mut last = None;
        for (revision, what) in (1..).zip(happenings) {
            match what {
                Happens::Offer(goal, is_trial) => {
                    let make = if is_trial { canary } else { permanent };
                    last = Some(make(revision, goal));
                    // Each decision is a rollout of its own.
                    last.as_mut().unwrap().policy.rollout_id = revision.to_string();
                }
                Happens::Again => {
                    let Some(last) = &mut last else { continue };
                    last.revision = revision;
                }
                Happens::Person(is_limit, is_seen) => {
                    let (parameter, value) = if is_limit {
                        (MAXMEMORY, (300 + revision) * MB)
                    } else {
                        (SAMPLES, 40 + revision)
                    };
                    world.server.insert(parameter.to_owned(), value.to_string());
                    persons.insert(parameter.to_owned(), value.to_string());
                    if is_seen {
                        world.run();
                    }
                    continue;
                }
                Happens::Killed => {
                    world.kill();
                    continue;
                }
                Happens::LeaseOver => {
                    world.now = world.now.after(LEASE);
                    world.run();
                    continue;
                }
            }
            let offer = last.clone().unwrap();
            let followed = world.brain.record().followed.clone();
            let is_news = |(parameter, value): (&String, &String)| {
                let followed = followed.as_ref();
                followed.is_none_or(|f| f.wanted.get(parameter) != Some(value))
            };
            for (parameter, _) in offer.policy.settings.iter().filter(|pair| is_news(*pair)) {
                persons.remove(parameter);
            }
            world.offer(&offer);
            world.run();
            for (parameter, value) in &persons {
                prop_assert_eq!(&world.server[parameter], value, "{}", parameter);
            }
        }
    }
}

#[test]
fn a_revision_that_is_about_another_target_overwrites_nobody() {
    for (offer, notices) in [
        (permanent as fn(u64, Settings) -> Offer, true),
        (permanent, false),
        (canary, true),
        (canary, false),
    ] {
        let mut world = World::new(64 * MB);
        let mut offer = offer(1, settings(&[(MAXMEMORY, 128 * MB)]));
        world.offer(&offer);
        world.run();
        let sets = world.sets.len();
        world.server.insert(MAXMEMORY.to_owned(), (200 * MB).to_string());
        if notices {
            world.run();
        }
        offer.revision = 2;
        assert_eq!(world.offer(&offer), Taken::Pending);
        world.run();
        assert_eq!(world.last(), (2, PolicyResult::Drifted), "{}", world.reason());
        assert_eq!((world.sets.len(), &*world.server[MAXMEMORY]), (sets, &*(200 * MB).to_string()));
        let told = world.results.len();
        assert!(world.results.iter().all(|(_, result, _)| *result != PolicyResult::Rejected));
        world.now = world.now.after(LEASE.saturating_sub(Duration::from_millis(1)));
        let renewed = if offer.policy.canary.is_some() { Taken::Renewed } else { Taken::Ignored };
        assert_eq!(world.offer(&offer), renewed);
        world.run();
        assert_eq!(world.results.len(), told, "nothing new");
    }
}

#[test]
fn what_is_made_permanent_is_so_once_whatever_else_is_wanted_of_the_node() {
    let mut world = World::new(64 * MB);
    let mut offer = permanent(1, settings(&[(SAMPLES, 9)]));
    offer.policy.persist = true;
    world.offer(&offer);
    world.run();
    assert_eq!((world.persists, world.last()), (1, (1, PolicyResult::Applied)));
    offer.revision = 2;
    world.offer(&offer);
    world.run();
    assert_eq!((world.persists, world.last()), (1, (2, PolicyResult::Applied)));
    world.kill();
    offer.revision = 3;
    world.offer(&offer);
    world.run();
    assert_eq!((world.persists, world.last()), (1, (3, PolicyResult::Applied)));
    // A person's passing change beside it is not written down either, and neither is one of its own parameters.
    world.server.insert(SAMPLES.to_owned(), "3".to_owned());
    offer.policy.rollout_id = "another".to_owned();
    offer.revision = 4;
    world.offer(&offer);
    world.run();
    assert_eq!((world.persists, world.last()), (1, (4, PolicyResult::Drifted)));
    assert_eq!(world.server[SAMPLES], "3");
}

#[test]
fn a_value_that_was_changed_meanwhile_is_set_again_when_that_was_decided_on() {
    let mut world = World::new(64 * MB);
    world.offer(&permanent(1, settings(&[(MAXMEMORY, 128 * MB)])));
    world.run();
    world.server.insert(MAXMEMORY.to_owned(), (64 * MB).to_string());
    world.run();
    let mut offer = canary(2, settings(&[(MAXMEMORY, 128 * MB)]));
    offer.policy.rollout_id = "another".to_owned();
    offer.policy.canary.as_mut().unwrap().revert_to = settings(&[(MAXMEMORY, 64 * MB)]);
    world.offer(&offer);
    world.run();
    assert_eq!(world.last(), (2, PolicyResult::Applied), "{}", world.reason());
    assert_eq!(world.server[MAXMEMORY], (128 * MB).to_string());
}

#[test]
fn a_trial_that_has_ended_is_not_begun_again_under_another_revision() {
    let mut world = World::new(64 * MB);
    let mut offer = canary(1, settings(&[(MAXMEMORY, 128 * MB)]));
    world.offer(&offer);
    world.run();
    world.now = world.now.after(LEASE);
    // Once while it goes back, once when it has.
    world.act();
    for revision in [2, 3] {
        offer.revision = revision;
        world.offer(&offer);
        world.run();
        assert_eq!(world.last(), (revision, PolicyResult::Reverted));
        assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string());
    }
    offer.revision = 4;
    offer.policy.rollout_id = "another".to_owned();
    world.offer(&offer);
    world.run();
    assert_eq!(world.last(), (4, PolicyResult::Applied));
}

#[test]
fn a_canary_lives_as_long_as_it_is_renewed() {
    let mut world = World::new(64 * MB);
    let offer = canary(1, settings(&[(MAXMEMORY, 128 * MB)]));
    assert_eq!(world.offer(&offer), Taken::Pending);
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Applied));
    for _ in 0..10 {
        world.now = world.now.after(LEASE.saturating_sub(Duration::from_millis(1)));
        assert_eq!(world.offer(&offer), Taken::Renewed);
        world.run();
    }
    assert_eq!(world.server[MAXMEMORY], (128 * MB).to_string());
    world.now = world.now.after(LEASE);
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Reverted));
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string());
    let sets = world.sets.len();
    assert_eq!(world.offer(&offer), Taken::Ignored, "never again");
    world.kill();
    assert_eq!(world.offer(&offer), Taken::Ignored, "not after a restart either");
    world.run();
    assert_eq!(world.sets.len(), sets);
}

#[test]
fn a_renewal_that_comes_too_late_renews_nothing() {
    let mut world = World::new(64 * MB);
    let offer = canary(1, settings(&[(MAXMEMORY, 128 * MB)]));
    world.offer(&offer);
    world.run();
    world.now = world.now.after(LEASE);
    assert_eq!(world.offer(&offer), Taken::Ignored);
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Reverted));
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string());
    // Neither is one whose target was away all the time.
    let away = canary(2, settings(&[(MAXMEMORY, 100 * MB)]));
    world.offer(&away);
    world.now = world.now.after(LEASE);
    assert_eq!(world.offer(&away), Taken::Ignored);
    world.run();
    assert_eq!(world.last(), (2, PolicyResult::Rejected));
}

#[test]
fn a_large_shrink_goes_in_small_steps_and_back_as_well() {
    let mut world = World::new(128 * MB);
    world.offer(&canary(1, settings(&[(MAXMEMORY, 64 * MB)])));
    world.run();
    assert!(world.sets.len() >= 13, "{:?}", world.sets);
    world.offer(&canary(2, settings(&[(MAXMEMORY, 256 * MB)])));
    world.run();
    assert_eq!(world.server[MAXMEMORY], (256 * MB).to_string());
    world.used = 256 * MB;
    let sets = world.sets.len();
    world.now = world.now.after(LEASE);
    world.run();
    assert!(world.sets.len() - sets >= 13);
    assert_eq!(world.server[MAXMEMORY], (128 * MB).to_string(), "what was before both");
}

#[test]
fn a_refusal_leaves_everything_as_it_was() {
    let mut world = World::new(64 * MB);
    world.barred.insert(SAMPLES.to_owned());
    let offer = canary(1, settings(&[(MAXMEMORY, 128 * MB), (SAMPLES, 9)]));
    world.offer(&offer);
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Rejected));
    assert_eq!(world.reason(), "NOPERM no permission");
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string());
    assert_eq!(world.sets.len(), 2, "there and back");
    assert_eq!(world.offer(&offer), Taken::Ignored);
}

#[test]
fn a_way_back_that_is_barred_is_told_and_tried_for_ever() {
    let mut world = World::new(64 * MB);
    world.offer(&canary(1, settings(&[(MAXMEMORY, 128 * MB)])));
    world.run();
    world.barred.insert(MAXMEMORY.to_owned());
    world.now = world.now.after(LEASE);
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Drifted));
    assert!(world.reason().contains("cannot be put back") && world.reason().contains("NOPERM"));
    world.run();
    let told = world.results.len();
    world.kill();
    world.barred.clear();
    world.now = world.now.after(LEASE);
    world.run();
    assert_eq!(world.results.len(), told + 1);
    assert_eq!(world.last(), (1, PolicyResult::Reverted));
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string());
}

#[test]
fn drift_is_told_and_left_until_it_is_over() {
    let mut world = World::new(64 * MB);
    world.offer(&permanent(1, settings(&[(MAXMEMORY, 128 * MB)])));
    world.run();
    let sets = world.sets.len();
    for other in [99 * MB, 77 * MB] {
        world.server.insert(MAXMEMORY.to_owned(), other.to_string());
        world.run();
        assert_eq!(world.last(), (1, PolicyResult::Drifted));
        assert_eq!(world.reason(), "somebody else has changed it");
    }
    world.kill();
    world.run();
    assert_eq!(world.results.len(), 4, "each is told once: applying, applied, two drifts");
    world.server.insert(MAXMEMORY.to_owned(), (128 * MB).to_string());
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Applied));
    world.identity = 2;
    world.server.insert(MAXMEMORY.to_owned(), (64 * MB).to_string());
    world.run();
    assert!(world.reason().contains("started again"), "{}", world.reason());
    assert_eq!(world.sets.len(), sets);
}

#[test]
fn a_change_decided_on_another_state_is_refused() {
    let decided_on = |revision, value: u64| {
        let mut offer = canary(revision, settings(&[(MAXMEMORY, 128 * MB)]));
        let canary = offer.policy.canary.as_mut().unwrap();
        canary.revert_to = settings(&[(MAXMEMORY, value)]);
        offer
    };
    let mut world = World::new(64 * MB);
    world.offer(&decided_on(1, 65 * MB));
    world.run();
    assert_eq!(world.last().1, PolicyResult::Rejected);
    assert!(world.reason().contains("was decided on when it was 68157440"), "{}", world.reason());
    assert!(world.sets.is_empty());
    world.offer(&decided_on(2, 64 * MB));
    world.run();
    assert_eq!(world.last().1, PolicyResult::Applied);
    // The record is lost while the canary is in force: then the collector knows what was before.
    world.disk = Record::default();
    world.kill();
    world.offer(&decided_on(2, 64 * MB));
    world.run();
    assert_eq!(world.last().1, PolicyResult::Applied);
    world.now = world.now.after(LEASE);
    world.run();
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string());
}

#[test]
fn an_older_policy_changes_nothing_but_that_of_another_journal_does() {
    let mut world = World::new(64 * MB);
    world.offer(&permanent(5, settings(&[(SAMPLES, 7)])));
    world.run();
    assert_eq!(world.offer(&permanent(4, settings(&[(SAMPLES, 8)]))), Taken::Ignored);
    let mut other = permanent(1, settings(&[(SAMPLES, 9)]));
    other.journal = "k".to_owned();
    assert_eq!(world.offer(&other), Taken::Pending);
    world.run();
    assert_eq!(world.server[SAMPLES], "9");
    assert_eq!(world.last(), (1, PolicyResult::Applied));
}

#[test]
fn what_may_not_be_set_is_refused_and_what_is_followed_goes_on() {
    let mut world = World::new(64 * MB);
    world.offer(&canary(1, settings(&[(MAXMEMORY, 128 * MB)])));
    world.run();
    for (revision, goal, reason) in [
        (2, settings(&[("appendonly", 1)]), "appendonly: may not be set"),
        (3, settings(&[(SAMPLES, 65)]), "65 is not from 1 to 64"),
        (4, settings(&[(MAXMEMORY, 513 * MB)]), "factor of 4"),
    ] {
        world.offer(&permanent(revision, goal));
        world.run();
        assert_eq!(world.last(), (revision, PolicyResult::Rejected));
        assert!(world.reason().contains(reason), "{}", world.reason());
    }
    assert_eq!(world.server[MAXMEMORY], (128 * MB).to_string());
    world.now = world.now.after(LEASE);
    world.run();
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string(), "it was not renewed");
    assert_eq!(world.offer(&permanent(4, settings(&[(MAXMEMORY, 70 * MB)]))), Taken::Ignored);
}

#[test]
fn an_offer_waits_for_a_target_that_is_away_as_long_as_its_lease() {
    let mut world = World::new(64 * MB);
    let offer = canary(1, settings(&[(MAXMEMORY, 128 * MB)]));
    world.offer(&offer);
    let away = Trouble::Away("connection refused".to_owned());
    for _ in 0..3 {
        world.brain.unreadable(&away, world.now);
    }
    let told = world.brain.take_outcomes();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].reason.contains("connection refused"));
    world.now = world.now.after(LEASE / 2);
    assert_eq!(world.offer(&offer), Taken::Renewed);
    world.now = world.now.after(LEASE.saturating_sub(Duration::from_millis(1)));
    world.brain.unreadable(&away, world.now);
    assert!(world.brain.deadline() > Some(world.now));
    world.now = world.now.after(LEASE);
    world.brain.unreadable(&away, world.now);
    world.run();
    assert_eq!(world.last(), (1, PolicyResult::Rejected));
    assert!(world.sets.is_empty());
}

#[test]
fn what_cannot_be_evicted_ends_the_change() {
    let mut world = World::new(128 * MB);
    world.offer(&permanent(1, settings(&[(MAXMEMORY, 64 * MB)])));
    for _ in 0..4 {
        world.act();
    }
    assert!(!world.sets.is_empty());
    // From here on nothing is evicted.
    let full = world.used;
    for _ in 0..MANY {
        world.act();
        world.used = full;
    }
    assert_eq!(world.last(), (1, PolicyResult::Rejected));
    assert!(world.reason().contains("cannot be evicted"), "{}", world.reason());
    assert_eq!(world.server[MAXMEMORY], (128 * MB).to_string());
}

#[test]
fn what_a_trial_leaves_over_is_put_back_by_the_next_policy() {
    let mut world = World::new(64 * MB);
    world.offer(&canary(1, settings(&[(MAXMEMORY, 128 * MB), (SAMPLES, 9)])));
    world.run();
    world.offer(&permanent(2, settings(&[(MAXMEMORY, 100 * MB)])));
    world.run();
    assert_eq!(world.last(), (2, PolicyResult::Applied));
    assert_eq!(world.server[MAXMEMORY], (100 * MB).to_string());
    assert_eq!(world.server[SAMPLES], "5");
}

#[test]
fn what_was_before_a_trial_may_be_wanted_again_whatever_it_was() {
    let mut world = World::new(32 * MB);
    world.server.insert(MAXMEMORY.to_owned(), "0".to_owned());
    world.offer(&canary(1, settings(&[(MAXMEMORY, 40 * MB)])));
    world.run();
    world.offer(&canary(2, settings(&[(MAXMEMORY, 160 * MB)])));
    world.run();
    assert_eq!(world.last(), (2, PolicyResult::Applied));
    // No limit is neither within what may be set nor within the largest step.
    world.offer(&permanent(3, settings(&[(MAXMEMORY, 0)])));
    world.run();
    assert_eq!(world.last(), (3, PolicyResult::Applied), "{}", world.reason());
    assert_eq!(world.server[MAXMEMORY], "0");
    world.offer(&permanent(4, settings(&[(MAXMEMORY, 40 * MB)])));
    world.run();
    let mut other = permanent(5, settings(&[(MAXMEMORY, 0)]));
    other.policy.rollout_id = "another".to_owned();
    world.offer(&other);
    world.run();
    assert_eq!(world.last(), (5, PolicyResult::Rejected), "what was promoted is the state now");
}

/// A collector that was away does not know that the last step of a rollout is permanent, and wants what was before it.
#[test]
fn what_was_before_a_rollout_comes_back_though_its_values_are_permanent() {
    for (before, wanted, is_killed) in [
        (0, 160 * MB, false),
        (0, 160 * MB, true),
        (16 * MB, 200 * MB, false),
        (2 << 40, 1 << 40, true),
    ] {
        let mut world = World::new(32 * MB);
        world.server.insert(MAXMEMORY.to_owned(), before.to_string());
        // As far as one policy may go at a time.
        for (revision, part) in (1..).zip([16, 4, 1]) {
            let value = if before < wanted { wanted / part } else { wanted };
            world.offer(&canary(revision, settings(&[(MAXMEMORY, value)])));
            world.run();
        }
        world.offer(&permanent(5, settings(&[(MAXMEMORY, wanted)])));
        world.run();
        assert_eq!(world.last(), (5, PolicyResult::Applied), "{}", world.reason());
        if is_killed {
            world.kill();
        }
        world.offer(&permanent(6, settings(&[(MAXMEMORY, before)])));
        world.run();
        assert_eq!(world.last(), (6, PolicyResult::Applied), "{}", world.reason());
        assert_eq!(world.server[MAXMEMORY], before.to_string());
    }
}

#[test]
fn a_server_that_says_yes_and_does_nothing_is_found_out() {
    let mut world = World::new(64 * MB);
    world.offer(&canary(1, settings(&[(SAMPLES, 9)])));
    for _ in 0..20 {
        world.act();
        world.server.insert(SAMPLES.to_owned(), "5".to_owned());
    }
    assert_eq!(world.last(), (1, PolicyResult::Rejected));
    assert!(world.reason().contains("was set to 9 and is still 5"), "{}", world.reason());
}

#[test]
fn what_is_permanent_may_be_written_down_and_a_failure_of_that_is_told() {
    let mut world = World::new(64 * MB);
    let mut offer = permanent(1, settings(&[(SAMPLES, 9)]));
    offer.policy.persist = true;
    world.offer(&offer);
    let mut acts = Vec::new();
    for _ in 0..10 {
        let act = world.brain.next(&world.reading(), world.now);
        match &act {
            Act::Save { .. } => world.brain.saved(),
            Act::Set(step) => drop(world.server.insert(step.parameter.clone(), step.value.clone())),
            Act::Persist => world.brain.persisted(Err("no config file".to_owned())),
            Act::Wait(_) => {}
        }
        acts.push(act);
    }
    assert_eq!(acts.iter().filter(|act| **act == Act::Persist).count(), 1);
    let outcome = world.brain.take_outcomes().pop().unwrap();
    assert_eq!(PolicyResult::from(outcome.result), PolicyResult::Applied);
    assert_eq!(outcome.reason, "in force, but not made permanent: no config file");
}
