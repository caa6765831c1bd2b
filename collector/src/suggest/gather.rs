//! Puts together what advisors see: reports of agents, what agents may set, and traffic of late.
//!
//! Only caches whose agents watch here are known here; with several collectors each suggests for its
//! own.

use std::collections::HashMap;

use flyball_proto::steering::{Bounds, Capability};

use super::settings::SuggestSettings;
use super::view::{CacheView, Recent};
use crate::steer::watch::{Cache, Steering};
use crate::store::{CacheTraffic, Store, StoreError};

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
    let view = |cache: Cache| {
        let key = (cache.node.as_str().to_owned(), cache.report.target.name.clone());
        view(steering, cache, traffic.get(&key).copied(), now_ms)
    };
    Ok(caches.into_iter().map(view).collect())
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

fn view(steering: &Steering, cache: Cache, recent: Option<Recent>, now_ms: i64) -> CacheView {
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
        recent,
    }
}

fn parameters(capability: &Capability) -> HashMap<String, Bounds> {
    capability.parameters.clone().into_iter().collect()
}
