//! Properties (a) to (f) of the law, its rules one by one, that of collapse in a file of its own, and the sentences that operators read.

mod collapse;
mod properties;

use super::*;
use crate::balance::MAX_WEIGHT;

const T_MS: i64 = 5_000;

fn window(id: &str, requests: u64, utilization: f64) -> BackendWindow {
    BackendWindow {
        id: id.into(),
        requests,
        errors: 0,
        utilization: Some(utilization),
        latency_ms: Some(20.0),
        // By Little's law.
        in_flight: Some(requests as f64 / 5.0 * 0.02),
        age_ms: 0,
        is_new: false,
    }
}

/// A pool of backends with these capacities (requests a second) at their present weights and `q` requests a second, after one window.
fn windows(state: &PoolState, capacities: &[(&str, f64)], q: f64) -> Vec<BackendWindow> {
    let weight = |id: &str| state.backends.get(id).map_or(1.0, |known| f64::from(known.in_force));
    let sum: f64 = capacities.iter().map(|(id, _)| weight(id)).sum();
    let seen = |(id, capacity): &(&str, f64)| {
        let rate = (q * weight(id) / sum).min(*capacity);
        window(id, (rate * 5.0) as u64, rate / capacity)
    };
    capacities.iter().map(seen).collect()
}

/// A loop without noise: what the law wants is in force in the next window.
struct Loop {
    settings: Settings,
    state: PoolState,
    now_ms: i64,
}

impl Loop {
    fn new(ids: &[&str]) -> Self {
        let state = PoolState::new(ids.iter().map(|id| (*id, 100)), 0);
        Self { settings: Settings::default(), state, now_ms: 0 }
    }

    fn step(&mut self, windows: &[BackendWindow]) -> LawOutcome {
        self.now_ms += T_MS;
        let outcome = Law::step(&self.settings, &mut self.state, windows, self.now_ms);
        if matches!(outcome.push, Push::Due { .. }) {
            for one in &outcome.backends {
                self.state.backends.get_mut(&one.id).unwrap().in_force = one.weight;
            }
            self.state.pushed_at_ms = Some(self.now_ms);
        }
        outcome
    }

    fn run(&mut self, capacities: &[(&str, f64)], q: f64, count: usize) -> LawOutcome {
        let mut outcome = None;
        for _ in 0..count {
            let seen = windows(&self.state, capacities, q);
            outcome = Some(self.step(&seen));
        }
        outcome.unwrap()
    }
}

fn of<'a>(outcome: &'a LawOutcome, id: &str) -> &'a BackendOutcome {
    outcome.backends.iter().find(|one| one.id == id).unwrap()
}

const POOL: [(&str, f64); 4] = [("a", 200.0), ("b", 200.0), ("c", 100.0), ("d", 66.0)];

#[test]
fn weights_follow_capacity_and_then_nothing_is_pushed() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    let outcome = pool.run(&POOL, 250.0, 20);
    let weights: Vec<u16> = outcome.backends.iter().map(|one| one.weight).collect();
    for (weight, wanted) in weights.iter().zip([256.0, 256.0, 128.0, 84.5]) {
        assert!((f64::from(*weight) / wanted - 1.0).abs() < 0.06, "{weights:?}");
    }
    assert_eq!(outcome.push, Push::Unmoved);
}

#[test]
fn lost_capacity_is_believed_at_once_and_gained_capacity_when_it_is_confirmed() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let half = [POOL[0], ("b", 100.0), POOL[2], POOL[3]];
    let outcome = pool.run(&half, 250.0, 1);
    let (b, a) = (of(&outcome, "b"), of(&outcome, "a"));
    assert_eq!(b.rule, Rule::FastDown);
    assert!((b.wanted / a.wanted - 0.5).abs() < 0.04, "{outcome:?}");
    assert!(a.step.abs() < 1e-12, "who has not changed does not move");
    pool.run(&half, 250.0, 5);

    let outcome = pool.run(&POOL, 250.0, 1);
    assert_eq!(of(&outcome, "b").rule, Rule::Unconfirmed);
    let outcome = pool.run(&POOL, 250.0, 1);
    assert_eq!(of(&outcome, "b").rule, Rule::ConfirmedUp);
    assert!(of(&outcome, "b").step <= 0.25);
}

#[test]
fn a_step_down_halves_at_most() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let outcome = pool.run(&[POOL[0], ("b", 40.0), POOL[2], POOL[3]], 250.0, 1);
    assert!((of(&outcome, "b").step + 0.70).abs() < 1e-12);
}

#[test]
fn few_requests_are_gathered_and_old_or_unknown_windows_hold() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let mut seen = windows(&pool.state, &POOL, 250.0);
    seen[1].requests = 30;
    seen[1].utilization = Some(30.0 / 5.0 / 50.0);
    seen[2].age_ms = 10_000;
    seen[3].utilization = None;
    let before = pool.state.clone();
    let outcome = pool.step(&seen);
    let few = Hold::FewRequests { requests: 30, needed: 50 };
    assert_eq!(of(&outcome, "b").rule, Rule::Held(few));
    let stale = Hold::Stale { age_ms: 10_000, limit_ms: 10_000 };
    assert_eq!(of(&outcome, "c").rule, Rule::Held(stale));
    assert_eq!(of(&outcome, "d").rule, Rule::Held(Hold::NoUtilization));
    for id in ["b", "c", "d"] {
        let smoothed = |state: &PoolState| state.backends[id].smoothed.unwrap();
        // Only the centre of all may have moved, by what is left of rounding.
        assert!((smoothed(&pool.state) - smoothed(&before)).abs() < 1e-3);
    }
    assert_eq!(outcome.valid, 1);
    // The same again makes 60: a quarter of its capacity is left, and that is seen.
    seen[0] = windows(&pool.state, &POOL, 250.0).remove(0);
    let outcome = pool.step(&seen);
    assert_eq!(of(&outcome, "b").rule, Rule::FastDown);
    let capacity = of(&outcome, "b").capacity_per_second.unwrap();
    assert!((capacity - 50.0).abs() < 1e-9, "{capacity}");
}

#[test]
fn who_is_not_measured_for_three_minutes_moves_to_the_median() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let blind = |pool: &Loop| {
        let mut seen = windows(&pool.state, &POOL, 250.0);
        seen[3].utilization = None;
        seen
    };
    for _ in 0..35 {
        let seen = blind(&pool);
        let outcome = pool.step(&seen);
        assert!(matches!(of(&outcome, "d").rule, Rule::Held(_)), "{outcome:?}");
    }
    let seen = blind(&pool);
    let outcome = pool.step(&seen);
    assert!(matches!(of(&outcome, "d").rule, Rule::Expired(_)));
    assert!((0.2..=0.25).contains(&of(&outcome, "d").step));
    for _ in 0..10 {
        let seen = blind(&pool);
        pool.step(&seen);
    }
    assert!((pool.state.backends["d"].weight - pool.state.backends["a"].weight).abs() < 1e-12);
}

#[test]
fn where_nobody_is_measured_nobody_is_moved() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let weights = |pool: &Loop| -> Vec<f64> {
        pool.state.backends.values().map(|known| known.weight).collect()
    };
    let before = weights(&pool);
    let night: Vec<_> = POOL.iter().map(|(id, _)| window(id, 0, 0.0)).collect();
    for _ in 0..100 {
        pool.step(&night);
    }
    assert_eq!(weights(&pool), before);
}

#[test]
fn a_failing_backend_goes_to_the_floor_at_once_and_comes_back_when_it_works() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    // It fails fast, so it looks idle.
    let mut seen = windows(&pool.state, &POOL, 250.0);
    (seen[0].errors, seen[0].utilization) = (seen[0].requests, Some(0.01));
    let outcome = pool.step(&seen);
    assert_eq!(of(&outcome, "a").rule, Rule::Failing);
    assert!(of(&outcome, "a").at_floor);
    assert_eq!(of(&outcome, "a").weight, 8);
    pool.run(&POOL, 250.0, 120);
    assert!(pool.state.backends["a"].weight > 0.95, "{:?}", pool.state);
}

#[test]
fn an_error_of_everybody_is_nobodys_fault() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let mut seen = windows(&pool.state, &POOL, 250.0);
    for one in &mut seen {
        one.errors = one.requests;
    }
    let outcome = pool.step(&seen);
    assert!(outcome.backends.iter().all(|one| one.rule != Rule::Failing), "{outcome:?}");
}

#[test]
fn errors_cost_in_proportion() {
    let mut pool = Loop::new(&["a", "b"]);
    let mut seen = vec![window("a", 500, 0.5), window("b", 500, 0.5)];
    seen[1].errors = 125;
    let outcome = pool.step(&seen);
    // 100 / (0.5 + 0.25) beside 100 / 0.5.
    let capacity = of(&outcome, "b").capacity_per_second.unwrap();
    assert!((capacity - 133.333).abs() < 0.01, "{capacity}");
}

#[test]
fn a_new_backend_starts_slowly() {
    let mut pool = Loop::new(&["a", "b", "c"]);
    let capacities = [("a", 100.0), ("b", 100.0), ("c", 100.0), ("new", 100.0)];
    pool.run(&capacities[..3], 150.0, 10);
    let mut ramps = Vec::new();
    for _ in 0..14 {
        let mut seen = windows(&pool.state, &capacities, 150.0);
        seen[3].is_new = true;
        let outcome = pool.step(&seen);
        ramps.push(of(&outcome, "new").ramp);
        assert!(of(&outcome, "new").wanted <= of(&outcome, "new").ramp * 1.01);
    }
    assert!((ramps[0] - 0.1).abs() < 1e-12);
    assert!((ramps[6] - 0.5).abs() < 1e-9, "{ramps:?}");
    assert!((ramps[13] - 1.0).abs() < 1e-12);
    assert!(ramps.is_sorted());
}

#[test]
fn latency_trims_within_its_stability_bound() {
    let settings = Settings { trim: 0.3, ..Settings::default() };
    let step = |utilization: f64| {
        let mut seen = vec![window("a", 500, utilization), window("b", 500, utilization)];
        (seen[0].latency_ms, seen[1].latency_ms) = (Some(10.0), Some(40.0));
        let mut state = PoolState::default();
        Law::step(&settings, &mut state, &seen, T_MS)
    };
    let outcome = step(0.5);
    assert!((outcome.trim - 0.3).abs() < 1e-12);
    let (a, b) = (&outcome.backends[0], &outcome.backends[1]);
    let ratio = a.capacity_per_second.unwrap() / b.capacity_per_second.unwrap();
    assert!((ratio - 4.0_f64.powf(0.3)).abs() < 1e-9, "{ratio}");
    assert!((step(0.9).trim - 0.5 * 0.1 / 0.9).abs() < 1e-9);
}

#[test]
fn a_push_waits_for_the_one_before() {
    let settings = Settings { push_every_ms: 8_000, ..Settings::default() };
    let mut pool = Loop { settings, ..Loop::new(&["a", "b", "c", "d"]) };
    assert!(matches!(pool.run(&POOL, 250.0, 1).push, Push::Due { .. }));
    let half = [POOL[0], ("b", 100.0), POOL[2], POOL[3]];
    assert_eq!(pool.run(&half, 250.0, 1).push, Push::TooSoon { wait_ms: 3_000 });
}

#[test]
fn noise_opens_the_gate_and_lowers_the_gain() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let mut quiet = Vec::new();
    for window in 0..60_u32 {
        let mut seen = windows(&pool.state, &POOL, 250.0);
        // 20 % up and down in turn.
        let noise = if window.is_multiple_of(2) { 1.2 } else { 0.8 };
        seen[1].utilization = seen[1].utilization.map(|used| used * noise);
        quiet.push(of(&pool.step(&seen), "b").wanted);
    }
    assert!(pool.state.backends["b"].mad > 0.1, "{:?}", pool.state);
    let late = &quiet[40..];
    let spread =
        late.iter().copied().fold(0.0, f64::max) - late.iter().copied().fold(1.0, f64::min);
    assert!(spread < 0.06, "{late:?}");
}

#[test]
fn operators_read_numbers_rule_and_result() {
    let mut pool = Loop::new(&["a", "b", "c", "d"]);
    pool.run(&POOL, 250.0, 20);
    let mut seen = windows(&pool.state, &[POOL[0], ("b", 100.0), POOL[2], POOL[3]], 250.0);
    seen[3].utilization = None;
    let lines = pool.step(&seen).explain();
    assert_eq!(lines.len(), 5);
    let starts = [
        "push: b moved most, from 2",
        "a: ",
        "b: 87.4 requests/s at 0.87 in use make 100.0 requests/s of capacity; -50 % is",
        "c: ",
        "d: held: its utilisation is not known; weight ",
    ];
    for (line, start) in lines.iter().zip(starts) {
        assert!(line.starts_with(start), "{line}\n{start}");
    }
    assert!(
        lines[2].contains("is beyond noise (-22 %), believed at once; moved by -4"),
        "{}",
        lines[2]
    );
}

#[test]
fn settings_name_what_is_out_of_bounds() {
    assert_eq!(Settings::default().validate(), Ok(()));
    let wrong = Settings { gain: f64::NAN, ..Settings::default() };
    let error = wrong.validate().unwrap_err();
    assert_eq!(error.to_string(), "gain of the weight law must be above 0 and up to 1");
}
