//! Each bound, by the message that names its field.

use std::net::Ipv4Addr;

use super::super::{Endpoint, Health, Route};
use super::*;

fn good() -> Snapshot {
    let endpoints = vec![
        Endpoint::new(Ipv4Addr::LOCALHOST, 1, 1),
        Endpoint::new(Ipv4Addr::LOCALHOST, 2, MAX_WEIGHT),
    ];
    let outlier = OutlierDetection {
        consecutive_5xx: 5,
        interval: Duration::from_secs(1),
        base_ejection: Duration::from_secs(30),
        max_ejection_percent: 10,
    };
    let web = Cluster { outlier_detection: Some(outlier), ..Cluster::new("web", endpoints) };
    let bind = Bind::Socket { address: Ipv4Addr::UNSPECIFIED.into(), port: 80 };
    Snapshot {
        version: "1".into(),
        clusters: vec![web, Cluster::new("empty", Vec::new())],
        listeners: vec![
            Listener { name: "front".into(), bind, routes: vec![Route::all("web")] },
            Listener { name: "grpc".into(), bind: Bind::Api, routes: vec![Route::all("web")] },
        ],
    }
}

fn outlier(snapshot: &mut Snapshot) -> &mut OutlierDetection {
    snapshot.clusters[0].outlier_detection.as_mut().unwrap()
}

type Break = fn(&mut Snapshot);

#[test]
fn a_good_snapshot_passes() {
    assert_eq!(good().check(), Ok(()));
    assert_eq!(Snapshot { version: "1".into(), ..Snapshot::default() }.check(), Ok(()));
}

#[test]
fn every_problem_names_its_field() {
    let cases: &[(&str, Break)] = &[
        ("version: empty", |s| s.version.clear()),
        ("version: 257 bytes, at most 256", |s| s.version = "x".repeat(257)),
        ("clusters[].name: holds a control character", |s| s.clusters[0].name = "a\nb".into()),
        ("clusters[].name: * means all names", |s| s.clusters[1].name = "*".into()),
        ("clusters[web].name: used twice", |s| s.clusters[1].name = "web".into()),
        ("clusters[web].connect_timeout: not more than 0", |s| {
            s.clusters[0].connect_timeout = Duration::ZERO;
        }),
        ("clusters[web].connect_timeout: more than 10,000 years", |s| {
            s.clusters[0].connect_timeout = Duration::MAX;
        }),
        ("clusters[web].panic_percent: 101 is more than 100 percent", |s| {
            s.clusters[0].panic_percent = 101;
        }),
        ("clusters[web].policy.choices: 1 is not 2 to 16", |s| {
            s.clusters[0].policy = Policy::LeastRequest { choices: 1 };
        }),
        ("clusters[web].policy: with locality_per_endpoint only round robin", |s| {
            s.clusters[0].policy = Policy::LeastRequest { choices: 2 };
            s.clusters[0].locality_per_endpoint = true;
        }),
        ("clusters[web].outlier_detection.interval: not more than 0", |s| {
            outlier(s).interval = Duration::ZERO;
        }),
        ("clusters[web].outlier_detection.base_ejection: not more than 0", |s| {
            outlier(s).base_ejection = Duration::ZERO;
        }),
        (
            "clusters[web].outlier_detection.max_ejection_percent: 200 is more than 100 percent",
            |s| {
                outlier(s).max_ejection_percent = 200;
            },
        ),
        ("clusters[web].endpoints[127.0.0.1:0].port: 0 is no port", |s| {
            s.clusters[0].endpoints[0].port = 0;
        }),
        ("clusters[web].endpoints[127.0.0.1:1]: used twice", |s| {
            s.clusters[0].endpoints[1].port = 1;
        }),
        ("clusters[web].endpoints[127.0.0.1:1].weight: 0 is not 1 to 65535", |s| {
            s.clusters[0].endpoints[0].weight = 0;
        }),
        ("clusters[web].endpoints[127.0.0.1:2].weight: 65536 is not 1 to 65535", |s| {
            s.clusters[0].endpoints[1].weight = MAX_WEIGHT + 1;
        }),
        ("clusters[web].endpoints[].priority: no endpoint of priority 0, but one of 1", |s| {
            for endpoint in &mut s.clusters[0].endpoints {
                endpoint.priority = 1;
            }
        }),
        ("clusters[web].endpoints[].priority: no endpoint of priority 1, but one of 2", |s| {
            s.clusters[0].endpoints[1].priority = 2;
        }),
        ("listeners[grpc].name: used twice", |s| s.listeners[0].name = "grpc".into()),
        ("listeners[grpc].bind: used by another listener", |s| {
            s.listeners[1].bind = s.listeners[0].bind;
        }),
        ("listeners[front].bind.port: 0 is no port", |s| {
            s.listeners[0].bind = Bind::Socket { address: Ipv4Addr::LOCALHOST.into(), port: 0 };
        }),
        ("listeners[front].routes: empty", |s| s.listeners[0].routes.clear()),
        ("listeners[grpc].routes[0].cluster: no cluster nope", |s| {
            s.listeners[1].routes[0].cluster = "nope".into();
        }),
        (
            "listeners[grpc].routes[0].prefix: does not begin with / or holds a control character",
            |s| s.listeners[1].routes[0].prefix = "api".into(),
        ),
        ("listeners[front].routes[0].timeout: not more than 0", |s| {
            s.listeners[0].routes[0].timeout = Some(Duration::ZERO);
        }),
    ];
    for (expected, break_it) in cases {
        let mut snapshot = good();
        break_it(&mut snapshot);
        let message = snapshot.check().map_err(|error| error.to_string());
        assert_eq!(message, Err((*expected).to_owned()));
    }
}

#[test]
fn the_sum_of_weights_stays_within_32_bits() {
    let mut snapshot = good();
    let address = |index: u32| Ipv4Addr::from(0x0a00_0000 + index);
    let full = |index: u32| Endpoint::new(address(index), 80, MAX_WEIGHT);
    // 65,537 times 65,535 is 2^32 - 1.
    snapshot.clusters[0].endpoints = (0..65_537).map(full).collect();
    assert_eq!(snapshot.check(), Ok(()));
    snapshot.clusters[0].endpoints.push(Endpoint::new(address(65_537), 80, 1));
    assert_eq!(snapshot.check().unwrap_err().field, "clusters[web].endpoints[].weight");
    // Of another priority it is another sum.
    snapshot.clusters[0].endpoints[65_537].priority = 1;
    assert_eq!(snapshot.check(), Ok(()));
}

#[test]
fn health_does_not_matter_to_the_check() {
    let mut snapshot = good();
    snapshot.clusters[0].endpoints[0].health = Health::Down;
    assert_eq!(snapshot.check(), Ok(()));
}
