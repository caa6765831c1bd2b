//! Last values of the fleet, from memory.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use flyball_proto::series::NodeName;

use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::live::{FleetStatus, Live};
use crate::query::{QueryError, Violations};

/// Last values of every node, or of those that are named. Never asks the store. The whole fleet's is at most half a second old. What is not known is null, which is not zero.
#[utoipa::path(get, path = "/api/performance/status", tag = "performance",
    params(("node" = Option<Vec<String>>, Query, description = "only these nodes")),
    responses((status = 200, body = FleetStatus)),
)]
pub(in crate::api) async fn status(
    State(state): State<AppState>,
    headers: HeaderMap,
    mut params: Params,
) -> Result<Response, ApiError> {
    let nodes = params.many("node");
    let violations = params.finish();
    if nodes.is_empty() {
        violations.check()?;
        return Ok(state.0.fleet.answer(&state.0.live, &headers));
    }
    Ok(Json(fleet(&state.0.live, &nodes, violations)?).into_response())
}

/// Status of `nodes`, all when it is empty.
///
/// # Errors
/// When a name is no name or names no node.
pub(in crate::api) fn fleet(
    live: &Live,
    nodes: &[String],
    mut violations: Violations,
) -> Result<FleetStatus, QueryError> {
    let names: Vec<_> =
        nodes.iter().filter_map(|node| known_node(live, node, &mut violations)).collect();
    violations.check()?;
    Ok(live.status(&names))
}

/// The name of a node that has been seen; else `None` and a violation.
pub(super) fn known_node(live: &Live, node: &str, violations: &mut Violations) -> Option<NodeName> {
    match NodeName::new(node) {
        Ok(name) if live.knows(&name) => return Some(name),
        Ok(_) => violations.unknown("node", format!("no such node: {node:?}")),
        Err(invalid) => violations.invalid("node", invalid.reason),
    }
    None
}
