//! Properties (o) to (r), checked after each row against the state before it, and examples of control.

use std::collections::BTreeMap;

use super::super::*;
use super::world::*;

fn holds(member: Option<&Controlled>) -> bool {
    member.is_some_and(|member| member.hold == Hold::Standing)
}

/// What the module promises about control.
pub(super) fn check(
    before: &State,
    made: &Transition,
    after: &State,
    shown: &BTreeMap<TargetId, Values>,
) {
    for control in after.controls() {
        let old = before.control(&control.rollout);
        let is_own = |rollout: &RolloutId| *rollout == control.rollout;
        match &made.what {
            Move::Pushed { rollout, values, window_ms, beside } if is_own(rollout) => {
                pushed(after, old.unwrap(), (values, *window_ms, beside), made.at_ms);
            }
            Move::Froze { rollout, .. } | Move::Unfroze { rollout } if is_own(rollout) => {
                let parts = |state: &State| {
                    state.nodes().map(|node| state.policy(node)).collect::<Vec<_>>()
                };
                assert_eq!(parts(before), parts(after), "(p)");
            }
            Move::Killed { rollout } if is_own(rollout) => killed(old.unwrap(), after),
            _ => {}
        }
        for member in &control.members {
            let id = &member.target.id;
            let was = old.and_then(|old| old.member(id));
            let was_held = holds(was);
            let is_let_go = matches!(member.hold, Hold::LetGo(_));
            let from_kill = was.is_some_and(|was| was.hold == Hold::Killed) && is_let_go;
            if from_kill {
                assert!(matches!(made.what, Move::Released { of_kill: true, .. }), "(r)");
            } else if was.is_some_and(|was| !matches!(was.hold, Hold::Awaiting | Hold::Standing)) {
                assert_eq!(was, Some(member), "(r) it was taken back");
            }
            if was_held && matches!(member.hold, Hold::LetGo(_)) {
                let standing = after.target(id).and_then(|book| book.standing.as_ref());
                let is_left = |name| standing.is_some_and(|s| s.values.contains_key(name));
                assert!(!member.values.keys().any(is_left), "(r) {standing:?}");
                assert!(control.killed.is_some() || control.frozen.is_some(), "(r) goes on");
            }
            if was_held && holds(Some(member)) {
                let wanted = after.wanted(id);
                let values = wanted.map(|part| part.values);
                let is_wanted = |(name, value)| values.as_ref()?.get(name).map(|v| v == value);
                let rejected = &after.target(id).unwrap().rejected;
                let all = member.values.iter().all(|pair| is_wanted(pair) == Some(true));
                assert!(all || !rejected.is_empty(), "{member:?} {values:?}");
            }
        }
    }
    for book in after.targets() {
        owed(before, (made, after), book, shown);
    }
}

fn pushed(
    after: &State,
    old: &Control,
    (values, window_ms, beside): (&BTreeMap<TargetId, Values>, i64, &BTreeMap<TargetId, Values>),
    at_ms: i64,
) {
    assert_eq!(after.rollout(&old.rollout).unwrap().state, RolloutState::Promoted, "(o)");
    assert!(old.frozen.is_none() && old.killed.is_none(), "(o) {old:?}");
    if let Some(last) = old.last {
        assert!(window_ms > last.window_ms && at_ms >= last.at_ms + 1_000, "(o) {last:?}");
    }
    assert!(!values.is_empty(), "(o)");
    for (id, new) in values {
        let member = old.member(id).unwrap();
        assert_eq!(member.hold, Hold::Standing, "(o)");
        let mut weights = member.values.clone();
        for (name, value) in new {
            assert!((50..=10_000).contains(&value.parse::<u64>().unwrap()), "(o) {name} {value}");
            assert!(weights.insert(name.clone(), value.clone()).is_some(), "(o) {name}");
        }
        let share = |values: &Values| {
            let of = |name: &str| values[name].parse::<f64>().unwrap();
            let rest = beside.get(id).into_iter().flat_map(|rest| rest.values());
            let rest: f64 = rest.map(|weight| weight.parse::<f64>().unwrap()).sum();
            [of(A), of(B), rest].map(|weight| weight / (of(A) + of(B) + rest))
        };
        let (then, was) = (share(&weights), share(&member.values));
        let moved = then.iter().zip(was).map(|(then, was)| (then - was).abs()).sum::<f64>() / 2.0;
        assert!(moved < 0.2 + 1e-6, "(o) {moved}");
        assert!(after.target(id).unwrap().held_by.is_none(), "(o)");
    }
}

/// (q) At the moment of the kill.
fn killed(old: &Control, after: &State) {
    for member in old.standing() {
        let id = &member.target.id;
        let book = after.target(id).unwrap();
        let is_left = |name| book.standing.as_ref().is_some_and(|s| s.values.contains_key(name));
        assert!(!member.values.keys().any(is_left), "(q) {:?}", book.standing);
        if !book.rejected.contains(&member.configured) {
            for (name, value) in &member.configured {
                assert_eq!(of_kill(book).get(name), Some(value), "(q)");
            }
        }
    }
}

/// What the kill switch waits for.
fn of_kill(book: &TargetBook) -> Values {
    let owed = book.owed.iter().flat_map(|owed| &owed.values);
    let own = owed.filter(|(name, _)| book.of_kill.contains(*name));
    own.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// (q) From then on.
fn owed(
    before: &State,
    (made, after): (&Transition, &State),
    book: &TargetBook,
    shown: &BTreeMap<TargetId, Values>,
) {
    let (id, now) = (&book.target.id, of_kill(book));
    assert!(book.of_kill.iter().all(|name| now.contains_key(name)), "(q) {book:?}");
    let wanted = after.wanted(id);
    let is_wanted = |(name, value)| wanted.as_ref()?.values.get(name).map(|v| v == value);
    let all = now.iter().all(|pair| is_wanted(pair) == Some(true));
    assert!(all || !book.rejected.is_empty(), "(q) {wanted:?}");
    let old = before.target(id).map(of_kill).unwrap_or_default();
    if old.keys().any(|name| !now.contains_key(name)) {
        match &made.what {
            Move::Restored { .. } => {
                let in_force = shown.get(id).cloned().unwrap_or_default();
                for (name, value) in &old {
                    assert_eq!(in_force.get(name), Some(value), "(q)");
                }
            }
            Move::Stuck { .. } | Move::Released { of_kill: true, .. } => {}
            other => panic!("(q) {other:?} ended it"),
        }
    }
}

/// A pool of three under control, weights 150 and 190 of what were 100 and 200.
fn promoted() -> World {
    let mut world = World::new();
    let targets = [0, 1, 2];
    world.ok(&Event::Proposed(Box::new(of_weights(proposal("s-1", &targets, 100, 150)))));
    world.confirm("s-1").unwrap();
    through(&mut world, &targets);
    world
}

fn through(world: &mut World, targets: &[usize]) {
    while world.rollout("r-1").node() != "promoted" {
        let members = world.rollout("r-1").members.clone();
        for (place, _) in members.iter().enumerate().filter(|(_, m)| **m == Member::Asked) {
            world.obey(targets[place]);
        }
        world.wait(world.limits.balancer.validate_min_ms);
        world.judge("r-1", Judgement::Pass);
    }
}

fn control(world: &World) -> &Control {
    world.state().control(&RolloutId("r-1".into())).unwrap()
}

fn a_push(world: &World, of: &[usize], values: &Values) -> Push {
    Push {
        rollout: RolloutId("r-1".into()),
        values: of.iter().map(|n| (target(*n).id, values.clone())).collect(),
        window_ms: world.now,
        heard: [0, 1, 2].map(|n| target(n).id).into(),
        beside: BTreeMap::new(),
        reason: "a is faster".into(),
        inputs: serde_json::json!({ "windows": 3 }),
    }
}

fn push(world: &mut World, of: &[usize], values: &Values) -> bool {
    world.now += 1_000;
    let push = a_push(world, of, values);
    !world.ok(&Event::Push(Box::new(push))).transitions.is_empty()
}

fn kill(world: &mut World) -> Result<Decision, Refusal> {
    let pool = pool(&[0, 1, 2]);
    world.event(&Event::Kill { pool, by: ana(), note: "enough".into() })
}

fn wanted(world: &World, n: usize) -> Option<Values> {
    world.wanted(n).map(|(values, _)| values)
}

fn drift(world: &mut World, n: usize) {
    world.report(n, Applied::Drifted("a person".into()), weights(7, 190));
}

/// Another kind is tried at a balancer, and its agent finds a weight that another hand has set.
fn upset(world: &mut World, id: &str, n: usize) {
    let mut other = of_samples(proposal(&format!("s-{id}"), &[n], 100, 150));
    other.kind = id.into();
    world.ok(&Event::Proposed(Box::new(other)));
    world.confirm(&format!("s-{id}")).unwrap();
    let mut found = samples(150);
    found.extend(weights(7, 190));
    world.report(n, Applied::Drifted("a person".into()), found);
    world.report(n, Applied::Applied, samples(100));
}

/// What random events hardly ever lead to.
pub(super) fn edges() -> Edges {
    let mut edges = Edges::new();
    let mut all = |mut world: World| edges.append(&mut world.edges);
    let mut world = promoted();
    for n in [0, 1, 2] {
        drift(&mut world, n);
    }
    assert_eq!(control(&world).status(), "let_go");
    all(world);
    let mut world = promoted();
    for n in [0, 1, 2] {
        upset(&mut world, &format!("u{n}"), n);
    }
    assert_eq!(control(&world).status(), "let_go");
    all(world);
    for is_resting in [false, true] {
        let mut world = promoted();
        if is_resting {
            for n in [0, 1] {
                world.ok(&Event::Proposed(Box::new(of_samples(proposal(
                    &format!("s-9{n}"),
                    &[n],
                    100,
                    150,
                )))));
                world.confirm(&format!("s-9{n}")).unwrap();
                let rollout = RolloutId(format!("r-9{n}"));
                world.ok(&Event::RollBack { rollout, by: ana(), note: String::new() });
                world.obey(n);
            }
        }
        kill(&mut world).unwrap();
        world.obey(0);
        world.report(1, Applied::Rejected("no".into()), weights(150, 190));
        assert_eq!(wanted(&world, 1), None, "it refuses the configured weights");
        all(world);
    }
    let mut world = promoted();
    kill(&mut world).unwrap();
    drift(&mut world, 1);
    all(world);
    for is_frozen in [false, true] {
        let mut world = World::new();
        world.ok(&Event::Proposed(Box::new(of_weights(proposal("s-1", &[0], 100, 150)))));
        world.confirm("s-1").unwrap();
        through(&mut world, &[0]);
        if is_frozen {
            let by = ana();
            world.ok(&Event::Freeze { pool: pool(&[0]), by, note: String::new() });
        }
        let mut other = world.clone();
        drift(&mut world, 0);
        upset(&mut other, "u0", 0);
        all(world);
        all(other);
    }
    edges
}

#[test]
fn one_after_the_other_is_let_go() {
    edges();
}

#[test]
fn what_was_promoted_is_pushed_further_without_asking() {
    let mut world = promoted();
    assert_eq!(control(&world).status(), "running");
    assert_eq!(world.wanted(1), Some((weights(150, 190), Ask::Keep { persist: false })));
    let before = world.state().policy("node-1").revision;
    assert!(push(&mut world, &[0, 1], &weights(180, 190)));
    assert_eq!(wanted(&world, 1), Some(weights(180, 190)));
    assert_eq!(wanted(&world, 2), Some(weights(150, 190)), "it was not named");
    let last = control(&world).last.unwrap();
    assert_eq!(world.state().policy("node-1").revision, last.sequence);
    assert!(last.sequence > before);
    let row = world.rows.last().unwrap();
    assert_eq!((row.sequence, row.nodes.len(), row.actor.as_str()), (last.sequence, 2, "control"));
    assert!(row.change.contains("180") && row.inputs.contains("windows"), "{row:?}");
    world.obey(1);
    assert_eq!(control(&world).pushes, 1);
    world.check_replay();
}

#[test]
fn pushes_that_may_not_be_say_why() {
    let mut world = promoted();
    let why = |world: &World, push: &Push| world.state().may_push(push, world.now).unwrap_err();
    let good = a_push(&world, &[0], &weights(180, 190));
    assert!(world.state().may_push(&good, world.now).is_ok());
    let of = |values: &Values| a_push(&world, &[0], values);
    assert!(matches!(why(&world, &of(&weights(49, 190))), Held::Outside { .. }));
    assert!(matches!(why(&world, &of(&weights(10_001, 190))), Held::Outside { .. }));
    assert!(matches!(why(&world, &of(&values(100))), Held::Outside { .. }), "another parameter");
    assert!(matches!(why(&world, &of(&weights(900, 190))), Held::Shift { .. }));
    assert_eq!(why(&world, &of(&weights(150, 190))), Held::Same);
    let few = Push { heard: [target(0).id].into(), ..good.clone() };
    assert_eq!(why(&world, &few), Held::Minority { heard: 1, members: 3 });
    let none = Push { rollout: RolloutId("r-2".into()), ..good.clone() };
    assert_eq!(why(&world, &none), Held::Unknown);
    let foreign = a_push(&world, &[4], &weights(180, 190));
    assert_eq!(why(&world, &foreign), Held::NotThere(target(4).id));
    let early = Push { window_ms: world.now + 60_001, ..good.clone() };
    assert!(matches!(why(&world, &early), Held::Old { .. }), "of a clock that nobody else has");
    assert!(push(&mut world, &[0], &weights(180, 190)));
    let again = a_push(&world, &[0], &weights(150, 190));
    assert!(matches!(why(&world, &again), Held::Old { .. }), "another collector was first");
    world.now += 999;
    let soon = a_push(&world, &[0], &weights(150, 190));
    assert_eq!(why(&world, &soon), Held::TooSoon(1_000));
}

#[test]
fn a_rollout_at_one_balancer_keeps_only_that_one_from_pushes() {
    let mut world = promoted();
    world.ok(&Event::Proposed(Box::new(of_samples(proposal("s-2", &[1], 100, 150)))));
    world.confirm("s-2").unwrap();
    let before = wanted(&world, 1);
    let of_it = a_push(&world, &[1], &weights(180, 190));
    let held = Held::Busy(target(1).id);
    assert_eq!(world.state().may_push(&of_it, world.now), Err(held.clone()));
    let of_all = a_push(&world, &[0, 1, 2], &weights(180, 190));
    let fit = world.state().may_push(&of_all, world.now).unwrap();
    assert_eq!(fit.left_out, [(target(1).id, held)].into());
    assert!(push(&mut world, &[0, 1, 2], &weights(180, 190)));
    let row = world.rows.last().unwrap();
    assert!(row.reason.ends_with("; left out: another change is under way at node-1/redis/main"));
    for n in [0, 2] {
        assert_eq!(wanted(&world, n), Some(weights(180, 190)), "the others go on");
    }
    assert_eq!(wanted(&world, 1), before);
    world.ok(&Event::RollBack { rollout: RolloutId("r-2".into()), by: ana(), note: String::new() });
    world.obey(1);
    assert!(push(&mut world, &[0, 1, 2], &weights(180, 190)), "it follows");
    assert_eq!(wanted(&world, 1), Some(weights(180, 190)));
    world.check_replay();
}

#[test]
fn weights_that_stay_count_in_what_a_push_moves_and_hold_only_their_balancer() {
    let mut world = promoted();
    // Three times the weights of both move nothing between them, but take from a third one.
    let values = weights(450, 570);
    let mut all = a_push(&world, &[0, 1, 2], &values);
    assert_eq!(world.state().may_push(&all, world.now).unwrap().left_out, BTreeMap::new());
    let third = |name: &str| Values::from([(name.to_owned(), "589".to_owned())]);
    all.beside = [(target(1).id, third("weight:api/c"))].into();
    assert_eq!(
        world.state().may_push(&all, world.now).unwrap().left_out,
        BTreeMap::new(),
        "of another group"
    );
    let third = third("weight:web/c");
    all.beside = [(target(1).id, third.clone())].into();
    let fit = world.state().may_push(&all, world.now).unwrap();
    let Some(Held::Shift { target: at, share, .. }) = fit.left_out.values().next() else {
        panic!("{fit:?}")
    };
    assert!(*at == target(1).id && (share - 0.268).abs() < 0.001, "{share}");
    assert_eq!(fit.values.len(), 2);
    // Half of the way may be gone.
    let member = control(&world).member(&target(1).id).unwrap().clone();
    let may = |values: &Values| member.shift(values, &third) <= 0.2;
    let part = part_of_the_way(&member.values, &values, may).unwrap();
    let moved = member.shift(&part, &third);
    assert!(moved > 0.19 && may(&part), "{part:?}");
    all.values.insert(target(1).id, part.clone());
    world.now += 1_000;
    all.window_ms = world.now;
    world.ok(&Event::Push(Box::new(all)));
    assert_eq!(wanted(&world, 1), Some(part));
    world.check_replay();
    let none = part_of_the_way(&member.values, &values, |_| false);
    assert_eq!(none, None);
}

/// A change of another kind has failed at balancer 1, and what it was before is not known to be back.
fn broken() -> World {
    let mut world = promoted();
    world.ok(&Event::Proposed(Box::new(of_samples(proposal("s-2", &[1], 100, 150)))));
    world.confirm("s-2").unwrap();
    let rollout = RolloutId("r-2".into());
    world.ok(&Event::HardStop { rollout, reason: "oom".into(), inputs: serde_json::Value::Null });
    world.wait(world.limits.restore_ms);
    assert_eq!(world.rollout("r-2").state, RolloutState::Failed);
    world
}

fn unlock(world: &mut World, n: usize) {
    let target = target(n).id;
    world.ok(&Event::Unlock { target, by: ana(), note: String::new() });
}

#[test]
fn the_kill_switch_comes_beside_what_a_failed_change_has_left() {
    let mut world = broken();
    let mut both = samples(100);
    both.extend(weights(150, 190));
    assert_eq!(wanted(&world, 1), Some(both));
    kill(&mut world).unwrap();
    let mut both = samples(100);
    both.extend(weights(100, 200));
    assert_eq!(wanted(&world, 1), Some(both.clone()), "both are owed");
    let mut refused = world.clone();
    let mut unlocked = world.clone();
    world.obey(1);
    assert_eq!(wanted(&world, 1), None);

    unlock(&mut unlocked, 1);
    assert_eq!(wanted(&unlocked, 1), Some(weights(100, 200)), "a person has looked at the other");
    unlocked.obey(1);
    assert_eq!(wanted(&unlocked, 1), None);
    unlocked.check_replay();

    refused.report(1, Applied::Rejected("no such parameter".into()), weights(150, 190));
    assert_eq!(wanted(&refused, 1), Some(weights(100, 200)), "by itself it may go");
    refused.obey(1);
    assert_eq!(wanted(&refused, 1), None);
    refused.check_replay();
}

#[test]
fn weights_that_another_hand_sets_after_the_kill_switch_are_let_go() {
    let mut world = promoted();
    push(&mut world, &[0, 1, 2], &weights(180, 190));
    kill(&mut world).unwrap();
    drift(&mut world, 1);
    assert_eq!((wanted(&world, 0), wanted(&world, 1)), (Some(weights(100, 200)), None));
    let hold = &control(&world).member(&target(1).id).unwrap().hold;
    assert!(matches!(hold, Hold::LetGo(why) if why.contains("another hand")), "{hold:?}");
    world.ok(&Event::Proposed(Box::new(of_weights(proposal("s-2", &[1], 100, 150)))));
    world.confirm("s-2").unwrap();
    world.check_replay();

    let mut world = broken();
    kill(&mut world).unwrap();
    let mut found = samples(150);
    found.extend(weights(7, 190));
    world.report(1, Applied::Drifted("a person".into()), found);
    assert_eq!(wanted(&world, 1), Some(samples(100)), "the failed change still is owed");
}

#[test]
fn nothing_is_pushed_while_frozen_and_what_is_in_force_stays() {
    let mut world = promoted();
    push(&mut world, &[0, 1, 2], &weights(180, 190));
    let pool = pool(&[0, 1, 2]);
    let panic = Event::Panic {
        rollout: RolloutId("r-1".into()),
        reason: "half of the backends are down".into(),
        inputs: serde_json::Value::Null,
    };
    let told = world.ok(&panic).actions;
    assert!(matches!(told.as_slice(), [Action::Tell { .. }]), "an operator hears of it");
    assert!(!push(&mut world, &[0], &weights(150, 190)));
    assert_eq!(wanted(&world, 0), Some(weights(180, 190)));
    let freeze = Event::Freeze { pool: pool.clone(), by: ana(), note: "I look".into() };
    assert_eq!(world.ok(&freeze).actions, [], "a person need not be told");
    assert_eq!(world.event(&freeze), Err(Refusal::Frozen(pool.clone())));
    let unfreeze = Event::Unfreeze { pool: pool.clone(), by: ana(), note: String::new() };
    world.ok(&unfreeze);
    assert_eq!(world.event(&unfreeze), Err(Refusal::NotFrozen(pool)));
    assert!(push(&mut world, &[0], &weights(150, 190)));
}

#[test]
fn the_kill_switch_wants_the_configured_weights_until_they_are_read_back() {
    let mut world = promoted();
    push(&mut world, &[0, 1, 2], &weights(180, 190));
    kill(&mut world).unwrap();
    for n in [0, 1, 2] {
        assert_eq!(world.wanted(n), Some((weights(100, 200), Ask::Restore { persist: false })));
    }
    assert!(!push(&mut world, &[0], &weights(150, 190)));
    let again = of_weights(proposal("s-2", &[0], 100, 150));
    world.ok(&Event::Proposed(Box::new(again)));
    assert!(matches!(world.confirm("s-2"), Err(Refusal::TargetBusy { .. })), "not shown yet");
    world.obey(0);
    assert_eq!(wanted(&world, 0), None, "it is let go");
    assert_eq!(wanted(&world, 1), Some(weights(100, 200)), "an absent one keeps nobody waiting");
    assert!(matches!(kill(&mut world), Err(Refusal::NotControlled(_))));
    world.confirm("s-2").unwrap();
    world.check_replay();
}

#[test]
fn the_kill_switch_ends_a_rollout_that_is_under_way() {
    let mut world = World::new();
    world.ok(&Event::Proposed(Box::new(of_weights(proposal("s-1", &[0, 1, 2], 100, 150)))));
    world.confirm("s-1").unwrap();
    let canary = world.rollout("r-1").plan.waves[0].members[0];
    world.obey(canary);
    kill(&mut world).unwrap();
    assert_eq!(wanted(&world, canary), Some(weights(100, 200)));
    world.obey(canary);
    assert_eq!(world.rollout("r-1").state, RolloutState::RolledBack);
    assert_eq!(wanted(&world, canary), None);
    assert_eq!(world.state().controls().count(), 0);
}

#[test]
fn the_kill_switch_reaches_a_balancer_at_which_something_else_is_tried() {
    let mut world = promoted();
    let other = of_samples(proposal("s-2", &[1], 100, 150));
    world.ok(&Event::Proposed(Box::new(other)));
    world.confirm("s-2").unwrap();
    assert!(!push(&mut world, &[1], &weights(180, 190)), "its trial is not disturbed");
    kill(&mut world).unwrap();
    let mut both = samples(150);
    both.extend(weights(100, 200));
    assert_eq!(wanted(&world, 1), Some(both));
    let rollout = RolloutId("r-2".into());
    world.ok(&Event::RollBack { rollout, by: ana(), note: String::new() });
    world.obey(1);
    assert_eq!(wanted(&world, 1), Some(weights(100, 200)), "still owed");
    world.obey(1);
    assert_eq!(wanted(&world, 1), None);
}

#[test]
fn another_hand_frees_a_balancer_and_freezes_the_rest() {
    let mut world = promoted();
    drift(&mut world, 1);
    assert_eq!(wanted(&world, 1), None);
    assert_eq!(wanted(&world, 2), Some(weights(150, 190)));
    let frozen = control(&world).frozen.clone().unwrap();
    assert!(frozen.reason.contains("node-1/redis/main was let go"), "{frozen:?}");
    let pool_id = pool(&[0, 1, 2]);
    world.ok(&Event::Unfreeze { pool: pool_id, by: ana(), note: String::new() });
    assert!(!push(&mut world, &[0, 1, 2], &weights(180, 190)), "it names who was let go");
    assert!(push(&mut world, &[0, 2], &weights(180, 190)), "the others go on");
    kill(&mut world).unwrap();
    assert_eq!((wanted(&world, 0), wanted(&world, 1)), (Some(weights(100, 200)), None));
}

#[test]
fn weights_that_are_not_read_back_freeze_control() {
    let mut world = promoted();
    push(&mut world, &[0, 1, 2], &weights(180, 190));
    world.report(1, Applied::Applied, weights(150, 190));
    assert!(control(&world).frozen.is_some());
    assert_eq!(wanted(&world, 1), Some(weights(180, 190)), "still wanted");
    let mut world = promoted();
    push(&mut world, &[0, 1, 2], &weights(180, 190));
    world.report(1, Applied::Rejected("no such backend".into()), weights(150, 190));
    assert_eq!((control(&world).status(), wanted(&world, 1)), ("frozen", None));
}

#[test]
fn weights_under_control_are_not_rolled_out_again() {
    let mut world = promoted();
    world.ok(&Event::Proposed(Box::new(of_weights(proposal("s-2", &[0], 150, 250)))));
    assert!(matches!(world.confirm("s-2"), Err(Refusal::Controlled { .. })));
}

#[test]
fn what_is_forgotten_is_never_under_control() {
    let mut world = promoted();
    let mut state = world.state().clone();
    state.forget(i64::MAX);
    assert_eq!(state.control(&RolloutId("r-1".into())).map(Control::status), Some("running"));
    assert_eq!(state.policy("node-1"), world.state().policy("node-1"));
    kill(&mut world).unwrap();
    for n in [0, 1, 2] {
        world.obey(n);
    }
    let mut state = world.state().clone();
    state.forget(i64::MAX);
    assert_eq!(state.controls().count(), 0);
}

#[test]
fn a_shift_is_the_share_that_moves_within_a_group() {
    let old = weights(100, 100);
    assert!((shift(&old, &weights(300, 100)) - 0.25).abs() < 1e-9);
    assert!((shift(&old, &weights(200, 200))).abs() < 1e-9, "only shares count");
    let mut two = old.clone();
    two.insert("weight:api/10.0.0.1:80".into(), "5".into());
    two.insert("weight:api/10.0.0.2:80".into(), "5".into());
    let new = Values::from([("weight:api/10.0.0.1:80".to_owned(), "15".to_owned())]);
    assert!((shift(&two, &new) - 0.25).abs() < 1e-9, "each group by itself");
    assert!(shift(&weights(0, 0), &weights(0, 0)).abs() < 1e-9);
}

#[test]
fn balancers_go_one_then_a_tenth_then_a_half_then_all() {
    let like = |n: usize| canary::Like { target: target(n).id, size: 1.0, traffic: 1.0 };
    let sizes = |members: usize| {
        let likes: Vec<_> = (0..members).map(like).collect();
        let waves = canary::staged(&RolloutId("r".into()), &likes, &canary::STAGES);
        let mut places: Vec<usize> = waves.iter().flat_map(|w| w.members.clone()).collect();
        places.sort_unstable();
        assert_eq!(places, (0..members).collect::<Vec<_>>(), "each in exactly one wave");
        let count = |wave: &canary::Wave| (wave.members.len(), wave.controls.len());
        waves.iter().map(count).collect::<Vec<_>>()
    };
    assert_eq!(sizes(0), []);
    assert_eq!(sizes(1), [(1, 0)]);
    assert_eq!(sizes(2), [(1, 1), (1, 0)]);
    assert_eq!(sizes(3), [(1, 1), (2, 0)]);
    assert_eq!(sizes(4), [(1, 1), (1, 1), (2, 0)]);
    assert_eq!(sizes(16), [(1, 1), (7, 7), (8, 0)]);
    assert_eq!(sizes(100), [(1, 1), (9, 9), (40, 40), (50, 0)]);
}

#[test]
fn balancers_have_their_own_times_and_share_a_node() {
    let mut world = World::new();
    world.limits.balancer.hold_ms = 7;
    let mut one_node = of_weights(proposal("s-1", &[0, 1, 2], 100, 150));
    for member in &mut one_node.members {
        member.target.node = "node-0".into();
    }
    let plan = Plan::new(&RolloutId("r-1".into()), &one_node, &world.limits).unwrap();
    assert_eq!((plan.limits.hold_ms, plan.limits.validate_max_ms), (7, 600_000));
    let envelope = plan.control.unwrap();
    assert_eq!(envelope.bounds[A], (50, 10_000));
    assert_eq!((envelope.largest_shift, envelope.push_ms), (0.2, 1_000));
    let cache = proposal("s-2", &[3], 100, 150);
    let plan = Plan::new(&RolloutId("r-2".into()), &cache, &world.limits).unwrap();
    assert_eq!((plan.limits.hold_ms, plan.control), (60_000, None));

    let confirm = |world: &mut World, id: &str| {
        let mut event = confirmed(id);
        if let Event::Confirmed { nodes_up, .. } = &mut event {
            *nodes_up = Some(1);
        }
        world.event(&event)
    };
    world.ok(&Event::Proposed(Box::new(one_node)));
    confirm(&mut world, "s-1").unwrap();
    assert!(world.rollout("r-1").plan.waves.len() > 1);
    let mut same_node = of_weights(proposal("s-3", &[3], 100, 150));
    same_node.members[0].target.node = "node-0".into();
    world.ok(&Event::Proposed(Box::new(same_node)));
    confirm(&mut world, "s-3").unwrap();
    world.propose("s-4", &[4], 100, 150);
    assert_eq!(confirm(&mut world, "s-4"), Err(Refusal::Crowded { on_trial: 1, most: 1 }));
}

#[test]
fn plans_of_old_journals_are_read_as_before() {
    let limits = serde_json::json!({ "hold_ms": 60_000 });
    let limits: Limits = serde_json::from_value(limits).unwrap();
    assert_eq!(limits, Limits::default());
    let text = serde_json::to_string(&limits).unwrap();
    assert!(!text.contains("balancer"), "a collector of before can read it: {text}");
    let cache = proposal("s-1", &[0], 100, 150);
    let plan = Plan::new(&RolloutId("r-1".into()), &cache, &limits).unwrap();
    let text = serde_json::to_string(&plan).unwrap();
    assert!(!text.contains("control\":"), "{text}");
    assert_eq!(serde_json::from_str::<Plan>(&text).unwrap(), plan);
}
