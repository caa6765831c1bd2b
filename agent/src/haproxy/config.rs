//! `[[haproxy]]`: which processes, where their runtime socket is, and what may be set there.

use std::fmt;
use std::path::PathBuf;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use crate::redis::split_port;

/// Shortest and longest time between two looks at what is in force, in milliseconds.
const CHECKS: std::ops::RangeInclusive<u32> = 200..=5_000;
/// Longest name of a group.
const MAX_NAME: usize = 64;

/// `[[haproxy]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HaproxyConfig {
    /// Name of the balancer, unique on this node: the attribute `balancer` of its series.
    pub name: String,
    /// Its runtime socket: the absolute path of a Unix socket, or `HOST:PORT`.
    pub socket: String,
    /// Lets confirmed changes be put into force here, within the guard rails of `[steer]`. The socket needs `level admin` then.
    pub steer: bool,
    /// Its backends that are watched and may be steered; empty: all.
    pub groups: Vec<String>,
    /// Milliseconds between two looks at what is in force, while something is: how soon a reload is noticed and what is wanted set again.
    pub check_ms: u32,
}

/// Where a runtime socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A TCP port.
    Tcp(String, u16),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Default for HaproxyConfig {
    fn default() -> Self {
        Self {
            name: String::new(),
            socket: String::new(),
            steer: false,
            groups: Vec::new(),
            check_ms: 250,
        }
    }
}

impl HaproxyConfig {
    /// Pushes a problem for each key that is wrong; `at` is the place of the table, `haproxy[0]`.
    pub fn validate(&self, at: &str, problems: &mut Problems) {
        if let Err(reason) = Place::parse(&self.socket) {
            problems.push(format!("{at}.socket"), reason);
        }
        if !CHECKS.contains(&self.check_ms) {
            problems.push(format!("{at}.check_ms"), "must be 200 to 5000");
        }
        for (index, group) in self.groups.iter().enumerate() {
            let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
            if group.is_empty() || group.len() > MAX_NAME || !group.chars().all(is_name) {
                let reason = "must be a name of 1 to 64 letters, digits and -_.: as HAProxy has it";
                problems.push(format!("{at}.groups[{index}]"), reason);
            } else if self.groups[..index].contains(group) {
                problems.push(format!("{at}.groups[{index}]"), "is there twice");
            }
        }
    }
}

impl Place {
    /// Reads `/PATH` or `HOST:PORT`, the latter also with `tcp ` before it.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        const USE: &str = "use the absolute path of a socket or HOST:PORT";
        if text.len() > 1 && text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let text = text.strip_prefix("tcp ").unwrap_or(text);
        // No port is the usual one, so it has to be there: zero means that it is not.
        let (host, port) = split_port(text, 0).ok_or(USE)?;
        if port == 0 || host.is_empty() {
            return Err(USE);
        }
        if host.contains(|c: char| c.is_whitespace() || "/@?#[]".contains(c)) {
            return Err(USE);
        }
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(host, port) if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &HaproxyConfig) -> Vec<String> {
        let mut problems = Problems::default();
        config.validate("haproxy[0]", &mut problems);
        problems.as_slice().iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn what_breaks_a_rule_is_named_all_at_once() {
        let right = HaproxyConfig { socket: "/run/h.sock".into(), ..HaproxyConfig::default() };
        assert_eq!(keys(&right), [""; 0]);
        let groups = ["web", "a;b", "web", ""].map(str::to_owned).to_vec();
        let wrong = HaproxyConfig { groups, check_ms: 199, ..HaproxyConfig::default() };
        let all = ["socket", "check_ms", "groups[1]", "groups[2]", "groups[3]"];
        assert_eq!(keys(&wrong), all.map(|key| format!("haproxy[0].{key}")));
    }

    #[test]
    fn places_are_read_or_refused() {
        for (text, shown) in [
            ("/run/h.sock", "/run/h.sock"),
            ("h:7", "h:7"),
            ("tcp h:7", "h:7"),
            ("[::1]:7", "[::1]:7"),
        ] {
            assert_eq!(Place::parse(text).unwrap().to_string(), shown);
        }
        for wrong in ["", "/", "h", ":7", "h:x", "h:0", "http://h:7", "u@h:7", "h h:7"] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
