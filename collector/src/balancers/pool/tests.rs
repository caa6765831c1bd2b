//! Pools of made-up reports.

use proptest::prelude::*;

use super::*;
use UtilizationSource::{Host, Limit, Orca};

/// Servers of a balancer (last part of the address, weight, requests) and the age of its report.
type Made = (Vec<(u8, u32, u64)>, u64);

fn server(name: &str, address: &str, weight: u32, requests: u64) -> BackendServer {
    BackendServer { requests, latency_ms: Some(10.0), ..BackendServer::new(name, address, weight) }
}

fn group(name: &str, backends: Vec<BackendServer>) -> BackendGroup {
    BackendGroup {
        name: name.into(),
        limit: None,
        algorithm: "roundrobin".into(),
        weights: WeightMeaning::Exact,
        weights_note: String::new(),
        queue: 0,
        latency: None,
        backends,
    }
}

/// A balancer that is up, with a report of one second that is fresh.
fn known(node: &str, groups: Vec<BackendGroup>) -> Known {
    let target = Target::new("haproxy", "edge");
    let mut report = BalancerReport::new(target, BalancerState::Up, 1);
    (report.window_ms, report.groups) = (1_000, groups);
    let report = Arc::new(report);
    Known {
        node: NodeName::new(node).unwrap(),
        machine: node.to_owned(),
        whole: Some(Arc::clone(&report)),
        report,
        age_ms: 100,
    }
}

fn two() -> [Known; 2] {
    let first = vec![server("a", "10.0.0.1:80", 100, 300), server("b", "10.0.0.2:80", 100, 300)];
    let second = vec![
        server("10.0.0.1:80", "10.0.0.1:80", 3, 75),
        server("10.0.0.2:80", "10.0.0.2:80", 1, 25),
    ];
    [known("lb-1", vec![group("web", first)]), known("lb-2", vec![group("web", second)])]
}

fn of(balancers: &[Known]) -> Vec<Pool> {
    pools(&Inputs { balancers, words: &[], hosts: &[] })
}

fn with(balancers: &[Known], words: &[OrcaWord], hosts: &[HostLoad]) -> Backend {
    pools(&Inputs { balancers, words, hosts })[0].backends[0].clone()
}

#[test]
fn backends_at_one_address_are_one_whatever_balancers_call_them() {
    let mut both = two();
    let whole = |known: &mut Known, change: fn(&mut BalancerReport)| {
        let mut report = known.report.as_ref().clone();
        change(&mut report);
        known.report = Arc::new(report);
        known.whole = Some(Arc::clone(&known.report));
    };
    whole(&mut both[1], |report| {
        report.groups[0].backends[0].latency_ms = Some(50.0);
        report.groups[0].backends[0].errors = 15;
        report.groups[0].backends[0].latency_p99_ms = Some(80.0);
        report.groups[0].backends[0].queue = 2;
    });
    let pools = of(&both);
    assert_eq!(pools.len(), 1);
    let pool = &pools[0];
    assert_eq!((&*pool.id(), pool.members.len(), pool.requests), ("pool:web", 2, 700));
    assert_eq!(pool.members[1].id(), "haproxy:lb-2:edge");
    let backend = pool.backend("10.0.0.1:80").unwrap();
    let names: Vec<_> = backend.placements.iter().map(|one| &*one.server.name).collect();
    assert_eq!(names, ["a", "10.0.0.1:80"]);
    assert_eq!((backend.requests, backend.errors, backend.queue), (375, 15, 2));
    assert_eq!(backend.error_ratio(), Some(0.04));
    // (300 * 10 + 75 * 50) / 375
    assert_eq!(backend.latency_ms, Some(18.0));
    assert_eq!(backend.latency_p99_ms, Some(80.0));
    let close = |a: Option<f64>, b: f64| assert!((a.unwrap() - b).abs() < 1e-9, "{a:?} {b}");
    close(backend.share, 375.0 / 700.0);
    // Half of the 600 requests of the first, three quarters of the 100 of the second.
    close(backend.weight_share, 375.0 / 700.0);
}

#[test]
fn an_old_report_and_one_of_a_balancer_that_is_not_up_count_for_nothing_and_are_named() {
    let mut both = two();
    both[0].age_ms = 1_999;
    assert!(of(&both)[0].members[0].is_fresh(), "less than two windows");
    both[0].age_ms = 2_000;
    let pool = &of(&both)[0];
    assert_eq!(pool.missing().count(), 1);
    assert_eq!(pool.members[0].missing.as_deref(), Some("silent for 2.0 s"));
    assert_eq!((pool.requests, pool.window_ms, pool.backends[0].requests), (100, 1_000, 75));
    assert_eq!(pool.backends[0].age_ms, 100, "of the newest that has it");
    assert_eq!(pool.backends[0].weight_share, Some(0.75));

    let target = both[1].report.target.clone();
    let mut away = BalancerReport::new(target, BalancerState::Unreachable, 2);
    away.reason = "refused".into();
    both[1].report = Arc::new(away);
    let pool = &of(&both)[0];
    let reasons: Vec<_> = pool.members.iter().filter_map(|one| one.missing.as_deref()).collect();
    assert_eq!(reasons, ["silent for 2.0 s", "unreachable: refused"]);
    assert_eq!((pool.requests, pool.window_ms), (0, 0));
    let backend = &pool.backends[0];
    assert_eq!((backend.share, backend.weight_share, backend.utilization), (None, None, None));
    assert_eq!(backend.placements.len(), 2, "where it was is still known");
}

#[test]
fn groups_of_one_name_without_a_common_address_are_apart_and_none_keeps_the_plain_name() {
    let at = |node: &str, addresses: &[&str]| {
        let servers = addresses.iter().map(|address| server("s", address, 1, 1));
        let named =
            servers.enumerate().map(|(i, one)| BackendServer { name: i.to_string(), ..one });
        known(node, vec![group("web", named.collect())])
    };
    let apart = [at("lb-1", &["10.0.0.1:80"]), at("lb-2", &["10.0.0.2:80"])];
    let names =
        |all: &[Known]| -> Vec<String> { of(all).iter().map(|pool| pool.name.clone()).collect() };
    assert_eq!(names(&apart), ["web@haproxy:lb-1:edge", "web@haproxy:lb-2:edge"]);
    // A third has backends of both.
    let joined = [apart[0].clone(), apart[1].clone(), at("lb-3", &["10.0.0.1:80", "10.0.0.2:80"])];
    assert_eq!(names(&joined), ["web"]);
    assert_eq!(of(&joined)[0].members.len(), 3);
    // A group without backends is in no pool, and takes no name from another one.
    let empty = known("lb-0", vec![group("web", Vec::new())]);
    assert_eq!(names(&[empty, apart[0].clone()]), ["web"]);
}

#[test]
fn addresses_of_the_loopback_are_common_within_one_machine_only() {
    let at = |node: &str, machine: &str, address: &str| {
        let one = known(node, vec![group("app", vec![server("s", address, 1, 1)])]);
        Known { machine: machine.into(), ..one }
    };
    for address in ["127.0.0.1:80", "[::1]:80", "localhost:80", "/run/app.sock"] {
        let apart = [at("a", "m1", address), at("b", "m2", address)];
        assert_eq!(of(&apart).len(), 2, "{address}");
        let together = [at("a", "m1", address), at("b", "m1", address)];
        assert_eq!(of(&together).len(), 1, "{address}");
    }
    let mapped = [at("a", "m1", "[::ffff:10.0.0.1]:80"), at("b", "m2", "10.0.0.1:80")];
    assert_eq!(of(&mapped).len(), 1, "the same address");
    let names = [at("a", "m1", "App.example:80"), at("b", "m2", "app.example:80")];
    assert_eq!(of(&names).len(), 1);
    let unknown = [at("a", "m1", ""), at("b", "m1", "")];
    assert_eq!(of(&unknown).len(), 2, "what is not known is nothing in common");
    assert_eq!(
        (&*of(&unknown)[0].backends[0].id, &*of(&unknown)[0].backends[0].address),
        ("s", "")
    );
}

#[test]
fn utilisation_is_the_backends_own_word_or_the_larger_of_its_cpu_and_what_is_under_way() {
    let limited = |in_flight, limit| {
        let one = BackendServer { in_flight, limit, ..server("a", "10.0.0.1:80", 1, 100) };
        known("lb", vec![group("web", vec![one])])
    };
    let host = |cpu| {
        let addresses = vec!["10.0.0.1".parse().unwrap()];
        vec![HostLoad { machine: "h".into(), addresses, cpu: Some(cpu) }]
    };
    let word = |utilization, age_ms| OrcaWord {
        host: "10.0.0.1".into(),
        port: 80,
        machine: "h".into(),
        utilization,
        age_ms,
    };
    let busy = [limited(Some(8.0), Some(10))];
    assert_eq!(with(&busy, &[], &[]).utilization, Some((0.8, Limit)));
    assert_eq!(with(&busy, &[], &host(0.9)).utilization, Some((0.9, Host)), "the larger");
    assert_eq!(with(&busy, &[], &host(0.1)).utilization, Some((0.8, Limit)), "stuck, not idle");
    assert_eq!(with(&busy, &[word(0.3, 1)], &host(0.9)).utilization, Some((0.3, Orca)));
    let words = [word(0.3, 500), word(0.4, 100)];
    assert_eq!(with(&busy, &words, &[]).utilization, Some((0.4, Orca)), "the newest");
    let old = [word(0.3, load::WORD_MS)];
    assert_eq!(with(&busy, &old, &[]).utilization, Some((0.8, Limit)), "too old");
    let other = [OrcaWord { port: 81, ..word(0.3, 1) }];
    assert_eq!(with(&busy, &other, &[]).utilization, Some((0.8, Limit)), "another port");
    assert_eq!(with(&busy, &[word(f64::NAN, 1)], &[]).utilization, Some((0.8, Limit)));
    assert_eq!(with(&busy, &[word(1.7, 1)], &[]).utilization, Some((1.0, Orca)));
    let unlimited = [limited(Some(8.0), None)];
    assert_eq!(with(&unlimited, &[], &[]).utilization, None);
    assert_eq!(with(&unlimited, &[], &host(0.2)).utilization, Some((0.2, Host)));
    // 100 requests per second of 10 ms: one is under way on average.
    let uncounted = [limited(None, Some(10))];
    assert_eq!(with(&uncounted, &[], &[]).utilization, Some((0.1, Limit)));
    let far =
        vec![HostLoad { addresses: vec!["10.0.0.9".parse().unwrap()], ..host(0.9)[0].clone() }];
    assert_eq!(with(&uncounted, &[], &far).utilization, Some((0.1, Limit)), "of another host");
}

#[test]
fn what_is_under_way_is_summed_over_balancers_before_it_is_divided() {
    let at = |node: &str, in_flight, limit| {
        let one = BackendServer {
            in_flight: Some(in_flight),
            limit: Some(limit),
            ..server("a", "10.0.0.1:80", 1, 100)
        };
        known(node, vec![group("web", vec![one])])
    };
    let pool = &of(&[at("lb-1", 9.0, 10), at("lb-2", 1.0, 90)])[0];
    let backend = &pool.backends[0];
    assert_eq!((backend.in_flight, backend.limit), (Some(10.0), Some(100)));
    assert_eq!(backend.utilization, Some((0.1, UtilizationSource::Limit)));
}

#[test]
fn capacity_is_shared_by_requests_over_utilisation_of_those_that_get_any() {
    let one = |name: &str, state, requests, in_flight| BackendServer {
        state,
        in_flight: Some(in_flight),
        limit: Some(100),
        ..server(name, &format!("{name}:80"), 1, requests)
    };
    let servers = vec![
        one("a", BackendState::Ready, 100, 25.0),
        one("b", BackendState::Ready, 100, 75.0),
        one("c", BackendState::Drain, 0, 0.0),
    ];
    let mut balancer = known("lb", vec![group("web", servers)]);
    let shares = |known: &Known| -> Vec<Option<f64>> {
        let pool = of(std::slice::from_ref(known)).remove(0);
        pool.backends.iter().map(|backend| backend.capacity_share).collect()
    };
    // 400 and 133 requests per second.
    assert_eq!(shares(&balancer), [Some(0.75), Some(0.25), Some(0.0)]);
    let mut report = balancer.report.as_ref().clone();
    report.groups[0].backends[1].limit = None;
    balancer.whole = Some(Arc::new(report));
    assert_eq!(shares(&balancer), [None, None, None], "of one it is not known");
}

#[test]
fn a_backend_is_ready_where_any_balancer_gives_it_requests() {
    let mut both = two();
    let mut report = both[0].report.as_ref().clone();
    report.groups[0].backends[0].state = BackendState::Drain;
    both[0].whole = Some(Arc::new(report));
    let pool = &of(&both)[0];
    assert_eq!(pool.backends[0].state, BackendState::Ready);
    // At the first all weight is on the other one: (600 * 0 + 100 * 0.75) / 700.
    let share = pool.backends[0].weight_share.unwrap();
    assert!((share - 75.0 / 700.0).abs() < 1e-9, "{share}");
    both[1].age_ms = 60_000;
    assert_eq!(of(&both)[0].backends[0].state, BackendState::Drain);
}

proptest! {
    #[test]
    fn shares_sum_to_one_and_the_order_of_balancers_changes_nothing(
        all in prop::collection::vec(
            (prop::collection::vec((0_u8..6, 1_u32..256, 0_u64..1_000), 1..5), 0_u64..3_000),
            1..6,
        ),
        turn in 0_usize..6,
    ) {
        let balancer = |(index, (servers, age_ms)): (usize, &Made)| {
            let server = |(i, (last, weight, requests)): (usize, &(u8, u32, u64))| {
                server(&format!("s{i}"), &format!("10.0.0.{last}:80"), *weight, *requests)
            };
            let servers = servers.iter().enumerate().map(server).collect();
            Known { age_ms: *age_ms, ..known(&format!("lb-{index}"), vec![group("web", servers)]) }
        };
        let mut balancers: Vec<_> = all.iter().enumerate().map(balancer).collect();
        let pools = of(&balancers);
        for pool in &pools {
            let shares: f64 = pool.backends.iter().filter_map(|backend| backend.share).sum();
            let asked: f64 = pool.backends.iter().filter_map(|backend| backend.weight_share).sum();
            prop_assert!(pool.requests == 0 || (shares - 1.0).abs() < 1e-9);
            prop_assert!(pool.window_ms == 0 || (asked - 1.0).abs() < 1e-9);
        }
        let members: usize = pools.iter().map(|pool| pool.members.len()).sum();
        prop_assert_eq!(members, balancers.len(), "each group is in one pool");
        let turn = turn % balancers.len();
        balancers.rotate_left(turn);
        prop_assert_eq!(of(&balancers), pools);
    }
}
