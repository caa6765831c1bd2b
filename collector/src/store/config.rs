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
    /// HTTP address of a server that is already there, for example `http://127.0.0.1:8123`. None starts the embedded engine.
    pub url: Option<String>,
    /// User on that server.
    pub user: String,
    /// Password on that server; better given as `password_file`.
    pub password: Secret,
    /// File whose first line is the password. Wins over `password`.
    pub password_file: Option<PathBuf>,
    /// Database; created when it is missing.
    pub database: String,
    /// Name of a cluster that the server belongs to. Tables become Replicated on it, with Distributed ones on top.
    pub cluster: Option<String>,
    /// Apply missing migrations at start. The embedded engine is always migrated.
    pub migrate: bool,
    /// Days that samples and cache statistics are kept.
    pub retention_days: u32,
    /// Days that decisions are kept: 10 years, they are small.
    pub decisions_retention_days: u32,
    /// Longest time that one request may take, in milliseconds.
    pub timeout_ms: u64,
    /// Most series that are stored; further ones are refused.
    pub max_series: usize,
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
            url: None,
            user: "default".to_owned(),
            password: Secret::default(),
            password_file: None,
            database: "flyball".to_owned(),
            cluster: None,
            migrate: true,
            retention_days: 30,
            decisions_retention_days: 3_650,
            timeout_ms: 30_000,
            max_series: 1_000_000,
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
        if let Some(url) = &self.url
            && !url.starts_with("http://")
        {
            problem("url", "must start with http://");
        }
        if !is_identifier(&self.database) {
            problem("database", "must be letters, digits and _, not starting with a digit");
        }
        if self.cluster.as_deref().is_some_and(|name| !is_identifier(name)) {
            problem("cluster", "must be letters, digits and _, not starting with a digit");
        }
        if self.cluster.is_some() && self.url.is_none() {
            problem("cluster", "needs clickhouse.url: the embedded engine is one machine");
        }
        if !(1..=MAX_RETENTION_DAYS).contains(&self.retention_days) {
            problem("retention_days", "must be 1 to 18250");
        }
        if !(1..=MAX_RETENTION_DAYS).contains(&self.decisions_retention_days) {
            problem("decisions_retention_days", "must be 1 to 18250");
        }
        if !(100..=600_000).contains(&self.timeout_ms) {
            problem("timeout_ms", "must be 100 to 600000");
        }
        if self.max_series == 0 {
            problem("max_series", "must be at least 1");
        }
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
            url: Some("tcp://x".into()),
            database: "a-b".into(),
            cluster: Some("1".into()),
            retention_days: 0,
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
            "clickhouse.decisions_retention_days",
            "clickhouse.timeout_ms",
            "clickhouse.max_series",
            "engine.memory_bytes",
        ];
        assert_eq!(keys, expected);
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
