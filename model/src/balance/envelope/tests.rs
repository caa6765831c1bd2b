//! Properties (a) to (d) of the envelope, and each bound by itself.

use proptest::prelude::*;

use super::super::law::{self, Rule};
use super::*;

const NAMES: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// A pool with these weights in force, capacities and wanted weights (at most 1); all measured.
fn pool(backends: &[(u16, f64, f64)], q: f64) -> (PoolState, LawOutcome) {
    let names = NAMES.iter().zip(backends);
    let mut state = PoolState::new(names.map(|(id, (weight, ..))| (*id, *weight)), 0);
    state.valid_windows = 3;
    let shares = shares(backends.iter().map(|(weight, ..)| *weight));
    let wanted: Vec<f64> = backends.iter().map(|(.., wanted)| *wanted).collect();
    let weights = quantise(&wanted);
    let outcome = |at: usize, id: &str| BackendOutcome {
        id: id.into(),
        requests_per_second: q * shares[at],
        error_ratio: 0.0,
        utilization: Some(0.5),
        capacity_per_second: Some(backends[at].1),
        rule: Rule::Averaged,
        innovation: 0.0,
        gate: 0.25,
        step: 0.0,
        ramp: 1.0,
        wanted: wanted[at],
        weight: weights[at],
        in_force: backends[at].0,
        at_floor: wanted[at] <= 0.03,
    };
    for (known, (_, capacity, _)) in state.backends.values_mut().zip(backends) {
        known.capacity_per_second = Some(*capacity);
    }
    let all: Vec<BackendOutcome> =
        NAMES.iter().take(backends.len()).enumerate().map(|(at, id)| outcome(at, id)).collect();
    let push = Push::Due { backend: "a".into(), from: 1.0, to: 2 };
    let outcome =
        LawOutcome { valid: all.len(), backends: all, mean_utilization: 0.5, trim: 0.0, push };
    (state, outcome)
}

fn decide(state: &PoolState, outcome: &LawOutcome) -> Verdict {
    guard(&Settings::default(), state, outcome, &Facts::default())
}

fn weights(verdict: &Verdict) -> Vec<u16> {
    verdict.weights.as_ref().unwrap().values().copied().collect()
}

const EQUAL: [(u16, f64, f64); 4] =
    [(256, 100.0, 1.0), (256, 100.0, 1.0), (256, 100.0, 1.0), (256, 100.0, 0.5)];

#[test]
fn a_small_move_goes_through_as_it_is() {
    let (mut state, outcome) = pool(&EQUAL, 200.0);
    let verdict = decide(&state, &outcome);
    assert_eq!(weights(&verdict), [256, 256, 256, 128]);
    assert_eq!(verdict.reasons, []);
    assert!(!verdict.restrained());
    // 1/4 of traffic becomes 1/7.
    assert!((verdict.shift - (0.25 - 1.0 / 7.0)).abs() < 1e-9);
    let (before, after) = verdict.utilization.unwrap();
    assert!((before - 0.5).abs() < 1e-9 && (after - 200.0 * 2.0 / 7.0 / 100.0).abs() < 1e-9);
    let words = "push: 10.7 % of traffic moves, the busiest goes from 0.50 to 0.57 in use";
    assert_eq!(verdict.explain(), [words]);
    state.settle(&verdict, 5_000);
    assert_eq!(state.backends["d"].in_force, 128);
    assert_eq!(state.pushed_at_ms, Some(5_000));
}

#[test]
fn nothing_is_pushed_before_three_windows_or_against_the_law() {
    let (mut state, mut outcome) = pool(&EQUAL, 200.0);
    state.restarted();
    let verdict = decide(&state, &outcome);
    assert_eq!(verdict.reasons, [Reason::WarmUp { windows: 0, needed: 3 }]);
    assert_eq!(verdict.weights, None);
    outcome.push = Push::Unmoved;
    assert_eq!(decide(&state, &outcome).reasons, [Reason::Law(Push::Unmoved)]);
}

#[test]
fn panic_freezes_above_half() {
    let (state, mut outcome) = pool(&EQUAL, 200.0);
    let mut facts = Facts::default();
    facts.unhealthy.insert("a".into());
    outcome.backends[1].rule = Rule::Held(law::Hold::NoUtilization);
    // Who waits for requests is not lost.
    let few = law::Hold::FewRequests { requests: 3, needed: 50 };
    outcome.backends[2].rule = Rule::Held(few);
    let of = |facts: &Facts| guard(&Settings::default(), &state, &outcome, facts);
    assert!(of(&facts).weights.is_some());
    facts.unhealthy.insert("d".into());
    assert_eq!(of(&facts).reasons, [Reason::Panic { lost: 3, of: 4 }]);
}

#[test]
fn weights_stay_within_their_confirmed_band() {
    let (mut state, outcome) = pool(&EQUAL, 200.0);
    let mut facts = Facts::default();
    let band = Band { least: 180, most: 256 };
    facts.bands.insert("d".into(), band);
    let verdict = guard(&Settings::default(), &state, &outcome, &facts);
    assert_eq!(weights(&verdict), [256, 256, 256, 180]);
    let reason = Reason::Band { backend: "d".into(), wanted: 128, band };
    assert_eq!(reason.to_string(), "d: 128 wanted, 180 to 256 confirmed");
    assert_eq!(verdict.reasons, [reason]);
    state.settle(&verdict, 0);
    // The law goes on from what is in force.
    assert!((state.backends["d"].weight - 180.0 / 256.0).abs() < 1e-9);
}

#[test]
fn capacity_at_the_floor_is_bounded_and_failing_backends_go_first() {
    let floor = (256, 100.0, 0.03);
    let (state, mut outcome) = pool(&[EQUAL[0], EQUAL[1], floor, floor], 100.0);
    outcome.backends[3].rule = Rule::Failing;
    let settings = Settings { shift: 1.0, ..Settings::default() };
    let verdict = guard(&settings, &state, &outcome, &Facts::default());
    assert_eq!(weights(&verdict), [256, 256, 256, 8]);
    assert_eq!(verdict.reasons, [Reason::Floor { backend: "c".into(), share: 0.5 }]);
}

#[test]
fn a_dead_backend_may_be_at_the_floor_however_much_it_is() {
    let three = [EQUAL[0], EQUAL[1], (256, 100.0, 0.03)];
    let settings = Settings { shift: 1.0, ..Settings::default() };
    for (rule, wanted) in
        [(Rule::Collapsed, 8), (Rule::Failing, 8), (Rule::FastDown, 256), (Rule::Averaged, 256)]
    {
        let (state, mut outcome) = pool(&three, 100.0);
        outcome.backends[2].rule = rule;
        let verdict = guard(&settings, &state, &outcome, &Facts::default());
        let weight = verdict.weights.map_or(256, |weights| weights["c"]);
        assert_eq!(weight, wanted, "{rule:?}");
    }
    // Of two that are dead one may.
    let (state, mut outcome) = pool(&[EQUAL[0], EQUAL[1], three[2], three[2]], 100.0);
    (outcome.backends[2].rule, outcome.backends[3].rule) = (Rule::Collapsed, Rule::Collapsed);
    let verdict = guard(&settings, &state, &outcome, &Facts::default());
    assert_eq!(weights(&verdict), [256, 256, 8, 256]);
}

#[test]
fn others_take_over_from_the_dead_until_they_are_full() {
    let dead = (256, 100.0, 0.03);
    let of = |rule: Rule, q: f64| {
        let (state, mut outcome) = pool(&[EQUAL[0], EQUAL[0], EQUAL[0], EQUAL[0], dead], q);
        outcome.backends[4].rule = rule;
        let settings = Settings { shift: 1.0, ..Settings::default() };
        guard(&settings, &state, &outcome, &Facts::default())
    };
    // 0.75 becomes 0.93.
    assert_eq!(weights(&of(Rule::Collapsed, 375.0)), [256, 256, 256, 256, 8]);
    assert_eq!(of(Rule::FastDown, 375.0).weights, None);
    // 0.9 would become 1.12: a part of the way.
    let verdict = of(Rule::Collapsed, 450.0);
    let (before, after) = verdict.utilization.unwrap();
    assert!((before - 0.9).abs() < 1e-9 && (after - 1.0).abs() < 0.01, "{verdict:?}");
    let [Reason::Relief { wanted, .. }] = verdict.reasons[..] else { panic!("{verdict:?}") };
    assert!((wanted - 450.0 * 0.2481 / 100.0).abs() < 0.01, "{wanted}");
    assert!(verdict.restrained());
    // They are full already.
    assert_eq!(of(Rule::Collapsed, 510.0).weights, None);
}

#[test]
fn who_is_at_the_floor_and_busy_holds_nobody_back() {
    let (state, mut outcome) = pool(&[EQUAL[0], EQUAL[1], EQUAL[3], (8, 2.0, 0.03)], 150.0);
    assert_eq!(outcome.backends[3].in_force, outcome.backends[3].weight);
    outcome.backends[3].rule = Rule::Averaged;
    assert!(decide(&state, &outcome).weights.is_some());
}

#[test]
fn where_one_is_dead_capacity_is_as_believed_and_not_as_one_noisy_window_says() {
    let (mut state, mut outcome) = pool(&EQUAL, 200.0);
    for known in state.backends.values_mut() {
        known.smoothed = Some(0.0);
    }
    state.backends.get_mut("a").unwrap().capacity_per_second = Some(50.0);
    let before = |outcome: &LawOutcome| decide(&state, outcome).utilization.unwrap().0;
    assert!((before(&outcome) - 1.0).abs() < 1e-9);
    outcome.backends[3].rule = Rule::Collapsed;
    assert!((before(&outcome) - 0.5).abs() < 1e-9);
}

#[test]
fn a_large_move_goes_in_parts() {
    let slow = (256, 100.0, 0.1);
    let (state, outcome) = pool(&[EQUAL[0], EQUAL[1], slow, slow], 100.0);
    let verdict = decide(&state, &outcome);
    assert!((verdict.shift - 0.2).abs() < 0.003, "{verdict:?}");
    let [Reason::Shift { wanted, allowed }] = verdict.reasons[..] else { panic!("{verdict:?}") };
    assert!((wanted - (0.5 - 1.0 / 11.0)).abs() < 0.003);
    assert!((allowed - 0.2).abs() < 1e-12);
    // All go the same part of their way.
    assert_eq!(weights(&verdict)[2], weights(&verdict)[3]);
}

#[test]
fn nobody_is_overloaded_unless_it_relieves_the_busiest() {
    // The first would get more than it can do.
    let wrong = [(128, 50.0, 1.0), (256, 100.0, 1.0), (256, 100.0, 1.0)];
    let (state, outcome) = pool(&wrong, 180.0);
    let verdict = decide(&state, &outcome);
    assert_eq!(verdict.weights, None);
    let [Reason::Utilization { backend, after, before }] = &verdict.reasons[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(backend, "a");
    assert!((after - 1.2).abs() < 1e-9 && (before - 0.72).abs() < 1e-9);
    // All are overloaded, and the push takes from the busiest.
    let right = [(256, 50.0, 0.5), (256, 100.0, 1.0), (256, 100.0, 1.0)];
    let (state, outcome) = pool(&right, 240.0);
    let verdict = decide(&state, &outcome);
    let (before, after) = verdict.utilization.unwrap();
    assert!(verdict.weights.is_some() && after < before && after > 0.85, "{verdict:?}");
}

#[test]
fn a_push_that_failed_is_taken_back() {
    let (mut state, outcome) = pool(&EQUAL, 200.0);
    state.settle(&decide(&state, &outcome), 0);
    state.in_force([("d", 256)]);
    assert!((state.backends["d"].weight - 1.0).abs() < 1e-12);
}

fn any_pool() -> impl Strategy<Value = (Vec<(u16, f64, f64)>, f64)> {
    let backend = (1..=256_u16, 1.0..1_000.0_f64, 0.03..1.0_f64);
    (prop::collection::vec(backend, 2..10), 0.1..1.5_f64).prop_map(|(backends, load)| {
        let capacity: f64 = backends.iter().map(|(_, capacity, _)| capacity).sum();
        (backends, load * capacity)
    })
}

fn any_bands() -> impl Strategy<Value = BTreeMap<String, Band>> {
    let band =
        (1..=256_u16, 1..=256_u16).prop_map(|(a, b)| Band { least: a.min(b), most: a.max(b) });
    prop::collection::btree_map(
        prop::sample::select(&NAMES[..]).prop_map(str::to_owned),
        band,
        0..4,
    )
}

proptest! {
    /// (a), (d)
    #[test]
    fn what_goes_through_is_within_bounds((backends, q) in any_pool(), bands in any_bands()) {
        let (state, outcome) = pool(&backends, q);
        let facts = Facts { bands: bands.clone(), ..Facts::default() };
        let verdict = guard(&Settings::default(), &state, &outcome, &facts);
        let Some(weights) = &verdict.weights else {
            prop_assert!(!verdict.reasons.is_empty());
            return Ok(());
        };
        prop_assert_eq!(weights.len(), backends.len());
        for (id, weight) in weights {
            prop_assert!((1..=256).contains(weight));
            if let Some(band) = bands.get(id) {
                prop_assert!((band.least..=band.most).contains(weight), "{id} {weight} {band:?}");
            }
        }
        // Whole numbers: each weight is half a unit off, beside the largest of 256.
        if bands.is_empty() {
            prop_assert!(weights.values().any(|weight| *weight == 256));
            let rounding = 0.5 * backends.len() as f64 / 256.0;
            prop_assert!(verdict.shift <= 0.2 + rounding, "{verdict:?}");
        }
        let (before, after) = verdict.utilization.unwrap();
        prop_assert!(after <= 0.85 || after < before, "{verdict:?}");
    }

    /// (b)
    #[test]
    fn in_parts_it_arrives((backends, _) in any_pool()) {
        let mut backends = backends;
        // Capacities as wanted and little load: nothing but the bound on moves restrains.
        for one in &mut backends {
            one.1 = 1_000.0 * one.2;
        }
        let wanted: Vec<f64> = backends.iter().map(|one| one.2).collect();
        let mut arrived = false;
        for _ in 0..20 {
            let (state, outcome) = pool(&backends, 100.0);
            let settings = Settings { floored_capacity: 1.0, ..Settings::default() };
            let verdict = guard(&settings, &state, &outcome, &Facts::default());
            let Some(weights) = verdict.weights else {
                prop_assert_eq!(verdict.reasons, vec![Reason::NothingLeft]);
                arrived = true;
                break;
            };
            for (one, weight) in backends.iter_mut().zip(weights.values()) {
                one.0 = *weight;
            }
        }
        prop_assert!(arrived);
        let in_force: Vec<u16> = backends.iter().map(|one| one.0).collect();
        prop_assert_eq!(in_force, quantise(&wanted));
    }

    /// (c)
    #[test]
    fn junk_gives_no_nan(
        numbers in prop::collection::vec(prop_oneof![Just(f64::NAN), Just(f64::INFINITY), Just(0.0), -1.0..2.0_f64], 4),
        weights in prop::collection::vec(any::<u16>(), 4),
        q in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -1.0..1.0_f64],
    ) {
        let (mut state, mut outcome) = pool(&EQUAL, 200.0);
        for ((known, number), weight) in state.backends.values_mut().zip(&numbers).zip(&weights) {
            (known.capacity_per_second, known.in_force) = (Some(*number), *weight);
        }
        for (one, weight) in outcome.backends.iter_mut().zip(&weights) {
            one.in_force = *weight;
        }
        let facts = Facts { requests_per_second: q, ..Facts::default() };
        let verdict = guard(&Settings::default(), &state, &outcome, &facts);
        prop_assert!(verdict.shift.is_finite());
        if let Some((before, after)) = verdict.utilization {
            prop_assert!(before.is_finite() && after.is_finite());
        }
        for reason in &verdict.reasons {
            prop_assert!(!reason.to_string().contains("NaN"), "{reason}");
        }
    }
}
