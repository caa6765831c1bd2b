//! The metrics that exist, from memory.

use axum::Json;
use axum::extract::State;
use flyball_proto::v1;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::store::catalog::{Catalog, MetricEntry};

/// The metrics that exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogAnswer {
    /// By name.
    pub metrics: Vec<CatalogMetric>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CatalogMetric {
    /// Name by OpenTelemetry's semantic conventions.
    #[schema(example = "system.cpu.utilization")]
    pub name: String,
    /// Unit in UCUM.
    pub unit: String,
    /// `counter` or `gauge`.
    #[schema(example = "gauge")]
    pub kind: String,
    /// Nodes that have reported it, by name.
    pub nodes: Vec<String>,
    /// Keys of its attributes, by name.
    pub attributes: Vec<String>,
    /// Series in all.
    pub series: u64,
}

/// Every metric that any node has reported, with its nodes and attributes.
#[utoipa::path(get, path = "/api/performance/catalog", tag = "performance",
    responses((status = 200, body = CatalogAnswer)),
)]
pub(in crate::api) async fn catalog(
    State(state): State<AppState>,
    params: Params,
) -> Result<Json<CatalogAnswer>, ApiError> {
    params.none()?;
    Ok(Json(answer(&state.0.catalog)))
}

/// What the catalog holds.
pub(in crate::api) fn answer(catalog: &Catalog) -> CatalogAnswer {
    CatalogAnswer { metrics: catalog.metrics().into_iter().map(Into::into).collect() }
}

impl From<MetricEntry> for CatalogMetric {
    fn from(entry: MetricEntry) -> Self {
        let texts =
            |texts: Vec<std::sync::Arc<str>>| texts.iter().map(|t| (**t).to_owned()).collect();
        Self {
            name: (*entry.name).to_owned(),
            unit: (*entry.unit).to_owned(),
            kind: entry.kind.as_str().to_owned(),
            nodes: texts(entry.nodes),
            attributes: texts(entry.attributes),
            series: entry.series as u64,
        }
    }
}

impl From<CatalogMetric> for v1::CatalogMetric {
    fn from(metric: CatalogMetric) -> Self {
        let CatalogMetric { name, unit, kind, nodes, attributes, series } = metric;
        Self { name, unit, kind, nodes, attributes, series }
    }
}

impl From<CatalogAnswer> for v1::CatalogResponse {
    fn from(answer: CatalogAnswer) -> Self {
        Self { metrics: answer.metrics.into_iter().map(Into::into).collect() }
    }
}
