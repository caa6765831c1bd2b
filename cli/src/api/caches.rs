//! Caches as the API answers them, as far as they are shown.

use serde::Deserialize;

/// `/api/performance/cache`
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(crate) struct CachesAnswer {
    /// By node and name.
    pub caches: Vec<Cache>,
}

/// A cache of the fleet; `None` is unknown, which is not zero.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Cache {
    /// Unique in the fleet.
    pub id: String,
    /// Its node.
    pub node: String,
    /// `redis` or `memcached`.
    pub kind: String,
    /// Its name in the agent's configuration.
    pub name: String,
    /// As the server says it.
    pub version: String,
    /// `up`, `unreachable`, `loading`, `denied` or `slow`.
    pub state: String,
    /// Why it is not up.
    pub reason: Option<String>,
    /// `primary` or `replica`.
    pub role: Option<String>,
    /// When its agent measured, epoch milliseconds.
    pub measured_at_ms: Option<i64>,
    /// Share of the requests that it answered.
    pub hit_ratio: Option<f64>,
    /// Requests per second.
    pub requests_per_second: Option<f64>,
    /// Memory in use.
    pub used_bytes: Option<f64>,
    /// Its limit; 0: none.
    pub max_bytes: Option<f64>,
    /// Which keys it gives up for room.
    pub eviction_policy: Option<String>,
    /// Keys given up per second.
    pub evictions_per_second: Option<f64>,
    /// Keys expired per second.
    pub expirations_per_second: Option<f64>,
    /// Keys.
    pub keys: Option<f64>,
    /// Why requests miss.
    pub misses: Option<Misses>,
    /// Hit ratio by size.
    pub curve: Option<Curve>,
    /// What other eviction policies would do.
    pub policies: Vec<PolicyEstimate>,
    /// Keys that stand out.
    pub key_findings: Vec<KeyFinding>,
}

/// Shares of the misses by why the key was not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Misses {
    /// It had been evicted.
    pub capacity: f64,
    /// It had expired.
    pub expired: f64,
    /// It had been deleted.
    pub invalidated: f64,
    /// It was not seen before.
    pub cold: f64,
}

/// Hit ratio by size.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct Curve {
    /// Epoch milliseconds.
    pub measured_at_ms: i64,
    /// Beyond it nothing is known.
    pub reach_bytes: f64,
    /// By growing size.
    pub points: Vec<CurvePoint>,
}

/// One point of a curve, with the interval that holds the truth in nine cases of ten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct CurvePoint {
    /// The size.
    pub bytes: f64,
    /// 0 to 1.
    pub hit_ratio: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

/// What an eviction policy would do at the present size.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct PolicyEstimate {
    /// As the server names it.
    pub policy: String,
    /// 0 to 1.
    pub hit_ratio: f64,
    /// Less the present policy's, on the same requests.
    pub paired_delta: f64,
    /// Lower end of its interval.
    pub delta_low: f64,
    /// Upper end.
    pub delta_high: f64,
}

/// A key that stands out.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(crate) struct KeyFinding {
    /// `hot` or `big`.
    pub kind: String,
    /// Hash of its name.
    pub key_hash: String,
    /// As the server names it.
    #[serde(rename = "type")]
    pub data_type: String,
    /// Memory that it takes.
    pub bytes: f64,
    /// Share of all requests.
    pub share_of_requests: f64,
}
