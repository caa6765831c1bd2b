//! Drains.

use flyball_model::rollout::{
    Actor, Applied, BalancerLimits, Event, Judgement, Limits as Rules, Member as Place, Outcome,
    Phase, Proposal, RolloutId, TargetId, Verdict, decide,
};
use serde_json::Value;

use super::*;

#[test]
fn a_backend_that_fails_at_several_balancers_is_drained() {
    let truth = Truth {
        capacities: vec![400.0; 6],
        weights: vec![100; 6],
        errors: vec![0.0, 0.5, 0.0, 0.0, 0.0, 0.0],
        rate: 900.0,
        ..Truth::default()
    };
    let proposal = suggested(&truth.view(), "balancer.drain");
    assert_eq!(proposal.check(), Ok(()));
    assert_eq!(proposal.members.len(), 4);
    let change = &proposal.members[0].change[0];
    assert_eq!(
        (change.parameter.as_str(), change.from.as_str(), change.to.as_str()),
        ("state:app/app1", "ready", "drain")
    );
    let p = &proposal.prediction;
    assert!(p.metric == "balancer.error_ratio" && p.before > 0.05 && p.high < 0.02, "{p:?}");
    let alone = Truth { balancers: 1, ..truth.clone() };
    assert!(refused(&alone.view(), "balancer.drain").contains("2 are needed"));
    let busy = Truth { rate: 1_800.0, ..truth.clone() };
    let reason = refused(&busy.view(), "balancer.drain");
    assert!(reason.contains("may be"), "{reason}");
    let all = Truth { errors: vec![0.5; 6], ..truth };
    assert!(refused(&all.view(), "balancer.drain").contains("at the others too"));
}

fn failing() -> Truth {
    Truth {
        capacities: vec![400.0; 6],
        weights: vec![100; 6],
        errors: vec![0.0, 0.5, 0.0, 0.0, 0.0, 0.0],
        rate: 900.0,
        ..Truth::default()
    }
}

fn happen(state: &mut State, event: &Event, now_ms: i64) {
    let rules = Rules {
        balancer: BalancerLimits { hold_ms: 0, validate_min_ms: 0, ..BalancerLimits::default() },
        ..Rules::default()
    };
    for made in decide(state, event, now_ms, &rules).unwrap().transitions {
        state.apply(&made).unwrap();
    }
}

/// What willing agents and a content judge say next.
fn next(state: &State, id: &RolloutId) -> Option<Event> {
    let rollout = state.rollout(id)?;
    if let Some(place) = rollout.members.iter().position(|member| *member == Place::Asked) {
        let target = &rollout.plan.members[place].target;
        return Some(Event::Outcome(Outcome {
            node: target.node.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            rollout: id.clone(),
            revision: state.policy(&target.node).revision,
            sequence: 1,
            result: Applied::Applied,
            in_force: state.wanted(&target.id)?.values,
        }));
    }
    let verdict = Verdict {
        result: Judgement::Pass,
        metric: "balancer.error_ratio".into(),
        expected: None,
        observed: None,
        samples: 1,
        reason: "it is".into(),
    };
    matches!(rollout.phase, Phase::Validating { .. }).then(|| Event::Judged {
        rollout: id.clone(),
        revision: rollout.revision(),
        verdict,
        inputs: Value::Null,
    })
}

/// After these changes were promoted, one after the other.
fn promoted(proposals: Vec<Proposal>) -> State {
    let mut state = State::default();
    for (at, proposal) in proposals.into_iter().enumerate() {
        let now_ms = NOW_MS - 4_000_000 + at as i64 * 1_000_000;
        let (id, by) = (proposal.id.clone(), Actor { name: "ana".into(), address: String::new() });
        happen(&mut state, &Event::Proposed(Box::new(proposal)), now_ms);
        happen(&mut state, &Event::confirmed(id.clone(), by, "go".into()), now_ms);
        while let Some(event) = next(&state, &id.rollout()) {
            happen(&mut state, &event, now_ms);
        }
        assert_eq!(state.rollout(&id.rollout()).unwrap().state.name(), "promoted");
    }
    state
}

/// Balancers that are given back a backend in a view where it is drained everywhere.
fn given_back(state: &State) -> Vec<String> {
    let mut view = failing().view();
    let pool = &mut Arc::make_mut(&mut view.estimate).pool;
    let backend = pool.backends.iter_mut().find(|one| one.address == "10.0.0.1:80").unwrap();
    backend.state = BackendState::Drain;
    backend.placements.iter_mut().for_each(|one| one.server.state = BackendState::Drain);
    let advice = advise(std::slice::from_ref(&view), &context(&[]), state);
    let back = advice.proposals.into_iter().find(|one| one.title.contains("requests again"));
    let members = back.into_iter().flat_map(|proposal| proposal.members);
    members.map(|member| member.target.id.0).collect()
}

#[test]
fn only_what_flyball_has_drained_is_given_back() {
    let drain = suggested(&failing().view(), "balancer.drain");
    assert_eq!(given_back(&State::default()), Vec::<String>::new(), "a person has drained it");
    let all = [0, 1, 2, 3].map(|at| format!("haproxy:lb-{at}:edge"));
    let state = promoted(vec![drain.clone()]);
    assert_eq!(given_back(&state), all);

    // Of a balancer where another hand has set it meanwhile nothing is known.
    let mut released = state.clone();
    let target = TargetId(all[2].clone());
    let mut in_force = state.wanted(&target).unwrap().values;
    for value in in_force.values_mut() {
        "ready".clone_into(value);
    }
    happen(
        &mut released,
        &Event::Outcome(Outcome {
            node: "lb-2".into(),
            kind: "haproxy".into(),
            name: "edge".into(),
            rollout: drain.id.rollout(),
            revision: state.policy("lb-2").revision,
            sequence: 2,
            result: Applied::Drifted("a person".into()),
            in_force,
        }),
        NOW_MS - 1_000,
    );
    assert_eq!(given_back(&released), [all[0].as_str(), all[1].as_str(), all[3].as_str()]);

    // What a person has proposed stays until a person says otherwise.
    let mut proposed = drain.clone();
    proposed.details["proposed_by"] = "ada".into();
    assert_eq!(given_back(&promoted(vec![proposed.clone()])), Vec::<String>::new());
    // Also after Flyball has drained it once and given it back.
    let mut ready = drain.clone();
    ready.id = flyball_model::rollout::SuggestionId("s-ready".into());
    for change in ready.members.iter_mut().flat_map(|member| &mut member.change) {
        std::mem::swap(&mut change.from, &mut change.to);
    }
    proposed.id = flyball_model::rollout::SuggestionId("s-again".into());
    assert_eq!(given_back(&promoted(vec![drain.clone(), ready.clone()])), Vec::<String>::new());
    assert_eq!(given_back(&promoted(vec![drain, ready, proposed])), Vec::<String>::new());
}
