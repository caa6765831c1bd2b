//! What the cache counts, by layer and reason: for `/metrics`, for `GET /api/performance/cache`, and for people who wonder whether it is worth its memory.

use flyball_model::hit_curve::{Bounds, HitCurve, Point, recommend};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde::Serialize;
use utoipa::ToSchema;

macro_rules! counters {
    ($($name:ident: $help:literal,)*) => {
        /// Counters of one cache. Every outcome is in exactly one of those of its layer.
        #[derive(Debug, Default)]
        pub(super) struct Counters {
            $(#[doc = $help] pub(super) $name: Counter,)*
        }

        impl Counters {
            /// Makes the counters part of what a registry prints.
            pub(super) fn register(&self, registry: &mut Registry) {
                $(registry.register(stringify!($name), $help, self.$name.clone());)*
            }
        }
    };
}

counters! {
    l1_hit: "Served fresh from this process",
    l1_negative: "Served fresh from this process: that there is nothing, or why it is refused",
    l1_stale: "Served past being fresh, while it was loaded again",
    l1_stale_on_error: "Served past being fresh, because loading failed",
    l1_miss_absent: "Not found in this process",
    l1_miss_expired: "Found in this process past its life",
    l1_miss_invalidated: "Found in this process, invalidated",
    evictions: "Entries that made room for others",
    coalesced: "Callers that waited for a loading that another one had begun",
    refreshes: "Loadings behind the back of a caller, before or after an entry's end",
    loads: "Loadings that ended with a value",
    load_errors: "Loadings that failed",
    invalidations: "Invalidations, of any number of tags",
    l2_hit: "Found fresh in Redis",
    l2_miss_absent: "Not found in Redis",
    l2_miss_expired: "Found in Redis past its life",
    l2_miss_invalidated: "Found in Redis, invalidated, or Redis forgot whether it was",
    l2_refused: "Values in Redis that are none of ours, or were changed",
    l2_error: "Requests to Redis that failed",
    l2_timeout: "Requests to Redis that took too long",
    l2_skipped: "Requests that did not go to Redis: the breaker is open or there is no connection",
    l2_written: "Values written to Redis",
    l2_not_written: "Values that were not written to Redis, because they are too large or it failed",
    lease_taken: "Loadings that another collector was already doing",
    lease_waited: "Of these the ones whose value came in time",
    heard: "Invalidations that other collectors sent",
    gaps: "Times that such messages may have been missed, and nothing held was trusted any more",
    sent: "Invalidations sent to other collectors",
}

/// The query cache, as the API shows it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QueryCacheStats {
    /// Whole answers in this process, ready to be sent.
    pub answers: LayerStats,
    /// Parts of answers in this process: some buckets of one question.
    pub l1: LayerStats,
    /// Parts of answers in Redis; null without `--redis`.
    pub l2: Option<SharedStats>,
    /// Samples of the recent past in memory, which answer without any cache.
    pub window: WindowShare,
}

/// How much of the recent past is in memory.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct WindowShare {
    /// Time of which all samples are held, in milliseconds; 0: none.
    pub span_ms: i64,
    /// Time that is held when memory allows it.
    pub configured_ms: i64,
    /// Bytes in use.
    pub bytes: u64,
    /// Bytes that may be used.
    pub max_bytes: u64,
    /// Questions that were answered from it.
    pub answers: u64,
}

/// A layer in this process.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LayerStats {
    /// Share of the accesses since the start that were served from here; null before the first.
    pub hit_ratio: Option<f64>,
    /// Served fresh.
    pub hits: u64,
    /// Of these: that there is nothing, or why it is refused.
    pub negative_hits: u64,
    /// Served past being fresh while it was loaded again.
    pub stale_served: u64,
    /// Served past being fresh because loading failed.
    pub stale_on_error: u64,
    /// Not served from here, by reason.
    pub misses: Misses,
    /// Callers that waited for a loading that another one had begun.
    pub coalesced: u64,
    /// Loadings behind a caller's back.
    pub refreshes: u64,
    /// Loadings that ended with a value.
    pub loads: u64,
    /// Loadings that failed.
    pub load_errors: u64,
    /// Invalidations.
    pub invalidations: u64,
    /// Entries.
    pub entries: u64,
    /// Bytes of the entries.
    pub bytes: u64,
    /// Bytes that they may take.
    pub max_bytes: u64,
    /// Entries that made room for others.
    pub evictions: u64,
    /// What another size would do.
    pub curve: SizeCurve,
}

/// Why something was not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct Misses {
    /// It was never there, or made room for others.
    pub absent: u64,
    /// Past its life.
    pub expired: u64,
    /// Invalidated.
    pub invalidated: u64,
}

/// Hit ratio by size, predicted from a sample of the accesses.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SizeCurve {
    /// Points by size.
    pub points: Vec<SizePoint>,
    /// Smallest size whose hit ratio is within one point of the best; null when not enough was seen.
    pub best_bytes: Option<u64>,
    /// Accesses that were looked at.
    pub sampled: u64,
}

/// A point of the curve.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct SizePoint {
    /// Size of the cache.
    pub bytes: u64,
    /// Share of the accesses that would find their entry, if none ended before.
    pub hit_ratio: f64,
}

/// The layer in Redis.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct SharedStats {
    /// Whether requests go to Redis: `closed` (they do), `open` (they do not) or `half_open` (some try).
    pub breaker: &'static str,
    /// Times that the breaker opened.
    pub breaker_opened: u64,
    /// A connection is there.
    pub connected: bool,
    /// Invalidations of other collectors are heard; without, values are trusted for a shorter time.
    pub heard: bool,
    /// Share of the accesses that were served from here; null before the first.
    pub hit_ratio: Option<f64>,
    /// Found and fresh.
    pub hits: u64,
    /// Not served from here, by reason.
    pub misses: Misses,
    /// Values that are none of ours, or were changed.
    pub refused: u64,
    /// Requests that failed.
    pub errors: u64,
    /// Requests that took too long.
    pub timeouts: u64,
    /// Requests that were not sent.
    pub skipped: u64,
    /// Values written.
    pub written: u64,
    /// Values not written.
    pub not_written: u64,
    /// Loadings that another collector was doing.
    pub leases_taken: u64,
    /// Of these the ones whose value came in time.
    pub leases_waited: u64,
    /// Messages about invalidations sent, heard, and times that some may have been missed.
    pub messages_sent: u64,
    /// Messages heard.
    pub messages_heard: u64,
    /// Times that messages may have been missed.
    pub gaps: u64,
    /// Invalidations that wait for Redis.
    pub unsent: u64,
}

/// Accesses below which a curve says nothing.
const ENOUGH: u64 = 1_000;
/// Smallest size that is recommended.
const SMALLEST_BYTES: u64 = 1 << 20;
/// Most points of a curve in an answer.
const MAX_POINTS: usize = 64;

impl LayerStats {
    pub(super) fn of(counters: &Counters, size: (u64, u64, u64), curve: &HitCurve) -> Self {
        let (entries, bytes, max_bytes) = size;
        let negative_hits = counters.l1_negative.get();
        let hits = counters.l1_hit.get() + negative_hits;
        let (stale_served, stale_on_error) =
            (counters.l1_stale.get(), counters.l1_stale_on_error.get());
        let misses = Misses {
            absent: counters.l1_miss_absent.get(),
            expired: counters.l1_miss_expired.get(),
            invalidated: counters.l1_miss_invalidated.get(),
        };
        Self {
            hit_ratio: ratio(hits + stale_served, misses),
            hits,
            negative_hits,
            stale_served,
            stale_on_error,
            misses,
            coalesced: counters.coalesced.get(),
            refreshes: counters.refreshes.get(),
            loads: counters.loads.get(),
            load_errors: counters.load_errors.get(),
            invalidations: counters.invalidations.get(),
            entries,
            bytes,
            max_bytes,
            evictions: counters.evictions.get(),
            curve: SizeCurve::of(curve, max_bytes),
        }
    }
}

impl SizeCurve {
    fn of(curve: &HitCurve, max_bytes: u64) -> Self {
        let points = curve.curve();
        let bounds = Bounds { min_bytes: SMALLEST_BYTES, max_bytes: u64::MAX };
        let best = recommend(&points, max_bytes, bounds).filter(|_| curve.sampled() >= ENOUGH);
        let every = points.len().div_ceil(MAX_POINTS).max(1);
        let last = points.len().saturating_sub(1);
        let shown = |(index, point): (usize, Point)| {
            let Point { bytes, hit_ratio } = point;
            (index % every == 0 || index == last).then_some(SizePoint { bytes, hit_ratio })
        };
        Self {
            points: points.into_iter().enumerate().filter_map(shown).collect(),
            best_bytes: best.map(|best| best.bytes),
            sampled: curve.sampled(),
        }
    }
}

impl SharedStats {
    pub(super) fn of(counters: &Counters, state: super::shared::LinkState) -> Self {
        let misses = Misses {
            absent: counters.l2_miss_absent.get(),
            expired: counters.l2_miss_expired.get(),
            invalidated: counters.l2_miss_invalidated.get(),
        };
        let hits = counters.l2_hit.get();
        Self {
            breaker: state.breaker,
            breaker_opened: state.opened,
            connected: state.connected,
            heard: state.heard,
            hit_ratio: ratio(hits, misses),
            hits,
            misses,
            refused: counters.l2_refused.get(),
            errors: counters.l2_error.get(),
            timeouts: counters.l2_timeout.get(),
            skipped: counters.l2_skipped.get(),
            written: counters.l2_written.get(),
            not_written: counters.l2_not_written.get(),
            leases_taken: counters.lease_taken.get(),
            leases_waited: counters.lease_waited.get(),
            messages_sent: counters.sent.get(),
            messages_heard: counters.heard.get(),
            gaps: counters.gaps.get(),
            unsent: state.unsent,
        }
    }
}

fn ratio(hits: u64, misses: Misses) -> Option<f64> {
    let all = hits + misses.absent + misses.expired + misses.invalidated;
    (all > 0).then(|| hits as f64 / all as f64)
}
