//! From the configuration and settings to what is served, and back to names of parameters. Pure.

use std::net::SocketAddr;
use std::time::Duration;

use flyball_proto::steering::Settings;
use flyball_xds::snapshot::{
    Bind, CircuitBreaker, Cluster, Endpoint, Health, Listener, OutlierDetection, Policy, Route,
    Snapshot,
};

use crate::envoy::config::DEFAULT_LIMIT;
use crate::envoy::{ClusterConfig, EndpointConfig, EnvoyConfig, ListenerConfig, PolicyConfig};

/// Gets requests.
pub(super) const READY: &str = "ready";
/// Gets no new ones.
pub(super) const DRAIN: &str = "drain";
/// How often outlier detection decides.
const INTERVAL: Duration = Duration::from_secs(1);
/// Clients' own limit of retries, where nothing is configured.
const DEFAULT_RETRIES: u32 = 3;
/// Endpoints that are compared for each request.
const CHOICES: u32 = 2;

/// What a parameter is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Parameter<'a> {
    /// Weight of an endpoint of a cluster.
    Weight(&'a str, &'a str),
    /// State of an endpoint of a cluster.
    State(&'a str, &'a str),
    /// Number of a cluster.
    Number(&'a str, &'a str),
}

impl<'a> Parameter<'a> {
    /// Reads a name.
    pub(super) fn parse(name: &'a str) -> Option<Self> {
        let (what, of) = name.split_once(':')?;
        match what {
            "weight" => of.rsplit_once('/').map(|(group, backend)| Self::Weight(group, backend)),
            "state" => of.rsplit_once('/').map(|(group, backend)| Self::State(group, backend)),
            _ => Some(Self::Number(what, of)),
        }
    }
}

/// All parameters with their values as they are configured.
pub(super) fn configured(config: &EnvoyConfig) -> Settings {
    config.clusters.iter().flat_map(of_cluster).collect()
}

fn of_cluster(cluster: &ClusterConfig) -> Vec<(String, String)> {
    let name = &cluster.name;
    let number = |what: &str, value: u64| (format!("{what}:{name}"), value.to_string());
    let limit = |limit: Option<u32>| u64::from(limit.unwrap_or(DEFAULT_LIMIT));
    let mut all = vec![
        number("max_connections", limit(cluster.max_connections)),
        number("max_pending", limit(cluster.max_pending)),
        number("max_requests", limit(cluster.max_requests)),
        number("max_retries", u64::from(cluster.max_retries.unwrap_or(DEFAULT_RETRIES))),
        number("consecutive_5xx", u64::from(cluster.consecutive_5xx)),
        number("max_ejection_percent", u64::from(cluster.max_ejection_percent)),
        number("base_ejection_ms", cluster.base_ejection.0.as_millis() as u64),
    ];
    for endpoint in &cluster.endpoints {
        let endpoint_name = endpoint.name();
        all.push((format!("weight:{name}/{endpoint_name}"), endpoint.weight.to_string()));
        all.push((format!("state:{name}/{endpoint_name}"), READY.to_owned()));
    }
    all
}

/// What is served when these settings are in force. Values that are missing or cannot be read are as configured.
pub(super) fn snapshot(config: &EnvoyConfig, settings: &Settings, version: &str) -> Snapshot {
    Snapshot {
        version: version.to_owned(),
        clusters: config.clusters.iter().map(|one| cluster(one, settings)).collect(),
        listeners: config.listeners.iter().map(listener).collect(),
    }
}

fn cluster(config: &ClusterConfig, settings: &Settings) -> Cluster {
    let name = &config.name;
    let number =
        |what: &str| -> Option<u32> { settings.get(&format!("{what}:{name}"))?.parse().ok() };
    // Clients that know no limits (gRPC but one) are not told defaults.
    let limit = |what: &str, own: Option<u32>, default: u32| match number(what) {
        Some(value) if own.is_none() && value == default => None,
        Some(value) => Some(value),
        None => own,
    };
    let consecutive_5xx = number("consecutive_5xx").unwrap_or(config.consecutive_5xx);
    let base_ms = number("base_ejection_ms")
        .map_or(config.base_ejection.0, |ms| Duration::from_millis(u64::from(ms)));
    let percent = number("max_ejection_percent").unwrap_or(config.max_ejection_percent);
    let endpoints = config.endpoints.iter().filter_map(|one| endpoint(name, one, settings));
    Cluster {
        policy: match config.policy {
            PolicyConfig::RoundRobin => Policy::RoundRobin,
            PolicyConfig::LeastRequest => Policy::LeastRequest { choices: CHOICES },
        },
        circuit_breaker: CircuitBreaker {
            max_connections: limit("max_connections", config.max_connections, DEFAULT_LIMIT),
            max_pending: limit("max_pending", config.max_pending, DEFAULT_LIMIT),
            max_requests: limit("max_requests", config.max_requests, DEFAULT_LIMIT),
            max_retries: limit("max_retries", config.max_retries, DEFAULT_RETRIES),
        },
        outlier_detection: (consecutive_5xx > 0).then_some(OutlierDetection {
            consecutive_5xx,
            interval: INTERVAL,
            base_ejection: base_ms.max(Duration::from_millis(1)),
            max_ejection_percent: percent,
        }),
        connect_timeout: config.connect_timeout.0,
        locality_per_endpoint: config.locality_per_endpoint,
        http2: config.http2,
        ..Cluster::new(name.clone(), endpoints.collect())
    }
}

fn endpoint(cluster: &str, config: &EndpointConfig, settings: &Settings) -> Option<Endpoint> {
    let socket: SocketAddr = config.socket()?;
    let of = |what: &str| settings.get(&format!("{what}:{cluster}/{}", config.name()));
    let weight = of("weight").and_then(|weight| weight.parse().ok()).unwrap_or(config.weight);
    let is_drained = of("state").is_some_and(|state| state == DRAIN);
    Some(Endpoint {
        priority: config.priority,
        health: if is_drained { Health::Drain } else { Health::Ready },
        ..Endpoint::new(socket.ip(), socket.port(), weight)
    })
}

fn listener(config: &ListenerConfig) -> Listener {
    let socket: Option<SocketAddr> = config.address.as_deref().and_then(|text| text.parse().ok());
    Listener {
        name: config.name.clone(),
        bind: socket
            .map_or(Bind::Api, |socket| Bind::Socket { address: socket.ip(), port: socket.port() }),
        routes: vec![Route {
            timeout: config.timeout.map(|span| span.0),
            ..Route::all(config.cluster.clone())
        }],
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// `web` with these endpoints on 10.0.0.x:80, weight 100 each.
    pub(in super::super) fn config(endpoints: u8) -> EnvoyConfig {
        let endpoint = |n| EndpointConfig {
            address: format!("10.0.0.{n}:80"),
            weight: 100,
            ..EndpointConfig::default()
        };
        let web = ClusterConfig {
            name: "web".to_owned(),
            endpoints: (1..=endpoints).map(endpoint).collect(),
            ..ClusterConfig::default()
        };
        let listener = ListenerConfig {
            name: "in".to_owned(),
            cluster: "web".to_owned(),
            ..ListenerConfig::default()
        };
        EnvoyConfig {
            name: "edge".to_owned(),
            steer: true,
            clusters: vec![web],
            listeners: vec![listener],
            ..EnvoyConfig::default()
        }
    }

    #[test]
    fn names_of_parameters_are_taken_apart() {
        let parse = Parameter::parse;
        assert_eq!(parse("weight:a:b/[::1]:80"), Some(Parameter::Weight("a:b", "[::1]:80")));
        assert_eq!(parse("state:web/1.2.3.4:80"), Some(Parameter::State("web", "1.2.3.4:80")));
        assert_eq!(parse("max_requests:web"), Some(Parameter::Number("max_requests", "web")));
        assert_eq!((parse("weight:web"), parse("web")), (None, None));
    }

    #[test]
    fn what_is_configured_is_served_and_settings_change_it() {
        let config = config(3);
        let mut settings = configured(&config);
        assert_eq!(settings.len(), 7 + 2 * 3);
        let plain = snapshot(&config, &settings, "1");
        plain.check().unwrap();
        assert_eq!(plain, snapshot(&config, &Settings::new(), "1"));
        assert_eq!(plain.clusters[0].circuit_breaker, CircuitBreaker::default());
        assert_eq!(plain.clusters[0].outlier_detection, None);
        for (parameter, value) in [
            ("weight:web/10.0.0.1:80", "7"),
            ("state:web/10.0.0.2:80", "drain"),
            ("max_requests:web", "9"),
            ("consecutive_5xx:web", "5"),
            ("base_ejection_ms:web", "1500"),
        ] {
            assert!(
                settings.insert(parameter.to_owned(), value.to_owned()).is_some(),
                "{parameter}"
            );
        }
        let changed = snapshot(&config, &settings, "2");
        changed.check().unwrap();
        let web = &changed.clusters[0];
        assert_eq!((web.endpoints[0].weight, web.endpoints[1].weight), (7, 100));
        assert_eq!(
            (web.endpoints[1].health, web.endpoints[0].health),
            (Health::Drain, Health::Ready)
        );
        assert_eq!(web.circuit_breaker.max_requests, Some(9));
        let outlier = web.outlier_detection.unwrap();
        assert_eq!((outlier.consecutive_5xx, outlier.max_ejection_percent), (5, 10));
        assert_eq!(outlier.base_ejection, Duration::from_millis(1_500));
    }
}
