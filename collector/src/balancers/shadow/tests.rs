//! Pools whose truth is known.

use flyball_model::balance::envelope::Reason;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    BackendGroup, BackendServer, BalancerReport, BalancerState, Target, UtilizationSource,
    WeightMeaning,
};

use super::*;
use crate::balancers::pool::{Inputs, Known, pools};

const WINDOW_MS: i64 = 5_000;

/// Weight, share in use and state of each backend at each balancer; 300 requests each.
type Made = [(u32, f64, BackendState)];

fn pool(balancers: &[&Made]) -> Pool {
    let known = balancers.iter().enumerate().map(|(at, servers)| {
        let server =
            |(at, (weight, used, state)): (usize, &(u32, f64, BackendState))| BackendServer {
                requests: 300,
                state: *state,
                utilization: Some((*used, UtilizationSource::Orca)),
                ..BackendServer::new(format!("s{at}"), format!("10.0.0.{at}:80"), *weight)
            };
        let target = Target::new("haproxy", "edge");
        let mut report = BalancerReport::new(target, BalancerState::Up, 1);
        report.window_ms = WINDOW_MS as u32;
        report.groups = vec![BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: servers.iter().enumerate().map(server).collect(),
        }];
        let report = Arc::new(report);
        Known {
            node: NodeName::new(&format!("lb-{at}")).unwrap(),
            machine: at.to_string(),
            whole: Some(Arc::clone(&report)),
            report,
            age_ms: 100,
        }
    });
    let balancers: Vec<Known> = known.collect();
    let mut found = pools(&Inputs { balancers: &balancers, words: &[], hosts: &[] });
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn ready(weights: &[u32], used: &[f64]) -> Vec<(u32, f64, BackendState)> {
    let one = |(weight, used): (&u32, &f64)| (*weight, *used, BackendState::Ready);
    weights.iter().zip(used).map(one).collect()
}

fn shadow() -> Shadow {
    Shadow::new(law::Settings::default())
}

/// The next window, of a pool that is always the same one.
fn next(shadow: &mut Shadow, window: &mut i64, pool: Pool) -> Arc<PoolEstimate> {
    *window += 1;
    shadow.close(vec![(1, pool)], *window * WINDOW_MS).remove(0)
}

fn weight_of(shares: &[(String, u16)], at: usize) -> u16 {
    shares.iter().find(|(id, _)| *id == format!("10.0.0.{at}:80")).unwrap().1
}

#[test]
fn weights_of_a_pool_are_means_over_the_balancers_that_give_requests() {
    let (one, two) = (ready(&[100, 50], &[0.5, 0.5]), ready(&[6, 2], &[0.5, 0.5]));
    let both = shares(&pool(&[&one, &two]));
    assert_eq!((weight_of(&both, 0), weight_of(&both, 1)), (256, 107), "of 0.5 and 0.33");
    let mut down = two.clone();
    down[1].2 = BackendState::Down;
    let one_only = shares(&pool(&[&one, &down]));
    assert_eq!(weight_of(&one_only, 1), 128, "what is down there has no weight there");
    let mut out = one.clone();
    out[1].2 = BackendState::Drain;
    let neither = shares(&pool(&[&out, &down]));
    assert_eq!(weight_of(&neither, 1), 107, "of none the mean of all");
    let idle = ready(&[0, 0], &[0.5, 0.5]);
    assert_eq!(weight_of(&shares(&pool(&[&one, &idle])), 1), 128, "it sends nothing anywhere");
}

#[test]
fn slow_start_is_of_what_comes_back() {
    let all = ready(&[100, 100], &[0.5, 0.5]);
    let mut down = all.clone();
    down[1].2 = BackendState::Down;
    let (mut shadow, mut at) = (shadow(), 0);
    let mut news = |made: &Made| {
        let estimate = next(&mut shadow, &mut at, pool(&[made]));
        estimate.windows.iter().map(|window| window.is_new).collect::<Vec<_>>()
    };
    assert_eq!(news(&all), [false, false], "at the start all have long been there");
    assert_eq!(news(&down), [false, false]);
    assert_eq!(news(&all), [false, true], "it comes");
    assert_eq!(news(&all), [false, false]);
    let mut drained = all.clone();
    drained[1].2 = BackendState::Drain;
    assert_eq!(news(&drained), [false], "taken out");
    assert_eq!(news(&all), [false, true]);
}

/// Two backends of which the second one can do a ninth.
fn unlike(weights: [u32; 2]) -> Pool {
    let used = [0.1, 0.9];
    pool(&[&ready(&weights, &used), &ready(&weights, &used)])
}

#[test]
fn what_is_held_back_leaves_the_law_at_what_is_in_force() {
    let (mut shadow, mut at) = (shadow(), 0);
    for window in 0..4 {
        let estimate = next(&mut shadow, &mut at, unlike([100, 100]));
        let wanted = estimate.wanted["10.0.0.1:80"];
        assert!((95..=103).contains(&wanted), "one step in window {window}: {wanted}");
        shadow.held(1);
    }
    // In shadow, where nothing is to be pushed, it goes on to what it wants.
    for _ in 0..4 {
        next(&mut shadow, &mut at, unlike([100, 100]));
    }
    let estimate = next(&mut shadow, &mut at, unlike([100, 100]));
    assert!(estimate.wanted["10.0.0.1:80"] < 50, "{:?}", estimate.wanted);
}

#[test]
fn a_push_that_no_balancer_shows_is_not_in_force() {
    let (mut shadow, mut at) = (shadow(), 0);
    next(&mut shadow, &mut at, unlike([100, 100]));
    let told = Verdict {
        weights: Some([("10.0.0.0:80".to_owned(), 256), ("10.0.0.1:80".to_owned(), 128)].into()),
        reasons: vec![Reason::NothingLeft],
        shift: 0.1,
        utilization: None,
    };
    let in_force = |estimate: &PoolEstimate| estimate.state.backends["10.0.0.1:80"].in_force;
    shadow.settle(1, &told, 0);
    let first = next(&mut shadow, &mut at, unlike([100, 100]));
    assert_eq!(in_force(&first), 128, "it has a window's time");
    let second = next(&mut shadow, &mut at, unlike([100, 100]));
    assert_eq!(in_force(&second), 256, "nobody has done it");
    shadow.settle(1, &told, 0);
    let shown = next(&mut shadow, &mut at, unlike([100, 50]));
    assert_eq!(in_force(&shown), 128);
    let still = next(&mut shadow, &mut at, unlike([100, 50]));
    assert_eq!(in_force(&still), 128);
}

#[test]
fn a_window_counts_as_a_whole_one_whatever_reports_are_in_it() {
    let mut pool = pool(&[&ready(&[100, 100], &[0.5, 0.5])]);
    // Four reports of a second are in it.
    for backend in &mut pool.backends {
        (backend.requests, backend.errors, backend.requests_per_second) = (240, 20, 60.0);
    }
    let estimate = next(&mut shadow(), &mut 0, pool);
    let window = &estimate.windows[0];
    assert_eq!((window.requests, window.errors), (300, 25));
    assert!((estimate.capacities["10.0.0.0:80"] - 60.0 / (0.5 + 25.0 / 300.0)).abs() < 1e-9);
}

#[test]
fn requests_that_stay_tell_of_a_backend_that_looks_idle() {
    let (mut shadow, mut at) = (shadow(), 0);
    let mut rule = |requests: u64, in_flight: f64| {
        let mut pool = pool(&[&ready(&[100; 4], &[0.5; 4])]);
        for backend in &mut pool.backends {
            backend.in_flight = Some(1.2);
        }
        let last = pool.backends.last_mut().unwrap();
        (last.requests, last.in_flight) = (requests, Some(in_flight));
        last.requests_per_second = requests as f64 / 5.0;
        let estimate = next(&mut shadow, &mut at, pool);
        estimate.outcome.backends.last().unwrap().rule
    };
    for _ in 0..3 {
        rule(300, 1.2);
    }
    assert_eq!(rule(5, 250.0), flyball_model::balance::law::Rule::Hanging);
}
