//! Settings of the store: the sections `[clickhouse]` and `[engine]`, and what they come to together.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flyball_service::config::Problems;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::error::StoreError;

/// 50 years. ClickHouse computes the end of a row's life in 32 bits of seconds, which run out in 2106: beyond, it would lie in the past.
const MAX_RETENTION_DAYS: u32 = 18_250;

/// Section `[clickhouse]`: which server, which database, how long things are kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseSettings {
    /// HTTP addresses of servers that are already there, for example `http://127.0.0.1:8123`: one, or several of a cluster. None starts the embedded engine.
    #[serde(deserialize_with = "one_or_several")]
    pub url: Vec<String>,
    /// User on that server.
    pub user: String,
    /// Password on that server; better given as `password_file`.
    pub password: Secret,
    /// File whose first line is the password. Wins over `password`.
    pub password_file: Option<PathBuf>,
    /// Database; created when it is missing.
    pub database: String,
    /// Name of a cluster that the servers belong to. Series are spread over its shards, with Distributed tables on top.
    pub cluster: Option<String>,
    /// On a cluster: tables are Replicated ones, created `ON CLUSTER`. Otherwise each shard is one server with plain tables, and `url` names all of them.
    pub replicated: bool,
    /// Replicas of a shard that must have a block before it counts as stored; 0: most of them.
    pub insert_quorum: u32,
    /// Apply missing migrations at start. The embedded engine is always migrated.
    pub migrate: bool,
    /// Days that samples and cache statistics are kept.
    pub retention_days: u32,
    /// Days that rollups of 10 s are kept. Each tier is kept at least as long as the finer ones.
    pub rollup_10s_days: u32,
    /// Days that rollups of 1 min are kept.
    pub rollup_1m_days: u32,
    /// Days that rollups of 1 h are kept.
    pub rollup_1h_days: u32,
    /// Days that decisions are kept: 10 years, they are small.
    pub decisions_retention_days: u32,
    /// An insert waits until the disk has it. Off, a power cut loses what was acknowledged in the seconds before it; a killed process loses nothing.
    pub fsync: bool,
    /// Longest time that one request may take, in milliseconds.
    pub timeout_ms: u64,
    /// Most series that are stored; samples of further ones add up in one series for each node and metric.
    pub max_series: usize,
}

/// How tables are laid out over servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout<'a> {
    /// All on one server.
    Single,
    /// Plain tables on each of several servers, every one a shard, and Distributed tables on top. Needs no Keeper, and survives no loss of a disk.
    Sharded {
        /// Name of the cluster on its servers.
        cluster: &'a str,
    },
    /// Replicated tables on the replicas of each shard, and Distributed tables on top.
    Replicated {
        /// Name of the cluster on its servers.
        cluster: &'a str,
    },
}

/// Section `[engine]`: the embedded engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EngineSettings {
    /// Memory that the engine may use, in bytes.
    pub memory_bytes: u64,
    /// Port on 127.0.0.1 that the engine serves HTTP on; 0 takes a free one.
    pub port: u16,
    /// Directory with fetched engines. None: `$FLYBALL_CACHE_DIR`, else `$XDG_CACHE_HOME/flyball`, else `~/.cache/flyball`.
    pub cache_dir: Option<PathBuf>,
    /// Use a `clickhouse` program on the `PATH`, when there is one that is new enough, rather than the fetched library.
    pub prefer_installed: bool,
}

/// What [`super::open`] needs.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// Section `[clickhouse]`.
    pub clickhouse: ClickHouseSettings,
    /// Section `[engine]`.
    pub engine: EngineSettings,
    /// The collector's data directory; the embedded engine's data lies in `clickhouse` below it.
    pub data_dir: PathBuf,
    /// The `flyball-collector` program, which runs the engine's library in a process of its own. None: this process' own program.
    pub program: Option<PathBuf>,
}

/// Text that is never printed.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Default for ClickHouseSettings {
    fn default() -> Self {
        Self {
            url: Vec::new(),
            user: "default".to_owned(),
            password: Secret::default(),
            password_file: None,
            database: "flyball".to_owned(),
            cluster: None,
            replicated: true,
            insert_quorum: 0,
            migrate: true,
            retention_days: 30,
            rollup_10s_days: 30,
            rollup_1m_days: 180,
            rollup_1h_days: 1_825,
            decisions_retention_days: 3_650,
            fsync: true,
            timeout_ms: 30_000,
            max_series: 3_000_000,
        }
    }
}

impl Default for EngineSettings {
    fn default() -> Self {
        Self { memory_bytes: 1_000_000_000, port: 0, cache_dir: None, prefer_installed: true }
    }
}

impl ClickHouseSettings {
    /// What no single key shows. Problems are named by keys of the section `section`.
    pub fn validate(&self, section: &str, problems: &mut Problems) {
        let mut problem =
            |key: &str, reason: &str| problems.push(format!("{section}.{key}"), reason);
        if self.url.iter().any(|url| !is_url(url)) {
            problem("url", "must start with http:// and name a host");
        }
        if (1..self.url.len()).any(|i| self.url[i..].contains(&self.url[i - 1])) {
            problem("url", "names a server twice");
        }
        if self.url.len() > 1 && self.cluster.is_none() {
            problem(
                "url",
                "several servers need clickhouse.cluster: without it each has tables of its own",
            );
        }
        if !is_identifier(&self.database) {
            problem("database", "must be letters, digits and _, not starting with a digit");
        }
        if self.cluster.as_deref().is_some_and(|name| !is_identifier(name)) {
            problem("cluster", "must be letters, digits and _, not starting with a digit");
        }
        if self.cluster.is_some() && self.url.is_empty() {
            problem("cluster", "needs clickhouse.url: the embedded engine is one machine");
        }
        for (key, days) in [
            ("retention_days", self.retention_days),
            ("rollup_10s_days", self.rollup_10s_days),
            ("rollup_1m_days", self.rollup_1m_days),
            ("rollup_1h_days", self.rollup_1h_days),
            ("decisions_retention_days", self.decisions_retention_days),
        ] {
            if !(1..=MAX_RETENTION_DAYS).contains(&days) {
                problem(key, "must be 1 to 18250");
            }
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            problem("timeout_ms", "must be 100 to 600000");
        }
        if self.max_series == 0 {
            problem("max_series", "must be at least 1");
        }
    }

    /// True when servers are configured, and the embedded engine is not to be started.
    pub fn is_external(&self) -> bool {
        !self.url.is_empty()
    }

    /// How the tables are laid out.
    pub fn layout(&self) -> Layout<'_> {
        match &self.cluster {
            None => Layout::Single,
            Some(cluster) if self.replicated => Layout::Replicated { cluster },
            Some(cluster) => Layout::Sharded { cluster },
        }
    }

    /// Days that rollups of 10 s, 1 min and 1 h are kept: what is configured, but none shorter than a finer one, since the coarsest tier answers.
    pub fn rollup_days(&self) -> [u32; 3] {
        let ten_seconds = self.rollup_10s_days.max(self.retention_days);
        let minute = self.rollup_1m_days.max(ten_seconds);
        [ten_seconds, minute, self.rollup_1h_days.max(minute)]
    }

    /// Longest time that one request may take.
    pub fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// The password, from its file if there is one.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn resolved_password(&self) -> Result<Secret, StoreError> {
        let Some(path) = &self.password_file else { return Ok(self.password.clone()) };
        let text = std::fs::read_to_string(path).map_err(|source| StoreError::File {
            what: "read the password file",
            path: path.clone(),
            source,
        })?;
        Ok(Secret::new(text.lines().next().unwrap_or_default()))
    }
}

impl<'a> Layout<'a> {
    /// Name of the cluster, if there is one.
    pub const fn cluster(self) -> Option<&'a str> {
        match self {
            Self::Single => None,
            Self::Sharded { cluster } | Self::Replicated { cluster } => Some(cluster),
        }
    }
}

impl EngineSettings {
    /// Least memory that the engine works in.
    pub const MIN_MEMORY_BYTES: u64 = 400_000_000;

    /// What no single key shows. Problems are named by keys of the section `section`.
    pub fn validate(&self, section: &str, problems: &mut Problems) {
        if self.memory_bytes < Self::MIN_MEMORY_BYTES {
            problems.push(format!("{section}.memory_bytes"), "must be at least 400000000");
        }
    }
}

impl StoreConfig {
    /// The default settings with data under `data_dir`: embedded engine, one database.
    pub fn embedded(data_dir: &Path) -> Self {
        Self {
            clickhouse: ClickHouseSettings::default(),
            engine: EngineSettings::default(),
            data_dir: data_dir.to_owned(),
            program: None,
        }
    }
}

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text. Not for logs.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "(none)" } else { "(secret)" })
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "(secret)" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Secret;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text, in quotes if it is a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Secret, E> {
                Ok(Secret::new(text))
            }

            // An environment variable that holds only digits arrives as a number.
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Secret, E> {
                Ok(Secret::new(number.to_string()))
            }
        }
        deserializer.deserialize_any(Text)
    }
}

/// A text with commas, or a list of texts.
fn one_or_several<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a URL, several separated by commas, or a list of them")]
    enum Urls {
        One(String),
        Several(Vec<String>),
    }
    let texts = match Urls::deserialize(deserializer)? {
        Urls::One(text) => vec![text],
        Urls::Several(texts) => texts,
    };
    let urls = texts.iter().flat_map(|text| text.split(',')).map(str::trim);
    let url = |url: &str| url.trim_end_matches('/').to_owned();
    Ok(urls.filter(|text| !text.is_empty()).map(url).collect())
}

fn is_url(text: &str) -> bool {
    let host = text.strip_prefix("http://").unwrap_or_default();
    !host.is_empty() && !host.starts_with(':') && !host.contains(char::is_whitespace)
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        && chars.all(|c| c.is_ascii_alphanumeric() || c == '_')
        && name.len() <= 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        let mut problems = Problems::default();
        ClickHouseSettings::default().validate("clickhouse", &mut problems);
        EngineSettings::default().validate("engine", &mut problems);
        assert_eq!(problems.as_slice(), []);
    }

    #[test]
    fn every_value_out_of_range_is_named() {
        let mut problems = Problems::default();
        let settings = ClickHouseSettings {
            url: vec!["tcp://x".into()],
            database: "a-b".into(),
            cluster: Some("1".into()),
            retention_days: 0,
            rollup_10s_days: 0,
            rollup_1m_days: 0,
            rollup_1h_days: 0,
            decisions_retention_days: 0,
            timeout_ms: 1,
            max_series: 0,
            ..ClickHouseSettings::default()
        };
        settings.validate("clickhouse", &mut problems);
        EngineSettings { memory_bytes: 1, ..EngineSettings::default() }
            .validate("engine", &mut problems);
        let keys: Vec<_> = problems.as_slice().iter().map(|p| p.key.as_str()).collect();
        let expected = [
            "clickhouse.url",
            "clickhouse.database",
            "clickhouse.cluster",
            "clickhouse.retention_days",
            "clickhouse.rollup_10s_days",
            "clickhouse.rollup_1m_days",
            "clickhouse.rollup_1h_days",
            "clickhouse.decisions_retention_days",
            "clickhouse.timeout_ms",
            "clickhouse.max_series",
            "engine.memory_bytes",
        ];
        assert_eq!(keys, expected);
    }

    #[test]
    fn servers_are_a_text_with_commas_or_a_list() {
        let url = |json: &str| {
            serde_json::from_str::<ClickHouseSettings>(&format!("{{\"url\":{json}}}"))
                .map(|s| s.url)
        };
        assert_eq!(url("\"http://a:1/, http://b:2\"").unwrap(), ["http://a:1", "http://b:2"]);
        assert_eq!(url("[\"http://a:1\",\"http://b:2\"]").unwrap(), ["http://a:1", "http://b:2"]);
        assert_eq!(url("\"\"").unwrap(), [""; 0]);
        assert!(url("7").unwrap_err().to_string().contains("separated by commas"));
    }

    #[test]
    fn several_servers_are_a_cluster_and_each_is_named_once() {
        let problems = |url: &[&str], cluster: Option<&str>| {
            let settings = ClickHouseSettings {
                url: url.iter().map(|url| (*url).to_owned()).collect(),
                cluster: cluster.map(str::to_owned),
                ..ClickHouseSettings::default()
            };
            let mut problems = Problems::default();
            settings.validate("clickhouse", &mut problems);
            problems.as_slice().iter().map(|p| p.reason.clone()).collect::<Vec<_>>()
        };
        assert_eq!(problems(&["http://a", "http://b"], Some("main")), [""; 0]);
        assert!(problems(&["http://a", "http://b"], None)[0].contains("need clickhouse.cluster"));
        assert!(problems(&["http://a", "http://b", "http://a"], Some("main"))[0].contains("twice"));
        assert!(problems(&[], Some("main"))[0].contains("embedded engine"));
        assert!(problems(&["http://:1"], None)[0].contains("name a host"));
    }

    #[test]
    fn no_tier_is_kept_shorter_than_a_finer_one() {
        let days = |retention_days, rollup_10s_days, rollup_1m_days, rollup_1h_days| {
            let settings = ClickHouseSettings {
                retention_days,
                rollup_10s_days,
                rollup_1m_days,
                rollup_1h_days,
                ..ClickHouseSettings::default()
            };
            settings.rollup_days()
        };
        assert_eq!(days(7, 30, 90, 365), [30, 90, 365]);
        assert_eq!(days(400, 30, 90, 365), [400, 400, 400]);
        assert_eq!(days(7, 30, 20, 10), [30, 30, 30]);
    }

    #[test]
    fn a_password_comes_from_its_file_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "hunter2\n").unwrap();
        let settings = ClickHouseSettings {
            password: Secret::new("other"),
            password_file: Some(path.clone()),
            ..ClickHouseSettings::default()
        };
        assert_eq!(settings.resolved_password().unwrap().expose(), "hunter2");
        let shown = format!("{settings:?} {}", serde_json::to_string(&settings).unwrap());
        assert!(!shown.contains("other"), "{shown}");
        std::fs::remove_file(&path).unwrap();
        let message = settings.resolved_password().unwrap_err().to_string();
        assert!(message.contains("read the password file"), "{message}");
    }

    #[test]
    fn a_password_of_digits_is_a_text() {
        let secret: Secret = serde_json::from_str("12345").unwrap();
        assert_eq!(secret.expose(), "12345");
    }
}
