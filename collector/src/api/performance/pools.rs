//! Pools: what all load balancers together know of backends, and what it was before.

use axum::Json;
use axum::extract::{FromRequestParts, RawPathParams, State};
use axum::http::request::Parts;
use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::balancers::{per_second, wanted};
use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::balancers::gather::pools_now;
use crate::balancers::history::{self, History};
use crate::balancers::pool::{Backend, Member, Pool};
use crate::live::now_ms;
use crate::query::{QueryError, Violations};
use crate::steer::watch::Steering;

/// Minutes of history without `minutes`.
const MINUTES: u32 = 30;
/// Most minutes of history.
const MOST_MINUTES: u32 = 24 * 60;

/// Pools.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolsAnswer {
    /// By name.
    pub pools: Vec<PoolBody>,
}

/// One pool.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolAnswer {
    /// As it is now.
    pub pool: PoolBody,
    /// What it was.
    pub history: History,
}

/// Groups of one name over all load balancers whose backends have addresses in common.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolBody {
    /// Unique in the fleet: the id of the target of its changes.
    #[schema(example = "pool:web")]
    pub id: String,
    /// Its name: that of its groups, with `@BALANCER` when groups of that name have no address in common.
    pub name: String,
    /// What its balancers call it.
    pub group: String,
    /// The longest window of a report that counts, milliseconds; 0: none counts.
    pub window_ms: u32,
    /// Requests per second of all members that count.
    pub requests_per_second: f64,
    /// Failed requests as a share of all; null without any.
    pub error_ratio: Option<f64>,
    /// Its groups, by node and balancer.
    pub members: Vec<MemberBody>,
    /// Its backends, by id.
    pub backends: Vec<PoolBackendBody>,
}

/// A group of one balancer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = PoolMemberBody)]
pub struct MemberBody {
    /// Id of the balancer.
    #[schema(example = "haproxy:lb-1:edge")]
    pub id: String,
    /// Its node.
    pub node: String,
    /// `haproxy`, `envoy` or `nginx`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// `up`, `unreachable`, `denied` or `slow`.
    pub state: &'static str,
    /// Why it counts for nothing: it is not up, or its report is older than two of its windows; null: it counts.
    pub missing: Option<String>,
    /// Time since its report came, milliseconds.
    pub age_ms: u64,
    /// How requests are shared, as the balancer names it.
    pub algorithm: String,
    /// What a change of weights does at run time: `exact`, `when_busy`, `draw`, `drain_only` or `none`.
    pub weights: &'static str,
    /// The same in words.
    pub weights_note: String,
    /// Requests that wait for any backend.
    pub queue: u32,
}

/// A server that requests go to. Sums are over the members that count; what is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PoolBackendBody {
    /// Unique in its pool: its address, or its name where that is not known.
    pub id: String,
    /// `ADDRESS:PORT`; empty: not known.
    pub address: String,
    /// `ready`, `drain`, `maint`, `down` or `ejected`; `ready` where any member that counts gives it requests.
    pub state: &'static str,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Failed requests as a share of all.
    pub error_ratio: Option<f64>,
    /// Mean latency, weighted by requests.
    pub latency_ms: Option<f64>,
    /// The largest 99th percentile of a member: the one over all is no more than this.
    pub latency_p99_ms: Option<f64>,
    /// Requests under way.
    pub in_flight: Option<f64>,
    /// Requests that wait for it.
    pub queue: u32,
    /// Sum of the limits; null: a member has none.
    pub limit: Option<u32>,
    /// Share of its capacity that is in use, 0 to 1.
    pub utilization: Option<f64>,
    /// Where that is known from: `orca` (its own word), `limit` (requests under way over the limit) or `host` (the CPU of its host).
    pub utilization_source: Option<&'static str>,
    /// Share of the pool's requests, 0 to 1.
    pub share: Option<f64>,
    /// Share that the weights in force ask for.
    pub weight_share: Option<f64>,
    /// Share of the pool's capacity, of requests per second over utilisation; null unless both are known of every backend that is given requests.
    pub capacity_share: Option<f64>,
    /// Time since the newest report that has it came, milliseconds.
    pub age_ms: u64,
    /// In each group that has it.
    pub placements: Vec<PlacementBody>,
}

/// A backend in one group.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct PlacementBody {
    /// Id of the balancer.
    pub balancer: String,
    /// Its name there.
    pub name: String,
    /// `ready`, `drain`, `maint`, `down` or `ejected`.
    pub state: &'static str,
    /// What the balancer's own configuration says.
    pub weight_configured: u32,
    /// In force, read back.
    pub weight: u32,
    /// What Flyball wants; null when it wants nothing of it.
    pub weight_wanted: Option<u32>,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Share of the group's requests, 0 to 1; null without any.
    pub share: Option<f64>,
}

/// The name of a pool in a path.
#[derive(Debug)]
pub(in crate::api) struct PoolName(pub(in crate::api) String);

impl<S: Send + Sync> FromRequestParts<S> for PoolName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let params = RawPathParams::from_request_parts(parts, state).await;
        let params = params.map_err(|rejection| {
            let mut violations = Violations::default();
            violations.invalid("name", rejection.body_text());
            QueryError::Invalid(violations)
        })?;
        let name = params.iter().find(|(name, _)| *name == "name");
        Ok(Self(name.map(|(_, name)| name.to_owned()).unwrap_or_default()))
    }
}

/// The pools of the fleet: groups of one name over all load balancers whose backends have addresses in common, with what all of them together know.
#[utoipa::path(get, path = "/api/performance/balancers/pools", tag = "performance",
    responses((status = 200, body = PoolsAnswer)),
)]
pub(in crate::api) async fn pools(
    State(state): State<AppState>,
    params: Params,
) -> Result<Json<PoolsAnswer>, ApiError> {
    params.none()?;
    let pools = pools_now(&state.0.steering, &state.0.live);
    let pools = pools.iter().map(|pool| body(&state.0.steering, pool)).collect();
    Ok(Json(PoolsAnswer { pools }))
}

/// One pool, with what it was over the last minutes.
#[utoipa::path(get, path = "/api/performance/balancers/pools/{name}", tag = "performance",
    params(
        ("name" = String, Path, description = "name of the pool"),
        ("minutes" = Option<u32>, Query, description = "time that the history reaches back, 1 to 1440; 30 without"),
    ),
    responses((status = 200, body = PoolAnswer)),
)]
pub(in crate::api) async fn pool(
    State(state): State<AppState>,
    PoolName(name): PoolName,
    mut params: Params,
) -> Result<Json<PoolAnswer>, ApiError> {
    let minutes = params.one("minutes");
    let mut violations = params.finish();
    let minutes = minutes.map_or(Some(MINUTES), |text| {
        text.parse().ok().filter(|minutes| (1..=MOST_MINUTES).contains(minutes))
    });
    if minutes.is_none() {
        violations.invalid("minutes", format!("must be a whole number from 1 to {MOST_MINUTES}"));
    }
    violations.check()?;
    let pool = one(&state, &name)?;
    let to_ms = now_ms();
    let from_ms = to_ms - i64::from(minutes.unwrap_or(MINUTES)) * 60_000;
    let (store, querier, live) = (&state.0.store, &state.0.querier, &state.0.live);
    let history = history::read((store, querier, live), &pool, (from_ms, to_ms)).await?;
    Ok(Json(PoolAnswer { pool: body(&state.0.steering, &pool), history }))
}

/// A pool by its name.
///
/// # Errors
/// When there is none.
pub(in crate::api) fn one(state: &AppState, name: &str) -> Result<Pool, ApiError> {
    let pools = pools_now(&state.0.steering, &state.0.live);
    pools.into_iter().find(|pool| pool.name == name).ok_or_else(|| unknown(name))
}

/// No pool has the name.
pub(super) fn unknown(name: &str) -> ApiError {
    super::suggestions::unknown("pool", name)
}

/// A pool as it is answered.
pub(in crate::api) fn body(steering: &Steering, pool: &Pool) -> PoolBody {
    let wanted: Vec<_> =
        pool.members.iter().map(|member| wanted(steering, &member.node, &member.target)).collect();
    // Requests of each member's group.
    let mut groups = vec![0_u64; pool.members.len()];
    for placement in pool.backends.iter().flat_map(|backend| &backend.placements) {
        groups[placement.member] += placement.server.requests;
    }
    let placement = |placement: &crate::balancers::pool::Placement| {
        let (member, server) = (&pool.members[placement.member], &placement.server);
        let all = groups[placement.member];
        PlacementBody {
            balancer: member.id(),
            name: server.name.clone(),
            state: server.state.as_str(),
            weight_configured: server.weight_configured,
            weight: server.weight,
            weight_wanted: wanted[placement.member]
                .get(&format!("{}/{}", pool.group, server.name))
                .copied(),
            requests_per_second: per_second(server.requests, member.window_ms),
            share: (all > 0).then(|| server.requests as f64 / all as f64),
        }
    };
    let backend = |backend: &Backend| PoolBackendBody {
        id: backend.id.clone(),
        address: backend.address.clone(),
        state: backend.state.as_str(),
        requests_per_second: backend.requests_per_second,
        error_ratio: backend.error_ratio(),
        latency_ms: backend.latency_ms,
        latency_p99_ms: backend.latency_p99_ms,
        in_flight: backend.in_flight,
        queue: backend.queue,
        limit: backend.limit,
        utilization: backend.utilization.map(|(share, _)| share),
        utilization_source: backend.utilization.map(|(_, source)| source.as_str()),
        share: backend.share,
        weight_share: backend.weight_share,
        capacity_share: backend.capacity_share,
        age_ms: backend.age_ms,
        placements: backend.placements.iter().map(placement).collect(),
    };
    let errors: u64 = pool.backends.iter().map(|backend| backend.errors).sum();
    PoolBody {
        id: pool.id(),
        name: pool.name.clone(),
        group: pool.group.clone(),
        window_ms: pool.window_ms,
        requests_per_second: pool.requests_per_second,
        error_ratio: (pool.requests > 0).then(|| errors as f64 / pool.requests as f64),
        members: pool.members.iter().map(member_body).collect(),
        backends: pool.backends.iter().map(backend).collect(),
    }
}

fn member_body(member: &Member) -> MemberBody {
    MemberBody {
        id: member.id(),
        node: member.node.as_str().to_owned(),
        kind: member.target.kind.clone(),
        name: member.target.name.clone(),
        state: member.state.as_str(),
        missing: member.missing.clone(),
        age_ms: member.age_ms,
        algorithm: member.algorithm.clone(),
        weights: member.weights.as_str(),
        weights_note: member.weights_note.clone(),
        queue: member.queue,
    }
}

/// Pools as messages: one, or all when the name is empty.
///
/// # Errors
/// When there is none of that name.
pub(in crate::api) fn messages(
    state: &AppState,
    name: &str,
) -> Result<v1::PoolsResponse, ApiError> {
    let pools = if name.is_empty() {
        pools_now(&state.0.steering, &state.0.live)
    } else {
        vec![one(state, name)?]
    };
    let pools = pools.iter().map(|pool| body(&state.0.steering, pool).into()).collect();
    Ok(v1::PoolsResponse { pools })
}

impl From<PoolBody> for v1::Pool {
    fn from(pool: PoolBody) -> Self {
        Self {
            id: pool.id,
            name: pool.name,
            group: pool.group,
            window_ms: pool.window_ms,
            requests_per_second: pool.requests_per_second,
            members: pool.members.into_iter().map(Into::into).collect(),
            backends: pool.backends.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<MemberBody> for v1::PoolMember {
    fn from(member: MemberBody) -> Self {
        Self {
            id: member.id,
            node: member.node,
            kind: member.kind,
            name: member.name,
            state: member.state.to_owned(),
            missing: member.missing.unwrap_or_default(),
            age_ms: member.age_ms,
            algorithm: member.algorithm,
            weights: member.weights.to_owned(),
            weights_note: member.weights_note,
            queue: member.queue,
        }
    }
}

impl From<PoolBackendBody> for v1::PoolBackend {
    fn from(backend: PoolBackendBody) -> Self {
        let placement = |placement: PlacementBody| v1::PoolPlacement {
            balancer: placement.balancer,
            name: placement.name,
            state: placement.state.to_owned(),
            weight_configured: placement.weight_configured,
            weight: placement.weight,
            weight_wanted: placement.weight_wanted,
            requests_per_second: placement.requests_per_second,
            share: placement.share,
        };
        Self {
            id: backend.id,
            address: backend.address,
            state: backend.state.to_owned(),
            requests_per_second: backend.requests_per_second,
            error_ratio: backend.error_ratio,
            latency_ms: backend.latency_ms,
            latency_p99_ms: backend.latency_p99_ms,
            in_flight: backend.in_flight,
            queue: backend.queue,
            limit: backend.limit,
            utilization: backend.utilization,
            utilization_source: backend.utilization_source.unwrap_or_default().to_owned(),
            share: backend.share,
            weight_share: backend.weight_share,
            capacity_share: backend.capacity_share,
            placements: backend.placements.into_iter().map(placement).collect(),
        }
    }
}
