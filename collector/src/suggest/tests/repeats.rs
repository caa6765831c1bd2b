//! The whole: gates, ids, order, and what was suggested before.

use std::collections::BTreeSet;

use flyball_model::record::Better;
use flyball_model::rollout::Judgement;
use flyball_proto::steering::{KeyFinding, KeyFindingKind, PolicyEstimate};
use proptest::prelude::*;

use super::*;
use crate::suggest::history::trials;

const STEEP: Truth = Truth { most: 0.95, scale: 60e6 };

fn on(node: &str, view: CacheView) -> CacheView {
    CacheView { node: NodeName::new(node).unwrap(), ..view }
}

/// A cache with something for every advisor.
fn rich(node: &str) -> CacheView {
    let mut view = on(node, view(STEEP, 64 * MIB));
    view.report.policies = vec![PolicyEstimate {
        policy: "allkeys-lfu".into(),
        hit_ratio: 0.9,
        low: 0.8,
        high: 1.0,
        paired_delta: 0.08,
        delta_low: 0.07,
        delta_high: 0.09,
    }];
    let key = |kind, hash: &str, bytes, share_of_requests| KeyFinding {
        kind,
        key_hash: hash.into(),
        data_type: "string".into(),
        bytes,
        share_of_requests,
    };
    view.report.keys =
        vec![key(KeyFindingKind::Hot, "aa", 1, 0.5), key(KeyFindingKind::Big, "bb", 30 * MIB, 0.0)];
    view
}

fn reasons(advice: &Advice) -> String {
    advice.skipped.iter().map(|skipped| skipped.reason.as_str()).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_suggestion_is_complete_and_no_two_touch_the_same() {
    let advice = advise(&[rich("a"), rich("b")], &context(&[]), &State::default());
    let kinds: BTreeSet<_> = advice.proposals.iter().map(|p| p.kind.as_str()).collect();
    let expected = ["cache.big_key", "cache.eviction_policy", "cache.hot_key", "cache.size"];
    assert_eq!(kinds, expected.into());
    assert_eq!(advice.proposals.len(), 8);
    let mut touched = BTreeSet::new();
    for proposal in &advice.proposals {
        is_complete(proposal);
        for change in proposal.change() {
            assert!(touched.insert((proposal.target.id.clone(), change.parameter.clone())));
        }
    }
    let ids: BTreeSet<_> = advice.proposals.iter().map(|p| &p.id).collect();
    assert_eq!(ids.len(), 8);
    assert!(reasons(&advice).contains("how keys expire was not measured yet"));
}

#[test]
fn evidence_of_hits_and_misses_asks_for_both() {
    let mut view = rich("a");
    view.report.ttl = Some(keys::expiring());
    view.report.misses.as_mut().unwrap().expired = 0.4;
    facts(&mut view).used_bytes = 40 * MIB;
    let advice = advise(&[view], &context(&[]), &State::default());
    let mut kinds = BTreeSet::new();
    for proposal in &advice.proposals {
        let details = Details::of(proposal).unwrap();
        let metric = &proposal.prediction.metric;
        let Some(of_metric) = details.evidence.iter().find(|e| e.name == *metric) else { continue };
        kinds.insert(proposal.kind.clone());
        for part in ["redis.keyspace.hits", "redis.keyspace.misses", "hits + misses"] {
            assert!(of_metric.query.contains(part), "{}", of_metric.query);
        }
        let recent = recent(STEEP.at(64 * MIB));
        let expected = match metric.as_str() {
            "redis.hit_ratio" => recent.hits / (recent.hits + recent.misses),
            _ => (recent.hits + recent.misses) / 300.0,
        };
        assert!((of_metric.value / expected - 1.0).abs() < 1e-9, "{metric}");
    }
    let expected = ["cache.eviction_policy", "cache.hot_key", "cache.size", "cache.ttl"];
    assert_eq!(kinds, expected.map(str::to_owned).into());
}

#[test]
fn the_same_inputs_give_the_same_suggestions_in_any_order() {
    let (a, b) = (rich("a"), rich("b"));
    let state = State::default();
    let one = advise(&[a.clone(), b.clone()], &context(&[]), &state);
    assert_eq!(advise(&[b, a], &context(&[]), &state), one);
}

proptest! {
    #[test]
    fn asked_again_there_is_nothing_new(
        most in 0.3..0.99_f64, scale in 4e6..1e9_f64, size in 16..2_048_u64, later in 0..3_600_000_i64,
    ) {
        let mut view = view(Truth { most, scale }, size * MIB);
        let mut state = State::default();
        let first = advise(std::slice::from_ref(&view), &context(&[]), &state);
        propose(&mut state, &first.proposals);
        let same = advise(std::slice::from_ref(&view), &context(&[]), &state);
        prop_assert_eq!(&same.proposals, &[]);
        let waits = reasons(&same).contains("waits for a decision");
        prop_assert_eq!(waits, !first.proposals.is_empty());
        // The curve has moved a little meanwhile: still the same question.
        for point in &mut view.report.curve.as_mut().unwrap().points {
            point.high = (point.high + 0.001).min(1.0);
        }
        view.received_at_ms += later;
        let again = Context { now_ms: NOW_MS + later, ..context(&[]) };
        let second = advise(&[view], &again, &state);
        prop_assert_eq!(&second.proposals, &[]);
    }
}

fn only_size(node: &str) -> CacheView {
    on(node, view(STEEP, 64 * MIB))
}

fn suggested(state: &State, now_ms: i64) -> Result<Proposal, String> {
    let mut view = only_size("a");
    view.received_at_ms = now_ms;
    let trials = trials(state);
    let advice = advise(&[view], &Context { now_ms, ..context(&trials) }, state);
    advice.proposals.first().cloned().ok_or_else(|| reasons(&advice))
}

#[test]
fn what_was_rejected_does_not_come_again_for_a_month_and_what_expired_does() {
    let mut state = State::default();
    let first = suggested(&state, NOW_MS).unwrap();
    propose(&mut state, std::slice::from_ref(&first));
    let suggestion = first.id.clone();
    let rejected = Event::Rejected { suggestion, by: by("ann"), note: "no".into() };
    let mut said_no = state.clone();
    happened(&mut said_no, &rejected, NOW_MS);
    let reason = suggested(&said_no, NOW_MS + 1_000).unwrap_err();
    assert!(reason.contains("a person has rejected"), "{reason}");
    let later = suggested(&said_no, NOW_MS + gates::REJECTED_FOR_MS).unwrap();
    assert_ne!(later.id, first.id, "an id is used once");

    let day = NOW_MS + 24 * 3_600_000;
    happened(&mut state, &Event::Tick, day);
    let again = suggested(&state, day).unwrap();
    assert_ne!(again.id, first.id);
    assert_eq!(again.change(), first.change());
}

#[test]
fn nothing_is_suggested_to_people_either_while_a_target_is_not_free() {
    let reasons_of = |state: &State, now_ms: i64| {
        let mut view = rich("a");
        view.received_at_ms = now_ms;
        let advice = advise(&[view], &Context { now_ms, ..context(&[]) }, state);
        let of_keys = advice.skipped.into_iter().filter(|skipped| skipped.kind.ends_with("_key"));
        of_keys.map(|skipped| skipped.reason).collect::<Vec<_>>()
    };
    let (mut state, mut now_ms) = (State::default(), NOW_MS);
    let proposal = suggested(&state, now_ms).unwrap();
    propose(&mut state, std::slice::from_ref(&proposal));
    assert_eq!(reasons_of(&state, now_ms), [""; 0]);
    let confirmed = Event::confirmed(proposal.id.clone(), by("ann"), String::new());
    happened(&mut state, &confirmed, now_ms);
    let changing = format!("rollout {} is changing it", proposal.id.rollout());
    assert_eq!(reasons_of(&state, now_ms), [changing.as_str(); 2]);
    // Its agent is never heard of again: nobody knows what is in force.
    now_ms += 24 * 3_600_000;
    happened(&mut state, &Event::Tick, now_ms);
    now_ms += 24 * 3_600_000;
    happened(&mut state, &Event::Tick, now_ms);
    assert_eq!(reasons_of(&state, now_ms), ["it is locked until a person unlocks it"; 2]);
}

#[test]
fn an_id_comes_once_also_when_what_had_it_is_forgotten() {
    // One collector forgets what ended long ago, another one reads all of the journal after a restart.
    let (mut running, mut rows) = (State::default(), Vec::new());
    let mut happens = |state: &mut State, event: &Event, now_ms: i64| {
        let made = decide(state, event, now_ms, &Limits::default()).unwrap().transitions;
        for made in &made {
            state.apply(made).unwrap();
        }
        rows.extend(made);
    };
    let half_a_year = 180 * 24 * 3_600_000;
    let mut ids = BTreeSet::new();
    for now_ms in [NOW_MS, NOW_MS + half_a_year, NOW_MS + 2 * half_a_year] {
        running.forget(now_ms - half_a_year / 2);
        let proposal = suggested(&running, now_ms).unwrap();
        ids.insert(proposal.id.clone());
        happens(&mut running, &Event::Proposed(Box::new(proposal)), now_ms);
        happens(&mut running, &Event::Tick, now_ms + half_a_year / 2);
    }
    let mut restarted = State::default();
    for row in &rows {
        assert_eq!(restarted.apply(row), Ok(()), "{row:?}");
    }
    assert_eq!((ids.len(), restarted.suggestions().count()), (3, 3));
}

#[test]
fn a_target_that_failed_rests_longer_each_time_and_is_locked_at_last() {
    let (mut state, mut now_ms) = (State::default(), NOW_MS);
    for pause in [10, 40] {
        let proposal = suggested(&state, now_ms).unwrap();
        propose_at(&mut state, &proposal, now_ms);
        carried_out(&mut state, &proposal.id, by("ann"), Judgement::Harm, &mut now_ms);
        let reason = suggested(&state, now_ms).unwrap_err();
        assert!(reason.contains("it rests for"), "{reason}");
        now_ms += pause * 60_000;
    }
    let proposal = suggested(&state, now_ms).unwrap();
    propose_at(&mut state, &proposal, now_ms);
    carried_out(&mut state, &proposal.id, by("ann"), Judgement::Harm, &mut now_ms);
    now_ms += 365 * 24 * 3_600_000;
    assert!(suggested(&state, now_ms).unwrap_err().contains("locked"));
    let all = trials(&state);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|trial| trial.observed == Some(0.5) && !trial.promoted));
    let record = flyball_model::record::records(&all, "cache.size", "redis:a:sessions");
    assert_eq!((record.here.tried, record.here.judged, record.here.covered), (3, 3, 0));
}

fn propose_at(state: &mut State, proposal: &Proposal, now_ms: i64) {
    happened(state, &Event::Proposed(Box::new(proposal.clone())), now_ms);
}

#[test]
fn who_promises_too_much_is_muted_and_says_so() {
    let trial = |i: i64| Trial {
        kind: "cache.size".into(),
        target: "redis:a:sessions".into(),
        ended_at_ms: NOW_MS - i,
        predicted: 0.9,
        low: 0.899_999,
        high: 0.91,
        widened_by: 1e9,
        observed: Some(0.899_99),
        better: Better::Higher,
        promoted: true,
    };
    let trials: Vec<_> = (0..3).map(trial).collect();
    let advice = advise(&[only_size("a")], &context(&trials), &State::default());
    assert!(reasons(&advice).contains("promised too much here"), "{}", reasons(&advice));
    let advice = advise(&[only_size("b")], &context(&trials), &State::default());
    assert!(advice.proposals.is_empty() || advice.proposals[0].kind == "cache.size");
}
