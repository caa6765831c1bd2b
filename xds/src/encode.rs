//! From our own words to protobuf resources.
//!
//! Traps that this encoding avoids: gRPC skips a locality without a weight, so each has the sum of
//! its endpoints; gRPC's `round_robin` ignores the weights of endpoints (gRFC A27), so they can
//! stand on localities; gRPC refuses a policy that it does not know (gRFC A48), so policies are
//! lists of which the first known one wins (gRFC A52); Envoy spreads over drained endpoints when
//! more than half are not healthy ("panic"), so the threshold is explicit.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use envoy_types::pb::envoy::config::cluster::v3 as cds;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::endpoint::v3 as eds;
use envoy_types::pb::envoy::config::listener::v3 as lds;
use envoy_types::pb::envoy::config::route::v3 as rds;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::load_balancing_policies as policies;
use envoy_types::pb::envoy::extensions::upstreams::http::v3 as upstream;
use envoy_types::pb::envoy::r#type::v3::Percent;
use envoy_types::pb::google::protobuf::{Any, Duration as ProtoDuration, UInt32Value};
use prost::Name;

use crate::snapshot::{
    Bind, CircuitBreaker, Cluster, Endpoint, Health, Listener, OutlierDetection, Policy,
};

const HTTP_OPTIONS: &str = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/// The CDS resource.
pub(crate) fn cluster(cluster: &Cluster) -> Any {
    let locality_config = if cluster.locality_per_endpoint {
        use cds::cluster::common_lb_config::{LocalityConfigSpecifier, LocalityWeightedLbConfig};
        let weighted = LocalityWeightedLbConfig::default();
        Some(LocalityConfigSpecifier::LocalityWeightedLbConfig(weighted))
    } else {
        None
    };
    any(&cds::Cluster {
        name: cluster.name.clone(),
        cluster_discovery_type: Some(cds::cluster::ClusterDiscoveryType::Type(
            cds::cluster::DiscoveryType::Eds.into(),
        )),
        eds_cluster_config: Some(cds::cluster::EdsClusterConfig {
            eds_config: Some(ads()),
            ..Default::default()
        }),
        connect_timeout: Some(duration(cluster.connect_timeout)),
        lb_policy: cds::cluster::LbPolicy::RoundRobin.into(),
        load_balancing_policy: load_balancing_policy(cluster.policy),
        circuit_breakers: circuit_breakers(cluster.circuit_breaker),
        outlier_detection: cluster.outlier_detection.as_ref().map(outlier_detection),
        common_lb_config: Some(cds::cluster::CommonLbConfig {
            healthy_panic_threshold: Some(Percent { value: f64::from(cluster.panic_percent) }),
            locality_config_specifier: locality_config,
            ..Default::default()
        }),
        typed_extension_protocol_options: http_options(cluster.http2),
        ..Default::default()
    })
}

/// `None` = plain round robin by `lb_policy`, which every client knows.
fn load_balancing_policy(policy: Policy) -> Option<cds::LoadBalancingPolicy> {
    let chosen = match policy {
        Policy::RoundRobin => return None,
        Policy::LeastRequest { choices } => extension(
            "envoy.load_balancing_policies.least_request",
            &policies::least_request::v3::LeastRequest {
                choice_count: Some(number(choices)),
                ..Default::default()
            },
        ),
    };
    let fallback = extension(
        "envoy.load_balancing_policies.round_robin",
        &policies::round_robin::v3::RoundRobin::default(),
    );
    let policies = [chosen, fallback]
        .map(|config| cds::load_balancing_policy::Policy { typed_extension_config: Some(config) });
    Some(cds::LoadBalancingPolicy { policies: policies.into() })
}

fn circuit_breakers(limits: CircuitBreaker) -> Option<cds::CircuitBreakers> {
    (limits != CircuitBreaker::default()).then(|| cds::CircuitBreakers {
        thresholds: vec![cds::circuit_breakers::Thresholds {
            max_connections: limits.max_connections.map(number),
            max_pending_requests: limits.max_pending.map(number),
            max_requests: limits.max_requests.map(number),
            max_retries: limits.max_retries.map(number),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Only 5xx in a row ejects: the success rate, which Envoy and gRPC would add on their own, is off.
fn outlier_detection(outlier: &OutlierDetection) -> cds::OutlierDetection {
    let enforced = if outlier.consecutive_5xx == 0 { 0 } else { 100 };
    cds::OutlierDetection {
        consecutive_5xx: Some(number(outlier.consecutive_5xx.max(1))),
        enforcing_consecutive_5xx: Some(number(enforced)),
        enforcing_success_rate: Some(number(0)),
        enforcing_consecutive_gateway_failure: Some(number(0)),
        interval: Some(duration(outlier.interval)),
        base_ejection_time: Some(duration(outlier.base_ejection)),
        max_ejection_percent: Some(number(outlier.max_ejection_percent)),
        ..Default::default()
    }
}

/// HTTP/1.1 is what Envoy does without options.
fn http_options(http2: bool) -> HashMap<String, Any> {
    use upstream::http_protocol_options::{
        ExplicitHttpConfig, UpstreamProtocolOptions, explicit_http_config::ProtocolConfig,
    };
    let protocol = ProtocolConfig::Http2ProtocolOptions(core::Http2ProtocolOptions::default());
    let explicit = ExplicitHttpConfig { protocol_config: Some(protocol) };
    let options = upstream::HttpProtocolOptions {
        upstream_protocol_options: Some(UpstreamProtocolOptions::ExplicitHttpConfig(explicit)),
        ..Default::default()
    };
    http2.then(|| (HTTP_OPTIONS.to_owned(), any(&options))).into_iter().collect()
}

/// The EDS resource.
pub(crate) fn endpoints(cluster: &Cluster) -> Any {
    let mut localities: Vec<eds::LocalityLbEndpoints> = Vec::new();
    for endpoint in &cluster.endpoints {
        let name = if cluster.locality_per_endpoint { endpoint.name() } else { String::new() };
        let found = localities.iter_mut().find(|locality| {
            !cluster.locality_per_endpoint && locality.priority == endpoint.priority
        });
        if let Some(locality) = found {
            let sum = &mut locality.load_balancing_weight.get_or_insert_default().value;
            *sum = sum.saturating_add(endpoint.weight);
            locality.lb_endpoints.push(lb_endpoint(endpoint));
        } else {
            localities.push(eds::LocalityLbEndpoints {
                locality: Some(core::Locality { sub_zone: name, ..Default::default() }),
                lb_endpoints: vec![lb_endpoint(endpoint)],
                load_balancing_weight: Some(number(endpoint.weight)),
                priority: endpoint.priority,
                ..Default::default()
            });
        }
    }
    any(&eds::ClusterLoadAssignment {
        cluster_name: cluster.name.clone(),
        endpoints: localities,
        ..Default::default()
    })
}

fn lb_endpoint(endpoint: &Endpoint) -> eds::LbEndpoint {
    let health = match endpoint.health {
        Health::Ready => core::HealthStatus::Healthy,
        Health::Drain => core::HealthStatus::Draining,
        Health::Down => core::HealthStatus::Unhealthy,
    };
    eds::LbEndpoint {
        health_status: health.into(),
        load_balancing_weight: Some(number(endpoint.weight)),
        host_identifier: Some(eds::lb_endpoint::HostIdentifier::Endpoint(eds::Endpoint {
            address: Some(address(endpoint.address, endpoint.port)),
            ..Default::default()
        })),
        ..Default::default()
    }
}

/// The LDS resource.
pub(crate) fn listener(listener: &Listener) -> Any {
    let manager = any(&hcm::HttpConnectionManager {
        stat_prefix: listener.name.clone(),
        http_filters: vec![hcm::HttpFilter {
            name: "envoy.filters.http.router".into(),
            config_type: Some(hcm::http_filter::ConfigType::TypedConfig(any(&Router::default()))),
            ..Default::default()
        }],
        route_specifier: Some(hcm::http_connection_manager::RouteSpecifier::Rds(hcm::Rds {
            config_source: Some(ads()),
            route_config_name: listener.name.clone(),
        })),
        ..Default::default()
    });
    let bound = match listener.bind {
        Bind::Api => lds::Listener {
            api_listener: Some(lds::ApiListener { api_listener: Some(manager) }),
            ..Default::default()
        },
        Bind::Socket { address: ip, port } => lds::Listener {
            address: Some(address(ip, port)),
            filter_chains: vec![lds::FilterChain {
                filters: vec![lds::Filter {
                    name: "envoy.filters.network.http_connection_manager".into(),
                    config_type: Some(lds::filter::ConfigType::TypedConfig(manager)),
                }],
                ..Default::default()
            }],
            ..Default::default()
        },
    };
    any(&lds::Listener { name: listener.name.clone(), ..bound })
}

/// The RDS resource.
pub(crate) fn routes(listener: &Listener) -> Any {
    let routes = listener.routes.iter().map(|route| rds::Route {
        r#match: Some(rds::RouteMatch {
            path_specifier: Some(rds::route_match::PathSpecifier::Prefix(route.prefix.clone())),
            ..Default::default()
        }),
        action: Some(rds::route::Action::Route(rds::RouteAction {
            cluster_specifier: Some(rds::route_action::ClusterSpecifier::Cluster(
                route.cluster.clone(),
            )),
            timeout: route.timeout.map(duration),
            ..Default::default()
        })),
        ..Default::default()
    });
    any(&rds::RouteConfiguration {
        name: listener.name.clone(),
        virtual_hosts: vec![rds::VirtualHost {
            name: listener.name.clone(),
            domains: vec!["*".into()],
            routes: routes.collect(),
            ..Default::default()
        }],
        ..Default::default()
    })
}

/// Resources of another type come over the same stream.
fn ads() -> core::ConfigSource {
    let source = core::config_source::ConfigSourceSpecifier::Ads(core::AggregatedConfigSource {});
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(source),
        ..Default::default()
    }
}

fn address(ip: IpAddr, port: u16) -> core::Address {
    let socket = core::SocketAddress {
        address: ip.to_string(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(port.into())),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

fn extension<M: Name>(name: &str, message: &M) -> core::TypedExtensionConfig {
    core::TypedExtensionConfig { name: name.into(), typed_config: Some(any(message)) }
}

fn any<M: Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: message.encode_to_vec() }
}

fn number(value: u32) -> UInt32Value {
    UInt32Value { value }
}

/// Checked durations fit: [`crate::Snapshot::check`] bounds them.
fn duration(value: Duration) -> ProtoDuration {
    ProtoDuration { seconds: value.as_secs() as i64, nanos: value.subsec_nanos() as i32 }
}
