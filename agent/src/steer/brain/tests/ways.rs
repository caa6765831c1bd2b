//! The way there and back: its steps, and what a rollout goes back to.

use flyball_proto::steering::PolicyResult;

use super::world::{LEASE, MB, SAMPLES, World, canary, permanent, settings};
use crate::steer::redis::MAXMEMORY;

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
