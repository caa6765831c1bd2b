//! What is refused, by the rules or by the server, leaves everything as it was.

use flyball_proto::steering::PolicyResult;

use super::super::resolve::Taken;
use super::world::{LEASE, MANY, MB, SAMPLES, World, canary, permanent, settings};
use crate::steer::actuator::Trouble;
use crate::steer::record::Record;
use crate::steer::redis::MAXMEMORY;

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
fn looks_at_a_target_that_copes_are_close_together_at_first() {
    let mut world = World::new(128 * MB);
    world.offer(&permanent(1, settings(&[(MAXMEMORY, 64 * MB)])));
    while world.sets.is_empty() {
        world.act();
    }
    let full = world.used;
    let mut waits = Vec::new();
    for _ in 0..14 {
        let begun = world.now;
        world.act();
        world.used = full;
        waits.push(world.now.since(begun).as_millis());
    }
    assert_eq!(waits, [5, 5, 5, 7, 11, 16, 24, 36, 50, 50, 50, 50, 50, 50]);
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
fn what_is_refused_when_it_is_read_is_what_was_set_last() {
    let mut world = World::new(64 * MB);
    world.offer(&canary(1, settings(&[(MAXMEMORY, 128 * MB)])));
    while world.sets.is_empty() {
        world.act();
    }
    let mut other = canary(2, settings(&[(SAMPLES, 9)]));
    other.policy.rollout_id = "s".to_owned();
    world.offer(&other);
    let refused = Trouble::Refused("no".to_owned());
    world.brain.unreadable(&refused, world.now);
    world.run();
    assert_eq!(world.results.iter().filter(|(_, r, _)| *r == PolicyResult::Rejected).count(), 0);
    assert_eq!((world.last(), &*world.server[SAMPLES]), ((2, PolicyResult::Applied), "9"));
    assert_eq!(world.server[MAXMEMORY], (64 * MB).to_string(), "put back by the other");
}

#[test]
fn a_way_back_that_is_refused_when_it_is_read_is_told() {
    let mut world = World::new(64 * MB);
    world.offer(&canary(1, settings(&[(SAMPLES, 9)])));
    world.run();
    world.now = world.now.after(LEASE);
    let refused = Trouble::Refused("no".to_owned());
    world.brain.unreadable(&refused, world.now);
    world.brain.unreadable(&refused, world.now);
    let told: Vec<_> = world.brain.take_outcomes().into_iter().map(|one| one.reason).collect();
    assert_eq!(told, ["cannot be put back, trying again: no"]);
    world.run();
    assert_eq!((world.last(), &*world.server[SAMPLES]), ((1, PolicyResult::Reverted), "5"));
}
