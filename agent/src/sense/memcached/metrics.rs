//! What is published of a memcached: names of OpenTelemetry's memcached receiver, `flyball.memcached.*` where it has none.

use flyball_proto::series::{Kind, Scale};

use crate::sense::Metric;

const fn gauge(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    scaled(name, unit, Scale::UNIT, attributes, description)
}

const fn scaled(
    name: &'static str,
    unit: &'static str,
    scale: Scale,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, unit, kind: Kind::Gauge, scale, attributes, description }
}

const CACHE: &[&str] = &["cache"];
const SLAB: &[&str] = &["cache", "flyball.slab"];
const BYTES: &str = "By";

macro_rules! metrics {
    ($($name:ident = $metric:expr;)+) => {
        $(pub(super) const $name: Metric = $metric;)+
        /// All of them, in the order of the documentation.
        pub(super) const METRICS: &[Metric] = &[$($name,)+];
    };
}

metrics! {
    UP = gauge("flyball.memcached.up", "1", CACHE, "1 when it answers, else 0.");
    STATE = gauge("flyball.memcached.state", "1", &["cache", "state"], "1 for the state that it is in: up, unreachable, slow (no answer in time), denied (it wants a password).");
    INFO = gauge("flyball.memcached.info", "1", &["cache", "eviction_policy", "version"], "1, with what it is as attributes.");
    STARTED = scaled("flyball.memcached.started", "s", Scale::decimal(3), CACHE, "When its counters began, since the Unix epoch: its start, or the last stats reset.");
    RESPONSE_TIME = scaled("flyball.memcached.response_time", "s", Scale::decimal(6), CACHE, "Time until stats were answered.");
    UPTIME = Metric::counter("flyball.memcached.uptime", "s", CACHE, "Time since its start.");
    USED = gauge("memcached.bytes", BYTES, CACHE, "Memory of its items.");
    LIMIT = gauge("flyball.memcached.limit", BYTES, CACHE, "Memory that items may take.");
    ITEMS = gauge("memcached.current_items", "{items}", CACHE, "Items.");
    STORED = Metric::counter("flyball.memcached.items.stored", "{items}", CACHE, "Items stored.");
    CONNECTIONS = gauge("memcached.connections.current", "{connections}", CACHE, "Connections of clients.");
    CONNECTIONS_TOTAL = Metric::counter("memcached.connections.total", "{connections}", CACHE, "Connections accepted.");
    CONNECTIONS_REJECTED = Metric::counter("flyball.memcached.connections.rejected", "{connections}", CACHE, "Connections refused because there were too many.");
    COMMANDS = Metric::counter("memcached.commands", "{commands}", &["cache", "command"], "Commands: get, set, flush, touch.");
    OPERATIONS = Metric::counter("memcached.operations", "{operations}", &["cache", "operation", "type"], "Operations on a key by whether it was there: get, increment, decrement, delete, touch, cas; hit and miss.");
    MISS_REASONS = Metric::counter("flyball.memcached.misses", "{miss}", &["cache", "flyball.reason"], "Misses of get by reason, as far as it tells: expired (the item was there still), invalidated (by flush_all).");
    EVICTIONS = Metric::counter("memcached.evictions", "{evictions}", CACHE, "Items evicted to make room.");
    EVICTED_UNFETCHED = Metric::counter("flyball.memcached.evictions.unfetched", "{evictions}", CACHE, "Items evicted that nobody had asked for.");
    EXPIRATIONS = Metric::counter("flyball.memcached.expirations", "{items}", &["cache", "flyball.reason"], "Expired items whose memory was taken back: by a store, by the crawler.");
    EXPIRED_UNFETCHED = Metric::counter("flyball.memcached.expirations.unfetched", "{items}", CACHE, "Items expired that nobody had asked for.");
    STORE_FAILURES = Metric::counter("flyball.memcached.store.failures", "{items}", &["cache", "flyball.reason"], "Items that could not be stored: too_large, no_memory.");
    NETWORK = Metric::counter("memcached.network", BYTES, &["cache", "direction"], "Bytes by direction: received, sent.");
    CPU = Metric {
        name: "memcached.cpu.usage",
        unit: "s",
        kind: Kind::Counter,
        scale: Scale::decimal(6),
        attributes: &["cache", "state"],
        description: "CPU time: system, user.",
    };
    THREADS = gauge("memcached.threads", "{threads}", CACHE, "Threads that serve clients.");
    HASH = gauge("flyball.memcached.hash.size", BYTES, CACHE, "Memory of the hash table.");
    PAGES_FREE = gauge("flyball.memcached.slab.pool", "{page}", CACHE, "Pages of slabs that no class has.");
    PAGES_MOVED = Metric::counter("flyball.memcached.slab.moves", "{page}", CACHE, "Pages moved from one class to another.");
    SLAB_CHUNK = gauge("flyball.memcached.slab.chunk.size", BYTES, SLAB, "Size of the chunks of each slab class in use.");
    SLAB_PAGES = gauge("flyball.memcached.slab.pages", "{page}", SLAB, "Pages of each class.");
    SLAB_CHUNKS = gauge("flyball.memcached.slab.chunks", "{chunk}", &["cache", "flyball.slab", "flyball.state"], "Chunks of each class: used, free.");
    SLAB_ITEMS = gauge("flyball.memcached.slab.items", "{items}", SLAB, "Items of each class.");
    SLAB_AGE = gauge("flyball.memcached.slab.age", "s", SLAB, "Age of the oldest item of each class.");
    SLAB_EVICTED_AGE = gauge("flyball.memcached.slab.evicted.age", "s", SLAB, "How long nobody had asked for the item of each class that was evicted last.");
    SLAB_HITS = Metric::counter("flyball.memcached.slab.hits", "{hit}", SLAB, "Hits of get in each class.");
    SLAB_SETS = Metric::counter("flyball.memcached.slab.sets", "{commands}", SLAB, "Sets in each class.");
    SLAB_EVICTIONS = Metric::counter("flyball.memcached.slab.evictions", "{evictions}", SLAB, "Items evicted from each class.");
    SLAB_OUT_OF_MEMORY = Metric::counter("flyball.memcached.slab.out_of_memory", "{items}", SLAB, "Items of each class that could not be stored for want of memory.");
}
