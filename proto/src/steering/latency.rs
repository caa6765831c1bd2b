//! How long requests take, as a balancer measures it of all of them together.

use super::check::amounts;
use crate::series::Invalid;
use crate::v1;

/// Time from requests to their answers, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The mean.
    pub mean_ms: f64,
    /// Half took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
}

impl TryFrom<v1::Latency> for Latency {
    type Error = Invalid;

    fn try_from(latency: v1::Latency) -> Result<Self, Invalid> {
        let v1::Latency { mean_ms, p50_ms, p99_ms } = latency;
        amounts(&[("mean_ms", Some(mean_ms)), ("p50_ms", Some(p50_ms)), ("p99_ms", Some(p99_ms))])?;
        Ok(Self { mean_ms, p50_ms, p99_ms })
    }
}

impl From<Latency> for v1::Latency {
    fn from(latency: Latency) -> Self {
        let Latency { mean_ms, p50_ms, p99_ms } = latency;
        Self { mean_ms, p50_ms, p99_ms }
    }
}
