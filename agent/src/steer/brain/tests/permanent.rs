//! What is written down: once, and what is said when that fails.

use flyball_proto::steering::PolicyResult;

use super::super::Act;
use super::world::{MB, SAMPLES, World, permanent, settings};

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
            Act::Set(steps) => {
                drop(world.server.insert(steps[0].parameter.clone(), steps[0].value.clone()));
            }
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
