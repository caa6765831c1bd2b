//! What INFO says, of Redis 6 to 8 and of Valkey.
//!
//! A field that is not known is passed over, one that is missing or no number is unknown; sections may come in any order and several answers may be
//! read one after the other. Buffers are kept, so reading the same instance again allocates next to nothing.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::sense::parse::{decimal, integer};

/// Most databases, commands and replicas that are taken; a server has no more than a few hundred commands.
const MOST: usize = 512;

macro_rules! numbers {
    ($($number:ident = $key:literal $(* $digits:literal)?,)+) => {
        /// A number of INFO, by its field's name there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Number {
            $(#[doc = concat!("`", $key, "`", $(" in units of its decimal place ", $digits)?)] $number,)+
        }

        /// Field, number, decimal places.
        const NUMBERS: &[(&str, Number, usize)] = &[$(($key, Number::$number, 0 $(+ $digits)?),)+];
    };
}

// Those with `* n` are decimals and kept as integers of their nth place: seconds with `* 6` are microseconds.
numbers! {
    ProcessId = "process_id",
    Uptime = "uptime_in_seconds",
    ServerTime = "server_time_usec",
    Clients = "connected_clients",
    MaxClients = "maxclients",
    InputBuffer = "client_recent_max_input_buffer",
    OutputBuffer = "client_recent_max_output_buffer",
    BlockedClients = "blocked_clients",
    TrackingClients = "tracking_clients",
    Used = "used_memory",
    Resident = "used_memory_rss",
    Peak = "used_memory_peak",
    Overhead = "used_memory_overhead",
    Startup = "used_memory_startup",
    Dataset = "used_memory_dataset",
    HostMemory = "total_system_memory",
    Lua = "used_memory_lua",
    Scripts = "used_memory_scripts",
    MaxMemory = "maxmemory",
    Allocated = "allocator_allocated",
    Active = "allocator_active",
    AllocatorResident = "allocator_resident",
    Fragmentation = "mem_fragmentation_ratio" * 2,
    NotEvictable = "mem_not_counted_for_evict",
    Backlog = "mem_replication_backlog",
    ReplicaClients = "mem_clients_slaves",
    NormalClients = "mem_clients_normal",
    ClusterLinks = "mem_cluster_links",
    AofBuffer = "mem_aof_buffer",
    DefragRunning = "active_defrag_running",
    LazyfreePending = "lazyfree_pending_objects",
    Loading = "loading",
    ChangesSinceSave = "rdb_changes_since_last_save",
    RdbSaving = "rdb_bgsave_in_progress",
    AofEnabled = "aof_enabled",
    AofRewriting = "aof_rewrite_in_progress",
    Connections = "total_connections_received",
    Commands = "total_commands_processed",
    CommandsPerSecond = "instantaneous_ops_per_sec",
    NetInput = "total_net_input_bytes",
    NetOutput = "total_net_output_bytes",
    RejectedConnections = "rejected_connections",
    SyncFull = "sync_full",
    SyncPartial = "sync_partial_ok",
    SyncPartialRefused = "sync_partial_err",
    Expired = "expired_keys",
    Stale = "expired_stale_perc" * 2,
    ExpireCapReached = "expired_time_cap_reached_count",
    ExpireCpu = "expire_cycle_cpu_milliseconds",
    Evicted = "evicted_keys",
    EvictedClients = "evicted_clients",
    EvictionExceeded = "total_eviction_exceeded_time",
    Hits = "keyspace_hits",
    Misses = "keyspace_misses",
    LatestFork = "latest_fork_usec",
    Errors = "total_error_replies",
    Replicas = "connected_slaves",
    ReplicationOffset = "master_repl_offset",
    ReplicaOffset = "slave_repl_offset",
    BacklogFirstByte = "repl_backlog_first_byte_offset",
    MasterSilence = "master_last_io_seconds_ago",
    CpuSys = "used_cpu_sys" * 6,
    CpuUser = "used_cpu_user" * 6,
    CpuSysChildren = "used_cpu_sys_children" * 6,
    CpuUserChildren = "used_cpu_user_children" * 6,
    CpuSysMain = "used_cpu_sys_main_thread" * 6,
    CpuUserMain = "used_cpu_user_main_thread" * 6,
    ClusterEnabled = "cluster_enabled",
}

static BY_KEY: LazyLock<HashMap<&'static [u8], (Number, usize)>> = LazyLock::new(|| {
    NUMBERS.iter().map(|(key, number, digits)| (key.as_bytes(), (*number, *digits))).collect()
});

/// Whose server it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Product {
    /// Redis, or what gives itself out as one.
    #[default]
    Redis,
    /// Valkey.
    Valkey,
}

/// Its place in replication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It copies a primary.
    Replica,
}

/// One database that has keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Database {
    /// Its number.
    pub number: u32,
    /// Keys.
    pub keys: i64,
    /// Keys that expire.
    pub expires: i64,
    /// Mean time that those have left, in milliseconds.
    pub avg_ttl_ms: Option<i64>,
}

/// What is counted of one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Its name, `get` or `config|set`.
    pub name: String,
    /// Calls.
    pub calls: i64,
    /// Time of all calls, in microseconds.
    pub usec: i64,
    /// Calls that were refused before they ran; since 6.2.
    pub rejected: Option<i64>,
    /// Calls that failed; since 6.2.
    pub failed: Option<i64>,
}

/// How long one command takes, in nanoseconds: half of the calls, 99 %, 99.9 %.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Percentiles {
    /// Name of the command.
    pub name: String,
    /// At 50, 99 and 99.9 %.
    pub nanos: [Option<i64>; 3],
}

/// A replica of this primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Its copy is whole and goes on.
    pub online: bool,
    /// How long it has said nothing, in seconds.
    pub lag_s: Option<i64>,
}

/// What INFO has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Info {
    numbers: Vec<Option<i64>>,
    /// Whose server it is.
    pub product: Product,
    /// Its own version, also where it gives itself out as an older Redis.
    pub version: String,
    /// New at each start of the server.
    pub run_id: String,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// What it evicts when it is full.
    pub eviction_policy: String,
    /// Its place in replication.
    pub role: Option<Role>,
    /// A replica's link to its primary is up.
    pub link_up: Option<bool>,
    /// Databases with keys.
    pub databases: Vec<Database>,
    /// Replicas.
    pub replicas: Vec<Replica>,
    /// Commands; section `commandstats`, which has to be asked for.
    pub commands: Vec<Command>,
    /// Commands that were refused for want of memory, since 6.2; `None` where there were none yet.
    pub out_of_memory: Option<i64>,
    /// How long commands take; section `latencystats`, which has to be asked for.
    pub percentiles: Vec<Percentiles>,
}

impl Info {
    /// A number; `None` when the server did not say it.
    pub fn get(&self, number: Number) -> Option<i64> {
        self.numbers.get(number as usize).copied().flatten()
    }

    /// Keys of all databases, and those that expire.
    pub fn keys(&self) -> (i64, i64) {
        let sum = |of: fn(&Database) -> i64| self.databases.iter().map(of).sum();
        (sum(|db| db.keys), sum(|db| db.expires))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.numbers.clear();
        self.numbers.resize(NUMBERS.len(), None);
        self.product = Product::default();
        for text in [&mut self.version, &mut self.run_id, &mut self.mode, &mut self.eviction_policy]
        {
            text.clear();
        }
        (self.role, self.link_up, self.out_of_memory) = (None, None, None);
        self.databases.clear();
        self.replicas.clear();
        self.commands.clear();
        self.percentiles.clear();
    }

    /// Adds what an answer to INFO says.
    pub fn read(&mut self, text: &[u8]) {
        self.numbers.resize(NUMBERS.len(), None);
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            let Some(colon) = memchr::memchr(b':', line) else { continue };
            let (key, value) = (&line[..colon], &line[colon + 1..]);
            if let Some(&(number, digits)) = BY_KEY.get(key) {
                let parsed = if digits == 0 { integer(value) } else { decimal(value, digits) };
                self.numbers[number as usize] = parsed;
            } else {
                self.read_other(key, value);
            }
        }
    }

    fn read_other(&mut self, key: &[u8], value: &[u8]) {
        let Ok(text) = str::from_utf8(value) else { return };
        match key {
            b"redis_version" if self.version.is_empty() => self.version.push_str(text),
            // It says an older redis_version beside it, for clients that look at that.
            b"valkey_version" => {
                self.product = Product::Valkey;
                text.clone_into(&mut self.version);
            }
            b"server_name" if text == "valkey" => self.product = Product::Valkey,
            b"run_id" => text.clone_into(&mut self.run_id),
            b"redis_mode" | b"server_mode" => text.clone_into(&mut self.mode),
            b"maxmemory_policy" => text.clone_into(&mut self.eviction_policy),
            b"role" => {
                self.role = match text {
                    "master" => Some(Role::Primary),
                    "slave" => Some(Role::Replica),
                    _ => None,
                }
            }
            b"errorstat_OOM" => self.out_of_memory = part(text, "count"),
            b"master_link_status" => self.link_up = Some(text == "up"),
            _ => self.read_list(key, text),
        }
    }

    fn read_list(&mut self, key: &[u8], text: &str) {
        let Ok(key) = str::from_utf8(key) else { return };
        if let Some(name) = key.strip_prefix("cmdstat_") {
            let command = Command::parse(name, text);
            self.commands.extend(command.filter(|_| self.commands.len() < MOST));
        } else if let Some(name) = key.strip_prefix("latency_percentiles_usec_") {
            if self.percentiles.len() < MOST {
                self.percentiles.push(Percentiles::parse(name, text));
            }
        } else if let Some(number) = key.strip_prefix("db").and_then(|n| n.parse().ok()) {
            let database = Database::parse(number, text);
            self.databases.extend(database.filter(|_| self.databases.len() < MOST));
        } else if key.strip_prefix("slave").is_some_and(|n| n.parse::<u32>().is_ok())
            && self.replicas.len() < MOST
        {
            self.replicas.push(Replica::parse(text));
        }
    }
}

impl Role {
    /// As series spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
        }
    }
}

impl Product {
    /// As series spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Valkey => "valkey",
        }
    }
}

impl Database {
    fn parse(number: u32, text: &str) -> Option<Self> {
        let (keys, expires) = (part(text, "keys")?, part(text, "expires")?);
        Some(Self { number, keys, expires, avg_ttl_ms: part(text, "avg_ttl") })
    }
}

impl Command {
    fn parse(name: &str, text: &str) -> Option<Self> {
        Some(Self {
            calls: part(text, "calls")?,
            usec: part(text, "usec")?,
            rejected: part(text, "rejected_calls"),
            failed: part(text, "failed_calls"),
            name: name.to_owned(),
        })
    }
}

impl Percentiles {
    fn parse(name: &str, text: &str) -> Self {
        let nanos = ["p50", "p99", "p99.9"].map(|key| decimal(value(text, key)?.as_bytes(), 3));
        Self { name: name.to_owned(), nanos }
    }
}

impl Replica {
    fn parse(text: &str) -> Self {
        Self { online: value(text, "state") == Some("online"), lag_s: part(text, "lag") }
    }
}

/// The number behind a key in `keys=1,expires=0`.
fn part(text: &str, key: &str) -> Option<i64> {
    integer(value(text, key)?.as_bytes())
}

fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.split(',').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Info {
        let mut info = Info::default();
        info.read(text.as_bytes());
        info
    }

    #[test]
    fn redis_6_2() {
        let info = read(include_str!("../../tests/info/redis-6.2.txt"));
        assert_eq!(
            (info.product, &*info.version, &*info.mode),
            (Product::Redis, "6.2.14", "standalone")
        );
        assert_eq!((&*info.eviction_policy, info.role), ("allkeys-lru", Some(Role::Replica)));
        assert_eq!((info.link_up, info.get(Number::MasterSilence)), (Some(true), Some(4)));
        for (number, value) in [
            (Number::Uptime, 86_405),
            (Number::ServerTime, 1_717_230_245_123_456),
            (Number::Hits, 290_000_000),
            (Number::NetOutput, 98_765_432_109),
            (Number::Fragmentation, 120),
            (Number::Stale, 42),
            (Number::CpuSys, 812_452_101),
            (Number::CpuSysMain, 810_900_000),
            (Number::CpuUserMain, 1_638_000_000),
        ] {
            assert_eq!(info.get(number), Some(value), "{number:?}");
        }
        assert_eq!(
            (info.get(Number::ClusterLinks), info.get(Number::EvictedClients)),
            (None, None)
        );
        let third = Database { number: 3, keys: 10, expires: 0, avg_ttl_ms: Some(0) };
        assert_eq!(
            (info.databases.len(), info.databases[1], info.keys()),
            (2, third, (223_354, 1_200))
        );
        let client = Command {
            name: "client".to_owned(),
            calls: 7,
            usec: 12,
            rejected: Some(1),
            failed: Some(2),
        };
        assert_eq!((info.commands.len(), &info.commands[1]), (2, &client));
    }

    #[test]
    fn redis_7_4() {
        let info = read(include_str!("../../tests/info/redis-7.4.txt"));
        assert_eq!(
            (&*info.version, &*info.mode, info.role),
            ("7.4.1", "cluster", Some(Role::Primary))
        );
        for (number, value) in [
            (Number::Loading, 1),
            (Number::ClusterEnabled, 1),
            (Number::EvictionExceeded, 1_500),
            (Number::EvictedClients, 6),
            (Number::SyncPartialRefused, 1),
            (Number::RdbSaving, 1),
        ] {
            assert_eq!(info.get(number), Some(value), "{number:?}");
        }
        let replicas =
            [Replica { online: true, lag_s: Some(1) }, Replica { online: false, lag_s: Some(77) }];
        assert_eq!(info.replicas, replicas);
        assert_eq!(info.commands[0].name, "cluster|slots");
        let get = Percentiles {
            name: "get".to_owned(),
            nanos: [Some(1_003), Some(1_004_031), Some(1_004_031)],
        };
        assert_eq!(info.percentiles[1], get);
        assert_eq!(info.keys(), (4, 1));
    }

    #[test]
    fn redis_8_0() {
        let info = read(include_str!("../../tests/info/redis-8.0.txt"));
        assert_eq!((&*info.version, &*info.eviction_policy), ("8.0.2", "allkeys-lfu"));
        assert_eq!((info.get(Number::Hits), info.get(Number::Misses)), (Some(8_000), Some(1_000)));
        assert_eq!((info.databases.len(), info.keys()), (2, (900_001, 900_000)));
        assert_eq!(info.get(Number::CpuUser), Some(2_250_000));
    }

    #[test]
    fn valkey_8_1() {
        let info = read(include_str!("../../tests/info/valkey-8.1.txt"));
        assert_eq!(
            (info.product, &*info.version, &*info.mode),
            (Product::Valkey, "8.1.1", "standalone")
        );
        assert_eq!(info.eviction_policy, "volatile-ttl");
        assert_eq!((info.get(Number::Hits), info.get(Number::Misses)), (None, None), "no numbers");
        assert_eq!(info.replicas, [Replica { online: true, lag_s: Some(0) }]);
    }

    #[test]
    fn line_ends_of_the_wire_and_answers_one_after_the_other() {
        let mut info =
            read("# Server\r\nredis_version:7.0.15\r\nrun_id:a\r\nuptime_in_seconds:3\r\n");
        info.read(b"\r\n# Commandstats\r\ncmdstat_get:calls=1,usec=2,usec_per_call=2.00\r\n");
        assert_eq!(
            (&*info.version, &*info.run_id, info.get(Number::Uptime)),
            ("7.0.15", "a", Some(3))
        );
        let get =
            Command { name: "get".to_owned(), calls: 1, usec: 2, rejected: None, failed: None };
        assert_eq!(info.commands, [get]);
        info.clear();
        let mut empty = Info::default();
        empty.read(b"");
        assert_eq!(info, empty);
    }

    #[test]
    fn every_number_is_found_by_its_own_key() {
        assert_eq!(BY_KEY.len(), NUMBERS.len());
        for (place, (key, number, _)) in NUMBERS.iter().enumerate() {
            assert_eq!(*number as usize, place);
            assert_eq!(read(&format!("{key}:7")).get(*number).map(|value| value % 7), Some(0));
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_nothing_breaks(text in "([a-z_]{0,12}[:=,.0-9|]{0,9}\\PC{0,9}\r?\n){0,20}") {
            read(&text);
        }
    }
}
