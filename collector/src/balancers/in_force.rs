//! What is in force at a load balancer, by the names of its parameters, as its report says it.

use flyball_model::rollout::Values;
use flyball_proto::steering::{BackendState, BalancerReport};

/// Parameters of all backends and groups. Empty for one that is not up.
pub fn values(report: &BalancerReport) -> Values {
    let mut all = Values::new();
    for group in &report.groups {
        if let Some(limit) = group.limit {
            all.insert(format!("max_requests:{}", group.name), limit.to_string());
        }
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

#[cfg(test)]
mod tests {
    use flyball_proto::steering::{
        BackendGroup, BackendServer, BalancerState, Target, WeightMeaning,
    };

    use super::*;

    #[test]
    fn a_limit_of_a_group_is_one_of_its_own_where_there_is_one() {
        let group = |name: &str, limit| BackendGroup {
            name: name.to_owned(),
            limit,
            algorithm: "round_robin".to_owned(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: vec![BackendServer::new("10.0.0.1:80", "10.0.0.1:80", 7)],
        };
        let mut report = BalancerReport::new(Target::new("envoy", "edge"), BalancerState::Up, 0);
        report.groups = vec![group("web", Some(1_024)), group("api", None)];
        let all = values(&report);
        assert_eq!(all.get("max_requests:web").map(String::as_str), Some("1024"));
        assert_eq!(all.get("max_requests:api"), None);
        assert_eq!(all.get("weight:web/10.0.0.1:80").map(String::as_str), Some("7"));
    }
}
