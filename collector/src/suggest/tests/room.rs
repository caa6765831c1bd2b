//! How large a cache may get on its host.

use flyball_model::reuse::Moments;
use proptest::prelude::*;

use super::*;
use crate::suggest::room::HostRoom;
use crate::suggest::view::MemoryPast;

const STEEP: Truth = Truth { most: 0.95, scale: 60e6 };
const GIB: u64 = 1 << 30;

/// What samples say of a process that grew to 64 MiB: so many bytes for each in use, so far off.
fn past(slope: f64, sd: f64) -> MemoryPast {
    let (used, variance) = (40e6, 15e6_f64.powi(2));
    MemoryPast {
        from_ms: NOW_MS - 3_600_000,
        to_ms: NOW_MS,
        moments: Moments {
            count: 3_600,
            used_mean: used,
            // The line meets what the process has at 64 MiB.
            resident_mean: 84.0 * MIB as f64 + slope * (used - 64.0 * MIB as f64),
            used_variance: variance,
            resident_variance: slope * slope * variance + sd * sd,
            covariance: slope * variance,
        },
    }
}

/// A cache of 64 MiB whose process has 84 MiB, on a host of a GiB with so much available.
fn on_host(available: u64) -> CacheView {
    let mut view = view(STEEP, 64 * MIB);
    let facts = facts(&mut view);
    facts.host_memory_bytes = Some(GIB);
    facts.host_available_bytes = Some(available);
    view
}

fn room(view: &CacheView) -> HostRoom {
    let facts = view.report.facts.as_ref().unwrap();
    HostRoom::new(view, facts, &context(&[])).unwrap()
}

proptest! {
    #[test]
    fn the_resident_memory_of_the_largest_fits(
        available in 0..GIB, rss in 0..200 * MIB, slope in 0.5..2.0_f64, sd in 0.0..50e6_f64,
        seen: bool, replicas in 0..2_u32,
    ) {
        let mut view = on_host(available);
        view.memory = seen.then(|| past(slope, sd));
        let facts = facts(&mut view);
        facts.rss_bytes = Some(rss);
        facts.replicas = replicas;
        let room = room(&view);
        let to = room.largest();
        prop_assume!(to > 0);
        let copied = if replicas > 0 { 1.3 } else { 1.0 };
        let most = (rss.max(64 * MIB) + available).min(GIB) as f64 - GIB as f64 * 0.1;
        let needed = room.resident_at(to) as f64 * copied;
        prop_assert!(needed <= most + 4.0 && needed >= most - 8.0, "{needed} of {most}");
        prop_assert!(to == 0 || room.resident_at(64 * MIB) >= rss, "it is raised to what is measured");
    }

    #[test]
    fn what_takes_more_for_each_byte_or_is_less_sure_gets_less(
        slope in 1.0..1.4_f64, sd in 0.0..20e6_f64, more in 0.01..0.1_f64,
    ) {
        let largest = |slope: f64, sd: f64| {
            let mut view = on_host(GIB / 2);
            view.memory = Some(past(slope, sd));
            room(&view).largest()
        };
        prop_assert!(largest(slope + more, sd) < largest(slope, sd));
        prop_assert!(largest(slope, sd + more * 1e8) < largest(slope, sd));
    }
}

#[test]
fn what_was_seen_of_the_process_decides_how_far_a_cache_grows() {
    // A tenth of the host stays free: 70 MiB are there to be taken.
    let mut view = on_host(GIB / 10 + 70 * MIB);
    let of = |view: &CacheView| size(view).map(|(draft, to)| (to, draft));
    let (to, draft) = of(&view).unwrap();
    assert_eq!(to, (64 + 60) * MIB, "1.15 bytes for each");
    let evidence = |draft: &Draft| {
        let found = draft.evidence.iter().find(|e| e.name.starts_with("resident memory at "));
        found.unwrap().clone()
    };
    let predicted = evidence(&draft);
    assert!(
        predicted.name.contains("at 124 MiB, by 1.15") && predicted.name.contains("too little")
    );
    assert!((predicted.value - 153.0 * MIB as f64).abs() < 2.0, "84 and 69: {predicted:?}");

    view.memory = Some(past(1.3, 0.0));
    let (to, draft) = of(&view).unwrap();
    assert_eq!(to, (64 + 53) * MIB, "1.3 bytes for each");
    let predicted = evidence(&draft);
    assert!(predicted.name.contains("by 1.30 bytes for each in use, as 3600 samples"));
    assert!((predicted.value - 152.9 * MIB as f64).abs() < 2.0, "{predicted:?}");
    assert!(
        predicted.query.contains("metric=redis.memory.rss") && predicted.window_ms == 3_600_000
    );
    let risk = draft.risk.reasons.join("\n");
    assert!(risk.contains("grows by up to 68.9 MiB"), "{risk}");
    assert_eq!(draft.inputs["room"]["is_fitted"], true);

    view.memory = Some(past(1.3, 40e6));
    let reason = of(&view).unwrap_err();
    assert!(
        reason.contains(
            "its host has no memory for more: 172 MiB are available, of which 102 MiB stay free"
        ),
        "twice what it is off by is more than is there: {reason}"
    );
    // Of a server that was always full nothing was seen.
    view.memory = Some(MemoryPast {
        moments: Moments { used_variance: 1e6, ..past(1.3, 0.0).moments },
        ..past(1.3, 0.0)
    });
    assert_eq!(of(&view).unwrap().0, (64 + 60) * MIB);
}

#[test]
fn a_host_without_room_or_unknown_is_not_asked_for_more() {
    let mut view = view(STEEP, 64 * MIB);
    facts(&mut view).host_available_bytes = Some(6 << 30);
    assert!(size(&view).unwrap_err().contains("its host has no memory for more"));
    facts(&mut view).host_memory_bytes = None;
    assert!(size(&view).unwrap_err().contains("is not known"));
}
