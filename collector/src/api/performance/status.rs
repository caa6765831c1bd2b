//! Last values of the fleet, from memory.

use axum::Json;
use axum::extract::State;
use flyball_proto::series::NodeName;

use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::live::{FleetStatus, Live};
use crate::query::{QueryError, Violations};

/// Last values of every node, or of those that are named. Never asks the store. What is not known is null, which is not zero.
#[utoipa::path(get, path = "/api/performance/status", tag = "performance",
    params(("node" = Option<Vec<String>>, Query, description = "only these nodes")),
    responses((status = 200, body = FleetStatus)),
)]
pub(in crate::api) async fn status(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<FleetStatus>, ApiError> {
    let nodes = params.many("node");
    Ok(Json(fleet(&state.0.live, &nodes, params.finish())?))
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
