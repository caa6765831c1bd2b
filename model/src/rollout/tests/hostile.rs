//! A journal that no collector of this version would write: rows left out, doubled, in another
//! order. Whatever it holds, what does not fit changes nothing, and the rest keeps the promises.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::*;
use super::random::fixed;

/// Promises that hold for any journal.
fn check(before: &State, after: &State) {
    let mut holders = BTreeMap::new();
    for rollout in after.rollouts() {
        if let Some(old) = before.rollout(&rollout.id).filter(|old| old.state.is_final()) {
            assert_eq!(old, rollout, "nothing leaves a final state");
        }
        let wave = |wave: usize| rollout.steps.iter().rfind(|step| step.wave == wave);
        if rollout.state == RolloutState::Promoted {
            for at in 0..rollout.plan.waves.len() {
                let verdict = wave(at).and_then(|step| step.verdict()).unwrap();
                assert_eq!(verdict.result, Judgement::Pass);
            }
            assert!(rollout.members.iter().all(|member| *member == Member::InForce));
        }
        if rollout.state == RolloutState::RolledBack {
            let back = |member: &Member| matches!(member, Member::Restored | Member::Untouched);
            assert!(rollout.members.iter().all(back));
        }
        if rollout.state == RolloutState::Failed {
            let lost = |member: &Member| matches!(member, Member::Restoring | Member::Stuck);
            assert!(rollout.members.iter().any(lost));
        }
        for planned in rollout.plan.members.iter().filter(|_| !rollout.state.is_final()) {
            *holders.entry(planned.target.id.clone()).or_insert(0) += 1;
            let held_by = after.target(&planned.target.id).unwrap().held_by.as_ref();
            assert_eq!(held_by, Some(&rollout.id));
        }
    }
    assert!(holders.values().all(|n| *n == 1), "{holders:?}");
    for old in before.suggestions().filter(|old| old.status != SuggestionStatus::Proposed) {
        assert_eq!(after.suggestion(&old.proposal.id), Some(old));
    }
}

/// Transitions of a few worlds.
fn runs() -> &'static [Vec<Transition>] {
    static RUNS: OnceLock<Vec<Vec<Transition>>> = OnceLock::new();
    let read = |seed: u64| {
        let rows = fixed(seed).rows;
        rows.iter().map(|row| Transition::try_from(row).unwrap()).collect()
    };
    RUNS.get_or_init(|| (0..8).map(read).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn what_does_not_fit_changes_nothing(
        seed in 0_usize..8, order in prop::collection::vec(any::<(u8, prop::sample::Index)>(), 1..400),
    ) {
        let made = &runs()[seed];
        let mut state = State::default();
        let mut next = made.iter().cycle();
        for (jump, at) in order {
            let any = &made[at.index(made.len())];
            let made = if jump < 100 { any } else { next.next().unwrap() };
            let mut after = state.clone();
            if after.apply(made).is_ok() {
                check(&state, &after);
            } else {
                let mut skipped = state.clone();
                skipped.skip();
                prop_assert_eq!(&after, &skipped);
            }
            state = after;
        }
    }
}
