//! Hard stops of a rollout that real decisions have led to.

use flyball_model::rollout::{
    Actor, Applied, Bound, CONTROLLED, Candidate, Change, Event, Limits, Outcome, Prediction,
    Proposal, SuggestionId, decide,
};

use super::*;

const A: &str = "weight:web/a";
/// When the rollout was confirmed, epoch milliseconds.
const BEGUN_MS: i64 = 1_800_000_000_000;

fn proposal() -> Proposal {
    let change = Change {
        parameter: A.to_owned(),
        from: "100".to_owned(),
        to: "50".to_owned(),
        unit: String::new(),
        bound: Bound::Number {
            min: 0,
            max: 256,
            largest_growth: 2.0,
            largest_shrink: 0.5,
            always: 256,
            zero_is: None,
        },
    };
    let member = Candidate {
        target: Target {
            id: TargetId("haproxy:lb-1:edge".into()),
            node: "lb-1".into(),
            kind: "haproxy".into(),
            name: "edge".into(),
        },
        change: vec![change],
        size: 1.0,
        traffic: 100.0,
    };
    Proposal {
        id: SuggestionId("s-1".into()),
        kind: CONTROLLED.into(),
        target: Target {
            id: TargetId("pool:web".into()),
            node: String::new(),
            kind: "pool".into(),
            name: "web".into(),
        },
        title: "new weights".into(),
        members: vec![member],
        prediction: Prediction {
            metric: "balancer.latency_ms".into(),
            before: 20.0,
            after: 15.0,
            low: 14.0,
            high: 16.0,
            unit: "ms".into(),
            confidence: 0.9,
        },
        undo: "the old weights".into(),
        details: json!({}),
    }
}

fn happen(state: &mut State, event: &Event, now_ms: i64) {
    for made in decide(state, event, now_ms, &Limits::default()).unwrap().transitions {
        state.apply(&made).unwrap();
    }
}

/// Windows that began at these times since the offer, with the weight in force at their ends.
fn sight(windows: &[(i64, u32)]) -> Sight {
    let window = |(start_ms, weight): &(i64, u32)| MemberWindow {
        start_ms: BEGUN_MS + start_ms,
        requests: 100,
        errors: 0,
        latency_ms: Some(20.0),
        latency_p99_ms: None,
        queues: BTreeMap::new(),
        weights: [("a".to_owned(), *weight)].into(),
    };
    let target = proposal().members[0].target.id.clone();
    let windows = windows.iter().map(window).collect();
    let measured = vec![Measured { target, arm: Arm::Treated, windows }];
    Sight { measured, past: Vec::new(), width_ms: 5_000 }
}

#[test]
fn a_weight_is_another_one_only_since_the_agent_has_it_in_force() {
    let mut state = State::default();
    happen(&mut state, &Event::Proposed(Box::new(proposal())), BEGUN_MS);
    let by = Actor { name: "ana".into(), address: "127.0.0.1".into() };
    let confirmed = Event::confirmed(SuggestionId("s-1".into()), by, "go".into());
    happen(&mut state, &confirmed, BEGUN_MS);
    let id = RolloutId("r-1".into());
    let found = |stops: &mut Stops, state: &State, at_ms: i64, windows: &[(i64, u32)]| {
        let rollout = state.rollout(&id).unwrap();
        stops.note(rollout, BEGUN_MS + at_ms);
        stops.mismatched((rollout, state), &sides(rollout).0, &sight(windows))
    };
    let mut stops = Stops::default();
    // Its agent takes its time: two whole windows since the offer have the old weight.
    let slow = [(5_000, 100), (10_000, 100)];
    assert_eq!(found(&mut stops, &state, 16_000, &slow), None, "it is not in force yet");
    let in_force = Event::Outcome(Outcome {
        node: "lb-1".into(),
        kind: "haproxy".into(),
        name: "edge".into(),
        rollout: id.clone(),
        revision: state.policy("lb-1").revision,
        sequence: 1,
        result: Applied::Applied,
        in_force: state.wanted(&TargetId("haproxy:lb-1:edge".into())).unwrap().values,
    });
    happen(&mut state, &in_force, BEGUN_MS + 18_000);
    assert_eq!(found(&mut stops, &state, 18_000, &slow), None, "that was before");
    let after = [(15_000, 100), (20_000, 100)];
    assert_eq!(found(&mut stops, &state, 26_000, &after), None, "one of them began before");
    let other = [(20_000, 50), (25_000, 100)];
    assert_eq!(found(&mut stops, &state, 31_000, &other), None, "once is by chance");
    let other = [(20_000, 100), (25_000, 100)];
    let mismatch = found(&mut stops, &state, 31_000, &other).unwrap();
    assert_eq!((mismatch.0.as_str(), mismatch.1.as_str(), mismatch.2.as_str()), (A, "50", "100"));
}
