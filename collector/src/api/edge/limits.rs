//! Bounds of requests: the section `[http]` of the configuration.

use std::time::Duration;

use crate::overload::Rate;

/// Bounds of each request, of each caller and of all together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest path and query string, in bytes.
    pub url_bytes: usize,
    /// Largest body, in bytes.
    pub body_bytes: usize,
    /// Longest time until the answer begins.
    pub timeout: Duration,
    /// Most readers of `/api/performance/events` at once.
    pub event_readers: usize,
    /// Most connections.
    pub connections: usize,
    /// Most requests that are worked on at once, without readers of events.
    pub in_flight: usize,
    /// What one caller may ask; `None`: as much as it likes.
    pub rate: Option<Rate>,
    /// Whether callers on this host are bounded too.
    pub rate_of_loopback: bool,
    /// Most callers that are told apart.
    pub callers: usize,
    /// Time that requests may wait for a processor before some are refused.
    pub delay_target: Duration,
    /// Longest time from the first byte of a request to the end of its headers.
    pub header_timeout: Duration,
    /// Longest time that a body may take.
    pub body_timeout: Duration,
    /// Longest time that a connection may stay without a request.
    pub idle_timeout: Duration,
    /// Longest time that a client may take nothing of what is sent to it.
    pub stall_timeout: Duration,
    /// Smallest answer that is compressed, in bytes.
    pub compress_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        crate::config::HttpSettings::default().limits()
    }
}
