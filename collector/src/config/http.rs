//! `[http]`: what requests may cost, and how long clients may take.

use std::time::Duration;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use crate::api::edge::Limits;
use crate::overload::Rate;

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpSettings {
    /// Most connections; a few more are accepted to be told so and for health checks.
    pub max_connections: usize,
    /// Most requests that are worked on at once, without readers of events; further ones are refused with 503.
    pub max_in_flight: usize,
    /// Most readers of events.
    pub event_readers: usize,
    /// Requests per second of one caller in the long run, over HTTP and gRPC together; 0: no bound.
    pub requests_per_second: u32,
    /// Requests that one caller may ask at once after a pause.
    pub burst: u32,
    /// Whether callers on this host are bounded too.
    pub limit_loopback: bool,
    /// Most callers that are told apart.
    pub max_callers: usize,
    /// Time that requests may wait for a processor before some are refused, in milliseconds.
    pub delay_target_ms: u64,
    /// Longest path and query string, in bytes.
    pub url_bytes: usize,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Longest time until an answer begins, in milliseconds.
    pub timeout_ms: u64,
    /// Longest time that the headers of a request may take, in milliseconds.
    pub header_timeout_ms: u64,
    /// Longest time that a body may take, in milliseconds.
    pub body_timeout_ms: u64,
    /// Longest time that a connection may stay without a request, in milliseconds.
    pub idle_timeout_ms: u64,
    /// Longest time that a client may take nothing of what is sent to it, in milliseconds.
    pub stall_timeout_ms: u64,
    /// Smallest answer that is compressed, in bytes.
    pub compress_bytes: u64,
    /// Names under which browsers may call what changes something, besides addresses and localhost; without ports.
    pub hosts: Vec<String>,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            max_connections: 4_096,
            max_in_flight: 2_048,
            event_readers: 256,
            requests_per_second: 5_000,
            burst: 10_000,
            limit_loopback: false,
            max_callers: 10_000,
            delay_target_ms: 30,
            url_bytes: 16 * 1024,
            body_bytes: 256 * 1024,
            timeout_ms: 30_000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 10_000,
            idle_timeout_ms: 90_000,
            stall_timeout_ms: 30_000,
            compress_bytes: 1_024,
            hosts: Vec::new(),
        }
    }
}

impl HttpSettings {
    /// What no single key shows. Problems are named by keys of the section `section`.
    pub fn validate(&self, section: &str, problems: &mut Problems) {
        let bounds = [
            ("max_connections", self.max_connections as u64, 1, 1_000_000),
            ("max_in_flight", self.max_in_flight as u64, 1, 1_000_000),
            ("requests_per_second", u64::from(self.requests_per_second), 0, 1_000_000),
            ("burst", u64::from(self.burst), 1, 10_000_000),
            ("max_callers", self.max_callers as u64, 1, 10_000_000),
            ("delay_target_ms", self.delay_target_ms, 1, 60_000),
            ("url_bytes", self.url_bytes as u64, 256, 60_000),
            ("body_bytes", self.body_bytes as u64, 1_000, 100_000_000),
            ("timeout_ms", self.timeout_ms, 100, 600_000),
            ("header_timeout_ms", self.header_timeout_ms, 100, 600_000),
            ("body_timeout_ms", self.body_timeout_ms, 100, 600_000),
            ("idle_timeout_ms", self.idle_timeout_ms, 100, 86_400_000),
            ("stall_timeout_ms", self.stall_timeout_ms, 100, 600_000),
        ];
        for (key, value, least, most) in bounds {
            if !(least..=most).contains(&value) {
                problems.push(format!("{section}.{key}"), format!("must be {least} to {most}"));
            }
        }
    }

    /// The bounds as the API takes them.
    pub const fn limits(&self) -> Limits {
        let (per_second, burst) = (self.requests_per_second, self.burst);
        Limits {
            url_bytes: self.url_bytes,
            body_bytes: self.body_bytes,
            timeout: Duration::from_millis(self.timeout_ms),
            event_readers: self.event_readers,
            connections: self.max_connections,
            in_flight: self.max_in_flight,
            rate: if per_second == 0 { None } else { Some(Rate { per_second, burst }) },
            rate_of_loopback: self.limit_loopback,
            callers: self.max_callers,
            delay_target: Duration::from_millis(self.delay_target_ms),
            header_timeout: Duration::from_millis(self.header_timeout_ms),
            body_timeout: Duration::from_millis(self.body_timeout_ms),
            idle_timeout: Duration::from_millis(self.idle_timeout_ms),
            stall_timeout: Duration::from_millis(self.stall_timeout_ms),
            compress_bytes: self.compress_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_nonsense_is_named() {
        let mut problems = Problems::default();
        HttpSettings::default().validate("http", &mut problems);
        assert_eq!(problems.as_slice(), []);
        let wrong = HttpSettings {
            max_connections: 0,
            burst: 0,
            url_bytes: 1 << 20,
            stall_timeout_ms: 1,
            ..HttpSettings::default()
        };
        wrong.validate("http", &mut problems);
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(
            keys,
            ["http.max_connections", "http.burst", "http.url_bytes", "http.stall_timeout_ms"]
        );
    }

    #[test]
    fn no_rate_is_no_bound() {
        let settings = HttpSettings { requests_per_second: 0, ..HttpSettings::default() };
        assert_eq!(settings.limits().rate, None);
    }
}
