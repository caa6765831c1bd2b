//! What questions cost the store.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::query::slow::QueryShape;

/// Queries by shape.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QueriesAnswer {
    /// Time from which on a query counts as slow, in milliseconds.
    pub slow_ms: u64,
    /// Shapes of the queries since the collector's start, the one that took most time in all first.
    pub shapes: Vec<QueryShape>,
}

/// What ClickHouse was asked since the collector's start, by shape: how often, how long, how much it read, and for slow ones what would make them faster.
#[utoipa::path(get, path = "/api/performance/queries", tag = "performance",
    responses((status = 200, body = QueriesAnswer)),
)]
pub(in crate::api) async fn queries(
    State(state): State<AppState>,
    params: Params,
) -> Result<Json<QueriesAnswer>, ApiError> {
    params.none()?;
    let slow = state.0.querier.slow();
    Ok(Json(QueriesAnswer { slow_ms: slow.slow_ms(), shapes: slow.shapes() }))
}
