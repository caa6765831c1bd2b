//! Alerts that fire and those that were a moment ago, from memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::status::known_node;
use crate::account::{Alert, AlertState};
use crate::api::params::Params;
use crate::api::{ApiError, AppState};

/// Alerts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AlertsAnswer {
    /// Those that fire, the worst first and then the newest; then those that are over, the newest first.
    #[serde(serialize_with = "each")]
    #[schema(value_type = Vec<Alert>)]
    pub alerts: Vec<Arc<Alert>>,
    /// Number of those above that fire.
    pub firing: usize,
}

/// Alerts that fire, and the last 200 that are over. A restart of the collector begins with none: agents report every 10 s.
///
/// Names: `accounting.gap` (samples do not add up), `samples.shed` (an agent gave up samples), `spool.corrupt`, `spool.filling`, `spool.unwritable`, `clock.step` (a host's clock
/// jumped), `series.overflow` (a node has more series than it may), `catalog.full` (the collector has), `series.refused` (ClickHouse refuses what some series are).
#[utoipa::path(get, path = "/api/performance/alerts", tag = "performance",
    params(
        ("node" = Option<Vec<String>>, Query, description = "only alerts of these nodes"),
        ("state" = Option<AlertState>, Query, description = "only those in this state"),
    ),
    responses((status = 200, body = AlertsAnswer)),
)]
pub(in crate::api) async fn alerts(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<AlertsAnswer>, ApiError> {
    let (nodes, wanted) = (params.many("node"), params.one("state"));
    let mut violations = params.finish();
    let names: Vec<_> =
        nodes.iter().filter_map(|node| known_node(&state.0.live, node, &mut violations)).collect();
    let wanted = match wanted.as_deref() {
        None => None,
        Some("firing") => Some(AlertState::Firing),
        Some("resolved") => Some(AlertState::Resolved),
        Some(_) => {
            violations.invalid("state", "neither firing nor resolved");
            None
        }
    };
    violations.check()?;
    let mut alerts = state.0.accounts.alerts();
    alerts.retain(|alert| {
        let of_node = alert.node.as_ref().is_some_and(|node| names.contains(node));
        (names.is_empty() || of_node) && wanted.is_none_or(|wanted| wanted == alert.state)
    });
    let firing = alerts.iter().filter(|alert| alert.state == AlertState::Firing).count();
    Ok(Json(AlertsAnswer { alerts, firing }))
}

fn each<S: Serializer>(alerts: &[Arc<Alert>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(alerts.iter().map(Arc::as_ref))
}
