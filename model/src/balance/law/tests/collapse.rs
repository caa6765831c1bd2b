//! A backend that hangs: what makes it one, what does not, and its way back.

use super::*;

fn loop_of(settings: Settings) -> Loop {
    let mut pool = Loop { settings, ..Loop::new(&["a", "b", "c", "d"]) };
    pool.run(&POOL, 250.0, 20);
    pool
}

/// The next window, in which `b` ends as many requests and is so busy.
fn next(pool: &mut Loop, requests: u64, utilization: f64) -> LawOutcome {
    let mut seen = windows(&pool.state, &POOL, 250.0);
    seen[1] = window("b", requests, utilization);
    pool.step(&seen)
}

#[test]
fn a_backend_that_is_full_and_ends_next_to_nothing_goes_to_the_floor_at_once() {
    for requests in [0, 20, 60] {
        let mut pool = loop_of(Settings::default());
        let capacity = pool.state.backends["b"].capacity_per_second;
        let outcome = next(&mut pool, requests, 1.0);
        let b = of(&outcome, "b");
        assert_eq!((b.rule, b.weight, b.at_floor), (Rule::Collapsed, 8, true), "{requests}");
        assert!(of(&outcome, "a").step.abs() < 1e-12, "who has not changed does not move");
        assert_eq!(pool.state.backends["b"].capacity_per_second, capacity);
        let words = "it is full and ends next to nothing beside its weight, to the floor";
        assert!(outcome.explain()[2].contains(words), "{:?}", outcome.explain());
    }
}

#[test]
fn what_is_not_full_or_ends_its_share_has_not_collapsed() {
    let rule = |requests: u64, utilization: f64| {
        of(&next(&mut loop_of(Settings::default()), requests, utilization), "b").rule
    };
    let few = Rule::Held(Hold::FewRequests { requests: 20, needed: 50 });
    assert_eq!(rule(20, 0.05), few, "it got few requests");
    assert_eq!(rule(20, 0.5), few);
    assert_eq!(rule(400, 1.0), Rule::FastDown, "an agent that is wrong for a window");
    // An eighth is left, and that is no collapse.
    assert_eq!(rule(125, 1.0), Rule::FastDown);
}

#[test]
fn in_a_pool_with_hardly_any_requests_nobody_collapses() {
    let mut pool = loop_of(Settings::default());
    for _ in 0..2 {
        // Batch work fills b while the pool sleeps.
        let seen: Vec<_> = POOL.iter().map(|(id, _)| window(id, 3, 0.02)).collect();
        let seen = [seen[0].clone(), window("b", 3, 1.0), seen[2].clone(), seen[3].clone()];
        let outcome = pool.step(&seen);
        assert!(matches!(of(&outcome, "b").rule, Rule::Held(_)), "{outcome:?}");
    }
}

#[test]
fn what_lasts_a_second_is_no_collapse_and_what_lasts_two_is() {
    let settings = Settings { window_ms: 1_000, ..Settings::default() };
    let mut pool = loop_of(settings);
    let second = |pool: &mut Loop, ended: Option<u64>| {
        let mut seen = windows(&pool.state, &POOL, 250.0);
        for one in &mut seen {
            one.requests /= 5;
        }
        if let Some(requests) = ended {
            seen[1] = window("b", requests, 1.0);
        }
        of(&pool.step(&seen), "b").rule
    };
    second(&mut pool, None);
    assert!(matches!(second(&mut pool, Some(1)), Rule::Held(_)));
    assert!(pool.state.backends["b"].weight > 0.8);
    let mut stays = Loop { state: pool.state.clone(), ..loop_of(pool.settings.clone()) };
    assert_ne!(second(&mut stays, None), Rule::Collapsed);
    assert_eq!(second(&mut pool, Some(1)), Rule::Collapsed);
}

#[test]
fn what_was_held_back_is_wanted_again() {
    let mut pool = loop_of(Settings::default());
    let before = pool.state.backends["b"].in_force;
    assert_eq!(of(&next(&mut pool, 20, 1.0), "b").rule, Rule::Collapsed);
    pool.state.in_force([("b", before)]);
    assert_eq!(of(&next(&mut pool, 20, 1.0), "b").rule, Rule::Collapsed);
}

#[test]
fn few_requests_of_a_full_backend_are_believed_downwards_at_once() {
    let mut pool = loop_of(Settings { min_requests: 500, ..Settings::default() });
    // An eighth at most would be a collapse; this is a seventh at most.
    let outcome = next(&mut pool, 100, 1.0);
    let b = of(&outcome, "b");
    assert_eq!(b.rule, Rule::FastDown, "{b:?}");
    let at_most = b.capacity_per_second.unwrap();
    assert!((25.0..30.0).contains(&at_most), "{at_most}");
}

#[test]
fn nothing_at_all_keeps_it_at_the_floor_for_ever_and_work_brings_it_back() {
    let mut pool = loop_of(Settings::default());
    for _ in 0..200 {
        next(&mut pool, 0, 1.0);
    }
    assert!(pool.state.backends["b"].weight < 0.031, "{:?}", pool.state.backends["b"]);
    let mut weights = Vec::new();
    let mut rules = Vec::new();
    for _ in 0..40 {
        let outcome = pool.run(&POOL, 250.0, 1);
        weights.push(of(&outcome, "b").wanted);
        rules.push(of(&outcome, "b").rule);
    }
    assert!(rules.contains(&Rule::ConfirmedUp), "{rules:?}");
    assert!(weights.is_sorted(), "{weights:?}");
    assert!(weights.windows(2).all(|pair| pair[1] <= pair[0] * 1.29), "{weights:?}");
    assert!(weights[39] > 0.95, "{weights:?}");
}

#[test]
fn what_began_in_the_middle_of_a_window_is_a_collapse_after_the_next() {
    let settings = Settings { window_ms: 1_000, ..Settings::default() };
    let mut pool = loop_of(settings);
    let mut second = |seen_of_b: Option<(u64, f64)>| {
        let mut seen = windows(&pool.state, &POOL, 250.0);
        for one in &mut seen {
            one.requests /= 5;
        }
        if let Some((ended, utilization)) = seen_of_b {
            seen[1] = window("b", ended, utilization);
        }
        of(&pool.step(&seen), "b").rule
    };
    for _ in 0..8 {
        second(None);
    }
    assert_eq!(second(Some((13, 0.92))), Rule::FastDown, "half of what is believed already");
    assert_eq!(second(Some((2, 1.0))), Rule::Collapsed);
}

/// The next window, in which `b` looks idle, ends as many requests and has so many under way.
fn idle(pool: &mut Loop, requests: u64, in_flight: Option<f64>) -> LawOutcome {
    let mut seen = windows(&pool.state, &POOL, 250.0);
    seen[1] = BackendWindow { in_flight, ..window("b", requests, 0.03) };
    pool.step(&seen)
}

#[test]
fn a_backend_that_looks_idle_and_keeps_its_requests_hangs() {
    for requests in [0, 10, 30] {
        let mut pool = loop_of(Settings::default());
        let outcome = idle(&mut pool, requests, Some(200.0));
        let b = of(&outcome, "b");
        assert_eq!((b.rule, b.weight, b.at_floor), (Rule::Hanging, 8, true), "{requests}");
        assert!(of(&outcome, "a").step.abs() < 1e-12, "who has not changed does not move");
        let words = "its requests stay and next to none of its share end, to the floor";
        assert!(outcome.explain()[2].contains(words), "{:?}", outcome.explain());
    }
}

#[test]
fn what_has_few_requests_under_way_or_ends_a_quarter_does_not_hang() {
    let rule = |requests: u64, in_flight: Option<f64>| {
        of(&idle(&mut loop_of(Settings::default()), requests, in_flight), "b").rule
    };
    let few = |requests: u64| Rule::Held(Hold::FewRequests { requests, needed: 50 });
    assert_eq!(rule(10, Some(0.04)), few(10), "it got few");
    assert_eq!(rule(10, None), few(10), "nobody has counted");
    assert_eq!(rule(10, Some(f64::NAN)), few(10), "nobody has counted");
    assert!(!matches!(rule(80, Some(200.0)), Rule::Hanging | Rule::Collapsed), "a quarter ends");
    // Less than a quarter of some 290 is not there.
    assert_eq!(rule(0, Some(65.0)), few(0));
    assert_eq!(rule(0, Some(80.0)), Rule::Hanging);
}

#[test]
fn a_pause_of_an_idle_backend_counts_from_two_seconds_on() {
    let settings = Settings { window_ms: 1_000, ..Settings::default() };
    let mut pool = loop_of(settings);
    let mut second = |stands: Option<f64>| {
        let mut seen = windows(&pool.state, &POOL, 250.0);
        for one in &mut seen {
            one.requests /= 5;
        }
        if let Some(in_flight) = stands {
            seen[1] = BackendWindow { in_flight: Some(in_flight), ..window("b", 0, 0.02) };
        }
        of(&pool.step(&seen), "b").rule
    };
    second(None);
    assert!(matches!(second(Some(40.0)), Rule::Held(_)), "a second");
    assert_ne!(second(None), Rule::Hanging);
    for _ in 0..5 {
        second(None);
    }
    assert!(matches!(second(Some(40.0)), Rule::Held(_)));
    assert_eq!(second(Some(120.0)), Rule::Hanging, "two");
}

#[test]
fn requests_that_always_stay_long_are_no_sign() {
    let mut pool = loop_of(Settings::default());
    // Sockets that are kept open for long, and then hardly anybody opens another one.
    for requests in [440; 30].into_iter().chain([10]) {
        let mut seen = windows(&pool.state, &POOL, 250.0);
        seen[1] = window("b", requests, requests as f64 / 1_000.0);
        for one in &mut seen {
            one.in_flight = Some(one.requests as f64 / 5.0 * 22.0);
        }
        seen[1].in_flight = Some(2_000.0);
        assert_ne!(of(&pool.step(&seen), "b").rule, Rule::Hanging);
    }
}

#[test]
fn what_hangs_stays_at_the_floor_and_comes_back_when_requests_end() {
    // As many as its share at the floor, of a processor that does next to nothing: by that it could do all that it ever did.
    for requests in [0, 10, 15, 30] {
        let mut pool = loop_of(Settings::default());
        for _ in 0..200 {
            idle(&mut pool, requests, Some(200.0));
            let b = &pool.state.backends["b"];
            assert!(b.hangs && b.weight < 0.031, "{requests} ended: {b:?}");
        }
        let outcome = pool.run(&POOL, 250.0, 40);
        assert!(of(&outcome, "b").wanted > 0.95, "{requests} ended: {outcome:?}");
    }
}

#[test]
fn what_hangs_at_the_start_of_the_collector_is_found_as_soon_as_it_gets_more() {
    let mut pool = loop_of(Settings::default());
    idle(&mut pool, 10, Some(200.0));
    // A new collector begins with the weights that are in force.
    let in_force = pool.state.backends.iter().map(|(id, known)| (id.as_str(), known.in_force));
    let state = PoolState::new(in_force, pool.now_ms);
    let mut pool = Loop { state, ..loop_of(Settings::default()) };
    let largest = (0..200).map(|_| {
        idle(&mut pool, 15, Some(200.0));
        pool.state.backends["b"].weight
    });
    assert!(largest.fold(0.0, f64::max) < 0.4);
    assert!(pool.state.backends["b"].hangs && pool.state.backends["b"].weight < 0.031);
}

#[test]
fn a_backend_that_has_stopped_telling_its_utilisation_hangs_as_well() {
    for utilization in [None, Some(0.0)] {
        let mut pool = loop_of(Settings::default());
        let mut rules = Vec::new();
        for _ in 0..100 {
            let mut seen = windows(&pool.state, &POOL, 250.0);
            let told = BackendWindow { utilization, ..window("b", 3, 0.0) };
            seen[1] = BackendWindow { in_flight: Some(200.0), ..told };
            rules.push(of(&pool.step(&seen), "b").rule);
            let weight = pool.state.backends["b"].weight;
            assert!(weight < 0.031, "after its expiry as well: {weight} {rules:?}");
        }
        assert_eq!(rules[0], Rule::Hanging);
    }
}

#[test]
fn a_few_long_requests_that_a_balancer_steers_around_are_no_sign() {
    // Two choices by what is under way: three exports on one of four, so that it gets a seventh of its share.
    let mut pool = loop_of(Settings::default());
    let outcome = idle(&mut pool, 40, Some(58.0 * 0.02 + 3.0));
    assert!(!matches!(of(&outcome, "b").rule, Rule::Hanging), "{outcome:?}");
    let outcome = idle(&mut loop_of(Settings::default()), 40, Some(58.0 * 0.02 + 80.0));
    assert_eq!(of(&outcome, "b").rule, Rule::Hanging, "that is where they are");
}
