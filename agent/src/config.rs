//! Settings of the agent. The defaults work; `flyball-agent.example.toml` shows every key with its default.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use flyball_model::budget::Limits;
use flyball_proto::series::NodeName;
use flyball_service::config::{Problems, Settings};
use flyball_service::logging::LogFormat;
use serde::{Deserialize, Serialize};
use tonic::transport::Uri;

use crate::addresses::{Addresses, is_loopback};
use crate::cache::config::ObserveConfig;
use crate::envoy::{Balanced, Envoy, EnvoyConfig};
use crate::haproxy::{Haproxy, HaproxyConfig};
use crate::nginx::{Nginx, NginxConfig};
use crate::orca::{Orca, OrcaConfig};
use crate::recorder::Scheduled;
use crate::redis::{Instance, RedisConfig, check_each};
use crate::sense::{
    Backend, MemcachedConfig, MemcachedServer, SERVERS, SenseConfig, balancers, patience, samplers,
    servers,
};
use crate::ship::REPLAY_RATE;
use crate::spool::SpoolConfig;
use crate::steer::SteerConfig;

/// Shortest and longest interval between two frames.
pub const INTERVALS: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_mins(1);
/// Most of the agent's memory that frames may take, in megabytes.
const MAX_OUTBOX_MB: u32 = 1024;
const MAX_REPLAY_RATE: u32 = 10_000;
/// What the agent needs besides its outbox, generously: the budget must not be spent before anything is kept.
const BASE_MB: u32 = 15;
/// Longest time between two reads of a sampler.
const LONGEST_PERIOD: Duration = Duration::from_hours(1);
const MEGABYTE: u64 = 1_000_000;

/// All settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Who the agent is, where it sends and how often.
    pub agent: Agent,
    /// What is sampled, and from where.
    pub sense: SenseConfig,
    /// Each sampler, by its name.
    pub samplers: BTreeMap<String, SamplerSettings>,
    /// How frames are kept until they are stored.
    pub ship: Ship,
    /// How frames are kept on disk.
    pub spool: SpoolConfig,
    /// What the agent may cost its host.
    pub budget: Budget,
    /// How far confirmed changes may go on this host.
    pub steer: SteerConfig,
    /// How closely caches are watched, and what that may cost them.
    pub observe: ObserveConfig,
    /// Instances of Redis and Valkey.
    pub redis: Vec<RedisConfig>,
    /// Servers of memcached.
    pub memcached: Vec<MemcachedConfig>,
    /// Servers of nginx.
    pub nginx: Vec<NginxConfig>,
    /// Processes of HAProxy.
    pub haproxy: Vec<HaproxyConfig>,
    /// Envoys, and clients that are served by xDS.
    pub envoy: Vec<EnvoyConfig>,
    /// Backends that say how busy they are.
    pub orca: Vec<OrcaConfig>,
}

/// Servers that samplers share with whoever else works on them.
#[derive(Debug, Clone, Default)]
pub struct Servers {
    /// Instances of Redis.
    pub redis: Vec<Instance>,
    /// Processes of HAProxy.
    pub haproxy: Vec<Haproxy>,
    /// Envoys, clients of xDS, and backends that say how busy they are.
    pub balanced: Balanced,
}

/// `[agent]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Agent {
    /// Addresses of the collectors' gRPC ports, `http://HOST:PORT`; one is used at a time.
    pub collector: Addresses,
    /// Name of this node, unique in the fleet; empty: the host's name.
    pub node: String,
    /// Time between two frames, 100 ms to 60 s; ticks fall on its multiples.
    pub interval: Span,
    /// Where the agent keeps its state; empty: see [`Config::data_dir`].
    pub data_dir: PathBuf,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Allows a collector that is not on this host to be reached without encryption.
    pub insecure: bool,
    /// File that everything produced is also written to, without limit, for tests; empty: none.
    pub record: PathBuf,
}

/// `[samplers.NAME]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SamplerSettings {
    /// Whether it is asked at all.
    pub enabled: bool,
    /// Time between two reads; unset: as the sampler has it.
    pub period: Option<Span>,
}

/// `[ship]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// Memory for frames, in megabytes. With a spool that works a fraction of it is used; it bounds what is kept while the disk cannot be written.
    pub memory_mb: u32,
    /// How many times faster than it was measured a backlog is sent after an outage.
    pub replay_rate: u32,
}

/// `[budget]`
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Share of one core that the agent may use, in percent; above it the most expensive samplers are slowed first.
    pub cpu_percent: f64,
    /// Resident memory that the agent may use, in megabytes; above it samplers are slowed too.
    pub memory_mb: u32,
    /// Resident memory at which everything is slowed at once and frames that are not stored are dropped, in megabytes.
    pub ceiling_mb: u32,
}

/// A length of time, written as in `500ms`, `1s`, `1m 30s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Span(pub Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        humantime::parse_duration(&text)
            .map(Self)
            .map_err(|e| format!("{e}; write a number and a unit, for example 500ms or 10s"))
    }
}

impl From<Span> for String {
    fn from(span: Span) -> Self {
        humantime::format_duration(span.0).to_string()
    }
}

impl Default for Config {
    fn default() -> Self {
        let sense = SenseConfig::default();
        // The portable back end has no other names.
        let host = samplers(Backend::Linux, &sense);
        let names = host.iter().map(|sampler| sampler.name()).chain(SERVERS);
        let samplers = names.map(|name| (name.to_owned(), SamplerSettings::default())).collect();
        Self {
            agent: Agent::default(),
            sense,
            samplers,
            ship: Ship::default(),
            spool: SpoolConfig::default(),
            budget: Budget::default(),
            steer: SteerConfig::default(),
            observe: ObserveConfig::default(),
            redis: Vec::new(),
            memcached: Vec::new(),
            envoy: Vec::new(),
            orca: Vec::new(),
            nginx: Vec::new(),
            haproxy: Vec::new(),
        }
    }
}

impl Default for SamplerSettings {
    fn default() -> Self {
        Self { enabled: true, period: None }
    }
}

impl Default for Agent {
    fn default() -> Self {
        Self {
            collector: "http://127.0.0.1:7400".to_owned().into(),
            node: String::new(),
            interval: Span(Duration::from_secs(1)),
            data_dir: PathBuf::new(),
            log_format: LogFormat::default(),
            insecure: false,
            record: PathBuf::new(),
        }
    }
}

impl Default for Ship {
    fn default() -> Self {
        Self { memory_mb: 8, replay_rate: REPLAY_RATE }
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { cpu_percent: 0.5, memory_mb: 25, ceiling_mb: 50 }
    }
}

impl Config {
    /// Directory of the agent's state: the one that was set, or `/var/lib/flyball/agent` for root, or else `flyball/agent` under `XDG_STATE_HOME`
    /// or `~/.local/state`.
    pub fn data_dir(&self) -> PathBuf {
        if !self.agent.data_dir.as_os_str().is_empty() {
            return self.agent.data_dir.clone();
        }
        if rustix::process::geteuid().is_root() {
            return PathBuf::from("/var/lib/flyball/agent");
        }
        let home = || {
            std::env::var_os("HOME")
                .map_or_else(|| PathBuf::from("."), PathBuf::from)
                .join(".local/state")
        };
        std::env::var_os("XDG_STATE_HOME").map_or_else(home, PathBuf::from).join("flyball/agent")
    }

    /// The servers that are shared. Whoever works on one of them gets a clone of the same, so that all share what is known of it.
    pub fn servers(&self) -> Servers {
        let haproxy = |config: &HaproxyConfig| {
            Haproxy::new(config.clone()).expect("validation has checked the socket")
        };
        Servers {
            redis: self.redis(),
            haproxy: self.haproxy.iter().map(haproxy).collect(),
            balanced: self.balanced(),
        }
    }

    fn balanced(&self) -> Balanced {
        Balanced {
            envoys: self.envoy.iter().cloned().map(Envoy::new).collect(),
            orca: self.orca.iter().cloned().map(Orca::new).collect(),
            ..Balanced::default()
        }
    }

    fn redis(&self) -> Vec<Instance> {
        let data_dir = self.data_dir();
        let instance = |config: &RedisConfig| {
            Instance::new(config.clone(), &data_dir).expect("validation has checked the URL")
        };
        self.redis.iter().map(instance).collect()
    }

    /// The servers of nginx.
    pub fn nginx(&self) -> Vec<Nginx> {
        let proc = &self.sense.paths.proc;
        self.nginx.iter().map(|config| Nginx::new(config.clone(), proc)).collect()
    }

    fn memcached(&self) -> Vec<MemcachedServer> {
        let data_dir = self.data_dir();
        let server = |config| {
            MemcachedServer::new(config, &data_dir).expect("validation has checked the address")
        };
        self.memcached.iter().map(server).collect()
    }

    /// The samplers that are to run; `shared` are those of [`Config::servers`].
    pub fn samplers(&self, shared: &Servers) -> Vec<Scheduled> {
        let host = samplers(self.sense.backend, &self.sense).into_iter();
        let Servers { redis, haproxy, balanced } = shared;
        let patience = patience(self.agent.interval.0);
        let all = host.chain(servers(redis, &self.memcached(), haproxy, patience));
        let all = all.chain(balancers(balanced));
        all.filter_map(|sampler| {
            let settings = self.samplers.get(sampler.name()).cloned().unwrap_or_default();
            let own = sampler.period().unwrap_or(self.agent.interval.0);
            let period = settings.period.map_or(own, |span| span.0);
            settings.enabled.then_some(Scheduled { sampler, period })
        })
        .collect()
    }

    /// Addresses of the collectors.
    pub fn collectors(&self) -> Vec<Uri> {
        self.agent.collector.uris().expect("validation has checked the addresses")
    }

    /// True when frames leave the host without encryption.
    pub fn is_exposed(&self) -> bool {
        self.agent.collector.uris().is_ok_and(|uris| !uris.iter().all(is_loopback))
    }
}

impl Ship {
    /// Memory for frames, in bytes.
    pub fn memory_bytes(&self) -> usize {
        (u64::from(self.memory_mb) * MEGABYTE) as usize
    }
}

impl Budget {
    /// The budget as the decision takes it.
    pub fn limits(&self) -> Limits {
        Limits {
            cpu_share: self.cpu_percent / 100.0,
            memory_bytes: u64::from(self.memory_mb) * MEGABYTE,
            ceiling_bytes: u64::from(self.ceiling_mb) * MEGABYTE,
        }
    }
}

impl Settings for Config {
    fn validate(&self, problems: &mut Problems) {
        self.agent.validate(problems);
        check_each("redis", &self.redis, |t| &t.name, RedisConfig::validate, problems);
        let memcached = &self.memcached;
        check_each("memcached", memcached, |t| &t.name, MemcachedConfig::validate, problems);
        check_each("envoy", &self.envoy, |t| &t.name, EnvoyConfig::validate, problems);
        check_each("orca", &self.orca, |t| &t.name, OrcaConfig::validate, problems);
        OrcaConfig::check_addresses(&self.orca, problems);
        check_each("nginx", &self.nginx, |t| &t.name, NginxConfig::validate, problems);
        check_each("haproxy", &self.haproxy, |t| &t.name, HaproxyConfig::validate, problems);
        if !(1..=MAX_OUTBOX_MB).contains(&self.ship.memory_mb) {
            problems.push("ship.memory_mb", format!("must be 1 to {MAX_OUTBOX_MB}"));
        }
        self.spool.validate(problems);
        self.steer.validate(problems);
        self.observe.validate(problems);
        if !(1..=MAX_REPLAY_RATE).contains(&self.ship.replay_rate) {
            problems.push("ship.replay_rate", format!("must be 1 to {MAX_REPLAY_RATE}"));
        }
        for (name, settings) in &self.samplers {
            if settings
                .period
                .is_some_and(|period| period.0 < self.agent.interval.0 || period.0 > LONGEST_PERIOD)
            {
                problems.push(format!("samplers.{name}.period"), "must be agent.interval to 1h");
            }
        }
        for (key, seconds) in [
            ("sense.filesystem.period_seconds", self.sense.filesystem.period_seconds),
            ("sense.processes.period_seconds", self.sense.processes.period_seconds),
        ] {
            if !(1..=LONGEST_PERIOD.as_secs() as u32).contains(&seconds) {
                problems.push(key, "must be 1 to 3600");
            }
        }
        let budget = &self.budget;
        if !(budget.cpu_percent > 0.0 && budget.cpu_percent <= 100.0) {
            problems.push("budget.cpu_percent", "must be above 0 and at most 100");
        }
        if self.ship.memory_mb.saturating_add(BASE_MB) > budget.memory_mb {
            let least = self.ship.memory_mb.saturating_add(BASE_MB);
            problems.push(
                "budget.memory_mb",
                format!(
                    "must be at least {least}: ship.memory_mb and {BASE_MB} for the agent itself"
                ),
            );
        }
        if budget.ceiling_mb < budget.memory_mb {
            problems.push("budget.ceiling_mb", "must be at least budget.memory_mb");
        }
    }
}

impl Agent {
    fn validate(&self, problems: &mut Problems) {
        match self.collector.uris() {
            Err(reason) => problems.push("agent.collector", reason),
            Ok(uris) if !uris.iter().all(is_loopback) && !self.insecure => problems.push(
                "agent.collector",
                "is not on this host and the stream is not encrypted: send to a loopback address, or accept it with --insecure",
            ),
            Ok(_) => {}
        }
        if !self.node.is_empty()
            && let Err(invalid) = NodeName::new(&self.node)
        {
            problems.push("agent.node", invalid.reason);
        }
        if !INTERVALS.contains(&self.interval.0) {
            problems.push("agent.interval", "must be 100ms to 60s");
        } else if !self.interval.0.subsec_nanos().is_multiple_of(1_000_000) {
            problems.push("agent.interval", "must be whole milliseconds");
        }
    }
}

#[cfg(test)]
mod tests {
    use flyball_service::config::{Sources, load};

    use super::*;

    fn problems(variables: &[(&str, &str)]) -> Vec<String> {
        let environment =
            Some(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
        let sources = Sources { environment, ..Sources::default() };
        let problems = load::<Config>(&sources).err().unwrap_or_default();
        problems.as_slice().iter().map(|p| p.key.clone()).collect()
    }

    #[test]
    fn the_defaults_work() {
        assert!(problems(&[]).is_empty());
        let config = Config::default();
        assert!(!config.is_exposed());
        assert_eq!(
            config.samplers(&Servers::default()).len(),
            config.samplers.len() - SERVERS.len()
        );
    }

    #[test]
    fn both_back_ends_have_settings_for_all_their_samplers() {
        let config = Config::default();
        for backend in [Backend::Linux, Backend::Portable] {
            for sampler in samplers(backend, &config.sense) {
                assert!(config.samplers.contains_key(sampler.name()), "{}", sampler.name());
            }
        }
    }

    #[test]
    fn a_collector_elsewhere_needs_a_decision() {
        for loopback in
            ["http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "http://127.9.9.9:1"]
        {
            assert!(problems(&[("FLYBALL_AGENT_COLLECTOR", loopback)]).is_empty(), "{loopback}");
        }
        for elsewhere in
            ["http://10.0.0.1:7400", "http://collector.example:7400", "http://[2001:db8::1]:1"]
        {
            let url = ("FLYBALL_AGENT_COLLECTOR", elsewhere);
            assert_eq!(problems(&[url]), ["agent.collector"], "{elsewhere}");
            assert!(problems(&[url, ("FLYBALL_AGENT_INSECURE", "true")]).is_empty());
        }
    }

    #[test]
    fn an_address_that_cannot_be_one_is_refused() {
        for wrong in [
            "",
            "127.0.0.1:7400",
            "https://127.0.0.1:7400",
            "http://127.0.0.1",
            "http://h:1/x",
            "http:// :1",
        ] {
            assert_eq!(
                problems(&[("FLYBALL_AGENT_COLLECTOR", wrong)]),
                ["agent.collector"],
                "{wrong}"
            );
        }
    }

    #[test]
    fn every_range_is_checked() {
        let wrong = [
            ("FLYBALL_AGENT_INTERVAL", "99ms"),
            ("FLYBALL_BUDGET_CEILING_MB", "24"),
            ("FLYBALL_BUDGET_CPU_PERCENT", "0"),
            ("FLYBALL_OBSERVE_LONGEST_WINDOW", "1s"),
            ("FLYBALL_OBSERVE_MAX_CPU_SHARE", "0.6"),
            ("FLYBALL_OBSERVE_MOST_DRAWS", "0"),
            ("FLYBALL_OBSERVE_MOST_KEYS", "1"),
            ("FLYBALL_OBSERVE_REPORT", "2m"),
            ("FLYBALL_SAMPLERS_CPU_PERIOD", "2h"),
            ("FLYBALL_SENSE_PROCESSES_PERIOD_SECONDS", "0"),
            ("FLYBALL_SHIP_MEMORY_MB", "0"),
            ("FLYBALL_SHIP_REPLAY_RATE", "0"),
            ("FLYBALL_SPOOL_FSYNC_SECONDS", "3601"),
            ("FLYBALL_SPOOL_MAX_MB", "0"),
            ("FLYBALL_STEER_LARGEST_GROWTH", "1"),
            ("FLYBALL_STEER_LARGEST_SHIFT", "0"),
            ("FLYBALL_STEER_LARGEST_SHRINK", "0.6"),
            ("FLYBALL_STEER_MAX_MEMORY_SHARE", "0.96"),
        ];
        let keys = [
            "agent.interval",
            "budget.ceiling_mb",
            "budget.cpu_percent",
            "observe.longest_window",
            "observe.max_cpu_share",
            "observe.most_draws",
            "observe.most_keys",
            "observe.report",
            "samplers.cpu.period",
            "sense.processes.period_seconds",
            "ship.memory_mb",
            "ship.replay_rate",
            "spool.fsync_seconds",
            "spool.max_mb",
            "steer.largest_growth",
            "steer.largest_shift",
            "steer.largest_shrink",
            "steer.max_memory_share",
        ];
        assert_eq!(problems(&wrong), keys);
        assert_eq!(problems(&[("FLYBALL_AGENT_INTERVAL", "61s")]), ["agent.interval"]);
        assert_eq!(problems(&[("FLYBALL_AGENT_INTERVAL", "1500us")]), ["agent.interval"]);
    }

    #[test]
    fn every_instance_is_checked_by_its_place() {
        let all =
            r#"[{name="a",url="redis://h"},{name="a",url="redis://u:p@h"},{name="b",url=7,x=1}]"#;
        let keys = ["redis[1].name", "redis[1].url", "redis[2].url", "redis[2].x"];
        assert_eq!(problems(&[("FLYBALL_REDIS", all)]), keys);
        let all = r#"[{name="a",address="h:1"},{name="a",address="h:x"}]"#;
        let keys = ["memcached[1].address", "memcached[1].name"];
        assert_eq!(problems(&[("FLYBALL_MEMCACHED", all)]), keys);
        let all = r#"[{name="a",socket="/s"},{name="a",socket="x",check_ms=1}]"#;
        let keys = ["haproxy[1].check_ms", "haproxy[1].name", "haproxy[1].socket"];
        assert_eq!(problems(&[("FLYBALL_HAPROXY", all)]), keys);
    }

    #[test]
    fn a_sampler_is_disabled_or_slowed_by_its_name() {
        let mut config = Config::default();
        let count = config.samplers(&Servers::default()).len();
        let cpu = config.samplers.get_mut("cpu").unwrap();
        cpu.period = Some(Span(Duration::from_secs(7)));
        let cpu = config
            .samplers(&Servers::default())
            .into_iter()
            .find(|s| s.sampler.name() == "cpu")
            .unwrap();
        assert_eq!(cpu.period, Duration::from_secs(7));
        config.samplers.get_mut("cpu").unwrap().enabled = false;
        assert_eq!(config.samplers(&Servers::default()).len(), count - 1);
    }
}
