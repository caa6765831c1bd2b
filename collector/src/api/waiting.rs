//! What is answered while the store is not open yet: that the process runs, why it is not ready, and nothing else.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};

use super::health::{Health, Ready};
use super::{ApiError, Readiness};

/// `/healthz` and `/readyz`; anything else is refused as unavailable, to be tried again.
pub(crate) fn router(readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(async || Json(Health::ok())))
        .route("/readyz", get(readyz))
        .fallback(async || ApiError::NotOpen)
        .with_state(readiness)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let ready = Ready { status: "not_ready", checks: readiness.checks() };
    (StatusCode::SERVICE_UNAVAILABLE, Json(ready)).into_response()
}
