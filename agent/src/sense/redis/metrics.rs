//! What is published of a Redis: names of OpenTelemetry's Redis receiver, `flyball.redis.*` where it has none.

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

const fn seconds(
    name: &'static str,
    digits: u8,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    let (kind, scale) = (Kind::Counter, Scale::decimal(digits));
    Metric { name, unit: "s", kind, scale, attributes, description }
}

const CACHE: &[&str] = &["cache"];
const BYTES: &str = "By";

macro_rules! metrics {
    ($($name:ident = $metric:expr;)+) => {
        $(pub(super) const $name: Metric = $metric;)+
        /// All of them, in the order of the documentation.
        pub(super) const METRICS: &[Metric] = &[$($name,)+];
    };
}

metrics! {
    UP = gauge("flyball.redis.up", "1", CACHE, "1 when it answers and serves, else 0.");
    STATE = gauge("flyball.redis.state", "1", &["cache", "state"], "1 for the state that it is in: up, unreachable, slow (no answer in time), loading, denied (password or rights).");
    INFO = gauge("flyball.redis.info", "1", &["cache", "eviction_policy", "mode", "product", "role", "version"], "1, with what it is as attributes.");
    STARTED = scaled("flyball.redis.started", "s", Scale::decimal(3), CACHE, "When its counters began, since the Unix epoch: its start, or the last CONFIG RESETSTAT.");
    RESPONSE_TIME = scaled("flyball.redis.response_time", "s", Scale::decimal(6), CACHE, "Time until INFO was answered.");
    REFUSED = gauge("flyball.redis.commands.refused", "{command}", CACHE, "Commands of the sampler that it refuses; what they would tell is missing.");
    UPTIME = Metric::counter("redis.uptime", "s", CACHE, "Time since its start.");
    HITS = Metric::counter("redis.keyspace.hits", "{hit}", CACHE, "Lookups of keys that were there, without the agent's own.");
    MISSES = Metric::counter("redis.keyspace.misses", "{miss}", CACHE, "Lookups of keys that were not there, without the agent's own.");
    PROBES = Metric::counter("flyball.redis.probes", "{lookup}", &["cache", "flyball.result"], "Lookups of the agent itself by result, hit and miss; they are subtracted from redis.keyspace.hits and misses.");
    MISS_REASONS = Metric::counter("flyball.redis.misses", "{miss}", &["cache", "flyball.reason"], "Misses by their estimated reason: capacity (the key had been evicted), expired, invalidated (deleted), cold (never there). While the agent observes the cache.");
    WINDOWS = Metric::counter("flyball.cache.windows", "{window}", CACHE, "Times that the agent has heard its keyspace events for a while. While the agent observes the cache, as all of flyball.cache.*.");
    HEARD = Metric::counter("flyball.cache.events", "{event}", CACHE, "Keyspace events that the agent has heard.");
    WATCHED = seconds("flyball.cache.watched.time", 3, CACHE, "Time that the agent has heard its keyspace events.");
    OBSERVER_REFUSALS = Metric::counter("flyball.cache.refusals", "{refusal}", CACHE, "Times that it refused something that the agent's observer asked for.");
    GUARD_TRIPS = Metric::counter("flyball.cache.guard_trips", "{trip}", CACHE, "Times that the agent did not read its requests, or not to the end, to do no harm.");
    STATE_SIZE = gauge("flyball.cache.state.size", BYTES, CACHE, "What the agent keeps of it on its disk.");
    EVICTED = Metric::counter("redis.keys.evicted", "{key}", CACHE, "Keys evicted because of maxmemory.");
    EXPIRED = Metric::counter("redis.keys.expired", "{event}", CACHE, "Keys that expired.");
    STALE = scaled("flyball.redis.keys.stale", "1", Scale::decimal(4), CACHE, "Estimated share of keys that have expired and are still there.");
    EXPIRE_CPU = seconds("flyball.redis.expire.cpu.time", 3, CACHE, "Time spent looking for expired keys.");
    EXPIRE_CAPPED = Metric::counter("flyball.redis.expire.capped", "{cycle}", CACHE, "Times that the search for expired keys was cut short.");
    EVICTION_EXCEEDED = seconds("flyball.redis.eviction.exceeded.time", 3, CACHE, "Time that more than maxmemory was used.");
    EVICTED_CLIENTS = Metric::counter("flyball.redis.clients.evicted", "{client}", CACHE, "Clients cut off because of maxmemory-clients.");
    MEMORY_USED = gauge("redis.memory.used", BYTES, CACHE, "Memory that its allocator gave out.");
    MEMORY_RSS = gauge("redis.memory.rss", BYTES, CACHE, "Resident memory.");
    MEMORY_PEAK = gauge("redis.memory.peak", BYTES, CACHE, "Most memory used so far.");
    MEMORY_LUA = gauge("redis.memory.lua", BYTES, CACHE, "Memory of the Lua engine.");
    FRAGMENTATION = scaled("redis.memory.fragmentation_ratio", "1", Scale::decimal(2), CACHE, "Resident memory as a multiple of the memory used.");
    MAXMEMORY = gauge("redis.maxmemory", BYTES, CACHE, "Limit of the memory used; 0: none.");
    BREAKDOWN = gauge("flyball.redis.memory.breakdown", BYTES, &["cache", "flyball.part"], "Memory used by part: dataset, startup, clients, replicas, backlog (of replication), aof, cluster, and tables (of keys, and the rest of the overhead). The parts sum to redis.memory.used.");
    ALLOCATOR = gauge("flyball.redis.memory.allocator", BYTES, &["cache", "flyball.state"], "The allocator's memory: allocated, active (in pages), resident.");
    NOT_EVICTABLE = gauge("flyball.redis.memory.not_evictable", BYTES, CACHE, "Memory used that does not count towards maxmemory.");
    HOST_MEMORY = gauge("flyball.redis.memory.host", BYTES, CACHE, "Memory of its host.");
    CLIENTS = gauge("redis.clients.connected", "{client}", CACHE, "Connections of clients.");
    CLIENTS_BLOCKED = gauge("redis.clients.blocked", "{client}", CACHE, "Clients in a call that blocks.");
    CLIENTS_MAX = gauge("flyball.redis.clients.limit", "{client}", CACHE, "Most connections that it takes.");
    INPUT_BUFFER = gauge("redis.clients.max_input_buffer", BYTES, CACHE, "Largest input buffer of a client lately.");
    OUTPUT_BUFFER = gauge("redis.clients.max_output_buffer", BYTES, CACHE, "Largest output buffer of a client lately.");
    CONNECTIONS = Metric::counter("redis.connections.received", "{connection}", CACHE, "Connections accepted.");
    REJECTED = Metric::counter("redis.connections.rejected", "{connection}", CACHE, "Connections refused because there were too many.");
    COMMANDS = gauge("redis.commands", "{ops}/s", CACHE, "Commands per second, as it measures them.");
    PROCESSED = Metric::counter("redis.commands.processed", "{command}", CACHE, "Commands processed.");
    ERRORS = Metric::counter("flyball.redis.errors", "{error}", CACHE, "Answers that were errors.");
    NET_INPUT = Metric::counter("redis.net.input", BYTES, CACHE, "Bytes read from the network.");
    NET_OUTPUT = Metric::counter("redis.net.output", BYTES, CACHE, "Bytes written to the network.");
    CPU_TIME = seconds("redis.cpu.time", 6, &["cache", "state"], "CPU time by kind: sys and user of all threads, of children (sys_children, user_children) and of the main thread (sys_main_thread, user_main_thread).");
    DB_KEYS = gauge("redis.db.keys", "{key}", &["cache", "db"], "Keys of each database.");
    DB_EXPIRES = gauge("redis.db.expires", "{key}", &["cache", "db"], "Keys of each database that expire.");
    DB_AVG_TTL = gauge("redis.db.avg_ttl", "ms", &["cache", "db"], "Mean time that the keys which expire have left.");
    CHANGES = gauge("redis.rdb.changes_since_last_save", "{change}", CACHE, "Changes since the last dump.");
    LATEST_FORK = gauge("redis.latest_fork", "us", CACHE, "Duration of the last fork.");
    BACKGROUND = gauge("flyball.redis.background", "1", &["cache", "flyball.job"], "1 while a job in the background runs: rdb, aof, defrag.");
    LAZYFREE = gauge("flyball.redis.lazyfree.pending", "{object}", CACHE, "Objects that wait to be freed in the background.");
    ROLE = gauge("redis.role", "{role}", &["cache", "role"], "1 for the role that it has: primary, replica.");
    REPLICAS = gauge("redis.slaves.connected", "{replica}", CACHE, "Replicas connected to it.");
    OFFSET = gauge("redis.replication.offset", BYTES, CACHE, "Its place in the stream of replication.");
    REPLICA_OFFSET = gauge("redis.replication.replica_offset", BYTES, CACHE, "A replica's place in the stream of its primary.");
    BACKLOG_OFFSET = gauge("redis.replication.backlog_first_byte_offset", BYTES, CACHE, "Place of the first byte in the backlog of replication.");
    LAG = gauge("flyball.redis.replication.lag", "s", CACHE, "A primary: longest silence of an online replica. A replica: silence of its primary.");
    LINK = gauge("flyball.redis.replication.link", "1", CACHE, "1 while a replica is connected to its primary, else 0.");
    SYNCS = Metric::counter("flyball.redis.replication.syncs", "{sync}", &["cache", "flyball.result"], "Synchronizations with replicas by result: full, partial, refused (a partial one that was not possible).");
    CLUSTER_STATE = gauge("redis.cluster.state", "{state}", CACHE, "1 when the cluster serves, else 0. On nodes of a cluster.");
    SLOTS_ASSIGNED = gauge("redis.cluster.slots_assigned", "{slot}", CACHE, "Slots that some node has.");
    SLOTS_OK = gauge("redis.cluster.slots_ok", "{slot}", CACHE, "Slots whose node answers.");
    SLOTS_PFAIL = gauge("redis.cluster.slots_pfail", "{slot}", CACHE, "Slots whose node does not answer this one.");
    SLOTS_FAIL = gauge("redis.cluster.slots_fail", "{slot}", CACHE, "Slots whose node has failed.");
    KNOWN_NODES = gauge("redis.cluster.known_nodes", "{node}", CACHE, "Nodes that it knows.");
    NODE_COUNT = gauge("redis.cluster.node.count", "{node}", CACHE, "Primaries that have slots.");
    CMD_CALLS = Metric::counter("redis.cmd.calls", "{call}", &["cache", "cmd"], "Calls of each command.");
    CMD_USEC = Metric::counter("redis.cmd.usec", "us", &["cache", "cmd"], "Time of all calls of each command.");
    CMD_FAILURES = Metric::counter("flyball.redis.cmd.failures", "{call}", &["cache", "cmd", "flyball.reason"], "Calls that were refused (rejected) or failed, of commands of which there are any.");
    CMD_LATENCY = scaled("redis.cmd.latency", "s", Scale::decimal(9), &["cache", "cmd", "percentile"], "Time that the calls of each command took at most, by share: p50, p99, p99.9. Since the start.");
    DURATION = Metric::counter("flyball.redis.commands.duration", "{call}", &["cache", "flyball.bucket"], "Calls of all commands but the agent's own by how long they took, in buckets with these upper bounds in microseconds. Since 7.0.");
    SLOWLOG = Metric::counter("flyball.redis.slowlog.entries", "{entry}", CACHE, "Commands that came into the slow log, since the agent started.");
    SLOWLOG_LONGEST = scaled("flyball.redis.slowlog.longest", "s", Scale::decimal(6), CACHE, "Longest command that came into the slow log since the reading before; 0: none did.");
    LATENCY_EVENT = scaled("flyball.redis.latency.event", "s", Scale::decimal(3), &["cache", "flyball.event"], "Last spike of each event of the latency monitor, where it is switched on.");
}
