//! `[[memcached]]`: which servers, and where they are.

use std::fmt;
use std::path::{Path, PathBuf};

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use crate::redis::split_port;

const PORT: u16 = 11_211;

/// `[[memcached]]`: one server.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemcachedConfig {
    /// Name of the cache, unique on this node: the attribute `cache` of its series.
    pub name: String,
    /// `HOST[:PORT]`, or the absolute path of a Unix socket.
    pub address: String,
}

/// A server as its sampler knows it.
#[derive(Debug, Clone)]
pub struct MemcachedServer {
    pub(super) name: String,
    pub(super) address: Address,
    pub(super) state_file: PathBuf,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Tcp(String, u16),
    Unix(PathBuf),
}

impl MemcachedConfig {
    /// Pushes a problem for each key that is wrong; `at` is the place of the table, `memcached[0]`.
    pub fn validate(&self, at: &str, problems: &mut Problems) {
        if let Err(reason) = Address::parse(&self.address) {
            problems.push(format!("{at}.address"), reason);
        }
    }
}

impl MemcachedServer {
    /// A server whose files lie below `data_dir`.
    ///
    /// # Errors
    /// What is wrong with its address.
    pub fn new(config: &MemcachedConfig, data_dir: &Path) -> Result<Self, &'static str> {
        let address = Address::parse(&config.address)?;
        let state_file = data_dir.join("memcached").join(&config.name);
        Ok(Self { name: config.name.clone(), address, state_file })
    }
}

impl Address {
    fn parse(text: &str) -> Result<Self, &'static str> {
        const USE: &str = "use HOST:PORT or the absolute path of a socket";
        if text.len() > 1 && text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        let (host, port) = split_port(text, PORT).ok_or(USE)?;
        if host.is_empty() || host.contains(|c: char| c.is_whitespace() || "/@?#[]".contains(c)) {
            return Err(USE);
        }
        Ok(Self::Tcp(host.to_owned(), port))
    }
}

impl fmt::Display for Address {
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

    #[test]
    fn addresses_are_read_or_refused() {
        for (text, shown) in [
            ("h", "h:11211"),
            ("h:7", "h:7"),
            ("[::1]:7", "[::1]:7"),
            ("/run/memcached.sock", "/run/memcached.sock"),
        ] {
            assert_eq!(Address::parse(text).unwrap().to_string(), shown);
        }
        for wrong in ["", "/", ":7", "h:x", "h:0", "memcached://h", "u@h:7", "h h"] {
            assert!(Address::parse(wrong).is_err(), "{wrong}");
        }
    }
}
