//! Every state that a small alphabet of events leads to, breadth first, until there is no new one.
//!
//! Two states are the same here if they differ only in numbers that no later decision depends on:
//! the sequence, ids of what has ended, and the time, since deadlines are taken relative to it. So
//! the states are finitely many, and all of them are looked at: whatever length a sequence of these
//! events has, it leads through no other ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use super::super::*;
use super::world::*;

/// A small world: targets, wanted value, limits, and how many changes are tried one after another.
struct Small {
    targets: &'static [usize],
    to: u64,
    tries: usize,
    limits: Limits,
    /// Whether weights of a pool are changed, which control then follows.
    weights: bool,
}

fn key(world: &World) -> String {
    let state = world.state();
    let now = world.now;
    let mut key = vec![state.suggestions().count().to_string()];
    for rollout in state.rollouts().filter(|rollout| !rollout.state.is_final()) {
        let relative = |ms: i64| ms - now;
        let phase = match rollout.phase {
            Phase::Applying { wave, step, deadline_ms } => {
                format!("applying {wave} {step} {}", relative(deadline_ms))
            }
            Phase::Holding { wave, step, until_ms } => {
                format!("holding {wave} {step} {}", relative(until_ms))
            }
            Phase::Validating { wave, from_ms, until_ms } => {
                let from_ms = relative(from_ms).max(0);
                format!("validating {wave} {from_ms} {}", relative(until_ms))
            }
            Phase::Sealing { deadline_ms } => format!("sealing {}", relative(deadline_ms)),
            Phase::Restoring { deadline_ms } => format!("restoring {}", relative(deadline_ms)),
            Phase::Over => unreachable!("it has not ended"),
        };
        let paused = rollout.paused.map(|p| (relative(p.since_ms), relative(p.until_ms), p.asks));
        let step = rollout.steps.last().unwrap();
        let verdict = step.verdict().map(|verdict| verdict.result);
        let (members, sealed) = (&rollout.members, rollout.sealed);
        key.push(format!("{phase} {paused:?} {verdict:?} {members:?} {sealed}"));
    }
    for book in state.targets() {
        let attempts = book.attempts.values().map(|attempts| {
            (attempts.failures, (attempts.cool_until_ms - now).max(0), attempts.locked)
        });
        let values = |standing: &Option<Standing>| standing.as_ref().map(|s| s.values.clone());
        key.push(format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {}",
            book.held_by.is_some(),
            attempts.collect::<Vec<_>>(),
            values(&book.owed),
            book.of_kill,
            values(&book.standing),
            book.rejected,
            book.broken,
        ));
    }
    for control in state.controls() {
        let members = control.members.iter().map(|m| (&m.values, m.hold == Hold::Standing));
        let frozen = control.frozen.as_ref().map(|frozen| frozen.by_person);
        let last = control.last.map(|last| (now - last.at_ms).min(1_000));
        let members = members.collect::<Vec<_>>();
        key.push(format!("{} {frozen:?} {last:?} {members:?}", control.status()));
    }
    key.join(" ")
}

fn outcomes(world: &World, n: usize, is_weights: bool) -> Vec<Event> {
    let values = |value: u64| if is_weights { weights(value, 200) } else { values(value) };
    let part = world.state().wanted(&target(n).id);
    let wanted = part.map(|part| part.values).unwrap_or_default();
    let why = || "why".to_owned();
    let mut stale = world.outcome(n, Applied::Applied, wanted.clone());
    stale.revision = stale.revision.saturating_sub(1);
    let all = [
        world.outcome(n, Applied::Applied, wanted),
        world.outcome(n, Applied::Rejected(why()), values(100)),
        world.outcome(n, Applied::Rejected(why()), Values::new()),
        world.outcome(n, Applied::Reverted(why()), values(100)),
        world.outcome(n, Applied::Drifted(why()), values(77)),
        stale,
    ];
    all.into_iter().map(Event::Outcome).collect()
}

/// Events, each after so many milliseconds.
fn alphabet(world: &World, small: &Small) -> Vec<(i64, Event)> {
    let count = world.state().suggestions().count();
    let id = RolloutId(format!("r-{count}"));
    let rollout = || id.clone();
    let note = String::new;
    let mut events = vec![
        Event::HardStop { rollout: rollout(), reason: "oom".into(), inputs: Value::Null },
        Event::Pause { rollout: rollout(), by: ana(), note: note() },
        Event::Resume { rollout: rollout(), by: ana(), note: note() },
        Event::RollBack { rollout: rollout(), by: ana(), note: note() },
    ];
    for result in [Judgement::Pass, Judgement::Harm, Judgement::Inconclusive] {
        events.push(world.judged(&id.0, result));
    }
    for &n in small.targets {
        events.extend(outcomes(world, n, small.weights));
        let Target { id: target, node, .. } = target(n);
        events.push(Event::AgentSilent { node: node.clone(), silent_ms: DAY });
        events.push(Event::AgentBack { node });
        events.push(Event::Unlock { target, by: ana(), note: note() });
    }
    let mut events: Vec<(i64, Event)> = events.into_iter().map(|event| (0, event)).collect();
    if small.weights {
        events.extend(of_control(world, small));
    }
    if let Some(next) = world.state().next_deadline() {
        events.push(((next - world.now).max(0), Event::Tick));
    }
    if let Phase::Validating { from_ms, .. } = last(world).map_or(Phase::Over, |r| r.phase) {
        events.push(((from_ms - world.now).max(0), Event::Tick));
    }
    let attempts = world.state().targets().flat_map(|book| book.attempts.values());
    let cool = attempts.map(|attempts| attempts.cool_until_ms - world.now).max();
    events.extend(cool.filter(|ms| *ms > 0).map(|ms| (ms, Event::Tick)));
    events
}

/// Pushes to and fro, too early and in time, and what people and panics do.
fn of_control(world: &World, small: &Small) -> Vec<(i64, Event)> {
    let rollout = RolloutId(format!("r-{}", world.state().suggestions().count()));
    let pool = || pool(small.targets);
    let note = String::new;
    let panic = rollout.clone();
    let mut events = vec![
        (0, Event::Freeze { pool: pool(), by: ana(), note: note() }),
        (0, Event::Unfreeze { pool: pool(), by: ana(), note: note() }),
        (0, Event::Kill { pool: pool(), by: ana(), note: note() }),
        (0, Event::Panic { rollout: panic, reason: "why".into(), inputs: Value::Null }),
    ];
    let Some(control) = world.state().control(&rollout) else { return events };
    for wait in [0, 1_000] {
        let is_first = control.members[0].values == weights(150, 190);
        let values = if is_first { weights(180, 190) } else { weights(150, 190) };
        let all = control.standing().map(|member| (member.target.id.clone(), values.clone()));
        let push = Push {
            rollout: rollout.clone(),
            values: all.collect(),
            window_ms: world.now + wait,
            heard: small.targets.iter().map(|n| target(*n).id).collect(),
            reason: "one is slower".into(),
            beside: BTreeMap::new(),
            inputs: Value::Null,
        };
        events.push((wait, Event::Push(Box::new(push))));
    }
    events
}

fn last(world: &World) -> Option<&Rollout> {
    world.state().rollouts().last()
}

/// The world after the event, if it changed anything.
fn after(world: &World, wait: i64, event: &Event) -> World {
    let mut next = world.clone();
    next.rows.clear();
    next.now += wait;
    let _ = next.event(event);
    next
}

fn tried(world: &World, small: &Small) -> Option<World> {
    let count = world.state().suggestions().count();
    let mut next = world.clone();
    let id = format!("s-{}", count + 1);
    let mut proposal = proposal(&id, small.targets, 100, small.to);
    if small.weights {
        proposal = of_weights(proposal);
    }
    next.ok(&Event::Proposed(Box::new(proposal)));
    let may = count < small.tries && next.confirm(&id).is_ok();
    may.then_some(next)
}

/// Number of states, and the edges that were seen.
fn explore(small: &Small) -> (usize, Edges) {
    let mut world = World::new();
    world.limits = small.limits.clone();
    let mut seen = BTreeSet::from([key(&world)]);
    let mut edges = BTreeSet::new();
    let mut open = VecDeque::from([world]);
    while let Some(world) = open.pop_front() {
        world.clone().check_end();
        let events = alphabet(&world, small);
        let next = events.iter().map(|(wait, event)| after(&world, *wait, event));
        for mut next in next.chain(tried(&world, small)) {
            edges.append(&mut next.edges);
            if seen.insert(key(&next)) {
                open.push_back(next);
            }
        }
    }
    (seen.len(), edges)
}

pub(super) fn table() -> Edges {
    let name = |machine: Machine| match machine {
        Machine::Suggestion => "suggestion",
        Machine::Rollout => "rollout",
        Machine::Target => "target",
        Machine::Control => "control",
    };
    let edge = |edge: &Edge| (name(edge.machine), edge.from.into(), edge.to.into(), edge.on);
    TABLE.iter().map(edge).collect()
}

/// Explores, and checks that all that happens is in the table.
fn explored(small: &Small) -> (usize, Edges) {
    let (states, edges) = explore(small);
    eprintln!("{states} states, {} of the table", edges.len());
    let odd: Vec<_> = edges.difference(&table()).cloned().collect();
    assert_eq!(odd, [], "not in the table");
    (states, edges)
}

#[test]
fn one_target_two_steps_four_tries() {
    let small =
        Small { targets: &[0], to: 350, tries: 4, limits: Limits::default(), weights: false };
    let (states, edges) = explored(&small);
    assert!(states > 100, "{states}");
    for to in ["promoted", "rolled_back", "failed", "locked", "cooling"] {
        assert!(edges.iter().any(|edge| edge.2 == to), "{to}");
    }
}

#[test]
fn one_target_that_asks_a_person() {
    let limits = Limits { at_maximum: AtMaximum::AskPerson, persist: true, ..Limits::default() };
    let small = Small { targets: &[0], to: 150, tries: 2, limits, weights: false };
    assert!(explored(&small).0 > 100);
}

#[test]
fn two_targets_in_two_waves() {
    let small =
        Small { targets: &[0, 1], to: 150, tries: 1, limits: Limits::default(), weights: false };
    assert!(explored(&small).0 > 200);
}

#[test]
fn one_balancer_under_control() {
    let limits = Limits::default();
    let small = Small { targets: &[0], to: 150, tries: 1, limits, weights: true };
    let (states, edges) = explored(&small);
    assert!(states > 100, "{states}");
    for to in ["running", "frozen", "killed", "let_go"] {
        assert!(edges.iter().any(|edge| edge.0 == "control" && edge.2 == to), "{to}");
    }
}

#[test]
fn two_balancers_under_control() {
    let limits = Limits::default();
    let small = Small { targets: &[0, 1], to: 150, tries: 1, limits, weights: true };
    let (states, edges) = explored(&small);
    assert!(states > 500, "{states}");
    let let_go = |edge: &(&str, String, String, &str)| edge.1 == "frozen" && edge.2 == "let_go";
    assert!(edges.iter().any(let_go), "one after the other");
}
