//! `[[redis]]`: which instances, and how they are reached.

use std::collections::HashSet;
use std::path::PathBuf;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use super::dial::Endpoint;
use crate::cache::config::{Monitor, Observe};

/// Longest name of a cache.
const MAX_NAME: usize = 64;

/// `[[redis]]`: one instance, or one node of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisConfig {
    /// Name of the cache, unique on this node: the attribute `cache` of its series.
    pub name: String,
    /// `redis://HOST[:PORT][/DB]`, `rediss://` for TLS, `unix://PATH` for a socket.
    pub url: String,
    /// User of the server's access control lists; unset: the default user.
    pub username: Option<String>,
    /// File whose first line is the password. It is read at each connection.
    pub password_file: Option<PathBuf>,
    /// Certificates in PEM that the server's is signed by; unset: those of the system.
    pub ca_file: Option<PathBuf>,
    /// Certificate in PEM that the agent shows; with `key_file`.
    pub cert_file: Option<PathBuf>,
    /// Private key in PEM of `cert_file`.
    pub key_file: Option<PathBuf>,
    /// Lets confirmed changes be put into force here, within the guard rails of `[steer]`.
    pub steer: bool,
    /// How closely it is watched: `off`, `ages` or `events`.
    pub observe: Observe,
    /// Whether requests are read: `never`, `guarded` or `always`.
    pub monitor: Monitor,
}

impl RedisConfig {
    /// Pushes a problem for each key that is wrong; `at` is the place of the table, `redis[0]`.
    pub fn validate(&self, at: &str, problems: &mut Problems) {
        match Endpoint::parse(&self.url) {
            Err(reason) => problems.push(format!("{at}.url"), reason),
            Ok(endpoint) if !endpoint.is_tls() => {
                let files = [
                    ("ca_file", &self.ca_file),
                    ("cert_file", &self.cert_file),
                    ("key_file", &self.key_file),
                ];
                for (key, _) in files.iter().filter(|(_, file)| file.is_some()) {
                    problems.push(format!("{at}.{key}"), "is for rediss:// only");
                }
            }
            Ok(_) => {}
        }
        if self.username.is_some() && self.password_file.is_none() {
            problems.push(format!("{at}.username"), "needs password_file");
        }
        if self.cert_file.is_some() != self.key_file.is_some() {
            problems.push(format!("{at}.cert_file"), "goes with key_file: give both or none");
        }
        if self.monitor != Monitor::Never && self.observe == Observe::Off {
            problems.push(
                format!("{at}.monitor"),
                "needs observe = \"ages\" or \"events\": requests are read for what is told of the cache",
            );
        }
    }
}

/// Validates the tables of an array, and that each has a name of its own.
pub(crate) fn check_each<'a, T: 'a>(
    array: &str,
    tables: impl IntoIterator<Item = &'a T>,
    name: impl Fn(&T) -> &str,
    validate: impl Fn(&T, &str, &mut Problems),
    problems: &mut Problems,
) {
    let mut seen = HashSet::new();
    for (index, table) in tables.into_iter().enumerate() {
        let at = format!("{array}[{index}]");
        if let Err(reason) = check_name(name(table)) {
            problems.push(format!("{at}.name"), reason);
        } else if !seen.insert(name(table).to_owned()) {
            problems.push(format!("{at}.name"), "is the name of another one");
        }
        validate(table, &at, problems);
    }
}

/// Checks a name that becomes an attribute, part of a target's id and of a file's name.
///
/// # Errors
/// The rule.
fn check_name(name: &str) -> Result<(), &'static str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) || name.starts_with('.')
    {
        return Err("must be 1 to 64 letters, digits and ._-, and not begin with a dot");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &RedisConfig) -> Vec<String> {
        let mut problems = Problems::default();
        config.validate("redis[0]", &mut problems);
        problems.as_slice().iter().map(|problem| problem.key.clone()).collect()
    }

    fn at(url: &str) -> RedisConfig {
        RedisConfig { url: url.to_owned(), ..RedisConfig::default() }
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        for url in ["redis://h", "rediss://h:1/2", "unix:///run/redis.sock", "redis://[::1]:7"] {
            assert_eq!(keys(&at(url)), [""; 0], "{url}");
        }
        let path = || Some(PathBuf::from("x"));
        let wrong = RedisConfig {
            username: Some("u".to_owned()),
            ca_file: path(),
            cert_file: path(),
            ..at("redis://h")
        };
        let all =
            ["ca_file", "cert_file", "username", "cert_file"].map(|key| format!("redis[0].{key}"));
        assert_eq!(keys(&wrong), all);
        let unwatched =
            RedisConfig { observe: Observe::Off, monitor: Monitor::Always, ..at("redis://h") };
        assert_eq!(keys(&unwatched), ["redis[0].monitor"]);
        let right = RedisConfig {
            username: Some("u".to_owned()),
            password_file: path(),
            ca_file: path(),
            cert_file: path(),
            key_file: path(),
            ..at("rediss://h")
        };
        assert_eq!(keys(&right), [""; 0]);
    }

    #[test]
    fn names_are_there_and_different() {
        let named = |name: &str| RedisConfig { name: name.to_owned(), ..at("redis://h") };
        let all = [named("a"), named(""), named("a"), named("../b"), named(".c"), named("d e")];
        let mut problems = Problems::default();
        check_each("redis", &all, |t| &t.name, RedisConfig::validate, &mut problems);
        let keys: Vec<_> = problems.as_slice().iter().map(|problem| &*problem.key).collect();
        let wrong = [1, 2, 3, 4, 5].map(|index| format!("redis[{index}].name"));
        assert_eq!(keys, wrong);
    }
}
