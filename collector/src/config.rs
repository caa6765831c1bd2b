//! Settings of the collector. The defaults work; `flyball-collector.example.toml` shows every key with its default.

mod example;
mod http;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use flyball_model::rollout::Limits;
use flyball_service::config::{Problems, Settings};
use flyball_service::logging::LogFormat;
use serde::{Deserialize, Serialize};

pub use self::example::example;
pub use self::http::HttpSettings;

use crate::balancers::settings::BalanceSettings;
use crate::cache::{CacheSettings, RedisSettings};
use crate::ingest::IngestSettings;
use crate::live::LiveSettings;
use crate::query::QueryLimits;
use crate::rollup::RollupSettings;
use crate::steer::driver::{JudgeSettings, validate_rollout};
use crate::store::{ClickHouseSettings, EngineSettings, StoreConfig};
use crate::suggest::SuggestSettings;

/// All settings.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the collector listens and keeps its files.
    pub server: Server,
    /// What requests may cost, and how long clients may take.
    pub http: HttpSettings,
    /// Which ClickHouse stores samples, and for how long.
    pub clickhouse: ClickHouseSettings,
    /// The embedded ClickHouse engine.
    pub engine: EngineSettings,
    /// How samples are taken in.
    pub ingest: IngestSettings,
    /// How rollups are computed.
    pub rollup: RollupSettings,
    /// Last values in memory.
    pub live: LiveSettings,
    /// What queries may cost.
    pub query: QueryLimits,
    /// How long answers are kept.
    pub cache: CacheSettings,
    /// Where collectors share answers and tell each other what is out of date.
    pub redis: RedisSettings,
    /// How good a change must be before anybody is asked about it.
    pub suggest: SuggestSettings,
    /// In which windows the traffic of load balancers is looked at.
    pub balance: BalanceSettings,
    /// How a confirmed change goes its way.
    #[serde(serialize_with = "whole")]
    pub rollout: Limits,
    /// How it is judged.
    pub judge: JudgeSettings,
}

/// Limits with what is otherwise for load balancers, which plans leave out where it is the default: all keys are to be known here.
fn whole<S: serde::Serializer>(limits: &Limits, serializer: S) -> Result<S::Ok, S::Error> {
    use serde::ser::Error;

    let mut all = serde_json::to_value(limits).map_err(S::Error::custom)?;
    all["balancer"] = serde_json::to_value(&limits.balancer).map_err(S::Error::custom)?;
    all.serialize(serializer)
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address of the dashboard and the HTTP API; port 0 takes a free one.
    pub http: SocketAddr,
    /// Address that agents and programs reach by gRPC; port 0 takes a free one.
    pub grpc: SocketAddr,
    /// Allows addresses that other hosts reach, without encryption and authentication.
    pub insecure: bool,
    /// Where the collector keeps its files; empty: see [`Config::data_dir`].
    pub data_dir: PathBuf,
    /// Name of this collector in the agents' logs; empty: the host's name.
    pub name: String,
    /// Longest time from SIGTERM to the end of the process, in milliseconds.
    pub grace_ms: u64,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            http: SocketAddr::from(([127, 0, 0, 1], 7480)),
            grpc: SocketAddr::from(([127, 0, 0, 1], 7400)),
            insecure: false,
            data_dir: PathBuf::new(),
            name: String::new(),
            grace_ms: flyball_service::shutdown::GRACE_PERIOD.as_millis() as u64,
            log_format: LogFormat::default(),
        }
    }
}

impl Config {
    /// Where the collector keeps its files: the directory that was set, or `/var/lib/flyball/collector` for root, or else `flyball/collector` under
    /// `XDG_STATE_HOME` or `~/.local/state`.
    pub fn data_dir(&self) -> PathBuf {
        if !self.server.data_dir.as_os_str().is_empty() {
            return self.server.data_dir.clone();
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/flyball/collector");
        }
        let home = || {
            let home = std::env::var_os("HOME").map_or_else(|| PathBuf::from("."), PathBuf::from);
            home.join(".local/state")
        };
        std::env::var_os("XDG_STATE_HOME")
            .map_or_else(home, PathBuf::from)
            .join("flyball/collector")
    }

    /// What the store needs.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            clickhouse: self.clickhouse.clone(),
            engine: self.engine.clone(),
            data_dir: self.data_dir(),
            program: None,
        }
    }

    /// Longest time from the signal to the end of the process.
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.server.grace_ms)
    }

    /// Name of this collector in the agents' logs.
    pub fn name(&self) -> String {
        if !self.server.name.is_empty() {
            return self.server.name.clone();
        }
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    }
}

impl Server {
    /// Listening addresses that other hosts reach, with their keys.
    pub fn exposed(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        let addresses = [("server.http", self.http), ("server.grpc", self.grpc)];
        addresses.into_iter().filter(|(_, address)| !address.ip().is_loopback())
    }
}

impl Settings for Config {
    fn validate(&self, problems: &mut Problems) {
        if !self.server.insecure {
            for (key, address) in self.server.exposed() {
                problems.push(
                    key,
                    format!(
                        "{address} can be reached from other hosts, and there is no encryption and no authentication: \
                         use a loopback address such as 127.0.0.1:{}, or accept the risk with --insecure",
                        address.port()
                    ),
                );
            }
        }
        if self.server.http == self.server.grpc && self.server.http.port() != 0 {
            problems.push("server.grpc", "the same address as server.http");
        }
        if !(1_000..=600_000).contains(&self.server.grace_ms) {
            problems.push("server.grace_ms", "must be 1000 to 600000");
        }
        self.live.validate(problems);
        self.http.validate("http", problems);
        self.clickhouse.validate("clickhouse", problems);
        self.engine.validate("engine", problems);
        self.ingest.validate(problems);
        self.rollup.validate(problems);
        self.query.validate("query", problems);
        self.cache.validate(problems);
        self.redis.validate(problems);
        self.suggest.validate(problems);
        self.balance.validate(problems);
        validate_rollout(&self.rollout, problems);
        self.judge.validate(problems);
    }
}

#[cfg(test)]
mod tests {
    use flyball_service::config::{Sources, load};

    use super::*;

    fn load_text(toml: &str) -> Result<Config, Problems> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("collector.toml");
        std::fs::write(&file, toml).unwrap();
        let environment = Some(Vec::new());
        load(&Sources { file: Some(file), environment, ..Sources::default() })
    }

    #[test]
    fn the_defaults_work() {
        assert_eq!(load_text("").unwrap(), Config::default());
    }

    #[test]
    fn an_address_that_others_reach_is_refused_by_its_key_unless_accepted() {
        let open = "[server]\nhttp = '0.0.0.0:80'\ngrpc = '[::]:81'";
        let problems = load_text(open).unwrap_err();
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        assert_eq!(keys, ["server.grpc", "server.http"]);
        assert!(problems.to_string().contains("--insecure"));
        assert!(load_text(&format!("{open}\ninsecure = true")).is_ok());
    }

    #[test]
    fn all_problems_are_listed_together_with_their_keys() {
        let problems = load_text(
            "[server]\nhttp = 'x'\ngrace_ms = 1\nportt = 1\n[live]\nmax_nodes = 0\n\
             [ingest]\nperiod_ms = 0\n[engine]\nmemory_bytes = 1\n[clickhouse]\nretention_days = 0",
        )
        .unwrap_err();
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        let expected = [
            "clickhouse.retention_days",
            "engine.memory_bytes",
            "ingest.period_ms",
            "live.max_nodes",
            "server.grace_ms",
            "server.http",
            "server.portt",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn both_servers_cannot_have_one_address() {
        let problems =
            load_text("[server]\nhttp = '127.0.0.1:5'\ngrpc = '127.0.0.1:5'").unwrap_err();
        assert_eq!(problems.as_slice()[0].key, "server.grpc");
        assert!(load_text("[server]\nhttp = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'").is_ok());
    }
}
