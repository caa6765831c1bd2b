//! Puts together what advisors see: reports of agents, what agents may set, and traffic of late.
//!
//! Only caches whose agents watch here are known here; with several collectors each suggests for its
//! own.

use std::collections::HashMap;

use flyball_model::reuse::Moments;
use flyball_model::rollout::{State, Target, TargetId, Values};
use flyball_proto::steering::{Bounds, Capability};

use super::by_person::Known;
use super::settings::SuggestSettings;
use super::view::{CacheView, MAXMEMORY, MAXMEMORY_POLICY, MemoryPast, Recent, target_id};
use crate::steer::watch::{Cache, Steering};
use crate::store::{CacheMemory, CacheTraffic, Store, StoreError};

/// Time over which resident memory is compared with that in use.
const MEMORY_MS: i64 = 24 * 3_600_000;

/// All caches that are known here, by node and name.
///
/// # Errors
/// When the traffic cannot be read.
pub async fn views(
    steering: &Steering,
    store: &Store,
    settings: &SuggestSettings,
    now_ms: i64,
) -> Result<Vec<CacheView>, StoreError> {
    let caches = steering.caches().all();
    if caches.is_empty() {
        return Ok(Vec::new());
    }
    let traffic = store.cache_traffic(now_ms - settings.window_ms as i64, now_ms).await?;
    let of = |t: CacheTraffic| ((t.node.clone(), t.cache.clone()), recent(&t));
    let traffic: HashMap<_, _> = traffic.into_iter().map(of).collect();
    let memory = store.cache_memory(now_ms - MEMORY_MS, now_ms).await?;
    let of = |m: CacheMemory| ((m.node.clone(), m.cache.clone()), past(&m));
    let memory: HashMap<_, _> = memory.into_iter().map(of).collect();
    let view = |cache: Cache| {
        let key = (cache.node.as_str().to_owned(), cache.report.target.name.clone());
        let recent = traffic.get(&key).copied();
        CacheView { recent, memory: memory.get(&key).copied(), ..view(steering, cache, now_ms) }
    };
    Ok(caches.into_iter().map(view).collect())
}

/// What is known of the target of this id, for a change that a person proposes. `None` when no agent that
/// watches here has it.
///
/// What is in force is what its report, its newest samples and, soon after a rollout, its agent's outcome
/// say. They come at different times: where they differ it is not known yet.
///
/// # Errors
/// When the traffic cannot be read.
pub async fn known(
    steering: &Steering,
    store: &Store,
    settings: &SuggestSettings,
    (id, state): (&str, &State),
    now_ms: i64,
) -> Result<Option<Known>, StoreError> {
    let agents = steering.agents().all().into_iter().filter(|(_, agent)| agent.is_connected);
    let found = agents.into_iter().find_map(|(node, agent)| {
        let is_it =
            |c: &&Capability| target_id(node.as_str(), &c.target.kind, &c.target.name).0 == id;
        let capability = agent.capabilities.iter().find(is_it)?.clone();
        Some((node, agent, capability))
    });
    let Some((node, agent, capability)) = found else { return Ok(None) };
    let server = &capability.target;
    let place = (node.as_str(), server.name.as_str());
    let window_ms = settings.window_ms as i64;
    let traffic = store.cache_traffic(now_ms - window_ms, now_ms).await?;
    let traffic = traffic.into_iter().find(|t| (t.node.as_str(), t.cache.as_str()) == place);
    let fresh_ms = settings.max_report_age_ms;
    let now = store.cache_now(place, now_ms - fresh_ms as i64).await?;
    let report = steering.caches().get(&node, server);
    let report = report.filter(|cache| cache.received.elapsed().as_millis() <= fresh_ms.into());
    let id = target_id(node.as_str(), &server.kind, &server.name);
    let told = agent.outcome(server).filter(|_| ended_lately(state, &id, now_ms, fresh_ms));
    let mut row = Values::new();
    if let Some(now) = &now {
        row.insert(MAXMEMORY.to_owned(), now.max_bytes.to_string());
        if !now.eviction_policy.is_empty() {
            row.insert(MAXMEMORY_POLICY.to_owned(), now.eviction_policy.clone());
        }
    }
    let told = told.map(|told| told.in_force.clone()).unwrap_or_default();
    let report = report.map(|cache| cache.report.settings.clone()).unwrap_or_default();
    let in_force = agreed(&[told, report, row]);
    Ok(Some(Known {
        target: Target {
            id,
            node: node.as_str().to_owned(),
            kind: server.kind.clone(),
            name: server.name.clone(),
        },
        settable: parameters(&capability).into_iter().collect(),
        unsettable: capability.reason.clone(),
        largest_growth: capability.largest_growth,
        in_force,
        recent: traffic.as_ref().map(recent),
        used_bytes: now.map_or(0, |now| now.used_bytes),
    }))
}

/// Values that all sources agree on which have one.
fn agreed(sources: &[Values]) -> Values {
    let mut all = Values::new();
    for (name, value) in sources.iter().flatten() {
        if sources.iter().all(|source| source.get(name).is_none_or(|other| other == value)) {
            all.insert(name.clone(), value.clone());
        }
    }
    all
}

/// Whether a rollout of a target has ended so lately that what was sampled may be older.
pub fn ended_lately(state: &State, target: &TargetId, now_ms: i64, within_ms: u64) -> bool {
    let ended = state.rollouts().filter(|rollout| rollout.place(target).is_some());
    let newest = ended.filter_map(|rollout| rollout.ended_at_ms).max();
    newest.is_some_and(|ended_ms| now_ms.saturating_sub(ended_ms) <= within_ms as i64)
}

fn recent(traffic: &CacheTraffic) -> Recent {
    Recent {
        from_ms: traffic.from_ms,
        to_ms: traffic.to_ms,
        hits: traffic.hits as f64,
        misses: traffic.misses as f64,
        clients: Some(traffic.clients).filter(|clients| *clients > 0.0),
    }
}

fn past(memory: &CacheMemory) -> MemoryPast {
    MemoryPast {
        from_ms: memory.from_ms,
        to_ms: memory.to_ms,
        moments: Moments {
            count: memory.rows,
            used_mean: memory.used_mean,
            resident_mean: memory.resident_mean,
            used_variance: memory.used_variance,
            resident_variance: memory.resident_variance,
            covariance: memory.covariance,
        },
    }
}

/// Without what is stored of it.
fn view(steering: &Steering, cache: Cache, now_ms: i64) -> CacheView {
    let agent = steering.agents().get(&cache.node);
    let is_it = |capability: &&Capability| capability.target == cache.report.target;
    let capability = agent.as_ref().and_then(|agent| agent.capabilities.iter().find(is_it));
    let (settable, unsettable) = match (&agent, capability) {
        (Some(agent), _) if !agent.is_connected => {
            (HashMap::new(), "its agent does not watch here any more".to_owned())
        }
        (_, Some(capability)) => (parameters(capability), capability.reason.clone()),
        _ => (HashMap::new(), "its agent has not said that it may".to_owned()),
    };
    let age_ms = i64::try_from(cache.received.elapsed().as_millis()).unwrap_or(i64::MAX);
    CacheView {
        report: cache.report.as_ref().clone(),
        received_at_ms: now_ms.saturating_sub(age_ms),
        node: cache.node,
        settable: settable.into_iter().collect(),
        unsettable,
        largest_growth: capability.and_then(|capability| capability.largest_growth),
        recent: None,
        memory: None,
    }
}

fn parameters(capability: &Capability) -> HashMap<String, Bounds> {
    capability.parameters.clone().into_iter().collect()
}
