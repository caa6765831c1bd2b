//! The whole: ids, order, and what was suggested before.

use flyball_model::rollout::{Actor, Event, Limits as Rollout, decide};
use proptest::prelude::*;

use super::*;

fn happened(state: &mut State, event: &Event) {
    let decision = decide(state, event, NOW_MS, &Rollout::default()).unwrap();
    for transition in &decision.transitions {
        state.apply(transition).unwrap();
    }
}

fn proposed(state: &mut State, advice: &Advice) {
    for proposal in &advice.proposals {
        happened(state, &Event::Proposed(Box::new(proposal.clone())));
    }
}

#[test]
fn suggesting_again_gives_nothing_new() {
    let view = Truth::default().view();
    let first = advice_of(&view);
    assert!(!first.proposals.is_empty(), "{:?}", first.skipped);
    let mut state = State::default();
    proposed(&mut state, &first);
    let again = advise(std::slice::from_ref(&view), &context(&[]), &state);
    assert_eq!(again.proposals, []);
    assert!(again.skipped.iter().any(|one| one.reason.contains("waits for a decision")));
}

#[test]
fn what_a_person_has_rejected_is_not_suggested_again() {
    let view = Truth::default().view();
    let first = advice_of(&view);
    let mut state = State::default();
    proposed(&mut state, &first);
    let suggestion = first.proposals[0].id.clone();
    let by = Actor::part("ada");
    let event = Event::Rejected { suggestion, by, note: "no".into() };
    happened(&mut state, &event);
    let again = advise(std::slice::from_ref(&view), &context(&[]), &state);
    assert_eq!(again.proposals, []);
    let has_rejected = |one: &super::super::super::Skipped| one.reason.contains("has rejected");
    assert!(again.skipped.iter().any(has_rejected), "{:?}", again.skipped);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_same_inputs_give_the_same_suggestions_in_whatever_order(
        capacities in proptest::collection::vec(100.0..800.0_f64, 2..6),
        load in 0.1..0.95_f64,
        balancers in 1_usize..6,
        failing in proptest::option::of(0_usize..6),
        turned in any::<bool>(),
    ) {
        let count = capacities.len();
        let mut errors = vec![0.0; count];
        if let Some(at) = failing {
            errors[at % count] = 0.7;
        }
        let truth = Truth {
            balancers,
            rate: load * capacities.iter().sum::<f64>(),
            weights: vec![100; count],
            capacities,
            errors,
            ..Truth::default()
        };
        let (one, two) = (truth.view(), truth.view());
        let other = {
            let pools = Truth::default().watched(12);
            let mut view = view_of(&pools, true);
            Arc::make_mut(&mut view.estimate).pool.name = "zoo".into();
            view
        };
        let (first, second) = ([one, other.clone()], [other, two]);
        let (first, second) = if turned { (second, first) } else { (first, second) };
        let state = State::default();
        let a = advise(&first, &context(&[]), &state);
        let b = advise(&second, &context(&[]), &state);
        prop_assert_eq!(&a, &b);
        for proposal in &a.proposals {
            prop_assert_eq!(proposal.check(), Ok(()));
            let p = &proposal.prediction;
            prop_assert!(p.low <= p.after && p.after <= p.high);
            for change in proposal.members.iter().flat_map(|member| &member.change) {
                prop_assert!(change.steps().is_ok());
            }
        }
    }
}
