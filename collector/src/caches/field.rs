//! Which series is which column: names of the agents' samplers (docs/metrics.md).

use flyball_proto::series::Series;

/// Most buckets of latencies in a row.
pub(super) const BUCKETS: usize = 64;
const REDIS: &str = "redis";
const MEMCACHED: &str = "memcached";

/// What a series says of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// A whole number; several series of the same one are its parts.
    Number(Number),
    /// When its counters began.
    Started,
    /// Misses of one reason.
    Miss(MissReason),
    /// Calls in the bucket up to this bound in microseconds.
    Bucket(u32),
    /// A part of its CPU time.
    Cpu,
    /// What it is; the place of its texts.
    Label(usize),
}

/// A column of whole numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    StartedMs,
    Max,
    Used,
    Resident,
    Keys,
    KeysWithTtl,
    Clients,
    Hits,
    Misses,
    Evictions,
    Expirations,
    Received,
    Sent,
}

/// Why a key was missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MissReason {
    Capacity,
    Expired,
    Invalidated,
    Cold,
}

impl Number {
    pub(super) const COUNT: usize = Self::Sent as usize + 1;
}

impl MissReason {
    pub(super) const COUNT: usize = Self::Cold as usize + 1;

    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "capacity" => Self::Capacity,
            "expired" => Self::Expired,
            "invalidated" => Self::Invalidated,
            "cold" => Self::Cold,
            _ => return None,
        })
    }
}

impl Field {
    /// The kind of cache and what is said of it; `None` for all other series.
    pub(super) fn of(series: &Series) -> Option<(&'static str, Self)> {
        let metric = series.metric.as_str();
        // Nearly all series are of the host.
        if metric.starts_with("redis.") || metric.starts_with("flyball.redis.") {
            Self::of_redis(metric, series).map(|field| (REDIS, field))
        } else if metric.starts_with("memcached.") || metric.starts_with("flyball.memcached.") {
            Self::of_memcached(metric, series).map(|field| (MEMCACHED, field))
        } else {
            None
        }
    }

    fn of_redis(metric: &str, series: &Series) -> Option<Self> {
        let attribute = |key| series.attribute(key);
        Some(match metric {
            "redis.keyspace.hits" => Self::Number(Number::Hits),
            "redis.keyspace.misses" => Self::Number(Number::Misses),
            "redis.keys.evicted" => Self::Number(Number::Evictions),
            "redis.keys.expired" => Self::Number(Number::Expirations),
            "redis.memory.used" => Self::Number(Number::Used),
            "redis.memory.rss" => Self::Number(Number::Resident),
            "redis.maxmemory" => Self::Number(Number::Max),
            "redis.clients.connected" => Self::Number(Number::Clients),
            "redis.net.input" => Self::Number(Number::Received),
            "redis.net.output" => Self::Number(Number::Sent),
            "redis.db.keys" => Self::Number(Number::Keys),
            "redis.db.expires" => Self::Number(Number::KeysWithTtl),
            // Those of the main thread are in these.
            "redis.cpu.time" => match attribute("state")? {
                "sys" | "user" | "sys_children" | "user_children" => Self::Cpu,
                _ => return None,
            },
            "flyball.redis.started" => Self::Started,
            "flyball.redis.info" => Self::Label(0),
            "flyball.redis.misses" => Self::Miss(MissReason::parse(attribute("flyball.reason")?)?),
            "flyball.redis.commands.duration" => {
                Self::Bucket(attribute("flyball.bucket")?.parse().ok()?)
            }
            _ => return None,
        })
    }

    fn of_memcached(metric: &str, series: &Series) -> Option<Self> {
        let attribute = |key| series.attribute(key).unwrap_or_default();
        Some(match metric {
            "memcached.operations" => match (attribute("operation"), attribute("type")) {
                ("get", "hit") => Self::Number(Number::Hits),
                ("get", "miss") => Self::Number(Number::Misses),
                _ => return None,
            },
            "memcached.evictions" => Self::Number(Number::Evictions),
            "flyball.memcached.expirations" => Self::Number(Number::Expirations),
            "memcached.bytes" => Self::Number(Number::Used),
            "flyball.memcached.limit" => Self::Number(Number::Max),
            "memcached.connections.current" => Self::Number(Number::Clients),
            "memcached.current_items" => Self::Number(Number::Keys),
            "memcached.network" => match attribute("direction") {
                "received" => Self::Number(Number::Received),
                "sent" => Self::Number(Number::Sent),
                _ => return None,
            },
            "memcached.cpu.usage" => Self::Cpu,
            "flyball.memcached.misses" => {
                Self::Miss(MissReason::parse(attribute("flyball.reason"))?)
            }
            "flyball.memcached.started" => Self::Started,
            "flyball.memcached.info" => Self::Label(0),
            _ => return None,
        })
    }
}
