//! `[[orca]]`: which backends are asked for their utilisation, and how.

use std::net::SocketAddr;

use flyball_service::config::Problems;
use serde::{Deserialize, Serialize};

use crate::envoy::place::http_place;

/// `[[orca]]`: one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OrcaConfig {
    /// Name, unique on this node, for logs.
    pub name: String,
    /// `IP:PORT` as balancers know the backend.
    pub address: String,
    /// `http://HOST:PORT/PATH` whose answers have a header `endpoint-load-metrics`.
    pub url: Option<String>,
    /// `http://HOST:PORT` of a gRPC server with `xds.service.orca.v3.OpenRcaService`.
    pub grpc: Option<String>,
}

impl OrcaConfig {
    /// Pushes a problem for each key that is wrong; `at` is the place of the table, `orca[0]`.
    pub fn validate(&self, at: &str, problems: &mut Problems) {
        if self.socket().is_none() {
            problems.push(format!("{at}.address"), "use IP:PORT, as balancers know it");
        }
        if self.url.is_some() == self.grpc.is_some() {
            problems.push(format!("{at}.url"), "give either this or grpc");
        }
        if let Some(Err(reason)) = self.url.as_deref().map(|url| http_place(url, true)) {
            problems.push(format!("{at}.url"), reason);
        }
        if let Some(Err(reason)) = self.grpc.as_deref().map(|place| http_place(place, false)) {
            problems.push(format!("{at}.grpc"), reason);
        }
    }

    /// Pushes a problem for each address that another table has.
    pub(crate) fn check_addresses(all: &[Self], problems: &mut Problems) {
        let mut seen = std::collections::HashSet::new();
        for (index, socket) in all.iter().map(Self::socket).enumerate() {
            if socket.is_some_and(|socket| !seen.insert(socket)) {
                problems.push(format!("orca[{index}].address"), "is that of another one");
            }
        }
    }

    /// Where balancers find it.
    pub(crate) fn socket(&self) -> Option<SocketAddr> {
        self.address.parse().ok().filter(|socket: &SocketAddr| socket.port() > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(address: &str, url: Option<&str>, grpc: Option<&str>) -> Vec<String> {
        let (url, grpc) = (url.map(str::to_owned), grpc.map(str::to_owned));
        let config = OrcaConfig { name: "a".to_owned(), address: address.to_owned(), url, grpc };
        let mut problems = Problems::default();
        config.validate("orca[0]", &mut problems);
        problems.as_slice().iter().map(|problem| problem.key.clone()).collect()
    }

    #[test]
    fn a_backend_is_asked_once() {
        let one = OrcaConfig { address: "10.0.0.1:80".to_owned(), ..OrcaConfig::default() };
        let mut problems = Problems::default();
        OrcaConfig::check_addresses(&[one.clone(), one], &mut problems);
        let keys: Vec<_> = problems.as_slice().iter().map(|problem| &*problem.key).collect();
        assert_eq!(keys, ["orca[1].address"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(keys("10.0.0.1:80", Some("http://h:1/load"), None), [""; 0]);
        assert_eq!(keys("[::1]:80", None, Some("http://h:1")), [""; 0]);
        assert_eq!(keys("h:80", None, None), ["orca[0].address", "orca[0].url"]);
        let both = keys("10.0.0.1:0", Some("ftp://h"), Some("http://h:1/x"));
        assert_eq!(both, ["orca[0].address", "orca[0].url", "orca[0].url", "orca[0].grpc"]);
    }
}
