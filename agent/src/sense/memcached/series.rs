//! The series of one server: from its statistics to values.

use super::ask::{Answer, Stats};
use super::config::MemcachedServer;
use super::metrics as m;
use super::slabs::Slabs;
use crate::redis::State;
use crate::sense::counters::Counters;
use crate::sense::redis::{Kept, define};
use crate::sense::{Handle, Metric, Readings};

/// A statistic and what it is published as.
type Wanted = (&'static str, &'static Metric, &'static [(&'static str, &'static str)]);

/// Set in each reading as they are.
const GAUGES: [Wanted; 7] = [
    ("bytes", &m::USED, &[]),
    ("limit_maxbytes", &m::LIMIT, &[]),
    ("curr_items", &m::ITEMS, &[]),
    ("curr_connections", &m::CONNECTIONS, &[]),
    ("threads", &m::THREADS, &[]),
    ("hash_bytes", &m::HASH, &[]),
    ("slab_global_page_pool", &m::PAGES_FREE, &[]),
];
/// Counters that `stats reset` sets to zero, together.
const COUNTERS: [Wanted; 31] = [
    ("get_hits", &m::OPERATIONS, &[("operation", "get"), ("type", "hit")]),
    ("get_misses", &m::OPERATIONS, &[("operation", "get"), ("type", "miss")]),
    ("incr_hits", &m::OPERATIONS, &[("operation", "increment"), ("type", "hit")]),
    ("incr_misses", &m::OPERATIONS, &[("operation", "increment"), ("type", "miss")]),
    ("decr_hits", &m::OPERATIONS, &[("operation", "decrement"), ("type", "hit")]),
    ("decr_misses", &m::OPERATIONS, &[("operation", "decrement"), ("type", "miss")]),
    ("delete_hits", &m::OPERATIONS, &[("operation", "delete"), ("type", "hit")]),
    ("delete_misses", &m::OPERATIONS, &[("operation", "delete"), ("type", "miss")]),
    ("touch_hits", &m::OPERATIONS, &[("operation", "touch"), ("type", "hit")]),
    ("touch_misses", &m::OPERATIONS, &[("operation", "touch"), ("type", "miss")]),
    ("cas_hits", &m::OPERATIONS, &[("operation", "cas"), ("type", "hit")]),
    ("cas_misses", &m::OPERATIONS, &[("operation", "cas"), ("type", "miss")]),
    ("cmd_get", &m::COMMANDS, &[("command", "get")]),
    ("cmd_set", &m::COMMANDS, &[("command", "set")]),
    ("cmd_flush", &m::COMMANDS, &[("command", "flush")]),
    ("cmd_touch", &m::COMMANDS, &[("command", "touch")]),
    ("get_expired", &m::MISS_REASONS, &[("flyball.reason", "expired")]),
    ("get_flushed", &m::MISS_REASONS, &[("flyball.reason", "invalidated")]),
    ("total_items", &m::STORED, &[]),
    ("total_connections", &m::CONNECTIONS_TOTAL, &[]),
    ("rejected_connections", &m::CONNECTIONS_REJECTED, &[]),
    ("evictions", &m::EVICTIONS, &[]),
    ("evicted_unfetched", &m::EVICTED_UNFETCHED, &[]),
    ("reclaimed", &m::EXPIRATIONS, &[("flyball.reason", "store")]),
    ("crawler_reclaimed", &m::EXPIRATIONS, &[("flyball.reason", "crawler")]),
    ("expired_unfetched", &m::EXPIRED_UNFETCHED, &[]),
    ("store_too_large", &m::STORE_FAILURES, &[("flyball.reason", "too_large")]),
    ("store_no_memory", &m::STORE_FAILURES, &[("flyball.reason", "no_memory")]),
    ("bytes_read", &m::NETWORK, &[("direction", "received")]),
    ("bytes_written", &m::NETWORK, &[("direction", "sent")]),
    ("slabs_moved", &m::PAGES_MOVED, &[]),
];
/// Counters that only a start of the server sets to zero.
const PROCESS: [Wanted; 3] = [
    ("uptime", &m::UPTIME, &[]),
    ("rusage_system", &m::CPU, &[("state", "system")]),
    ("rusage_user", &m::CPU, &[("state", "user")]),
];
/// Names of all statistics that are looked at.
pub(super) const WANTED: [&str; GAUGES.len() + COUNTERS.len() + PROCESS.len() + 2] = {
    let mut names = ["pid"; GAUGES.len() + COUNTERS.len() + PROCESS.len() + 2];
    let mut place = 0;
    while place < GAUGES.len() {
        names[place] = GAUGES[place].0;
        place += 1;
    }
    while place < GAUGES.len() + COUNTERS.len() {
        names[place] = COUNTERS[place - GAUGES.len()].0;
        place += 1;
    }
    while place < GAUGES.len() + COUNTERS.len() + PROCESS.len() {
        names[place] = PROCESS[place - GAUGES.len() - COUNTERS.len()].0;
        place += 1;
    }
    names[place] = "time";
    names
};
/// States that a memcached can be in.
const STATES: [State; 4] = [State::Up, State::Unreachable, State::Slow, State::Denied];

/// All series of one server.
pub(super) struct Series {
    up: Handle,
    state: [Handle; STATES.len()],
    kept: Kept,
    known: Option<Box<Known>>,
}

/// Those that are there once the statistics have been read.
struct Known {
    cache: String,
    started: Handle,
    response_time: Handle,
    label: (String, &'static str),
    info: Option<Handle>,
    gauges: [Handle; GAUGES.len()],
    counters: Counters<{ COUNTERS.len() }>,
    process: Counters<{ PROCESS.len() }>,
    slabs: Slabs,
}

impl Series {
    /// The series that are there whatever becomes of the server.
    pub(super) fn new(server: &MemcachedServer, readings: &mut Readings) -> Self {
        let cache = &server.name;
        let state =
            STATES.map(|state| define(cache, &m::STATE, &[("state", state.as_str())], readings));
        Self {
            up: define(cache, &m::UP, &[], readings),
            state,
            kept: Kept::new(server.state_file.clone()),
            known: None,
        }
    }

    /// Sets the state.
    pub(super) fn set_state(&self, state: State, readings: &mut Readings) {
        readings.set(self.up, i64::from(state == State::Up));
        for (handle, other) in self.state.iter().zip(STATES) {
            readings.set(*handle, i64::from(state == other));
        }
    }

    /// Sets what an answer says.
    pub(super) fn set(
        &mut self,
        server: &MemcachedServer,
        answer: &Answer,
        readings: &mut Readings,
    ) {
        let Some(took) = answer.took else { return };
        let stats = &answer.stats;
        let now_s = stats.get("time").unwrap_or(0);
        let started_s = now_s - stats.get("uptime").unwrap_or(0);
        let run = format!("{}-{started_s}", stats.get("pid").unwrap_or(0));
        let is_new_run = self.kept.begin(&run, started_s * 1_000, (0, 0));
        let known = match &mut self.known {
            Some(known) => {
                if is_new_run {
                    known.restart();
                    known.process.restart();
                } else if known.counters.went_back(&numbers(stats)) {
                    self.kept.restart(now_s * 1_000, (0, 0));
                    known.restart();
                }
                known
            }
            none => none.insert(Box::new(Known::define(&server.name, readings))),
        };
        readings.set_value(known.response_time, took.as_secs_f64());
        readings.set(known.started, self.kept.started_ms());
        known.set(answer, readings);
    }

    /// Keeps what has to outlive the agent.
    pub(super) fn save(&mut self) -> std::io::Result<()> {
        self.kept.save((0, 0))
    }
}

impl Known {
    fn define(cache: &str, r: &mut Readings) -> Self {
        let all = |wanted: &Wanted, r: &mut Readings| define(cache, wanted.1, wanted.2, r);
        Self {
            cache: cache.to_owned(),
            started: define(cache, &m::STARTED, &[], r),
            response_time: define(cache, &m::RESPONSE_TIME, &[], r),
            label: (String::new(), ""),
            info: None,
            gauges: GAUGES.each_ref().map(|wanted| all(wanted, r)),
            counters: Counters::new(COUNTERS.each_ref().map(|wanted| all(wanted, r)), false),
            process: Counters::new(PROCESS.each_ref().map(|wanted| all(wanted, r)), false),
            slabs: Slabs::default(),
        }
    }

    fn restart(&mut self) {
        self.counters.restart();
        self.slabs.restart();
    }

    fn set(&mut self, answer: &Answer, r: &mut Readings) {
        let stats = &answer.stats;
        for (wanted, handle) in GAUGES.iter().zip(self.gauges) {
            if let Some(value) = stats.get(wanted.0) {
                r.set(handle, value);
            }
        }
        self.counters.set(numbers(stats), r);
        self.process.set(PROCESS.each_ref().map(|wanted| stats.get(wanted.0)), r);
        if self.label.0 != stats.version || self.label.1 != answer.eviction_policy {
            self.label = (stats.version.clone(), answer.eviction_policy);
            if let Some(old) = self.info.take() {
                r.retire(old);
            }
        }
        let more = [("eviction_policy", self.label.1), ("version", &*self.label.0)];
        let cache = &self.cache;
        let info = *self.info.get_or_insert_with(|| define(cache, &m::INFO, &more, r));
        r.set(info, 1);
        if let Some(slabs) = &answer.slabs {
            self.slabs.set(&self.cache, slabs, r);
        }
    }
}

/// The counters as they are now.
fn numbers(stats: &Stats) -> [Option<i64>; COUNTERS.len()] {
    COUNTERS.each_ref().map(|wanted| stats.get(wanted.0))
}
