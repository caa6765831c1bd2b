//! Whether the process runs, whether it can do its work, and its own metrics.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::params::Params;
use super::readiness::{Check, CheckStatus};
use super::{ApiError, AppState};
use crate::live::now_ms;
use crate::store::describe;

/// The format that Prometheus asks for and everything that reads its text understands.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The process runs.
#[derive(Debug, Serialize, ToSchema)]
pub struct Health {
    /// Always `ok`.
    #[schema(example = "ok")]
    pub status: &'static str,
    /// Version of the collector.
    pub version: &'static str,
}

/// Whether the collector can do its work.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ready {
    /// `ready`, `not_ready` or `stopping`.
    #[schema(example = "ready")]
    pub status: &'static str,
    /// One for each part.
    pub checks: Vec<Check>,
}

impl Health {
    pub(super) const fn ok() -> Self {
        Self { status: "ok", version: env!("CARGO_PKG_VERSION") }
    }
}

/// The process runs and answers.
#[utoipa::path(get, path = "/healthz", tag = "operation", responses((status = 200, body = Health)))]
pub(super) async fn healthz(params: Params) -> Result<Json<Health>, ApiError> {
    params.none()?;
    Ok(Json(Health::ok()))
}

/// Every part can do its work: the store answers, migrations are applied, ingest keeps up.
#[utoipa::path(get, path = "/readyz", tag = "operation", responses(
    (status = 200, body = Ready, description = "no check is failing"),
    (status = 503, body = Ready, description = "some check is failing, or the collector is stopping"),
))]
pub(super) async fn readyz(
    State(state): State<AppState>,
    params: Params,
) -> Result<Response, ApiError> {
    params.none()?;
    let state = &state.0;
    // What comes of it shows in the servers' health.
    let _ = state.store.ping().await;
    let health = state.store.servers().health();
    state.readiness.report("clickhouse", describe(&health, now_ms()));
    let checks = state.readiness.checks();
    let (code, status) = if state.shutdown.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping")
    } else if checks.iter().all(|check| check.status != CheckStatus::Failing) {
        (StatusCode::OK, "ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not_ready")
    };
    Ok((code, Json(Ready { status, checks })).into_response())
}

/// The collector's own metrics in the text format of Prometheus (OpenMetrics 1.0), all named `flyball_*`.
#[utoipa::path(get, path = "/metrics", tag = "operation", responses(
    (status = 200, body = String, content_type = "application/openmetrics-text"),
))]
pub(super) async fn metrics(
    State(state): State<AppState>,
    params: Params,
) -> Result<impl IntoResponse, ApiError> {
    params.none()?;
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &state.0.registry)
        .map_err(|e| ApiError::Internal(format!("metrics cannot be written: {e}")))?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text))
}
