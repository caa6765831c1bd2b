//! Whatever is killed, and whenever: what was before comes back, what is permanent stays.

use flyball_proto::steering::PolicyResult;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::resolve::Taken;
use super::world::{LEASE, MB, SAMPLES, World, canary, goals, permanent};
use crate::steer::actuator::differing;
use crate::steer::redis::MAXMEMORY;

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
