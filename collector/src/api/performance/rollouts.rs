//! Rollouts: reading them, a person's word on them, and unlocking a target.

use axum::Json;
use axum::extract::{Request, State};
use flyball_model::rollout::{Actor, Event, Rollout, RolloutId, RolloutState, TargetId};
use serde::Serialize;
use utoipa::ToSchema;

use super::suggestions::{Ask, readable, unknown};
use crate::api::by::{Id, NoteBody, person};
use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::live::now_ms;
use crate::query::Violations;
use crate::steer::show::{self, RolloutBody, TargetBody};

/// A page of rollouts.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct RolloutsAnswer {
    /// The newest first.
    pub rollouts: Vec<RolloutBody>,
    /// For the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// A target that was changed before.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct TargetAnswer {
    /// Which.
    pub target: TargetBody,
    /// `free`, `busy`, `cooling` or `locked`.
    #[schema(example = "free")]
    pub status: String,
    /// Failed attempts since the last success or unlocking, of the kind with most.
    pub failures: u8,
}

/// Rollouts, the newest first: those of the last 90 days and all that have not ended.
#[utoipa::path(get, path = "/api/performance/rollouts", tag = "steering",
    params(
        ("status" = Option<String>, Query, description = "only those in this state: `canary`, `validating`, `promoted`, `rolled_back` or `failed`"),
        ("kind" = Option<String>, Query, description = "only those of suggestions of this kind"),
        ("target" = Option<String>, Query, description = "only those of this target; its id"),
        ("limit" = Option<u32>, Query, description = "items of a page, 1 to 200; 50 without"),
        ("cursor" = Option<String>, Query, description = "`next_cursor` of the page before"),
    ),
    responses((status = 200, body = RolloutsAnswer)),
)]
pub(in crate::api) async fn rollouts(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<RolloutsAnswer>, ApiError> {
    let ask = Ask::of(&mut params);
    Ok(Json(list(&state, ask, params.finish())?))
}

/// A page of rollouts.
///
/// # Errors
/// When the question is wrong, or the journal was never read.
pub(in crate::api) fn list(
    state: &AppState,
    ask: Ask,
    mut violations: Violations,
) -> Result<RolloutsAnswer, ApiError> {
    let page = ask.page(&mut violations);
    let Ask { status, kind, target, .. } = ask;
    let wanted = status.as_deref().map(|status| parse(status, &mut violations));
    violations.check()?;
    let view = readable(state)?;
    let touches = |rollout: &Rollout, id: &String| {
        let members = rollout.plan.members.iter().any(|member| member.target.id.0 == *id);
        let of = view.state.suggestion(&rollout.suggestion);
        members || of.is_some_and(|of| of.proposal.target.id.0 == *id)
    };
    let is_it = |rollout: &&Rollout| {
        wanted.is_none_or(|wanted| wanted == Some(rollout.state))
            && kind.as_ref().is_none_or(|kind| *kind == rollout.kind)
            && target.as_ref().is_none_or(|target| touches(rollout, target))
    };
    let all: Vec<&Rollout> = view.state.rollouts().filter(is_it).collect();
    let (all, next_cursor) = page.cut(all, |r| (r.started_at_ms, r.id.0.as_str()));
    let rollouts = all.into_iter().map(|found| show::rollout(found, &view.state)).collect();
    Ok(RolloutsAnswer { rollouts, next_cursor })
}

/// One rollout with every verdict.
#[utoipa::path(get, path = "/api/performance/rollouts/{id}", tag = "steering",
    params(("id" = String, Path, description = "id of the rollout")),
    responses((status = 200, body = RolloutBody)),
)]
pub(in crate::api) async fn rollout(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
) -> Result<Json<RolloutBody>, ApiError> {
    params.none()?;
    Ok(Json(one(&state, &id)?))
}

/// One rollout.
///
/// # Errors
/// When there is none, or the journal was never read.
pub(in crate::api) fn one(state: &AppState, id: &str) -> Result<RolloutBody, ApiError> {
    let view = readable(state)?;
    let found = view.state.rollout(&RolloutId(id.to_owned()));
    let found = found.ok_or_else(|| unknown("rollout", id))?;
    Ok(show::rollout(found, &view.state))
}

/// Has the old values put back. 409 when it has ended or they are on their way already.
#[utoipa::path(post, path = "/api/performance/rollouts/{id}/rollback", tag = "steering",
    params(("id" = String, Path, description = "id of the rollout")),
    request_body = NoteBody,
    responses((status = 200, body = RolloutBody)),
)]
pub(in crate::api) async fn rollback(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
    request: Request,
) -> Result<Json<RolloutBody>, ApiError> {
    let event = |rollout, by, note| Event::RollBack { rollout, by, note };
    order(&state, id, params, request, event).await
}

/// Has a rollout go no further for now; what is in force stays, and hard stops still count.
#[utoipa::path(post, path = "/api/performance/rollouts/{id}/pause", tag = "steering",
    params(("id" = String, Path, description = "id of the rollout")),
    request_body = NoteBody,
    responses((status = 200, body = RolloutBody)),
)]
pub(in crate::api) async fn pause(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
    request: Request,
) -> Result<Json<RolloutBody>, ApiError> {
    let event = |rollout, by, note| Event::Pause { rollout, by, note };
    order(&state, id, params, request, event).await
}

/// Has a paused rollout go on.
#[utoipa::path(post, path = "/api/performance/rollouts/{id}/resume", tag = "steering",
    params(("id" = String, Path, description = "id of the rollout")),
    request_body = NoteBody,
    responses((status = 200, body = RolloutBody)),
)]
pub(in crate::api) async fn resume(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
    request: Request,
) -> Result<Json<RolloutBody>, ApiError> {
    let event = |rollout, by, note| Event::Resume { rollout, by, note };
    order(&state, id, params, request, event).await
}

/// Allows new attempts at a target: one that is locked, after three failed ones or because it is not known what is in force, or one whose agent has rejected values, which may be offered to it again then.
///
/// First look which values are in force there (`GET /api/performance/policies`), or mend why they were rejected. 404 when nothing was ever changed there, 409 when it is not locked and its agent has rejected nothing, or a rollout is changing it. The target is one server: of a group each member that is `locked`.
#[utoipa::path(post, path = "/api/performance/targets/{id}/unlock", tag = "steering",
    params(("id" = String, Path, description = "id of the target")),
    request_body = NoteBody,
    responses((status = 200, body = TargetAnswer)),
)]
pub(in crate::api) async fn unlock(
    State(state): State<AppState>,
    Id(id): Id,
    params: Params,
    request: Request,
) -> Result<Json<TargetAnswer>, ApiError> {
    let (by, note) = person(&state, params, request).await?;
    Ok(Json(set_free(&state, id, by, note).await?))
}

/// Unlocks a target.
///
/// # Errors
/// When there is nothing to allow again, or the journal does not take it.
pub(in crate::api) async fn set_free(
    state: &AppState,
    id: String,
    by: Actor,
    note: String,
) -> Result<TargetAnswer, ApiError> {
    let target = TargetId(id.clone());
    let event = Event::Unlock { target: target.clone(), by, note };
    let view = state.0.driver.person(event).await?;
    let book = view.state.target(&target).ok_or_else(|| unknown("target", &id))?;
    Ok(TargetAnswer {
        target: show::target(&book.target),
        status: book.status(now_ms()).to_owned(),
        failures: book.attempts.values().map(|attempts| attempts.failures).max().unwrap_or(0),
    })
}

async fn order(
    state: &AppState,
    id: String,
    params: Params,
    request: Request,
    event: impl FnOnce(RolloutId, Actor, String) -> Event,
) -> Result<Json<RolloutBody>, ApiError> {
    let (by, note) = person(state, params, request).await?;
    Ok(Json(obey(state, &id, event(RolloutId(id.clone()), by, note)).await?))
}

/// Has a person's order about a rollout happen.
///
/// # Errors
/// When it may not happen now, or the journal does not take it.
pub(in crate::api) async fn obey(
    state: &AppState,
    id: &str,
    event: Event,
) -> Result<RolloutBody, ApiError> {
    let view = state.0.driver.person(event).await?;
    let found = view.state.rollout(&RolloutId(id.to_owned()));
    let found = found.ok_or_else(|| unknown("rollout", id))?;
    Ok(show::rollout(found, &view.state))
}

fn parse(status: &str, violations: &mut Violations) -> Option<RolloutState> {
    use RolloutState::{Canary, Failed, Promoted, RolledBack, Validating};
    let all = [Canary, Validating, Promoted, RolledBack, Failed];
    let found = all.into_iter().find(|state| state.name() == status);
    if found.is_none() {
        let words = "must be canary, validating, promoted, rolled_back or failed";
        violations.invalid("status", words);
    }
    found
}
