//! Series of one metric over time.

use axum::Json;
use axum::extract::{Request, State};
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::edge::read_json;
use crate::api::params::{Fields, Params};
use crate::api::{ApiError, AppState};
use crate::live::now_ms;
use crate::query::ask::TimesAsText;
use crate::query::validate::validate;
use crate::query::{MetricsAnswer, MetricsAsk, Violations};

/// The parameters of the GET as a body, for questions that are too long for an address.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricsBody {
    /// Name of the metric.
    pub metric: String,
    /// Only these nodes.
    #[schema(required = false)]
    pub node: Vec<String>,
    /// Start: RFC 3339 or epoch milliseconds; an hour before `to` when left out.
    pub from: Option<TimeText>,
    /// End, not included: RFC 3339 or epoch milliseconds; now when left out.
    pub to: Option<TimeText>,
    /// Width of a bucket: milliseconds, or with a unit (`10s`, `5m`, `1h`, `1d`); at most 300 points when left out.
    pub step: Option<TimeText>,
    /// How samples become values; `avg` for gauges and `rate` for counters when left out.
    pub agg: Option<String>,
    /// Attributes to group by.
    #[schema(required = false)]
    pub by: Vec<String>,
    /// `attribute=value`.
    #[schema(required = false)]
    pub filter: Vec<String>,
}

/// A time or a duration.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum TimeText {
    /// Milliseconds.
    Milliseconds(i64),
    /// RFC 3339, or a number with a unit.
    Text(String),
}

/// One metric over time: its samples in buckets of `step`, each series for itself or grouped by attributes.
///
/// Buckets are aligned to multiples of `step` since the epoch and named by their start; the first and last one are whole even where `from` and `to` are not.
/// A bucket without a sample is null. Filters of one attribute are alternatives; those of different attributes must all hold. Series without any value
/// in the range are left out.
#[utoipa::path(get, path = "/api/performance/metrics", tag = "performance",
    params(
        ("metric" = String, Query, description = "name of the metric", example = "system.cpu.utilization"),
        ("node" = Option<Vec<String>>, Query, description = "only these nodes"),
        ("from" = Option<String>, Query, description = "start: RFC 3339 or epoch milliseconds; an hour before `to` when left out"),
        ("to" = Option<String>, Query, description = "end, not included: RFC 3339 or epoch milliseconds; now when left out"),
        ("step" = Option<String>, Query, description = "width of a bucket: milliseconds, or with a unit (10s, 5m, 1h, 1d); at most 300 points when left out, never over 11,000"),
        ("agg" = Option<String>, Query, description = "avg, min, max, sum, last, rate, p1 to p99; avg for gauges and rate for counters when left out"),
        ("by" = Option<Vec<String>>, Query, description = "attributes to group by, `node` among them; each series for itself when left out"),
        ("filter" = Option<Vec<String>>, Query, description = "attribute=value"),
    ),
    responses((status = 200, body = MetricsAnswer)),
)]
pub(in crate::api) async fn get_metrics(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<MetricsAnswer>, ApiError> {
    let times =
        TimesAsText { from: params.one("from"), to: params.one("to"), step: params.one("step") };
    let ask = MetricsAsk {
        metric: params.one("metric"),
        nodes: params.many("node"),
        agg: params.one("agg"),
        by: params.many("by"),
        filter: params.many("filter"),
        ..MetricsAsk::default()
    };
    answer_text(&state, ask, &times, params.finish()).await
}

/// The same as the GET, for questions that are too long for an address.
#[utoipa::path(post, path = "/api/performance/metrics", tag = "performance",
    request_body = MetricsBody,
    responses((status = 200, body = MetricsAnswer)),
)]
pub(in crate::api) async fn post_metrics(
    State(state): State<AppState>,
    params: Params,
    request: Request,
) -> Result<Json<MetricsAnswer>, ApiError> {
    params.none()?;
    let mut fields: Fields = read_json(request, state.0.limits.body_bytes).await?;
    let times = TimesAsText {
        from: fields.text_or_integer("from"),
        to: fields.text_or_integer("to"),
        step: fields.text_or_integer("step"),
    };
    let ask = MetricsAsk {
        metric: fields.text("metric"),
        nodes: fields.texts("node"),
        agg: fields.text("agg"),
        by: fields.texts("by"),
        filter: fields.texts("filter"),
        ..MetricsAsk::default()
    };
    answer_text(&state, ask, &times, fields.finish()).await
}

async fn answer_text(
    state: &AppState,
    ask: MetricsAsk,
    times: &TimesAsText,
    mut violations: Violations,
) -> Result<Json<MetricsAnswer>, ApiError> {
    let ask = ask.with_times(times, &mut violations);
    Ok(Json(answer(state, ask, violations).await?))
}

/// Judges and answers a question, whoever asks.
///
/// # Errors
/// As [`crate::query::QueryError`] says.
pub(in crate::api) async fn answer(
    state: &AppState,
    ask: MetricsAsk,
    violations: Violations,
) -> Result<MetricsAnswer, ApiError> {
    let query = validate(ask, violations, &state.0.catalog, now_ms())?;
    Ok(state.0.querier.metrics(&query).await?)
}
