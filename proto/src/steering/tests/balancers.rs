//! Reports of load balancers.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::*;
use crate::v1;

prop_compose! {
    fn backends()(
        name in "[a-z0-9.:]{1,40}",
        state in select(vec![
            BackendState::Ready, BackendState::Drain, BackendState::Maint, BackendState::Down,
            BackendState::Ejected,
        ]),
        [weight_configured, weight, queue] in any::<[u32; 3]>(),
        [connect_errors, errors, requests] in any::<[u64; 3]>().prop_map(|mut counts| {
            counts.sort_unstable();
            counts
        }),
        [latency_ms, latency_p50_ms, latency_p99_ms, in_flight] in [
            option::of(0.0..1e6), option::of(0.0..1e6), option::of(0.0..1e6), option::of(0.0..1e6),
        ],
        limit in option::of(any::<u32>()),
        utilization in option::of((0.0..=1.0, select(vec![
            UtilizationSource::Orca, UtilizationSource::Limit, UtilizationSource::Host,
        ]))),
    ) -> BackendServer {
        BackendServer {
            address: format!("{name}:80"),
            name, state, weight_configured, weight, requests, errors, connect_errors, latency_ms,
            latency_p50_ms, latency_p99_ms, in_flight, queue, limit, utilization,
        }
    }
}

prop_compose! {
    fn groups()(
        name in "[a-z]{1,40}",
        limit in option::of(any::<u32>()),
        algorithm in "[a-z()0-9]{0,20}",
        weights in select(vec![
            WeightMeaning::Exact, WeightMeaning::WhenBusy, WeightMeaning::Draw,
            WeightMeaning::DrainOnly, WeightMeaning::None,
        ]),
        weights_note in "[ -~]{0,60}",
        queue: u32,
        latency in option::of((0.0..1e6, 0.0..1e6, 0.0..1e6)),
        mut backends in vec(backends(), 0..5),
    ) -> BackendGroup {
        backends.sort_by(|a, b| a.name.cmp(&b.name));
        backends.dedup_by(|a, b| a.name == b.name);
        let latency = latency.map(|(mean_ms, p50_ms, p99_ms)| Latency { mean_ms, p50_ms, p99_ms });
        BackendGroup { name, algorithm, weights, weights_note, queue, limit, latency, backends }
    }
}

prop_compose! {
    pub(super) fn reports()(
        name in "[a-z]{1,40}",
        state in select(vec![
            BalancerState::Up, BalancerState::Unreachable, BalancerState::Denied,
            BalancerState::Slow,
        ]),
        measured_at_ms: i64,
        window_ms: u32,
        mut groups in vec(groups(), 0..4),
        missing in vec("[ -~]{0,40}", 0..3),
        [reason, version, process] in ["[ -~]{0,60}", "[0-9.]{0,9}", "[a-z0-9]{0,20}"],
    ) -> BalancerReport {
        groups.sort_by(|a, b| a.name.cmp(&b.name));
        groups.dedup_by(|a, b| a.name == b.name);
        let target = Target::new("haproxy", name);
        BalancerReport { reason, version, process, window_ms, groups, missing,
            ..BalancerReport::new(target, state, measured_at_ms) }
    }
}

fn report() -> v1::BalancerReport {
    let backend = |name: &str| {
        v1::BackendServer::from(BackendServer::new(name, format!("127.0.0.1:{}", name.len()), 100))
    };
    v1::BalancerReport {
        kind: "haproxy".into(),
        name: "edge".into(),
        state: v1::BalancerState::Up.into(),
        groups: vec![v1::BackendGroup {
            name: "web".into(),
            weights: v1::WeightMeaning::Exact.into(),
            backends: vec![backend("a"), backend("bb")],
            ..v1::BackendGroup::default()
        }],
        ..v1::BalancerReport::default()
    }
}

#[test]
fn a_broken_report_names_its_field() {
    type Break = fn(&mut v1::BalancerReport);
    let breaks: [(&str, Break); 15] = [
        ("state", |r| r.state = 0),
        ("name", |r| r.name = String::new()),
        ("groups[1].name", |r| r.groups.push(r.groups[0].clone())),
        ("groups", |r| r.groups = vec![r.groups[0].clone(); 65]),
        ("groups", |r| r.groups[0].backends = vec![v1::BackendServer::default(); 513]),
        ("groups[0].name", |r| r.groups[0].name = String::new()),
        ("groups[0].weights", |r| r.groups[0].weights = 0),
        ("groups[0].latency.p99_ms", |r| {
            r.groups[0].latency = Some(v1::Latency { p99_ms: -1.0, ..v1::Latency::default() });
        }),
        ("groups[0].backends[1].name", |r| r.groups[0].backends[1].name = "a".into()),
        ("groups[0].backends[0].name", |r| r.groups[0].backends[0].name = "a".repeat(161)),
        ("groups[0].backends[0].errors", |r| r.groups[0].backends[0].errors = 1),
        ("groups[0].backends[0].latency_ms", |r| {
            r.groups[0].backends[0].latency_ms = Some(f64::NAN);
        }),
        ("groups[0].backends[0].utilization", |r| {
            r.groups[0].backends[0].utilization = Some(1.1);
            r.groups[0].backends[0].utilization_source = v1::UtilizationSource::Orca.into();
        }),
        ("groups[0].backends[0].utilization_source", |r| {
            r.groups[0].backends[0].utilization = Some(0.5);
        }),
        ("groups[0].backends[0].state", |r| r.groups[0].backends[0].state = 0),
    ];
    assert!(BalancerReport::try_from(report()).is_ok());
    for (field, change) in breaks {
        let mut broken = report();
        change(&mut broken);
        assert_eq!(BalancerReport::try_from(broken).unwrap_err().field, field);
    }
}

#[test]
fn a_backend_is_found_by_its_names() {
    let report = BalancerReport::try_from(report()).unwrap();
    let (group, backend) = report.backend("web", "bb").unwrap();
    assert_eq!((group.name.as_str(), backend.address.as_str()), ("web", "127.0.0.1:2"));
    assert!(report.backend("web", "c").is_none() && report.backend("api", "a").is_none());
}
