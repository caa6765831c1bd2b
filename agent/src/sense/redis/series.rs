//! The series of one instance: from what INFO and the detail say to values.

use std::time::Instant;

use super::super::counters::Counters;
use super::ask::Answer;
use super::commands::Commands;
use super::databases::Databases;
use super::extra::Extra;
use super::kept::Kept;
use super::metrics as m;
use super::observer::Observer;
use crate::redis::{Info, Instance, Number, Role, Shares, State};
use crate::sense::{Handle, Metric, Readings};

type Attributes = &'static [(&'static str, &'static str)];
type Wanted = (Number, &'static Metric, Attributes);

/// Set in each reading as they are.
const GAUGES: [Wanted; 28] = [
    (Number::Used, &m::MEMORY_USED, &[]),
    (Number::Resident, &m::MEMORY_RSS, &[]),
    (Number::Peak, &m::MEMORY_PEAK, &[]),
    (Number::Lua, &m::MEMORY_LUA, &[]),
    (Number::Fragmentation, &m::FRAGMENTATION, &[]),
    (Number::MaxMemory, &m::MAXMEMORY, &[]),
    (Number::Allocated, &m::ALLOCATOR, &[("flyball.state", "allocated")]),
    (Number::Active, &m::ALLOCATOR, &[("flyball.state", "active")]),
    (Number::AllocatorResident, &m::ALLOCATOR, &[("flyball.state", "resident")]),
    (Number::NotEvictable, &m::NOT_EVICTABLE, &[]),
    (Number::HostMemory, &m::HOST_MEMORY, &[]),
    (Number::Clients, &m::CLIENTS, &[]),
    (Number::BlockedClients, &m::CLIENTS_BLOCKED, &[]),
    (Number::MaxClients, &m::CLIENTS_MAX, &[]),
    (Number::InputBuffer, &m::INPUT_BUFFER, &[]),
    (Number::OutputBuffer, &m::OUTPUT_BUFFER, &[]),
    (Number::CommandsPerSecond, &m::COMMANDS, &[]),
    (Number::Stale, &m::STALE, &[]),
    (Number::ChangesSinceSave, &m::CHANGES, &[]),
    (Number::LatestFork, &m::LATEST_FORK, &[]),
    (Number::RdbSaving, &m::BACKGROUND, &[("flyball.job", "rdb")]),
    (Number::AofRewriting, &m::BACKGROUND, &[("flyball.job", "aof")]),
    (Number::DefragRunning, &m::BACKGROUND, &[("flyball.job", "defrag")]),
    (Number::LazyfreePending, &m::LAZYFREE, &[]),
    (Number::Replicas, &m::REPLICAS, &[]),
    (Number::ReplicationOffset, &m::OFFSET, &[]),
    (Number::ReplicaOffset, &m::REPLICA_OFFSET, &[]),
    (Number::BacklogFirstByte, &m::BACKLOG_OFFSET, &[]),
];
/// Counters that CONFIG RESETSTAT sets to zero, together.
const STATS: [Wanted; 17] = [
    (Number::Hits, &m::HITS, &[]),
    (Number::Misses, &m::MISSES, &[]),
    (Number::Evicted, &m::EVICTED, &[]),
    (Number::Expired, &m::EXPIRED, &[]),
    (Number::ExpireCpu, &m::EXPIRE_CPU, &[]),
    (Number::ExpireCapReached, &m::EXPIRE_CAPPED, &[]),
    (Number::EvictionExceeded, &m::EVICTION_EXCEEDED, &[]),
    (Number::EvictedClients, &m::EVICTED_CLIENTS, &[]),
    (Number::Connections, &m::CONNECTIONS, &[]),
    (Number::RejectedConnections, &m::REJECTED, &[]),
    (Number::Commands, &m::PROCESSED, &[]),
    (Number::Errors, &m::ERRORS, &[]),
    (Number::NetInput, &m::NET_INPUT, &[]),
    (Number::NetOutput, &m::NET_OUTPUT, &[]),
    (Number::SyncFull, &m::SYNCS, &[("flyball.result", "full")]),
    (Number::SyncPartial, &m::SYNCS, &[("flyball.result", "partial")]),
    (Number::SyncPartialRefused, &m::SYNCS, &[("flyball.result", "refused")]),
];
/// Counters that only a start of the server sets to zero.
const PROCESS: [Wanted; 7] = [
    (Number::Uptime, &m::UPTIME, &[]),
    (Number::CpuSys, &m::CPU_TIME, &[("state", "sys")]),
    (Number::CpuUser, &m::CPU_TIME, &[("state", "user")]),
    (Number::CpuSysChildren, &m::CPU_TIME, &[("state", "sys_children")]),
    (Number::CpuUserChildren, &m::CPU_TIME, &[("state", "user_children")]),
    (Number::CpuSysMain, &m::CPU_TIME, &[("state", "sys_main_thread")]),
    (Number::CpuUserMain, &m::CPU_TIME, &[("state", "user_main_thread")]),
];
const PARTS: [&str; 8] =
    ["dataset", "startup", "clients", "replicas", "backlog", "aof", "cluster", "tables"];
const REASONS: [&str; 4] = ["capacity", "expired", "invalidated", "cold"];

/// All series of one instance.
pub(super) struct Series {
    up: Handle,
    state: [Handle; State::ALL.len()],
    kept: Kept,
    known: Option<Box<Known>>,
}

/// Those that are there once INFO has been read.
struct Known {
    cache: String,
    started: Handle,
    response_time: Handle,
    refused: Handle,
    label: Label,
    gauges: [Handle; GAUGES.len()],
    parts: [Handle; PARTS.len()],
    roles: [Handle; 2],
    lag: Handle,
    link: Option<Handle>,
    probes: Counters<2>,
    stats: Counters<{ STATS.len() }>,
    /// What the server said last, the agent's own lookups included.
    raw: [Option<i64>; STATS.len()],
    process: Counters<{ PROCESS.len() }>,
    reasons: Option<Reasons>,
    observer: Option<Observer>,
    databases: Databases,
    commands: Commands,
    extra: Extra,
}

/// What it is, as attributes of a series that is 1.
#[derive(Default)]
struct Label {
    values: [String; 5],
    handle: Option<Handle>,
}

/// Misses by reason.
struct Reasons {
    counters: Counters<{ REASONS.len() }>,
    sums: [f64; REASONS.len()],
}

/// Defines a series of a cache.
pub(in crate::sense) fn define(
    cache: &str,
    metric: &Metric,
    more: &[(&str, &str)],
    readings: &mut Readings,
) -> Handle {
    let mut attributes = vec![("cache", cache)];
    attributes.extend(more);
    readings.define(metric, &attributes)
}

impl Series {
    /// The series that are there whatever becomes of the instance.
    pub(super) fn new(instance: &Instance, readings: &mut Readings) -> Self {
        let cache = instance.name();
        let state = State::ALL
            .map(|state| define(cache, &m::STATE, &[("state", state.as_str())], readings));
        Self {
            up: define(cache, &m::UP, &[], readings),
            state,
            kept: Kept::new(instance.state_file().to_owned()),
            known: None,
        }
    }

    /// Sets the state.
    pub(super) fn set_state(&self, state: State, readings: &mut Readings) {
        readings.set(self.up, i64::from(state == State::Up));
        for (handle, other) in self.state.iter().zip(State::ALL) {
            readings.set(*handle, i64::from(state == other));
        }
    }

    /// Sets what an answer says.
    pub(super) fn set(
        &mut self,
        instance: &Instance,
        answer: &Answer,
        now_ms: i64,
        readings: &mut Readings,
    ) {
        let Some(took) = answer.took else { return };
        let probes = instance.probes().get();
        let is_new_run =
            self.kept.begin(&answer.info.run_id, started_ms(&answer.info, now_ms), probes);
        let mut known =
            self.known.take().unwrap_or_else(|| Box::new(Known::define(instance.name(), readings)));
        if is_new_run {
            known.new_run();
        } else if known.went_back(&answer.info) {
            self.kept.restart(server_ms(&answer.info).unwrap_or(now_ms), probes);
            known.restart();
        }
        readings.set_value(known.response_time, took.as_secs_f64());
        readings.set(known.refused, answer.refused.len() as i64);
        readings.set(known.started, self.kept.started_ms());
        known.set_stats(&answer.info, &mut self.kept, instance, readings);
        known.set_info(&answer.info, readings);
        if let Some(expired) = answer.info.get(Number::Expired) {
            instance.expirations().note(Instant::now(), expired);
        }
        if let Some(counts) = instance.observed().get() {
            let observer =
                known.observer.get_or_insert_with(|| Observer::define(&known.cache, readings));
            observer.set(&counts, readings);
        }
        if answer.detail.is_there {
            known.commands.set(&known.cache, &answer.info, readings);
            known.extra.set(&known.cache, &answer.detail, readings);
        }
        self.known = Some(known);
    }

    /// Keeps what has to outlive the agent.
    pub(super) fn save(&mut self, instance: &Instance) -> std::io::Result<()> {
        self.kept.save(instance.probes().get())
    }
}

impl Known {
    fn define(cache: &str, r: &mut Readings) -> Self {
        let all = |wanted: &Wanted, r: &mut Readings| define(cache, wanted.1, wanted.2, r);
        let probes = ["hit", "miss"]
            .map(|result| define(cache, &m::PROBES, &[("flyball.result", result)], r));
        Self {
            cache: cache.to_owned(),
            started: define(cache, &m::STARTED, &[], r),
            response_time: define(cache, &m::RESPONSE_TIME, &[], r),
            refused: define(cache, &m::REFUSED, &[], r),
            label: Label::default(),
            gauges: GAUGES.each_ref().map(|wanted| all(wanted, r)),
            parts: PARTS.map(|part| define(cache, &m::BREAKDOWN, &[("flyball.part", part)], r)),
            roles: [Role::Primary, Role::Replica]
                .map(|role| define(cache, &m::ROLE, &[("role", role.as_str())], r)),
            lag: define(cache, &m::LAG, &[], r),
            link: None,
            probes: Counters::new(probes, false),
            stats: Counters::new(STATS.each_ref().map(|wanted| all(wanted, r)), false),
            raw: [None; STATS.len()],
            process: Counters::new(PROCESS.each_ref().map(|wanted| all(wanted, r)), false),
            reasons: None,
            observer: None,
            databases: Databases::default(),
            commands: Commands::default(),
            extra: Extra::default(),
        }
    }

    /// True when a counter is less than it was: CONFIG RESETSTAT.
    fn went_back(&self, info: &Info) -> bool {
        STATS.iter().zip(&self.raw).any(|(wanted, last)| {
            let now = info.get(wanted.0);
            now.is_some() && now < *last
        })
    }

    /// The counters of section `stats` and of the commands began again.
    fn restart(&mut self) {
        self.stats.restart();
        self.probes.restart();
        self.raw = [None; STATS.len()];
        self.reasons.iter_mut().for_each(Reasons::restart);
        self.commands.restart();
        self.extra.restart();
    }

    /// The server is another one than before; before the first one there was none.
    fn new_run(&mut self) {
        if self.raw.iter().all(Option::is_none) {
            return;
        }
        self.restart();
        self.process.restart();
        self.extra.new_run();
    }

    fn set_stats(&mut self, info: &Info, kept: &mut Kept, instance: &Instance, r: &mut Readings) {
        let probes = instance.probes().get();
        self.raw = STATS.each_ref().map(|wanted| info.get(wanted.0));
        let mut values = self.raw;
        [values[0], values[1]] = kept.without_own([values[0], values[1]], probes);
        let misses = (self.stats.last()[1], values[1]);
        self.stats.set(values, r);
        self.probes.set(kept.own(probes).map(|own| Some(own as i64)), r);
        self.process.set(PROCESS.each_ref().map(|wanted| info.get(wanted.0)), r);
        if let Some(shares) = instance.attribution().get() {
            let cache = &self.cache;
            let reasons = self.reasons.get_or_insert_with(|| Reasons::define(cache, r));
            if let (Some(last), Some(now)) = misses {
                reasons.add((now - last).max(0), &shares);
            }
            reasons.set(r);
        }
    }

    fn set_info(&mut self, info: &Info, r: &mut Readings) {
        self.label.set(&self.cache, info, r);
        for (wanted, handle) in GAUGES.iter().zip(self.gauges) {
            if let Some(value) = info.get(wanted.0) {
                r.set(handle, value);
            }
        }
        if let Some(parts) = parts(info) {
            for (handle, bytes) in self.parts.iter().zip(parts) {
                r.set(*handle, bytes);
            }
        }
        if let Some(role) = info.role {
            r.set(self.roles[0], i64::from(role == Role::Primary));
            r.set(self.roles[1], i64::from(role == Role::Replica));
        }
        if let Some(lag) = lag(info) {
            r.set(self.lag, lag);
        }
        if let Some(is_up) = info.link_up {
            let cache = &self.cache;
            let link = *self.link.get_or_insert_with(|| define(cache, &m::LINK, &[], r));
            r.set(link, i64::from(is_up));
        }
        self.databases.set(&self.cache, info, r);
    }
}

impl Label {
    fn set(&mut self, cache: &str, info: &Info, readings: &mut Readings) {
        let role = info.role.map_or("", Role::as_str);
        let now =
            [&*info.eviction_policy, &*info.mode, info.product.as_str(), role, &*info.version];
        if self.values != now || self.handle.is_none() {
            self.values = now.map(str::to_owned);
            if let Some(old) = self.handle.take() {
                readings.retire(old);
            }
            let keys = ["eviction_policy", "mode", "product", "role", "version"];
            let pairs: Vec<_> = keys.into_iter().zip(now).collect();
            self.handle = Some(define(cache, &m::INFO, &pairs, readings));
        }
        if let Some(handle) = self.handle {
            readings.set(handle, 1);
        }
    }
}

impl Reasons {
    fn define(cache: &str, r: &mut Readings) -> Self {
        let handles =
            REASONS.map(|reason| define(cache, &m::MISS_REASONS, &[("flyball.reason", reason)], r));
        Self { counters: Counters::new(handles, false), sums: [0.0; REASONS.len()] }
    }

    fn restart(&mut self) {
        self.sums = [0.0; REASONS.len()];
        self.counters.restart();
    }

    fn add(&mut self, misses: i64, shares: &Shares) {
        for (sum, (_, share)) in self.sums.iter_mut().zip(shares.named()) {
            let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
            *sum += misses as f64 * share;
        }
    }

    fn set(&mut self, readings: &mut Readings) {
        self.counters.set(self.sums.map(|sum| Some(sum as i64)), readings);
    }
}

/// Bytes of each of [`PARTS`]. They sum to the memory used.
fn parts(info: &Info) -> Option<[i64; PARTS.len()]> {
    let or_none = |number| info.get(number).unwrap_or(0);
    let (overhead, startup) = (info.get(Number::Overhead)?, info.get(Number::Startup)?);
    let dataset = info.get(Number::Dataset)?;
    let others = [
        or_none(Number::NormalClients),
        or_none(Number::ReplicaClients),
        or_none(Number::Backlog),
        or_none(Number::AofBuffer),
        or_none(Number::ClusterLinks),
    ];
    let tables = overhead - startup - others.iter().sum::<i64>();
    let [clients, replicas, backlog, aof, cluster] = others;
    (tables >= 0).then_some([dataset, startup, clients, replicas, backlog, aof, cluster, tables])
}

/// Longest silence in replication, in seconds.
fn lag(info: &Info) -> Option<i64> {
    match info.role? {
        Role::Primary => {
            let online = info.replicas.iter().filter(|replica| replica.online);
            online.filter_map(|replica| replica.lag_s).max()
        }
        Role::Replica => info.get(Number::MasterSilence),
    }
}

/// The server's clock, in milliseconds.
fn server_ms(info: &Info) -> Option<i64> {
    info.get(Number::ServerTime).map(|usec| usec / 1_000)
}

/// When the server started. By its own clock this is the same in every reading, by ours it may be a second off.
fn started_ms(info: &Info, now_ms: i64) -> i64 {
    let now_s = server_ms(info).unwrap_or(now_ms).div_euclid(1_000);
    (now_s - info.get(Number::Uptime).unwrap_or(0)) * 1_000
}
