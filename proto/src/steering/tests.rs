//! Conversion: what is within the bounds comes back as it was, what is not is refused with the name of its field.

use std::time::Duration;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

mod balancers;

fn names() -> impl Strategy<Value = String> {
    "[a-z][a-z0-9._-]{0,62}"
}

fn settings_of(count: std::ops::Range<usize>) -> impl Strategy<Value = Settings> {
    btree_map("[a-z]{1,40}", "[ -~]{0,60}", count)
}

fn ordered(range: std::ops::Range<f64>) -> impl Strategy<Value = [f64; 3]> {
    [range.clone(), range.clone(), range].prop_map(|mut three| {
        three.sort_by(f64::total_cmp);
        three
    })
}

fn targets() -> impl Strategy<Value = Target> {
    (names(), names()).prop_map(|(kind, name)| Target { kind, name })
}

fn canaries(settings: &Settings) -> impl Strategy<Value = Option<Canary>> + use<> {
    let keys: Vec<_> = settings.keys().cloned().collect();
    let before = vec(option::of("[ -~]{0,20}"), keys.len());
    option::of((before, 100_u64..86_400_000).prop_map(move |(values, lease)| Canary {
        lease: Duration::from_millis(lease),
        revert_to: keys.iter().cloned().zip(values).filter_map(|(k, v)| Some((k, v?))).collect(),
    }))
}

fn target_policies() -> impl Strategy<Value = TargetPolicy> {
    (targets(), settings_of(1..5)).prop_flat_map(|(target, settings)| {
        let canary = canaries(&settings);
        let rest = (Just(target), Just(settings), canary, any::<bool>(), "[a-z0-9-]{0,36}");
        rest.prop_map(|(target, settings, canary, persist, rollout_id)| TargetPolicy {
            persist: persist && canary.is_none(),
            target,
            settings,
            rollout_id,
            canary,
        })
    })
}

prop_compose! {
    fn policies()(
        mut targets in vec(target_policies(), 0..5),
        revision in 1_u64..,
        renew in option::of(1_u64..100_000),
        acked_sequence: u64,
        journal in "[a-f0-9]{0,64}",
    ) -> AgentPolicy {
        targets.sort_by(|a, b| a.target.cmp(&b.target));
        targets.dedup_by(|a, b| a.target == b.target);
        let (revision, renew) = (Revision(revision), renew.map(Duration::from_millis));
        AgentPolicy { journal, revision, targets, renew, acked_sequence }
    }
}

prop_compose! {
    fn outcomes()(
        target in targets(),
        result in prop::sample::select(vec![
            PolicyResult::Applying, PolicyResult::Applied, PolicyResult::Rejected,
            PolicyResult::Reverted, PolicyResult::Drifted,
        ]),
        (revision, sequence) in any::<(u64, u64)>(),
        reason in "[ -~äöü]{0,200}",
        in_force in settings_of(0..5),
        expected in settings_of(0..5),
        rollout_id in "[a-z0-9-]{0,36}",
    ) -> PolicyOutcome {
        let revision = Revision(revision);
        PolicyOutcome { revision, target, result, reason, in_force, expected, rollout_id, sequence }
    }
}

prop_compose! {
    fn facts()(
        bytes: [u64; 4],
        known in option::of([0_u64.., 0_u64.., 0_u64..]),
        rates in option::of([0.0..1e9, 0.0..1e9, 0.0..1e9, 0.0..1e9]),
        fragmentation in option::of(0.0..100.0),
        replicas: u32,
    ) -> CacheFacts {
        CacheFacts {
            used_bytes: bytes[0],
            max_bytes: bytes[1],
            rss_bytes: known.map(|known| known[0]),
            keys: bytes[2],
            keys_with_ttl: bytes[3],
            hits_per_second: rates.map(|rates| rates[0]),
            misses_per_second: rates.map(|rates| rates[1]),
            evictions_per_second: rates.map(|rates| rates[2]),
            expirations_per_second: rates.map(|rates| rates[3]),
            fragmentation,
            host_memory_bytes: known.map(|known| known[1]),
            host_available_bytes: known.map(|known| known[2]),
            replicas,
        }
    }
}

prop_compose! {
    fn counters()(
        run_id in "[0-9a-f]{0,40}",
        commands: u64,
        known in option::of(any::<[u64; 3]>()),
    ) -> CacheCounters {
        CacheCounters {
            run_id,
            commands,
            errors: known.map(|known| known[0]),
            out_of_memory: known.map(|known| known[1]),
            rejected_connections: known.map(|known| known[2]),
        }
    }
}

prop_compose! {
    fn curves()(
        measured_at_ms: i64,
        reach_bytes: u64,
        points in btree_map(any::<u64>(), ordered(0.0..1.0), 0..20),
        method in "[ -~]{0,60}",
    ) -> HitCurve {
        let point = |(bytes, [low, hit_ratio, high]): (u64, [f64; 3])| HitCurvePoint { bytes, hit_ratio, low, high };
        HitCurve { measured_at_ms, reach_bytes, points: points.into_iter().map(point).collect(), method }
    }
}

prop_compose! {
    fn estimates()(
        policy in names(),
        [low, hit_ratio, high] in ordered(0.0..1.0),
        [delta_low, paired_delta, delta_high] in ordered(-1.0..1.0),
    ) -> PolicyEstimate {
        PolicyEstimate { policy, hit_ratio, low, high, paired_delta, delta_low, delta_high }
    }
}

prop_compose! {
    fn keys()(
        kind in prop::sample::select(vec![KeyFindingKind::Hot, KeyFindingKind::Big]),
        key_hash in "[0-9a-f]{1,64}",
        data_type in "[a-z]{0,10}",
        bytes: u64,
        share_of_requests in 0.0..=1.0,
    ) -> KeyFinding {
        KeyFinding { kind, key_hash, data_type, bytes, share_of_requests }
    }
}

prop_compose! {
    fn groups()(
        prefix in "[ -~]{0,60}",
        share_of_keys in 0.0..=1.0,
        ttl in option::of(1_u64..u64::MAX / 2),
        effects in vec((0_u64..u64::MAX / 2, -1.0..1.0, any::<i64>()), 0..4),
    ) -> TtlGroup {
        let effect = |(ttl, hit_ratio_delta, bytes_delta)| TtlEffect {
            ttl: Duration::from_millis(ttl), hit_ratio_delta, bytes_delta,
        };
        let effects = effects.into_iter().map(effect).collect();
        TtlGroup { prefix, share_of_keys, ttl: ttl.map(Duration::from_millis), effects }
    }
}

prop_compose! {
    fn findings()(
        shares in [0.0..1.0, 0.0..1.0],
        expiry_peak in 0.0..1e6,
        groups in vec(groups(), 0..4),
    ) -> TtlFindings {
        TtlFindings { keys_without_ttl: shares[0], volatile_bytes: shares[1], expiry_peak, groups }
    }
}

prop_compose! {
    fn predictions()(
        metric in names(),
        [low, value, high] in ordered(-1e9..1e9),
        settings in settings_of(0..4),
        samples: u64,
        method in "[ -~]{0,60}",
    ) -> CachePrediction {
        CachePrediction { metric, value, low, high, settings, samples, method }
    }
}

prop_compose! {
    fn reports()(
        target in targets(),
        measured_at_ms: i64,
        state in prop::sample::select(vec![
            CacheState::Up, CacheState::Unreachable, CacheState::Loading, CacheState::Denied, CacheState::Slow,
        ]),
        (reason, version) in ("[ -~]{0,60}", "[0-9.]{0,10}"),
        role in prop::sample::select(vec!["", "primary", "replica"]),
        settings in settings_of(0..5),
        (facts, curve) in (option::of(facts()), option::of(curves())),
        policies in vec(estimates(), 0..4),
        misses in option::of([0.0..1.0, 0.0..1.0, 0.0..1.0, 0.0..1.0]),
        keys in vec(keys(), 0..4),
        (ttl, now) in (option::of(findings()), option::of(predictions())),
        (missing, counters) in (vec("[ -~]{0,40}", 0..4), option::of(counters())),
    ) -> CacheReport {
        let misses = misses.map(|[capacity, expired, invalidated, cold]| MissAttribution {
            capacity, expired, invalidated, cold, sampled: 7,
        });
        CacheReport {
            target, measured_at_ms, state, reason, version, role: role.to_owned(), settings, facts, curve, policies,
            misses, keys, ttl, now, missing, counters,
        }
    }
}

prop_compose! {
    fn capabilities()(
        target in targets(),
        numbers in btree_map(names(), any::<[u64; 2]>(), 0..4),
        words in btree_map("[A-Z]{1,9}", vec("[a-z-]{0,20}", 1..4), 0..4),
        may_persist: bool,
        reason in "[ -~]{0,60}",
        growth in prop::option::of(1.001..100.0_f64),
    ) -> Capability {
        let number = |(key, [a, b]): (String, [u64; 2])| (key, Bounds::Number(a.min(b), a.max(b)));
        let numbers = numbers.into_iter().map(number);
        let words = words.into_iter().map(|(key, words)| (key, Bounds::OneOf(words)));
        let parameters = numbers.chain(words).collect();
        let largest_growth = growth.and_then(Growth::new);
        Capability { target, parameters, may_persist, reason, largest_growth }
    }
}

prop_compose! {
    fn hellos()(
        epoch: [u8; 16],
        node in "[a-z]{1,255}",
        revision: u64,
        mut capabilities in vec(capabilities(), 0..5),
        journal in "[a-f0-9]{0,64}",
    ) -> SteeringHello {
        capabilities.sort_by(|a, b| a.target.cmp(&b.target));
        capabilities.dedup_by(|a, b| a.target == b.target);
        SteeringHello {
            node: NodeName::new(&node).unwrap(),
            agent_version: "0.1.0".to_owned(),
            epoch,
            revision: Revision(revision),
            journal,
            capabilities,
        }
    }
}

proptest! {
    #[test]
    fn a_policy_comes_back(policy in policies()) {
        prop_assert_eq!(policy.check(), Ok(()));
        let back = AgentPolicy::try_from(v1::AgentPolicy::from(policy.clone()));
        prop_assert_eq!(back, Ok(policy));
    }

    #[test]
    fn what_an_agent_sends_comes_back(message in prop_oneof![
        hellos().prop_map(AgentSteering::Hello),
        outcomes().prop_map(AgentSteering::Outcome),
        reports().prop_map(|report| AgentSteering::Cache(Box::new(report))),
        balancers::reports().prop_map(|report| AgentSteering::Balancer(Box::new(report))),
    ]) {
        let back = AgentSteering::try_from(v1::AgentSteering::from(message.clone()));
        prop_assert_eq!(back, Ok(message));
    }

    #[test]
    fn a_clipped_text_may_be_sent(text: String, bytes in 0_usize..64) {
        let clipped = clip(&text, bytes);
        prop_assert!(check::text("reason", &clipped, bytes).is_ok());
        prop_assert!(text.chars().count() >= clipped.chars().count());
        let fits = text.len() <= bytes && !text.chars().any(char::is_control);
        prop_assert!(!fits || clipped == text);
    }

    #[test]
    fn only_what_is_within_the_bounds_may_be_set(least: u64, most: u64, value: u64) {
        let bounds = Bounds::Number(least, most);
        prop_assert_eq!(bounds.check(&value.to_string()).is_ok(), least <= value && value <= most);
    }
}

fn policy() -> v1::AgentPolicy {
    let setting = |value: &str| v1::Setting { parameter: "maxmemory".into(), value: value.into() };
    let canary = v1::Canary { lease_ms: 30_000, revert_to: vec![setting("100")] };
    let target = v1::TargetPolicy {
        kind: "redis".into(),
        name: "sessions".into(),
        settings: vec![setting("200")],
        rollout_id: "r-1".into(),
        canary: Some(canary),
        persist: false,
    };
    v1::AgentPolicy { revision: 3, targets: vec![target], ..v1::AgentPolicy::default() }
}

#[test]
fn a_broken_policy_names_its_field() {
    type Break = fn(&mut v1::AgentPolicy);
    fn canary(policy: &mut v1::AgentPolicy) -> &mut v1::Canary {
        policy.targets[0].canary.as_mut().unwrap()
    }
    let breaks: [(&str, Break); 15] = [
        ("revision", |p| p.revision = 0),
        ("journal", |p| p.journal = "j".repeat(65)),
        ("targets", |p| p.targets = vec![p.targets[0].clone(); 65]),
        ("targets[1].name", |p| p.targets.push(p.targets[0].clone())),
        ("targets[0].kind", |p| p.targets[0].kind.clear()),
        ("targets[0].name", |p| p.targets[0].name = "a\nb".into()),
        ("targets[0].settings", |p| p.targets[0].settings.clear()),
        ("targets[0].settings", |p| p.targets[0].settings = vec![v1::Setting::default(); 513]),
        ("targets[0].settings[0].parameter", |p| p.targets[0].settings[0].parameter.clear()),
        ("targets[0].settings[0].value", |p| p.targets[0].settings[0].value = "9".repeat(257)),
        ("targets[0].settings[1].parameter", |p| {
            let again = p.targets[0].settings[0].clone();
            p.targets[0].settings.push(again);
        }),
        ("targets[0].rollout_id", |p| p.targets[0].rollout_id = "r".repeat(65)),
        ("targets[0].persist", |p| p.targets[0].persist = true),
        ("targets[0].canary.lease_ms", |p| canary(p).lease_ms = 99),
        ("targets[0].canary.revert_to.other", |p| {
            canary(p).revert_to[0].parameter = "other".into();
        }),
    ];
    assert!(AgentPolicy::try_from(policy()).is_ok());
    for (field, change) in breaks {
        let mut broken = policy();
        change(&mut broken);
        assert_eq!(AgentPolicy::try_from(broken).unwrap_err().field, field);
    }
}

fn report() -> v1::CacheReport {
    let point = |bytes| v1::HitCurvePoint { bytes, hit_ratio: 0.5, low: 0.4, high: 0.6 };
    v1::CacheReport {
        kind: "redis".into(),
        name: "sessions".into(),
        state: v1::CacheState::Up.into(),
        facts: Some(v1::CacheFacts::default()),
        curve: Some(v1::HitCurve { points: vec![point(1), point(2)], ..v1::HitCurve::default() }),
        misses: Some(v1::MissAttribution::default()),
        counters: Some(v1::CacheCounters::default()),
        ttl: Some(v1::TtlFindings {
            groups: vec![v1::TtlGroup::default()],
            ..v1::TtlFindings::default()
        }),
        keys: vec![v1::KeyFinding {
            kind: v1::KeyFindingKind::Hot.into(),
            key_hash: "0f".into(),
            ..v1::KeyFinding::default()
        }],
        policies: vec![v1::PolicyEstimate { policy: "allkeys-lfu".into(), ..Default::default() }],
        now: Some(v1::CachePrediction { metric: "redis.hit_ratio".into(), ..Default::default() }),
        ..v1::CacheReport::default()
    }
}

#[test]
fn a_broken_report_names_its_field() {
    type Break = fn(&mut v1::CacheReport);
    let breaks: [(&str, Break); 18] = [
        ("state", |r| r.state = 0),
        ("state", |r| r.state = 99),
        ("role", |r| r.role = "master".into()),
        ("reason", |r| r.reason = "x".repeat(1025)),
        ("version", |r| r.version = "7".repeat(65)),
        ("facts.fragmentation", |r| r.facts.as_mut().unwrap().fragmentation = Some(f64::NAN)),
        ("facts.hits_per_second", |r| r.facts.as_mut().unwrap().hits_per_second = Some(-1.0)),
        ("curve.points", |r| r.curve.as_mut().unwrap().points.reverse()),
        ("curve.points[1].hit_ratio", |r| r.curve.as_mut().unwrap().points[1].hit_ratio = 0.7),
        ("curve.points[0].low", |r| r.curve.as_mut().unwrap().points[0].low = f64::NAN),
        ("misses.cold", |r| r.misses.as_mut().unwrap().cold = 1.01),
        ("keys[0].key_hash", |r| r.keys[0].key_hash = "session:1".into()),
        ("keys[0].kind", |r| r.keys[0].kind = 0),
        ("policies[0].paired_delta", |r| r.policies[0].paired_delta = 0.1),
        ("ttl.groups[0].share_of_keys", |r| r.ttl.as_mut().unwrap().groups[0].share_of_keys = -0.1),
        ("missing", |r| r.missing = vec![String::new(); 17]),
        ("counters.run_id", |r| r.counters.as_mut().unwrap().run_id = "0".repeat(65)),
        ("now.value", |r| r.now.as_mut().unwrap().value = f64::INFINITY),
    ];
    assert!(CacheReport::try_from(report()).is_ok());
    for (field, change) in breaks {
        let mut broken = report();
        change(&mut broken);
        assert_eq!(CacheReport::try_from(broken).unwrap_err().field, field);
    }
}

#[test]
fn a_message_of_an_unknown_kind_is_refused() {
    assert_eq!(AgentSteering::try_from(v1::AgentSteering::default()).unwrap_err().field, "kind");
    let hello = v1::SteeringHello { node: "a".into(), ..v1::SteeringHello::default() };
    let message = v1::AgentSteering { kind: Some(v1::agent_steering::Kind::Hello(hello)) };
    assert_eq!(AgentSteering::try_from(message).unwrap_err().field, "hello.epoch");
}

#[test]
fn a_policy_is_held_to_the_capability() {
    let parameters = [
        ("maxmemory".to_owned(), Bounds::Number(1, 1_000)),
        ("maxmemory-policy".to_owned(), Bounds::OneOf(vec!["allkeys-lru".into(), "b".into()])),
    ];
    let capability = Capability {
        target: Target::new("redis", "a"),
        parameters: parameters.into(),
        may_persist: false,
        reason: String::new(),
        largest_growth: None,
    };
    let wanted = |parameter: &str, value: &str, persist| TargetPolicy {
        target: Target::new("redis", "a"),
        settings: [(parameter.to_owned(), value.to_owned())].into(),
        rollout_id: String::new(),
        canary: None,
        persist,
    };
    assert_eq!(capability.check(&wanted("maxmemory", "1000", false)), Ok(()));
    assert_eq!(capability.check(&wanted("maxmemory-policy", "b", false)), Ok(()));
    for (parameter, value, persist, field) in [
        ("maxmemory", "1001", false, "maxmemory"),
        ("maxmemory", "0", false, "maxmemory"),
        ("maxmemory", "1mb", false, "maxmemory"),
        ("maxmemory", "+7", false, "maxmemory"),
        ("maxmemory", "07", false, "maxmemory"),
        ("maxmemory-policy", "c", false, "maxmemory-policy"),
        ("appendonly", "no", false, "appendonly"),
        ("maxmemory", "7", true, "persist"),
    ] {
        assert_eq!(capability.check(&wanted(parameter, value, persist)).unwrap_err().field, field);
    }
    let all = [
        ("weight:*".to_owned(), Bounds::Number(0, 256)),
        ("weight:web/*".to_owned(), Bounds::Number(1, 256)),
        ("weight:web/a".to_owned(), Bounds::Number(1, 9)),
    ];
    let all = Capability { parameters: all.into(), ..capability.clone() };
    for (parameter, value, is_allowed) in [
        ("weight:api/a", "0", true),
        ("weight:web/b", "0", false),
        ("weight:web/b", "10", true),
        ("weight:web/a", "10", false),
        ("maxconn:web/a", "1", false),
    ] {
        let checked = all.check(&wanted(parameter, value, false));
        assert_eq!(checked.is_ok(), is_allowed, "{parameter} = {value}");
    }
    let nothing = Capability { parameters: [].into(), reason: "off".into(), ..capability };
    let refused = nothing.check(&wanted("maxmemory", "1", false)).unwrap_err();
    assert_eq!((refused.field.as_str(), refused.reason.as_str()), ("redis/a", "off"));
}

#[test]
fn how_far_a_limit_may_move_is_told_in_thousandths() {
    for (factor, told) in [(1.001, 1_001), (1.01, 1_010), (1.5, 1_500), (2.0009, 2_000)] {
        let growth = Growth::new(factor).unwrap();
        let capability = Capability {
            target: Target::new("redis", "a"),
            parameters: [].into(),
            may_persist: false,
            reason: String::new(),
            largest_growth: Some(growth),
        };
        assert_eq!(v1::Capability::from(capability).largest_growth_milli, told);
        assert!(growth.factor() <= factor && growth.factor() > factor - 0.001, "{factor}");
    }
    for none in [1.0, 1.000_9, 0.5, f64::NAN] {
        assert_eq!(Growth::new(none), None, "{none}");
    }
    let told = |largest_growth_milli| {
        let (kind, name) = ("redis".to_owned(), "a".to_owned());
        Capability::try_from(v1::Capability {
            kind,
            name,
            largest_growth_milli,
            ..v1::Capability::default()
        })
    };
    assert_eq!(told(0).unwrap().largest_growth, None, "an older agent");
    assert_eq!(told(1_000).unwrap_err().field, "largest_growth_milli");
}
