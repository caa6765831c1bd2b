//! A cache in a world where its size decides its hit ratio, and its agent: real streams of samples, reports and outcomes to a real collector.
//!
//! What it reports is what a law says of the limit in force, so a test decides beforehand whether a change brings what was promised. An agent and a Redis
//! would need minutes of traffic for a curve, and could not be made to get worse by growing.

mod agent;
mod report;
mod samples;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use flyball_proto::steering::Settings;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::http::Api;
use crate::wait::{SOON, until};

/// A mebibyte.
pub const MIB: u64 = 1 << 20;
/// Requests a second.
const REQUESTS: f64 = 20_000.0;

/// Settings of a collector whose rollouts take seconds.
pub const QUICK: [(&str, &str); 15] = [
    ("FLYBALL_ROLLOUT_APPLY_MS", "20000"),
    ("FLYBALL_ROLLOUT_HOLD_MS", "300"),
    ("FLYBALL_ROLLOUT_VALIDATE_MIN_MS", "500"),
    ("FLYBALL_ROLLOUT_VALIDATE_MAX_MS", "60000"),
    ("FLYBALL_ROLLOUT_RESTORE_MS", "20000"),
    ("FLYBALL_ROLLOUT_SILENT_MS", "2000"),
    ("FLYBALL_ROLLOUT_LEASE_MS", "5000"),
    ("FLYBALL_ROLLOUT_RECORD_MS", "3000"),
    ("FLYBALL_JUDGE_WINDOW_MS", "1000"),
    ("FLYBALL_JUDGE_MIN_BEFORE", "16"),
    ("FLYBALL_JUDGE_MIN_AFTER", "8"),
    ("FLYBALL_JUDGE_MAX_BEFORE", "60"),
    ("FLYBALL_JUDGE_BREACH_MS", "1000"),
    ("FLYBALL_SUGGEST_PERIOD_MS", "0"),
    ("FLYBALL_SUGGEST_WINDOW_MS", "30000"),
];

/// How the hit ratio follows from the limit in force.
pub type Law = fn(u64) -> f64;

/// What is in force of a cache, and what its world makes of it.
#[derive(Debug)]
pub struct Server {
    /// Name of its node.
    pub node: String,
    /// Its name.
    pub name: String,
    /// What is in force.
    pub settings: Mutex<Settings>,
    /// What that brings.
    pub law: Mutex<Law>,
}

/// A cache and its agent, until it is dropped.
#[derive(Debug)]
pub struct Steered {
    /// The cache.
    pub server: Arc<Server>,
    // Aborted when it is dropped.
    _tasks: JoinSet<Result<()>>,
}

/// Brings what its curve promises.
pub fn honest(limit: u64) -> f64 {
    0.95 * (1.0 - (-(limit as f64) / 60e6).exp())
}

/// Gets worse when it grows.
pub fn perverse(limit: u64) -> f64 {
    if limit > 64 * MIB { honest(64 * MIB) - 0.2 } else { honest(limit) }
}

/// A connection to a collector.
async fn channel(grpc: SocketAddr) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{grpc}"))?;
    Ok(endpoint.connect().await?)
}

impl Server {
    /// The limit in force, in bytes.
    pub fn limit(&self) -> u64 {
        self.settings.lock().get("maxmemory").and_then(|text| text.parse().ok()).unwrap_or(0)
    }

    /// The hit ratio that the law gives now.
    fn hit_ratio(&self) -> f64 {
        let law = *self.law.lock();
        law(self.limit())
    }
}

impl Steered {
    /// A cache called `name` on `node`, 64 MiB large, with a minute of past.
    ///
    /// # Errors
    /// When the collector cannot be reached.
    pub async fn begin(grpc: SocketAddr, node: &str, name: &str) -> Result<Self> {
        let settings =
            [("maxmemory", (64 * MIB).to_string()), ("maxmemory-policy", "allkeys-lru".into())];
        let server = Arc::new(Server {
            node: node.to_owned(),
            name: name.to_owned(),
            settings: Mutex::new(settings.map(|(k, v)| (k.to_owned(), v)).into()),
            law: Mutex::new(honest),
        });
        let mut tasks = JoinSet::new();
        let samples = samples::Stream::open(grpc, Arc::clone(&server)).await?;
        tasks.spawn(samples.run());
        tasks.spawn(agent::run(grpc, Arc::clone(&server)));
        Ok(Self { server, _tasks: tasks })
    }

    /// Its id as a target.
    pub fn id(&self) -> String {
        format!("redis:{}:{}", self.server.node, self.server.name)
    }

    /// The suggestion for it, once there is one.
    ///
    /// # Errors
    /// When there is none soon.
    pub async fn suggestion(&self, api: &Api) -> Result<Value> {
        let look = serde_json::json!({"scope": "cache", "target": self.id()});
        until("a suggestion", SOON, || async {
            let answer = api.posted("/api/performance/optimize", &look).await?;
            answer["suggestions"].get(0).cloned().with_context(|| format!("none: {answer}"))
        })
        .await
    }
}
