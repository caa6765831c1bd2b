//! What is published of an Envoy and of those that are served by xDS: OpenTelemetry has no names for what a proxy knows of its upstreams.

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
const CLUSTER: &[&str] = &["balancer", "cluster"];
const ENDPOINT: &[&str] = &["balancer", "cluster", "endpoint"];
const REQUESTS: &str = "{request}";

macro_rules! metrics {
    ($($name:ident = $metric:expr;)+) => {
        $(pub(super) const $name: Metric = $metric;)+
        /// All of them, in the order of the documentation.
        pub(super) const METRICS: &[Metric] = &[$($name,)+];
    };
}

metrics! {
    UP = gauge("flyball.envoy.up", "1", BALANCER, "1 when the admin interface answers, else 0.");
    STATE = gauge("flyball.envoy.state", "1", &["balancer", "state"], "1 for the state that it is in: up, unreachable, slow (no answer in time), denied (something else answers).");
    INFO = gauge("flyball.envoy.info", "1", &["balancer", "version"], "1, with what it is as attributes.");
    RESPONSE_TIME = scaled("flyball.envoy.response_time", "s", Scale::decimal(6), BALANCER, "Time until its list of clusters was there.");
    ENDPOINT_REQUESTS = Metric::counter("flyball.envoy.endpoint.requests", REQUESTS, ENDPOINT, "Requests that were answered or have failed.");
    ENDPOINT_ERRORS = Metric::counter("flyball.envoy.endpoint.errors", REQUESTS, ENDPOINT, "Requests that have failed: 5xx answers, timeouts, connections that could not be made; never 4xx.");
    ENDPOINT_CONNECT_FAILURES = Metric::counter("flyball.envoy.endpoint.connect_failures", "{connection}", ENDPOINT, "Connections that could not be made.");
    ENDPOINT_TIMEOUTS = Metric::counter("flyball.envoy.endpoint.timeouts", REQUESTS, ENDPOINT, "Requests that were not answered in time.");
    ENDPOINT_IN_FLIGHT = scaled("flyball.envoy.endpoint.in_flight", REQUESTS, Scale::decimal(3), ENDPOINT, "Requests under way: the mean of some looks in a second.");
    ENDPOINT_PENDING = gauge("flyball.envoy.endpoint.pending", REQUESTS, ENDPOINT, "Requests that wait for a connection.");
    ENDPOINT_WEIGHT = gauge("flyball.envoy.endpoint.weight", "1", ENDPOINT, "Weight in force.");
    ENDPOINT_READY = gauge("flyball.envoy.endpoint.ready", "1", ENDPOINT, "1 when it is given requests, else 0.");
    ENDPOINT_INFO = gauge("flyball.envoy.endpoint.info", "1", &["balancer", "cluster", "endpoint", "locality", "state"], "1, with its locality and its state as attributes: ready, drain, down, ejected (by outlier detection).");
    CLUSTER_P50 = scaled("flyball.envoy.cluster.latency.p50", "s", Scale::decimal(6), CLUSTER, "Half of the requests of about five seconds took no longer.");
    CLUSTER_P99 = scaled("flyball.envoy.cluster.latency.p99", "s", Scale::decimal(6), CLUSTER, "99 of 100 requests of about five seconds took no longer.");
    CLUSTER_MAX_REQUESTS = gauge("flyball.envoy.cluster.max_requests", REQUESTS, CLUSTER, "Limit of requests under way.");
    XDS_CLIENTS = gauge("flyball.envoy.xds.clients", "{client}", BALANCER, "Clients that are served by xDS.");
    XDS_BEHIND = gauge("flyball.envoy.xds.clients.behind", "{client}", BALANCER, "Clients that have not acknowledged all that they are served.");
    XDS_REJECTIONS = Metric::counter("flyball.envoy.xds.rejections", "{response}", BALANCER, "Responses that clients rejected.");
}
