//! Properties (a) to (d) of ejection, and each condition by itself.

use proptest::prelude::*;

use super::*;

fn sight(balancer: &str, requests: u64, errors: u64) -> Sight {
    Sight { balancer: balancer.into(), requests, errors }
}

fn evidence(id: &str, errors: [u64; 2]) -> Evidence {
    Evidence {
        id: id.into(),
        capacity_per_second: Some(100.0),
        sights: vec![sight("lb0", 200, errors[0]), sight("lb1", 200, errors[1])],
    }
}

fn pool(bad: &[&str]) -> Vec<Evidence> {
    let of = |id: &str| evidence(id, if bad.contains(&id) { [150, 160] } else { [1, 0] });
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"].map(of).into()
}

fn decide_once(evidence: &[Evidence]) -> Decision {
    decide(&Settings::default(), &mut State::default(), evidence, 0)
}

#[test]
fn a_failing_backend_goes_and_says_why() {
    let decision = decide_once(&pool(&["c"]));
    let [ejection] = &decision.eject[..] else { panic!("{decision:?}") };
    let words =
        "c: 78 % of its requests fail, 0.2 % at the others, seen by 2 balancers; out for 30 s";
    assert_eq!(ejection.to_string(), words);
    assert!((decision.share_out - 0.1).abs() < 1e-9);
}

#[test]
fn one_balancer_is_no_evidence() {
    let mut evidence = pool(&["c"]);
    evidence[2].sights[1].errors = 0;
    let decision = decide_once(&evidence);
    assert_eq!(decision.eject, []);
    assert_eq!(decision.kept, [("c".into(), Kept::FewBalancers { failing: 1, needed: 2 })]);
    // The same balancer twice is one.
    let mut evidence = pool(&["c"]);
    evidence[2].sights[1].balancer = "lb0".into();
    assert_eq!(decide_once(&evidence).eject, []);
}

#[test]
fn few_requests_are_no_evidence() {
    let mut evidence = pool(&[]);
    evidence[2].sights = vec![sight("lb0", 40, 40), sight("lb1", 40, 40)];
    let kept = Kept::FewRequests { requests: 80, needed: 100 };
    assert_eq!(decide_once(&evidence).kept, [("c".into(), kept)]);
}

#[test]
fn what_fails_everywhere_is_the_service() {
    let all = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let decision = decide_once(&pool(&all));
    assert_eq!(decision.eject, []);
    assert_eq!(decision.kept.len(), 10);
}

#[test]
fn a_fifth_of_capacity_goes_at_most() {
    let decision = decide_once(&pool(&["a", "b", "c"]));
    assert_eq!(decision.eject.len(), 2);
    assert!(matches!(decision.kept[..], [(_, Kept::Full { .. })]), "{decision:?}");
}

#[test]
fn ejections_grow_end_and_are_forgiven() {
    let settings = Settings::default();
    let mut state = State::default();
    let mut now_ms = 0;
    for k in 1..=12 {
        let decision = decide(&settings, &mut state, &pool(&["c"]), now_ms);
        assert_eq!(decision.eject[0].for_ms, (30_000 * k).min(300_000));
        // While it is out the same evidence changes nothing.
        let again = decide(&settings, &mut state, &pool(&["c"]), now_ms + 1);
        assert_eq!((again.eject.len(), again.restore.len()), (0, 0));
        now_ms = state.records["c"].until_ms.unwrap();
        let back = decide(&settings, &mut state, &pool(&[]), now_ms);
        assert_eq!(back.restore, ["c"]);
    }
    // Twelve in a row are forgiven in an hour.
    decide(&settings, &mut state, &pool(&[]), now_ms + 300_000);
    assert_eq!(state.records["c"].ejections, 11);
    decide(&settings, &mut state, &pool(&[]), now_ms + 12 * 300_000);
    assert_eq!(state.records.len(), 0);
}

fn any_evidence() -> impl Strategy<Value = Vec<Evidence>> {
    let count = || prop_oneof![4 => 0..400_u64, 1 => Just(u64::MAX)];
    let sight = (0..4_u8, count(), count())
        .prop_map(|(lb, requests, errors)| sight(&format!("lb{lb}"), requests, errors));
    let capacity = prop::option::of(prop_oneof![4 => 1.0..100.0_f64, 1 => Just(f64::NAN)]);
    let one = (0..12_u8, capacity, prop::collection::vec(sight, 0..5)).prop_map(
        |(id, capacity_per_second, sights)| Evidence {
            id: format!("b{id}"),
            capacity_per_second,
            sights,
        },
    );
    prop::collection::vec(one, 0..12)
}

proptest! {
    #[test]
    fn bounds_hold_for_any_evidence(windows in prop::collection::vec((any_evidence(), -10_000..100_000_i64), 1..12)) {
        let settings = Settings::default();
        let mut state = State::default();
        let mut now_ms = 0_i64;
        for (evidence, passed) in windows {
            now_ms += passed;
            let before = state.clone();
            let decision = decide(&settings, &mut state, &evidence, now_ms);
            prop_assert!(decision.share_out.is_finite());
            // (a) What was out before may be more, where backends have left the pool since.
            if !decision.eject.is_empty() {
                prop_assert!(decision.share_out <= 0.2 + 1e-6, "{decision:?}");
            }
            // (b)
            for one in &decision.eject {
                prop_assert!(one.balancers >= 2);
                prop_assert!(before.records.get(&one.id).is_none_or(|record| record.until_ms.is_none_or(|until| until <= now_ms || until > now_ms + 300_000)));
            }
            // (c)
            for record in state.records.values() {
                prop_assert!(record.until_ms.is_none_or(|until| until <= now_ms + 300_000));
            }
            // (d)
            let again = decide(&settings, &mut state, &evidence, now_ms);
            prop_assert_eq!((again.eject.len(), again.restore.len()), (0, 0));
        }
    }
}
