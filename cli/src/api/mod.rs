//! The collector's HTTP API as a client sees it.

pub(crate) mod balancers;
pub(crate) mod caches;
pub(crate) mod problem;
pub(crate) mod steering;
pub(crate) mod types;

use std::error::Error as _;
use std::fmt::Write as _;
use std::time::Duration;

use reqwest::{Response, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::config::Config;
use crate::error::Error;
use problem::Problem;

/// Query parameters, in order; names may repeat.
pub(crate) type Query<'a> = &'a [(&'a str, String)];

/// A client of one collector.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: String,
    timeout: Duration,
}

impl Client {
    /// A client of the collector that the settings name. Proxies of the environment are not used: the collector is on this host or near.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let timeout = config.cli.timeout.0;
        let server = config.cli.server.trim_end_matches('/').to_owned();
        let agent = concat!("flyball/", env!("CARGO_PKG_VERSION"));
        let http = reqwest::Client::builder()
            .no_proxy()
            .connect_timeout(timeout)
            .user_agent(agent)
            .build();
        let http = http
            .map_err(|e| Error::Unreachable { server: server.clone(), reason: root_cause(&e) })?;
        Ok(Self { http, server, timeout })
    }

    /// Address of the collector, without a slash at its end.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// Body of a GET that must be answered with success.
    ///
    /// # Errors
    /// When no answer comes in time, or the API refuses.
    pub(crate) async fn get(&self, path: &str, query: Query<'_>) -> Result<String, Error> {
        let (status, body) = self.get_any(path, query).await?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// Status and body of a GET, whatever they are.
    ///
    /// # Errors
    /// When no answer comes in time.
    pub(crate) async fn get_any(
        &self,
        path: &str,
        query: Query<'_>,
    ) -> Result<(StatusCode, String), Error> {
        let request = self.http.get(format!("{}{path}", self.server)).query(query);
        let answer = request.timeout(self.timeout).send().await.map_err(|e| self.failed(&e))?;
        let status = answer.status();
        tracing::debug!(path, status = status.as_u16(), "answered");
        let body = answer.text().await.map_err(|e| self.failed(&e))?;
        Ok((status, body))
    }

    /// Body of a POST that must be answered with success.
    ///
    /// # Errors
    /// When no answer comes in time, or the API refuses.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<String, Error> {
        let request = self.http.post(format!("{}{path}", self.server)).json(body);
        let answer = request.timeout(self.timeout).send().await.map_err(|e| self.failed(&e))?;
        let status = answer.status();
        tracing::debug!(path, status = status.as_u16(), "answered");
        let body = answer.text().await.map_err(|e| self.failed(&e))?;
        if status.is_success() { Ok(body) } else { Err(self.refused(status, &body)) }
    }

    /// Opens a stream whose body is read piece by piece; only its head must come in time.
    ///
    /// # Errors
    /// When the head does not come in time, or the API refuses.
    pub(crate) async fn open(&self, path: &str, query: Query<'_>) -> Result<Response, Error> {
        let request = self.http.get(format!("{}{path}", self.server)).query(query);
        let answer = tokio::time::timeout(self.timeout, request.send()).await;
        let answer = answer.map_err(|_| self.late())?.map_err(|e| self.failed(&e))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let body = tokio::time::timeout(self.timeout, answer.text()).await;
        Err(self.refused(status, &body.map_err(|_| self.late())?.unwrap_or_default()))
    }

    /// Reads an answer as `T`.
    ///
    /// # Errors
    /// When it is something else.
    pub(crate) fn parse<T: DeserializeOwned>(&self, body: &str) -> Result<T, Error> {
        serde_json::from_str(body)
            .map_err(|e| Error::Foreign { server: self.server.clone(), reason: e.to_string() })
    }

    fn refused(&self, status: StatusCode, body: &str) -> Error {
        match Problem::parse(status.as_u16(), body) {
            Some(problem) => Error::Api(Box::new(problem)),
            None => Error::Foreign {
                server: self.server.clone(),
                reason: format!("{status} without a problem document"),
            },
        }
    }

    fn failed(&self, error: &reqwest::Error) -> Error {
        if error.is_timeout() {
            return self.late();
        }
        Error::Unreachable { server: self.server.clone(), reason: root_cause(error) }
    }

    fn late(&self) -> Error {
        let limit = humantime::format_duration(self.timeout);
        Error::Unreachable {
            server: self.server.clone(),
            reason: format!("no answer within {limit}"),
        }
    }
}

/// An id as a segment of a path.
pub(crate) fn segment(id: &str) -> String {
    let mut text = String::with_capacity(id.len());
    for byte in id.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// The innermost reason, which is the one that a person can act on: `Connection refused (os error 111)`.
pub(crate) fn root_cause(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_within_its_segment() {
        assert_eq!(segment("redis:web-1:sessions"), "redis:web-1:sessions");
        assert_eq!(segment("a/b?c#d%e é"), "a%2Fb%3Fc%23d%25e%20%C3%A9");
    }
}
