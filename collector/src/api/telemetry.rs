//! What the API tells about itself at `/metrics`.
//!
//! A request finds its counters by index: labels are made once for each route, method and status that occurs, not for each request.

use std::sync::OnceLock;
use std::time::Duration;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Route of everything that is not a call: the dashboard's files and what does not exist.
pub(super) const OTHER_ROUTE: &str = "other";

/// Methods with a label of their own; callers choose methods freely, labels stay few.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "other"];
/// Statuses whose counters are kept at hand.
const STATUSES: [u16; 16] =
    [200, 204, 304, 400, 404, 405, 408, 413, 414, 415, 422, 429, 500, 502, 503, 504];

/// Metrics of the API.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    refused: Family<ReasonLabels, Counter>,
    cut: Family<ReasonLabels, Counter>,
    /// Readers of events that are connected.
    pub event_readers: Gauge,
    /// Connections over HTTP.
    pub connections: Gauge,
    /// Attempts to accept a connection that failed.
    pub accept_failures: Counter,
    /// Requests that are worked on, without readers of events.
    pub in_flight: Gauge,
    /// Share of requests that is refused because they wait for a processor.
    pub shed_share: Gauge<f64, std::sync::atomic::AtomicU64>,
    /// Time that requests wait for a processor, as last measured.
    pub delay_seconds: Gauge<f64, std::sync::atomic::AtomicU64>,
}

/// Why a request or a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// One caller asks too much.
    Rate,
    /// Requests wait too long for a processor.
    Delay,
    /// Too many requests are worked on.
    InFlight,
    /// Too many connections.
    Connections,
}

/// Why a connection is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Headers did not come in time.
    Header,
    /// No request came in time.
    Idle,
    /// The client takes nothing of what is sent to it.
    Stall,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// The metrics of one route.
#[derive(Debug)]
pub(super) struct RouteMetrics {
    route: String,
    durations: Histogram,
    requests: Family<RequestLabels, Counter>,
    answers: [[OnceLock<Counter>; STATUSES.len()]; METHODS.len()],
}

impl ApiMetrics {
    /// Adds the API's metrics to the registry, whose prefix is `flyball`.
    pub fn register(registry: &mut Registry) -> Self {
        // 0.5 ms to 16 s.
        let histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            refused: Family::default(),
            cut: Family::default(),
            event_readers: Gauge::default(),
            connections: Gauge::default(),
            accept_failures: Counter::default(),
            in_flight: Gauge::default(),
            shed_share: Gauge::default(),
            delay_seconds: Gauge::default(),
        };
        registry.register("http_requests", "HTTP requests", metrics.requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from a request to the beginning of its answer",
            Unit::Seconds,
            metrics.durations.clone(),
        );
        registry.register(
            "event_readers",
            "Readers of server-sent events that are connected",
            metrics.event_readers.clone(),
        );
        metrics.register_protection(registry);
        metrics
    }

    fn register_protection(&self, registry: &mut Registry) {
        for reason in [Refusal::Rate, Refusal::Delay, Refusal::InFlight, Refusal::Connections] {
            drop(self.refused.get_or_create(&reason.label()));
        }
        for reason in [Cut::Header, Cut::Idle, Cut::Stall] {
            drop(self.cut.get_or_create(&reason.label()));
        }
        let (refused, cut) = (self.refused.clone(), self.cut.clone());
        registry.register("http_refused", "Requests and connections that were refused", refused);
        registry.register("http_cut", "Connections of slow clients that were cut off", cut);
        registry.register("http_connections", "HTTP connections", self.connections.clone());
        registry.register(
            "http_accept_failures",
            "Attempts to accept a connection that failed",
            self.accept_failures.clone(),
        );
        registry.register(
            "http_in_flight",
            "Requests that are worked on, over HTTP and gRPC, without readers of events",
            self.in_flight.clone(),
        );
        registry.register(
            "http_shed_share",
            "Share of requests that is refused because they wait for a processor",
            self.shed_share.clone(),
        );
        registry.register_with_unit(
            "http_delay",
            "Time that requests wait for a processor",
            Unit::Seconds,
            self.delay_seconds.clone(),
        );
    }

    /// The metrics of a route.
    pub(super) fn route(&self, route: &str) -> RouteMetrics {
        let labels = RouteLabels { route: route.to_owned() };
        RouteMetrics {
            durations: self.durations.get_or_create_owned(&labels),
            route: labels.route,
            requests: self.requests.clone(),
            answers: Default::default(),
        }
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, reason: Refusal) {
        self.refused.get_or_create(&reason.label()).inc();
    }

    /// Counts a connection that is cut off.
    pub(super) fn cut(&self, reason: Cut) {
        self.cut.get_or_create(&reason.label()).inc();
    }
}

impl Refusal {
    const fn label(self) -> ReasonLabels {
        ReasonLabels {
            reason: match self {
                Self::Rate => "rate",
                Self::Delay => "delay",
                Self::InFlight => "in_flight",
                Self::Connections => "connections",
            },
        }
    }
}

impl Cut {
    const fn label(self) -> ReasonLabels {
        ReasonLabels {
            reason: match self {
                Self::Header => "header",
                Self::Idle => "idle",
                Self::Stall => "stall",
            },
        }
    }
}

impl RouteMetrics {
    /// The route as it is labelled.
    #[cfg(test)]
    pub(super) fn name(&self) -> &str {
        &self.route
    }

    /// Counts an answer.
    pub(super) fn answered(&self, method: &Method, status: StatusCode, elapsed: Duration) {
        self.durations.observe(elapsed.as_secs_f64());
        let (method, status) = (index_of(method), status.as_u16());
        match STATUSES.iter().position(|known| *known == status) {
            Some(at) => self.answers[method][at].get_or_init(|| self.counter(method, status)).inc(),
            None => self.counter(method, status).inc(),
        };
    }

    fn counter(&self, method: usize, status: u16) -> Counter {
        let (route, method) = (self.route.clone(), METHODS[method]);
        self.requests.get_or_create_owned(&RequestLabels { route, method, status })
    }
}

/// Where a method is in [`METHODS`].
fn index_of(method: &Method) -> usize {
    let other = METHODS.len() - 1;
    METHODS[..other].iter().position(|known| *known == method.as_str()).unwrap_or(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_method_and_status() {
        let mut registry = Registry::default();
        let metrics = ApiMetrics::register(&mut registry);
        let route = metrics.route("/x");
        let odd = Method::from_bytes(b"ODD").unwrap();
        for (method, status) in [(Method::GET, 200), (Method::GET, 200), (odd, 418)] {
            let status = StatusCode::from_u16(status).unwrap();
            route.answered(&method, status, Duration::from_millis(1));
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "http_requests_total{route=\"/x\",method=\"GET\",status=\"200\"} 2",
            "http_requests_total{route=\"/x\",method=\"other\",status=\"418\"} 1",
            "http_request_duration_seconds_count{route=\"/x\"} 3",
            "http_refused_total{reason=\"rate\"} 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
