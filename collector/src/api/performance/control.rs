//! Standing control of pools of load balancers: reading it, and a person's word on it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::{Request, State};
use flyball_model::rollout::{Actor, Control, Event, Frozen, Hold, TargetId};
use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::suggestions::{readable, unknown};
use crate::api::by::{Id, NoteBody, person};
use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::steer::control::{Confirmation, Glance, PushRecord};
use crate::steer::driver::View;
use crate::steer::show::{self, TargetBody};

/// What the id of a pool begins with.
const POOL: &str = "pool:";

/// Pools under control.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ControlAnswer {
    /// By name, those that have ended last.
    pub control: Vec<PoolControl>,
}

/// Control of one pool.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolControl {
    /// The pool's name.
    #[schema(example = "web")]
    pub pool: String,
    /// The rollout whose promotion began it.
    pub rollout_id: String,
    /// `running`, `frozen`, `killed`, or `let_go` when no balancer is left.
    #[schema(example = "running")]
    pub state: String,
    /// When it began, milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Who stopped pushes, and why; null while they go on.
    pub frozen: Option<FrozenBody>,
    /// Why this collector has pushed nothing after the last window; null when it has.
    pub waits: Option<String>,
    /// What was confirmed.
    pub envelope: EnvelopeBody,
    /// Its balancers.
    pub balancers: Vec<ControlledBalancer>,
    /// Balancers whose agents this collector hears: it pushes only with more than half of them.
    pub heard: usize,
    /// Pushes in all.
    pub pushes: u64,
    /// The newest that this collector has seen, the newest first.
    pub last_pushes: Vec<PushBody>,
}

/// Who stopped pushes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct FrozenBody {
    /// When, milliseconds since the Unix epoch.
    pub at_ms: i64,
    /// A person's name or a part of Flyball.
    pub by: String,
    /// Why, in words.
    pub reason: String,
    /// Whether a person did.
    pub by_person: bool,
}

/// What pushes must keep within.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct EnvelopeBody {
    /// Least and largest weight, by parameter.
    pub bounds: BTreeMap<String, [u64; 2]>,
    /// Largest share of traffic that one push may move.
    pub largest_shift: f64,
    /// Least time between two pushes, milliseconds.
    pub push_ms: i64,
}

/// A balancer under control.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct ControlledBalancer {
    /// Which.
    pub target: TargetBody,
    /// `standing`, `let_go`, `restoring` after the kill switch, or `restored`.
    #[schema(example = "standing")]
    pub state: &'static str,
    /// Why it was let go; null when it was not.
    pub reason: Option<String>,
    /// Weights that are wanted, or were last.
    pub values: BTreeMap<String, String>,
    /// Weights that the kill switch wants back.
    pub configured: BTreeMap<String, String>,
}

/// A push.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PushBody {
    /// Number of its decision.
    pub sequence: u64,
    /// When it was decided, milliseconds since the Unix epoch.
    pub pushed_at_ms: i64,
    /// End of the windows that it was computed from, milliseconds since the Unix epoch.
    pub window_ms: i64,
    /// What became of it at each balancer.
    pub balancers: Vec<ConfirmationBody>,
}

/// A push at a balancer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct ConfirmationBody {
    /// Its id.
    pub target: String,
    /// Weights that are wanted of it.
    pub values: BTreeMap<String, String>,
    /// When its agent had read them back, milliseconds since the Unix epoch; null: not yet, or a newer push came first.
    pub confirmed_at_ms: Option<i64>,
    /// From the offer of the policy until then, milliseconds.
    pub took_ms: Option<f64>,
}

/// Standing control of pools: what was confirmed, whether it goes on, and the newest pushes with what became of them at each balancer.
#[utoipa::path(get, path = "/api/performance/control", tag = "steering",
    responses((status = 200, body = ControlAnswer)),
)]
pub(in crate::api) async fn control(
    State(state): State<AppState>,
    params: Params,
) -> Result<Json<ControlAnswer>, ApiError> {
    params.none()?;
    Ok(Json(answer(&state)?))
}

/// Nothing is pushed to a pool until it is unfrozen; what is in force stays. 404 when it is not under control, 409 when a person has frozen it already.
#[utoipa::path(post, path = "/api/performance/balancers/pools/{name}/freeze", tag = "steering",
    params(("name" = String, Path, description = "name of the pool")),
    request_body = NoteBody,
    responses((status = 200, body = ControlAnswer)),
)]
pub(in crate::api) async fn freeze(
    State(state): State<AppState>,
    Id(name): Id,
    params: Params,
    request: Request,
) -> Result<Json<ControlAnswer>, ApiError> {
    order(&state, &name, params, request, |pool, by, note| Event::Freeze { pool, by, note }).await
}

/// Control of a pool goes on. 404 when it is not under control, 409 when it is not frozen.
#[utoipa::path(post, path = "/api/performance/balancers/pools/{name}/unfreeze", tag = "steering",
    params(("name" = String, Path, description = "name of the pool")),
    request_body = NoteBody,
    responses((status = 200, body = ControlAnswer)),
)]
pub(in crate::api) async fn unfreeze(
    State(state): State<AppState>,
    Id(name): Id,
    params: Params,
    request: Request,
) -> Result<Json<ControlAnswer>, ApiError> {
    order(&state, &name, params, request, |pool, by, note| Event::Unfreeze { pool, by, note }).await
}

/// The kill switch: the weights from before control are wanted back at every balancer of the pool, and when its agent has read them back nothing is. A rollout at the pool that is under way is rolled back. 404 when nothing is controlled or tried there.
#[utoipa::path(post, path = "/api/performance/balancers/pools/{name}/kill", tag = "steering",
    params(("name" = String, Path, description = "name of the pool")),
    request_body = NoteBody,
    responses((status = 200, body = ControlAnswer)),
)]
pub(in crate::api) async fn kill(
    State(state): State<AppState>,
    Id(name): Id,
    params: Params,
    request: Request,
) -> Result<Json<ControlAnswer>, ApiError> {
    order(&state, &name, params, request, |pool, by, note| Event::Kill { pool, by, note }).await
}

async fn order(
    state: &AppState,
    name: &str,
    params: Params,
    request: Request,
    event: impl FnOnce(TargetId, Actor, String) -> Event,
) -> Result<Json<ControlAnswer>, ApiError> {
    let (by, note) = person(state, params, request).await?;
    Ok(Json(obey(state, name, |pool| event(pool, by, note)).await?))
}

/// Has a person's order about a pool happen.
///
/// # Errors
/// When it may not happen now, or the journal does not take it.
pub(in crate::api) async fn obey(
    state: &AppState,
    name: &str,
    event: impl FnOnce(TargetId) -> Event,
) -> Result<ControlAnswer, ApiError> {
    let pool = TargetId(format!("{POOL}{}", name.strip_prefix(POOL).unwrap_or(name)));
    if name.is_empty() {
        return Err(unknown("pool", name));
    }
    let view = state.0.driver.person(event(pool.clone())).await?;
    let mut answer = of(state, &view);
    let short = pool.0.trim_start_matches(POOL);
    answer.control.retain(|control| control.pool == short);
    Ok(answer)
}

/// All that is or was under control.
///
/// # Errors
/// When the journal was never read.
pub(in crate::api) fn answer(state: &AppState) -> Result<ControlAnswer, ApiError> {
    let view = readable(state)?;
    Ok(of(state, &view))
}

fn of(state: &AppState, view: &View) -> ControlAnswer {
    let mut all: Vec<&Control> = view.state.controls().collect();
    all.sort_by_key(|control| (control.is_over(), control.pool.name.clone(), -control.since_ms));
    let body = |control: &Control| PoolControl::of(control, state.0.controls.glance(control), view);
    ControlAnswer { control: all.into_iter().map(body).collect() }
}

impl PoolControl {
    fn of(control: &Control, glance: Glance, view: &View) -> Self {
        let waits =
            (control.status() == "running" && !glance.waits.is_empty()).then_some(glance.waits);
        let bounds = control.envelope.bounds.iter();
        let balancers = control.members.iter().map(|member| {
            let book = view.state.target(&member.target.id);
            let is_owed = book.is_some_and(|book| book.is_owed_by_kill(&member.configured));
            let (state, reason) = match &member.hold {
                Hold::Awaiting | Hold::Standing => ("standing", None),
                Hold::LetGo(reason) => ("let_go", Some(reason.clone())),
                Hold::Killed if is_owed => ("restoring", None),
                Hold::Killed => ("restored", None),
            };
            ControlledBalancer {
                target: show::target(&member.target),
                state,
                reason,
                values: member.values.clone(),
                configured: member.configured.clone(),
            }
        });
        Self {
            pool: control.pool.name.clone(),
            rollout_id: control.rollout.0.clone(),
            state: control.status().to_owned(),
            since_ms: control.since_ms,
            frozen: control.killed.as_ref().or(control.frozen.as_ref()).map(FrozenBody::of),
            waits,
            envelope: EnvelopeBody {
                bounds: bounds.map(|(name, (min, max))| (name.clone(), [*min, *max])).collect(),
                largest_shift: control.envelope.largest_shift,
                push_ms: control.envelope.push_ms,
            },
            balancers: balancers.collect(),
            heard: glance.heard,
            pushes: control.pushes,
            last_pushes: glance.pushes.into_iter().map(PushBody::of).collect(),
        }
    }
}

impl FrozenBody {
    fn of(frozen: &Frozen) -> Self {
        Self {
            at_ms: frozen.at_ms,
            by: frozen.by.name.clone(),
            reason: frozen.reason.clone(),
            by_person: frozen.by_person,
        }
    }
}

impl PushBody {
    fn of(push: PushRecord) -> Self {
        let body = |(target, of): (TargetId, Confirmation)| ConfirmationBody {
            target: target.0,
            values: of.values,
            confirmed_at_ms: of.confirmed_at_ms,
            took_ms: of.took_ms,
        };
        Self {
            sequence: push.sequence,
            pushed_at_ms: push.pushed_at_ms,
            window_ms: push.window_ms,
            balancers: push.balancers.into_iter().map(body).collect(),
        }
    }
}

fn settings(values: BTreeMap<String, String>) -> Vec<v1::Setting> {
    values.into_iter().map(|(parameter, value)| v1::Setting { parameter, value }).collect()
}

impl From<ControlAnswer> for v1::ControlResponse {
    fn from(answer: ControlAnswer) -> Self {
        Self { control: answer.control.into_iter().map(Into::into).collect() }
    }
}

impl From<PoolControl> for v1::PoolControl {
    fn from(of: PoolControl) -> Self {
        let bounds = of.envelope.bounds.into_iter();
        Self {
            pool: of.pool,
            rollout_id: of.rollout_id,
            state: of.state,
            since_ms: of.since_ms,
            frozen: of.frozen.map(|frozen| v1::ControlFrozen {
                at_ms: frozen.at_ms,
                by: frozen.by,
                reason: frozen.reason,
                by_person: frozen.by_person,
            }),
            waits: of.waits.unwrap_or_default(),
            bounds: bounds
                .map(|(parameter, [min, max])| v1::ControlBound { parameter, min, max })
                .collect(),
            largest_shift: of.envelope.largest_shift,
            push_ms: of.envelope.push_ms,
            balancers: of.balancers.into_iter().map(Into::into).collect(),
            heard: of.heard as u32,
            pushes: of.pushes,
            last_pushes: of.last_pushes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<ControlledBalancer> for v1::ControlledBalancer {
    fn from(of: ControlledBalancer) -> Self {
        Self {
            target: Some(of.target.into()),
            state: of.state.to_owned(),
            reason: of.reason.unwrap_or_default(),
            values: settings(of.values),
            configured: settings(of.configured),
        }
    }
}

impl From<PushBody> for v1::ControlPush {
    fn from(of: PushBody) -> Self {
        let confirmation = |of: ConfirmationBody| v1::ControlConfirmation {
            target: of.target,
            values: settings(of.values),
            confirmed_at_ms: of.confirmed_at_ms,
            took_ms: of.took_ms,
        };
        Self {
            sequence: of.sequence,
            pushed_at_ms: of.pushed_at_ms,
            window_ms: of.window_ms,
            balancers: of.balancers.into_iter().map(confirmation).collect(),
        }
    }
}
