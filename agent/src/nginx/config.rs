//! `[[nginx]]`: which servers of nginx, and what of them may be written.

use std::collections::HashSet;
use std::path::PathBuf;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

/// `[[nginx]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NginxConfig {
    /// Name of the balancer, unique on this node.
    pub name: String,
    /// File with the number of nginx's main process.
    pub pid_file: PathBuf,
    /// Tests the configuration, as a command and its arguments; no shell is involved.
    pub test: Vec<String>,
    /// Has nginx read its configuration again.
    pub reload: Vec<String>,
    /// Least time between two reloads, in seconds: each leaves workers behind until their connections have ended.
    pub least_seconds: u32,
    /// Lets confirmed changes be put into force here.
    pub steer: bool,
    /// The upstreams.
    pub upstreams: Vec<UpstreamConfig>,
}

/// `[[nginx.upstreams]]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamConfig {
    /// As nginx's configuration names it.
    pub name: String,
    /// File of its `server` lines, which nginx includes.
    pub file: PathBuf,
}

impl Default for NginxConfig {
    fn default() -> Self {
        let words = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect();
        Self {
            name: String::new(),
            pid_file: PathBuf::from("/run/nginx.pid"),
            test: words(&["nginx", "-t", "-q"]),
            reload: words(&["nginx", "-s", "reload"]),
            least_seconds: 60,
            steer: false,
            upstreams: Vec::new(),
        }
    }
}

impl NginxConfig {
    /// Pushes a problem for each key that is wrong; `at` is the place of the table, `nginx[0]`.
    pub fn validate(&self, at: &str, problems: &mut Problems) {
        for (key, command) in [("test", &self.test), ("reload", &self.reload)] {
            if command.first().is_none_or(String::is_empty) {
                problems.push(format!("{at}.{key}"), "must name a command and its arguments");
            }
        }
        if !(1..=3_600).contains(&self.least_seconds) {
            problems.push(format!("{at}.least_seconds"), "must be 1 to 3600");
        }
        if self.upstreams.is_empty() {
            problems.push(format!("{at}.upstreams"), "must name an upstream and its file");
        }
        let mut seen = HashSet::new();
        for (index, upstream) in self.upstreams.iter().enumerate() {
            let at = format!("{at}.upstreams[{index}]");
            if upstream.name.is_empty() || upstream.name.len() > 64 || upstream.name.contains('/') {
                problems.push(format!("{at}.name"), "must be 1 to 64 bytes without a slash");
            } else if !seen.insert(&upstream.name) {
                problems.push(format!("{at}.name"), "is the name of another one");
            }
            if !upstream.file.is_absolute() {
                problems.push(format!("{at}.file"), "must be an absolute path");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(config: &NginxConfig) -> Vec<String> {
        let mut problems = Problems::default();
        config.validate("nginx[0]", &mut problems);
        problems.as_slice().iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn what_breaks_a_rule_is_named() {
        let upstream =
            |name: &str, file: &str| UpstreamConfig { name: name.into(), file: file.into() };
        let right = NginxConfig {
            upstreams: vec![upstream("web", "/etc/nginx/web.conf")],
            ..NginxConfig::default()
        };
        assert_eq!(keys(&right), [""; 0]);
        let wrong = NginxConfig {
            test: Vec::new(),
            reload: vec![String::new()],
            least_seconds: 0,
            upstreams: vec![upstream("web", "web.conf"), upstream("web", "/x"), upstream("", "/y")],
            ..NginxConfig::default()
        };
        let all = ["test", "reload", "least_seconds", "upstreams[0].file", "upstreams[1].name"];
        let mut all: Vec<_> = all.iter().map(|key| format!("nginx[0].{key}")).collect();
        all.push("nginx[0].upstreams[2].name".to_owned());
        assert_eq!(keys(&wrong), all);
        assert_eq!(keys(&NginxConfig::default()), ["nginx[0].upstreams"]);
    }
}
