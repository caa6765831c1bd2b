//! Puts together what advisors of balancers see: estimates of the last window, their past, and what agents may set.
//!
//! Only balancers whose agents watch here are known here; with several collectors each suggests for its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_proto::steering::Capability;

use super::view::{PoolView, Reach};
use crate::balancers::pool::Member;
use crate::balancers::settings::Objective;
use crate::balancers::shadow::PoolEstimate;
use crate::balancers::watch::PoolWatch;
use crate::steer::watch::Steering;

/// Time of the past that advisors look at, milliseconds.
const PAST_MS: i64 = 3_600_000;

/// All pools that are known here, by name.
pub fn views(steering: &Steering, pools: &PoolWatch, objective: Objective) -> Vec<PoolView> {
    let view = |estimate: Arc<PoolEstimate>| {
        let past = pools.pool_past(&estimate, estimate.end_ms - PAST_MS);
        let members = estimate.pool.members.iter();
        let reach: BTreeMap<String, Reach> =
            members.map(|member| (member.id(), reach(steering, member))).collect();
        PoolView { estimate, past, reach, objective }
    };
    pools.all().into_iter().map(view).collect()
}

fn reach(steering: &Steering, member: &Member) -> Reach {
    let Some(agent) = steering.agents().get(&member.node) else {
        return Reach { capability: None, barred: "its agent does not watch here".to_owned() };
    };
    if !agent.is_connected {
        let barred = "its agent does not watch here any more".to_owned();
        return Reach { capability: None, barred };
    }
    let is_it = |capability: &&Capability| capability.target == member.target;
    let capability = agent.capabilities.iter().find(is_it).cloned();
    let barred = capability.as_ref().map(|capability| capability.reason.clone());
    Reach { capability, barred: barred.unwrap_or_default() }
}
