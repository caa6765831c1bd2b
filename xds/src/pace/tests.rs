//! The rule's figures, and its properties: what must pass passes at once, what must wait waits no
//! longer than the bound, and planning again from what was pushed changes nothing.

use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::snapshot::Endpoint;

fn cluster(name: &str, weights: &[u32]) -> Cluster {
    let endpoint = |(port, weight): (usize, &u32)| {
        Endpoint::new(Ipv4Addr::LOCALHOST, port as u16 + 1, *weight)
    };
    Cluster::new(name, weights.iter().enumerate().map(endpoint).collect())
}

fn snapshot(version: &str, clusters: &[Cluster]) -> Snapshot {
    Snapshot { version: version.into(), clusters: clusters.to_vec(), listeners: Vec::new() }
}

fn traffic(requests_per_second: f64, workers: u32) -> Traffic {
    Traffic { requests_per_second, workers }
}

const fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

#[test]
fn the_interval_follows_weights_rate_and_workers() {
    let settings = PaceSettings::default();
    let weights = cluster("a", &[100, 50, 10]);
    let cases = [
        // 5 rounds of 16 requests.
        (1_000.0, 1, ms(1_000)),
        (80.0, 1, ms(1_000)),
        (40.0, 1, ms(2_000)),
        (40.0, 2, ms(4_000)),
        (40.0, 0, ms(2_000)),
        (8.0, 1, ms(10_000)),
        (1.0, 1, ms(10_000)),
        (0.0, 1, ms(1_000)),
        (-0.0, 4, ms(1_000)),
        (-1.0, 1, ms(10_000)),
        (f64::NAN, 1, ms(10_000)),
        (f64::MIN_POSITIVE, 1, ms(10_000)),
        (f64::INFINITY, 1, ms(1_000)),
    ];
    for (rate, workers, expected) in cases {
        let got = interval(&settings, &weights, traffic(rate, workers));
        assert_eq!(got, expected, "{rate} requests/s, {workers} workers");
    }
    let equal = cluster("a", &[7, 7]);
    assert_eq!(interval(&settings, &equal, traffic(5.0, 1)), ms(2_000), "5 rounds of 2 requests");
}

#[test]
fn endpoints_that_get_nothing_do_not_count() {
    let mut drained = cluster("a", &[100, 100, 1]);
    drained.endpoints[2].health = Health::Drain;
    let settings = PaceSettings::default();
    assert_eq!(interval(&settings, &drained, traffic(5.0, 1)), ms(2_000));
    let empty = cluster("a", &[]);
    assert_eq!(interval(&settings, &empty, traffic(5.0, 1)), settings.min_interval);
}

#[test]
fn changes_are_told_apart() {
    let old = cluster("a", &[1, 2]);
    let mut turned = old.clone();
    turned.endpoints.reverse();
    assert_eq!(Change::between(&old, &turned), Change::None);
    assert_eq!(Change::between(&old, &cluster("a", &[1, 3])), Change::Weights);
    assert_eq!(Change::between(&old, &cluster("a", &[1, 2, 3])), Change::Urgent);
    let mut drained = cluster("a", &[9, 2]);
    drained.endpoints[1].health = Health::Drain;
    assert_eq!(Change::between(&old, &drained), Change::Urgent);
    assert_eq!(Change::between(&old, &Cluster { http2: true, ..old.clone() }), Change::Urgent);
}

#[test]
fn weights_wait_and_then_pass() {
    let (one, two) = (cluster("a", &[1, 1]), cluster("a", &[2, 1]));
    let (first, second) = (snapshot("1", &[one]), snapshot("2", &[two]));
    let mut pacer = Pacer::new(PaceSettings::default());
    pacer.pushed(ms(500), &Snapshot::default(), &first);
    let fast = |_: &str| traffic(1_000.0, 1);
    let early = pacer.plan(ms(1_000), &first, &second, fast);
    assert_eq!(early, Plan { push: None, wait: Some(ms(500)) });
    let due = pacer.plan(ms(1_500), &first, &second, fast);
    assert_eq!(due, Plan { push: Some(second), wait: None });
}

#[test]
fn a_drain_passes_at_once_and_other_clusters_keep_their_weights() {
    let (a, b) = (cluster("a", &[1, 1]), cluster("b", &[1, 1]));
    let first = snapshot("1", &[a, b.clone()]);
    let mut pacer = Pacer::new(PaceSettings::default());
    pacer.pushed(ms(0), &Snapshot::default(), &first);
    let mut drained = cluster("a", &[5, 1]);
    drained.endpoints[1].health = Health::Drain;
    let wanted = snapshot("2", &[drained.clone(), cluster("b", &[5, 1])]);
    let plan = pacer.plan(ms(10), &first, &wanted, |_| traffic(1_000.0, 1));
    let pushed = snapshot("2/1", &[drained, b]);
    assert_eq!(plan, Plan { push: Some(pushed.clone()), wait: Some(ms(990)) });
    // The drain made the schedule of `a` anew: its weights wait from now, those of `b` do not.
    pacer.pushed(ms(10), &first, &pushed);
    let wanted = snapshot("3", &[pushed.clusters[0].clone(), cluster("b", &[5, 1])]);
    let plan = pacer.plan(ms(1_000), &pushed, &wanted, |_| traffic(1_000.0, 1));
    assert_eq!(plan.push, Some(wanted));
}

#[test]
fn a_push_of_a_part_has_a_version_of_its_own() {
    assert_eq!(partial("7", "6"), "7/1");
    assert_eq!(partial("7", "7/1"), "7/2");
    assert_eq!(partial("7", "77/1"), "7/1");
    assert_eq!(partial("7", "7/x"), "7/1");
}

#[test]
fn a_cluster_that_went_is_forgotten() {
    let first = snapshot("1", &[cluster("a", &[1, 1])]);
    let mut pacer = Pacer::new(PaceSettings::default());
    pacer.pushed(ms(0), &Snapshot::default(), &first);
    pacer.pushed(ms(1), &first, &Snapshot::default());
    assert!(pacer.last.is_empty());
}

fn any_cluster(name: &'static str) -> impl Strategy<Value = Cluster> {
    (prop::collection::vec((1..=300_u32, any::<bool>()), 0..4), any::<bool>()).prop_map(
        move |(endpoints, http2)| {
            let weights: Vec<u32> = endpoints.iter().map(|(weight, _)| *weight).collect();
            let mut cluster = Cluster { http2, ..cluster(name, &weights) };
            for (endpoint, (_, drained)) in cluster.endpoints.iter_mut().zip(&endpoints) {
                endpoint.health = if *drained { Health::Drain } else { Health::Ready };
            }
            cluster
        },
    )
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    (any_cluster("a"), any_cluster("b"), any::<bool>()).prop_map(|(a, b, both)| {
        let clusters = if both { vec![a, b] } else { vec![b] };
        snapshot("x", &clusters)
    })
}

proptest! {
    #[test]
    fn a_plan_holds_back_weights_alone_and_not_for_long(
        steps in prop::collection::vec((any_snapshot(), 0..3_000_u64, -1.0..500.0_f64), 1..40),
    ) {
        let settings = PaceSettings::default();
        let mut pacer = Pacer::new(settings);
        let (mut in_force, mut now) = (Snapshot::default(), Duration::ZERO);
        let mut versions = std::collections::HashSet::new();
        // Each is wanted for a while.
        let steps = steps.iter().enumerate().flat_map(|(step, one)| [(step, one); 3]);
        for (step, (wanted, passed, rate)) in steps {
            let (wanted, passed, rate) = (wanted.clone(), *passed, *rate);
            let wanted = Snapshot { version: step.to_string(), ..wanted };
            now += ms(passed);
            let plan = pacer.plan(now, &in_force, &wanted, |_| traffic(rate, 1));
            prop_assert!(plan.wait.is_none_or(|wait| !wait.is_zero() && wait <= settings.max_wait));
            if let Some(pushed) = plan.push {
                for (pushed, wanted) in pushed.clusters.iter().zip(&wanted.clusters) {
                    prop_assert_ne!(Change::between(pushed, wanted), Change::Urgent);
                    let old = in_force.clusters.iter().find(|old| old.name == pushed.name);
                    let weights = old.is_some_and(|old| Change::between(old, pushed) == Change::Weights);
                    let last = pacer.last.get(&pushed.name).copied();
                    prop_assert!(!weights || last.is_none_or(|last| now >= last + settings.min_interval));
                }
                pacer.pushed(now, &in_force, &pushed);
                prop_assert!(versions.insert(pushed.version.clone()), "a version used twice");
                in_force = pushed;
                let again = pacer.plan(now, &in_force, &wanted, |_| traffic(rate, 1));
                prop_assert_eq!(again.push, None);
            }
            // Nothing waits for ever.
            let later = now + settings.max_wait;
            let plan = pacer.plan(later, &in_force, &wanted, |_| traffic(rate, 1));
            prop_assert_eq!(plan.wait, None);
        }
    }
}
