//! What the API tells about itself at `/metrics`.

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

/// Metrics of the API.
#[derive(Debug, Clone)]
pub struct ApiMetrics {
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram>,
    /// Readers of events that are connected.
    pub event_readers: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

impl ApiMetrics {
    /// Adds the API's metrics to the registry, whose prefix is `flyball`.
    pub fn register(registry: &mut Registry) -> Self {
        // 0.5 ms to 16 s.
        let histogram = || Histogram::new(exponential_buckets(0.0005, 2.0, 16));
        let metrics = Self {
            requests: Family::default(),
            durations: Family::new_with_constructor(histogram),
            event_readers: Gauge::default(),
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
        metrics
    }

    /// Counts an answer.
    pub(super) fn answered(
        &self,
        route: &str,
        method: &Method,
        status: StatusCode,
        elapsed: Duration,
    ) {
        let known = [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE];
        // Callers choose methods freely; labels stay few.
        let method = if known.contains(method) { method.as_str() } else { "other" };
        let (route, method) = (route.to_owned(), method.to_owned());
        self.durations
            .get_or_create(&RouteLabels { route: route.clone() })
            .observe(elapsed.as_secs_f64());
        self.requests
            .get_or_create(&RequestLabels { route, method, status: status.as_u16() })
            .inc();
    }
}
