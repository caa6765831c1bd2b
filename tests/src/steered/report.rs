//! What the agent of such a cache reports: a curve that promises what the honest law gives.

use flyball_proto::steering::{
    CacheFacts, CacheReport, CacheState, HitCurve, HitCurvePoint, KeyFinding, KeyFindingKind,
    MissAttribution, PolicyEstimate, Target,
};

use super::{MIB, REQUESTS, Server, honest};
use crate::load::now_ms;

/// The report of now.
pub(super) fn of(server: &Server) -> CacheReport {
    let (limit, ratio) = (server.limit(), server.hit_ratio());
    let now_ms = now_ms();
    let mut report = CacheReport::new(Target::new("redis", &server.name), CacheState::Up, now_ms);
    report.role = "primary".into();
    report.version = "7.4.0".into();
    report.settings = server.settings.lock().clone();
    report.facts = Some(CacheFacts {
        used_bytes: limit - limit / 50,
        max_bytes: limit,
        rss_bytes: Some(limit + 10 * MIB),
        keys: limit / 1_200,
        keys_with_ttl: limit / 1_500,
        hits_per_second: Some(ratio * REQUESTS),
        misses_per_second: Some((1.0 - ratio) * REQUESTS),
        evictions_per_second: Some((1.0 - ratio) * REQUESTS * 0.8),
        expirations_per_second: Some(12.5),
        fragmentation: Some(1.1),
        host_memory_bytes: Some(8 << 30),
        host_available_bytes: Some(4 << 30),
        replicas: 0,
    });
    report.curve = Some(curve(now_ms));
    report.misses = Some(MissAttribution {
        capacity: 0.81,
        expired: 0.07,
        invalidated: 0.02,
        cold: 0.1,
        sampled: 4_321,
    });
    report.policies = ["allkeys-lfu", "allkeys-random"].into_iter().map(policy(ratio)).collect();
    report.keys = vec![
        key(KeyFindingKind::Hot, "5e0c", 0, 0.034),
        key(KeyFindingKind::Big, "b1f7", 3 * MIB, 0.0),
    ];
    report
}

fn curve(now_ms: i64) -> HitCurve {
    let point = |i: u64| {
        let bytes = 32 * MIB + i * 8 * MIB;
        let hit_ratio = honest(bytes);
        let half = 0.002 + 0.001 * i as f64;
        HitCurvePoint { bytes, hit_ratio, low: hit_ratio - half, high: hit_ratio + half }
    };
    HitCurve {
        measured_at_ms: now_ms - 1_000,
        reach_bytes: 128 * MIB,
        points: (0..=12).map(point).collect(),
        method: "idle ages of 2000 keys".into(),
    }
}

fn policy(ratio: f64) -> impl Fn(&str) -> PolicyEstimate {
    move |name| {
        let delta = if name == "allkeys-lfu" { 0.004 } else { -0.05 };
        let hit_ratio = ratio + delta;
        PolicyEstimate {
            policy: name.to_owned(),
            hit_ratio,
            low: hit_ratio - 0.01,
            high: hit_ratio + 0.01,
            paired_delta: delta,
            delta_low: delta - 0.006,
            delta_high: delta + 0.006,
        }
    }
}

fn key(kind: KeyFindingKind, hash: &str, bytes: u64, share_of_requests: f64) -> KeyFinding {
    KeyFinding {
        kind,
        key_hash: hash.repeat(4),
        data_type: "string".into(),
        bytes,
        share_of_requests,
    }
}
