//! Random events, sensible and nonsensical, from every state that they lead to.

use proptest::prelude::*;
use serde_json::Value;

use super::super::*;
use super::rare;
use super::reach;
use super::world::*;
use crate::mix::next_unit;

type Op = (u8, u8, u8, u8);

const TARGETS: usize = 5;

fn pass_time(world: &mut World, how: u8) {
    let next = world.state().next_deadline().unwrap_or(world.now);
    world.now = match how % 24 {
        0 => world.now + 1,
        1 => world.now.max(next),
        3 => world.now.max(next - 1),
        4 => world.now + 30_000,
        5 => world.now + 10 * 60_000,
        6 => world.now + 3 * 3_600_000,
        // The clock of another collector.
        7 => world.now - 5_000,
        8 => world.now + 3_600_000,
        _ => world.now,
    };
}

fn rollout(world: &World, pick: u8) -> RolloutId {
    let all: Vec<_> = world.state().rollouts().collect();
    let nonsense = || RolloutId("r-none".into());
    // The latest ones are more often those that are under way.
    let going: Vec<_> = all.iter().filter(|rollout| !rollout.state.is_final()).collect();
    let one = going.get(usize::from(pick) % (going.len() + 1)).copied().copied();
    one.or(all.get(usize::from(pick) % (all.len() + 1)).copied())
        .map_or_else(nonsense, |rollout| rollout.id.clone())
}

fn suggestion(world: &World, pick: u8) -> SuggestionId {
    let all: Vec<_> = world.state().suggestions().rev().collect();
    let one = all.get(usize::from(pick) % (all.len() + 1));
    one.map_or_else(|| SuggestionId("s-none".into()), |found| found.proposal.id.clone())
}

fn outcome(world: &World, pick: u8, how: u8) -> Event {
    let n = usize::from(pick) % (TARGETS + 1);
    let part = world.state().wanted(&target(n).id);
    let wanted = part.as_ref().map(|part| part.values.clone()).unwrap_or_default();
    let old = match part.as_ref().map(|part| (&part.ask, &part.rollout)) {
        Some((Ask::Canary { revert_to, .. }, _)) => revert_to.clone(),
        Some((Ask::Keep { .. }, rollout)) => world
            .state()
            .rollout(rollout)
            .and_then(|r| Some(r.plan.members[r.place(&target(n).id)?].revert_to.clone()))
            .unwrap_or_default(),
        _ => wanted.clone(),
    };
    let why = || "why".to_owned();
    let (result, in_force) = match how % 16 {
        0..=7 => (Applied::Applied, wanted),
        8 => (Applied::Rejected(why()), old),
        9 => (Applied::Rejected(why()), Values::new()),
        10 => (Applied::Reverted(why()), old),
        11 => (Applied::Reverted(why()), Values::new()),
        12 if pick & 8 != 0 => (Applied::Drifted(why()), one_is_other(wanted, pick)),
        12 => (Applied::Drifted(why()), values(77)),
        13 => (Applied::Drifted(why()), wanted),
        14 => (Applied::Applied, values(78)),
        _ => (Applied::Applying, Values::new()),
    };
    let mut outcome = world.outcome(n, result, in_force);
    match pick / 16 {
        11..=13 => outcome.revision = outcome.revision.saturating_sub(u64::from(how % 16)),
        14 => outcome.rollout = rollout(world, how),
        15 => outcome.name = "other".into(),
        _ => {}
    }
    Event::Outcome(outcome)
}

/// What is wanted, but for one of the values.
fn one_is_other(mut wanted: Values, pick: u8) -> Values {
    let at = usize::from(pick) % wanted.len().max(1);
    wanted.values_mut().skip(at).take(1).for_each(|value| *value = "77".into());
    wanted
}

fn event(world: &World, (kind, pick, how, _): Op, count: usize) -> Event {
    let note = String::new;
    let rollout = || rollout(world, pick);
    match kind % 41 {
        0..=3 => {
            let id = format!("s-{:03}", if how == 0 { 0 } else { count });
            let n = usize::from(pick) % TARGETS;
            let to = [150, 350, 90, 100, 800, 20_000][usize::from(how) % 6];
            let members: &[usize] = if how.is_multiple_of(3) { &[0, 1, 2, 3, 4] } else { &[n] };
            // Mostly from what is in force.
            let standing = world.state().target(&target(n).id).and_then(|b| b.standing.clone());
            let (is_other, is_weights) = (how % 7 == 1, matches!(how % 7, 2 | 3));
            let parameter = match (is_other, is_weights) {
                (true, _) => SAMPLES,
                (_, true) => A,
                _ => "maxmemory",
            };
            let from = standing.and_then(|s| s.values.get(parameter)?.parse().ok());
            let from = from.filter(|_| how < 200).unwrap_or(100);
            let mut proposal = proposal(&id, members, from, to);
            if is_other {
                proposal = of_samples(proposal);
            } else if is_weights {
                proposal = of_weights(proposal);
            }
            Event::Proposed(Box::new(proposal))
        }
        4..=7 => {
            let in_force = if how == 1 { vec![(target(0).id, values(99))] } else { Vec::new() };
            let suggestion = suggestion(world, pick);
            let (absent, nodes_up) =
                (Vec::new(), how.is_multiple_of(5).then_some(usize::from(pick)));
            let by = ana();
            Event::Confirmed { suggestion, by, note: note(), in_force, absent, nodes_up }
        }
        8 => Event::Rejected { suggestion: suggestion(world, pick), by: ana(), note: note() },
        9..=18 => outcome(world, pick, how),
        19..=23 => {
            let id = rollout();
            let result = match how % 8 {
                0 => Judgement::Harm,
                1 | 2 => Judgement::Inconclusive,
                _ => Judgement::Pass,
            };
            let mut judged = world.judged(&id.0, result);
            if let Event::Judged { revision, verdict, .. } = &mut judged
                && how > 240
            {
                *revision = (*revision + u64::from(how)).saturating_sub(245);
                verdict.observed = Some(Interval { value: f64::NAN, low: 0.0, high: 1.0 });
            }
            judged
        }
        24 => Event::HardStop { rollout: rollout(), reason: "oom".into(), inputs: Value::Null },
        25 => Event::Pause { rollout: rollout(), by: ana(), note: note() },
        26 => Event::Resume { rollout: rollout(), by: ana(), note: note() },
        27 => Event::RollBack { rollout: rollout(), by: ana(), note: note() },
        28 => Event::AgentSilent {
            node: target(usize::from(pick) % TARGETS).node,
            silent_ms: i64::from(how) * 500,
        },
        29 => Event::AgentBack { node: target(usize::from(pick) % TARGETS).node },
        30 => {
            let target = target(usize::from(pick) % (TARGETS + 1)).id;
            Event::Unlock { target, by: ana(), note: note() }
        }
        32..=36 => push(world, pick, how),
        37 => {
            let rollout = control(world, pick).map_or_else(rollout, |control| control.rollout);
            Event::Panic { rollout, reason: "why".into(), inputs: Value::Null }
        }
        38 => Event::Freeze { pool: pool_of(world, pick), by: ana(), note: note() },
        39 if how < 160 => Event::Unfreeze { pool: pool_of(world, pick), by: ana(), note: note() },
        39 => Event::Kill { pool: pool_of(world, pick), by: ana(), note: note() },
        _ => Event::Tick,
    }
}

fn control(world: &World, pick: u8) -> Option<Control> {
    let all: Vec<_> = world.state().controls().collect();
    // Those that have not ended are more often meant.
    let open: Vec<_> = all.iter().filter(|control| !control.is_over()).copied().collect();
    let all = if open.is_empty() || pick > 200 { all } else { open };
    all.get(usize::from(pick) % all.len().max(1)).copied().cloned()
}

fn pool_of(world: &World, pick: u8) -> TargetId {
    let nonsense = || target(usize::from(pick) % TARGETS).id;
    control(world, pick).map_or_else(nonsense, |control| control.pool.id)
}

/// Sometimes of one balancer, heard by few, from old windows, outside of the bounds, too far.
fn push(world: &World, pick: u8, how: u8) -> Event {
    let Some(control) = control(world, pick) else { return Event::Tick };
    let of = |member: &Controlled| {
        let now = |name: &str| member.values[name].parse::<u64>().unwrap();
        let a = match how % 8 {
            0 => 20,
            1 => 10_001,
            2 => now(A) * 4,
            3 => now(A),
            n if n % 2 == 0 => (now(A) * 6 / 5).min(10_000),
            _ => (now(A) * 4 / 5).max(50),
        };
        (member.target.id.clone(), weights(a, now(B)))
    };
    let few = usize::from(how) % 5 + 1;
    let members = control.members.iter().filter(|m| m.values.len() == 2);
    let values = members.clone().map(of).take(if how > 99 { few } else { 5 }).collect();
    let heard = control.members.iter().take(if how > 230 { few / 2 } else { 5 });
    let late = if how.is_multiple_of(11) { 5_000 } else { 0 };
    Event::Push(Box::new(Push {
        rollout: control.rollout.clone(),
        values,
        window_ms: world.now - late,
        heard: heard.map(|member| member.target.id.clone()).collect(),
        reason: "one is slower".into(),
        beside: beside(&control, how),
        inputs: serde_json::json!({ "rule": "r", "windows": [0.1 + 0.2] }),
    }))
}

/// Sometimes there is a backend that is not under control, at the first balancer.
fn beside(control: &Control, how: u8) -> std::collections::BTreeMap<TargetId, Values> {
    let has_one = how.is_multiple_of(3);
    let first = control.members.first().filter(|_| has_one);
    let weight = Values::from([("weight:web/10.0.0.9:80".to_owned(), "150".to_owned())]);
    first.map(|member| (member.target.id.clone(), weight)).into_iter().collect()
}

/// What a driver with well-behaved agents and a content judge does next.
fn sensible(world: &mut World, pick: u8, count: usize) -> Event {
    let going: Vec<_> = world.state().rollouts().filter(|r| !r.state.is_final()).cloned().collect();
    if let Some(rollout) = going.get(usize::from(pick) % (going.len() + 1)) {
        let asked = |member: &Member| matches!(member, Member::Asked | Member::Restoring);
        if let Some(place) = rollout.members.iter().position(asked) {
            let target = rollout.plan.members[place].target.id.clone();
            let in_force = world.state().wanted(&target).map(|part| part.values);
            let number = target.0.trim_start_matches("node-").split('/').next().unwrap();
            let number = number.parse().unwrap();
            let outcome = world.outcome(number, Applied::Applied, in_force.unwrap_or_default());
            return Event::Outcome(outcome);
        }
        match rollout.phase {
            Phase::Holding { until_ms, .. } => world.now = world.now.max(until_ms),
            Phase::Validating { from_ms, .. } => world.now = world.now.max(from_ms),
            _ => {}
        }
        if rollout.paused.is_some() {
            return Event::Resume { rollout: rollout.id.clone(), by: ana(), note: String::new() };
        }
        return world.judged(&rollout.id.0, Judgement::Pass);
    }
    if pick.is_multiple_of(3) && world.state().controls().any(|c| c.status() == "running") {
        world.now += 1_000;
        return push(world, pick, 4 + pick % 4);
    }
    let proposed = |found: &&Suggestion| found.status == SuggestionStatus::Proposed;
    let suggestion = world.state().suggestions().rfind(proposed);
    match suggestion.map(|suggestion| suggestion.proposal.id.0.clone()) {
        Some(id) => confirmed(&id),
        None => event(world, (0, pick, pick & 1, 0), count),
    }
}

fn run(ops: &[Op], asks: bool, calm: u8) -> World {
    let mut world = World::new();
    world.limits.persist = asks;
    if asks {
        world.limits.at_maximum = AtMaximum::AskPerson;
    }
    for (count, op) in ops.iter().enumerate() {
        let event = if op.3 < calm {
            sensible(&mut world, op.1, count + 1)
        } else {
            pass_time(&mut world, op.3);
            event(&world, *op, count + 1)
        };
        let _ = world.event(&event);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn every_property_holds_after_every_event(
        ops in prop::collection::vec(any::<Op>(), 1..120), asks in any::<bool>(),
        calm in any::<u8>(),
    ) {
        let world = run(&ops, asks, calm);
        world.check_replay();
        world.check_end();
    }
}

/// Runs that are the same every time, so that what they reach is no chance.
pub(super) fn fixed(seed: u64) -> World {
    let mut random = seed;
    let mut byte = || (next_unit(&mut random) * 256.0) as u8;
    let ops: Vec<Op> = (0..200).map(|_| (byte(), byte(), byte(), byte())).collect();
    run(&ops, seed.is_multiple_of(2), (seed * 5 % 256) as u8)
}

#[test]
fn the_table_is_what_happens() {
    let mut edges = rare::edges();
    edges.append(&mut super::control::edges());
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..70 {
        let mut world = fixed(seed);
        edges.append(&mut world.edges);
        for rollout in world.state().rollouts() {
            *ends.entry((rollout.state, rollout.plan.waves.len() > 1)).or_insert(0) += 1;
        }
    }
    eprintln!("{ends:?}");
    let table = reach::table();
    let never: Vec<_> = table.difference(&edges).collect();
    let odd: Vec<_> = edges.difference(&table).collect();
    assert!(never.is_empty() && odd.is_empty(), "never happened: {never:?}, not in it: {odd:?}");
}
