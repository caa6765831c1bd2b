//! `cache.size` and `cache.eviction_policy` on caches whose truth is known.

use flyball_model::record::Better;
use flyball_proto::steering::PolicyEstimate;
use proptest::prelude::*;

use super::*;
use crate::suggest::draft::Gain;
use crate::suggest::eviction_policy::EvictionPolicy;
use crate::suggest::room::HostRoom;

prop_compose! {
    fn truths()(most in 0.3..0.999_f64, scale in 4e6..4e9_f64) -> Truth {
        Truth { most, scale }
    }
}

prop_compose! {
    fn caches()(
        truth in truths(),
        size in 16..4_096_u64,
        half in 0.0..0.02_f64,
        points in 2..60_u64,
        capacity in 0.0..1.0_f64,
        available in 0..(40_u64 << 30),
        full in 0.5..1.0_f64,
        replicas in 0..2_u32,
    ) -> (Truth, CacheView) {
        let mut view = view(truth, size * MIB);
        view.report.curve = Some(truth.curve(size * MIB, points, half));
        view.report.misses.as_mut().unwrap().capacity = capacity;
        let facts = facts(&mut view);
        facts.host_available_bytes = Some(available);
        facts.used_bytes = (size as f64 * MIB as f64 * full) as u64;
        facts.replicas = replicas;
        (truth, view)
    }
}

/// The same cache after it was given another size, and the truth came to pass.
fn after(truth: Truth, view: &CacheView, size: u64) -> CacheView {
    let mut next = self::view(truth, size);
    next.report.misses = view.report.misses;
    let host = view.report.facts.as_ref().unwrap().host_available_bytes;
    facts(&mut next).host_available_bytes = host;
    next
}

proptest! {
    #[test]
    fn what_is_suggested_is_within_reach_bounds_and_room((_, view) in caches()) {
        let Ok((draft, to)) = size(&view) else { return Ok(()) };
        let facts = view.report.facts.as_ref().unwrap();
        let (now, curve) = (facts.max_bytes, view.report.curve.as_ref().unwrap());
        prop_assert!(to % MIB == 0 && to != now);
        prop_assert!(curve.points[0].bytes <= to && to <= curve.reach_bytes);
        prop_assert!((8 * MIB..=40 << 30).contains(&to));
        if to > now {
            let room = HostRoom::new(&view, facts, &context(&[])).unwrap();
            prop_assert!(to <= room.largest());
            prop_assert!(to <= now * 2);
            prop_assert!(view.report.misses.unwrap().capacity > 0.0);
        } else {
            prop_assert!(to >= now / 2);
            prop_assert!(facts.used_bytes as f64 >= 0.9 * now as f64);
        }
        prop_assert!(draft.change[0].steps().is_ok());
    }

    #[test]
    fn the_lower_end_clears_the_threshold((_, view) in caches()) {
        let Ok((draft, to)) = size(&view) else { return Ok(()) };
        prop_assert!(draft.after.low <= draft.after.value && draft.after.value <= draft.after.high);
        let low = draft.after.low - draft.before;
        if to > view.report.facts.as_ref().unwrap().max_bytes {
            let needed = 0.01_f64.min(0.1 * (1.0 - draft.before));
            prop_assert!(low >= needed - 1e-9, "{low} {needed}");
            let most = view.report.misses.unwrap().capacity * (1.0 - draft.before);
            prop_assert!(draft.after.high - draft.before <= most + 1e-9);
        } else {
            prop_assert!(low >= -0.002 - 1e-9);
        }
        prop_assert_eq!(draft.better, Better::Higher);
    }

    #[test]
    fn without_misses_for_want_of_memory_more_is_never_suggested(
        (_, mut view) in caches(), which in 0..3_u8,
    ) {
        match which {
            0 => view.report.misses.as_mut().unwrap().capacity = 0.0,
            1 => facts(&mut view).evictions_per_second = Some(0.0),
            _ => facts(&mut view).evictions_per_second = None,
        }
        let now = view.report.facts.as_ref().unwrap().max_bytes;
        match size(&view) {
            Ok((_, to)) => prop_assert!(to < now),
            Err(reason) => prop_assert!(
                !reason.starts_with("not larger")
                    || reason.contains("no request misses for want of memory")
            ),
        }
    }

    #[test]
    fn a_change_that_came_true_is_not_followed_by_its_opposite((truth, view) in caches()) {
        let now = view.report.facts.as_ref().unwrap().max_bytes;
        let Ok((_, to)) = size(&view) else { return Ok(()) };
        if let Ok((_, then)) = size(&after(truth, &view, to)) {
            prop_assert_eq!(then > to, to > now, "from {} to {} to {}", now, to, then);
        }
    }

    #[test]
    fn a_curve_that_misses_the_present_is_not_believed((_, mut view) in caches(), off in 0.05..0.5_f64) {
        let hit_ratio = (view.recent.unwrap().hit_ratio() - off).max(0.0);
        view.recent = Some(recent(hit_ratio));
        prop_assume!((view.report.curve.as_ref().unwrap().points[0].hit_ratio - hit_ratio).abs() > 0.0);
        let here = estimate::at(view.report.curve.as_ref().unwrap(), view.report.facts.as_ref().unwrap().max_bytes);
        prop_assume!((here.unwrap().value - hit_ratio).abs() > 0.03);
        prop_assert!(size(&view).unwrap_err().contains("is measured"));
    }

    #[test]
    fn a_wider_interval_never_makes_a_change_better_founded((_, view) in caches(), by in 1.0..10.0_f64) {
        let wide = |factor: f64| {
            let trial = |i: i64| Trial {
                kind: "cache.size".into(),
                target: "other".into(),
                ended_at_ms: i,
                predicted: 0.5,
                low: 0.4,
                high: 0.6,
                widened_by: 1.0,
                observed: Some(0.5 + 0.1 * factor),
                better: Better::Higher,
                promoted: true,
            };
            let trials: Vec<_> = (0..9).map(trial).collect();
            let drafts = CacheSize.advise(&view, &context(&trials)).ok()?;
            Some((drafts[0].after.low - drafts[0].before, drafts[0].widened_by))
        };
        let Some((_, widened)) = wide(by) else { return Ok(()) };
        prop_assert!((widened - by).abs() < 1e-6);
        prop_assert!(wide(1.0).is_some());
    }
}

/// Where twice the memory brings a lot.
const STEEP: Truth = Truth { most: 0.95, scale: 60e6 };

#[test]
fn a_cache_that_lacks_memory_grows_by_what_pays() {
    let (draft, to) = size(&view(STEEP, 64 * MIB)).unwrap();
    assert!(to > 64 * MIB && to <= 128 * MIB, "{to}");
    assert!(matches!(draft.gain, Gain::HitRatio { .. }));
    let truth = STEEP.at(to);
    assert!(draft.after.low <= truth && truth <= draft.after.high);
    assert!(draft.title.starts_with("Grow sessions from 64 MiB to "), "{}", draft.title);
}

#[test]
fn a_cache_that_is_far_too_large_shrinks() {
    let mut view = view(Truth { most: 0.9, scale: 10e6 }, 512 * MIB);
    view.report.curve = Some(Truth { most: 0.9, scale: 10e6 }.curve(512 * MIB, 33, 0.0));
    let (draft, to) = size(&view).unwrap();
    assert_eq!(to, 256 * MIB);
    assert!(matches!(draft.gain, Gain::Memory { share, .. } if share >= 0.5));
    facts(&mut view).used_bytes = 100 * MIB;
    assert!(size(&view).unwrap_err().contains("it is not full"));
}

#[test]
fn what_cannot_be_relied_on_is_passed_over_with_the_reason() {
    type Break = fn(&mut CacheView);
    let breaks: [(&str, Break); 13] = [
        ("nothing was heard of it for 61 s", |v| v.received_at_ms -= 61_000),
        ("cannot be reached: refused", |v| {
            v.report.state = CacheState::Unreachable;
            v.report.reason = "refused".into();
        }),
        ("loading", |v| v.report.state = CacheState::Loading),
        ("refuses the agent", |v| v.report.state = CacheState::Denied),
        ("in time", |v| v.report.state = CacheState::Slow),
        ("replica", |v| v.report.role = "replica".into()),
        ("nothing was measured", |v| v.report.facts = None),
        ("was not measured yet", |v| v.report.curve = None),
        ("minutes old", |v| v.report.curve.as_mut().unwrap().measured_at_ms -= 7 * 3_600_000),
        ("out of reach", |v| v.report.curve.as_mut().unwrap().reach_bytes = 40 * MIB),
        ("too few to tell", |v| v.recent.as_mut().unwrap().hits = 10.0),
        ("its agent may not set maxmemory: off", |v| {
            v.settable.clear();
            v.unsettable = "off".into();
        }),
        ("noeviction", |v| {
            v.report.settings.insert("maxmemory-policy".into(), "noeviction".into());
        }),
    ];
    assert!(size(&view(STEEP, 64 * MIB)).is_ok());
    for (words, change) in breaks {
        let mut view = view(STEEP, 64 * MIB);
        if words == "too few to tell" {
            view.recent.as_mut().unwrap().misses = 10.0;
        }
        change(&mut view);
        let reason = size(&view).unwrap_err();
        assert!(reason.contains(words), "{words}: {reason}");
    }
}

fn estimate(policy: &str, delta: f64, half: f64) -> PolicyEstimate {
    PolicyEstimate {
        policy: policy.to_owned(),
        hit_ratio: 0.5,
        low: 0.4,
        high: 0.6,
        paired_delta: delta,
        delta_low: delta - half,
        delta_high: delta + half,
    }
}

#[test]
fn a_policy_is_suggested_by_the_lower_end_of_the_paired_difference() {
    let ask = |estimates: &[PolicyEstimate]| {
        let mut view = view(STEEP, 64 * MIB);
        view.report.policies = estimates.to_vec();
        ask(&EvictionPolicy, &view).map(|mut drafts| drafts.remove(0))
    };
    let draft = ask(&[
        estimate("allkeys-lru", 0.0, 0.0),
        estimate("allkeys-random", 0.3, 0.0),
        estimate("volatile-lru", 0.05, 0.04),
        estimate("allkeys-lfu", 0.06, 0.01),
    ]);
    let draft = draft.unwrap();
    assert_eq!(draft.change[0].to, "allkeys-lfu", "random is not among what may be set");
    assert!(draft.after.low - draft.before >= 0.01);
    assert!(draft.risk.reasons.iter().any(|reason| reason.contains("look unused")));
    let small = ask(&[estimate("allkeys-lfu", 0.02, 0.0)]).unwrap_err();
    assert!(small.contains("are needed"), "what the method is off by counts: {small}");
    assert!(ask(&[]).unwrap_err().contains("not measured"));
    assert!(ask(&[estimate("allkeys-lru", 0.5, 0.0)]).unwrap_err().contains("no other policy"));
}

proptest! {
    #[test]
    fn a_policy_that_is_suggested_gains_at_its_lower_end(
        delta in -0.2..0.2_f64, half in 0.0..0.1_f64, lfu: bool, size in 16..4_096_u64,
    ) {
        let mut view = view(STEEP, size * MIB);
        let policy = if lfu { "allkeys-lfu" } else { "volatile-lru" };
        view.report.policies = vec![estimate(policy, delta, half)];
        let Ok(drafts) = ask(&EvictionPolicy, &view) else { return Ok(()) };
        let draft = &drafts[0];
        let needed = 0.01_f64.min(0.1 * (1.0 - draft.before));
        prop_assert!(delta - half >= needed && draft.after.low - draft.before >= needed - 1e-9);
        facts(&mut view).evictions_per_second = Some(0.0);
        prop_assert!(ask(&EvictionPolicy, &view).is_err());
    }
}
