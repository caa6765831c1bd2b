//! The load balancers of the fleet as their agents told last, and pools: what all of them together know of backends.

use std::collections::{BTreeMap, BTreeSet};

use axum::Json;
use axum::extract::State;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{BackendGroup, BackendServer, BalancerReport, Latency, Target};
use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

use super::pools::{PoolBody, body as pool_body};
use crate::api::params::Params;
use crate::api::{ApiError, AppState};
use crate::balancers::gather::pools_now;
use crate::balancers::pool::Pool;
use crate::live::now_ms;
use crate::query::Violations;
use crate::steer::watch::{Balancer, Steering};
use crate::suggest::view::target_id;

/// Load balancers.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BalancersAnswer {
    /// Load balancers of the fleet whose agents are connected to this collector, by node and name.
    pub balancers: Vec<BalancerBody>,
    /// The pools that they make, by name.
    pub pools: Vec<PoolBody>,
}

/// A load balancer of the fleet. What is not known is null.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BalancerBody {
    /// Unique in the fleet.
    #[schema(example = "haproxy:lb-1:edge")]
    pub id: String,
    /// Its node.
    pub node: String,
    /// `haproxy`, `envoy` or `nginx`.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
    /// Version as the balancer says it.
    pub version: String,
    /// `up`, `unreachable`, `denied` or `slow`: how its agent gets on with it.
    #[schema(example = "up")]
    pub state: &'static str,
    /// Why it is not up; null when it is.
    pub reason: Option<String>,
    /// When its agent measured, by the agent's clock, milliseconds since the Unix epoch.
    pub measured_at_ms: i64,
    /// Time that its counts were taken over, milliseconds; 0: there are none yet.
    pub window_ms: u32,
    /// What its requests go to. Empty while it is not up.
    pub groups: Vec<GroupBody>,
    /// What is not known of it and why, for people.
    pub missing: Vec<String>,
}

/// Backends that share their requests: a backend of HAProxy, a cluster of Envoy, an upstream of nginx.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct GroupBody {
    /// As the balancer names it.
    pub name: String,
    /// How requests are shared, as the balancer names it.
    #[schema(example = "roundrobin")]
    pub algorithm: String,
    /// What a change of weights does at run time: `exact`, `when_busy`, `draw`, `drain_only` or `none`.
    #[schema(example = "exact")]
    pub weights: &'static str,
    /// The same in words.
    pub weights_note: String,
    /// Requests that wait for any backend.
    pub queue: u32,
    /// Of all its requests together; null where the balancer has none such (only Envoy has).
    pub latency: Option<LatencyBody>,
    /// By name.
    pub backends: Vec<BackendBody>,
}

/// Time from requests to their answers, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub struct LatencyBody {
    /// The mean.
    pub mean_ms: f64,
    /// Half of the requests took no longer.
    pub p50_ms: f64,
    /// 99 of 100 requests took no longer.
    pub p99_ms: f64,
}

/// A server of a group.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct BackendBody {
    /// As the balancer names it.
    pub name: String,
    /// `ADDRESS:PORT`; empty: not known.
    pub address: String,
    /// `ready`, `drain`, `maint`, `down` or `ejected`.
    #[schema(example = "ready")]
    pub state: &'static str,
    /// What the balancer's own configuration says.
    pub weight_configured: u32,
    /// In force, read back.
    pub weight: u32,
    /// What Flyball wants; null when it wants nothing of it.
    pub weight_wanted: Option<u32>,
    /// Share of the group's requests, 0 to 1; null without any.
    pub share: Option<f64>,
    /// Requests per second.
    pub requests_per_second: f64,
    /// Failed requests as a share of all; null without any.
    pub error_ratio: Option<f64>,
    /// Mean time from the request to its answer.
    pub latency_ms: Option<f64>,
    /// 99 of 100 requests took no longer.
    pub latency_p99_ms: Option<f64>,
    /// Requests under way on average.
    pub in_flight: Option<f64>,
    /// Requests that wait for it.
    pub queue: u32,
    /// Requests that it may be given at once; null: no limit.
    pub limit: Option<u32>,
    /// Share of its capacity that is in use, 0 to 1, as this balancer's agent knows it.
    pub utilization: Option<f64>,
    /// `orca`, `limit` or `host`.
    pub utilization_source: Option<&'static str>,
}

/// The load balancers of the fleet as their agents told last, and the pools that they make. Those whose agents are connected to another collector show there.
#[utoipa::path(get, path = "/api/performance/balancers", tag = "performance",
    params(
        ("node" = Option<Vec<String>>, Query, description = "only those of these nodes"),
        ("pool" = Option<String>, Query, description = "only those of this pool, with its group alone; the pool's name"),
    ),
    responses((status = 200, body = BalancersAnswer)),
)]
pub(in crate::api) async fn balancers(
    State(state): State<AppState>,
    mut params: Params,
) -> Result<Json<BalancersAnswer>, ApiError> {
    let (nodes, pool) = (params.many("node"), params.one("pool"));
    let (found, pools) = select(&state, &nodes, pool.as_deref(), params.finish())?;
    let steering = &state.0.steering;
    let balancers = found.iter().map(|(one, group)| body(steering, one, *group)).collect();
    let pools = pools.iter().map(|pool| pool_body(steering, pool)).collect();
    Ok(Json(BalancersAnswer { balancers, pools }))
}

/// Balancers, each with the only group of it that is asked for.
type Found<'a> = Vec<(Balancer, Option<&'a str>)>;

/// The balancers of `nodes` (of all when it is empty) and of a pool, and the pools that they are in.
///
/// # Errors
/// When a node or the pool is not known.
fn select<'a>(
    state: &AppState,
    nodes: &[String],
    pool: Option<&'a str>,
    mut violations: Violations,
) -> Result<(Found<'a>, Vec<Pool>), ApiError> {
    let all = state.0.steering.balancers().all();
    let mut wanted = BTreeSet::new();
    for node in nodes {
        match NodeName::new(node) {
            Ok(name) if state.0.live.knows(&name) || all.iter().any(|one| one.node == name) => {
                wanted.insert(name);
            }
            Ok(_) => violations.unknown("node", format!("{node:?} is not known")),
            Err(invalid) => violations.invalid("node", invalid.reason),
        }
    }
    violations.check()?;
    let mut pools = pools_now(&state.0.steering, &state.0.live);
    if let Some(name) = pool {
        pools.retain(|pool| pool.name == name);
        if pools.is_empty() {
            return Err(super::pools::unknown(name));
        }
    }
    let is_of = |node: &NodeName| wanted.is_empty() || wanted.contains(node);
    pools.retain(|pool| pool.members.iter().any(|member| is_of(&member.node)));
    let group = pool.map(|name| name.split_once('@').map_or(name, |(group, _)| group));
    let in_pool = |one: &Balancer| {
        let is_it = |member: &crate::balancers::pool::Member| {
            member.node == one.node && member.target == one.report.target
        };
        pool.is_none() || pools.iter().any(|pool| pool.members.iter().any(is_it))
    };
    let all = all.into_iter();
    let found = all.filter(|one| is_of(&one.node) && in_pool(one)).map(|one| (one, group));
    Ok((found.collect(), pools))
}

/// Weights that are wanted of a balancer, by `GROUP/BACKEND`.
pub(super) fn wanted(
    steering: &Steering,
    node: &NodeName,
    target: &Target,
) -> BTreeMap<String, u32> {
    let policy = steering.policies().wanted(node);
    let of = policy.targets.iter().find(|policy| policy.target == *target);
    let settings = of.into_iter().flat_map(|policy| &policy.settings);
    let weight = |(parameter, value): (&String, &String)| {
        Some((parameter.strip_prefix("weight:")?.to_owned(), value.parse().ok()?))
    };
    settings.filter_map(weight).collect()
}

fn body(steering: &Steering, one: &Balancer, only: Option<&str>) -> BalancerBody {
    let (report, node) = (one.report.as_ref(), one.node.as_str());
    let of = &report.target;
    let wanted = wanted(steering, &one.node, of);
    let groups = report.groups.iter().filter(|group| only.is_none_or(|only| only == group.name));
    BalancerBody {
        id: target_id(node, &of.kind, &of.name).0,
        node: node.to_owned(),
        kind: of.kind.clone(),
        name: of.name.clone(),
        version: report.version.clone(),
        state: report.state.as_str(),
        reason: (!report.reason.is_empty()).then(|| report.reason.clone()),
        measured_at_ms: report.measured_at_ms,
        window_ms: report.window_ms,
        groups: groups.map(|group| group_body(report, group, &wanted)).collect(),
        missing: report.missing.clone(),
    }
}

fn group_body(
    report: &BalancerReport,
    group: &BackendGroup,
    wanted: &BTreeMap<String, u32>,
) -> GroupBody {
    let requests: u64 = group.backends.iter().map(|server| server.requests).sum();
    let backend = |server: &BackendServer| {
        let of = |count: u64, all: u64| (all > 0).then(|| count as f64 / all as f64);
        BackendBody {
            name: server.name.clone(),
            address: server.address.clone(),
            state: server.state.as_str(),
            weight_configured: server.weight_configured,
            weight: server.weight,
            weight_wanted: wanted.get(&format!("{}/{}", group.name, server.name)).copied(),
            share: of(server.requests, requests),
            requests_per_second: per_second(server.requests, report.window_ms),
            error_ratio: of(server.errors, server.requests),
            latency_ms: server.latency_ms,
            latency_p99_ms: server.latency_p99_ms,
            in_flight: server.in_flight,
            queue: server.queue,
            limit: server.limit,
            utilization: server.utilization.map(|(share, _)| share),
            utilization_source: server.utilization.map(|(_, source)| source.as_str()),
        }
    };
    GroupBody {
        name: group.name.clone(),
        algorithm: group.algorithm.clone(),
        weights: group.weights.as_str(),
        weights_note: group.weights_note.clone(),
        queue: group.queue,
        latency: group.latency.map(|Latency { mean_ms, p50_ms, p99_ms }| LatencyBody {
            mean_ms,
            p50_ms,
            p99_ms,
        }),
        backends: group.backends.iter().map(backend).collect(),
    }
}

/// Requests per second of a window; 0 before the first one.
pub(super) fn per_second(requests: u64, window_ms: u32) -> f64 {
    if window_ms == 0 { 0.0 } else { requests as f64 * 1_000.0 / f64::from(window_ms) }
}

/// The balancers of `nodes` and of a pool as messages.
///
/// # Errors
/// When a node or the pool is not known.
pub(in crate::api) fn messages(
    state: &AppState,
    nodes: &[String],
    pool: Option<&str>,
) -> Result<v1::BalancersResponse, ApiError> {
    let (found, _) = select(state, nodes, pool, Violations::default())?;
    let steering = &state.0.steering;
    let message = |(one, only): &(Balancer, Option<&str>)| {
        let of = &one.report.target;
        let age_ms = i64::try_from(one.received.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut report = one.report.as_ref().clone();
        report.groups.retain(|group| only.is_none_or(|only| only == group.name));
        let policy = steering.policies().wanted(&one.node);
        let wanted = policy.targets.iter().filter(|policy| policy.target == *of);
        let setting = |(parameter, value): (&String, &String)| v1::Setting {
            parameter: parameter.clone(),
            value: value.clone(),
        };
        v1::FleetBalancer {
            id: target_id(one.node.as_str(), &of.kind, &of.name).0,
            node: one.node.as_str().to_owned(),
            received_at_ms: now_ms().saturating_sub(age_ms),
            report: Some(report.into()),
            wanted: wanted.flat_map(|policy| policy.settings.iter().map(setting)).collect(),
        }
    };
    Ok(v1::BalancersResponse { balancers: found.iter().map(message).collect() })
}
