//! Trials live as long as they are renewed, and end once.

use std::time::Duration;

use flyball_proto::steering::PolicyResult;

use super::super::resolve::Taken;
use super::world::{LEASE, MB, World, canary, settings};
use crate::steer::actuator::Trouble;
use crate::steer::redis::MAXMEMORY;

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
    assert!(!world.brain.is_renewal(&offer));
    assert_eq!(world.offer(&offer), Taken::Pending);
    assert!(world.brain.is_renewal(&offer));
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
fn what_was_renewed_in_time_lives_on_though_it_is_read_late() {
    for (gap, renewed) in [(Duration::from_millis(1), true), (Duration::ZERO, false)] {
        let mut world = World::new(64 * MB);
        let offer = canary(1, settings(&[(MAXMEMORY, 128 * MB)]));
        world.offer(&offer);
        world.run();
        assert!(world.brain.is_renewal(&offer));
        // The first of the unread ones came just in time, or just too late.
        let since = world.now.after(LEASE.saturating_sub(gap));
        world.now = world.now.after(LEASE * 5);
        let taken = world.brain.offer(offer, since, world.now);
        assert_eq!(taken == Taken::Renewed, renewed);
        world.run();
        let expected = if renewed { PolicyResult::Applied } else { PolicyResult::Reverted };
        assert_eq!(world.last(), (1, expected));
    }
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
