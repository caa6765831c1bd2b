//! The life of a change, told.

use serde_json::Value;

use super::super::*;
use super::world::*;

/// Three steps at one target up to the judge: 200, 400, 600 from 100.
fn validating() -> World {
    let mut world = World::new();
    world.propose("s-1", &[1], 100, 600);
    world.confirm("s-1").unwrap();
    for step in [200, 400, 600] {
        assert_eq!(world.wanted(1).unwrap().0, values(step));
        assert_eq!(world.rollout("r-1").state, RolloutState::Canary);
        world.obey(1);
        world.wait(world.limits.hold_ms);
    }
    assert_eq!(world.rollout("r-1").state, RolloutState::Validating);
    world
}

#[test]
fn a_good_change_is_promoted_and_stays_wanted() {
    let mut world = validating();
    let lease = Ask::Canary { lease_ms: world.limits.lease_ms, revert_to: values(100) };
    assert_eq!(world.wanted(1), Some((values(600), lease)));
    world.judge("r-1", Judgement::Pass);
    assert_eq!(world.rollout("r-1").stage(), "judging", "a pass that is too early");
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    assert_eq!(world.rollout("r-1").stage(), "sealing");
    let keep = Some((values(600), Ask::Keep { persist: false }));
    assert_eq!(world.wanted(1), keep);
    world.obey(1);
    assert_eq!(world.rollout("r-1").state, RolloutState::Promoted);
    assert_eq!(world.wanted(1), keep);
    assert_eq!(world.state().target(&target(1).id).unwrap().status(world.now), "free");
    world.report(1, Applied::Drifted("a person set it".into()), values(300));
    assert_eq!(world.wanted(1), None, "Flyball does not fight a person");
    world.check_replay();
}

#[test]
fn what_another_hand_has_set_during_a_trial_is_left() {
    let mut world = validating();
    let decided = {
        let outcome = world.outcome(1, Applied::Drifted("a person set it".into()), values(300));
        world.ok(&Event::Outcome(outcome))
    };
    let offers = decided.actions.iter().filter_map(|action| match action {
        Action::Offer(policy) => Some(policy.parts.len()),
        Action::Tell { .. } => None,
    });
    assert_eq!(offers.collect::<Vec<_>>(), [0], "nothing is wanted of it any more");
    let rollout = world.rollout("r-1");
    assert_eq!(rollout.state, RolloutState::RolledBack);
    assert!(rollout.reason.ends_with("a person set it; maxmemory is left at 300"));
    assert_eq!(world.state().target(&target(1).id).unwrap().status(world.now), "cooling");
    world.check_replay();

    // One that is at the old value by itself has nothing to give back either; one that is between steps
    // has.
    let mut world = validating();
    world.report(1, Applied::Drifted("started again".into()), values(100));
    assert_eq!(world.rollout("r-1").state, RolloutState::RolledBack);
    let mut world = validating();
    world.report(1, Applied::Drifted("cannot be put back".into()), values(400));
    assert_eq!(world.wanted(1), Some((values(100), Ask::Restore { persist: false })));
}

#[test]
fn a_pass_of_an_older_step_promotes_nothing() {
    let mut world = validating();
    world.wait(world.limits.validate_min_ms);
    for result in [Judgement::Pass, Judgement::Inconclusive] {
        let mut judged = world.judged("r-1", result);
        if let Event::Judged { revision, .. } = &mut judged {
            *revision -= 1;
        }
        assert_eq!(world.ok(&judged).transitions, []);
    }
    assert_eq!(world.rollout("r-1").stage(), "judging");
}

#[test]
fn an_inconclusive_verdict_is_recorded_now_and_then() {
    let mut world = validating();
    let record_ms = world.limits.record_ms;
    for wait in [0, 0, record_ms - 1, 1, 1, record_ms] {
        world.wait(wait);
        world.judge("r-1", Judgement::Inconclusive);
    }
    let begin = world.now - 2 * record_ms - 1;
    let verdicts = &world.rollout("r-1").steps.last().unwrap().verdicts;
    let times: Vec<i64> = verdicts.iter().map(|(at_ms, _)| at_ms - begin).collect();
    assert_eq!(times, [0, record_ms, 2 * record_ms + 1]);
    assert_eq!(world.rollout("r-1").stage(), "judging");
}

#[test]
fn harm_is_rolled_back_when_the_old_values_are_in_force_and_not_before() {
    let mut world = validating();
    world.judge("r-1", Judgement::Harm);
    let rollout = world.rollout("r-1");
    assert_eq!((rollout.state, rollout.stage()), (RolloutState::Validating, "restoring"));
    assert_eq!(world.wanted(1), Some((values(100), Ask::Restore { persist: false })));
    let stale = Outcome {
        revision: world.state().policy("node-1").revision - 1,
        ..world.outcome(1, Applied::Applied, values(100))
    };
    world.ok(&Event::Outcome(stale));
    assert_eq!(world.rollout("r-1").stage(), "restoring", "that was before it was asked");
    world.report(1, Applied::Applied, values(600));
    assert_eq!(world.rollout("r-1").stage(), "restoring", "those are the new ones");
    world.obey(1);
    let rollout = world.rollout("r-1");
    assert_eq!(rollout.state, RolloutState::RolledBack);
    assert_eq!(rollout.reason, "the judge found harm: it is harm");
    assert_eq!(world.wanted(1), None);
    assert_eq!(world.state().target(&target(1).id).unwrap().status(world.now), "cooling");
}

#[test]
fn what_cannot_be_restored_has_failed_and_an_operator_is_told() {
    let mut world = validating();
    world.judge("r-1", Judgement::Harm);
    let told = world.wait(world.limits.restore_ms);
    let texts: Vec<_> = told
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::Tell { text, .. } => Some(text.as_str()),
            Action::Offer(_) => None,
        })
        .collect();
    assert_eq!(
        texts,
        [
            "the judge found harm: it is harm; the old values were not shown to be in force in time \
             by node-1/redis/main; a person has to look",
            "it is not known that the old values are in force; a person has to look",
        ]
    );
    assert_eq!(world.rollout("r-1").state, RolloutState::Failed);
    let restore = Some((values(100), Ask::Restore { persist: false }));
    assert_eq!(world.wanted(1), restore, "they stay wanted");
    world.wait(DAY);
    world.propose("s-2", &[1], 100, 150);
    let locked = Refusal::Locked { target: target(1).id };
    assert_eq!(world.confirm("s-2").unwrap_err(), locked);
    world.obey(1);
    assert_eq!(world.wanted(1), None);
    assert_eq!(world.confirm("s-2").unwrap_err(), locked, "a person has to look all the same");
    world.ok(&Event::Unlock { target: target(1).id, by: ana(), note: String::new() });
    world.confirm("s-2").unwrap();
    world.check_replay();
}

#[test]
fn old_values_that_the_agent_refuses_are_not_offered_again() {
    let mut world = validating();
    world.judge("r-1", Judgement::Harm);
    world.report(1, Applied::Rejected("maxmemory is below what is used".into()), values(600));
    let rollout = world.rollout("r-1");
    assert_eq!(rollout.state, RolloutState::Failed);
    assert!(rollout.reason.contains("were refused by node-1/redis/main"), "{}", rollout.reason);
    assert_eq!(world.wanted(1), None);
}

#[test]
fn a_rejected_step_brings_the_old_values_back_and_is_never_offered_again() {
    let mut world = World::new();
    world.propose("s-1", &[1], 100, 600);
    world.confirm("s-1").unwrap();
    let told = world.outcome(1, Applied::Rejected("above the host's memory".into()), values(100));
    world.ok(&Event::Outcome(told.clone()));
    assert_eq!(world.rollout("r-1").state, RolloutState::RolledBack);
    assert_eq!(world.rollout("r-1").cause, Some(Cause::Agent));
    world.propose("s-2", &[1], 100, 600);
    world.wait(world.limits.cool_down_ms);
    let refusal = Refusal::RejectedBefore { target: target(1).id, values: values(200) };
    assert_eq!(world.confirm("s-2").unwrap_err(), refusal);
    assert_eq!(world.state().target(&target(1).id).unwrap().status(world.now), "free");
    // Its reason may be gone: a person says so.
    let unlock = Event::Unlock { target: target(1).id, by: ana(), note: "more memory".into() };
    world.ok(&unlock);
    // Agents tell again what they told, whenever they connect.
    world.ok(&Event::Outcome(told));
    assert!(matches!(world.event(&unlock), Err(Refusal::NotLocked(_))), "once");
    world.confirm("s-2").unwrap();
    world.check_replay();
}

/// `maxmemory` of the target 1 is promoted at 150, and another parameter is on trial at 150.
fn beside() -> World {
    let mut world = World::new();
    world.propose("s-1", &[1], 100, 150);
    world.confirm("s-1").unwrap();
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    world.obey(1);
    assert_eq!(world.rollout("r-1").state, RolloutState::Promoted);
    world.ok(&Event::Proposed(Box::new(of_samples(proposal("s-2", &[1], 100, 150)))));
    world.confirm("s-2").unwrap();
    let (wanted, ask) = world.wanted(1).unwrap();
    assert_eq!(wanted, both(150, 150));
    let Ask::Canary { revert_to, .. } = ask else { panic!("{ask:?}") };
    assert_eq!(revert_to, both(150, 100));
    world.obey(1);
    world
}

fn both(maxmemory: u64, of_samples: u64) -> Values {
    values(maxmemory).into_iter().chain(samples(of_samples)).collect()
}

#[test]
fn promoted_values_stay_wanted_while_others_are_tried_and_after() {
    let mut world = beside();
    let mut back = world.clone();
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_min_ms);
    world.judge("r-2", Judgement::Pass);
    world.obey(1);
    assert_eq!(world.rollout("r-2").state, RolloutState::Promoted);
    assert_eq!(world.wanted(1), Some((both(150, 150), Ask::Keep { persist: false })));
    world.check_replay();

    let rollout = RolloutId("r-2".into());
    back.ok(&Event::RollBack { rollout, by: ana(), note: String::new() });
    assert_eq!(back.wanted(1), Some((both(150, 100), Ask::Restore { persist: false })));
    back.obey(1);
    assert_eq!(back.rollout("r-2").state, RolloutState::RolledBack);
    assert_eq!(back.wanted(1), Some((values(150), Ask::Keep { persist: false })));
    back.check_replay();
}

#[test]
fn a_person_who_changes_a_promoted_value_beside_a_trial_ends_that_and_keeps_the_value() {
    let mut world = beside();
    world.report(1, Applied::Drifted("somebody else".into()), both(200, 150));
    let rollout = world.rollout("r-2");
    assert_eq!((rollout.stage(), rollout.cause), ("restoring", Some(Cause::Agent)));
    assert!(rollout.reason.ends_with("maxmemory is left at 200"), "{}", rollout.reason);
    assert_eq!(world.wanted(1), Some((samples(100), Ask::Restore { persist: false })));
    world.report(1, Applied::Applied, both(200, 100));
    assert_eq!(world.rollout("r-2").state, RolloutState::RolledBack);
    assert_eq!(world.wanted(1), None);
    world.check_replay();

    // The agent has found it only when it was asked for the old values, or for a step.
    let mut world = beside();
    let rollout = RolloutId("r-2".into());
    world.ok(&Event::RollBack { rollout, by: ana(), note: String::new() });
    world.report(1, Applied::Drifted("somebody else".into()), both(200, 100));
    assert_eq!(world.wanted(1), Some((samples(100), Ask::Restore { persist: false })));
    world.report(1, Applied::Applied, both(200, 100));
    assert_eq!(world.wanted(1), None);

    let mut world = beside();
    world.report(1, Applied::Rejected("maxmemory is 200".into()), both(200, 100));
    assert_eq!(world.rollout("r-2").state, RolloutState::RolledBack);
    let book = world.state().target(&target(1).id).unwrap();
    assert_eq!((book.rejected.len(), &book.standing), (0, &None), "that was not the step's fault");
}

#[test]
fn what_agents_did_while_nobody_could_decide_is_heard_before_time_limits_are() {
    let mut world = validating();
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    let applied = world.outcome(1, Applied::Applied, values(600));
    world.now += world.limits.apply_ms;
    let mut late = world.clone();
    world.ok(&Event::Outcome(applied.clone()));
    assert_eq!(world.rollout("r-1").state, RolloutState::Promoted);
    late.tick();
    late.ok(&Event::Outcome(applied));
    assert_eq!(late.rollout("r-1").stage(), "restoring");
}

#[test]
fn after_three_attempts_with_growing_pauses_a_target_is_locked() {
    let mut world = World::new();
    for (attempt, pause) in [(1, 10), (2, 40), (3, 0)] {
        let id = format!("s-{attempt}");
        world.propose(&id, &[1], 100, 150);
        world.confirm(&id).unwrap();
        let rollout = format!("r-{attempt}");
        assert_eq!(world.rollout(&rollout).attempt, attempt);
        let rollout = RolloutId(rollout);
        world.ok(&Event::HardStop { rollout, reason: "oom".into(), inputs: Value::Null });
        world.obey(1);
        world.propose(&format!("{id}-again"), &[1], 100, 150);
        let refusal = world.confirm(&format!("{id}-again")).unwrap_err();
        if attempt == 3 {
            assert_eq!(refusal, Refusal::Locked { target: target(1).id });
            continue;
        }
        let until_ms = world.now + pause * 60_000;
        let cooling = Refusal::CoolingDown { target: target(1).id, failures: attempt, until_ms };
        assert_eq!(refusal, cooling);
        world.wait(pause * 60_000);
    }
    world.ok(&Event::Unlock { target: target(1).id, by: ana(), note: "fixed".into() });
    world.confirm("s-3-again").unwrap();
    assert_eq!(world.rollout("r-3-again").attempt, 1);
}

#[test]
fn a_success_forgets_failures() {
    let mut world = World::new();
    world.propose("s-0", &[1], 100, 600);
    world.confirm("s-0").unwrap();
    let rollout = RolloutId("r-0".into());
    world.ok(&Event::RollBack { rollout, by: ana(), note: String::new() });
    world.obey(1);
    world.wait(world.limits.cool_down_ms);
    world.propose("s-1", &[1], 100, 150);
    world.confirm("s-1").unwrap();
    assert_eq!(world.rollout("r-1").attempt, 2);
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    world.obey(1);
    assert_eq!(world.state().target(&target(1).id).unwrap().attempts.len(), 0);
}

#[test]
fn an_inconclusive_end_is_rolled_back_and_says_so() {
    let mut world = validating();
    world.judge("r-1", Judgement::Inconclusive);
    world.wait(world.limits.validate_max_ms);
    let rollout = world.rollout("r-1");
    assert_eq!((rollout.stage(), rollout.cause), ("restoring", Some(Cause::Inconclusive)));
    assert_eq!(rollout.reason, "it was inconclusive for the longest time: it is inconclusive");
}

#[test]
fn the_end_of_a_short_validation_tells_a_late_look_and_not_the_first() {
    let mut world = World::new();
    world.limits.record_ms = world.limits.validate_max_ms;
    world.propose("s-1", &[1], 100, 150);
    world.confirm("s-1").unwrap();
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.judge("r-1", Judgement::Inconclusive);
    world.wait(world.limits.validate_max_ms / 10 * 9);
    let mut late = world.judged("r-1", Judgement::Inconclusive);
    if let Event::Judged { verdict, .. } = &mut late {
        verdict.reason = "too noisy".to_owned();
    }
    world.ok(&late);
    world.wait(world.limits.validate_max_ms / 10);
    let reason = &world.rollout("r-1").reason;
    assert_eq!(reason, "it was inconclusive for the longest time: too noisy");
}

#[test]
fn or_it_asks_a_person_who_may_give_it_more_time() {
    let mut world = World::new();
    world.limits.at_maximum = AtMaximum::AskPerson;
    world.propose("s-1", &[1], 100, 150);
    world.confirm("s-1").unwrap();
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_max_ms);
    let rollout = world.rollout("r-1");
    assert!(rollout.paused.is_some_and(|pause| pause.asks), "{rollout:?}");
    assert!(world.wanted(1).is_some(), "it stays in force while it waits");
    let rollout = RolloutId("r-1".into());
    world.ok(&Event::Resume { rollout, by: ana(), note: String::new() });
    world.wait(world.limits.validate_max_ms - 1);
    assert_eq!(world.rollout("r-1").stage(), "judging");
    world.judge("r-1", Judgement::Pass);
    assert_eq!(world.rollout("r-1").stage(), "sealing");
}

#[test]
fn a_pause_stops_the_clock_but_not_the_guards() {
    let mut world = World::new();
    world.propose("s-1", &[1], 100, 350);
    world.confirm("s-1").unwrap();
    world.obey(1);
    let pause = || (RolloutId("r-1".into()), ana(), String::new());
    let (rollout, by, note) = pause();
    world.ok(&Event::Pause { rollout, by, note });
    world.wait(10 * world.limits.hold_ms);
    assert_eq!(world.wanted(1).unwrap().0, values(200), "no further");
    let (rollout, by, note) = pause();
    world.ok(&Event::Resume { rollout, by, note });
    assert_eq!(world.wanted(1).unwrap().0, values(200), "the hold goes on where it was");
    world.wait(world.limits.hold_ms);
    assert_eq!(world.wanted(1).unwrap().0, values(350));
    let (rollout, by, note) = pause();
    world.ok(&Event::Pause { rollout, by, note });
    world.ok(&Event::AgentSilent { node: "node-1".into(), silent_ms: world.limits.silent_ms });
    assert_eq!(world.rollout("r-1").cause, Some(Cause::Silent));
}

#[test]
fn a_group_goes_by_waves_and_all_of_it_goes_back() {
    let mut world = World::new();
    world.limits.canary_share = 0.2;
    world.propose("s-1", &[0, 1, 2, 3, 4, 5], 100, 150);
    world.confirm("s-1").unwrap();
    let plan = std::sync::Arc::clone(&world.rollout("r-1").plan);
    assert_eq!(plan.waves.iter().map(|wave| wave.members.len()).collect::<Vec<_>>(), [1, 2, 2, 1]);
    assert_eq!(world.rollout("r-1").compared().1.len(), 1, "a control for the canary");
    for wave in &plan.waves[..2] {
        for &member in &wave.members {
            world.obey(member);
        }
        world.wait(world.limits.hold_ms);
        world.wait(world.limits.validate_min_ms);
        world.judge("r-1", Judgement::Pass);
    }
    assert_eq!(world.rollout("r-1").stage(), "applying", "the third wave");
    assert_eq!(world.rollout("r-1").steps.len(), 3);
    world.judge("r-1", Judgement::Harm);
    let touched: Vec<usize> = plan.waves[..3].iter().flat_map(|w| w.members.clone()).collect();
    for n in 0..6 {
        let old = Some((values(100), Ask::Restore { persist: false }));
        assert_eq!(world.wanted(n), if touched.contains(&n) { old } else { None });
    }
    for &n in &touched {
        world.obey(n);
    }
    assert_eq!(world.rollout("r-1").state, RolloutState::RolledBack);
    let last = plan.waves[3].members[0];
    assert_eq!(world.state().target(&target(last).id).unwrap().status(world.now), "free");
    world.check_replay();
}

#[test]
fn persisted_values_are_restored_in_the_servers_configuration_too() {
    let mut world = World::new();
    world.limits.persist = true;
    world.propose("s-1", &[1], 100, 150);
    world.confirm("s-1").unwrap();
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    assert_eq!(world.wanted(1), Some((values(150), Ask::Keep { persist: true })));
    world.wait(world.limits.apply_ms);
    assert_eq!(world.wanted(1), Some((values(100), Ask::Restore { persist: true })));
}

#[test]
fn a_failed_rollout_is_not_forgotten_while_its_old_values_are_owed() {
    let mut world = validating();
    world.judge("r-1", Judgement::Harm);
    world.wait(world.limits.restore_ms);
    let mut log = world.log.clone();
    log.forget(world.now + 1);
    assert_eq!(log.state().rollouts().count(), 1);
    world.log = log;
    // The row of what comes late is the same as on a collector that has forgotten nothing.
    world.obey(1);
    world.check_replay();
}

#[test]
fn even_what_is_wanted_is_not_offered_once_it_was_rejected() {
    let world = validating();
    let mut state = world.state().clone();
    let refused = Transition {
        at_ms: world.now,
        actor: Actor::part("agent"),
        reason: String::new(),
        inputs: Value::Null,
        what: Move::Refused { target: target(1).id, values: values(600) },
    };
    state.apply(&refused).unwrap();
    assert_eq!(state.policy("node-1").parts, []);
    assert_eq!(state.policy("node-1").revision, state.sequence());
}

#[test]
fn what_has_ended_can_be_forgotten_without_wanting_anything_else() {
    let mut world = validating();
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    world.obey(1);
    let mut log = world.log.clone();
    log.forget(world.now + 1);
    assert_eq!((log.state().rollouts().count(), log.state().suggestions().count()), (0, 0));
    assert_eq!(log.state().policy("node-1"), world.state().policy("node-1"));
}
