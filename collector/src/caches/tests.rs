use flyball_proto::frame::{Decoder, Encoder, Limits};
use flyball_proto::series::Kind;

use super::*;

/// An agent with the series of caches, and what a collector makes of its frames.
struct Bench {
    encoder: Encoder,
    decoder: Decoder,
    caches: Caches,
    slots: Vec<(String, Slot)>,
}

impl Bench {
    fn new() -> Self {
        let (encoder, decoder) = (Encoder::new(Limits::default()), Decoder::new(Limits::default()));
        Self { encoder, decoder, caches: Caches::default(), slots: Vec::new() }
    }

    /// A Redis with what a row needs, and a host.
    fn redis() -> Self {
        let mut bench = Self::new();
        bench.add("system.memory.usage", Scale::KIBI, &[("system.memory.state", "used")]);
        for metric in ["redis.keyspace.hits", "redis.keyspace.misses", "redis.memory.used"] {
            bench.add(metric, Scale::UNIT, &[("cache", "a")]);
        }
        let info = [("cache", "a"), ("eviction_policy", "allkeys-lru"), ("version", "7.0.15")];
        bench.add("flyball.redis.info", Scale::UNIT, &info);
        bench.define();
        bench
    }

    fn add(&mut self, metric: &str, scale: Scale, attributes: &[(&str, &str)]) {
        let attributes: Vec<_> =
            attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let name = attributes.iter().fold(metric.to_owned(), |name, (_, v)| name + " " + v);
        let (unit, kind) = ("1".to_owned(), Kind::Gauge);
        let series = Series { metric: metric.to_owned(), unit, kind, scale, attributes };
        let slot = self.encoder.define(series).unwrap();
        self.slots.push((name, slot));
    }

    fn define(&mut self) {
        while let Some(define) = self.encoder.pending_define() {
            let definitions = self.decoder.define(define).unwrap();
            self.caches.define(definitions.iter());
        }
    }

    /// The rows of a frame with the values of these series, by what their names begin with.
    fn frame(&mut self, ts_ms: i64, values: &[(&str, i64)]) -> Vec<CacheRow> {
        self.take(ts_ms, values, false)
    }

    fn take(&mut self, ts_ms: i64, values: &[(&str, i64)], is_durable: bool) -> Vec<CacheRow> {
        for (prefix, raw) in values {
            let (_, slot) = self.slots.iter().find(|(name, _)| name.starts_with(prefix)).unwrap();
            self.encoder.set(*slot, *raw);
        }
        let mut payload = Vec::new();
        self.encoder.encode(ts_ms, &mut payload);
        let decoded = self.decoder.decode(&payload).unwrap();
        if is_durable {
            self.caches.pass(&decoded);
            return Vec::new();
        }
        self.caches.rows(&NodeName::new("web-1").unwrap(), &decoded)
    }
}

const ENOUGH: [(&str, i64); 4] = [
    ("redis.keyspace.hits", 9),
    ("redis.keyspace.misses", 1),
    ("redis.memory.used", 1 << 20),
    ("flyball.redis.info", 1),
];

#[test]
fn a_frame_makes_a_row_of_every_column() {
    let mut bench = Bench::redis();
    let cache = ("cache", "a");
    for (metric, scale, more) in [
        ("flyball.redis.started", Scale::decimal(3), None),
        ("redis.maxmemory", Scale::UNIT, None),
        ("redis.memory.rss", Scale::UNIT, None),
        ("redis.db.keys", Scale::UNIT, Some(("db", "0"))),
        ("redis.db.keys", Scale::UNIT, Some(("db", "1"))),
        ("redis.db.expires", Scale::UNIT, Some(("db", "0"))),
        ("redis.clients.connected", Scale::UNIT, None),
        ("flyball.redis.misses", Scale::UNIT, Some(("flyball.reason", "capacity"))),
        ("flyball.redis.misses", Scale::UNIT, Some(("flyball.reason", "cold"))),
        ("redis.keys.evicted", Scale::UNIT, None),
        ("redis.keys.expired", Scale::UNIT, None),
        ("redis.net.input", Scale::UNIT, None),
        ("redis.net.output", Scale::UNIT, None),
        ("redis.cpu.time", Scale::decimal(6), Some(("state", "sys"))),
        ("redis.cpu.time", Scale::decimal(6), Some(("state", "user"))),
        ("redis.cpu.time", Scale::decimal(6), Some(("state", "user_main_thread"))),
        ("flyball.redis.commands.duration", Scale::UNIT, Some(("flyball.bucket", "16"))),
        ("flyball.redis.commands.duration", Scale::UNIT, Some(("flyball.bucket", "4"))),
    ] {
        let attributes: Vec<_> = [cache].into_iter().chain(more).collect();
        bench.add(metric, scale, &attributes);
    }
    bench.define();
    let mut values = ENOUGH.to_vec();
    values.extend([
        ("flyball.redis.started", 1_700_000_000_000),
        ("redis.maxmemory", 1 << 21),
        ("redis.memory.rss", 1 << 22),
        ("redis.db.keys a 0", 10),
        ("redis.db.keys a 1", 5),
        ("redis.db.expires", 3),
        ("redis.clients.connected", 7),
        ("flyball.redis.misses a capacity", 4),
        ("flyball.redis.misses a cold", 2),
        ("redis.keys.evicted", 11),
        ("redis.keys.expired", 12),
        ("redis.net.input", i64::MAX),
        ("redis.net.output", 14),
        ("redis.cpu.time a sys", 1_500_000),
        ("redis.cpu.time a user", 2_250_000),
        ("redis.cpu.time a user_main", 9_000_000),
        ("flyball.redis.commands.duration a 16", 3),
        ("flyball.redis.commands.duration a 4", 8),
    ]);
    let rows = bench.frame(1_800_000_000_000, &values);
    let row = CacheRow {
        node: "web-1".to_owned(),
        cache: "a".to_owned(),
        ts: 1_800_000_000_000,
        kind: "redis".to_owned(),
        version: "7.0.15".to_owned(),
        started_at: 1_700_000_000_000,
        eviction_policy: "allkeys-lru".to_owned(),
        max_bytes: 1 << 21,
        used_bytes: 1 << 20,
        resident_bytes: 1 << 22,
        keys: 15,
        keys_with_ttl: 3,
        clients: 7,
        requests: 10,
        hits: 9,
        misses: 1,
        misses_capacity: 4,
        misses_expired: 0,
        misses_invalidated: 0,
        misses_cold: 2,
        evictions: 11,
        expirations: 12,
        received_bytes: i64::MAX as u64,
        sent_bytes: 14,
        cpu_seconds: 3.75,
        latency_bounds_us: vec![4, 16],
        latency_counts: vec![8, 3],
    };
    assert_eq!(rows, [row]);
}

#[test]
fn a_row_has_the_values_of_its_tick_only() {
    let mut bench = Bench::redis();
    assert_eq!(bench.frame(1, &ENOUGH).len(), 1);
    for (left_out, (name, _)) in ENOUGH.iter().enumerate() {
        let mut values = ENOUGH.to_vec();
        values.remove(left_out);
        assert_eq!(bench.frame(2 + left_out as i64, &values), [], "without {name}");
    }
    assert_eq!(bench.frame(9, &[("system.memory.usage", 1)]), [], "the cache is down");
}

#[test]
fn a_tick_in_several_frames_makes_one_row_that_grows() {
    let mut bench = Bench::redis();
    assert_eq!(bench.frame(1, &ENOUGH[..2]), []);
    let rows = bench.frame(1, &ENOUGH[2..]);
    assert_eq!((rows.len(), rows[0].hits, rows[0].used_bytes), (1, 9, 1 << 20));
    assert_eq!(bench.take(2, &ENOUGH[..3], true), []);
    let rows = bench.frame(2, &ENOUGH[3..]);
    assert_eq!((rows.len(), rows[0].hits), (1, 9), "what is durable counts for the rest");
}

#[test]
fn what_a_cache_is_may_change() {
    let mut bench = Bench::redis();
    bench.add(
        "flyball.redis.info",
        Scale::UNIT,
        &[("cache", "a"), ("eviction_policy", "allkeys-lfu"), ("version", "8.0.0")],
    );
    bench.define();
    let mut values = ENOUGH.to_vec();
    assert_eq!(bench.frame(1, &values)[0].eviction_policy, "allkeys-lru");
    values[3] = ("flyball.redis.info a allkeys-lfu", 1);
    let rows = bench.frame(2, &values);
    assert_eq!((&*rows[0].eviction_policy, &*rows[0].version), ("allkeys-lfu", "8.0.0"));
}

#[test]
fn a_redis_and_a_memcached_of_the_same_name_are_two() {
    let mut bench = Bench::redis();
    for (metric, attributes) in [
        ("memcached.operations", &[("cache", "a"), ("operation", "get"), ("type", "hit")][..]),
        ("memcached.operations", &[("cache", "a"), ("operation", "get"), ("type", "miss")]),
        ("memcached.operations", &[("cache", "a"), ("operation", "increment"), ("type", "hit")]),
        ("memcached.bytes", &[("cache", "a")]),
        ("flyball.memcached.expirations", &[("cache", "a"), ("flyball.reason", "crawler")]),
        ("flyball.memcached.expirations", &[("cache", "a"), ("flyball.reason", "store")]),
        ("flyball.memcached.misses", &[("cache", "a"), ("flyball.reason", "expired")]),
        ("flyball.memcached.info", &[("cache", "a"), ("version", "1.6.18")]),
    ] {
        bench.add(metric, Scale::UNIT, attributes);
    }
    bench.define();
    let mut values = ENOUGH.to_vec();
    values.extend([
        ("memcached.operations a get hit", 6),
        ("memcached.operations a get miss", 2),
        ("memcached.operations a increment", 99),
        ("memcached.bytes", 100),
        ("flyball.memcached.expirations a crawler", 1),
        ("flyball.memcached.expirations a store", 2),
        ("flyball.memcached.misses", 1),
        ("flyball.memcached.info", 1),
    ]);
    let rows = bench.frame(1, &values);
    assert_eq!(rows.len(), 2);
    let row = &rows[1];
    assert_eq!((&*row.kind, &*row.version, row.requests), ("memcached", "1.6.18", 8));
    assert_eq!((row.used_bytes, row.expirations, row.misses_expired), (100, 3, 1));
}

#[test]
fn a_new_dictionary_forgets_everything() {
    let mut bench = Bench::redis();
    bench.caches.clear();
    assert_eq!(bench.frame(1, &ENOUGH), []);
    assert_eq!(bench.caches.len(), 0);
}
