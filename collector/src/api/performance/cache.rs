//! The caches of the fleet, and the collector's own.

use axum::Json;
use axum::extract::{Request, State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::fleet_caches::{CacheBody, body};
use crate::api::edge::read_json;
use crate::api::params::{Fields, Params};
use crate::api::{ApiError, AppState};
use crate::cache::QueryCacheStats;
use crate::query::of_operator;

/// Caches.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct CacheAnswer {
    /// Caches of the fleet whose agents are connected to this collector, by node and name.
    pub caches: Vec<CacheBody>,
    /// What keeps the answers of this collector.
    pub query_cache: QueryCacheStats,
}

/// What is to be cleared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClearBody {
    /// `all`, `metric:NAME` or `node:NAME`.
    #[schema(example = "metric:system.cpu.utilization")]
    pub tag: String,
}

/// What was cleared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Cleared {
    /// The tag.
    pub tag: String,
}

/// The caches of the fleet, and how well the collector's own answers are kept: by layer and reason, with the hit ratio that other sizes would have.
#[utoipa::path(get, path = "/api/performance/cache", tag = "performance",
    responses((status = 200, body = CacheAnswer)),
)]
pub(in crate::api) async fn cache(
    State(state): State<AppState>,
    params: Params,
) -> Result<Json<CacheAnswer>, ApiError> {
    params.none()?;
    let query_cache = state.0.querier.cache_stats();
    let caches = state.0.steering.caches().all().iter().map(body).collect();
    Ok(Json(CacheAnswer { caches, query_cache }))
}

/// Clears kept answers by tag: the next question of that kind goes to the store. Costs the same however many there are, and other collectors do the same as soon as Redis tells them.
#[utoipa::path(post, path = "/api/performance/cache/clear", tag = "operation",
    request_body = ClearBody,
    responses((status = 200, body = Cleared)),
)]
pub(in crate::api) async fn clear(
    State(state): State<AppState>,
    params: Params,
    request: Request,
) -> Result<Json<Cleared>, ApiError> {
    params.none()?;
    state.0.hosts.check(request.headers())?;
    let mut fields: Fields = read_json(request, state.0.limits.body_bytes).await?;
    let tag = fields.text("tag").unwrap_or_default();
    let mut violations = fields.finish();
    let tags = of_operator(&tag);
    if tags.is_none() {
        violations.invalid("tag", "must be all, metric:NAME or node:NAME");
    }
    violations.check()?;
    state.0.querier.invalidate(&tags.unwrap_or_default());
    tracing::info!(tag, "kept answers were cleared");
    Ok(Json(Cleared { tag }))
}
