//! Limits: when, how far down, in which steps, and over whom they are split.

use flyball_model::balance::limits::{least_above, least_step};
use flyball_model::rollout::{Change, Proposal};

use super::super::limits::under_way;
use super::*;

const KIND: &str = "balancer.limits";

/// Calm for long.
fn calm() -> Truth {
    Truth { rate: 300.0, ..Truth::default() }
}

/// So much that requests queue within the slow backend.
fn rush(truth: &Truth) -> Truth {
    Truth { rate: 580.0, ..truth.clone() }
}

/// A pool that is calm now, in which requests have queued before.
fn queued(truth: &Truth) -> PoolWatch {
    let pools = truth.watched(80);
    rush(truth).go_on(&pools, 8);
    truth.go_on(&pools, 2);
    pools
}

fn changes(proposal: &Proposal) -> impl Iterator<Item = &Change> {
    proposal.members.iter().flat_map(|member| &member.change)
}

/// What is to be set of a parameter, over all balancers.
fn sum(proposal: &Proposal, parameter: &str) -> u64 {
    let parts = changes(proposal).filter(|change| change.parameter == parameter);
    parts.map(|change| change.to.parse::<u64>().unwrap()).sum()
}

#[test]
fn limits_are_for_backends_in_which_requests_have_queued() {
    let pools = calm().watched(80);
    let reason = refused(&view_of(&pools, true), KIND);
    assert!(reason.contains("have not queued within it: 0 of 80 windows"), "{reason}");
    rush(&calm()).go_on(&pools, 5);
    let reason = refused(&view_of(&pools, true), KIND);
    assert!(reason.contains("5 of 85 windows took 1.5 times the 40.0 ms"), "{reason}");
    let proposal = suggested(&view_of(&queued(&calm()), true), KIND);
    assert_eq!(proposal.check(), Ok(()));
    // 193/s at the peak of 40 ms are 7.7: 10.0 + 2.8.
    assert_eq!(sum(&proposal, "maxconn:app/app2"), 13);
    assert!(changes(&proposal).all(|change| change.parameter.ends_with("/app2")), "of no other");
}

#[test]
fn while_more_is_under_way_than_agents_take_it_waits() {
    let pools = calm().watched(80);
    rush(&calm()).go_on(&pools, 8);
    let reason = refused(&view_of(&pools, true), KIND);
    assert!(
        reason.contains("10.0.0.2:80: wait until less is under way: of a limit of 13"),
        "{reason}"
    );
    assert!(reason.contains("19.3 are under way and 25 is the least"), "{reason}");
    assert!(reason.contains("at 4 of 4 balancers"), "{reason}");
    calm().go_on(&pools, 1);
    let view = view_of(&pools, true);
    let proposal = suggested(&view, KIND);
    for change in changes(&proposal) {
        let own = view.estimate.pool.backend("10.0.0.2:80").unwrap();
        let most = own.placements.iter().filter_map(|one| one.server.in_flight).fold(0.0, f64::max);
        for step in change.steps().unwrap() {
            assert!(step.parse::<u64>().unwrap() >= least_above(most), "agents take {step}");
        }
    }
}

#[test]
fn a_peak_of_normal_traffic_is_not_held_up() {
    // A third of the time twice as much as else, and never so that requests queue.
    let truth = Truth { capacities: vec![4_000.0, 4_000.0, 2_000.0], ..calm() };
    let pools = truth.watched(80);
    Truth { rate: 600.0, ..truth.clone() }.go_on(&pools, 40);
    truth.go_on(&pools, 2);
    let mut view = view_of(&pools, true);
    for window in view.past.iter_mut().take(8) {
        let slow = window.latencies_ms.get_mut("10.0.0.2:80").unwrap();
        *slow *= 10.0;
    }
    let total = sum(&suggested(&view, KIND), "maxconn:app/app2");
    let peak = 200.0 * 0.002 / 0.9;
    assert!(total as f64 >= 1.25 * peak && total == 8, "{total} where {peak} are under way");
    // One window of a third more is no peak; a share that has grown since makes it a higher one.
    let before = view.past[100].requests_per_second;
    view.past[100].requests_per_second *= 100.0;
    assert_eq!(sum(&suggested(&view, KIND), "maxconn:app/app2"), 8);
    view.past[100].requests_per_second = before;
    let pool = &mut Arc::make_mut(&mut view.estimate).pool;
    let slow = pool.backends.iter_mut().find(|one| one.id == "10.0.0.2:80").unwrap();
    slow.share = Some(1.0);
    for window in &mut view.past {
        window.requests_per_second *= 100.0;
    }
    assert!(sum(&suggested(&view, KIND), "maxconn:app/app2") > 100);
}

#[test]
fn too_few_windows_or_requests_say_nothing() {
    let reason = refused(&view_of(&calm().watched(59), true), KIND);
    assert!(reason.contains("59 windows of its past with 50 requests are known"), "{reason}");
    let few = Truth { rate: 24.0, ..calm() };
    let reason = refused(&view_of(&few.watched(80), true), KIND);
    assert!(reason.contains("0 windows of its past with 50 requests are known"), "{reason}");
}

#[test]
fn a_limit_that_is_near_stays() {
    let near = Truth { limit: Some(12), ..calm() };
    let reason = refused(&view_of(&queued(&near), true), KIND);
    assert!(reason.contains("its limit of 48 is near the 13"), "{reason}");
}

#[test]
fn a_limit_is_lowered_in_steps_that_agents_take() {
    let limited = Truth { limit: Some(400), ..calm() };
    let proposal = suggested(&view_of(&queued(&limited), true), KIND);
    for change in changes(&proposal) {
        let steps = change.steps().unwrap();
        assert_eq!(change.from, "400");
        assert!(steps.len() >= 6 && steps.last() == Some(&change.to), "{steps:?}");
        let mut now = 400;
        for step in steps {
            let step = step.parse().unwrap();
            assert!(step < now && step >= least_step(now), "{now} to {step}");
            now = step;
        }
    }
    let first = proposal.members[0].steps().unwrap();
    assert_eq!(first[0].values().collect::<Vec<_>>(), ["200"], "{first:?}");
}

#[test]
fn where_there_was_no_limit_there_is_one_step() {
    let proposal = suggested(&view_of(&queued(&calm()), true), KIND);
    for change in changes(&proposal) {
        assert_eq!((&*change.from, change.steps().unwrap()), ("0", vec![change.to.clone()]));
    }
}

/// The value that a balancer gets of a parameter.
fn of(proposal: &Proposal, balancer: &str, parameter: &str) -> Option<u64> {
    let member = proposal.members.iter().find(|member| member.target.id.0 == balancer)?;
    let change = member.change.iter().find(|change| change.parameter == parameter)?;
    Some(change.to.parse().unwrap())
}

#[test]
fn an_envoy_gets_one_limit_for_all_backends_with_more_room() {
    let envoys = Truth { envoys: 4, ..calm() };
    let view = view_of(&queued(&envoys), true);
    let proposal = suggested(&view, KIND);
    assert_eq!((proposal.check(), proposal.members.len()), (Ok(()), 4));
    for change in changes(&proposal) {
        // A quarter of 193/s at the peak of 13.3, 13.3 and 40 ms is 3.2: 6.4 + 5.4.
        assert_eq!(
            (&*change.parameter, &*change.from, &*change.to),
            ("max_requests:app", "1024", "12")
        );
        let mut now = 1_024;
        for step in change.steps().unwrap() {
            let step = step.parse().unwrap();
            assert!(step < now && step >= least_step(now), "{now} to {step}");
            now = step;
        }
    }
    let details = crate::suggest::draft::Details::of(&proposal).unwrap();
    let reasons = details.risk.reasons.join("; ");
    assert!(reasons.contains("fails at once, with a 503"), "{reasons}");
    assert!(!reasons.contains("wait at the balancer"), "{reasons}");
    let near = Truth { cluster_limit: 40, ..envoys.clone() };
    let reason = refused(&view_of(&queued(&near), true), KIND);
    assert!(reason.contains("envoy:lb-3:edge: its limit of 40 is near the 12"), "{reason}");
    let pools = envoys.watched(80);
    rush(&envoys).go_on(&pools, 8);
    let reason = refused(&view_of(&pools, true), KIND);
    let words = "wait until less is under way: the limit of envoy:lb-0:edge would be 12, where";
    assert!(reason.contains(words), "{reason}");
}

#[test]
fn haproxys_and_envoys_of_one_pool_get_each_what_they_know() {
    let mixed = Truth { envoys: 2, limit: Some(400), ..calm() };
    let proposal = suggested(&view_of(&queued(&mixed), true), KIND);
    assert_eq!((proposal.check(), proposal.members.len()), (Ok(()), 4));
    for envoy in ["envoy:lb-0:edge", "envoy:lb-1:edge"] {
        assert_eq!(of(&proposal, envoy, "max_requests:app"), Some(12));
    }
    // Of 13 at the backend two get 3 each, and the Envoys the rest in their own limits.
    for haproxy in ["haproxy:lb-2:edge", "haproxy:lb-3:edge"] {
        assert_eq!(of(&proposal, haproxy, "maxconn:app/app2"), Some(3), "{haproxy}");
        assert_eq!(of(&proposal, haproxy, "max_requests:app"), None);
    }
    let reasons = crate::suggest::draft::Details::of(&proposal).unwrap().risk.reasons.join("; ");
    assert!(reasons.contains("at 2 balancers with one limit"), "{reasons}");
    // What is limited already stays, and the others get theirs.
    let part = Truth { limit: Some(5), ..mixed.clone() };
    let proposal = suggested(&view_of(&queued(&part), true), KIND);
    assert!(changes(&proposal).all(|change| change.parameter == "max_requests:app"));
    let part = Truth { cluster_limit: 20, ..mixed };
    let proposal = suggested(&view_of(&queued(&part), true), KIND);
    assert!(changes(&proposal).all(|change| change.parameter == "maxconn:app/app2"));
    let none = Truth { limit: Some(5), ..part };
    let reason = refused(&view_of(&queued(&none), true), KIND);
    assert!(
        reason.contains("limit of 10 is near the 6")
            && reason.contains("limit of 20 is near the 12"),
        "{reason}"
    );
}

#[test]
fn of_a_balancer_that_measures_nothing_it_is_not_known_what_is_under_way() {
    let mixed = Truth { envoys: 1, ..calm() };
    let mut view = view_of(&queued(&mixed), true);
    let pool = &mut Arc::make_mut(&mut view.estimate).pool;
    pool.members[0].window_ms = 0;
    for backend in &mut pool.backends {
        let server = &mut backend.placements[0].server;
        (server.in_flight, server.latency_ms, server.requests) = (None, None, 0);
    }
    let reason = refused(&view, KIND);
    assert!(reason.contains("what envoy:lb-0:edge has under way there is not known"), "{reason}");
}

#[test]
fn what_is_under_way_is_counted_or_follows_from_rate_and_latency() {
    let view = rush(&calm()).view();
    let of = &view.estimate.pool.members[0];
    let mut server = BackendServer::new("a", "10.0.0.1:80", 100);
    assert_eq!(under_way(of, &server), Some(0.0), "it had no requests");
    server.requests = 1_000;
    assert_eq!(under_way(of, &server), None, "requests of a window are none that are under way");
    server.latency_ms = Some(20.0);
    assert_eq!(of.window_ms, 5_000);
    assert!((under_way(of, &server).unwrap() - 4.0).abs() < 1e-9, "200/s of 20 ms");
    server.in_flight = Some(7.0);
    assert_eq!(under_way(of, &server), Some(7.0));

    let mut view = view_of(&queued(&calm()), true);
    for backend in &mut Arc::make_mut(&mut view.estimate).pool.backends {
        let server = &mut backend.placements[1].server;
        (server.in_flight, server.latency_ms) = (None, None);
    }
    let reason = refused(&view, KIND);
    assert!(reason.contains("what haproxy:lb-1:edge has under way there is not known"), "{reason}");
}
