//! Rows in columns.

use std::sync::Arc;

use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    BackendGroup, BackendServer, BalancerReport, BalancerState, Target, WeightMeaning,
};

use super::*;
use crate::balancers::pool::{Inputs, Known, pools};

fn pool() -> Pool {
    let known = |node: &str| {
        let mut report = BalancerReport::new(Target::new("haproxy", "edge"), BalancerState::Up, 1);
        report.window_ms = 1_000;
        report.groups.push(BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: String::new(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: vec![
                BackendServer::new("a", "10.0.0.1:80", 1),
                BackendServer::new("b", "10.0.0.2:80", 1),
            ],
        });
        let report = Arc::new(report);
        Known {
            node: NodeName::new(node).unwrap(),
            machine: node.into(),
            whole: Some(Arc::clone(&report)),
            report,
            age_ms: 0,
        }
    };
    let balancers = [known("lb-1"), known("lb-2")];
    pools(&Inputs { balancers: &balancers, words: &[], hosts: &[] }).remove(0)
}

fn row(
    node: &str,
    backend: &str,
    window_ms: i64,
    (requests, weight): (u64, u32),
) -> BalancerWindow {
    BalancerWindow {
        node: node.into(),
        kind: "haproxy".into(),
        balancer: "edge".into(),
        backend: backend.into(),
        address: String::new(),
        window_ms,
        reports: 10,
        covered_ms: 10_000,
        requests,
        errors: requests / 10,
        connect_errors: 0,
        latency_sum_ms: requests as f64 * 20.0,
        latency_requests: requests,
        latency_p99_ms: None,
        in_flight: None,
        queue: 0,
        limit: None,
        utilization: Some(0.5),
        utilization_source: "orca".into(),
        weight,
        state: "ready".into(),
    }
}

#[test]
fn windows_are_summed_over_balancers_and_gaps_are_null() {
    let rows = [
        row("lb-1", "a", 0, (300, 1)),
        row("lb-1", "b", 0, (100, 1)),
        row("lb-2", "a", 0, (0, 1)),
        row("lb-1", "b", 10_000, (100, 1)),
        row("lb-9", "a", 10_000, (900, 1)),
    ];
    let found = history(&pool(), &rows, &[], 10_000);
    assert_eq!(found.times_ms, [0, 10_000]);
    let [a, b] = &found.backends[..] else { panic!("{found:?}") };
    assert_eq!((&*a.id, &*b.id), ("10.0.0.1:80", "10.0.0.2:80"));
    assert_eq!(a.requests_per_second, [Some(30.0), None]);
    assert_eq!(b.requests_per_second, [Some(10.0), Some(10.0)], "a stranger's rows are left out");
    assert_eq!((&a.share, &b.share), (&vec![Some(0.75), None], &vec![Some(0.25), Some(1.0)]));
    assert_eq!(a.latency_ms, [Some(20.0), None]);
    assert_eq!(a.error_ratio, [Some(0.1), None]);
    // The second balancer had no requests, so that its weights asked for nothing.
    assert_eq!(a.weight_share, [Some(0.5), None]);
    assert_eq!((a.utilization[0], a.utilization_source[0]), (Some(0.5), Some("orca")));
    assert_eq!(a.utilization[1], None);
}

#[test]
fn without_requests_balancers_weigh_alike_and_a_drained_backend_asks_for_nothing() {
    let drained = BalancerWindow { state: "drain".into(), ..row("lb-2", "b", 0, (0, 3)) };
    let rows = [
        row("lb-1", "a", 0, (0, 1)),
        row("lb-1", "b", 0, (0, 3)),
        row("lb-2", "a", 0, (0, 1)),
        drained,
    ];
    let found = history(&pool(), &rows, &[], 10_000);
    assert_eq!(found.backends[0].weight_share, [Some(0.625)]);
    assert_eq!(found.backends[1].weight_share, [Some(0.375)]);
    assert_eq!(
        (&found.backends[0].share, &found.backends[0].latency_ms),
        (&vec![None], &vec![None])
    );
}

/// A window of a balancer that tells what is under way and its limit, and no utilisation.
fn counted(node: &str, window_ms: i64, in_flight: f64, limit: Option<u32>) -> BalancerWindow {
    let row = row(node, "a", window_ms, (300, 1));
    BalancerWindow { in_flight: Some(in_flight), limit, utilization: None, ..row }
}

#[test]
fn what_is_under_way_over_the_limit_is_in_use_where_balancers_do_not_say_it() {
    let rows = [
        counted("lb-1", 0, 5.0, Some(20)),
        counted("lb-2", 0, 10.0, Some(20)),
        // One without a limit: how much the backend could take is not known.
        counted("lb-1", 10_000, 5.0, Some(20)),
        counted("lb-2", 10_000, 5.0, None),
        // Not counted: by Little's law 30 a second of 20 ms each.
        BalancerWindow { in_flight: None, ..counted("lb-1", 20_000, 0.0, Some(2)) },
    ];
    let found = history(&pool(), &rows, &[], 10_000);
    let [a, b] = &found.backends[..] else { panic!("{found:?}") };
    assert_eq!(a.utilization, [Some(0.375), None, Some(0.3)]);
    assert_eq!(a.utilization_source, [Some("limit"), None, Some("limit")]);
    assert_eq!(b.utilization, [None, None, None]);
}

#[test]
fn the_own_word_counts_first_and_then_the_larger_of_limit_and_host() {
    let rows = [0, 10_000, 20_000].map(|at| counted("lb-1", at, 5.0, Some(10)));
    let told = Told {
        words: [(20_000, 0.25)].into(),
        hosts: [(0, 0.75), (10_000, 0.125), (20_000, 0.75)].into(),
    };
    let found = history(&pool(), &rows, &[told], 10_000);
    let a = &found.backends[0];
    assert_eq!(a.utilization, [Some(0.75), Some(0.5), Some(0.25)]);
    assert_eq!(a.utilization_source, [Some("host"), Some("limit"), Some("orca")]);
}
