//! What happens in the fleet as server-sent events, from the bounded ring of [`crate::live`].
//!
//! Each event is one `data:` line of JSON with an `id:`. A reader that comes back with `Last-Event-ID` goes on after it; when those events are gone, or it reads too
//! slowly for the ring, it is told `{"type":"resync"}` and then the status of all nodes. There is no queue for each reader: the connection takes what it can. The number of readers
//! is bounded, a comment every 15 s keeps proxies from closing the connection, and all streams end when the collector stops.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::sync::CancellationToken;

use super::status::known_node;
use crate::api::params::Params;
use crate::api::telemetry::ApiMetrics;
use crate::api::{ApiError, AppState};
use crate::live::{Event, EventFilter, Live, MetricPattern, Subscription};
use crate::query::Violations;

/// Header that a browser sends when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Most values of `metric`.
const MAX_PATTERNS: usize = 100;

/// A connected reader; counted while it lives.
struct Reader {
    subscription: Subscription,
    shutdown: CancellationToken,
    metrics: ApiMetrics,
    _permit: OwnedSemaphorePermit,
}

/// What happens in the fleet, as server-sent events.
///
/// Each event is one line of JSON with a `type`: `status` with the nodes whose status changed (all nodes in the first one), `samples` with a frame of the node that was asked for,
/// `alert` with an alert that began to fire, has another text or is over, or `resync` when events were missed: ask for status and alerts again. Counters come as raw cumulative values. `Last-Event-ID` goes on where a reader left.
#[utoipa::path(get, path = "/api/performance/events", tag = "performance",
    params(
        ("node" = Option<String>, Query, description = "also send the samples of this node"),
        ("metric" = Option<Vec<String>>, Query, description = "only samples of these metrics; a name, or the beginning of names when it ends in `*`; only with `node`"),
        ("Last-Event-ID" = Option<u64>, Header, description = "id of the last event that was read"),
    ),
    responses((status = 200, body = String, content_type = "text/event-stream",
        example = "id: 1785585600001\ndata: {\"type\":\"status\",\"ts_ms\":1785585600000,\"nodes\":[],\"totals\":{\"nodes\":0,\"nodes_up\":0,\"series\":0,\"samples_per_second\":0.0}}\n\n")),
)]
pub(in crate::api) async fn events(
    State(state): State<AppState>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, ApiError> {
    let (node, metrics) = (params.one("node"), params.many("metric"));
    let mut violations = params.finish();
    let filter = filter(&state.0.live, node.as_deref(), &metrics, &mut violations);
    let last_id = last_event_id(&headers, &mut violations);
    violations.check()?;
    if state.0.shutdown.is_cancelled() {
        return Err(ApiError::Stopping);
    }
    let permit = Arc::clone(&state.0.event_readers).try_acquire_owned();
    let permit = permit.map_err(|_| ApiError::Busy("event readers"))?;
    let reader = Reader::new(&state, filter, last_id, permit);
    let events = stream::unfold(reader, |mut reader| async {
        let event = reader.next().await?;
        Some((Ok::<_, Infallible>(frame(&event)), reader))
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Reader {
    fn new(
        state: &AppState,
        filter: EventFilter,
        last_id: Option<u64>,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        let state = &state.0;
        state.metrics.event_readers.inc();
        Self {
            subscription: state.live.subscribe(filter, last_id),
            shutdown: state.shutdown.clone(),
            metrics: state.metrics.clone(),
            _permit: permit,
        }
    }

    /// The next event; `None` when the collector stops.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            event = self.subscription.next() => event,
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.metrics.event_readers.dec();
    }
}

/// An event as it is sent.
fn frame(event: &Event) -> SseEvent {
    let data = serde_json::to_string(&event.body).expect("an event is plain data");
    SseEvent::default().id(event.id.to_string()).data(data)
}

fn filter(
    live: &Live,
    node: Option<&str>,
    metrics: &[String],
    violations: &mut Violations,
) -> EventFilter {
    if node.is_none() && !metrics.is_empty() {
        violations.invalid("metric", "only together with `node`, whose samples it selects");
    }
    if metrics.len() > MAX_PATTERNS {
        violations.invalid("metric", format!("given {} times, over {MAX_PATTERNS}", metrics.len()));
    }
    for metric in metrics {
        let name = metric.strip_suffix('*').unwrap_or(metric);
        if metric.is_empty() || name.contains('*') {
            let reason = format!("{metric:?} is neither a name nor the beginning of names and `*`");
            violations.invalid("metric", reason);
        }
    }
    EventFilter {
        node: node.and_then(|node| known_node(live, node, violations)),
        metrics: metrics.iter().map(|metric| MetricPattern::parse(metric)).collect(),
    }
}

fn last_event_id(headers: &HeaderMap, violations: &mut Violations) -> Option<u64> {
    let value = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty())?;
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    if id.is_none() {
        violations.invalid("Last-Event-ID", "not an id that this collector gave");
    }
    id
}
