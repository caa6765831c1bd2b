//! What somebody else sets is told and left, until something new is decided about it.

use std::time::Duration;

use flyball_proto::steering::{PolicyResult, Settings};
use proptest::prelude::*;

use super::super::Offer;
use super::super::resolve::Taken;
use super::world::{LEASE, MB, SAMPLES, World, canary, permanent, settings};
use crate::steer::redis::MAXMEMORY;

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
