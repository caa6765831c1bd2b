//! What random events hardly ever lead to: two kinds of change on one target, reports that come
//! late, a collector that dies between two rows.

use serde_json::Value;

use super::super::*;
use super::world::*;

fn kind(world: &mut World, id: &str, kind: &str, targets: &[usize], (from, to): (u64, u64)) {
    let mut proposal = proposal(id, targets, from, to);
    proposal.kind = kind.to_owned();
    world.ok(&Event::Proposed(Box::new(proposal)));
    world.confirm(id).unwrap();
}

fn stop(world: &mut World, id: &str) {
    let rollout = RolloutId(id.to_owned());
    world.ok(&Event::HardStop { rollout, reason: "oom".into(), inputs: Value::Null });
}

/// A change that fails.
fn fail(world: &mut World, id: &str, of: &str) {
    kind(world, &format!("s-{id}"), of, &[1], (100, 150));
    stop(world, &format!("r-{id}"));
    world.obey(1);
}

/// A change that is promoted.
fn promote(world: &mut World, id: &str, of: &str, targets: &[usize], change: (u64, u64)) {
    kind(world, &format!("s-{id}"), of, targets, change);
    let rollout = format!("r-{id}");
    while world.rollout(&rollout).node() != "promoted" {
        let members = world.rollout(&rollout).members.clone();
        for (place, _) in members.iter().enumerate().filter(|(_, m)| **m == Member::Asked) {
            world.obey(targets[place]);
        }
        world.wait(world.limits.validate_min_ms);
        world.judge(&rollout, Judgement::Pass);
    }
}

fn locked(of: &str) -> World {
    let mut world = World::new();
    for attempt in 0..3 {
        fail(&mut world, &format!("{attempt}{of}"), of);
        world.wait(DAY);
    }
    world
}

fn drift(world: &mut World, n: usize) {
    world.report(n, Applied::Drifted("a person".into()), values(77));
}

fn status(world: &World, n: usize) -> &'static str {
    world.state().target(&target(n).id).unwrap().status(world.now)
}

/// A lock of one kind does not keep another kind from being tried.
fn two_kinds() -> Edges {
    let mut world = locked("a");
    fail(&mut world, "b", "b");
    assert_eq!(status(&world, 1), "locked");
    let mut other = world.clone();
    world.ok(&Event::Unlock { target: target(1).id, by: ana(), note: String::new() });
    assert_eq!(status(&world, 1), "cooling", "unlocking does not end another kind's rest");
    promote(&mut world, "c", "a", &[1], (100, 150));
    drift(&mut world, 1);
    other.wait(DAY);
    promote(&mut other, "c", "b", &[1], (100, 150));
    assert_eq!(status(&other, 1), "locked");
    drift(&mut other, 1);
    world.edges.append(&mut other.edges);
    world.edges
}

/// A promoted value of a member that the next rollout has not reached yet.
fn untouched() -> Edges {
    let mut world = World::new();
    promote(&mut world, "1", "a", &[0, 1], (100, 150));
    kind(&mut world, "s-2", "a", &[0, 1], (150, 200));
    let untouched = world.rollout("r-2").plan.waves[1].members[0];
    assert_eq!(world.wanted(untouched), Some((values(150), Ask::Keep { persist: false })));
    drift(&mut world, untouched);
    assert_eq!(world.wanted(untouched), None);
    world.edges
}

/// An agent says that it rejected a step after the old values were back.
fn late() -> Edges {
    let mut edges = Edges::new();
    for (pause, attempts) in [(0, 3), (DAY, 3), (0, 1)] {
        let mut world = World::new();
        world.limits.attempts = attempts;
        kind(&mut world, "s-1", "a", &[1], (100, 350));
        let mut late = world.outcome(1, Applied::Rejected("why".into()), Values::new());
        stop(&mut world, "r-1");
        let mut sooner = world.clone();
        sooner.ok(&Event::Outcome(late.clone()));
        edges.append(&mut sooner.edges);
        world.obey(1);
        late.rollout = RolloutId("r-1".into());
        world.wait(pause);
        world.ok(&Event::Outcome(late));
        if attempts > 1 {
            refused(&mut world);
        }
        edges.append(&mut world.edges);
    }
    edges
}

fn refused(world: &mut World) {
    world.wait(DAY);
    world.propose("s-2", &[1], 100, 350);
    let refusal = Refusal::RejectedBefore { target: target(1).id, values: values(200) };
    assert_eq!(world.confirm("s-2").unwrap_err(), refusal);
}

/// A person allows what an agent rejected, at a target that rests and at one that does not.
fn allowed() -> Edges {
    let mut edges = Edges::new();
    for pause in [0, DAY] {
        let mut world = World::new();
        kind(&mut world, "s-1", "a", &[1], (100, 350));
        world.report(1, Applied::Rejected("why".into()), values(100));
        world.wait(pause);
        world.ok(&Event::Unlock { target: target(1).id, by: ana(), note: String::new() });
        edges.append(&mut world.edges);
    }
    edges
}

/// A collector dies after `rolled_back` is written, and the next one comes after the rest is over.
fn dies() -> Edges {
    let mut world = World::new();
    kind(&mut world, "s-1", "a", &[1], (100, 150));
    stop(&mut world, "r-1");
    let outcome = world.outcome(1, Applied::Applied, values(100));
    let decision =
        decide(world.state(), &Event::Outcome(outcome), world.now, &world.limits).unwrap();
    let (cooling, rest) = decision.transitions.split_last().unwrap();
    assert_eq!(cooling.what.name(), "cooling");
    world.shown(1, values(100));
    for made in rest {
        world.append(made);
    }
    assert_eq!(status(&world, 1), "busy");
    world.wait(DAY);
    assert_eq!(status(&world, 1), "free");
    world.edges
}

/// A drift while another kind rests.
fn drifting() -> Edges {
    let mut world = World::new();
    world.limits.validate_min_ms = 60_000;
    fail(&mut world, "1", "a");
    promote(&mut world, "2", "b", &[1], (100, 150));
    assert_eq!(status(&world, 1), "cooling");
    drift(&mut world, 1);
    assert_eq!(world.wanted(1), None);
    world.edges
}

/// Harm that shows only while agents take the values for good.
fn harm_at_last() -> Edges {
    let mut world = World::new();
    kind(&mut world, "s-1", "a", &[1], (100, 150));
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    world.judge("r-1", Judgement::Harm);
    assert_eq!(world.rollout("r-1").node(), "validating_restoring");
    world.edges
}

#[test]
fn a_drift_lets_go_while_another_kind_rests() {
    drifting();
}

#[test]
fn harm_while_it_is_sealed_goes_back() {
    harm_at_last();
}

#[test]
fn a_lock_of_one_kind_leaves_another_kind_free() {
    two_kinds();
}

#[test]
fn a_member_keeps_its_promoted_value_until_a_rollout_reaches_it() {
    untouched();
}

#[test]
fn a_rejection_that_comes_late_is_remembered() {
    late();
}

#[test]
fn what_was_rejected_may_be_allowed_again() {
    allowed();
}

#[test]
fn a_rest_that_was_not_written_down_is_over_in_time() {
    dies();
}

/// All edges that are seen here.
pub(super) fn edges() -> Edges {
    [two_kinds(), untouched(), late(), allowed(), dies(), drifting(), harm_at_last()]
        .into_iter()
        .flatten()
        .collect()
}
