//! Sections `[cache]` and `[redis]`: how long answers are kept and where.

use std::path::PathBuf;
use std::time::Duration;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use crate::store::Secret;

/// Section `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheSettings {
    /// Most memory for answers, in bytes; half of it for whole answers, half for parts of them.
    pub l1_bytes: u64,
    /// Longest time that values of closed buckets are served without asking again, in milliseconds. Late samples end it at once.
    pub closed_ms: u64,
    /// The same while this collector may not hear of late samples that others store, in milliseconds.
    pub unheard_ms: u64,
    /// How much longer an answer is served when the store fails, in milliseconds.
    pub on_error_ms: u64,
}

/// Section `[redis]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://[user[:password]@]HOST[:PORT][/DB]`, `rediss://` for TLS, `unix://` for a socket; empty: no shared cache.
    pub url: String,
    /// Password on that server; better given as `password_file`. Wins over the one in the URL.
    pub password: Secret,
    /// File whose first line is the password. Wins over `password`.
    pub password_file: Option<PathBuf>,
    /// Certificates in PEM that the server's is signed by; without: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate in PEM that this collector shows; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Private key in PEM of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// What the names of all keys and of the channel begin with. Collectors on one database share it, others must have another one.
    pub prefix: String,
    /// File with a secret of 16 bytes and more, the same for all collectors, that values are authenticated with.
    /// Without: one is derived from the database and its password.
    pub secret_file: Option<PathBuf>,
    /// Longest time that a request waits for Redis, in milliseconds.
    pub timeout_ms: u64,
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self { l1_bytes: 64 << 20, closed_ms: 600_000, unheard_ms: 30_000, on_error_ms: 300_000 }
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: String::new(),
            password: Secret::default(),
            password_file: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            prefix: "flyball".to_owned(),
            secret_file: None,
            timeout_ms: 20,
        }
    }
}

impl CacheSettings {
    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        let day = 86_400_000;
        let times = [
            ("closed_ms", self.closed_ms),
            ("unheard_ms", self.unheard_ms),
            ("on_error_ms", self.on_error_ms),
        ];
        for (key, value) in times {
            if value > day {
                problems.push(format!("cache.{key}"), format!("must be at most {day}"));
            }
        }
    }

    /// The times as durations: closed, unheard, on error.
    pub(crate) const fn times(&self) -> (Duration, Duration, Duration) {
        (
            Duration::from_millis(self.closed_ms),
            Duration::from_millis(self.unheard_ms),
            Duration::from_millis(self.on_error_ms),
        )
    }
}

impl RedisSettings {
    /// True when there is a shared cache.
    pub const fn is_on(&self) -> bool {
        !self.url.is_empty()
    }

    /// What no single key shows.
    pub fn validate(&self, problems: &mut Problems) {
        if !(1..=1_000).contains(&self.timeout_ms) {
            problems.push("redis.timeout_ms", "must be 1 to 1000");
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || ":._-{}".contains(c);
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.chars().all(plain) {
            let rule = "must be 1 to 64 letters, digits and :._-{}";
            problems.push("redis.prefix", rule);
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            problems.push("redis.cert_file", "goes with redis.key_file: give both or none");
        }
        if !self.is_on() {
            return;
        }
        if let Err(error) = redis::IntoConnectionInfo::into_connection_info(self.url.as_str()) {
            let reason =
                format!("{error}: use redis://HOST:PORT, rediss://HOST:PORT or unix://PATH");
            problems.push("redis.url", reason);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(redis: &RedisSettings) -> Vec<String> {
        let mut problems = Problems::default();
        redis.validate(&mut problems);
        problems.as_slice().iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        assert_eq!(keys(&RedisSettings::default()), Vec::<String>::new());
        for url in ["redis://h:1/2", "rediss://u:p@h", "unix:///run/redis.sock"] {
            assert_eq!(keys(&RedisSettings { url: url.into(), ..Default::default() }), [""; 0]);
        }
        let wrong = RedisSettings {
            url: "http://h".into(),
            prefix: "a b".into(),
            timeout_ms: 0,
            cert_file: Some("x".into()),
            ..RedisSettings::default()
        };
        assert_eq!(
            keys(&wrong),
            ["redis.timeout_ms", "redis.prefix", "redis.cert_file", "redis.url"]
        );
    }
}
