//! What is in force at a load balancer, by the names of its parameters, as its report says it.

use flyball_model::rollout::Values;
use flyball_proto::steering::{BackendState, BalancerReport};

/// Parameters of all backends. Empty for one that is not up.
pub fn values(report: &BalancerReport) -> Values {
    let mut all = Values::new();
    for group in &report.groups {
        for server in &group.backends {
            let place = format!("{}/{}", group.name, server.name);
            all.insert(format!("weight:{place}"), server.weight.to_string());
            all.insert(format!("state:{place}"), state(server.state).to_owned());
            all.insert(format!("maxconn:{place}"), server.limit.unwrap_or(0).to_string());
        }
    }
    all
}

/// The word of a parameter `state:`. What a check or the balancer itself has found says nothing of what was set.
pub const fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Ready | BackendState::Down | BackendState::Ejected => "ready",
        BackendState::Drain => "drain",
        BackendState::Maint => "maint",
    }
}
