//! Alerts that fire and those that were a moment ago, from memory.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use flyball_proto::v1;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::status::known_node;
use crate::account::{Alert, AlertState};
use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::query::{QueryError, Violations};

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
/// jumped), `series.overflow` (a node has more series than it may), `catalog.full` (the collector has), `series.refused` (ClickHouse refuses what some series are),
/// `journal.broken` (the log of decisions is not whole), `clocks.differ` (those of collectors do), `target.locked` (changes there failed too often), `rollout.asks` (it waits for a person), `control.frozen` (control of a pool has frozen by itself).
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
    Ok(Json(answer(&state, &nodes, wanted.as_deref(), params.finish())?))
}

/// Alerts of `nodes`, of all when it is empty, in one state or in both.
///
/// # Errors
/// When a name is no name or names no node, or there is no such state.
pub(in crate::api) fn answer(
    state: &AppState,
    nodes: &[String],
    wanted: Option<&str>,
    mut violations: Violations,
) -> Result<AlertsAnswer, QueryError> {
    let known = |node: &String| known_node(&state.0.live, node, &mut violations);
    let names: Vec<_> = nodes.iter().filter_map(known).collect();
    let parsed = wanted.map(AlertState::parse);
    if parsed == Some(None) {
        violations.invalid("state", "neither firing nor resolved");
    }
    violations.check()?;
    let wanted = parsed.flatten();
    let mut alerts = state.0.accounts.alerts();
    alerts.retain(|alert| {
        let of_node = alert.node.as_ref().is_some_and(|node| names.contains(node));
        (names.is_empty() || of_node) && wanted.is_none_or(|wanted| wanted == alert.state)
    });
    let firing = alerts.iter().filter(|alert| alert.state == AlertState::Firing).count();
    Ok(AlertsAnswer { alerts, firing })
}

impl From<AlertsAnswer> for v1::AlertsResponse {
    fn from(answer: AlertsAnswer) -> Self {
        let alerts = answer.alerts.iter().map(|alert| alert.as_ref().into()).collect();
        Self { alerts, firing: answer.firing as u64 }
    }
}

fn each<S: Serializer>(alerts: &[Arc<Alert>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(alerts.iter().map(Arc::as_ref))
}
