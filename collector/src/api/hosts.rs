//! Whether a call that changes something comes from where it seems to come from.
//!
//! A page of a stranger can have a browser send requests here, under a name of the stranger's that leads to this address (DNS rebinding); to the browser that is the
//! page's own origin. The `Host` header then holds the stranger's name. So a call that changes something must name this server by an address, as `localhost`, or by a name
//! of `http.hosts`; and an `Origin`, which browsers send, must be of the same host.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};
use axum::http::uri::{Authority, Uri};

use super::ApiError;

/// Names under which this server may be called, besides addresses and `localhost`.
#[derive(Debug, Clone, Default)]
pub struct Hosts(Vec<String>);

impl Hosts {
    /// These names, without ports.
    pub fn new(names: &[String]) -> Self {
        Self(names.iter().map(|name| name.to_ascii_lowercase()).collect())
    }

    /// Checks where a call that changes something comes from.
    ///
    /// # Errors
    /// When it names another host, or comes from the page of another one.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let host = headers.get(HOST).and_then(|value| value.to_str().ok());
        let host = host.and_then(|text| text.parse::<Authority>().ok());
        let host = host.ok_or_else(|| ApiError::ForeignHost(String::new()))?;
        if !self.knows(host.host()) {
            return Err(ApiError::ForeignHost(host.host().to_owned()));
        }
        let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
        let origin = origin.to_str().ok().and_then(|text| text.parse::<Uri>().ok());
        let is_own = origin.is_some_and(|origin| origin.authority() == Some(&host));
        if is_own { Ok(()) } else { Err(ApiError::ForeignOrigin) }
    }

    fn knows(&self, host: &str) -> bool {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let name = host.to_ascii_lowercase();
        bare.parse::<std::net::IpAddr>().is_ok() || name == "localhost" || self.0.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_names_and_pages_are_told_apart() {
        let hosts = Hosts::new(&["Flyball.example".to_owned()]);
        let check = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(ORIGIN, origin.parse().unwrap());
            }
            hosts.check(&headers).is_ok()
        };
        for host in ["127.0.0.1:7480", "[::1]:7480", "localhost", "flyball.example:443"] {
            assert!(check(host, None) && check(host, Some(&format!("http://{host}"))), "{host}");
        }
        assert!(!check("evil.example:7480", None), "a name that leads here");
        assert!(!check("localhost.evil.example", None));
        assert!(!check("127.0.0.1:7480", Some("http://evil.example")));
        assert!(!check("127.0.0.1:7480", Some("http://127.0.0.1:80")), "another port");
        assert!(!check("127.0.0.1:7480", Some("null")));
        assert!(hosts.check(&HeaderMap::new()).is_err());
    }
}
