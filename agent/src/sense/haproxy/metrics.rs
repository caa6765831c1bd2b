//! What is published of a HAProxy: names of OpenTelemetry's haproxy receiver, `flyball.haproxy.*` where it has none.

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

const BALANCER: &[&str] = &["balancer"];
/// Of a frontend, a backend or a server.
const LINE: &[&str] = &[
    "balancer",
    "haproxy.addr",
    "haproxy.algo",
    "haproxy.pid",
    "haproxy.type",
    "proxy_name",
    "service_name",
];
const WITH_STATUS: &[&str] = &[
    "balancer",
    "haproxy.addr",
    "haproxy.algo",
    "haproxy.pid",
    "haproxy.type",
    "proxy_name",
    "service_name",
    "status_code",
];
const BYTES: &str = "By";
const MS: Scale = Scale::decimal(3);

macro_rules! metrics {
    ($($name:ident = $metric:expr;)+) => {
        $(pub(super) const $name: Metric = $metric;)+
        /// All of them, in the order of the documentation.
        pub(super) const METRICS: &[Metric] = &[$($name,)+];
    };
}

metrics! {
    UP = gauge("flyball.haproxy.up", "1", BALANCER, "1 when it answers, else 0.");
    STATE = gauge("flyball.haproxy.state", "1", &["balancer", "state"], "1 for the state that it is in: up, unreachable, denied (no right to the socket), slow (no answer in time).");
    INFO = gauge("flyball.haproxy.info", "1", &["balancer", "version"], "1, with its version as an attribute.");
    RESPONSE_TIME = scaled("flyball.haproxy.response_time", "s", Scale::decimal(6), BALANCER, "Time until all of its statistics were there.");
    UPTIME = Metric::counter("flyball.haproxy.uptime", "s", BALANCER, "Time since the process started; a reload starts another one.");
    THREADS = gauge("flyball.haproxy.threads", "{threads}", BALANCER, "Threads of the process.");
    CONNECTIONS = gauge("flyball.haproxy.connections.current", "{connections}", BALANCER, "Connections of clients of the process.");
    CONNECTIONS_LIMIT = gauge("flyball.haproxy.connections.limit", "{connections}", BALANCER, "Connections that the process takes at most.");
    IDLE = gauge("flyball.haproxy.idle", "%", BALANCER, "Share of the time that its threads had nothing to do, as it says itself.");
    RUN_QUEUE = gauge("flyball.haproxy.run_queue", "{tasks}", BALANCER, "Tasks that wait for a thread.");
    POOLS = gauge("flyball.haproxy.memory.pools", BYTES, BALANCER, "Memory of its pools.");
    SESSIONS = gauge("haproxy.sessions.count", "{sessions}", LINE, "Sessions now (scur): requests under way where each request is one.");
    SESSIONS_LIMIT = gauge("flyball.haproxy.sessions.limit", "{sessions}", LINE, "Sessions that it may have at once (slim): a server's maxconn.");
    SESSIONS_RATE = gauge("haproxy.sessions.rate", "{sessions}", LINE, "Sessions over the last second (rate).");
    SESSIONS_AVERAGE = gauge("haproxy.sessions.average", "ms", LINE, "Mean time of the last 1024 sessions (ttime).");
    SESSIONS_TOTAL = Metric::counter("haproxy.sessions.total", "{sessions}", LINE, "Sessions (stot).");
    QUEUED = gauge("haproxy.requests.queued", "{requests}", LINE, "Requests that wait (qcur); of a backend those that wait for any server.");
    REQUESTS_RATE = gauge("haproxy.requests.rate", "{requests}", LINE, "Requests over the last second (req_rate).");
    REQUESTS = Metric::counter("haproxy.requests.total", "{requests}", WITH_STATUS, "Requests of HTTP by the status of their answer: 1xx to 5xx, other.");
    REQUESTS_DENIED = Metric::counter("haproxy.requests.denied", "{requests}", LINE, "Requests denied for security (dreq).");
    REQUESTS_ERRORS = Metric::counter("haproxy.requests.errors", "{errors}", LINE, "Requests that were none (ereq).");
    REDISPATCHED = Metric::counter("haproxy.requests.redispatched", "{requests}", LINE, "Requests that were given to another server (wredis).");
    RESPONSES_DENIED = Metric::counter("haproxy.responses.denied", "{responses}", LINE, "Answers denied for security (dresp).");
    RESPONSES_ERRORS = Metric::counter("haproxy.responses.errors", "{errors}", LINE, "Answers that did not come, or not whole (eresp).");
    CONNECTIONS_RATE = gauge("haproxy.connections.rate", "{connections}", LINE, "Connections over the last second (conn_rate).");
    CONNECTIONS_TOTAL = Metric::counter("haproxy.connections.total", "{connections}", LINE, "Connections (conn_tot).");
    CONNECTIONS_ERRORS = Metric::counter("haproxy.connections.errors", "{errors}", LINE, "Requests for which no connection to a server could be made (econ).");
    RETRIES = Metric::counter("haproxy.connections.retries", "{retries}", LINE, "Connections to a server that were tried again (wretr).");
    CONNECTIONS_NEW = Metric::counter("flyball.haproxy.connections.server.new", "{connections}", LINE, "Connections made to a server (connect).");
    CONNECTIONS_REUSED = Metric::counter("flyball.haproxy.connections.server.reused", "{connections}", LINE, "Requests that went over a connection that was there (reuse).");
    CONNECTIONS_USED = gauge("flyball.haproxy.connections.server.used", "{connections}", LINE, "Connections to a server in use (used_conn_cur).");
    CONNECTIONS_IDLE = gauge("flyball.haproxy.connections.server.idle", "{connections}", LINE, "Connections to a server that are kept (idle_conn_cur).");
    SELECTED = Metric::counter("haproxy.server_selected.total", "{selections}", LINE, "How often a server was selected (lbtot).");
    BYTES_IN = Metric::counter("haproxy.bytes.input", BYTES, LINE, "Bytes of requests (bin).");
    BYTES_OUT = Metric::counter("haproxy.bytes.output", BYTES, LINE, "Bytes of answers (bout).");
    CANCELED = Metric::counter("haproxy.clients.canceled", "{cancellations}", LINE, "Transfers that the client ended (cli_abrt).");
    ABORTED = Metric::counter("flyball.haproxy.servers.aborted", "{cancellations}", LINE, "Transfers that the server ended (srv_abrt).");
    COMPRESSED_IN = Metric::counter("haproxy.compression.input", BYTES, LINE, "Bytes given to the compressor (comp_in).");
    COMPRESSED_OUT = Metric::counter("haproxy.compression.output", BYTES, LINE, "Bytes that it made of them (comp_out).");
    COMPRESSION_BYPASS = Metric::counter("haproxy.compression.bypass", BYTES, LINE, "Bytes that went past it, for want of CPU or bandwidth (comp_byp).");
    COMPRESSION_COUNT = Metric::counter("haproxy.compression.count", "{responses}", LINE, "Answers that were compressed (comp_rsp).");
    DOWNTIME = Metric::counter("haproxy.downtime", "s", LINE, "Time that it was down (downtime).");
    FAILED_CHECKS = Metric::counter("haproxy.failed_checks", "{checks}", LINE, "Checks that failed while it was up (chkfail).");
    TRANSITIONS = Metric::counter("flyball.haproxy.transitions.down", "{transitions}", LINE, "How often it went down (chkdown).");
    WEIGHT = gauge("flyball.haproxy.weight", "1", LINE, "Weight in force: of a server as it was set (uweight), of a backend the sum of those that serve.");
    WEIGHT_CONFIGURED = gauge("flyball.haproxy.weight.configured", "1", LINE, "Weight of a server as the configuration has it.");
    SERVERS = gauge("flyball.haproxy.servers.active", "{servers}", LINE, "Of a backend, servers that serve; of a server, 1 when it is none for backup (act).");
    SERVING = gauge("flyball.haproxy.serving", "1", LINE, "1 when it is given requests: neither down, nor in maintenance, nor drained.");
    TIME_QUEUE = scaled("flyball.haproxy.time.queue", "s", MS, LINE, "Mean time in the queue of the last 1024 requests (qtime).");
    TIME_CONNECT = scaled("flyball.haproxy.time.connect", "s", MS, LINE, "Mean time to connect of the last 1024 requests (ctime).");
    TIME_RESPONSE = scaled("flyball.haproxy.time.response", "s", MS, LINE, "Mean time until the answer began of the last 1024 requests (rtime).");
}
