//! The series of one HAProxy: from readings to values.

use std::collections::HashMap;
use std::time::Duration;

use flyball_proto::steering::BalancerState;

use super::metrics as m;
use crate::haproxy::meaning;
use crate::haproxy::snapshot::{Kind, Line, Snapshot};
use crate::sense::counters::Counters;
use crate::sense::{Handle, Metric, Readings};

/// A column and what it is published as.
type Wanted = (&'static str, &'static Metric);

/// Set in each reading as they are.
const GAUGES: [Wanted; 15] = [
    ("scur", &m::SESSIONS),
    ("slim", &m::SESSIONS_LIMIT),
    ("rate", &m::SESSIONS_RATE),
    ("ttime", &m::SESSIONS_AVERAGE),
    ("qcur", &m::QUEUED),
    ("req_rate", &m::REQUESTS_RATE),
    ("conn_rate", &m::CONNECTIONS_RATE),
    ("used_conn_cur", &m::CONNECTIONS_USED),
    ("idle_conn_cur", &m::CONNECTIONS_IDLE),
    ("uweight", &m::WEIGHT),
    ("act", &m::SERVERS),
    // Milliseconds, and the scale of the series is thousandths.
    ("qtime", &m::TIME_QUEUE),
    ("ctime", &m::TIME_CONNECT),
    ("rtime", &m::TIME_RESPONSE),
    // Not a column: by the state of the server.
    ("", &m::SERVING),
];
/// Counters that begin anew with the process, together.
const COUNTERS: [Wanted; 23] = [
    ("stot", &m::SESSIONS_TOTAL),
    ("dreq", &m::REQUESTS_DENIED),
    ("ereq", &m::REQUESTS_ERRORS),
    ("wredis", &m::REDISPATCHED),
    ("dresp", &m::RESPONSES_DENIED),
    ("eresp", &m::RESPONSES_ERRORS),
    ("conn_tot", &m::CONNECTIONS_TOTAL),
    ("econ", &m::CONNECTIONS_ERRORS),
    ("wretr", &m::RETRIES),
    ("connect", &m::CONNECTIONS_NEW),
    ("reuse", &m::CONNECTIONS_REUSED),
    ("lbtot", &m::SELECTED),
    ("bin", &m::BYTES_IN),
    ("bout", &m::BYTES_OUT),
    ("cli_abrt", &m::CANCELED),
    ("srv_abrt", &m::ABORTED),
    ("comp_in", &m::COMPRESSED_IN),
    ("comp_out", &m::COMPRESSED_OUT),
    ("comp_byp", &m::COMPRESSION_BYPASS),
    ("comp_rsp", &m::COMPRESSION_COUNT),
    ("downtime", &m::DOWNTIME),
    ("chkfail", &m::FAILED_CHECKS),
    ("chkdown", &m::TRANSITIONS),
];
/// Answers by their status.
const STATUS: [(&str, &str); 6] = [
    ("hrsp_1xx", "1xx"),
    ("hrsp_2xx", "2xx"),
    ("hrsp_3xx", "3xx"),
    ("hrsp_4xx", "4xx"),
    ("hrsp_5xx", "5xx"),
    ("hrsp_other", "other"),
];
/// Fields of the process and what they are published as.
const PROCESS: [Wanted; 6] = [
    ("Nbthread", &m::THREADS),
    ("CurrConns", &m::CONNECTIONS),
    ("Maxconn", &m::CONNECTIONS_LIMIT),
    ("Idle_pct", &m::IDLE),
    ("Run_queue", &m::RUN_QUEUE),
    ("PoolAlloc_bytes", &m::POOLS),
];
const ALL_COUNTERS: usize = COUNTERS.len() + STATUS.len();
const STATES: [BalancerState; 4] =
    [BalancerState::Up, BalancerState::Unreachable, BalancerState::Denied, BalancerState::Slow];

/// All series of one HAProxy.
pub(super) struct Series {
    balancer: String,
    up: Handle,
    state: [Handle; STATES.len()],
    known: Option<Process>,
    lines: HashMap<(String, String, Kind), Known>,
}

/// Those of the process.
struct Process {
    identity: String,
    version: String,
    info: Handle,
    response_time: Handle,
    uptime: Counters<1>,
    gauges: [Handle; PROCESS.len()],
}

/// Those of one line. A series is there once its column has had a number.
struct Known {
    label: [String; 3],
    gauges: [Option<Handle>; GAUGES.len()],
    weight_configured: Option<Handle>,
    counters: Option<([&'static str; ALL_COUNTERS], Counters<ALL_COUNTERS>)>,
    is_seen: bool,
}

impl Series {
    /// The series that are there whatever becomes of the process.
    pub(super) fn new(balancer: &str, r: &mut Readings) -> Self {
        let balancer = balancer.to_owned();
        let state = STATES.map(|state| {
            r.define(&m::STATE, &[("balancer", &balancer), ("state", state.as_str())])
        });
        let up = r.define(&m::UP, &[("balancer", &balancer)]);
        Self { balancer, up, state, known: None, lines: HashMap::new() }
    }

    /// Sets the state.
    pub(super) fn set_state(&self, state: BalancerState, r: &mut Readings) {
        r.set(self.up, i64::from(state == BalancerState::Up));
        for (handle, other) in self.state.iter().zip(STATES) {
            r.set(*handle, i64::from(state == other));
        }
    }

    /// Sets what a reading says.
    pub(super) fn set(&mut self, snapshot: &Snapshot, took: Duration, r: &mut Readings) {
        let is_first = self.known.is_none();
        let process =
            self.known.get_or_insert_with(|| Process::define(&self.balancer, snapshot, r));
        let is_new = process.identity != snapshot.identity;
        process.set(&self.balancer, snapshot, took, r);
        for line in &snapshot.lines {
            let key = (line.proxy.clone(), line.service.clone(), line.kind);
            let label = [&line.address, &line.algorithm, &line.mode].map(Clone::clone);
            if self.lines.get(&key).is_some_and(|known| known.label != label)
                && let Some(known) = self.lines.remove(&key)
            {
                known.retire(r);
            }
            let known = self.lines.entry(key).or_insert_with(|| Known::new(label));
            if is_new && let Some((_, counters)) = &mut known.counters {
                counters.restart();
            }
            known.set(&self.balancer, line, !is_first, r);
        }
        let gone = |known: &mut Known| !std::mem::take(&mut known.is_seen);
        let keys: Vec<_> = self
            .lines
            .iter_mut()
            .filter_map(|(key, known)| gone(known).then(|| key.clone()))
            .collect();
        for key in keys {
            if let Some(known) = self.lines.remove(&key) {
                known.retire(r);
            }
        }
    }
}

impl Process {
    fn define(balancer: &str, snapshot: &Snapshot, r: &mut Readings) -> Self {
        let of = |metric: &Metric, r: &mut Readings| r.define(metric, &[("balancer", balancer)]);
        let version = snapshot.version.clone();
        Self {
            identity: snapshot.identity.clone(),
            info: r.define(&m::INFO, &[("balancer", balancer), ("version", &version)]),
            version,
            response_time: of(&m::RESPONSE_TIME, r),
            uptime: Counters::new([of(&m::UPTIME, r)], false),
            gauges: PROCESS.map(|(_, metric)| of(metric, r)),
        }
    }

    fn set(&mut self, balancer: &str, snapshot: &Snapshot, took: Duration, r: &mut Readings) {
        if self.version != snapshot.version {
            r.retire(self.info);
            self.version.clone_from(&snapshot.version);
            self.info = r.define(&m::INFO, &[("balancer", balancer), ("version", &self.version)]);
        }
        if self.identity != snapshot.identity {
            self.identity.clone_from(&snapshot.identity);
            self.uptime.restart();
        }
        r.set(self.info, 1);
        r.set_value(self.response_time, took.as_secs_f64());
        self.uptime.set([snapshot.info("Uptime_sec")], r);
        for ((field, _), handle) in PROCESS.iter().zip(self.gauges) {
            if let Some(value) = snapshot.info(field) {
                r.set(handle, value);
            }
        }
    }
}

impl Known {
    fn new(label: [String; 3]) -> Self {
        let (gauges, weight_configured, counters) = ([None; GAUGES.len()], None, None);
        Self { label, gauges, weight_configured, counters, is_seen: true }
    }

    fn set(&mut self, balancer: &str, line: &Line, is_late: bool, r: &mut Readings) {
        self.is_seen = true;
        for ((column, metric), handle) in GAUGES.iter().zip(&mut self.gauges) {
            let value = if column.is_empty() { Some(serving(line)) } else { line.get(column) };
            if let Some(value) = value {
                let handle = handle.get_or_insert_with(|| define(balancer, line, metric, &[], r));
                r.set(*handle, value);
            }
        }
        if let Some(server) = line.server {
            let handle = self
                .weight_configured
                .get_or_insert_with(|| define(balancer, line, &m::WEIGHT_CONFIGURED, &[], r));
            r.set(*handle, i64::from(server.weight_configured));
        }
        let (columns, counters) = self.counters.get_or_insert_with(|| {
            let plain =
                COUNTERS.map(|(column, metric)| (column, define(balancer, line, metric, &[], r)));
            let status = STATUS.map(|(column, status)| {
                (column, define(balancer, line, &m::REQUESTS, &[("status_code", status)], r))
            });
            let all: Vec<_> = plain.into_iter().chain(status).collect();
            let columns = std::array::from_fn(|at| all[at].0);
            (columns, Counters::new(std::array::from_fn(|at| all[at].1), is_late))
        });
        counters.set(columns.map(|column| line.get(column)), r);
    }

    fn retire(self, r: &mut Readings) {
        let gauges = self.gauges.into_iter().flatten().chain(self.weight_configured);
        gauges.for_each(|handle| r.retire(handle));
        if let Some((_, counters)) = self.counters {
            counters.retire(r);
        }
    }
}

fn define(
    balancer: &str,
    line: &Line,
    metric: &Metric,
    more: &[(&str, &str)],
    r: &mut Readings,
) -> Handle {
    let kind = match line.kind {
        Kind::Frontend => "0",
        Kind::Backend => "1",
        Kind::Server => "2",
    };
    let process = line.get("pid").map(|pid| pid.to_string()).unwrap_or_default();
    let mut attributes = vec![
        ("balancer", balancer),
        ("haproxy.addr", &*line.address),
        ("haproxy.algo", meaning::name(&line.algorithm)),
        ("haproxy.pid", &*process),
        ("haproxy.type", kind),
        ("proxy_name", &*line.proxy),
        ("service_name", &*line.service),
    ];
    attributes.extend(more);
    r.define(metric, &attributes)
}

/// Whether it is given requests.
fn serving(line: &Line) -> i64 {
    let is_serving = match line.server {
        Some(server) => {
            server.is_running && !server.is_maint() && !server.is_drained() && server.weight > 0
        }
        None => line.status == "UP" || line.status == "OPEN",
    };
    i64::from(is_serving)
}
